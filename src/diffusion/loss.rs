//! What training minimises, and its gradient with respect to the network's raw output (Eqs. 5, 12, 14).
//!
//! A loss here is one random term per image, at that image's t: the average over t is left to training
//! (Algorithm 1). x̂_0 is never clipped in a loss, whatever `reverse.clip` says.

use super::batch::{dims, mse_per_image, scale_per_image};
use super::forward::{mu_tilde, v_target};
use super::{Decoder, Prediction, Reverse, Schedule, Variance, kl_normal, q_sample};
use crate::Error;
use crate::names::{all, unknown};
use crate::tensor::Batch;
use ndarray::{Array1, Axis, Zip, concatenate, s};
use serde::{Deserialize, Serialize};
use std::f64::consts::LN_2;
use strum::{Display, EnumString, VariantArray};

/// Nichol & Dhariwal 2021, section 3.1: λ = 0.001, so that L_vlb hardly disturbs the mean.
const HYBRID_LAMBDA: f64 = 1e-3;

/// A batch as Algorithm 1 has it after drawing t and ε: all that a loss needs besides the network's output.
#[derive(Clone, Debug)]
pub struct NoisyBatch {
    /// images, `[N, H, W, C]`
    pub x0: Batch,
    /// one t of 1..=T per image, `[N]`
    pub t: Vec<usize>,
    /// ε ~ N(0, I), `[N, H, W, C]`
    pub eps: Batch,
    /// x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, what the network is shown
    pub x_t: Batch,
}

impl NoisyBatch {
    /// Adds the noise ([`q_sample`]).
    ///
    /// # Panics
    /// When the shapes differ, or there is not one t per image.
    ///
    /// ```
    /// use ddpm::diffusion::{NoisyBatch, Schedule};
    /// use ddpm::tensor::Batch;
    /// let schedule = Schedule::cosine(10);
    /// let (x0, eps) = (Batch::zeros((2, 2, 2, 1)), Batch::ones((2, 2, 2, 1)));
    /// let batch = NoisyBatch::new(&schedule, x0, vec![2, 9], eps);
    /// assert_eq!(batch.x_t[[0, 0, 0, 0]], (1.0 - schedule.alpha_bar(2)).sqrt());
    /// ```
    #[track_caller]
    pub fn new(schedule: &Schedule, x0: Batch, t: Vec<usize>, eps: Batch) -> Self {
        let x_t = q_sample(schedule, &x0, &t, &eps);
        Self { x0, t, eps, x_t }
    }
}

/// Loss of each image, and the gradient of their **sum** with respect to the network's output.
///
/// Divide both by N for the mean over a batch.
#[derive(Clone, Debug)]
pub struct LossGrad {
    /// `[N]`
    pub loss: Array1<f64>,
    /// d Σₙ lossₙ / d output, in the output's shape: `[N, H, W, C]` or `[N, H, W, 2C]`
    pub d_output: Batch,
}

/// What training minimises (the columns of Table 2): [`simple_loss`], [`vlb_loss`] or [`hybrid_loss`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = Error, parse_err_fn = unknown::<Loss>)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum), value(rename_all = "snake_case"))]
pub enum Loss {
    /// L_simple, the squared error of what is predicted, at every t alike (Eq. 14)
    #[default]
    Simple,
    /// L_vlb, the term of the bound, in bits per dimension (Eq. 5)
    Vlb,
    /// L_simple + 0.001 L_vlb, which teaches a learned variance (Nichol & Dhariwal 2021, Eq. 16)
    Hybrid,
}

impl Loss {
    /// Every loss, in the order of the help text.
    pub const ALL: [Self; 3] = all();

