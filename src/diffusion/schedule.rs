//! The variance schedule: β_t, α_t, ᾱ_t, β̃_t for t = 1..=T (sections 2 and 4).

use super::{Level, Transition};
use crate::names::{all, unknown};
use crate::{Error, Result};
use ndarray::{Array1, Array4, Axis};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use strum::{Display, EnumString, VariantArray};

/// β_1 of the paper's schedule, section 4.
const BETA_FIRST: f64 = 1e-4;
/// β_T of the paper's schedule, section 4.
const BETA_LAST: f64 = 0.02;
/// The T for which the paper chose its β.
const T_PAPER: f64 = 1000.0;
/// Nichol & Dhariwal 2021 cut the cosine schedule's β here, so that ᾱ_T stays above 0.
const BETA_MAX: f64 = 0.999;

/// The tables of the forward chain, with T + 1 entries: index 0 is "no noise yet", ᾱ_0 = 1.
///
/// ```
/// use ddpm::diffusion::Schedule;
/// let schedule = Schedule::linear(1000);
/// assert_eq!(schedule.T(), 1000);
/// assert_eq!(schedule.beta(1), 1e-4);
/// assert_eq!(schedule.alpha_bar(0), 1.0);
/// assert!((schedule.alpha_bar(1000) - 4.0358e-5).abs() < 1e-9); // almost nothing is left of the image
/// ```
///
/// # Panics
/// Every table panics for t > T.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    beta: Vec<f64>,
    alpha_bar: Vec<f64>,
}

#[allow(non_snake_case)] // T is the paper's name
impl Schedule {
    /// The paper's: β_t rises linearly from 1e-4 to 0.02.
    ///
    /// The two ends belong to T = 1000. With a shorter chain x_T would still show the image, and [`L_T`] finds
    /// it: use [`linear_scaled`](Schedule::linear_scaled) there.
    ///
    /// # Panics
    /// When T = 0; so do [`quad`](Schedule::quad), [`sigmoid`](Schedule::sigmoid) and
    /// [`cosine`](Schedule::cosine).
    ///
    /// [`L_T`]: super::L_T
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert_eq!((s.beta(1), s.beta(1000)), (1e-4, 0.02));
    /// ```
    #[track_caller]
    pub fn linear(T: usize) -> Self {
        Self::known_good(linear_betas(T))
    }

    /// The paper's for any length: its β times 1000/T, so that ᾱ_T hardly changes (Nichol & Dhariwal 2021).
    ///
    /// # Errors
    /// When T ≤ 20, since then β_T = 20/T would reach 1. A clipped β would pass silently and make another
    /// schedule; the cosine schedule is made for short chains.
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let short = Schedule::linear_scaled(40)?;
    /// assert_eq!((short.beta(1), short.beta(40)), (0.0025, 0.5));
    /// let error = Schedule::linear_scaled(20).unwrap_err();
    /// assert_eq!(error.to_string(), "T: expected more than 20 steps, as the last beta is 20/T, found 20");
    /// # Ok::<(), ddpm::Error>(())
    /// ```
    pub fn linear_scaled(T: usize) -> Result<Self> {
        Self::scaled(linear_betas(T))
    }

    /// √β_t rises linearly from √1e-4 to √0.02 ("quad" of the official code).
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let (quad, linear) = (Schedule::quad(1000), Schedule::linear(1000));
    /// assert!((quad.beta(1) - linear.beta(1)).abs() < 1e-15 && quad.beta(500) < linear.beta(500));
    /// ```
    #[track_caller]
    pub fn quad(T: usize) -> Self {
        Self::known_good(quad_betas(T))
    }

    /// √β_t rises linearly from √1e-4 to √0.5, at any T (CSDI, Tashiro et al. 2021, with T = 50).
    ///
    /// ```
    /// let s = ddpm::diffusion::Schedule::csdi(50);
    /// assert!((s.beta(1) - 1e-4).abs() < 1e-12 && (s.beta(50) - 0.5).abs() < 1e-12);
    /// ```
    #[track_caller]
    pub fn csdi(T: usize) -> Self {
        Self::known_good(linspace(1e-4f64.sqrt(), 0.5f64.sqrt(), T).map(|root| root * root).collect())
    }

