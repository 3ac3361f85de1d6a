//! The bound on the negative log-likelihood, term by term (Eq. 5), and its accounting (section 4.3).
//!
//! ```text
//! −log p_θ(x_0) ≤ E_q [ KL(q(x_T|x_0) ‖ p(x_T))                                  L_T
//!                     + Σ_{t=2}^{T} KL(q(x_{t−1}|x_t,x_0) ‖ p_θ(x_{t−1}|x_t))    L_{t−1}
//!                     − log p_θ(x_0|x_1) ]                                       L_0       (Eq. 5)
//! ```
//!
//! All terms are in nats per image, and all are costs: the ELBO itself is minus their sum.

use super::batch::{dims, mse_per_image, same_shape, sum_per_image};
use super::estimate::choose_t;
use super::{
    Decoder, Denoiser, Estimate, Noise, NoisyBatch, Normal, PMeanVariance, Query, Reverse, Schedule,
    TimeSteps, log_normal, noisy, q_posterior,
};
use crate::tensor::Batch;
use ndarray::{Array1, Array2, Array4, ArrayView1, Axis, Zip, s};
use serde::Serialize;
use std::{f64::consts::LN_2, fmt};

/// L_T = KL(q(x_T|x_0) ‖ N(0, I)) = Σ ½ [ᾱ_T x_0² + (1 − ᾱ_T) − 1 − log(1 − ᾱ_T)], in nats per image.
///
/// No network and no noise takes part: L_T only says whether the schedule forgets the image.
///
/// # Shapes
/// `x0` `[N, H, W, C]`; returns `[N]`.
///
/// ```
/// use ddpm::{diffusion::{L_T, Schedule, bits_per_dim}, tensor::Batch};
/// let x0 = Batch::from_elem((1, 4, 4, 1), 0.5);
/// let bits = |schedule: &Schedule| bits_per_dim(L_T(schedule, &x0)[0], 16);
/// assert!(bits(&Schedule::linear(1000)) < 1e-5);
/// assert!(bits(&Schedule::linear(50)) > 0.1); // the classic slip: betas made for T = 1000
/// ```
#[allow(non_snake_case)] // the paper's name
pub fn L_T(schedule: &Schedule, x0: &Batch) -> Array1<f64> {
    let last = Array4::from_elem((1, 1, 1, 1), schedule.level(schedule.T()));
    noisy(x0, &last).kl(&Normal::standard(x0))
}

/// L_{t−1} = KL(q(x_{t−1}|x_t, x_0) ‖ p_θ(x_{t−1}|x_t)), in nats per image, for each image's own t in 2..=T:
/// Σ ½ [log σ_t² − log β̃_t − 1 + β̃_t/σ_t² + (μ̃_t − μ_θ)²/σ_t²] (Eqs. 5, 8).
///
/// # Shapes
/// `x0`, `x_t` and the fields of `p` `[N, H, W, C]`, `t` N numbers of 2..=T; returns `[N]`.
///
/// # Panics
/// When the shapes differ, or a t lies outside 2..=T: at t = 1 the posterior is a point, and the term is [`L_0`].
///
/// ```
/// use ddpm::diffusion::{L_t_minus_1, Reverse, Schedule, Variance, q_sample, oracle::GaussianWorld};
/// use ddpm::tensor::Batch;
/// let schedule = Schedule::cosine(10);
/// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
/// let reverse = Reverse { variance: Variance::BetaTilde, ..Reverse::new(schedule.clone()) };
/// let (x0, eps) = (Batch::from_elem((1, 2, 2, 1), 0.2), Batch::zeros((1, 2, 2, 1)));
/// let x_t = q_sample(&schedule, &x0, &[5], &eps);
/// let p = reverse.p_mean_variance(&world, &x_t, &[5]);
/// assert!(L_t_minus_1(&schedule, &x0, &x_t, &[5], &p)[0] < 1e-9); // the guess is right, and σ² = β̃
/// ```
#[allow(non_snake_case)] // the paper's name
#[track_caller]
pub fn L_t_minus_1(
    schedule: &Schedule,
    x0: &Batch,
    x_t: &Batch,
    t: &[usize],
    p: &PMeanVariance,
) -> Array1<f64> {
    same_shape("L_t_minus_1", ("x0", x0), ("p's mean", &p.normal.mean));
    assert!(t.iter().all(|&t| t >= 2), "L_t_minus_1: t must be at least 2 (the term of t = 1 is L_0): {t:?}");
    q_posterior(schedule, x0, x_t, t).kl(&p.normal)
}