    /// Loss and gradient; shapes, units and panics as in the function that the variant names.
    ///
    /// ```
    /// use ddpm::diffusion::{Decoder, Loss, NoisyBatch, Reverse, Schedule};
    /// use ddpm::tensor::Batch;
    /// let schedule = Schedule::cosine(10);
    /// let (x0, eps) = (Batch::zeros((2, 2, 2, 1)), Batch::ones((2, 2, 2, 1)));
    /// let batch = NoisyBatch::new(&schedule, x0, vec![2, 9], eps);
    /// let right = Loss::Simple.loss_and_grad(&Reverse::new(schedule), &batch.eps, &batch, Decoder::Exact);
    /// assert!(right.loss.iter().all(|&l| l == 0.0) && right.d_output.iter().all(|&d| d == 0.0));
    /// ```
    #[track_caller]
    pub fn loss_and_grad(
        self,
        reverse: &Reverse,
        output: &Batch,
        batch: &NoisyBatch,
        decoder: Decoder,
    ) -> LossGrad {
        match self {
            Self::Simple => simple_loss(reverse, output, batch),
            Self::Vlb => vlb_loss(reverse, output, batch, decoder),
            Self::Hybrid => hybrid_loss(reverse, output, batch, decoder),
        }
    }
}

/// L_simple = ‖target − output‖²/D, where the target is ε (Eq. 14), x_0, μ̃_t or v, as `reverse.prediction` says.
///
/// d_output = 2 (output − target)/D. Channels of a learned variance get no gradient: L_simple can't see them.
///
/// # Shapes
/// `output` `[N, H, W, C]`, or `[N, H, W, 2C]` if the variance is learned.
///
/// # Panics
/// When the output has another shape.
///
/// ```
/// use ddpm::diffusion::{NoisyBatch, Reverse, Schedule, simple_loss};
/// use ddpm::{rng::{normal, stream}, tensor::Batch};
/// let reverse = Reverse::new(Schedule::linear(1000));
/// let (x0, eps) = (Batch::zeros((2, 4, 4, 1)), normal((2, 4, 4, 1), &mut stream(1, 0)));
/// let batch = NoisyBatch::new(&reverse.schedule, x0, vec![3, 700], eps);
/// let off_by_one = &batch.eps + 1.0; // what a network might have said
/// let result = simple_loss(&reverse, &off_by_one, &batch);
/// assert!((result.loss[0] - 1.0).abs() < 1e-12);
/// assert!((result.d_output[[0, 0, 0, 0]] - 2.0 / 16.0).abs() < 1e-12);
/// ```
#[track_caller]
pub fn simple_loss(reverse: &Reverse, output: &Batch, batch: &NoisyBatch) -> LossGrad {
    let NoisyBatch { x0, t, eps, x_t } = batch;
    let (prediction, v) = reverse.split(output.clone(), x_t);
    let target = match reverse.prediction {
        Prediction::Eps => eps,
        Prediction::X0 => x0,
        Prediction::MuTilde => &mu_tilde(&reverse.schedule, x0, x_t, t),
        Prediction::V => &v_target(&reverse.schedule, x0, t, eps),
    };
    let loss = mse_per_image(target, &prediction);
    let d_prediction = (prediction - target) * (2.0 / dims(x0) as f64);
    LossGrad { loss, d_output: join(d_prediction, v.map(|v| Batch::zeros(v.dim()))) }
}

