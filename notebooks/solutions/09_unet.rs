// Solutions of notebook 09: a small U-Net.

use ddpm::prelude::*;

/// A walk down that pushes, a walk up that pops.
fn up_inputs(widths: &[usize], layers: usize) -> Vec<usize> {
    let mut skips = vec![widths[0]];
    for (level, &width) in widths.iter().enumerate() {
        skips.extend(vec![width; layers]);
        if level + 1 < widths.len() {
            skips.push(width);
        }
    }
    let mut h = widths[widths.len() - 1];
    let mut inputs = Vec::new();
    for &width in widths.iter().rev() {
        for _ in 0..layers + 1 {
            inputs.push(h + skips.pop().expect("one skip per block"));
            h = width;
        }
    }
    inputs
}

/// Two norms, two convolutions, the time, and perhaps a shortcut.
fn resnet_parameters(inputs: usize, outputs: usize, time: usize) -> usize {
    let conv = |k: usize, from: usize, to: usize| k * k * from * to + to;
    let norms = 2 * inputs + 2 * outputs;
    let shortcut = if inputs == outputs { 0 } else { conv(1, inputs, outputs) };
    norms + conv(3, inputs, outputs) + conv(3, outputs, outputs) + conv(1, time, outputs) + shortcut
}

/// h fed three places, so three gradients add.
fn tiny_u_backward(a: &Array2<f64>, b: &Array2<f64>, c: &Array2<f64>, dy: &Array2<f64>) -> Array2<f64> {
    let d_joined = dy.dot(&c.t());
    let k = a.ncols();
    let (dm, d_skip) = (d_joined.slice(s![.., ..k]), d_joined.slice(s![.., k..]));
    let dh = &dm + &dm.dot(&b.t()) + d_skip;
    dh.dot(&a.t())
}

/// `[N, C]` → `[N, 1, 1, C]`, which broadcasts over the pixels.
fn add_time(h: &Batch, time: &Array2<f64>) -> Batch {
    h + &time.clone().insert_axis(Axis(1)).insert_axis(Axis(1))
}

/// E ε² = 1, E x_0² = m, E v² = ᾱ E ε² + (1 − ᾱ) E x_0².
fn first_loss(alpha_bar: f64, m: f64) -> [f64; 3] {
    [1.0, m, alpha_bar + (1.0 - alpha_bar) * m]
}