/// L_0 = −log p_θ(x_0|x_1), in nats per image: each pixel's Gaussian, integrated over the bin of its grey level
/// (Eq. 13).
///
/// # Shapes
/// `x0` and the fields of `p` (that of t = 1) `[N, H, W, C]`; returns `[N]`.
///
/// # Panics
/// When the shapes differ.
///
/// ```
/// use ddpm::diffusion::{Decoder, L_0, Normal, PMeanVariance};
/// use ddpm::tensor::Batch;
/// let x0 = Batch::zeros((1, 1, 1, 1));
/// let normal = Normal { mean: x0.clone(), log_variance: Batch::from_elem((1, 1, 1, 1), -20.0) };
/// let p = PMeanVariance { normal, x0_hat: x0.clone() };
/// assert!(L_0(&x0, &p, Decoder::Exact)[0] < 1e-12); // all of so narrow a Gaussian lies in one bin
/// ```
#[allow(non_snake_case)] // the paper's name
#[track_caller]
pub fn L_0(x0: &Batch, p: &PMeanVariance, decoder: Decoder) -> Array1<f64> {
    same_shape("L_0", ("x0", x0), ("p's mean", &p.normal.mean));
    let log_prob = Zip::from(x0)
        .and(&p.normal.mean)
        .and(&p.normal.log_variance)
        .map_collect(|&x0, &mean, &log_variance| decoder.log_prob(x0, mean, 0.5 * log_variance));
    -sum_per_image(&log_prob)
}

/// −log N(x_0; μ_θ(x_1, 1), β_1 I), in nats per image: L_0 of data that are no grey levels. The variance is the chain's own,
/// which is the best for data of variance 1.
#[allow(non_snake_case)] // the paper's name
fn L_0_density(schedule: &Schedule, x0: &Batch, p: &PMeanVariance) -> Array1<f64> {
    let log_variance = schedule.beta(1).ln();
    let log_p = Zip::from(x0).and(&p.normal.mean);
    -sum_per_image(&log_p.map_collect(|&x0, &mean| log_normal(x0, mean, log_variance)))
}

/// L_simple = ‖ε − ε_θ‖² / D: the squared error of the noise as a mean over the image (Eq. 14; the paper writes
/// the sum, its code takes the mean).
///
/// # Shapes
/// `eps`, `eps_hat` `[N, H, W, C]`; returns `[N]`.
///
/// # Panics
/// When the shapes differ.
///
/// ```
/// use ddpm::{diffusion::L_simple, tensor::Batch};
/// let (zeros, threes) = (Batch::zeros((2, 4, 4, 1)), Batch::from_elem((2, 4, 4, 1), 3.0));
/// assert_eq!(L_simple(&zeros, &threes).to_vec(), [9.0, 9.0]);
/// ```
#[allow(non_snake_case)] // the paper's name
#[track_caller]
pub fn L_simple(eps: &Batch, eps_hat: &Batch) -> Array1<f64> {
    same_shape("L_simple", ("eps", eps), ("eps_hat", eps_hat));
    mse_per_image(eps, eps_hat)
}

/// Nats per image to bits per dimension: nats / (D ln 2), with D = H·W·C.
///
/// ```
/// use ddpm::diffusion::bits_per_dim;
/// assert!((bits_per_dim(28.0 * 28.0 * 256f64.ln(), 28 * 28) - 8.0).abs() < 1e-12);
/// ```
pub fn bits_per_dim(nats: f64, dims: usize) -> f64 {
    nats / (dims as f64 * LN_2)
}

