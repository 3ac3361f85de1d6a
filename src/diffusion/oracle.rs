//! Exact denoisers of toy data: what a perfect network would say, without one.
//!
//! The mean squared error is smallest at the conditional mean, so the best x̂_0 is E[x_0 | x_t] and the best ε̂ the
//! noise between it and x_t. For Gaussians, mixtures of them and finite sets of images it has a closed form. All
//! oracles predict ε ([`Prediction::Eps`](super::Prediction::Eps)).

pub use super::gaussian_field::{FieldPosterior, GaussianField};
pub use super::one_pixel::{ExactBound, ExactTerms, OnePixelWorld};
use super::{Denoiser, Schedule};
use crate::tensor::Batch;
use ndarray::{ArrayView3, Axis};

/// Data whose every pixel is N(m, s²), independent of the others.
///
/// ε* = √(1 − ᾱ_t) (x_t − √ᾱ_t m) / (ᾱ_t s² + 1 − ᾱ_t). With s² = 0 it is the world of a single image.
///
/// ```
/// use ddpm::diffusion::{Denoiser, Schedule, oracle::GaussianWorld};
/// use ddpm::tensor::Batch;
/// let schedule = Schedule::linear(1000);
/// let world = GaussianWorld::new(0.0, 1.0, schedule.clone());
/// // for N(0, 1) data x_t is N(0, 1) at every t, and ε* = √(1 − ᾱ_t) x_t
/// let eps_hat = world.predict(&Batch::ones((1, 1, 1, 1)), &[300]);
/// assert_eq!(eps_hat[[0, 0, 0, 0]], (1.0 - schedule.alpha_bar(300)).sqrt());
/// ```
#[derive(Clone, Debug)]
pub struct GaussianWorld {
    mean: f64,
    variance: f64,
    schedule: Schedule,
}

impl GaussianWorld {
    /// Pixels of mean m and variance s².
    ///
    /// # Panics
    /// When s² < 0.
    ///
    /// ```
    /// use ddpm::diffusion::{Denoiser, Schedule, oracle::GaussianWorld};
    /// let world = GaussianWorld::new(0.0, 1.0, Schedule::cosine(10));
    /// let x_t = ndarray::Array4::ones((1, 1, 1, 1));
    /// let sigma = (1.0 - Schedule::cosine(10).alpha_bar(5)).sqrt();
    /// assert!((world.predict(&x_t, &[5])[[0, 0, 0, 0]] - sigma).abs() < 1e-12); // of N(0, 1), ε̂ = √(1 − ᾱ_t) x_t
    /// ```
    #[track_caller]
    pub fn new(mean: f64, variance: f64, schedule: Schedule) -> Self {
        assert!(variance >= 0.0, "GaussianWorld: a variance of {variance}");
        Self { mean, variance, schedule }
    }
}

impl Denoiser for GaussianWorld {
    fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
        let mut eps_hat = x_t.clone();
        for (mut image, &t) in eps_hat.outer_iter_mut().zip(t) {
            let alpha_bar = self.schedule.alpha_bar(t);
            let gain = (1.0 - alpha_bar).sqrt() / (alpha_bar * self.variance + 1.0 - alpha_bar);
            image.mapv_inplace(|x_t| gain * (x_t - alpha_bar.sqrt() * self.mean));
        }
        eps_hat
    }
}

/// A mixture of K Gaussians over whole images: Σ_k π_k N(m_k, s² I).
///
/// Given x_t, component k has the responsibility r_k ∝ π_k N(x_t; √ᾱ_t m_k, v I), v = ᾱ_t s² + 1 − ᾱ_t, and
/// E[x_0|x_t] = Σ_k r_k (m_k + √ᾱ_t s²/v (x_t − √ᾱ_t m_k)). With s² = 0 it is the world of a finite training
/// set, whose perfect denoiser only ever paints training images.
///
/// ```
/// use ddpm::diffusion::{Noise, Reverse, Schedule, oracle::MixtureWorld, sample};
/// use ndarray::array;
/// let schedule = Schedule::cosine(50);
/// let two_points = array![[[[-0.5, 0.5]]], [[[0.5, -0.5]]]]; // two images of one pixel, two channels
/// let world = MixtureWorld::new(two_points, &[1.0, 1.0], 0.0, schedule.clone());
/// let x0 = sample(&world, &Reverse::new(schedule), [8, 1, 1, 2], &Noise::seed(1));
/// assert!(x0.iter().all(|x| (x.abs() - 0.5).abs() < 1e-6));
/// ```
#[derive(Clone, Debug)]
pub struct MixtureWorld {
    means: Batch,
    log_weights: Vec<f64>,
    variance: f64,
    schedule: Schedule,
}

