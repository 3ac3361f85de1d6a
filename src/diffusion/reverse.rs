//! The reverse chain p_θ: from what a network says to a Gaussian over x_{t−1} (Eqs. 1, 11, 15).

use super::batch::{constant_per_image, mix, one_t_per_image, same_shape, scale_per_image};
use super::forward::{log_beta_tilde, mu_tilde, v_from_x0};
use super::{Normal, Query, Schedule};
use crate::names::{all, unknown};
use crate::tensor::Batch;
use crate::{Error, Result};
use ndarray::{Zip, s};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantArray};

/// A model as the mathematics sees it: a noisy batch and one t per image in, the network's raw output out.
///
/// Closures of type `Fn(&Batch, &[usize]) -> Batch` are denoisers. Functions take `&impl Denoiser` (also
/// `&dyn Denoiser`), so a model is lent and never moved.
///
/// ```
/// use ddpm::{diffusion::{Denoiser, Schedule}, tensor::Batch};
/// let schedule = Schedule::linear(1000);
/// // the best guess of the noise when every pixel is N(0, 1): ε̂ = √(1 − ᾱ_t) x_t
/// let model = |x_t: &Batch, t: &[usize]| {
///     let mut eps_hat = x_t.clone();
///     for (mut image, &t) in eps_hat.outer_iter_mut().zip(t) {
///         image *= (1.0 - schedule.alpha_bar(t)).sqrt();
///     }
///     eps_hat
/// };
/// assert_eq!(model.predict(&Batch::zeros((2, 4, 4, 1)), &[1, 1000]).shape(), [2, 4, 4, 1]);
/// ```
pub trait Denoiser {
    /// The raw output for `x_t` `[N, H, W, C]` at `t` (N numbers of 1..=T): `[N, H, W, C]`, or `[N, H, W, 2C]`
    /// when the variance is learned.
    fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch;

    /// The raw output with all that is known of each image. Samplers and the bound ask this; a model that can't be told
    /// anything has only [`predict`](Denoiser::predict).
    fn answer(&self, query: &Query) -> Batch {
        self.predict(query.x_t, query.t)
    }
}

impl<F: Fn(&Batch, &[usize]) -> Batch> Denoiser for F {
    fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
        self(x_t, t)
    }
}

/// What the first C channels of the network's output mean (section 3.2; the rows of Table 2).
///
/// Given x_t the four say the same in other words. What differs is which error the loss weighs, and where the words
/// fail: ε says nothing of the image where all of x_t is noise, x_0 nothing of the noise where there is hardly any. v is
/// the one where the other is not, and both in between.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = Error, parse_err_fn = unknown::<Prediction>)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum), value(rename_all = "snake_case"))]
pub enum Prediction {
    /// the noise: x̂_0 = (x_t − √(1 − ᾱ_t) ε̂)/√ᾱ_t, μ_θ = μ̃_t(x_t, x̂_0) (Eq. 11)
    #[default]
    Eps,
    /// the image: x̂_0 itself, μ_θ = μ̃_t(x_t, x̂_0)
    X0,
    /// the posterior mean: μ_θ itself, x̂_0 = (μ_θ − c_2 x_t)/c_1
    MuTilde,
    /// the velocity v = √ᾱ_t ε − √(1 − ᾱ_t) x_0: x̂_0 = √ᾱ_t x_t − √(1 − ᾱ_t) v̂, μ_θ = μ̃_t(x_t, x̂_0)
    /// (Salimans & Ho 2022)
    V,
}

impl Prediction {
    /// Every prediction, in the order of the help text.
    pub const ALL: [Self; 4] = all();
}

/// The variance σ_t² of a reverse step.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = Error, parse_err_fn = unknown::<Variance>)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum), value(rename_all = "snake_case"))]
pub enum Variance {
    /// σ_t² = β_t, best for x_0 ~ N(0, I) (the paper's; β̃_2 at t = 1)
    #[default]
    Beta,
    /// σ_t² = β̃_t, best for a single x_0 (β̃_2 at t = 1)
    BetaTilde,
    /// log σ² is the second half of the output (the paper's "learned diagonal Σ")
    Learned,
    /// log σ² = f log β_t + (1 − f) log β̃_t with f = (v + 1)/2 and v the second half of the output
    /// (Nichol & Dhariwal 2021, Eq. 15)
    LearnedRange,
}