/// How [`elbo`] evaluates a data set.
#[derive(Clone, Copy, Debug)]
pub struct ElboOptions {
    /// which t
    pub time_steps: TimeSteps,
    /// the decoder of L_0
    pub decoder: Decoder,
    /// whether the data are no grey levels, as latents aren't: L_0 is then a density, and the decoder is not asked
    pub continuous: bool,
    /// how many (image, t) pairs the model is given at once; no result depends on it
    pub batch: usize,
}

impl Default for ElboOptions {
    /// All t, the exact decoder, 64 pairs at once.
    fn default() -> Self {
        Self { time_steps: TimeSteps::All, decoder: Decoder::Exact, continuous: false, batch: 64 }
    }
}

/// The bound of each image of a data set, term by term, in nats per image.
///
/// K is the number of evaluated t per image: T for [`TimeSteps::All`], else `count` + 1.
#[derive(Clone, Debug)]
#[allow(non_snake_case)] // the paper's names
pub struct Elbo {
    /// number of steps of the chain
    pub T: usize,
    /// D = H·W·C
    pub dims: usize,
    /// L_T, `[N]`
    pub L_T: Array1<f64>,
    /// t of each term, `[N, K]`; column 0 is t = 1
    pub t: Array2<usize>,
    /// L_{t−1}, `[N, K]`; column 0 is L_0
    pub L: Array2<f64>,
    /// how many t each column stands for, `[K]`; they sum to T
    pub weight: Array1<f64>,
    /// mean squared error of the noise that x̂_0 implies, `[N, K]`: L_simple, if x̂_0 is not clipped
    pub eps_mse: Array2<f64>,
    /// mean squared error of x̂_0, `[N, K]`
    pub x0_mse: Array2<f64>,
}

/// The terms of Eq. 5 in bits per dimension, as tables and files have them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(non_snake_case)] // the paper's names
pub struct Decomposition {
    /// L_T
    pub L_T: Estimate,
    /// Σ_{t=2}^{T} L_{t−1}
    #[serde(rename = "Σ L_t-1")]
    pub L_t_minus_1: Estimate,
    /// L_0
    pub L_0: Estimate,
    /// L, their sum
    #[serde(rename = "L")]
    pub bound: Estimate,
}