impl MixtureWorld {
    /// Means `[K, H, W, C]`, K weights (normalised here), and the variance s² that all components share.
    ///
    /// # Panics
    /// When there are not K weights, one is not positive, or s² < 0.
    ///
    /// ```
    /// use ddpm::diffusion::{Schedule, oracle::MixtureWorld};
    /// use ndarray::array;
    /// let means = array![-1.0, 1.0].into_shape_with_order((2, 1, 1, 1)).unwrap();
    /// let _world = MixtureWorld::new(means, &[1.0, 3.0], 0.01, Schedule::cosine(10));
    /// ```
    #[track_caller]
    pub fn new(means: Batch, weights: &[f64], variance: f64, schedule: Schedule) -> Self {
        assert_eq!(weights.len(), means.dim().0, "MixtureWorld: one weight per mean {:?}", means.shape());
        assert!(weights.iter().all(|&w| w > 0.0), "MixtureWorld: weights must be positive: {weights:?}");
        assert!(variance >= 0.0, "MixtureWorld: a variance of {variance}");
        let total: f64 = weights.iter().sum();
        let log_weights = weights.iter().map(|w| (w / total).ln()).collect();
        Self { means, log_weights, variance, schedule }
    }

    /// r_k, the probability of each component given x_t: `[K]`.
    ///
    /// # Shapes
    /// `x_t` `[H, W, C]`.
    ///
    /// ```
    /// use ddpm::diffusion::{Schedule, oracle::MixtureWorld};
    /// use ndarray::{Array3, array};
    /// let means = array![-1.0, 1.0].into_shape_with_order((2, 1, 1, 1)).unwrap();
    /// let world = MixtureWorld::new(means, &[1.0, 3.0], 0.01, Schedule::cosine(10));
    /// let r = world.responsibilities(Array3::zeros((1, 1, 1)).view(), 10);
    /// assert!((r[1] - 0.75).abs() < 1e-9); // in the middle only the weights speak
    /// ```
    pub fn responsibilities(&self, x_t: ArrayView3<f64>, t: usize) -> Vec<f64> {
        let alpha_bar = self.schedule.alpha_bar(t);
        let v = alpha_bar * self.variance + 1.0 - alpha_bar;
        let square = |mean: ArrayView3<f64>| {
            let off = x_t.iter().zip(mean).map(|(x_t, mean)| x_t - alpha_bar.sqrt() * mean);
            off.map(|off| off * off).sum::<f64>()
        };
        let log: Vec<f64> =
            self.means.outer_iter().zip(&self.log_weights).map(|(m, w)| w - square(m) / (2.0 * v)).collect();
        let max = log.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = log.iter().map(|log| (log - max).exp()).sum();
        log.iter().map(|log| (log - max).exp() / total).collect()
    }
}

impl Denoiser for MixtureWorld {
    fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
        assert_eq!(
            x_t.shape()[1..],
            self.means.shape()[1..],
            "MixtureWorld: the shapes of x_t and the means"
        );
        let mut eps_hat = x_t.clone();
        for (n, &t) in t.iter().enumerate() {
            let x_t = x_t.index_axis(Axis(0), n);
            let alpha_bar = self.schedule.alpha_bar(t);
            let v = alpha_bar * self.variance + 1.0 - alpha_bar;
            let mut mean = ndarray::Array3::<f64>::zeros(x_t.raw_dim()); // Σ r_k m_k
            for (r, m) in self.responsibilities(x_t, t).into_iter().zip(self.means.outer_iter()) {
                mean.scaled_add(r, &m);
            }
            // E[x_0|x_t] is linear in m_k, so that ε* = √(1 − ᾱ_t) (x_t − √ᾱ_t Σ r_k m_k)/v as for one Gaussian
            let gain = (1.0 - alpha_bar).sqrt() / v;
            eps_hat.index_axis_mut(Axis(0), n).assign(&((&x_t - alpha_bar.sqrt() * mean) * gain));
        }
        eps_hat
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{
        L_T, L_t_minus_1, Noise, Prediction, Reverse, Variance, decode, log_normal, q_sample, sample,
    };
    use crate::rng::{normal, stream};
    use ndarray::{Array3, array};
    use std::f64::consts::{E, LN_2, PI};

