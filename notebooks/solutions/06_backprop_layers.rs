// Solutions of notebook 06: backprop by hand, Linear, SiLU, MSE, broadcast.

use ddpm::prelude::*;

/// From y = x σ(x): the product rule, and σ' = σ (1 − σ).
fn silu_backward(x: &Array1<f64>, dy: &Array1<f64>) -> Array1<f64> {
    let sigma = x.mapv(|x| 1.0 / (1.0 + (-x).exp()));
    let slope = &sigma * (1.0 + x * (1.0 - &sigma));
    dy * slope
}

/// From y = x W + b: each product has the only shape that fits.
fn linear_backward(
    x: &Array2<f64>,
    w: &Array2<f64>,
    dy: &Array2<f64>,
) -> (Array2<f64>, Array2<f64>, Array1<f64>) {
    let dx = dy.dot(&w.t());
    let dw = x.t().dot(dy);
    let db = dy.sum_axis(Axis(0));
    (dx, dw, db)
}

/// A number that was used several times gets the sum of what flows back from each use.
fn unbroadcast(dy: &Array2<f64>, shape: (usize, usize)) -> Array2<f64> {
    let mut dx = dy.clone();
    if shape.0 == 1 {
        dx = dx.sum_axis(Axis(0)).insert_axis(Axis(0));
    }
    if shape.1 == 1 {
        dx = dx.sum_axis(Axis(1)).insert_axis(Axis(1));
    }
    dx
}

/// The mean of the squares, and what it asks of the prediction.
fn mse_backward(prediction: &Array2<f64>, target: &Array2<f64>) -> (f64, Array2<f64>) {
    let off = prediction - target;
    let n = off.len() as f64;
    let loss = off.mapv(|off| off * off).sum() / n;
    (loss, off * (2.0 / n))
}

/// Every number of x is moved, against a random cotangent; the error is measured in units of the gradient.
fn gradient_is_wrong(
    forward: fn(&Array1<f64>) -> Array1<f64>,
    backward: fn(&Array1<f64>, &Array1<f64>) -> Array1<f64>,
    x: &Array1<f64>,
) -> bool {
    let g: Array1<f64> = normal(x.len(), &mut stream(6, 0));
    let loss = |x: &Array1<f64>| (forward(x) * &g).sum();
    let h = 1e-5;
    let numeric = Array1::from_shape_fn(x.len(), |i| {
        let (mut plus, mut minus) = (x.clone(), x.clone());
        plus[i] += h;
        minus[i] -= h;
        (loss(&plus) - loss(&minus)) / (2.0 * h)
    });
    let length = |v: &Array1<f64>| v.mapv(|v| v * v).sum().sqrt();
    length(&(&numeric - backward(x, &g))) > 1e-6 * length(&numeric)
}