impl Variance {
    /// Every variance, in the order of the help text.
    pub const ALL: [Self; 4] = all();

    /// Whether the network's output has 2C channels.
    ///
    /// ```
    /// use ddpm::diffusion::Variance;
    /// assert!(Variance::LearnedRange.is_learned() && !Variance::Beta.is_learned());
    /// ```
    pub fn is_learned(self) -> bool {
        matches!(self, Self::Learned | Self::LearnedRange)
    }
}

/// How to read a network's output as p_θ(x_{t−1} | x_t).
#[derive(Clone, Debug, PartialEq)]
pub struct Reverse {
    /// β_t and all that follows from it
    pub schedule: Schedule,
    /// what the network predicts
    pub prediction: Prediction,
    /// σ_t²
    pub variance: Variance,
    /// whether x̂_0 is clipped to [−1, 1]: yes in sampling and in the official bits/dim, never in a loss. Clipping
    /// moves μ_θ, but for [`Prediction::MuTilde`], where it moves only x̂_0.
    pub clip: bool,
}

/// p_θ(x_{t−1} | x_t), and the guess of the image that stands behind it.
#[derive(Clone, Debug)]
pub struct PMeanVariance {
    /// N(μ_θ(x_t, t), σ_t² I)
    pub normal: Normal,
    /// x̂_0(x_t), the model's guess of the image (Eq. 15), `[N, H, W, C]`
    pub x0_hat: Batch,
}

/// One step of Algorithm 2.
#[derive(Clone, Debug)]
pub struct PSample {
    /// x_{t−1}, `[N, H, W, C]`
    pub x_prev: Batch,
    /// x̂_0(x_t), `[N, H, W, C]`
    pub x0_hat: Batch,
}

impl Reverse {
    /// The paper's choices: ε-prediction, σ_t² = β_t, clipping.
    ///
    /// ```
    /// use ddpm::diffusion::{Prediction, Reverse, Schedule};
    /// assert_eq!(Reverse::new(Schedule::linear(1000)).prediction, Prediction::Eps);
    /// ```
    pub fn new(schedule: Schedule) -> Self {
        Self { schedule, prediction: Prediction::Eps, variance: Variance::Beta, clip: true }
    }

    /// Whether the network's answer can be read at every t: to be asked of a process that comes from outside.
    ///
    /// # Errors
    /// When ε is predicted and ᾱ_T = 0. Then x_T = ε, so that the network has nothing to find out there, and x̂_0 is
    /// 0/0 (Eq. 15). The other three predictions have an x̂_0 at every t.
    ///
    /// ```
    /// use ddpm::diffusion::{Prediction, Reverse, Schedule};
    /// let eps = Reverse::new(Schedule::cosine(50).rescaled_to_zero_snr()?);
    /// let error = eps.check().unwrap_err().to_string();
    /// assert_eq!(error, "prediction: expected v, x0 or mu_tilde, since alpha_bar_T = 0, found eps");
    /// Reverse { prediction: Prediction::V, ..eps }.check()?;
    /// # Ok::<(), ddpm::Error>(())
    /// ```
    pub fn check(&self) -> Result<()> {
        if self.prediction == Prediction::Eps && self.schedule.has_zero_terminal_snr() {
            let expected = "v, x0 or mu_tilde, since alpha_bar_T = 0";
            return Err(Error::argument("prediction", expected, self.prediction));
        }
        Ok(())
    }

    /// p_θ(x_{t−1} | x_t): asks the model and reads its answer.
    ///
    /// # Shapes
    /// `x_t` `[N, H, W, C]`, `t` N numbers of 1..=T.
    ///
    /// # Panics
    /// When `t` has not N entries, one is not a step, or the output has not C channels (2C if the variance is
    /// learned); at t = T of a process that does not pass [`check`](Reverse::check).
    ///
    /// ```
    /// use ddpm::diffusion::{Reverse, Schedule, oracle::GaussianWorld};
    /// use ddpm::tensor::Batch;
    /// let schedule = Schedule::cosine(10);
    /// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
    /// let p = Reverse::new(schedule.clone()).p_mean_variance(&world, &Batch::ones((1, 2, 2, 1)), &[5]);
    /// assert_eq!(p.normal.log_variance[[0, 0, 0, 0]], schedule.beta(5).ln());
    /// ```
    #[track_caller]
    pub fn p_mean_variance(
        &self,
        model: &(impl Denoiser + ?Sized),
        x_t: &Batch,
        t: &[usize],
    ) -> PMeanVariance {
        one_t_per_image("p_mean_variance", x_t, t);
        self.read(model.answer(&Query::new(x_t, t)), x_t, t)
    }

