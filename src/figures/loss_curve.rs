//! Training losses: every logged number faint, their moving average bold.

use super::{Chart, Figure, Scale};

/// One run's log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossCurve {
    /// The entry in the legend.
    pub name: String,
    /// The step of each number.
    pub steps: Vec<f64>,
    /// The loss at each step.
    pub losses: Vec<f64>,
}

/// Losses over steps on a log axis; `window` is the number of logged losses that the moving average remembers, and 1
/// or less draws the losses alone.
///
/// ```
/// use ddpm::figures::{LossCurve, loss_curves};
/// let steps: Vec<f64> = (1..=100).map(f64::from).collect();
/// let losses = steps.iter().map(|s| 1.0 / s).collect();
/// assert_eq!(loss_curves(&[LossCurve { name: "run 1".into(), steps, losses }], 10.0).size(), (900, 600));
/// ```
///
/// # Panics
/// If a curve has not one loss per step.
#[track_caller]
pub fn loss_curves(curves: &[LossCurve], window: f64) -> Figure {
    let mut chart =
        Chart::new("training step", "L_{simple}, mean over pixels").scales(Scale::Linear, Scale::Log);
    for LossCurve { name, steps, losses } in curves {
        if window > 1.0 {
            chart = chart.faint_line(steps, losses);
        }
        chart = chart.line(name, steps, &moving_average(losses, window));
    }
    chart.figure()
}

/// The mean of all numbers so far, weighted by (1 − 1/window)^age; so the first is the first, without a bias.
fn moving_average(values: &[f64], window: f64) -> Vec<f64> {
    let keep = 1.0 - 1.0 / window.max(1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let average = values.iter().map(|value| {
        (sum, weight) = (keep * sum + value, keep * weight + 1.0);
        sum / weight
    });
    average.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moving_average_has_no_bias_and_forgets() {
        assert_eq!(
            moving_average(&[3.0; 5], 10.0).iter().map(|v| (v - 3.0).abs() < 1e-12).filter(|&b| b).count(),
            5
        );
        assert_eq!(moving_average(&[1.0, 2.0, 4.0], 1.0), [1.0, 2.0, 4.0]);
        let step: Vec<_> = (0..200).map(|i| if i < 100 { 0.0 } else { 1.0 }).collect();
        assert!(moving_average(&step, 10.0)[199] > 0.999);
    }
}
