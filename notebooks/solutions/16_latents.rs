// Solutions of notebook 16: latent diffusion.

use std::f64::consts::PI;

/// What the dropped directions had.
fn left_over(variances: &[f64], k: usize) -> f64 {
    let mut sorted = variances.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    sorted[k..].iter().sum::<f64>() / variances.len() as f64
}

/// z = m + e^{ℓ/2} ε: dz/dm = 1, dz/dℓ = ½ e^{ℓ/2} ε.
fn through_sample(dz: f64, log_var: f64, eps: f64) -> [f64; 2] {
    [dz, dz * 0.5 * (0.5 * log_var).exp() * eps]
}

/// Means under z ~ N(m, s²), where E z = m and E z² = m² + s².
fn bound_parts(x: f64, a: f64, v: f64, m: f64, s2: f64) -> [f64; 3] {
    let log_two_pi = (2.0 * PI).ln();
    let off = (x - a * m).powi(2) + a * a * s2;
    let reconstruction = 0.5 * (log_two_pi + v.ln() + off / v);
    let posterior = -0.5 * (log_two_pi + s2.ln() + 1.0);
    let prior = 0.5 * (log_two_pi + m * m + s2);
    [reconstruction, posterior, prior]
}