    /// β_t = 1e-4 + (0.02 − 1e-4) / (1 + exp(−s)), s linear from −6 to 6 (the "sigmoid" of diffusers).
    ///
    /// ```
    /// let s = ddpm::diffusion::Schedule::sigmoid(999);
    /// assert!((s.beta(500) - (1e-4 + 0.02) / 2.0).abs() < 1e-12); // the middle
    /// ```
    #[track_caller]
    pub fn sigmoid(T: usize) -> Self {
        Self::known_good(sigmoid_betas(T))
    }

    /// ᾱ_t = f(t)/f(0), f(t) = cos²(π/2 · (t/T + 0.008)/1.008), with β_t ≤ 0.999 (Nichol & Dhariwal 2021,
    /// Eq. 17). Made for any T.
    ///
    /// ```
    /// let s = ddpm::diffusion::Schedule::cosine(1000);
    /// assert!((s.alpha_bar(500) - 0.5).abs() < 0.01); // half-way is half gone
    /// ```
    #[track_caller]
    pub fn cosine(T: usize) -> Self {
        let f = |t: usize| (PI / 2.0 * (t as f64 / T as f64 + 0.008) / 1.008).cos().powi(2);
        Self::known_good((1..=T).map(|t| (1.0 - f(t) / f(t - 1)).min(BETA_MAX)).collect())
    }

    /// From a table of β_1 … β_T. β_T may be 1: then nothing of the image is left in x_T.
    ///
    /// # Errors
    /// When there is none, one is not inside (0, 1), or rounding leaves no noise at t = 1 (ᾱ_1 = 1) or nothing of the
    /// image before the last step (ᾱ_t = 0).
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let error = Schedule::from_betas(&[1.0, 0.1]).unwrap_err();
    /// assert_eq!(error.to_string(), "betas: expected beta = 1 at the last step only, found beta_1 = 1");
    /// ```
    pub fn from_betas(betas: &[f64]) -> Result<Self> {
        if betas.is_empty() {
            return Err(Error::argument("betas", "at least one", "none"));
        }
        let last = betas.len() - 1;
        // written as "not inside", so that NaN is outside
        let outside = |(i, &beta): (usize, &f64)| !(beta > 0.0 && (beta < 1.0 || i == last && beta == 1.0));
        if let Some(i) = betas.iter().enumerate().position(outside) {
            let expected = if betas[i] == 1.0 { "beta = 1 at the last step only" } else { "0 < beta < 1" };
            return Err(Error::argument("betas", expected, format!("beta_{} = {}", i + 1, betas[i])));
        }
        let mut beta = vec![0.0];
        beta.extend(betas);
        // ᾱ_t = ∏_{s ≤ t} (1 − β_s)
        let mut alpha_bar = vec![1.0];
        alpha_bar.extend(betas.iter().scan(1.0, |product, beta| {
            *product *= 1.0 - beta;
            Some(*product)
        }));
        // rounding can undo what the betas promise: at the first step, and in a product of many factors
        if alpha_bar[1] == 1.0 {
            return Err(Error::argument(
                "betas",
                "1 - beta_1 < 1 in f64",
                format!("beta_1 = {:e}", betas[0]),
            ));
        }
        if let Some(t) = alpha_bar[..=last].iter().position(|&alpha_bar| alpha_bar == 0.0) {
            let expected = "alpha_bar > 0 before the last step";
            return Err(Error::argument("betas", expected, format!("alpha_bar_{t} = 0")));
        }
        Ok(Self { beta, alpha_bar })
    }

