// Solutions of notebook 01: Gaussians, KL, bits.

use ddpm_notebook::prelude::*;
use std::f64::consts::{LN_2, PI};

/// Each product, divided by the sum of all: what is seen has happened, so the shares must sum to 1 again.
fn updated(prior: &[f64], likelihood: &[f64]) -> Vec<f64> {
    let products: Vec<f64> = prior.iter().zip(likelihood).map(|(p, l)| p * l).collect();
    let sum: f64 = products.iter().sum();
    products.iter().map(|p| p / sum).collect()
}

/// Whoever is in j came from some i.
fn after_steps(p: &[f64], step: &Array2<f64>, n: usize) -> Vec<f64> {
    let mut p = Array1::from(p.to_vec());
    for _ in 0..n {
        p = p.dot(step);
    }
    p.to_vec()
}

/// (x − m_2)² = (x − m_1)² + 2 (x − m_1)(m_1 − m_2) + (m_1 − m_2)²: the means are v_1, 0, and the last term itself.
fn mean_square(m1: f64, v1: f64, m2: f64) -> f64 {
    v1 + (m1 - m2) * (m1 - m2)
}

/// log N(x; m, v): the exponent never leaves the logarithm, so that far tails stay finite.
fn log_pdf(x: f64, mean: f64, variance: f64) -> f64 {
    -0.5 * (2.0 * PI * variance).ln() - (x - mean) * (x - mean) / (2.0 * variance)
}

/// KL(N(m_1, v_1) ‖ N(m_2, v_2)).
fn kl(m1: f64, v1: f64, m2: f64, v2: f64) -> f64 {
    0.5 * ((v2 / v1).ln() - 1.0 + v1 / v2 + (m1 - m2) * (m1 - m2) / v2)
}

/// One bit is ln 2 nats.
fn to_bits_per_dim(nats: f64, dims: usize) -> f64 {
    nats / LN_2 / dims as f64
}

/// The mass between the two edges of the bin; the outermost bins are open.
fn bin_probability(k: usize, mean: f64, sigma: f64, cdf: fn(f64) -> f64) -> f64 {
    let x = k as f64 / 127.5 - 1.0;
    let upper = if k == 255 { 1.0 } else { cdf((x + 1.0 / 255.0 - mean) / sigma) };
    let lower = if k == 0 { 0.0 } else { cdf((x - 1.0 / 255.0 - mean) / sigma) };
    upper - lower
}

/// The exact logarithm is −10.36, the formula gives −10.95: at four σ they differ by six tenths of a nat.
fn tanh_error() -> f64 {
    0.6
}