/// L_vlb = T · L_{t−1}/(D ln 2), in bits per dimension; at t = 1 the term is L_0.
///
/// With t uniform on 1..=T its mean is the whole bound but for the constant L_T: this is training on L (the
/// columns "L" of Table 2).
///
/// # Shapes
/// As [`simple_loss`].
///
/// # Panics
/// When the output has another shape.
///
/// ```
/// use ddpm::diffusion::{Decoder, NoisyBatch, Reverse, Schedule, vlb_loss};
/// use ddpm::tensor::Batch;
/// let schedule = Schedule::cosine(10);
/// let (x0, eps) = (Batch::zeros((2, 2, 2, 1)), Batch::ones((2, 2, 2, 1)));
/// let batch = NoisyBatch::new(&schedule, x0, vec![2, 9], eps);
/// let reverse = Reverse { clip: false, ..Reverse::new(schedule) };
/// let [right, wrong] = [1.0, 2.0].map(|k| vlb_loss(&reverse, &(k * &batch.eps), &batch, Decoder::Exact).loss);
/// assert!(wrong[0] > right[0] && wrong[1] > right[1]);
/// ```
#[track_caller]
pub fn vlb_loss(reverse: &Reverse, output: &Batch, batch: &NoisyBatch, decoder: Decoder) -> LossGrad {
    let NoisyBatch { x0, t, x_t, .. } = batch;
    let unclipped = Reverse { clip: false, ..reverse.clone() };
    let p = unclipped.read(output.clone(), x_t, t);
    let truth = mu_tilde(&reverse.schedule, x0, x_t, t);

    let mut loss = Array1::zeros(t.len());
    let (mut d_mean, mut d_log_variance) = (p.normal.mean, p.normal.log_variance); // overwritten pixel by pixel
    for (n, &t) in t.iter().enumerate() {
        let log_beta_tilde = reverse.schedule.log_beta_tilde_clipped(t);
        Zip::from(d_mean.index_axis_mut(Axis(0), n))
            .and(d_log_variance.index_axis_mut(Axis(0), n))
            .and(x0.index_axis(Axis(0), n))
            .and(truth.index_axis(Axis(0), n))
            .for_each(|mean, log_variance, &x0, &mu_tilde| {
                let (nats, d_m, d_v) = match t {
                    1 => decoder_and_grad(decoder, x0, *mean, *log_variance),
                    _ => kl_and_grad(mu_tilde, log_beta_tilde, *mean, *log_variance),
                };
                loss[n] += nats;
                (*mean, *log_variance) = (d_m, d_v);
            });
    }

    // back through `Reverse::read`, where μ_θ and log σ² are affine in the output
    let scale = reverse.schedule.T() as f64 / (dims(x0) as f64 * LN_2);
    scale_per_image(&mut d_mean, t, |t| scale * d_mean_d_output(reverse, t));
    scale_per_image(&mut d_log_variance, t, |t| scale * d_log_variance_d_output(reverse, t));
    let d_v = reverse.variance.is_learned().then_some(d_log_variance);
    LossGrad { loss: loss * scale, d_output: join(d_mean, d_v) }
}

/// L_hybrid = L_simple + λ L_vlb, λ = 0.001, where L_vlb teaches only the variance: its gradient with respect
/// to the mean is stopped (Nichol & Dhariwal 2021, Eq. 16).
///
/// # Shapes
/// `output` `[N, H, W, 2C]`; else as [`simple_loss`].
///
/// # Panics
/// When the output has another shape, or the variance is not learned.
///
/// ```
/// use ddpm::diffusion::{Decoder, NoisyBatch, Reverse, Schedule, Variance, hybrid_loss};
/// use ddpm::tensor::Batch;
/// let schedule = Schedule::cosine(10);
/// let (x0, eps) = (Batch::zeros((2, 2, 2, 1)), Batch::ones((2, 2, 2, 1)));
/// let batch = NoisyBatch::new(&schedule, x0, vec![2, 9], eps);
/// let reverse = Reverse { clip: false, variance: Variance::LearnedRange, ..Reverse::new(schedule) };
/// let output = ndarray::concatenate![ndarray::Axis(3), batch.eps, batch.eps]; // ε̂, and v
/// assert_eq!(hybrid_loss(&reverse, &output, &batch, Decoder::Exact).d_output.dim(), (2, 2, 2, 2));
/// ```
#[track_caller]
pub fn hybrid_loss(reverse: &Reverse, output: &Batch, batch: &NoisyBatch, decoder: Decoder) -> LossGrad {
    assert!(reverse.variance.is_learned(), "hybrid_loss: variance {} is not learned", reverse.variance);
    let LossGrad { loss: mse, mut d_output } = simple_loss(reverse, output, batch);
    let vlb = vlb_loss(reverse, output, batch, decoder);
    let c = batch.x0.dim().3;
    d_output
        .slice_mut(s![.., .., .., c..])
        .assign(&(HYBRID_LAMBDA * &vlb.d_output.slice(s![.., .., .., c..])));
    LossGrad { loss: mse + HYBRID_LAMBDA * vlb.loss, d_output }
}

