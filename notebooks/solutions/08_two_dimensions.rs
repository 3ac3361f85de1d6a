// Solutions of notebook 08: diffusion in two dimensions.

use ddpm_notebook::prelude::*;

/// Waves from fast to slow: the fast ones tell neighbouring steps apart, the slow ones early from late.
fn time_sinusoids(t: usize, dim: usize) -> Vec<f64> {
    let half = dim / 2;
    let angle = |k: usize| (t as f64 - 1.0) * 10_000_f64.powf(-(k as f64) / (half as f64 - 1.0));
    let sines = (0..half).map(|k| angle(k).sin());
    sines.chain((0..half).map(|k| angle(k).cos())).collect()
}

/// Both moments begin at 0, and are divided by what is missing for it.
fn adam_weights(theta: f64, gradients: &[f64], lr: f64) -> Vec<f64> {
    let (mut theta, mut m, mut v) = (theta, 0.0, 0.0);
    let mut weights = Vec::new();
    for (i, g) in gradients.iter().enumerate() {
        m = 0.9 * m + 0.1 * g;
        v = 0.999 * v + 0.001 * g * g;
        let k = i as i32 + 1;
        let (m_hat, v_hat) = (m / (1.0 - 0.9_f64.powi(k)), v / (1.0 - 0.999_f64.powi(k)));
        theta -= lr * m_hat / (v_hat.sqrt() + 1e-8);
        weights.push(theta);
    }
    weights
}

/// The plain mean, until the decay is the shorter memory.
fn averages(weights: &[f64], decay: f64) -> Vec<f64> {
    let mut average = 0.0;
    let mut all = Vec::new();
    for (i, w) in weights.iter().enumerate() {
        let d = decay.min(1.0 - 1.0 / (i as f64 + 1.0));
        average = d * average + (1.0 - d) * w;
        all.push(average);
    }
    all
}

/// Line 5 of Algorithm 1.
fn train_step(net: &mut PointNet, adam: &mut Adam<PointNet>, reverse: &Reverse, batch: &NoisyBatch) -> f64 {
    let (eps_hat, cache) = net.forward(&batch.x_t, &batch.t);
    let LossGrad { loss, d_output } = simple_loss(reverse, &eps_hat, batch);
    let n = loss.len() as f64;
    let mut grad = net.zeros_like();
    net.backward(cache, &(d_output / n), &mut grad);
    adam.step(net, &grad);
    loss.sum() / n
}

/// Three means over all pairs.
fn energy_between(x: &Array2<f64>, y: &Array2<f64>) -> f64 {
    let mean = |x: &Array2<f64>, y: &Array2<f64>| {
        let mut sum = 0.0;
        for a in x.outer_iter() {
            for b in y.outer_iter() {
                sum += (&a - &b).mapv(|d| d * d).sum().sqrt();
            }
        }
        sum / (x.nrows() * y.nrows()) as f64
    };
    2.0 * mean(x, y) - mean(x, x) - mean(y, y)
}
