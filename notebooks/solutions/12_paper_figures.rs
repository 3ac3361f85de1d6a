// Solutions of notebook 12: the paper's other figures.

use ddpm::prelude::*;

/// Eq. 15: Eq. 4 solved for x_0, with the guessed noise.
fn x0_estimate(x_t: &Batch, eps_hat: &Batch, alpha_bar: f64) -> Batch {
    let x0_hat = (x_t - (1.0 - alpha_bar).sqrt() * eps_hat) / alpha_bar.sqrt();
    x0_hat.mapv(|x| x.clamp(-1.0, 1.0))
}

/// Both images to depth t, each with its own noise, then the mixture.
fn mixed_latent(x0: &Batch, x0_prime: &Batch, lambda: f64, alpha_bar: f64, eps: &Batch, eps_prime: &Batch) -> Batch {
    let x_t = alpha_bar.sqrt() * x0 + (1.0 - alpha_bar).sqrt() * eps;
    let x_t_prime = alpha_bar.sqrt() * x0_prime + (1.0 - alpha_bar).sqrt() * eps_prime;
    (1.0 - lambda) * x_t + lambda * x_t_prime
}

/// log σ² = f log β + (1 − f) log β̃ with f = (v + 1)/2; the slope is ½ (log β − log β̃).
fn log_variance_and_slope(v: f64, beta: f64, beta_tilde: f64) -> [f64; 2] {
    let f = 0.5 * (v + 1.0);
    [f * beta.ln() + (1.0 - f) * beta_tilde.ln(), 0.5 * (beta.ln() - beta_tilde.ln())]
}

/// L_simple teaches the mean, λ L_vlb the variance.
fn hybrid_gradient(d_simple: &Batch, d_vlb: &Batch, lambda: f64) -> Batch {
    let c = d_simple.dim().3 / 2;
    let mut d_output = d_simple.clone();
    d_output.slice_mut(s![.., .., .., c..]).assign(&(lambda * &d_vlb.slice(s![.., .., .., c..])));
    d_output
}

/// 0.132 of 0.136 bits/dim.
fn share_of_decoder() -> f64 {
    (1.729 - 1.597) / (3.987 - 3.851)
}
