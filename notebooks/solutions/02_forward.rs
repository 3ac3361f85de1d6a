// Solutions of notebook 02: the forward process and its schedules.

/// Eq. 2, once for each step.
fn walk(x0: f64, betas: &[f64], eps: &[f64]) -> f64 {
    betas.iter().zip(eps).fold(x0, |x, (beta, eps)| (1.0 - beta).sqrt() * x + beta.sqrt() * eps)
}

/// ᾱ_t = (1 − β_t) ᾱ_{t−1}, from the empty product ᾱ_0 = 1 on.
fn alpha_bars(betas: &[f64]) -> Vec<f64> {
    let mut bars = vec![1.0];
    for (i, beta) in betas.iter().enumerate() {
        bars.push(bars[i] * (1.0 - beta));
    }
    bars
}

/// Mean √ᾱ x_0, variance 1 − ᾱ, standard deviation √(1 − ᾱ).
fn noised(x0: f64, alpha_bar: f64, eps: f64) -> f64 {
    alpha_bar.sqrt() * x0 + (1.0 - alpha_bar).sqrt() * eps
}

/// The roots rise linearly; 1000/T keeps ᾱ_T where it was.
fn quad_betas(steps: usize) -> Vec<f64> {
    let (first, last) = (1e-4_f64.sqrt(), 0.02_f64.sqrt());
    let root = |i: usize| first + (last - first) * i as f64 / (steps - 1) as f64;
    (0..steps).map(|i| root(i).powi(2) * 1000.0 / steps as f64).collect()
}

/// ᾱ_50 = 0.603 = a. Then ½ (0.25 a − a − ln(1 − a)) = 0.236 nats, which is 0.34 bits.
fn prior_cost() -> f64 {
    0.34
}