    /// p_θ(x_{t−1} | x_t) from the network's raw output, C or 2C channels.
    ///
    /// # Panics
    /// As [`p_mean_variance`](Reverse::p_mean_variance).
    ///
    /// ```
    /// use ddpm::{diffusion::{Reverse, Schedule}, tensor::Batch};
    /// let reverse = Reverse::new(Schedule::cosine(10));
    /// // no noise at all: x_t is the scaled image
    /// let p = reverse.read(Batch::zeros((1, 1, 1, 1)), &Batch::from_elem((1, 1, 1, 1), 0.1), &[5]);
    /// assert!((p.x0_hat[[0, 0, 0, 0]] - 0.1 / reverse.schedule.alpha_bar(5).sqrt()).abs() < 1e-12);
    /// ```
    #[track_caller]
    pub fn read(&self, output: Batch, x_t: &Batch, t: &[usize]) -> PMeanVariance {
        let (output, v) = self.split(output, x_t);
        let x0_hat = self.x0_hat(&output, x_t, t);
        let mean = match self.prediction {
            Prediction::MuTilde => output,
            Prediction::Eps | Prediction::X0 | Prediction::V => mu_tilde(&self.schedule, &x0_hat, x_t, t),
        };
        PMeanVariance { normal: Normal { mean, log_variance: self.log_variance(v, x_t, t) }, x0_hat }
    }

    /// x_{t−1} = μ_θ(x_t, t) + σ_t z, and no noise at t = 1 (Algorithm 2, lines 3 and 4).
    ///
    /// # Shapes
    /// `x_t` and `z` `[N, H, W, C]`, `t` N numbers of 1..=T.
    ///
    /// # Panics
    /// When the shapes differ, and as [`p_mean_variance`](Reverse::p_mean_variance).
    ///
    /// ```
    /// use ddpm::diffusion::{Reverse, Schedule, oracle::GaussianWorld};
    /// use ddpm::tensor::Batch;
    /// let schedule = Schedule::cosine(10);
    /// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
    /// let (x, z) = (Batch::ones((1, 2, 2, 1)), Batch::from_elem((1, 2, 2, 1), 5.0));
    /// let step = Reverse::new(schedule).p_sample(&world, &x, &[1], &z);
    /// assert!((step.x_prev - step.x0_hat).iter().all(|d| d.abs() < 1e-12)); // the last step adds no noise
    /// ```
    #[track_caller]
    pub fn p_sample(&self, model: &(impl Denoiser + ?Sized), x_t: &Batch, t: &[usize], z: &Batch) -> PSample {
        same_shape("p_sample", ("x_t", x_t), ("z", z));
        let PMeanVariance { normal, x0_hat } = self.p_mean_variance(model, x_t, t);
        let mut z = z.clone();
        scale_per_image(&mut z, t, |t| if t > 1 { 1.0 } else { 0.0 });
        PSample { x_prev: normal.sample(&z), x0_hat }
    }

    /// The two halves of the output: the prediction, and the variance's channels if it is learned.
    #[track_caller]
    pub(super) fn split(&self, output: Batch, x_t: &Batch) -> (Batch, Option<Batch>) {
        let c = x_t.dim().3;
        let mut expected = x_t.dim();
        if self.variance.is_learned() {
            expected.3 *= 2;
        }
        assert_eq!(
            output.dim(),
            expected,
            "p_mean_variance: the output's shape for x_t {:?} with prediction {}, variance {}",
            x_t.shape(),
            self.prediction,
            self.variance
        );
        if !self.variance.is_learned() {
            return (output, None);
        }
        (output.slice(s![.., .., .., ..c]).to_owned(), Some(output.slice(s![.., .., .., c..]).to_owned()))
    }

