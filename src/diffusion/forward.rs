//! The forward chain q: noising in one jump, and the step back that is known when x_0 is (Eqs. 4, 6, 7).

use super::batch::{constant_per_image, mix, one_t_per_image, same_shape, scale_per_image};
use super::level::posterior_mean;
use super::{Normal, Schedule, posterior};
use crate::tensor::Batch;

/// q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I) (Eq. 4).
///
/// # Shapes
/// `x0` `[N, H, W, C]`, `t` N numbers of 0..=T; returns the mean `[N, H, W, C]` and the variance `[N]`.
///
/// # Panics
/// When `t` has not N entries, or one lies outside the schedule.
///
/// ```
/// use ddpm::{diffusion::{Schedule, q_mean_variance}, tensor::Batch};
/// let schedule = Schedule::linear(1000);
/// let (mean, variance) = q_mean_variance(&schedule, &Batch::ones((1, 2, 2, 1)), &[500]);
/// assert!((mean[[0, 0, 0, 0]].powi(2) + variance[0] - 1.0).abs() < 1e-12); // α² + σ² = 1
/// ```
#[track_caller]
pub fn q_mean_variance(schedule: &Schedule, x0: &Batch, t: &[usize]) -> (Batch, Vec<f64>) {
    one_t_per_image("q_mean_variance", x0, t);
    let mut mean = x0.clone();
    scale_per_image(&mut mean, t, |t| schedule.alpha_bar(t).sqrt());
    (mean, t.iter().map(|&t| 1.0 - schedule.alpha_bar(t)).collect())
}

/// A sample of q(x_t | x_0): x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε (Eq. 4).
///
/// # Shapes
/// `x0`, `eps` and the result `[N, H, W, C]`; `t` N numbers of 0..=T, where t = 0 returns x_0.
///
/// # Panics
/// When the shapes differ, `t` has not N entries, or one lies outside the schedule.
///
/// ```
/// use ddpm::{diffusion::{Schedule, q_sample}, tensor::Batch};
/// let schedule = Schedule::linear(1000);
/// let (x0, eps) = (Batch::from_elem((1, 2, 2, 1), 1.0), Batch::zeros((1, 2, 2, 1)));
/// let x_t = q_sample(&schedule, &x0, &[1000], &eps);
/// assert_eq!(x_t[[0, 0, 0, 0]], schedule.alpha_bar(1000).sqrt());
/// ```
#[track_caller]
pub fn q_sample(schedule: &Schedule, x0: &Batch, t: &[usize], eps: &Batch) -> Batch {
    same_shape("q_sample", ("x0", x0), ("eps", eps));
    one_t_per_image("q_sample", x0, t);
    mix(t, |t| schedule.alpha_bar(t).sqrt(), x0, |t| (1.0 - schedule.alpha_bar(t)).sqrt(), eps)
}

/// A sample of q(x_t | x_{t−1}), one small step of the chain: x_t = √(1 − β_t) x_{t−1} + √β_t ε (Eq. 2).
///
/// Training never needs it, since [`q_sample`] jumps; it is here to be compared with the jump.
///
/// # Shapes
/// `x_before` (x_{t−1}), `eps` and the result `[N, H, W, C]`; `t` N numbers of 1..=T.
///
/// # Panics
/// When the shapes differ, `t` has not N entries, or one is not a step.
///
/// ```
/// use ddpm::{diffusion::{Schedule, q_step}, tensor::Batch};
/// let schedule = Schedule::from_betas(&[0.19])?;
/// let (x0, eps) = (Batch::ones((1, 1, 1, 1)), Batch::zeros((1, 1, 1, 1)));
/// assert_eq!(q_step(&schedule, &x0, &[1], &eps)[[0, 0, 0, 0]], 0.9);
/// # Ok::<(), ddpm::Error>(())
/// ```
#[track_caller]
pub fn q_step(schedule: &Schedule, x_before: &Batch, t: &[usize], eps: &Batch) -> Batch {
    same_shape("q_step", ("x_before", x_before), ("eps", eps));
    one_t_per_image("q_step", x_before, t);
    assert!(t.iter().all(|&t| t >= 1), "q_step: no step leads to t = 0: {t:?}");
    mix(t, |t| schedule.alpha(t).sqrt(), x_before, |t| schedule.beta(t).sqrt(), eps)
}

