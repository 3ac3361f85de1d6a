//! The paper's Fig. 5: how distortion falls and rate grows along the reverse process.

use super::{Chart, Figure};

/// The state of progressive coding after some reverse steps (Table 4).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RatePoint {
    /// Reverse steps taken, T − t + 1.
    pub reverse_steps: usize,
    /// Sent so far, in bits per dimension.
    pub rate: f64,
    /// Root mean squared error of x̂_0, in grey levels of [0, 255].
    pub rmse: f64,
}

/// Three panels: distortion over steps, rate over steps, distortion over rate; one line per named curve.
///
/// ```
/// use ddpm::figures::{RatePoint, rate_distortion};
/// let point = |reverse_steps, rate, rmse| RatePoint { reverse_steps, rate, rmse };
/// let table4 = [point(100, 0.0, 67.6), point(500, 0.00716, 38.03), point(1000, 1.77581, 0.95136)];
/// assert_eq!(rate_distortion(&[("CIFAR10", &table4)]).size(), (1650, 540));
/// ```
pub fn rate_distortion(curves: &[(&str, &[RatePoint])]) -> Figure {
    let steps = "reverse process steps, T − t + 1";
    let (rate, distortion) = ("rate, bits/dim", "distortion, RMSE on [0, 255]");
    let mut panels = [Chart::new(steps, distortion), Chart::new(steps, rate), Chart::new(rate, distortion)];
    for &(name, points) in curves {
        let column = |value: fn(&RatePoint) -> f64| points.iter().map(value).collect::<Vec<_>>();
        let (n, r, d) = (column(|p| p.reverse_steps as f64), column(|p| p.rate), column(|p| p.rmse));
        // a single curve needs no legend
        let name = if curves.len() == 1 { "" } else { name };
        let [a, b, c] = panels;
        panels = [a.line(name, &n, &d), b.line(name, &n, &r), c.line(name, &r, &d)];
    }
    Chart::panels(panels.to_vec(), 3, (550, 540))
}
