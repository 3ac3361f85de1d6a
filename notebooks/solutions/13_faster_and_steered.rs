// Solutions of notebook 13: faster and steered.

/// √β̃ of the step from t to s, times η.
fn ddim_sigma(alpha_bar_t: f64, alpha_bar_s: f64, eta: f64) -> f64 {
    eta * ((1.0 - alpha_bar_s) / (1.0 - alpha_bar_t) * (1.0 - alpha_bar_t / alpha_bar_s)).sqrt()
}

/// The guess of the image, noised again to the other level with the same noise.
fn ddim_jump(x: f64, eps_hat: f64, from: f64, to: f64) -> f64 {
    let x0_hat = (x - (1.0 - from).sqrt() * eps_hat) / from.sqrt();
    to.sqrt() * x0_hat + (1.0 - to).sqrt() * eps_hat
}

/// K times have K − 1 gaps.
fn strided(last: usize, steps: usize) -> Vec<usize> {
    let gap = (last - 1) as f64 / (steps - 1) as f64;
    (0..steps).map(|k| (last as f64 - gap * k as f64).round() as usize).collect()
}

/// Past the conditional answer, w times as far as it is from the unconditional one.
fn guided(eps_c: f64, eps_all: f64, w: f64) -> f64 {
    (1.0 + w) * eps_c - w * eps_all
}