    /// The same chain with zero terminal SNR: √ᾱ_t shifted so that √ᾱ_T = 0 and scaled so that √ᾱ_1 stays,
    /// √ᾱ′_t = (√ᾱ_t − √ᾱ_T) √ᾱ_1/(√ᾱ_1 − √ᾱ_T) (Lin et al. 2024, Algorithm 1; diffusers' `rescale_betas_zero_snr`).
    ///
    /// Samplers start from pure noise, but x_T of the usual schedules still shows how bright the image is: a network that
    /// was trained with that can't make images of another brightness from noise that has none. Here β_T = 1, so x_T = ε,
    /// L_T = 0 and SNR(T) = 0, and a network must not predict ε ([`Reverse::check`](super::Reverse::check)).
    ///
    /// # Errors
    /// When T = 1, where √ᾱ_1 can't both stay and be 0; or if two √ᾱ_t are so close that their difference is lost.
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let paper = Schedule::linear(1000);
    /// let rescaled = paper.rescaled_to_zero_snr()?;
    /// assert_eq!((rescaled.alpha_bar(1000), rescaled.beta(1000)), (0.0, 1.0));
    /// assert!((rescaled.alpha_bar(1) - paper.alpha_bar(1)).abs() < 1e-15);
    /// # Ok::<(), ddpm::Error>(())
    /// ```
    pub fn rescaled_to_zero_snr(&self) -> Result<Self> {
        if self.T() == 1 {
            return Err(Error::argument("zero SNR", "a chain of at least 2 steps", 1));
        }
        let root = |t: usize| self.alpha_bar[t].sqrt();
        let (first, last) = (root(1), root(self.T()));
        let scale = first / (first - last);
        let alpha_bar: Vec<f64> = (1..=self.T()).map(|t| ((root(t) - last) * scale).powi(2)).collect();
        let before = std::iter::once(&1.0).chain(&alpha_bar);
        let betas: Vec<f64> = alpha_bar.iter().zip(before).map(|(now, before)| 1.0 - now / before).collect();
        Self::from_betas(&betas)
    }

    /// Whether nothing of the image is left in x_T: ᾱ_T = 0.
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert!(!s.has_zero_terminal_snr() && s.rescaled_to_zero_snr()?.has_zero_terminal_snr());
    /// # Ok::<(), ddpm::Error>(())
    /// ```
    pub fn has_zero_terminal_snr(&self) -> bool {
        self.alpha_bar[self.T()] == 0.0
    }

    #[track_caller]
    fn known_good(betas: Vec<f64>) -> Self {
        assert!(!betas.is_empty(), "a schedule needs at least one step, T >= 1");
        Self::from_betas(&betas).expect("the named schedules stay inside (0, 1)")
    }

    fn scaled(mut betas: Vec<f64>) -> Result<Self> {
        let T = betas.len();
        if T <= 20 {
            return Err(Error::argument("T", "more than 20 steps, as the last beta is 20/T", T));
        }
        betas.iter_mut().for_each(|beta| *beta *= T_PAPER / T as f64);
        Self::from_betas(&betas)
    }

    /// The number of steps.
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert_eq!(s.T(), 1000);
    /// ```
    pub fn T(&self) -> usize {
        self.beta.len() - 1
    }

    #[track_caller]
    fn check(&self, t: usize) {
        assert!(t <= self.T(), "t = {t}, but the schedule ends at T = {}", self.T());
    }

    /// β_t, the variance that step t adds (β_0 = 0).
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert_eq!(s.beta(0), 0.0);
    /// ```
    #[track_caller]
    pub fn beta(&self, t: usize) -> f64 {
        self.check(t);
        self.beta[t]
    }

    /// α_t = 1 − β_t.
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert_eq!(s.alpha(1000), 0.98);
    /// ```
    #[track_caller]
    pub fn alpha(&self, t: usize) -> f64 {
        1.0 - self.beta(t)
    }

    /// ᾱ_t = ∏_{s=1}^{t} α_s (ᾱ_0 = 1).
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert_eq!(s.alpha_bar(1), s.alpha(1));
    /// ```
    #[track_caller]
    pub fn alpha_bar(&self, t: usize) -> f64 {
        self.check(t);
        self.alpha_bar[t]
    }

    /// β̃_t = (1 − ᾱ_{t−1})/(1 − ᾱ_t) · β_t, the variance of q(x_{t−1} | x_t, x_0) (Eq. 7). β̃_1 = 0.
    ///
    /// # Panics
    /// Unless 1 ≤ t ≤ T; so do the functions below that speak of x_{t−1}.
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert!(s.beta_tilde(1) == 0.0 && s.beta_tilde(1000) < s.beta(1000));
    /// ```
    #[track_caller]
    pub fn beta_tilde(&self, t: usize) -> f64 {
        self.check_step(t);
        self.transition(t - 1, t).posterior_variance()
    }

    #[track_caller]
    fn check_step(&self, t: usize) {
        assert!((1..=self.T()).contains(&t), "t = {t} is not a step of 1..={}", self.T());
    }

