// Solutions of notebook 05: tensors and a fast matmul.

use ddpm::prelude::*;

/// From the last axis backwards: a step along an axis passes over everything behind it.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * shape[axis + 1];
    }
    strides
}

/// Row i of C is a sum of rows of B: the inner loop runs along memory, whatever A and B look like there.
fn fast_matmul(a: &Array2<f32>, b: &Array2<f32>) -> Array2<f32> {
    let b = b.as_standard_layout(); // a copy only if its rows don't lie one after another
    let mut c = Array2::zeros((a.nrows(), b.ncols()));
    for (a, mut c) in a.outer_iter().zip(c.outer_iter_mut()) {
        let c = c.as_slice_mut().expect("a fresh array");
        for (a, b) in a.iter().zip(b.outer_iter()) {
            let b = b.to_slice().expect("standard layout");
            c.iter_mut().zip(b).for_each(|(c, b)| *c += a * b);
        }
    }
    c
}

/// Each pixel's window is a row; what lies outside the image is 0.
fn im2col(x: &Array3<f64>, k: usize) -> Array2<f64> {
    let (h, w, c) = x.dim();
    let p = k / 2;
    Array2::from_shape_fn((h * w, k * k * c), |(pixel, column)| {
        let (i, j) = (pixel / w, pixel % w);
        let (u, v, c) = (column / c / k, column / c % k, column % c);
        let (i, j) = (i + u, j + v); // in an image with p zeros around it
        let inside = (p..p + h).contains(&i) && (p..p + w).contains(&j);
        if inside { x[[i - p, j - p, c]] } else { 0.0 }
    })
}

/// Windows times weights.
fn conv_by_matmul(x: &Array3<f64>, weight: &Array4<f64>) -> Array3<f64> {
    let (h, w, _) = x.dim();
    let (k, _, inputs, outputs) = weight.dim();
    let matrix = weight.to_shape((k * k * inputs, outputs)).expect("as many numbers");
    let y = im2col(x, k).dot(&matrix); // [H·W, out]
    y.into_shape_with_order((h, w, outputs)).expect("as many numbers")
}

/// 64 images of 14 × 14 pixels, 3 × 3 taps, 64 to 128 channels, two operations each: 1.85 GFLOP.
fn conv_gflop() -> f64 {
    2.0 * 64.0 * 14.0 * 14.0 * 9.0 * 64.0 * 128.0 / 1e9
}