impl Decomposition {
    /// The terms and their sum with their names, in the order of Eq. 5.
    ///
    /// ```
    /// use ddpm::diffusion::{ElboOptions, Noise, Reverse, Schedule, elbo, oracle::GaussianWorld};
    /// use ddpm::tensor::Batch;
    /// let schedule = Schedule::cosine(10);
    /// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
    /// let data = Batch::zeros((3, 2, 2, 1));
    /// let (reverse, options) = (Reverse::new(schedule), ElboOptions::default());
    /// let bound = elbo(&world, &reverse, &data, &options, &Noise::seed(1));
    /// assert_eq!(bound.decomposition().named().map(|(name, _)| name), ["L_T", "Σ L_t-1", "L_0", "L"]);
    /// ```
    pub fn named(&self) -> [(&'static str, Estimate); 4] {
        [("L_T", self.L_T), ("Σ L_t-1", self.L_t_minus_1), ("L_0", self.L_0), ("L", self.bound)]
    }
}

/// Evaluates the bound on a data set: for each image and each t one noise, one x_t and one look of the network.
///
/// The noise of (image, t) has a stream of its own, so an image's terms do not depend on `options.batch` or on
/// the images beside it: a data set evaluated in parts ([`Noise::first_image`]) gives the same numbers. For the
/// official bits/dim take `reverse.clip = true` and [`Decoder::Tanh`].
///
/// # Shapes
/// `data` `[N, H, W, C]`, grey levels k/127.5 − 1. A model that is [`Watched`](super::Watched) sees
/// N times [`TimeSteps::per_image`] pairs (image, t).
///
/// # Panics
/// When `options.batch` is 0, or the strata are more than T − 1.
///
/// ```
/// use ddpm::diffusion::{ElboOptions, Noise, Reverse, Schedule, elbo, oracle::GaussianWorld};
/// use ddpm::tensor::Batch;
/// let schedule = Schedule::cosine(20);
/// let world = GaussianWorld::new(0.0, 1.0, schedule.clone());
/// let data = Batch::zeros((3, 2, 2, 1));
/// let bound = elbo(&world, &Reverse::new(schedule), &data, &ElboOptions::default(), &Noise::seed(1));
/// assert_eq!(bound.L.shape(), [3, 20]);
/// println!("{bound}");
/// ```
#[track_caller]
pub fn elbo(
    model: &(impl Denoiser + ?Sized),
    reverse: &Reverse,
    data: &Batch,
    options: &ElboOptions,
    noise: &Noise,
) -> Elbo {
    let mut bounds = elbo_variants(model, std::slice::from_ref(reverse), data, options, noise);
    bounds.swap_remove(0)
}

/// [`elbo`] of several reverse processes over one network, say with σ² = β and β̃, for the price of one.
///
/// The network's output is computed once per (image, t), and every process reads it in its own way.
///
/// # Panics
/// When there is no process, or their schedules differ; and as [`elbo`].
///
/// ```
/// use ddpm::diffusion::{ElboOptions, Noise, Reverse, Schedule, Variance, elbo_variants, oracle::GaussianWorld};
/// use ddpm::tensor::Batch;
/// let schedule = Schedule::cosine(10);
/// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
/// let data = Batch::zeros((3, 2, 2, 1));
/// let with = |variance| Reverse { variance, ..Reverse::new(schedule.clone()) };
/// let both = [with(Variance::Beta), with(Variance::BetaTilde)];
/// let bounds = elbo_variants(&world, &both, &data, &ElboOptions::default(), &Noise::seed(1));
/// assert_eq!(bounds[0].eps_mse, bounds[1].eps_mse); // the network said the same
/// ```
#[track_caller]
pub fn elbo_variants(
    model: &(impl Denoiser + ?Sized),
    variants: &[Reverse],
    data: &Batch,
    options: &ElboOptions,
    noise: &Noise,
) -> Vec<Elbo> {
    assert!(options.batch > 0, "elbo: the batch must hold at least one pair");
    let schedule = &variants.first().expect("elbo: at least one reverse process").schedule;
    assert!(variants.iter().all(|v| v.schedule == *schedule), "elbo: all variants must have one schedule");
    let (t, weight) = choose_t(options.time_steps, schedule.T(), data.dim().0, noise);
    let (n_images, columns) = t.dim();
    let empty = Elbo {
        T: schedule.T(),
        dims: dims(data),
        L_T: L_T(schedule, data),
        L: Array2::zeros(t.dim()),
        eps_mse: Array2::zeros(t.dim()),
        x0_mse: Array2::zeros(t.dim()),
        t,
        weight,
    };
    let mut bounds = vec![empty; variants.len()];
    // L_0 on its own, then all other terms: a batch is either of t = 1 or of t ≥ 2
    let first: Vec<_> = (0..n_images).map(|n| (n, 0)).collect();
    let others: Vec<_> = (1..columns).flat_map(|k| (0..n_images).map(move |n| (n, k))).collect();
    for pairs in first.chunks(options.batch).chain(others.chunks(options.batch)) {
        let (images, t): (Vec<usize>, Vec<usize>) =
            pairs.iter().map(|&pair| (pair.0, bounds[0].t[pair])).unzip();
        let batch = noisy_pairs(schedule, data, noise, &images, t);
        let query = Query { images: Some(&images), ..Query::new(&batch.x_t, &batch.t) };
        let output = model.answer(&query);
        for (bound, reverse) in bounds.iter_mut().zip(variants) {
            bound.fill_in(
                &batch,
                &reverse.read(output.clone(), &batch.x_t, &batch.t),
                reverse,
                options,
                pairs,
            );
        }
    }
    bounds
}

/// x_0, t, ε and x_t of some (image, t) pairs.
fn noisy_pairs(
    schedule: &Schedule,
    data: &Batch,
    noise: &Noise,
    images: &[usize],
    t: Vec<usize>,
) -> NoisyBatch {
    let x0 = data.select(Axis(0), images);
    let (_, h, w, c) = x0.dim();
    let eps = noise.pairs([h, w, c], images.iter().copied().zip(t.iter().copied()));
    NoisyBatch::new(schedule, x0, t, eps)
}

impl Elbo {
    /// Writes the terms of some (image, column) pairs, all of t = 1 or all of t ≥ 2.
    fn fill_in(
        &mut self,
        batch: &NoisyBatch,
        p: &PMeanVariance,
        reverse: &Reverse,
        options: &ElboOptions,
        pairs: &[(usize, usize)],
    ) {
        let NoisyBatch { x0, t, eps, x_t } = batch;
        let terms = match t[0] {
            1 if options.continuous => L_0_density(&reverse.schedule, x0, p),
            1 => L_0(x0, p, options.decoder),
            _ => L_t_minus_1(&reverse.schedule, x0, x_t, t, p),
        };
        let eps_mse = L_simple(eps, &reverse.eps_from_x0(x_t, t, &p.x0_hat));
        let x0_mse = mse_per_image(x0, &p.x0_hat);
        for (i, &pair) in pairs.iter().enumerate() {
            (self.L[pair], self.eps_mse[pair], self.x0_mse[pair]) = (terms[i], eps_mse[i], x0_mse[i]);
        }
    }

