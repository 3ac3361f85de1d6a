//! Noise levels, and the one Gaussian between two of them (Eqs. 4, 6, 7): for any s < t, for each image or each pixel.
//!
//! The paper's t is an index into a table. What the formulas need of it is how much of x_t is image and how much is
//! noise: a [`Level`]. DDPM's step goes from a level to its neighbour, DDIM's and that of a respaced chain go further, and
//! all three are [`posterior`]; a learned level may differ from pixel to pixel.

use super::Normal;
use super::batch::{blend, same_shape};
use crate::tensor::Batch;
use ndarray::{Array4, Zip};

/// 1/(1 + e^{−x}).
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// x = α x_0 + σ ε, with α² + σ² = 1.
///
/// α² is the paper's ᾱ_t. A batch has levels `[N, 1, 1, 1]`, one for each image, or `[N, H, W, C]`, one for each pixel.
///
/// ```
/// use ddpm::diffusion::{Level, Schedule};
/// let schedule = Schedule::linear(1000);
/// let level = schedule.level(500);
/// assert_eq!(level.variance, 1.0 - schedule.alpha_bar(500));
/// assert!((Level::from_gamma(-schedule.log_snr(500)).alpha - level.alpha).abs() < 1e-15);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// α, the share of the image
    pub alpha: f64,
    /// σ², the variance of the noise
    pub variance: f64,
}

impl Level {
    /// The level of γ = −log SNR = log(σ²/α²): α² = sigmoid(−γ), σ² = sigmoid(γ) (Kingma et al. 2021).
    ///
    /// ```
    /// use ddpm::diffusion::Level;
    /// let even = Level::from_gamma(0.0); // as much noise as image
    /// assert_eq!((even.alpha, even.variance), (0.5f64.sqrt(), 0.5));
    /// ```
    pub fn from_gamma(gamma: f64) -> Self {
        Self { alpha: sigmoid(-gamma).sqrt(), variance: sigmoid(gamma) }
    }

    /// SNR = α²/σ²; infinite where there is no noise.
    ///
    /// ```
    /// assert!((ddpm::diffusion::Level::from_gamma(2.0).snr() - (-2.0f64).exp()).abs() < 1e-12);
    /// ```
    pub fn snr(self) -> f64 {
        self.alpha * self.alpha / self.variance
    }
}

/// The forward chain from level s to a noisier level t, however far: q(x_t | x_s) = N(α_{t|s} x_s, β_{t|s} I).
///
/// Between neighbours α_{t|s} = √α_t and β_{t|s} = β_t (Eq. 2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// the level it starts from
    pub s: Level,
    /// the noisier one it leads to
    pub t: Level,
    /// α_{t|s}
    pub alpha: f64,
    /// β_{t|s} = 1 − α_{t|s}²
    pub beta: f64,
}

impl Transition {
    /// α_{t|s} = α_t/α_s, β_{t|s} = (σ_t² − σ_s²)/α_s², which loses nothing where both σ² are small.
    ///
    /// Levels of a [`Schedule`](super::Schedule) have tabled β: [`Schedule::transition`](super::Schedule::transition).
    ///
    /// ```
    /// use ddpm::diffusion::{Schedule, Transition};
    /// let schedule = Schedule::linear(1000);
    /// let far = Transition::between(schedule.level(10), schedule.level(500));
    /// assert!((far.beta - (1.0 - schedule.alpha_bar(500) / schedule.alpha_bar(10))).abs() < 1e-15);
    /// ```
    pub fn between(s: Level, t: Level) -> Self {
        Self { s, t, alpha: t.alpha / s.alpha, beta: (t.variance - s.variance) / (s.alpha * s.alpha) }
    }

    /// (c_1, c_2) of the posterior's mean c_1 x_0 + c_2 x_t (Eq. 7):
    /// c_1 = α_s β_{t|s}/σ_t², c_2 = α_{t|s} σ_s²/σ_t².
    ///
    /// In c_2 it is α_{t|s}, for neighbours √α_t, not √ᾱ_t. At s = 0 the slip cannot be seen: c_1 = 1, c_2 = 0 either way.
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert_eq!(s.transition(0, 500).posterior_coefs(), (1.0, 0.0)); // all the way back, x_0 is what it is
    /// ```
    pub fn posterior_coefs(&self) -> (f64, f64) {
        (self.s.alpha * self.beta / self.t.variance, self.alpha * self.s.variance / self.t.variance)
    }

