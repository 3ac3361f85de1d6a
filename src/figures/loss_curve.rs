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

/// Losses over steps on a log axis; `window` is the number of logged losses in the moving average, and 0 or 1
/// draws the losses alone.
///
/// ```
/// use ddpm::figures::{LossCurve, loss_curves};
/// let steps: Vec<f64> = (1..=100).map(f64::from).collect();
/// let losses = steps.iter().map(|s| 1.0 / s).collect();
/// assert_eq!(loss_curves(&[LossCurve { name: "run 1".into(), steps, losses }], 10).size(), (900, 600));
/// ```
///
/// # Panics
/// If a curve has not one loss per step.
#[track_caller]
pub fn loss_curves(curves: &[LossCurve], window: usize) -> Figure {
    let mut chart =
        Chart::new("training step", "L_{simple}, mean over pixels").scales(Scale::Linear, Scale::Log);
    for LossCurve { name, steps, losses } in curves {
        if window > 1 {
            chart = chart.faint_line(steps, losses);
        }
        chart = chart.line(name, steps, &moving_average(losses, window));
    }
    chart.figure()
}

/// The mean of the `window` numbers around each, of fewer near the ends; never of more to the right than to the left.
///
/// An average over the past alone would lag behind a falling loss, and one over many future losses start too low.
fn moving_average(values: &[f64], window: usize) -> Vec<f64> {
    let sums: Vec<f64> = std::iter::once(0.0)
        .chain(values.iter().scan(0.0, |sum, value| {
            *sum += value;
            Some(*sum)
        }))
        .collect();
    let mean = |i: usize| {
        let left = (window / 2).min(i);
        let right = left.min(values.len() - 1 - i);
        (sums[i + right + 1] - sums[i - left]) / (left + 1 + right) as f64
    };
    (0..values.len()).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moving_average_is_centred() {
        assert_eq!(moving_average(&[3.0; 5], 4), [3.0; 5]);
        assert_eq!(moving_average(&[1.0, 2.0, 4.0], 1), [1.0, 2.0, 4.0]);
        assert_eq!(moving_average(&[1.0, 2.0, 6.0, 4.0], 3), [1.0, 3.0, 4.0, 5.0]);
        assert!(moving_average(&[], 3).is_empty());
    }
}