    /// L_0 of each image, nats, `[N]`.
    ///
    /// ```
    /// use ddpm::diffusion::{ElboOptions, Noise, Reverse, Schedule, elbo, oracle::GaussianWorld};
    /// use ddpm::tensor::Batch;
    /// let schedule = Schedule::cosine(10);
    /// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
    /// let data = Batch::zeros((3, 2, 2, 1));
    /// let (reverse, options) = (Reverse::new(schedule), ElboOptions::default());
    /// let bound = elbo(&world, &reverse, &data, &options, &Noise::seed(1));
    /// assert_eq!(bound.L_0(), bound.L.column(0));
    /// ```
    #[allow(non_snake_case)] // the paper's name
    pub fn L_0(&self) -> ArrayView1<'_, f64> {
        self.L.column(0)
    }

    /// Σ_{t=2}^{T} L_{t−1} of each image, nats, `[N]`.
    ///
    /// ```
    /// use ddpm::diffusion::{ElboOptions, Noise, Reverse, Schedule, elbo, oracle::GaussianWorld};
    /// use ddpm::tensor::Batch;
    /// let schedule = Schedule::cosine(10);
    /// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
    /// let data = Batch::zeros((3, 2, 2, 1));
    /// let (reverse, options) = (Reverse::new(schedule), ElboOptions::default());
    /// let bound = elbo(&world, &reverse, &data, &options, &Noise::seed(1));
    /// assert_eq!(bound.sum_L_t_minus_1().len(), 3);
    /// ```
    #[allow(non_snake_case)] // the paper's name
    pub fn sum_L_t_minus_1(&self) -> Array1<f64> {
        self.L.slice(s![.., 1..]).dot(&self.weight.slice(s![1..]))
    }

    /// The bound of each image, L_T + Σ L_{t−1} + L_0, nats, `[N]`.
    ///
    /// ```
    /// use ddpm::diffusion::{ElboOptions, Noise, Reverse, Schedule, elbo, oracle::GaussianWorld};
    /// use ddpm::tensor::Batch;
    /// let schedule = Schedule::cosine(10);
    /// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
    /// let data = Batch::zeros((3, 2, 2, 1));
    /// let (reverse, options) = (Reverse::new(schedule), ElboOptions::default());
    /// let bound = elbo(&world, &reverse, &data, &options, &Noise::seed(1));
    /// assert!(bound.total()[0] > bound.L_0()[0]);
    /// ```
    pub fn total(&self) -> Array1<f64> {
        &self.L_T + &self.sum_L_t_minus_1() + self.L_0()
    }