    /// log β̃_t, where t = 1 takes the value of t = 2 since log β̃_1 = −∞ (official code; with T = 1, log β_1).
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert_eq!(s.log_beta_tilde_clipped(1), s.log_beta_tilde_clipped(2));
    /// ```
    #[track_caller]
    pub fn log_beta_tilde_clipped(&self, t: usize) -> f64 {
        self.check_step(t);
        if self.T() == 1 { self.beta[1].ln() } else { self.beta_tilde(t.max(2)).ln() }
    }

    /// log σ_t² of the choice σ_t² = β_t, which at t = 1 is β̃_2 too, "to get a better decoder log likelihood"
    /// (official code, "fixedlarge"). So L_0 is the same for both fixed variances.
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert_eq!(s.log_beta_clipped(1), s.log_beta_tilde_clipped(2));
    /// assert_eq!(s.log_beta_clipped(2), s.beta(2).ln());
    /// ```
    #[track_caller]
    pub fn log_beta_clipped(&self, t: usize) -> f64 {
        if t == 1 { self.log_beta_tilde_clipped(1) } else { self.beta(t).ln() }
    }

    /// (c_1, c_2) of μ̃_t(x_t, x_0) = c_1 x_0 + c_2 x_t (Eq. 7):
    /// c_1 = √ᾱ_{t−1} β_t / (1 − ᾱ_t), c_2 = √α_t (1 − ᾱ_{t−1}) / (1 − ᾱ_t).
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// let (c1, c2) = s.posterior_coefs(500);
    /// assert!(c1 < 0.02 && c2 > 0.98); // one step back is nearly x_t
    /// ```
    #[track_caller]
    pub fn posterior_coefs(&self, t: usize) -> (f64, f64) {
        self.check_step(t);
        self.transition(t - 1, t).posterior_coefs()
    }

    /// The level of x_t: α = √ᾱ_t, σ² = 1 − ᾱ_t (Eq. 4).
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert_eq!(s.level(0).variance, 0.0);
    /// ```
    #[track_caller]
    pub fn level(&self, t: usize) -> Level {
        Level { alpha: self.alpha_bar(t).sqrt(), variance: 1.0 - self.alpha_bar(t) }
    }

    /// q(x_t | x_s): between neighbours the tables' √α_t and β_t (Eq. 2), further on β_{t|s} = 1 − ᾱ_t/ᾱ_s.
    ///
    /// # Panics
    /// Unless s < t ≤ T.
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let schedule = Schedule::linear(1000);
    /// assert_eq!(schedule.transition(499, 500).beta, schedule.beta(500));
    /// assert_eq!(schedule.transition(0, 500).beta, 1.0 - schedule.alpha_bar(500)); // Eq. 4
    /// ```
    #[track_caller]
    pub fn transition(&self, s: usize, t: usize) -> Transition {
        self.check(t);
        assert!(s < t, "transition: from s = {s} to t = {t}");
        let kept = self.alpha_bar[t] / self.alpha_bar[s]; // α_{t|s}²
        let (kept, beta) = if t == s + 1 { (self.alpha(t), self.beta[t]) } else { (kept, 1.0 - kept) };
        Transition { s: self.level(s), t: self.level(t), alpha: kept.sqrt(), beta }
    }

    /// The step from t − 1 to t of each image, `[N, 1, 1, 1]`.
    #[track_caller]
    pub(super) fn steps(&self, t: &[usize]) -> Array4<Transition> {
        let step = |&t: &usize| {
            self.check_step(t);
            self.transition(t - 1, t)
        };
        Array1::from_iter(t.iter().map(step)).insert_axis(Axis(1)).insert_axis(Axis(2)).insert_axis(Axis(3))
    }

    /// Signal-to-noise ratio ᾱ_t / (1 − ᾱ_t) of x_t; infinite at t = 0, and 0 where ᾱ_t = 0.
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert!(s.snr(250) > 1.0 && s.snr(260) < 1.0); // from about t = 256 on there is more noise than image
    /// ```
    #[track_caller]
    pub fn snr(&self, t: usize) -> f64 {
        self.alpha_bar(t) / (1.0 - self.alpha_bar(t))
    }

    /// log SNR, natural; −∞ where ᾱ_t = 0.
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert!((s.log_snr(500) - s.snr(500).ln()).abs() < 1e-15);
    /// ```
    #[track_caller]
    pub fn log_snr(&self, t: usize) -> f64 {
        self.snr(t).ln()
    }

