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
    rate_distortion_beside(curves, &[])
}

/// [`rate_distortion`] with lines in grey beside the distortion over steps: (reverse steps, RMSE) of what is no model of the
/// images, by its name.
///
/// ```
/// use ddpm::figures::{RatePoint, rate_distortion_beside};
/// let table4 = [(100, 0.0, 67.6), (1000, 1.77581, 0.95)].map(|(reverse_steps, rate, rmse)| RatePoint { reverse_steps, rate, rmse });
/// let mean = [(100.0, 74.0), (1000.0, 74.0)];
/// assert_eq!(rate_distortion_beside(&[("CIFAR10", &table4)], &[("mean image", &mean)]).size(), (1650, 540));
/// ```
pub fn rate_distortion_beside(
    curves: &[(&str, &[RatePoint])],
    references: &[(&str, &[(f64, f64)])],
) -> Figure {
    let steps = "reverse process steps, T − t + 1";
    let (rate, distortion) = ("rate, bits/dim", "distortion, RMSE on [0, 255]");
    let mut panels = [Chart::new(steps, distortion), Chart::new(steps, rate), Chart::new(rate, distortion)];
    for &(name, points) in curves {
        let column = |value: fn(&RatePoint) -> f64| points.iter().map(value).collect::<Vec<_>>();
        let (n, r, d) = (column(|p| p.reverse_steps as f64), column(|p| p.rate), column(|p| p.rmse));
        // a single curve needs no legend
        let name = if curves.len() + references.len() == 1 { "" } else { name };
        let [a, b, c] = panels;
        // the legend stands above the first panel, for all
        let rest = if references.is_empty() { name } else { "" };
        panels = [a.line(name, &n, &d), b.line(rest, &n, &r), c.line(rest, &r, &d)];
    }
    let [mut a, b, c] = panels;
    for (name, points) in references {
        let (n, d): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
        a = a.reference(*name, &n, &d);
    }
    let panels = [a, b, c];
    Chart::panels(panels.to_vec(), 3, (550, 540))
}