    /// The rate L_T + Σ L_{t−1} (section 4.3) in bits per dimension: mean over the images, with its standard error.
    ///
    /// ```
    /// use ddpm::diffusion::{ElboOptions, Noise, Reverse, Schedule, elbo, oracle::GaussianWorld};
    /// use ddpm::tensor::Batch;
    /// let schedule = Schedule::cosine(10);
    /// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
    /// let data = Batch::zeros((3, 2, 2, 1));
    /// let (reverse, options) = (Reverse::new(schedule), ElboOptions::default());
    /// let bound = elbo(&world, &reverse, &data, &options, &Noise::seed(1));
    /// assert!((bound.rate().mean + bound.distortion().mean - bound.bits_per_dim().mean).abs() < 1e-12);
    /// ```
    pub fn rate(&self) -> Estimate {
        self.mean_bits_per_dim(&self.L_T + &self.sum_L_t_minus_1())
    }

    /// The distortion L_0 (section 4.3) in bits per dimension: mean over the images, with its standard error.
    ///
    /// ```
    /// use ddpm::diffusion::{ElboOptions, Noise, Reverse, Schedule, elbo, oracle::GaussianWorld};
    /// use ddpm::tensor::Batch;
    /// let schedule = Schedule::cosine(10);
    /// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
    /// let data = Batch::zeros((3, 2, 2, 1));
    /// let (reverse, options) = (Reverse::new(schedule), ElboOptions::default());
    /// let bound = elbo(&world, &reverse, &data, &options, &Noise::seed(1));
    /// assert!(bound.distortion().mean < bound.bits_per_dim().mean);
    /// ```
    pub fn distortion(&self) -> Estimate {
        self.mean_bits_per_dim(self.L_0().to_owned())
    }

    /// The bound in bits per dimension: mean over the images, with its standard error.
    ///
    /// ```
    /// use ddpm::diffusion::{ElboOptions, Noise, Reverse, Schedule, elbo, oracle::GaussianWorld};
    /// use ddpm::tensor::Batch;
    /// let schedule = Schedule::cosine(10);
    /// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
    /// let data = Batch::zeros((3, 2, 2, 1));
    /// let (reverse, options) = (Reverse::new(schedule), ElboOptions::default());
    /// let bound = elbo(&world, &reverse, &data, &options, &Noise::seed(1));
    /// let nats = bound.total().mean().unwrap();
    /// assert!((bound.bits_per_dim().mean - ddpm::diffusion::bits_per_dim(nats, 4)).abs() < 1e-12);
    /// ```
    pub fn bits_per_dim(&self) -> Estimate {
        self.mean_bits_per_dim(self.total())
    }

    /// The terms of Eq. 5 and their sum in bits per dimension: means over the images, with their standard errors.
    ///
    /// ```
    /// use ddpm::diffusion::{ElboOptions, Noise, Reverse, Schedule, elbo, oracle::GaussianWorld};
    /// use ddpm::tensor::Batch;
    /// let (schedule, data) = (Schedule::cosine(10), Batch::zeros((2, 2, 2, 1)));
    /// let world = GaussianWorld::new(0.0, 1.0, schedule.clone());
    /// let (reverse, options) = (Reverse::new(schedule), ElboOptions::default());
    /// let terms = elbo(&world, &reverse, &data, &options, &Noise::seed(1)).decomposition();
    /// let sum = terms.L_T.mean + terms.L_t_minus_1.mean + terms.L_0.mean;
    /// assert!((sum - terms.bound.mean).abs() < 1e-12);
    /// ```
    pub fn decomposition(&self) -> Decomposition {
        Decomposition {
            L_T: self.mean_bits_per_dim(self.L_T.clone()),
            L_t_minus_1: self.mean_bits_per_dim(self.sum_L_t_minus_1()),
            L_0: self.distortion(),
            bound: self.bits_per_dim(),
        }
    }

