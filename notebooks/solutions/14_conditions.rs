// Solutions of notebook 14: conditions.

/// E[ε|x_t] is the mean of the E[ε|x_t, c], each with its p(c|x_t) by Bayes.
fn without_class(eps: &[f64], prior: &[f64], density: &[f64]) -> f64 {
    let weights: Vec<f64> = prior.iter().zip(density).map(|(p, d)| p * d).collect();
    let sum: f64 = weights.iter().sum();
    eps.iter().zip(&weights).map(|(eps, weight)| eps * weight / sum).sum()
}

/// Logarithms of Gaussians are parabolas: precisions add, and so do precisions times means.
fn tilted(m: f64, v: f64, m_all: f64, v_all: f64, w: f64) -> [f64; 2] {
    let precision = (1.0 + w) / v - w / v_all;
    [((1.0 + w) * m / v - w * m_all / v_all) / precision, 1.0 / precision]
}

/// x_2 − b x_1 with b = s_12/s_11 has nothing to do with x_1: that is what stays unknown.
fn given_one(s11: f64, s12: f64, s22: f64, x1: f64) -> [f64; 2] {
    let b = s12 / s11;
    [b * x1, s22 - b * s12]
}

/// How far off the samples are, less half of how far they are from each other.
fn crps(samples: &[f64], y: f64) -> f64 {
    let n = samples.len() as f64;
    let off = samples.iter().map(|x| (x - y).abs()).sum::<f64>() / n;
    let pairs = samples.iter().flat_map(|a| samples.iter().map(move |b| (a - b).abs()));
    off - 0.5 * pairs.sum::<f64>() / (n * n)
}

/// What is known, the noise where nothing is, and which of the two it is.
fn shown(x0: f64, x_t: f64, mask: f64) -> [f64; 3] {
    [mask * x0, (1.0 - mask) * x_t, mask]
}