/// The forward process posterior q(x_{t−1} | x_t, x_0) = N(μ̃_t, β̃_t I) (Eqs. 6, 7), [`posterior`] between neighbours:
/// μ̃_t = √ᾱ_{t−1} β_t/(1 − ᾱ_t) x_0 + √α_t (1 − ᾱ_{t−1})/(1 − ᾱ_t) x_t, β̃_t = (1 − ᾱ_{t−1})/(1 − ᾱ_t) β_t.
///
/// At t = 1 it is a point: log β̃_1 = −∞.
///
/// # Shapes
/// `x0` and `x_t` `[N, H, W, C]`, `t` N numbers of 1..=T.
///
/// # Panics
/// When the shapes differ, `t` has not N entries, or one is not a step.
///
/// ```
/// use ddpm::{diffusion::{Schedule, q_posterior}, tensor::Batch};
/// let schedule = Schedule::linear(1000);
/// let (x0, x_t) = (Batch::zeros((1, 1, 1, 1)), Batch::ones((1, 1, 1, 1)));
/// let q = q_posterior(&schedule, &x0, &x_t, &[2]);
/// assert_eq!(q.mean[[0, 0, 0, 0]], schedule.posterior_coefs(2).1);
/// assert_eq!(q.log_variance[[0, 0, 0, 0]], schedule.beta_tilde(2).ln());
/// ```
#[track_caller]
pub fn q_posterior(schedule: &Schedule, x0: &Batch, x_t: &Batch, t: &[usize]) -> Normal {
    one_t_per_image("q_posterior", x0, t);
    posterior(x0, x_t, &schedule.steps(t))
}

/// μ̃_t(x_t, x_0) = c_1 x_0 + c_2 x_t (Eq. 7).
#[track_caller]
pub(super) fn mu_tilde(schedule: &Schedule, x0: &Batch, x_t: &Batch, t: &[usize]) -> Batch {
    same_shape("q_posterior", ("x0", x0), ("x_t", x_t));
    one_t_per_image("q_posterior", x0, t);
    posterior_mean(x0, x_t, &schedule.steps(t))
}

/// v_t = √ᾱ_t ε − √(1 − ᾱ_t) x_0 (Salimans & Ho 2022): with √ᾱ_t = cos φ, √(1 − ᾱ_t) = sin φ it is dx_t/dφ.
#[track_caller]
pub(super) fn v_target(schedule: &Schedule, x0: &Batch, t: &[usize], eps: &Batch) -> Batch {
    same_shape("v_target", ("x0", x0), ("eps", eps));
    one_t_per_image("v_target", x0, t);
    mix(t, |t| schedule.alpha_bar(t).sqrt(), eps, |t| -(1.0 - schedule.alpha_bar(t)).sqrt(), x0)
}

/// The v that says the same as a guess of the image: v = (√ᾱ_t x_t − x̂_0)/√(1 − ᾱ_t).
#[track_caller]
pub(super) fn v_from_x0(schedule: &Schedule, x_t: &Batch, t: &[usize], x0_hat: &Batch) -> Batch {
    let noise = |t| (1.0 - schedule.alpha_bar(t)).sqrt();
    mix(t, |t| schedule.alpha_bar(t).sqrt() / noise(t), x_t, |t| -1.0 / noise(t), x0_hat)
}