    /// Mean and standard error, in bits per dimension, of one number in nats per image: of a term or a sum of
    /// terms.
    ///
    /// ```
    /// use ddpm::diffusion::{ElboOptions, Noise, Reverse, Schedule, elbo, oracle::GaussianWorld};
    /// use ddpm::tensor::Batch;
    /// let schedule = Schedule::cosine(10);
    /// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
    /// let data = Batch::zeros((3, 2, 2, 1));
    /// let (reverse, options) = (Reverse::new(schedule), ElboOptions::default());
    /// let bound = elbo(&world, &reverse, &data, &options, &Noise::seed(1));
    /// assert_eq!(bound.mean_bits_per_dim(bound.total()), bound.bits_per_dim());
    /// ```
    pub fn mean_bits_per_dim(&self, nats: Array1<f64>) -> Estimate {
        Estimate::of(&nats.mapv(|nats| bits_per_dim(nats, self.dims)))
    }

    /// L_simple: the mean over t of the noise's squared error, with its standard error over the images.
    ///
    /// ```
    /// use ddpm::diffusion::{ElboOptions, Noise, Reverse, Schedule, elbo, oracle::GaussianWorld};
    /// use ddpm::tensor::Batch;
    /// let schedule = Schedule::cosine(10);
    /// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
    /// let data = Batch::zeros((3, 2, 2, 1));
    /// let (reverse, options) = (Reverse::new(schedule), ElboOptions::default());
    /// let bound = elbo(&world, &reverse, &data, &options, &Noise::seed(1));
    /// assert!(bound.L_simple().mean > 0.0);
    /// ```
    #[allow(non_snake_case)] // the paper's name
    pub fn L_simple(&self) -> Estimate {
        Estimate::of(&(self.eps_mse.dot(&self.weight) / self.T as f64))
    }
}

impl fmt::Display for Elbo {
    /// The terms of Eq. 5 and their sum, in bits per dimension.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decomposition { L_T, L_t_minus_1, L_0, bound } = self.decomposition();
        writeln!(f, "L_T       {L_T} bits/dim")?;
        writeln!(f, "Σ L_t-1   {L_t_minus_1} bits/dim")?;
        writeln!(f, "L_0       {L_0} bits/dim")?;
        write!(f, "bound     {bound} bits/dim")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::Watched;
    use crate::diffusion::oracle::GaussianWorld;
    use crate::rng::{normal, stream};

    fn world() -> (GaussianWorld, Reverse, Batch) {
        let schedule = Schedule::cosine(30);
        let model = GaussianWorld::new(0.1, 0.2, schedule.clone());
        let data = normal::<f64, _>((5, 2, 2, 1), &mut stream(1, 0))
            .mapv(|z| ((0.4 * z + 1.1) * 127.5).round().clamp(0.0, 255.0) / 127.5 - 1.0);
        (model, Reverse::new(schedule), data)
    }

    fn run(data: &Batch, options: &ElboOptions, noise: &Noise) -> Elbo {
        let (model, reverse, _) = world();
        elbo(&model, &reverse, data, options, noise)
    }

    #[test]
    fn the_batch_split_changes_nothing() {
        let (_, _, data) = world();
        let stratified = TimeSteps::Stratified { count: 6, seed: 2 };
        for time_steps in [TimeSteps::All, stratified] {
            let options = |batch| ElboOptions { time_steps, batch, ..Default::default() };
            let whole = run(&data, &options(1000), &Noise::seed(1));
            assert_eq!(whole.L, run(&data, &options(7), &Noise::seed(1)).L);
            let tail = data.slice(s![3.., .., .., ..]).to_owned();
            let tail = run(&tail, &options(7), &Noise::seed(1).first_image(3));
            assert_eq!(whole.L.slice(s![3.., ..]), tail.L);
        }
    }

