// Solutions of notebook 04: the ELBO, term by term, exactly.

use ddpm_notebook::prelude::*;

/// Value k costs −log₂ model(k) bits and occurs with probability p(k).
fn cross_entropy(p: &[f64], model: &[f64]) -> f64 {
    p.iter().zip(model).map(|(p, q)| -p * q.log2()).sum()
}

/// Bayes' rule, solved for the step forwards: q(x_t|x_{t−1}) = q(x_{t−1}|x_t, x_0) q(x_t|x_0) / q(x_{t−1}|x_0).
fn bayes_step(log_posterior: f64, log_q_t: f64, log_q_before: f64) -> f64 {
    log_posterior + log_q_t - log_q_before
}

/// c_1²/(2σ²) · (1 − ᾱ_t)/ᾱ_t, where ᾱ_{t−1}/ᾱ_t = 1/α_t.
fn eps_weight(schedule: &Schedule, t: usize, sigma2: f64) -> f64 {
    schedule.beta(t).powi(2) / (2.0 * sigma2 * schedule.alpha(t) * (1.0 - schedule.alpha_bar(t)))
}

/// The two means differ in the image only: the true one in q, the guessed one in p_θ.
fn step_kl(schedule: &Schedule, t: usize, x0: f64, x_t: f64, x0_hat: f64, sigma2: f64) -> f64 {
    let (c1, c2) = schedule.posterior_coefs(t);
    kl_normal(c1 * x0 + c2 * x_t, schedule.beta_tilde(t).ln(), c1 * x0_hat + c2 * x_t, sigma2.ln())
}

/// The mean of the draws stands for each of the T − 1 terms.
fn bound_from_draws(steps: usize, l_prior: f64, draws: &[f64], l_0: f64) -> f64 {
    let mean = draws.iter().sum::<f64>() / draws.len() as f64;
    l_prior + (steps - 1) as f64 * mean + l_0
}

/// 7.962 bits with β̃ and 7.115 with β.
fn looser_by() -> f64 {
    0.85
}

/// Two sums of w_t, and their ratio.
fn weight_share(schedule: &Schedule, n: usize) -> f64 {
    let sum = |last: usize| (1..=last).map(|t| schedule.weight(t, schedule.beta(t))).sum::<f64>();
    sum(n) / sum(schedule.T())
}