/// KL(N(μ̃, β̃) ‖ N(μ, v)) with its derivatives with respect to μ and to log v:
/// ½ [log v − log β̃ − 1 + β̃/v + (μ̃ − μ)²/v].
fn kl_and_grad(mu_tilde: f64, log_beta_tilde: f64, mean: f64, log_variance: f64) -> (f64, f64, f64) {
    let nats = kl_normal(mu_tilde, log_beta_tilde, mean, log_variance);
    let d_mean = (mean - mu_tilde) * (-log_variance).exp();
    let ratio = log_beta_tilde - log_variance;
    let d_log_variance = -0.5 * (ratio.exp_m1() + (mean - mu_tilde) * d_mean);
    (nats, d_mean, d_log_variance)
}

/// −log p(x_0|x_1) of one pixel with its derivatives with respect to μ and to log v = 2 log σ.
fn decoder_and_grad(decoder: Decoder, x0: f64, mean: f64, log_variance: f64) -> (f64, f64, f64) {
    let (log_prob, d_mean, d_log_sigma) = decoder.log_prob_and_grad(x0, mean, 0.5 * log_variance);
    (-log_prob, -d_mean, -0.5 * d_log_sigma)
}

/// dμ_θ/d output, one number for all pixels.
fn d_mean_d_output(reverse: &Reverse, t: usize) -> f64 {
    let s = &reverse.schedule;
    match reverse.prediction {
        // μ_θ = (x_t − β_t/√(1 − ᾱ_t) ε_θ)/√α_t                             (Eq. 11)
        Prediction::Eps => -s.beta(t) / ((1.0 - s.alpha_bar(t)) * s.alpha(t)).sqrt(),
        // μ_θ = c_1 x̂_0 + c_2 x_t                                           (Eq. 7)
        Prediction::X0 => s.posterior_coefs(t).0,
        Prediction::MuTilde => 1.0,
        // μ_θ = c_1 (√ᾱ_t x_t − √(1 − ᾱ_t) v_θ) + c_2 x_t
        Prediction::V => -s.posterior_coefs(t).0 * (1.0 - s.alpha_bar(t)).sqrt(),
    }
}

/// d log σ_t²/d output of the second half of the output.
fn d_log_variance_d_output(reverse: &Reverse, t: usize) -> f64 {
    let s = &reverse.schedule;
    match reverse.variance {
        Variance::Learned => 1.0,
        // log σ² = f log β_t + (1 − f) log β̃_t, f = (v + 1)/2
        Variance::LearnedRange => 0.5 * (s.beta(t).ln() - s.log_beta_tilde_clipped(t)),
        Variance::Beta | Variance::BetaTilde => 0.0,
    }
}