    fn schedules() -> Vec<Schedule> {
        vec![
            Schedule::linear(1000),
            Schedule::linear(50),
            Schedule::linear_scaled(40).unwrap(),
            Schedule::cosine(100),
            Schedule::quad(10),
            Schedule::sigmoid(30),
            Schedule::from_betas(&[0.5]).unwrap(),
            Schedule::from_betas(&[0.9, 0.1, 0.5]).unwrap(),
        ]
    }

    /// N(0, 1) data, the perfect network, σ_t² = β_t at every t, a density as decoder: the bound is the entropy,
    /// ½ log₂ 2πe, for any schedule and T. Every term is quadratic in (x_0, ε), so the four points (±1, ±1), which
    /// share the first two moments of N(0, I), give the expectation without error.
    #[test]
    fn the_whole_bound_is_the_entropy_of_a_gaussian() {
        let x0 = array![[[[1.0]]], [[[1.0]]], [[[-1.0]]], [[[-1.0]]]];
        let eps = array![[[[1.0]]], [[[-1.0]]], [[[1.0]]], [[[-1.0]]]];
        for schedule in schedules() {
            let world = GaussianWorld::new(0.0, 1.0, schedule.clone());
            let reverse = Reverse { clip: false, ..Reverse::new(schedule.clone()) };
            let at = |t: usize| {
                let x_t = q_sample(&schedule, &x0, &[t; 4], &eps);
                let p = reverse.p_mean_variance(&world, &x_t, &[t; 4]);
                (x_t, p)
            };
            let mut nats = L_T(&schedule, &x0).mean().unwrap();
            for t in 2..=schedule.T() {
                let (x_t, p) = at(t);
                nats += L_t_minus_1(&schedule, &x0, &x_t, &[t; 4], &p).mean().unwrap();
            }
            let (_, p) = at(1);
            let decoder = |(&x0, &mean)| -log_normal(x0, mean, schedule.beta(1).ln());
            nats += x0.iter().zip(&p.normal.mean).map(decoder).sum::<f64>() / 4.0;
            let entropy = 0.5 * (2.0 * PI * E).log2();
            assert!((entropy - 2.047095585).abs() < 1e-9);
            assert!((nats / LN_2 - entropy).abs() < 1e-9, "T = {}: {}", schedule.T(), nats / LN_2);
        }
    }

    /// The reverse chain is linear here, so unit impulses in each of its noises give the variance of its end
    /// without sampling: 1 − β_1. The classic slips end at 0.092.
    #[test]
    fn the_sampler_ends_with_variance_one_minus_beta_1() {
        for schedule in schedules() {
            let t_max = schedule.T();
            let world = GaussianWorld::new(0.0, 1.0, schedule.clone());
            let reverse = Reverse { clip: false, ..Reverse::new(schedule.clone()) };
            // σ_1 is never used; σ_t² = β_t for t ≥ 2. Image 0 gets the impulse in x_T, image t in step t
            let impulse = |n: usize, t: usize| Array3::from_elem((1, 1, 1), if n == t { 1.0 } else { 0.0 });
            let x0 = sample(&world, &reverse, [t_max + 1, 1, 1, 1], &Noise::given(&impulse));
            let variance: f64 = x0.iter().map(|x| x * x).sum();
            assert!((variance - (1.0 - schedule.beta(1))).abs() < 1e-12, "T = {t_max}: {variance}");
        }
    }