    /// Over many draws of t the stratified sum has the mean of the full one; its noise is the same by (image, t).
    #[test]
    fn the_stratified_estimate_is_unbiased() {
        let (_, _, data) = world();
        let full = run(&data, &ElboOptions::default(), &Noise::seed(1));
        let draws: Array1<f64> = (0..400)
            .map(|seed| {
                let time_steps = TimeSteps::Stratified { count: 4, seed };
                let options = ElboOptions { time_steps, ..Default::default() };
                let part = run(&data, &options, &Noise::seed(1));
                for ((n, k), &t) in part.t.indexed_iter() {
                    assert_eq!(part.L[[n, k]], full.L[[n, t - 1]]);
                }
                part.bits_per_dim().mean
            })
            .collect();
        let (estimate, exact) = (Estimate::of(&draws), full.bits_per_dim().mean);
        assert!((estimate.mean - exact).abs() < 4.0 * estimate.std_error, "{estimate} and {exact}");
        assert!(estimate.std_error < 0.02 * exact);
    }

    #[test]
    fn totals_add_up() {
        let (_, _, data) = world();
        let bound = run(&data, &ElboOptions::default(), &Noise::seed(1));
        let by_hand = bound.L_T[2] + bound.L.row(2).sum();
        assert!((bound.total()[2] - by_hand).abs() < 1e-10);
        assert!((bound.bits_per_dim().mean - bits_per_dim(bound.total().sum() / 5.0, 4)).abs() < 1e-12);
        assert!((bound.L_simple().mean - bound.eps_mse.mean().unwrap()).abs() < 1e-12);
        let text = bound.to_string();
        assert!(text.lines().count() == 4 && text.contains("Σ L_t-1"), "{text}");
    }

    /// Eq. 12 at t ≥ 2: the KL is the weighted noise error plus the constant.
    #[test]
    fn the_kl_is_the_weighted_noise_error() {
        let (model, reverse, data) = world();
        let reverse = Reverse { clip: false, ..reverse };
        let bound = elbo(&model, &reverse, &data, &ElboOptions::default(), &Noise::seed(3));
        let schedule = &reverse.schedule;
        for t in 2..=30 {
            let nats = schedule.weight(t, schedule.beta(t)) * bound.eps_mse[[1, t - 1]]
                + schedule.kl_const(t, schedule.beta(t));
            let (is, expected) = (bound.L[[1, t - 1]], 4.0 * nats);
            assert!((is - expected).abs() < 1e-9 * expected, "t = {t}: {is} and {expected}");
        }
    }

    #[test]
    fn the_model_is_asked_about_every_pair() {
        let (model, reverse, data) = world();
        let seen = std::cell::RefCell::new(Vec::new());
        let watched =
            Watched { model: &model, before: |query: &Query| seen.borrow_mut().push(query.t.len()) };
        let options = ElboOptions { batch: 64, ..Default::default() };
        elbo(&watched, &reverse, &data, &options, &Noise::seed(1));
        assert_eq!(seen.into_inner(), [5, 64, 64, 17]); // five of t = 1, then the others
    }

    #[test]
    #[should_panic(expected = "L_t_minus_1: t must be at least 2 (the term of t = 1 is L_0): [1]")]
    fn no_kl_at_t_one() {
        let (model, reverse, _) = world();
        let x = Batch::zeros((1, 2, 2, 1));
        let p = reverse.p_mean_variance(&model, &x, &[1]);
        L_t_minus_1(&reverse.schedule, &x, &x, &[1], &p);
    }

    #[test]
    #[should_panic(expected = "L_simple: the shapes of eps and eps_hat must be equal")]
    fn shapes_must_agree() {
        L_simple(&Batch::zeros((1, 1, 1, 1)), &Batch::zeros((1, 1, 1, 2)));
    }

    #[test]
    #[should_panic(expected = "elbo: the batch must hold at least one pair")]
    fn an_empty_batch() {
        let (_, _, data) = world();
        run(&data, &ElboOptions { batch: 0, ..Default::default() }, &Noise::seed(1));
    }
}