/// The inverse of the split into prediction and variance: `[.., C]` and `[.., C]` → `[.., 2C]`.
fn join(prediction: Batch, v: Option<Batch>) -> Batch {
    match v {
        None => prediction,
        Some(v) => concatenate![Axis(3), prediction, v],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{L_0, L_t_minus_1, Normal, PMeanVariance, bits_per_dim};
    use crate::rng::{normal, stream};

    const T: [usize; 4] = [1, 2, 30, 100];

    struct Case {
        reverse: Reverse,
        output: Batch,
        batch: NoisyBatch,
    }

    fn case(prediction: Prediction, variance: Variance) -> Case {
        case_of(Schedule::linear_scaled(100).unwrap(), prediction, variance)
    }

    /// Grey levels (some at the edges), and an output near the truth, so that the decoder is not lost in its tails.
    fn case_of(schedule: Schedule, prediction: Prediction, variance: Variance) -> Case {
        let reverse = Reverse { schedule, prediction, variance, clip: true };
        let z: Batch = normal((4, 2, 2, 1), &mut stream(1, 0));
        let x0 = z.mapv(|z| ((z + 1.0) * 127.5).round().clamp(0.0, 255.0) / 127.5 - 1.0);
        let eps: Batch = normal(x0.dim(), &mut stream(1, 1));
        let batch = NoisyBatch::new(&reverse.schedule, x0, T.to_vec(), eps);
        let NoisyBatch { x0, t, eps, x_t } = &batch;
        let target = match prediction {
            Prediction::Eps => eps.clone(),
            Prediction::X0 => x0.clone(),
            Prediction::MuTilde => mu_tilde(&reverse.schedule, x0, x_t, t),
            Prediction::V => v_target(&reverse.schedule, x0, t, eps),
        };
        let off = 0.02 * normal::<f64, _>(x0.dim(), &mut stream(1, 2));
        let shift = if variance == Variance::Learned { -4.0 } else { 0.0 };
        let v = shift + 0.5 * normal::<f64, _>(x0.dim(), &mut stream(1, 3));
        let output = join(target + off, variance.is_learned().then_some(v));
        Case { reverse, output, batch }
    }

    fn all_cases() -> impl Iterator<Item = Case> {
        let usual = Schedule::linear_scaled(100).unwrap();
        let to_noise = usual.rescaled_to_zero_snr().unwrap();
        let pairs = Prediction::ALL.into_iter().flat_map(|p| Variance::ALL.map(|v| (p, v)));
        pairs.flat_map(move |(p, v)| {
            let ends_in_noise = (p != Prediction::Eps).then(|| case_of(to_noise.clone(), p, v));
            [case_of(usual.clone(), p, v)].into_iter().chain(ends_in_noise)
        })
    }

    impl Case {
        fn loss(&self, loss: Loss, output: &Batch, decoder: Decoder) -> LossGrad {
            loss.loss_and_grad(&self.reverse, output, &self.batch, decoder)
        }

        /// ⟨gradient, direction⟩ against a central difference of the loss.
        fn derivatives(&self, loss: Loss, decoder: Decoder) -> (f64, f64) {
            let direction: Batch = normal(self.output.dim(), &mut stream(2, 0));
            let e = 1e-6;
            let at = |e: f64| self.loss(loss, &(&self.output + &(e * &direction)), decoder).loss.sum();
            let numeric = (at(e) - at(-e)) / (2.0 * e);
            ((self.loss(loss, &self.output, decoder).d_output * direction).sum(), numeric)
        }
    }

    #[test]
    fn gradients_of_every_combination() {
        for case in all_cases() {
            for loss in [Loss::Simple, Loss::Vlb] {
                for decoder in Decoder::ALL {
                    let (exact, numeric) = case.derivatives(loss, decoder);
                    let name =
                        format!("{loss} {} {} {decoder}", case.reverse.prediction, case.reverse.variance);
                    assert!((exact - numeric).abs() < 1e-6 * numeric.abs(), "{name}: {exact} and {numeric}");
                    // negative control: a gradient that is 1 % off must be seen
                    assert!((1.01 * exact - numeric).abs() > 1e-3 * numeric.abs(), "{name}");
                }
            }
        }
    }

    #[test]
    fn the_vlb_loss_is_the_term_of_the_bound() {
        for case in all_cases() {
            let loss = case.loss(Loss::Vlb, &case.output, Decoder::Exact).loss;
            let reverse = Reverse { clip: false, ..case.reverse.clone() };
            let p = reverse.read(case.output.clone(), &case.batch.x_t, &T);
            let first = L_0(&case.batch.x0, &p, Decoder::Exact)[0];
            let rest = |x: &Batch| x.slice(s![1.., .., .., ..]).to_owned();
            let p = PMeanVariance {
                normal: Normal { mean: rest(&p.normal.mean), log_variance: rest(&p.normal.log_variance) },
                x0_hat: rest(&p.x0_hat),
            };
            let kl =
                L_t_minus_1(&reverse.schedule, &rest(&case.batch.x0), &rest(&case.batch.x_t), &T[1..], &p);
            for (loss, nats) in loss.iter().zip(std::iter::once(first).chain(kl)) {
                let expected = 100.0 * bits_per_dim(nats, 4);
                assert!((loss - expected).abs() < 1e-10 * expected.abs(), "{loss} and {expected}");
            }
        }
    }

    /// Eq. 12: with ε-prediction and a fixed variance L_{t−1} is a weighted L_simple plus a constant.
    #[test]
    fn the_vlb_is_a_weighted_simple_loss() {
        for variance in [Variance::Beta, Variance::BetaTilde] {
            let case = case(Prediction::Eps, variance);
            let s = &case.reverse.schedule;
            let vlb = case.loss(Loss::Vlb, &case.output, Decoder::Exact).loss;
            let simple = case.loss(Loss::Simple, &case.output, Decoder::Exact).loss;
            for (n, &t) in T.iter().enumerate().skip(1) {
                let sigma2 = if variance == Variance::Beta { s.beta(t) } else { s.beta_tilde(t) };
                let nats = s.weight(t, sigma2) * simple[n] + s.kl_const(t, sigma2); // per dimension
                let expected = 100.0 * bits_per_dim(nats, 1);
                assert!((vlb[n] - expected).abs() < 1e-9 * expected, "{} and {expected}", vlb[n]);
            }
        }
    }

    /// An error of v is one of x̂_0 divided by −√(1 − ᾱ_t), and one of ε̂ divided by √ᾱ_t: what L_simple weighs when v is
    /// predicted is (SNR + 1) times the error of x̂_0 (Salimans & Ho 2022, section 4).
    #[test]
    fn the_simple_loss_of_v_weighs_both_errors() {
        let case = case(Prediction::V, Variance::Beta);
        let (s, NoisyBatch { x0, t, eps, x_t }) = (&case.reverse.schedule, &case.batch);
        let loss = case.loss(Loss::Simple, &case.output, Decoder::Exact).loss;
        let reverse = Reverse { clip: false, ..case.reverse.clone() };
        let x0_mse = mse_per_image(x0, &reverse.read(case.output.clone(), x_t, t).x0_hat);
        let eps_mse = mse_per_image(eps, &reverse.eps_hat(case.output.clone(), x_t, t).0);
        for (n, &t) in t.iter().enumerate() {
            for value in [(s.snr(t) + 1.0) / s.snr(t) * eps_mse[n], (s.snr(t) + 1.0) * x0_mse[n]] {
                assert!((value / loss[n] - 1.0).abs() < 1e-9, "t = {t}: {value} and {}", loss[n]);
            }
        }
    }

    #[test]
    fn the_hybrid_loss_teaches_the_mean_by_simple_alone() {
        let case = case(Prediction::Eps, Variance::LearnedRange);
        let [simple, vlb, hybrid] = Loss::ALL.map(|loss| case.loss(loss, &case.output, Decoder::Tanh));
        let (mean, v) = (s![.., .., .., ..1], s![.., .., .., 1..]);
        assert_eq!(hybrid.d_output.slice(mean), simple.d_output.slice(mean));
        assert_eq!(hybrid.d_output.slice(v), 1e-3 * &vlb.d_output.slice(v));
        assert!(simple.d_output.slice(v).iter().all(|&d| d == 0.0));
        assert_eq!(hybrid.loss, simple.loss + 1e-3 * vlb.loss);
    }

    #[test]
    #[should_panic(expected = "hybrid_loss: variance beta is not learned")]
    fn hybrid_needs_a_learned_variance() {
        let case = case(Prediction::Eps, Variance::Beta);
        case.loss(Loss::Hybrid, &case.output, Decoder::Exact);
    }

    #[test]
    #[should_panic(expected = "the output's shape for x_t [4, 2, 2, 1]")]
    fn shapes_must_agree() {
        let case = case(Prediction::Eps, Variance::Beta);
        simple_loss(&case.reverse, &Batch::zeros((4, 2, 2, 3)), &case.batch);
    }
}