    /// x̂_0 from the prediction (Eq. 15), clipped if so chosen.
    #[track_caller]
    fn x0_hat(&self, output: &Batch, x_t: &Batch, t: &[usize]) -> Batch {
        let x0_hat = self.x0_hat_unclipped(output, x_t, t);
        if self.clip { x0_hat.mapv_into(|x| x.clamp(-1.0, 1.0)) } else { x0_hat }
    }

    #[track_caller]
    pub(super) fn x0_hat_unclipped(&self, output: &Batch, x_t: &Batch, t: &[usize]) -> Batch {
        let s = &self.schedule;
        match self.prediction {
            Prediction::X0 => output.clone(),
            // x̂_0 = (x_t − √(1 − ᾱ_t) ε̂) / √ᾱ_t
            Prediction::Eps => {
                let lost = t.iter().find(|&&t| s.alpha_bar(t) == 0.0);
                assert_eq!(lost, None, "x0_hat: ε says nothing of the image where ᾱ_t = 0");
                let noise = |t| ((1.0 - s.alpha_bar(t)) / s.alpha_bar(t)).sqrt();
                mix(t, |t| 1.0 / s.alpha_bar(t).sqrt(), x_t, |t| -noise(t), output)
            }
            // x̂_0 = (μ_θ − c_2 x_t) / c_1
            Prediction::MuTilde => {
                let (c1, c2) = (|t| s.posterior_coefs(t).0, |t| s.posterior_coefs(t).1);
                mix(t, |t| 1.0 / c1(t), output, |t| -c2(t) / c1(t), x_t)
            }
            // x̂_0 = √ᾱ_t x_t − √(1 − ᾱ_t) v̂
            Prediction::V => {
                mix(t, |t| s.alpha_bar(t).sqrt(), x_t, |t| -(1.0 - s.alpha_bar(t)).sqrt(), output)
            }
        }
    }

    /// The noise that stands between x_t and a guess of the image: ε = (x_t − √ᾱ_t x̂_0)/√(1 − ᾱ_t), Eq. 4
    /// solved for ε. `[N, H, W, C]`.
    ///
    /// ```
    /// use ddpm::{diffusion::{Reverse, Schedule, q_sample}, tensor::Batch};
    /// let reverse = Reverse::new(Schedule::cosine(10));
    /// let (x0, eps) = (Batch::ones((1, 1, 1, 1)), Batch::from_elem((1, 1, 1, 1), 0.3));
    /// let x_t = q_sample(&reverse.schedule, &x0, &[5], &eps);
    /// assert!((reverse.eps_from_x0(&x_t, &[5], &x0) - eps).iter().all(|d| d.abs() < 1e-12));
    /// ```
    #[track_caller]
    pub fn eps_from_x0(&self, x_t: &Batch, t: &[usize], x0_hat: &Batch) -> Batch {
        same_shape("eps_from_x0", ("x_t", x_t), ("x0_hat", x0_hat));
        let noise = |t| (1.0 - self.schedule.alpha_bar(t)).sqrt();
        mix(t, |t| 1.0 / noise(t), x_t, |t| -self.schedule.alpha_bar(t).sqrt() / noise(t), x0_hat)
    }

    /// The noise that the network's raw output says, whatever it predicts, without clipping; and the variance's channels
    /// if it is learned.
    #[track_caller]
    pub(super) fn eps_hat(&self, output: Batch, x_t: &Batch, t: &[usize]) -> (Batch, Option<Batch>) {
        let (output, v) = self.split(output, x_t);
        let eps_hat = match self.prediction {
            Prediction::Eps => output,
            Prediction::X0 | Prediction::MuTilde => {
                self.eps_from_x0(x_t, t, &self.x0_hat_unclipped(&output, x_t, t))
            }
            // ε̂ = √(1 − ᾱ_t) x_t + √ᾱ_t v̂
            Prediction::V => {
                let s = &self.schedule;
                mix(t, |t| (1.0 - s.alpha_bar(t)).sqrt(), x_t, |t| s.alpha_bar(t).sqrt(), &output)
            }
        };
        (eps_hat, v)
    }

