// Solutions of notebook 07: backprop by hand, convolution, resampling, group normalisation, attention.

use ddpm::prelude::*;

/// The loops of the forward pass; each x collects from every y that read it.
fn conv_backward_data(dy: &Batch, w: &Batch) -> Batch {
    let (n, height, width, outputs) = dy.dim();
    let inputs = w.dim().2;
    let mut dx = Batch::zeros((n, height, width, inputs));
    for (n, i, j) in ndarray::indices((n, height, width)) {
        for (u, v) in ndarray::indices((3, 3)) {
            if i + u < 1 || i + u > height || j + v < 1 || j + v > width {
                continue;
            }
            for (c, o) in ndarray::indices((inputs, outputs)) {
                dx[[n, i + u - 1, j + v - 1, c]] += dy[[n, i, j, o]] * w[[u, v, c, o]];
            }
        }
    }
    dx
}

/// The same loops; each tap collects from every pair of pixels that it joined.
fn conv_backward_weights(x: &Batch, dy: &Batch) -> Batch {
    let (n, height, width, inputs) = x.dim();
    let outputs = dy.dim().3;
    let mut dw = Batch::zeros((3, 3, inputs, outputs));
    for (n, i, j) in ndarray::indices((n, height, width)) {
        for (u, v) in ndarray::indices((3, 3)) {
            if i + u < 1 || i + u > height || j + v < 1 || j + v > width {
                continue;
            }
            for (c, o) in ndarray::indices((inputs, outputs)) {
                dw[[u, v, c, o]] += x[[n, i + u - 1, j + v - 1, c]] * dy[[n, i, j, o]];
            }
        }
    }
    dw
}

/// One x was copied to four y: their gradients add.
fn upsample_backward(dy: &Batch) -> Batch {
    let part = |i: usize, j: usize| dy.slice(s![.., i..;2, j..;2, ..]);
    &part(0, 0) + &part(0, 1) + part(1, 0) + part(1, 1)
}

/// dx = r (g − mean(g) − x̂ mean(g x̂)).
fn group_norm_backward(x: &Array1<f64>, g: &Array1<f64>, eps: f64) -> Array1<f64> {
    let n = x.len() as f64;
    let mean = x.sum() / n;
    let variance = x.mapv(|x| (x - mean).powi(2)).sum() / n;
    let r = 1.0 / (variance + eps).sqrt();
    let x_hat = (x - mean) * r;
    (g - g.sum() / n - &x_hat * ((g * &x_hat).sum() / n)) * r
}

/// From the last line of the forward pass to the first.
fn attention_backward(
    q: &Array2<f64>,
    k: &Array2<f64>,
    v: &Array2<f64>,
    d_o: &Array2<f64>,
) -> (Array2<f64>, Array2<f64>, Array2<f64>) {
    let scale = 1.0 / (q.ncols() as f64).sqrt();
    // s = q kᵀ/√d,  p = softmax(s)
    let mut p = (q.dot(&k.t()) * scale).mapv(f64::exp);
    for mut row in p.rows_mut() {
        let sum = row.sum();
        row /= sum;
    }
    // o = p v
    let dv = p.t().dot(d_o);
    let dp = d_o.dot(&v.t());
    // p = softmax(s)
    let inner = (&p * &dp).sum_axis(Axis(1)).insert_axis(Axis(1));
    let ds = &p * &(dp - inner);
    // s = q kᵀ/√d
    (ds.dot(k) * scale, ds.t().dot(q) * scale, dv)
}
