// Solutions of notebook 17: learned noise.

/// ½ (SNR_s/SNR_t − 1) times the error.
fn step_cost(gamma_s: f64, gamma_t: f64, mse: f64) -> f64 {
    0.5 * (gamma_t - gamma_s).exp_m1() * mse
}

/// Of the noise remains α² v/(α² v + σ²), and σ²/α² = e^γ.
fn gaussian_mse(v: f64, gamma: f64) -> f64 {
    v / (v + gamma.exp())
}

/// Sums of positive increments, stretched from the first to the last.
fn knots(raw: &[f64], first: f64, last: f64) -> Vec<f64> {
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let total: f64 = raw.iter().map(|&x| softplus(x)).sum();
    let mut sum = 0.0;
    let mut all = vec![first];
    for &x in raw {
        sum += softplus(x);
        all.push(first + (last - first) * sum / total);
    }
    all
}
