//! Which t a training step looks at: every one alike (Algorithm 1), or those more often whose loss is large.

use crate::Error;
use crate::names::{all, unknown};
use ndarray::{Array1, Array2, Axis};
use ndarray_rand::rand::Rng;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantArray};

/// How many of the last losses of each t are remembered.
const HISTORY: usize = 10;
/// So much of the probability stays uniform, lest a t with a few small losses is never seen again.
const UNIFORM: f64 = 0.001;

/// How t is drawn in training: alike, or by an [`ImportanceSampler`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = Error, parse_err_fn = unknown::<Times>)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum), value(rename_all = "snake_case"))]
pub enum Times {
    /// t ~ Uniform{1..T}, line 3 of Algorithm 1
    #[default]
    Uniform,
    /// more often where the loss was large, each loss divided by T p_t (Nichol & Dhariwal 2021)
    Importance,
}

impl Times {
    /// Both, in the order of the help text.
    pub const ALL: [Self; 2] = all();
}

/// Importance sampling of t (Nichol & Dhariwal 2021, Eq. 18): p_t ∝ √E\[L_t²\], where E is the mean over the last ten
/// losses at t.
///
/// The loss of a draw counts 1/(T p_t) times, so its expectation is still the mean over all t, and its variance the least
/// that any p_t gives. Until every t has been seen ten times, p_t is uniform. Losses are kept in `f32`, as checkpoints
/// store them.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportanceSampler {
    /// the last losses of t = 1..=T, oldest first, `[T, 10]`
    pub losses: Array2<f32>,
    /// how many of them there are, `[T]`
    pub seen: Array1<f32>,
}

/// The probabilities of one step, ready to be drawn from.
#[derive(Clone, Debug)]
pub enum TimeDistribution {
    /// 1/T each; this is T
    Uniform(usize),
    /// p_1, p_1 + p_2, …, 1
    Cumulative(Vec<f64>),
}

#[allow(non_snake_case)] // T is the paper's name
impl ImportanceSampler {
    /// Nothing is known yet of t = 1..=T.
    ///
    /// ```
    /// let sampler = ddpm::diffusion::ImportanceSampler::new(10);
    /// assert!(sampler.probabilities().iter().all(|p| (p - 0.1).abs() < 1e-12));
    /// ```
    pub fn new(T: usize) -> Self {
        Self { losses: Array2::zeros((T, HISTORY)), seen: Array1::zeros(T) }
    }

    /// p_t of t = 1..=T; index 0 is t = 1.
    ///
    /// ```
    /// use ddpm::diffusion::ImportanceSampler;
    /// let mut sampler = ImportanceSampler::new(2);
    /// for _ in 0..10 {
    ///     sampler.record(&[1, 2], &[3.0, 1.0]);
    /// }
    /// assert!((sampler.probabilities()[0] - 0.75).abs() < 0.001); // losses 3 to 1
    /// ```
    pub fn probabilities(&self) -> Array1<f64> {
        let T = self.seen.len() as f64;
        if self.seen.iter().any(|&n| (n as usize) < HISTORY) {
            return Array1::from_elem(self.seen.len(), 1.0 / T);
        }
        let root_mean_square = self.losses.map_axis(Axis(1), |losses| {
            (losses.iter().map(|&l| f64::from(l).powi(2)).sum::<f64>() / HISTORY as f64).sqrt()
        });
        let sum = root_mean_square.sum();
        if sum == 0.0 {
            return Array1::from_elem(self.seen.len(), 1.0 / T);
        }
        root_mean_square.mapv(|l| (1.0 - UNIFORM) * l / sum + UNIFORM / T)
    }

    /// The same, to draw from.
    ///
    /// ```
    /// use ddpm::{diffusion::ImportanceSampler, rng::stream};
    /// let (t, weight) = ImportanceSampler::new(10).distribution().draw(&mut stream(1, 0));
    /// assert!((1..=10).contains(&t) && (weight - 1.0).abs() < 1e-9); // still uniform
    /// ```
    pub fn distribution(&self) -> TimeDistribution {
        let mut sum = 0.0;
        let cumulative = self.probabilities().into_iter().map(|p| {
            sum += p;
            sum
        });
        TimeDistribution::Cumulative(cumulative.collect())
    }