    /// The posterior's variance σ_s²/σ_t² β_{t|s} (Eq. 7): between neighbours β̃_t; 0 at s = 0.
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert_eq!(s.transition(499, 500).posterior_variance(), s.beta_tilde(500));
    /// ```
    pub fn posterior_variance(&self) -> f64 {
        self.s.variance / self.t.variance * self.beta
    }

    /// ½ (SNR(s)/SNR(t) − 1): what a squared error of ε costs in KL(q(x_s|x_t, x_0) ‖ p(x_s|x_t)), in nats, if p is the
    /// posterior of the guessed image (Kingma et al. 2021). Between neighbours the weight of Eq. 12 for σ_t² = β̃_t.
    ///
    /// With γ it is ½ (exp(γ_t − γ_s) − 1). Computed as ½ β_{t|s}/(α_{t|s}² σ_s²), where nothing cancels.
    ///
    /// ```
    /// use ddpm::diffusion::Schedule;
    /// let s = Schedule::linear(1000);
    /// assert!((s.transition(249, 250).weight() / s.weight(250, s.beta_tilde(250)) - 1.0).abs() < 1e-12);
    /// ```
    pub fn weight(&self) -> f64 {
        0.5 * self.beta / (self.alpha * self.alpha * self.s.variance)
    }
}

/// q(x | x_0) = N(α x_0, σ² I) (Eq. 4).
///
/// # Shapes
/// `x0` `[N, H, W, C]`; `levels` that shape, or `[N, 1, 1, 1]`.
///
/// # Panics
/// When the levels don't broadcast to the shape of `x0`.
///
/// ```
/// use ddpm::{diffusion::{Level, Normal, noisy}, tensor::Batch};
/// let x0 = Batch::from_elem((1, 2, 2, 1), 0.5);
/// let q = noisy(&x0, &Batch::from_elem((1, 2, 2, 1), 5.0).mapv(Level::from_gamma)); // learned levels end like this
/// assert!(q.kl(&Normal::standard(&x0))[0] < 0.01); // hardly an image is left
/// ```
#[track_caller]
pub fn noisy(x0: &Batch, levels: &Array4<Level>) -> Normal {
    let mean = Zip::from(x0).and_broadcast(levels).map_collect(|x0, level| level.alpha * x0);
    let log_variances = levels.mapv(|level| level.variance.ln());
    Normal { log_variance: throughout(x0, &log_variances), mean }
}

/// q(x_s | x_t, x_0), the one Gaussian that Bayes' rule makes of q(x_t | x_s) and q(x_s | x_0) (Eqs. 6, 7).
///
/// Its mean is c_1 x_0 + c_2 x_t ([`posterior_coefs`](Transition::posterior_coefs)), its variance
/// [`posterior_variance`](Transition::posterior_variance): log σ² = −∞ where s is without noise.
///
/// # Shapes
/// `x0`, `x_t` `[N, H, W, C]`; `steps` that shape, or `[N, 1, 1, 1]`.
///
/// # Panics
/// When the shapes differ, or the steps don't broadcast to them.
///
/// ```
/// use ddpm::{diffusion::{Level, Transition, posterior}, tensor::Batch};
/// use ndarray::{Array4, Zip};
/// // the left pixel goes from γ = 2 to γ = 1, the right one from 0 to −3
/// let gamma_t = Array4::from_shape_vec((1, 1, 2, 1), vec![2.0, 0.0]).unwrap();
/// let gamma_s = Array4::from_shape_vec((1, 1, 2, 1), vec![1.0, -3.0]).unwrap();
/// let between = |&s: &f64, &t: &f64| Transition::between(Level::from_gamma(s), Level::from_gamma(t));
/// let steps = Zip::from(&gamma_s).and(&gamma_t).map_collect(between);
/// let q = posterior(&Batch::ones((1, 1, 2, 1)), &Batch::zeros((1, 1, 2, 1)), &steps);
/// assert!(q.mean[[0, 0, 1, 0]] > q.mean[[0, 0, 0, 0]]); // the right one is nearer to its x_0 = 1
/// ```
#[track_caller]
pub fn posterior(x0: &Batch, x_t: &Batch, steps: &Array4<Transition>) -> Normal {
    same_shape("posterior", ("x0", x0), ("x_t", x_t));
    let log_variances = steps.mapv(|step| step.posterior_variance().ln());
    Normal { mean: posterior_mean(x0, x_t, steps), log_variance: throughout(x0, &log_variances) }
}