    /// A single image: σ² = β̃ is optimal and every KL is 0.
    #[test]
    fn a_point_mass_costs_nothing_with_beta_tilde() {
        let schedule = Schedule::linear(1000);
        let x0 = Batch::from_elem((1, 2, 2, 1), 0.3);
        let world = GaussianWorld::new(0.3, 0.0, schedule.clone());
        let reverse =
            Reverse { clip: false, variance: Variance::BetaTilde, ..Reverse::new(schedule.clone()) };
        let eps = normal(x0.dim(), &mut stream(1, 0));
        for t in [2, 10, 500, 1000] {
            let x_t = q_sample(&schedule, &x0, &[t], &eps);
            let p = reverse.p_mean_variance(&world, &x_t, &[t]);
            let nats = L_t_minus_1(&schedule, &x0, &x_t, &[t], &p)[0];
            assert!(nats.abs() < 1e-9, "t = {t}: {nats}");
        }
    }

    #[test]
    fn a_mixture_of_one_is_a_gaussian() {
        let schedule = Schedule::cosine(100);
        let x_t: Batch = normal((2, 2, 2, 1), &mut stream(1, 0));
        let means = Batch::from_elem((1, 2, 2, 1), 0.3);
        let mixture = MixtureWorld::new(means, &[5.0], 0.2, schedule.clone()).predict(&x_t, &[3, 80]);
        let gaussian = GaussianWorld::new(0.3, 0.2, schedule).predict(&x_t, &[3, 80]);
        assert!((mixture - gaussian).iter().all(|d| d.abs() < 1e-14));
    }

    /// ε* is −√(1 − ᾱ_t) times the slope of log q(x_t): against a difference of the mixture's density.
    #[test]
    fn the_mixture_is_the_score() {
        let schedule = Schedule::cosine(100);
        let (means, weights, variance) = (array![[[[-0.5]]], [[[0.8]]]], [0.3, 0.7], 0.05);
        let world = MixtureWorld::new(means.clone(), &weights, variance, schedule.clone());
        for t in [2, 30, 90] {
            let alpha_bar = schedule.alpha_bar(t);
            let v = (alpha_bar * variance + 1.0 - alpha_bar).ln();
            let log_q = |x: f64| {
                let each = means.iter().zip(&weights);
                each.map(|(m, w)| w * log_normal(x, alpha_bar.sqrt() * m, v).exp()).sum::<f64>().ln()
            };
            for x in [-1.0, 0.1, 0.4, 2.0] {
                let score = (log_q(x + 1e-5) - log_q(x - 1e-5)) / 2e-5;
                let eps_hat = world.predict(&Batch::from_elem((1, 1, 1, 1), x), &[t])[[0, 0, 0, 0]];
                assert!((eps_hat + (1.0 - alpha_bar).sqrt() * score).abs() < 1e-7, "t = {t}, x = {x}");
            }
        }
    }

    #[test]
    fn decode_from_zero_is_the_identity() {
        let schedule = Schedule::cosine(10);
        let world = GaussianWorld::new(0.0, 1.0, schedule.clone());
        let reverse = Reverse { prediction: Prediction::Eps, ..Reverse::new(schedule) };
        let x: Batch = normal((1, 2, 2, 1), &mut stream(1, 0));
        assert_eq!(decode(&world, &reverse, x.clone(), 0, &Noise::seed(1)), x);
    }

    #[test]
    #[should_panic(expected = "MixtureWorld: one weight per mean [2, 1, 1, 1]")]
    fn a_weight_for_each_mean() {
        MixtureWorld::new(Batch::zeros((2, 1, 1, 1)), &[1.0], 0.0, Schedule::cosine(10));
    }

    #[test]
    #[should_panic(expected = "MixtureWorld: weights must be positive")]
    fn no_empty_component() {
        MixtureWorld::new(Batch::zeros((1, 1, 1, 1)), &[0.0], 0.0, Schedule::cosine(10));
    }

    #[test]
    #[should_panic(expected = "GaussianWorld: a variance of -1")]
    fn no_negative_variance() {
        GaussianWorld::new(0.0, -1.0, Schedule::cosine(10));
    }
}