    /// The same in the words of v.
    #[track_caller]
    pub(super) fn v_hat(&self, output: Batch, x_t: &Batch, t: &[usize]) -> (Batch, Option<Batch>) {
        let (output, v) = self.split(output, x_t);
        let v_hat = match self.prediction {
            Prediction::V => output,
            Prediction::Eps | Prediction::X0 | Prediction::MuTilde => {
                v_from_x0(&self.schedule, x_t, t, &self.x0_hat_unclipped(&output, x_t, t))
            }
        };
        (v_hat, v)
    }

    /// log σ_t² for every pixel, from the schedule or from the output's second half `v`.
    fn log_variance(&self, v: Option<Batch>, x_t: &Batch, t: &[usize]) -> Batch {
        let s = &self.schedule;
        match (self.variance, v) {
            (Variance::Learned, Some(v)) => v,
            // f log β_t + (1 − f) log β̃_t
            (Variance::LearnedRange, Some(v)) => {
                let small = log_beta_tilde(s, x_t, t);
                let large = constant_per_image(x_t, t, |t| s.beta(t).ln());
                Zip::from(&v).and(&large).and(&small).map_collect(|v, large, small| {
                    let f = 0.5 * (v + 1.0);
                    f * large + (1.0 - f) * small
                })
            }
            (Variance::BetaTilde, _) => log_beta_tilde(s, x_t, t),
            _ => constant_per_image(x_t, t, |t| s.log_beta_clipped(t)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{forward::v_target, q_sample};
    use crate::rng::{normal, stream};

    const T: [usize; 2] = [2, 900];

    fn setup() -> (Reverse, Batch, Batch, Batch) {
        let reverse = Reverse { clip: false, ..Reverse::new(Schedule::linear(1000)) };
        let x0: Batch = normal((2, 2, 2, 1), &mut stream(1, 0));
        let eps = normal((2, 2, 2, 1), &mut stream(1, 1));
        let x_t = q_sample(&reverse.schedule, &x0, &T, &eps);
        (reverse, x0, eps, x_t)
    }

    #[track_caller]
    fn close(a: &Batch, b: &Batch) {
        Zip::from(a).and(b).for_each(|a, b| assert!((a - b).abs() < 1e-10, "{a} and {b}"));
    }

    /// A network that knows the answer says the same in all four ways: x̂_0 = x_0, ε̂ = ε and μ_θ = μ̃_t.
    #[test]
    fn the_four_predictions_agree() {
        let (reverse, x0, eps, x_t) = setup();
        let truth = mu_tilde(&reverse.schedule, &x0, &x_t, &T);
        let v = v_target(&reverse.schedule, &x0, &T, &eps);
        let answers = [
            (Prediction::Eps, &eps),
            (Prediction::X0, &x0),
            (Prediction::MuTilde, &truth),
            (Prediction::V, &v),
        ];
        assert_eq!(answers.map(|(prediction, _)| prediction), Prediction::ALL);
        for (prediction, answer) in answers {
            let reverse = Reverse { prediction, ..reverse.clone() };
            let p = reverse.read(answer.clone(), &x_t, &T);
            close(&p.x0_hat, &x0);
            close(&p.normal.mean, &truth);
            close(&reverse.eps_hat(answer.clone(), &x_t, &T).0, &eps);
            close(&reverse.v_hat(answer.clone(), &x_t, &T).0, &v);
        }
        close(&reverse.eps_from_x0(&x_t, &T, &x0), &eps);
    }

    /// Eq. 11: μ_θ = (x_t − β_t/√(1 − ᾱ_t) ε_θ)/√α_t; with ᾱ where the classic slip has α.
    #[test]
    fn the_mean_is_equation_11() {
        let (reverse, _, eps_hat, x_t) = setup();
        let s = &reverse.schedule;
        let mean = mix(
            &T,
            |t| 1.0 / s.alpha(t).sqrt(),
            &x_t,
            |t| -s.beta(t) / ((1.0 - s.alpha_bar(t)) * s.alpha(t)).sqrt(),
            &eps_hat,
        );
        close(&reverse.read(eps_hat, &x_t, &T).normal.mean, &mean);
    }

    #[test]
    fn the_four_variances() {
        let (reverse, _, eps, x_t) = setup();
        let s = reverse.schedule.clone();
        let with = |variance, v: f64| {
            let mut output = Batch::from_elem((2, 2, 2, 2), v);
            output.slice_mut(s![.., .., .., ..1]).assign(&eps);
            let output = if variance == Variance::Learned || variance == Variance::LearnedRange {
                output
            } else {
                eps.clone()
            };
            Reverse { variance, ..reverse.clone() }.read(output, &x_t, &T).normal.log_variance[[1, 0, 0, 0]]
        };
        assert_eq!(with(Variance::Beta, 0.0), s.beta(900).ln());
        assert_eq!(with(Variance::BetaTilde, 0.0), s.beta_tilde(900).ln());
        assert_eq!(with(Variance::Learned, -3.0), -3.0);
        assert_eq!(with(Variance::LearnedRange, 1.0), s.beta(900).ln());
        assert_eq!(with(Variance::LearnedRange, -1.0), s.beta_tilde(900).ln());
    }

    /// Both fixed variances take the same value at t = 1, so that L_0 is one number.
    #[test]
    fn the_last_step_has_one_variance_and_no_noise() {
        let (reverse, _, eps, x_t) = setup();
        let at_one = |variance| {
            let reverse = Reverse { variance, ..reverse.clone() };
            reverse.read(eps.clone(), &x_t, &[1, 1]).normal.log_variance[[0, 0, 0, 0]]
        };
        assert_eq!(at_one(Variance::Beta), reverse.schedule.beta_tilde(2).ln());
        assert_eq!(at_one(Variance::Beta), at_one(Variance::BetaTilde));

        let model = |x: &Batch, _: &[usize]| x.clone();
        let step =
            |t, z: f64| reverse.p_sample(&model, &x_t, &[t, t], &Batch::from_elem(x_t.dim(), z)).x_prev;
        assert_eq!(step(1, 1.0), step(1, 0.0));
        close(&(step(2, 1.0) - step(2, 0.0)), &Batch::from_elem(x_t.dim(), reverse.schedule.beta(2).sqrt()));
    }

    /// Beside closures: a type of one's own, a reference to it, and any of them behind `dyn`.
    #[test]
    fn every_kind_of_denoiser() {
        struct Silent;
        impl Denoiser for Silent {
            fn predict(&self, x_t: &Batch, _: &[usize]) -> Batch {
                Batch::zeros(x_t.dim())
            }
        }
        impl Denoiser for &Silent {
            fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
                (**self).predict(x_t, t)
            }
        }
        let (reverse, _, _, x_t) = setup();
        let expected = reverse.p_mean_variance(&Silent, &x_t, &T).normal.mean;
        let closure = |x_t: &Batch, _: &[usize]| Batch::zeros(x_t.dim());
        for model in [&Silent as &dyn Denoiser, &&Silent, &closure, &&closure] {
            assert_eq!(reverse.p_mean_variance(model, &x_t, &T).normal.mean, expected);
        }
    }

    #[test]
    fn clipping_moves_the_mean_inwards() {
        let (reverse, _, _, x_t) = setup();
        let clipped = Reverse { clip: true, prediction: Prediction::X0, ..reverse };
        let p = clipped.read(Batch::from_elem(x_t.dim(), 7.0), &x_t, &T);
        assert!(p.x0_hat.iter().all(|&x| x == 1.0));
        close(&p.normal.mean, &mu_tilde(&clipped.schedule, &Batch::ones(x_t.dim()), &x_t, &T));
    }

    #[test]
    #[should_panic(
        expected = "p_mean_variance: the output's shape for x_t [2, 2, 2, 1] with prediction eps, \
                               variance learned_range"
    )]
    fn a_learned_variance_needs_twice_the_channels() {
        let (reverse, _, eps, x_t) = setup();
        Reverse { variance: Variance::LearnedRange, ..reverse }.read(eps, &x_t, &T);
    }

    #[test]
    #[should_panic(expected = "p_mean_variance: one t per image: 1 t for a batch [2, 2, 2, 1]")]
    fn one_t_each() {
        let (reverse, _, _, x_t) = setup();
        reverse.p_mean_variance(&|x: &Batch, _: &[usize]| x.clone(), &x_t, &[1]);
    }
}
