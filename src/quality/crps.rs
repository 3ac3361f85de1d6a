//! How good forecasts by samples are: the continuous ranked probability score, as it is defined and as CSDI computes it, and
//! how often an interval holds what it should.

use crate::diffusion::normal_cdf;
use ndarray::{Array1, ArrayView1, ArrayView2, Axis};
use std::f64::consts::PI;

/// E|X − y| − E|X − X'|/2 of samples X, in units of y: 0 for samples that all are y (Gneiting & Raftery 2007).
///
/// ```
/// use ddpm::quality::crps;
/// assert_eq!(crps(ndarray::array![1.0, 3.0].view(), 2.0), 1.0 - 0.5);
/// ```
///
/// # Panics
/// If there is no sample.
#[track_caller]
pub fn crps(samples: ArrayView1<f64>, y: f64) -> f64 {
    let n = samples.len() as f64;
    assert!(n > 0.0, "crps: no samples");
    let sorted = sorted(samples);
    // Σ_{i,j} |x_i − x_j| = 2 Σ_i (2i − n + 1) x_(i), i from 0
    let spread: f64 = sorted.iter().enumerate().map(|(i, x)| (2.0 * i as f64 - n + 1.0) * x).sum();
    samples.iter().map(|x| (x - y).abs()).sum::<f64>() / n - spread / (n * n)
}

/// The CRPS of N(mean, std²), exactly: σ (z (2 Φ(z) − 1) + 2 φ(z) − 1/√π), z = (y − mean)/σ.
///
/// ```
/// let score = ddpm::quality::crps_normal(0.0, 1.0, 0.0);
/// assert!((score - (2.0f64.sqrt() - 1.0) / std::f64::consts::PI.sqrt()).abs() < 1e-12);
/// ```
pub fn crps_normal(mean: f64, std: f64, y: f64) -> f64 {
    if std == 0.0 {
        return (y - mean).abs();
    }
    let z = (y - mean) / std;
    let density = (-0.5 * z * z).exp() / (2.0 * PI).sqrt();
    std * (z * (2.0 * normal_cdf(z) - 1.0) + 2.0 * density - 1.0 / PI.sqrt())
}

/// The 19 levels at which CSDI asks: 0.05, 0.1, …, 0.95.
pub fn csdi_levels() -> Array1<f64> {
    (1..20).map(|i| f64::from(i) / 20.0).collect()
}

/// CSDI's CRPS of each level: 2 Σ |(Q_q − y) (1[y ≤ Q_q] − q)| / Σ |y| over the entries, `[19]`; its value is their mean.
///
/// It is relative to Σ|y|, so it can't be compared with [`crps`], and 19 levels are not the integral: for a right normal
/// forecast their mean is 4.8 % too large.
///
/// # Shapes
/// `samples` `[S, E]` in the data's own units, `y` `[E]`, of the entries that are evaluated.
///
/// # Panics
/// If the shapes differ, or there is no sample.
///
/// ```
/// use ddpm::quality::crps_csdi;
/// use ndarray::array;
/// assert_eq!(crps_csdi(array![[2.0], [2.0]].view(), array![2.0].view()).sum(), 0.0);
/// ```
#[track_caller]
pub fn crps_csdi(samples: ArrayView2<f64>, y: ArrayView1<f64>) -> Array1<f64> {
    let scale: f64 = y.iter().map(|y| y.abs()).sum();
    let sorted: Vec<Vec<f64>> = samples.axis_iter(Axis(1)).map(sorted).collect();
    csdi_levels().mapv(|level| {
        let loss = |(samples, &y): (&Vec<f64>, &f64)| {
            let q = quantile(samples, level);
            2.0 * ((q - y) * (f64::from(u8::from(y <= q)) - level)).abs()
        };
        sorted.iter().zip(y).map(loss).sum::<f64>() / scale
    })
}

fn sorted(samples: ArrayView1<f64>) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The quantile of sorted samples, by linear interpolation between two of them.
///
/// # Panics
/// If there is no sample.
///
/// ```
/// assert_eq!(ddpm::quality::quantile(&[0.0, 10.0, 20.0], 0.25), 5.0);
/// ```
#[track_caller]
pub fn quantile(sorted: &[f64], level: f64) -> f64 {
    let place = level * (sorted.len() - 1) as f64;
    let (below, share) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + share * (sorted[above] - sorted[below])
}

/// Several quantiles of samples in any order.
///
/// # Panics
/// If there is no sample.
///
/// ```
/// let samples = ndarray::array![20.0, 0.0, 10.0];
/// assert_eq!(ddpm::quality::quantiles(samples.view(), [0.5, 0.25]), [10.0, 5.0]);
/// ```
#[track_caller]
pub fn quantiles<const N: usize>(samples: ArrayView1<f64>, levels: [f64; N]) -> [f64; N] {
    let sorted = sorted(samples);
    levels.map(|level| quantile(&sorted, level))
}

/// How many of the entries lie in the middle `share` of their samples: `share` on average for a right forecast.
///
/// One more draw from the law of n samples takes each of the n + 1 places among them alike. So an entry that so many
/// samples lie below stands for the stretch \[below, below + 1\]/(n + 1) of probability (with ties for all of
/// theirs), and counts by the part of it that lies between (1 ± share)/2. That is exact for any n; between their
/// [`quantiles`] a draw falls less often (between those of 24 samples and 0.9 in 83 of 100).
///
/// # Shapes
/// As [`crps_csdi`].
///
/// ```
/// use ndarray::array;
/// let samples = array![[0.0, 0.0], [1.0, 1.0]];
/// let covered = ddpm::quality::coverage(samples.view(), array![0.5, 2.0].view(), 0.5);
/// assert!((covered - (1.0 + 0.25) / 2.0).abs() < 1e-12); // the middle third, and a quarter of the last one
/// ```
#[track_caller]
pub fn coverage(samples: ArrayView2<f64>, y: ArrayView1<f64>, share: f64) -> f64 {
    let places = (samples.nrows() + 1) as f64;
    let inside = |(samples, &y): (ArrayView1<f64>, &f64)| {
        let below = samples.iter().filter(|&&x| x < y).count() as f64 / places;
        let through = (samples.iter().filter(|&&x| x <= y).count() + 1) as f64 / places;
        let (low, high) = ((1.0 - share) / 2.0, (1.0 + share) / 2.0);
        (through.min(high) - below.max(low)).max(0.0) / (through - below)
    };
    samples.axis_iter(Axis(1)).zip(y).map(inside).sum::<f64>() / y.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{normal, stream};

    #[test]
    fn samples_approach_the_normal_score() {
        let samples: Array1<f64> = normal(20_000, &mut stream(1, 0));
        for y in [-2.0, 0.0, 0.7] {
            let (got, want) = (crps(samples.view(), y), crps_normal(0.0, 1.0, y));
            assert!((got - want).abs() < 0.02, "{y}: {got}, {want}");
        }
    }

    #[test]
    fn a_right_interval_holds_its_share() {
        let y: Array1<f64> = normal(20_000, &mut stream(1, 1));
        for n in [19, 24, 100] {
            let samples: ndarray::Array2<f64> = normal((n, y.len()), &mut stream(1, 0));
            let share = coverage(samples.view(), y.view(), 0.9);
            assert!((share - 0.9).abs() < 0.007, "{n} samples: {share}"); // three standard errors
        }
    }
}