/// log β̃_t (clipped at t = 1) for every pixel, `[N, H, W, C]`.
pub(super) fn log_beta_tilde(schedule: &Schedule, like: &Batch, t: &[usize]) -> Batch {
    constant_per_image(like, t, |t| schedule.log_beta_tilde_clipped(t))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{normal, stream};

    fn pair() -> (Batch, Batch) {
        (normal((2, 2, 2, 1), &mut stream(1, 0)), normal((2, 2, 2, 1), &mut stream(1, 1)))
    }

    /// Without noise the steps multiply to the jump; with noise at one step only, what is left of it is √β_s √(ᾱ_T/ᾱ_s).
    #[test]
    fn steps_make_a_jump() {
        let s = Schedule::linear(50);
        let (x0, eps) = pair();
        let (silence, noisy) = (Batch::zeros(x0.dim()), 20);
        let walk = |noisy: usize| {
            (1..=50)
                .fold(x0.clone(), |x, t| q_step(&s, &x, &[t, t], if t == noisy { &eps } else { &silence }))
        };
        let jump = q_sample(&s, &x0, &[50, 50], &silence);
        let left = (s.beta(noisy) * s.alpha_bar(50) / s.alpha_bar(noisy)).sqrt();
        assert!((&walk(0) - &jump).iter().all(|d| d.abs() < 1e-12));
        assert!((&walk(noisy) - &jump - left * &eps).iter().all(|d| d.abs() < 1e-12));
    }

    /// x_t = cos φ x_0 + sin φ ε turns as φ grows; v is how fast, and turned by −φ the pair (x_t, v) is (x_0, ε).
    #[test]
    fn v_is_the_velocity() {
        let (x0, eps) = pair();
        let at = |phi: f64| {
            let s = Schedule::from_betas(&[phi.sin().powi(2)]).unwrap(); // ᾱ_1 = cos² φ
            (q_sample(&s, &x0, &[1, 1], &eps), v_target(&s, &x0, &[1, 1], &eps))
        };
        for phi in [0.1f64, 0.8, 1.5] {
            let (x_t, v) = at(phi);
            let slope = (at(phi + 1e-6).0 - at(phi - 1e-6).0) / 2e-6;
            assert!((slope - &v).iter().all(|d| d.abs() < 1e-8), "φ = {phi}");
            let (x_back, eps_back) = (phi.cos() * &x_t - phi.sin() * &v, phi.sin() * &x_t + phi.cos() * &v);
            let off = (x_back - &x0).iter().chain(&(eps_back - &eps)).fold(0.0f64, |m, d| m.max(d.abs()));
            assert!(off < 1e-14, "φ = {phi}: {off}");
        }
    }

    #[test]
    #[should_panic(expected = "q_step: no step leads to t = 0: [1, 0]")]
    fn no_step_to_the_image() {
        let (x0, eps) = pair();
        q_step(&Schedule::linear(10), &x0, &[1, 0], &eps);
    }

    #[test]
    fn q_sample_has_the_stated_mean_and_variance() {
        let s = Schedule::linear(1000);
        let (x0, eps) = pair();
        let t = [2, 700];
        let (mean, variance) = q_mean_variance(&s, &x0, &t);
        let x_t = q_sample(&s, &x0, &t, &eps);
        for ((n, y, x, c), &value) in x_t.indexed_iter() {
            let expected = mean[[n, y, x, c]] + variance[n].sqrt() * eps[[n, y, x, c]];
            assert!((value - expected).abs() < 1e-15);
        }
        assert_eq!(q_sample(&s, &x0, &[0, 0], &eps), x0);
    }

    /// q(x_{t−1}|x_t, x_0) q(x_t|x_0) = q(x_t|x_{t−1}) q(x_{t−1}|x_0), pixel by pixel, at t ≥ 2.
    #[test]
    fn the_posterior_obeys_bayes() {
        use crate::diffusion::log_normal;
        let s = Schedule::linear(1000);
        let (x0, x_t) = pair();
        let x_before = normal::<f64, _>((2, 2, 2, 1), &mut stream(1, 2));
        for t in [2, 3, 100, 500, 1000] {
            let q = q_posterior(&s, &x0, &x_t, &[t, t]);
            for (i, &x0) in x0.indexed_iter() {
                let (x, x_t) = (x_before[i], x_t[i]);
                let jump =
                    |x: f64, t: usize| log_normal(x, s.alpha_bar(t).sqrt() * x0, (1.0 - s.alpha_bar(t)).ln());
                let left = log_normal(x, q.mean[i], q.log_variance[i]) + jump(x_t, t);
                let right = log_normal(x_t, s.alpha(t).sqrt() * x, s.beta(t).ln()) + jump(x, t - 1);
                assert!((left - right).abs() < 1e-8 * right.abs().max(1.0), "t = {t}: {left} and {right}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "q_sample: the shapes of x0 and eps must be equal")]
    fn shapes_must_agree() {
        let (x0, _) = pair();
        q_sample(&Schedule::cosine(10), &x0, &[1, 1], &Batch::zeros((2, 2, 3, 1)));
    }

    #[test]
    #[should_panic(expected = "q_sample: one t per image: 1 t for a batch [2, 2, 2, 1]")]
    fn one_t_each() {
        let (x0, eps) = pair();
        q_sample(&Schedule::cosine(10), &x0, &[1], &eps);
    }
}