    /// Remembers the losses at `t`, one each, in that order.
    ///
    /// # Panics
    /// When there are not as many losses as t, or a t is not in 1..=T.
    ///
    /// ```
    /// use ddpm::diffusion::ImportanceSampler;
    /// let mut sampler = ImportanceSampler::new(2);
    /// (0..10).for_each(|_| sampler.record(&[1, 2], &[1.0, 3.0])); // ten of each, and it begins to trust them
    /// let p = sampler.probabilities();
    /// assert!(p[1] > 2.0 * p[0]);
    /// ```
    #[track_caller]
    pub fn record(&mut self, t: &[usize], losses: &[f64]) {
        assert_eq!(t.len(), losses.len(), "ImportanceSampler: {} t, {} losses", t.len(), losses.len());
        for (&t, &loss) in t.iter().zip(losses) {
            let (mut row, seen) = (self.losses.row_mut(t - 1), &mut self.seen[t - 1]);
            if (*seen as usize) < HISTORY {
                row[*seen as usize] = loss as f32;
                *seen += 1.0;
            } else {
                (1..HISTORY).for_each(|i| row[i - 1] = row[i]);
                row[HISTORY - 1] = loss as f32;
            }
        }
    }
}

impl TimeDistribution {
    /// t, and what its loss counts: 1/(T p_t).
    ///
    /// ```
    /// use ddpm::{diffusion::TimeDistribution, rng::stream};
    /// assert_eq!(TimeDistribution::Uniform(1).draw(&mut stream(1, 0)), (1, 1.0));
    /// ```
    pub fn draw(&self, rng: &mut impl Rng) -> (usize, f64) {
        match self {
            Self::Uniform(last) => (rng.random_range(1..=*last), 1.0),
            Self::Cumulative(cumulative) => {
                let u = rng.random::<f64>() * cumulative[cumulative.len() - 1];
                let i = cumulative.partition_point(|&c| c <= u).min(cumulative.len() - 1);
                let p = cumulative[i] - if i == 0 { 0.0 } else { cumulative[i - 1] };
                (i + 1, 1.0 / (cumulative.len() as f64 * p))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    /// Losses that fall with t as those of the bound do.
    fn loss(t: usize) -> f64 {
        5.0 / t as f64
    }

    fn full(t_max: usize) -> ImportanceSampler {
        let mut sampler = ImportanceSampler::new(t_max);
        let t: Vec<usize> = (1..=t_max).collect();
        let losses: Vec<f64> = t.iter().map(|&t| loss(t)).collect();
        (0..HISTORY).for_each(|_| sampler.record(&t, &losses));
        sampler
    }

    #[test]
    fn uniform_until_every_t_was_seen_ten_times() {
        let mut sampler = full(4);
        sampler.seen[2] = 9.0;
        assert_eq!(sampler.probabilities(), Array1::from_elem(4, 0.25));
        sampler.record(&[3], &[loss(3)]);
        assert!(sampler.probabilities()[0] > 0.4);
        assert!((sampler.probabilities().sum() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn only_the_last_ten_losses_count() {
        let mut sampler = full(3);
        (0..7).for_each(|i| sampler.record(&[2], &[f64::from(i)]));
        assert_eq!(sampler.losses.row(1).to_vec(), [2.5, 2.5, 2.5, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(sampler.seen[1], 10.0);
    }

    /// E[w L] is the mean of L over all t, and here its variance is nearly 0: the weight undoes the probability.
    #[test]
    fn weighted_draws_are_unbiased_and_vary_less() {
        let (sampler, t_max) = (full(50), 50);
        let mean = (1..=t_max).map(loss).sum::<f64>() / t_max as f64;
        let (importance, uniform) = (sampler.distribution(), TimeDistribution::Uniform(t_max));
        let spread = |times: &TimeDistribution| {
            let mut rng = stream(5, 0);
            let draws = Array1::from_iter((0..4000).map(|_| {
                let (t, weight) = times.draw(&mut rng);
                weight * loss(t)
            }));
            (draws.mean().unwrap(), draws.std(1.0))
        };
        let ((a, spread_a), (b, spread_b)) = (spread(&importance), spread(&uniform));
        assert!((a - mean).abs() < 5.0 * spread_a / 4000f64.sqrt(), "{a} for {mean}");
        assert!((b - mean).abs() < 5.0 * spread_b / 4000f64.sqrt(), "{b} for {mean}");
        assert!(spread_a < 0.1 * spread_b, "{spread_a} and {spread_b}");
    }

    #[test]
    fn the_frequencies_are_the_probabilities() {
        let sampler = full(5);
        let (times, p) = (sampler.distribution(), sampler.probabilities());
        let (mut rng, mut count) = (stream(6, 0), [0.0; 5]);
        (0..20_000).for_each(|_| count[times.draw(&mut rng).0 - 1] += 1.0);
        for (count, p) in count.iter().zip(&p) {
            let deviation = (20_000.0 * p * (1.0 - p)).sqrt();
            assert!((count - 20_000.0 * p).abs() < 4.0 * deviation, "{count} of {}", 20_000.0 * p);
        }
    }

    #[test]
    #[should_panic(expected = "ImportanceSampler: 2 t, 1 losses")]
    fn a_loss_too_few() {
        full(3).record(&[1, 2], &[0.0]);
    }
}