    /// The weight of Eq. 12, w_t = β_t² / (2 σ_t² α_t (1 − ᾱ_t)), for a reverse variance σ_t²:
    /// L_{t−1} = w_t ‖ε − ε_θ‖² + D C_t, in nats.
    ///
    /// [`L_simple`](super::L_simple) is this sum with w_t := 1. Where ᾱ_T = 0 the weight of t = T is infinite: there ε
    /// says nothing of the mean.
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert!((s.weight(2, s.beta_tilde(2)) - 0.5997).abs() < 1e-4);
    /// assert!((s.weight(250, s.beta(250)) - 0.00534).abs() < 1e-5); // a hundred times less
    /// ```
    #[track_caller]
    pub fn weight(&self, t: usize, sigma2: f64) -> f64 {
        self.check_step(t);
        self.beta(t).powi(2) / (2.0 * sigma2 * self.alpha(t) * (1.0 - self.alpha_bar(t)))
    }

    /// C_t = ½ [log(σ_t²/β̃_t) − 1 + β̃_t/σ_t²], nats per dimension: what L_{t−1} costs even with a perfect
    /// network, because σ_t² is not β̃_t. Zero for σ_t² = β̃_t (taken as clipped at t = 1).
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert!(s.kl_const(500, s.beta_tilde(500)).abs() < 1e-15);
    /// assert!(s.kl_const(2, s.beta(2)) > 0.01 && s.kl_const(500, s.beta(500)) < 1e-6); // it matters at small t
    /// ```
    #[track_caller]
    pub fn kl_const(&self, t: usize, sigma2: f64) -> f64 {
        let ratio = self.log_beta_tilde_clipped(t).exp() / sigma2;
        0.5 * (ratio - 1.0 - ratio.ln())
    }
}

/// n numbers from `first` to `last`, both included.
pub(crate) fn linspace(first: f64, last: f64, n: usize) -> impl Iterator<Item = f64> {
    let step = if n > 1 { (last - first) / (n - 1) as f64 } else { 0.0 };
    (0..n).map(move |i| if i > 0 && i + 1 == n { last } else { first + step * i as f64 })
}

fn linear_betas(n: usize) -> Vec<f64> {
    linspace(BETA_FIRST, BETA_LAST, n).collect()
}

fn quad_betas(n: usize) -> Vec<f64> {
    linspace(BETA_FIRST.sqrt(), BETA_LAST.sqrt(), n).map(|root| root * root).collect()
}

fn sigmoid_betas(n: usize) -> Vec<f64> {
    linspace(-6.0, 6.0, n).map(|s| BETA_FIRST + (BETA_LAST - BETA_FIRST) / (1.0 + (-s).exp())).collect()
}

/// A schedule's name on the command line and in a checkpoint's configuration: that of a function of [`Schedule`].
///
/// ```
/// use ddpm::diffusion::{Schedule, ScheduleKind};
/// let kind: ScheduleKind = "cosine".parse()?;
/// assert_eq!(kind.to_string(), "cosine");
/// assert_eq!(kind.schedule(50)?, Schedule::cosine(50));
/// # Ok::<(), ddpm::Error>(())
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = Error, parse_err_fn = unknown::<ScheduleKind>)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum), value(rename_all = "snake_case"))]
pub enum ScheduleKind {
    /// β_t rises in equal steps, the paper's
    #[default]
    Linear,
    /// ᾱ_t falls as a squared cosine, for any T (Nichol & Dhariwal 2021)
    Cosine,
    /// √β_t rises in equal steps
    Quad,
    /// β_t rises along a sigmoid
    Sigmoid,
    /// √β_t rises in equal steps to √0.5, whatever T: for short chains
    Csdi,
}

impl ScheduleKind {
    /// Every kind, in the order of the help text.
    pub const ALL: [Self; 5] = all();

