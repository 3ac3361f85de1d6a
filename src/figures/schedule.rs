//! Noise schedules: what is left of the image at step t.

use super::{Chart, Figure};

/// ᾱ_t of one schedule, at t = 0..=T.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScheduleCurve {
    /// The entry in the legend.
    pub name: String,
    /// T + 1 numbers, ᾱ_0 = 1 first.
    pub alpha_bar: Vec<f64>,
}

/// Two panels: ᾱ_t and the logarithm of the signal-to-noise ratio ᾱ_t / (1 − ᾱ_t), over t.
///
/// Schedules of different lengths T share an axis t / T.
///
/// ```
/// use ddpm::figures::{ScheduleCurve, schedules};
/// let alpha_bar: Vec<f64> = (0..=100).map(|t| 1.0 - f64::from(t) / 101.0).collect();
/// assert_eq!(schedules(&[ScheduleCurve { name: "even".into(), alpha_bar }]).size(), (1400, 560));
/// ```
pub fn schedules(curves: &[ScheduleCurve]) -> Figure {
    let length = |curve: &ScheduleCurve| curve.alpha_bar.len();
    let same = curves.windows(2).all(|pair| length(&pair[0]) == length(&pair[1]));
    let t = if same { "t" } else { "t / T" };
    let mut signal = Chart::new(t, "ᾱ_{t}").y_range(0.0, 1.02);
    let log_snr_of = |a: &f64| (a / (1.0 - a)).ln(); // infinite at t = 0, where there is no noise: left out
    let all = curves.iter().flat_map(|curve| &curve.alpha_bar).map(log_snr_of).filter(|v| v.is_finite());
    let (lowest, highest) = all.fold((-2.0_f64, 2.0_f64), |(low, high), v| (low.min(v), high.max(v)));
    // the cosine schedule dives at t = T, and would press everything else flat
    let mut log_snr =
        Chart::new(t, "ln ᾱ_{t} / (1 − ᾱ_{t}), nats").y_range(lowest.max(-16.0), highest.min(16.0));
    for ScheduleCurve { name, alpha_bar } in curves {
        let last = alpha_bar.len().saturating_sub(1).max(1) as f64;
        let t: Vec<_> = (0..alpha_bar.len()).map(|t| if same { t as f64 } else { t as f64 / last }).collect();
        let snr: Vec<_> = alpha_bar.iter().map(log_snr_of).collect();
        signal = signal.line(name, &t, alpha_bar);
        log_snr = log_snr.line(name, &t, &snr);
    }
    Chart::panels(vec![signal, log_snr], 2, (700, 560))
}
