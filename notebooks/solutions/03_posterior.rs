// Solutions of notebook 03: the posterior, and sampling with a perfect denoiser.

use ddpm_notebook::prelude::*;

/// The step gives α_t/β_t and √α_t x_t/β_t, the jump 1/(1 − ᾱ_{t−1}) and √ᾱ_{t−1} x_0/(1 − ᾱ_{t−1}).
fn completed_square(schedule: &Schedule, t: usize, x0: f64, x_t: f64) -> (f64, f64) {
    let (alpha, beta, before) = (schedule.alpha(t), schedule.beta(t), schedule.alpha_bar(t - 1));
    let a = alpha / beta + 1.0 / (1.0 - before);
    let b = alpha.sqrt() * x_t / beta + before.sqrt() * x0 / (1.0 - before);
    (a, b)
}

/// Which mode it was, by Bayes' rule, and the best guess within each.
fn mixture_guess(x_t: f64, alpha_bar: f64, shares: &[f64], means: &[f64], variance: f64) -> f64 {
    let spread = alpha_bar * variance + 1.0 - alpha_bar;
    let mut sum = 0.0;
    let mut guess = 0.0;
    for (share, m) in shares.iter().zip(means) {
        let weight = share * log_normal(x_t, alpha_bar.sqrt() * m, spread.ln()).exp();
        sum += weight;
        guess += weight * (m + alpha_bar.sqrt() * variance / spread * (x_t - alpha_bar.sqrt() * m));
    }
    guess / sum
}

/// The slope of log q(x_t|x_0) is −ε/√(1 − ᾱ_t), and its mean over all x_0 that x_t may come from is the slope of log q(x_t).
fn slope(schedule: &Schedule, t: usize, eps_hat: f64) -> f64 {
    -eps_hat / (1.0 - schedule.alpha_bar(t)).sqrt()
}

/// Eq. 7, term by term.
fn posterior(schedule: &Schedule, t: usize, x0: f64, x_t: f64) -> (f64, f64) {
    let (beta, alpha) = (schedule.beta(t), schedule.alpha(t));
    let (before, now) = (schedule.alpha_bar(t - 1), schedule.alpha_bar(t));
    let mean = before.sqrt() * beta / (1.0 - now) * x0 + alpha.sqrt() * (1.0 - before) / (1.0 - now) * x_t;
    (mean, (1.0 - before) / (1.0 - now) * beta)
}

/// The jump x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, solved for x_0.
fn guess_image(schedule: &Schedule, t: usize, x_t: f64, eps_hat: f64) -> f64 {
    let alpha_bar = schedule.alpha_bar(t);
    (x_t - (1.0 - alpha_bar).sqrt() * eps_hat) / alpha_bar.sqrt()
}

/// Algorithm 2, lines 3 and 4.
fn reverse_step(schedule: &Schedule, t: usize, x_t: f64, eps_hat: f64, z: f64) -> f64 {
    let (beta, root) = (schedule.beta(t), (1.0 - schedule.alpha_bar(t)).sqrt());
    let mean = (x_t - beta / root * eps_hat) / schedule.alpha(t).sqrt();
    if t > 1 { mean + beta.sqrt() * z } else { mean }
}

/// Algorithm 2: from T down to 1.
fn run_chain(schedule: &Schedule, start: f64, eps_hat: &dyn Fn(f64, usize) -> f64, z: &dyn Fn(usize) -> f64) -> f64 {
    let mut x = start;
    for t in (1..=schedule.T()).rev() {
        x = reverse_step(schedule, t, x, eps_hat(x, t), z(t));
    }
    x
}

/// The guess is clipped, then the posterior is asked.
fn clipped_mean(schedule: &Schedule, t: usize, x_t: f64, eps_hat: f64) -> f64 {
    posterior(schedule, t, guess_image(schedule, t, x_t, eps_hat).clamp(-1.0, 1.0), x_t).0
}