/// c_1 x_0 + c_2 x_t.
pub(super) fn posterior_mean(x0: &Batch, x_t: &Batch, steps: &Array4<Transition>) -> Batch {
    blend(&steps.mapv(|step| step.posterior_coefs()), x0, x_t)
}

/// The family of which [`posterior`] is the member η = 1: N(α_s x_0 + √(σ_s² − η² σ̃²) ε, η² σ̃² I), with the ε that stands
/// between x_0 and x_t, and σ̃² the posterior's variance (Song et al. 2021, Eqs. 7, 16).
///
/// Every η has the same q(x_s | x_0), so that one network serves all. η = 0 is DDIM, where log σ² = −∞.
///
/// # Shapes
/// `x0`, `eps` `[N, H, W, C]`; `steps` that shape, or `[N, 1, 1, 1]`.
///
/// # Panics
/// When the shapes differ, or the steps don't broadcast to them.
///
/// ```
/// use ddpm::{diffusion::{Schedule, ddim_posterior}, tensor::Batch};
/// use ndarray::Array4;
/// let (x0, eps) = (Batch::ones((1, 1, 1, 1)), Batch::zeros((1, 1, 1, 1)));
/// let far = Schedule::linear(1000).transition(500, 1000);
/// let q = ddim_posterior(&x0, &eps, &Array4::from_elem((1, 1, 1, 1), far), 0.0);
/// assert_eq!(q.sample(&eps)[[0, 0, 0, 0]], far.s.alpha); // without noise what is left is α x_0
/// ```
#[track_caller]
pub fn ddim_posterior(x0: &Batch, eps: &Batch, steps: &Array4<Transition>, eta: f64) -> Normal {
    same_shape("ddim_posterior", ("x0", x0), ("eps", eps));
    let variances = steps.mapv(|step| eta * eta * step.posterior_variance());
    // at η = 1 and s = 0 the direction's share is a difference of equal numbers: never below 0
    let coefs = Zip::from(steps)
        .and(&variances)
        .map_collect(|step, variance| (step.s.alpha, (step.s.variance - variance).max(0.0).sqrt()));
    Normal { mean: blend(&coefs, x0, eps), log_variance: throughout(x0, &variances.mapv(f64::ln)) }
}