    /// The schedule of this kind with T steps, safe for any T: at T ≠ 1000 the β of linear, quad and sigmoid are
    /// multiplied by 1000/T, as in [`Schedule::linear_scaled`].
    ///
    /// # Errors
    /// When T = 0, or T ≤ 20 for a kind that must be scaled.
    ///
    /// ```
    /// use ddpm::diffusion::ScheduleKind;
    /// assert!(ScheduleKind::Linear.schedule(10).is_err() && ScheduleKind::Cosine.schedule(10).is_ok());
    /// ```
    #[allow(non_snake_case)] // T is the paper's name
    pub fn schedule(self, T: usize) -> Result<Schedule> {
        match self {
            Self::Linear => Schedule::linear_scaled(T),
            Self::Quad => Schedule::scaled(quad_betas(T)),
            Self::Sigmoid => Schedule::scaled(sigmoid_betas(T)),
            Self::Csdi | Self::Cosine if T == 0 => Err(Error::argument("T", "at least 1 step", 0)),
            Self::Csdi => Ok(Schedule::csdi(T)),
            Self::Cosine => Ok(Schedule::cosine(T)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forward chain itself, by composing Eq. 2 step by step, must give Eq. 4.
    #[test]
    fn alpha_bar_composes_the_single_steps() {
        let s = Schedule::linear(1000);
        let (mut scale, mut variance) = (1.0, 0.0);
        for t in 1..=1000 {
            scale *= s.alpha(t).sqrt();
            variance = s.alpha(t) * variance + s.beta(t);
            assert!((scale * scale / s.alpha_bar(t) - 1.0).abs() < 1e-12);
            assert!((variance - (1.0 - s.alpha_bar(t))).abs() < 1e-12);
        }
    }

    /// Bayes: precision of the posterior = precision of x_{t−1}|x_0 + precision of x_t|x_{t−1}. From t = 2 on,
    /// where the classic slips differ.
    #[test]
    fn the_posterior_is_bayes_rule() {
        for s in [Schedule::linear(1000), Schedule::cosine(50), Schedule::quad(100), Schedule::sigmoid(100)] {
            for t in 2..=s.T() {
                let (prior, noise) = (1.0 - s.alpha_bar(t - 1), s.beta(t));
                let precision = 1.0 / prior + s.alpha(t) / noise;
                let (c1, c2) = s.posterior_coefs(t);
                assert!((s.beta_tilde(t) * precision - 1.0).abs() < 1e-9, "t = {t}");
                assert!((c1 / (s.alpha_bar(t - 1).sqrt() / prior / precision) - 1.0).abs() < 1e-9, "t = {t}");
                assert!((c2 / (s.alpha(t).sqrt() / noise / precision) - 1.0).abs() < 1e-9, "t = {t}");
            }
        }
    }

    #[test]
    fn first_step() {
        let s = Schedule::linear(1000);
        let (c1, c2) = s.posterior_coefs(1);
        assert!((c1 - 1.0).abs() < 1e-12 && c2 == 0.0 && s.beta_tilde(1) == 0.0);
        assert_eq!(s.log_beta_tilde_clipped(1), s.beta_tilde(2).ln());
        assert_eq!(s.log_beta_clipped(1), s.beta_tilde(2).ln());
        assert_eq!(s.log_beta_clipped(2), s.beta(2).ln());
        assert_eq!(Schedule::from_betas(&[0.5]).unwrap().log_beta_tilde_clipped(1), 0.5f64.ln());
    }

    /// For σ_t² = β̃_t the weight is half the relative loss of signal-to-noise ratio in step t.
    #[test]
    fn the_weight_is_a_ratio_of_snr() {
        let s = Schedule::linear(1000);
        for t in 2..=1000 {
            let w = 0.5 * (s.snr(t - 1) / s.snr(t) - 1.0);
            assert!((s.weight(t, s.beta_tilde(t)) / w - 1.0).abs() < 1e-9, "t = {t}");
        }
        assert_eq!(s.snr(0), f64::INFINITY);
    }

    /// What σ² = β costs whatever the network does: 0.486 bits/dim over the whole chain.
    #[test]
    fn the_price_of_sigma_beta() {
        let s = Schedule::linear(1000);
        let bits: f64 = (2..=1000).map(|t| s.kl_const(t, s.beta(t))).sum::<f64>() / 2f64.ln();
        assert!((bits - 0.486).abs() < 5e-4, "{bits}");
        assert!((2..=1000).all(|t| s.kl_const(t, s.beta_tilde(t)).abs() < 1e-15));
    }

    #[test]
    fn every_kind_builds() {
        for kind in ScheduleKind::ALL {
            let s = kind.schedule(100).unwrap();
            assert!(s.alpha_bar(100) < 2e-3, "{kind}: {}", s.alpha_bar(100));
            assert!((1..=100).all(|t| s.beta(t) >= s.beta(t - 1)), "{kind} rises");
        }
        assert_eq!(ScheduleKind::Linear.schedule(1000).unwrap(), Schedule::linear(1000));
    }

    #[test]
    fn errors_say_what_was_found() {
        let error = |r: Result<Schedule>| r.unwrap_err().to_string();
        assert_eq!(error(Schedule::from_betas(&[])), "betas: expected at least one, found none");
        for (beta, found) in [(0.0, "0"), (f64::NAN, "NaN"), (1.2, "1.2"), (-1.0, "-1")] {
            let last = format!("betas: expected 0 < beta < 1, found beta_2 = {found}");
            assert_eq!(error(Schedule::from_betas(&[0.1, beta])), last);
            let inside = format!("betas: expected 0 < beta < 1, found beta_1 = {found}");
            assert_eq!(error(Schedule::from_betas(&[beta, 0.1])), inside);
        }
        assert_eq!(
            error(Schedule::from_betas(&[1e-20, 0.5])),
            "betas: expected 1 - beta_1 < 1 in f64, found beta_1 = 1e-20"
        );
        assert_eq!(
            error(Schedule::from_betas(&[0.999; 200])),
            "betas: expected alpha_bar > 0 before the last step, found alpha_bar_108 = 0"
        );
        assert_eq!(
            error(Schedule::cosine(1).rescaled_to_zero_snr()),
            "zero SNR: expected a chain of at least 2 steps, found 1"
        );
        let hardly_any = Schedule::from_betas(&[0.5, 1e-20, 0.5]).unwrap(); // 1 − 1e-20 is 1
        assert_eq!(
            error(hardly_any.rescaled_to_zero_snr()),
            "betas: expected 0 < beta < 1, found beta_2 = 0"
        );
        assert_eq!(error(ScheduleKind::Cosine.schedule(0)), "T: expected at least 1 step, found 0");
        assert_eq!(
            error(ScheduleKind::Quad.schedule(20)),
            "T: expected more than 20 steps, as the last beta is 20/T, found 20"
        );
    }

    /// Algorithm 1 of Lin et al.: the ends are what they should be, and √ᾱ is an affine function of what it was.
    #[test]
    fn a_rescaled_schedule_ends_in_noise() {
        for kind in ScheduleKind::ALL {
            for steps in [21, 40, 1000] {
                let (old, new) = (kind.schedule(steps).unwrap(), kind.schedule(steps).unwrap());
                let new = new.rescaled_to_zero_snr().unwrap();
                assert!(new.has_zero_terminal_snr() && !old.has_zero_terminal_snr());
                assert_eq!((new.alpha_bar(steps), new.beta(steps), new.alpha(steps)), (0.0, 1.0, 0.0));
                assert_eq!((new.snr(steps), new.log_snr(steps)), (0.0, f64::NEG_INFINITY));
                assert_eq!(new.posterior_coefs(steps), (new.alpha_bar(steps - 1).sqrt(), 0.0));
                assert_eq!(new.beta_tilde(steps), 1.0 - new.alpha_bar(steps - 1));
                assert_eq!(new.weight(steps, 1.0), f64::INFINITY);
                let root = |s: &Schedule, t: usize| s.alpha_bar(t).sqrt();
                let slope = root(&old, 1) / (root(&old, 1) - root(&old, steps));
                for t in 1..=steps {
                    let expected = slope * (root(&old, t) - root(&old, steps));
                    assert!((root(&new, t) - expected).abs() < 1e-13, "{kind} {steps}, t = {t}");
                    assert!(new.beta(t) > new.beta(t - 1), "{kind} {steps}: β rises at t = {t}");
                }
                // done twice it is done once
                let twice = new.rescaled_to_zero_snr().unwrap();
                assert!((1..=steps).all(|t| (twice.beta(t) - new.beta(t)).abs() < 1e-11), "{kind} {steps}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "t = 11, but the schedule ends at T = 10")]
    fn t_beyond_the_end() {
        Schedule::cosine(10).alpha_bar(11);
    }

    #[test]
    #[should_panic(expected = "t = 0 is not a step of 1..=10")]
    fn no_step_zero() {
        Schedule::cosine(10).beta_tilde(0);
    }

    #[test]
    #[should_panic(expected = "a schedule needs at least one step")]
    fn no_steps() {
        Schedule::linear(0);
    }
}