/// A number per image or pixel, in the shape of `like`.
fn throughout(like: &Batch, numbers: &Batch) -> Batch {
    Zip::from(like).and_broadcast(numbers).map_collect(|_, &number| number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Schedule, log_normal};
    use crate::rng::{normal, stream};

    const SHAPE: (usize, usize, usize, usize) = (2, 3, 2, 1);

    /// Two levels for each pixel, γ_s < γ_t, from nearly clean to nearly noise.
    fn learned() -> Array4<Transition> {
        let gamma = normal::<f64, _>(SHAPE, &mut stream(1, 0)) * 4.0;
        let gap = normal::<f64, _>(SHAPE, &mut stream(1, 1)).mapv(f64::exp);
        Zip::from(&gamma).and(&gap).map_collect(|&gamma, &gap| {
            Transition::between(Level::from_gamma(gamma), Level::from_gamma(gamma + gap))
        })
    }

    fn draws() -> [Batch; 3] {
        [2, 3, 4].map(|n| normal(SHAPE, &mut stream(1, n)))
    }

    /// q(x_s|x_t, x_0) q(x_t|x_0) = q(x_t|x_s) q(x_s|x_0), where each pixel has levels of its own.
    #[test]
    fn the_posterior_obeys_bayes() {
        let ([x0, x_s, x_t], steps) = (draws(), learned());
        let q = posterior(&x0, &x_t, &steps);
        for (i, &step) in steps.indexed_iter() {
            let jump = |x: f64, level: Level| log_normal(x, level.alpha * x0[i], level.variance.ln());
            let left = log_normal(x_s[i], q.mean[i], q.log_variance[i]) + jump(x_t[i], step.t);
            let right = log_normal(x_t[i], step.alpha * x_s[i], step.beta.ln()) + jump(x_s[i], step.s);
            assert!((left - right).abs() < 1e-9 * right.abs().max(1.0), "{step:?}: {left} and {right}");
        }
    }

    /// The member η = 1 is the posterior; and every member has the q(x_s|x_0) of Eq. 4: in mean, α_s x_0 + √(σ_s² − v) ε
    /// with ε of variance 1, so v + (σ_s² − v) = σ_s².
    #[test]
    fn the_family_has_the_posterior_as_a_member() {
        let ([x0, eps, _], steps) = (draws(), learned());
        let x_t = blend(&steps.mapv(|step| (step.t.alpha, step.t.variance.sqrt())), &x0, &eps);
        let (a, b) = (posterior(&x0, &x_t, &steps), ddim_posterior(&x0, &eps, &steps, 1.0));
        assert!((a.mean - b.mean).iter().all(|d| d.abs() < 1e-12));
        assert_eq!(a.log_variance, b.log_variance);
        for eta in [0.0, 0.4, 1.0] {
            let q = ddim_posterior(&x0, &eps, &steps, eta);
            for (i, step) in steps.indexed_iter() {
                let direction = (q.mean[i] - step.s.alpha * x0[i]) / eps[i];
                let variance = direction * direction + q.log_variance[i].exp();
                assert!((variance / step.s.variance - 1.0).abs() < 1e-9, "η = {eta}: {step:?}");
            }
        }
    }

    /// Two transitions after one another are the transition over both.
    #[test]
    fn transitions_compose() {
        let s = Schedule::cosine(100);
        for (a, b, c) in [(2, 3, 4), (2, 30, 90), (0, 50, 100)] {
            let (first, second, both) = (s.transition(a, b), s.transition(b, c), s.transition(a, c));
            assert!((first.alpha * second.alpha - both.alpha).abs() < 1e-14);
            let beta = second.alpha.powi(2) * first.beta + second.beta;
            assert!((beta - both.beta).abs() < 1e-14, "{a} {b} {c}");
            let direct = Transition::between(s.level(a), s.level(c));
            assert!((direct.beta - both.beta).abs() < 1e-14 && (direct.alpha - both.alpha).abs() < 1e-14);
        }
    }

    /// KL between two posteriors is the weight times the squared error of ε, and the weight ½ (e^{γ_t − γ_s} − 1).
    #[test]
    fn the_weight_is_that_of_the_kl() {
        let ([x0, eps, eps_hat], steps) = (draws(), learned());
        let x_t = blend(&steps.mapv(|step| (step.t.alpha, step.t.variance.sqrt())), &x0, &eps);
        let back = steps.mapv(|step| (1.0 / step.t.alpha, -step.t.variance.sqrt() / step.t.alpha));
        let kl = posterior(&x0, &x_t, &steps).kl(&posterior(&blend(&back, &x_t, &eps_hat), &x_t, &steps));
        let weighted = (&eps - &eps_hat).mapv(|d| d * d) * steps.mapv(|step| step.weight());
        for (kl, weighted) in kl.iter().zip(weighted.outer_iter()) {
            assert!((kl / weighted.sum() - 1.0).abs() < 1e-9);
        }
        for step in &steps {
            let ratio = step.s.snr() / step.t.snr();
            assert!((2.0 * step.weight() / (ratio - 1.0) - 1.0).abs() < 1e-8, "{step:?}");
        }
    }
}
