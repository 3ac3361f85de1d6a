//! What the formulas need of a batch: one coefficient per image, sums per image, shape checks.

use crate::tensor::Batch;
use ndarray::{Array1, Array4, Axis, Zip};

/// a(t) x + b(t) y, with each image's own t: the shape of nearly every formula in the paper.
pub(super) fn mix(
    t: &[usize],
    a: impl Fn(usize) -> f64,
    x: &Batch,
    b: impl Fn(usize) -> f64,
    y: &Batch,
) -> Batch {
    let mut out = x.clone();
    for (n, &t) in t.iter().enumerate() {
        let (a, b) = (a(t), b(t));
        let mut row = out.index_axis_mut(Axis(0), n);
        row.zip_mut_with(&y.index_axis(Axis(0), n), |x, y| *x = a * *x + b * y);
    }
    out
}

/// a x + b y, with a pair (a, b) for each image `[N, 1, 1, 1]` or pixel `[N, H, W, C]`.
#[track_caller]
pub(super) fn blend(coefs: &Array4<(f64, f64)>, x: &Batch, y: &Batch) -> Batch {
    Zip::from(x).and(y).and_broadcast(coefs).map_collect(|x, y, (a, b)| a * x + b * y)
}

/// x ← f(t) x, with each image's own t.
pub(super) fn scale_per_image(x: &mut Batch, t: &[usize], f: impl Fn(usize) -> f64) {
    x.outer_iter_mut().zip(t).for_each(|(mut image, &t)| image *= f(t));
}

/// A batch of the shape of `like` that is f(t) throughout each image.
pub(super) fn constant_per_image(like: &Batch, t: &[usize], f: impl Fn(usize) -> f64) -> Batch {
    let mut out = Batch::zeros(like.dim());
    out.outer_iter_mut().zip(t).for_each(|(mut image, &t)| image.fill(f(t)));
    out
}

/// Σ over H, W, C: `[N, H, W, C]` → `[N]`.
pub(super) fn sum_per_image(x: &Batch) -> Array1<f64> {
    x.outer_iter().map(|image| image.sum()).collect()
}

/// Mean over H, W, C of (x − y)²: `[N]`.
pub(super) fn mse_per_image(x: &Batch, y: &Batch) -> Array1<f64> {
    let squared = Zip::from(x).and(y).map_collect(|x, y| (x - y).powi(2));
    sum_per_image(&squared) / dims(x) as f64
}

/// D = H·W·C, the number of values in one image.
pub(super) fn dims(x: &Batch) -> usize {
    x.shape()[1..].iter().product()
}

/// Panics unless the shapes of two named batches are equal.
#[track_caller]
pub(super) fn same_shape(op: &str, a: (&str, &Batch), b: (&str, &Batch)) {
    assert_eq!(a.1.shape(), b.1.shape(), "{op}: the shapes of {} and {} must be equal", a.0, b.0);
}

/// Panics unless there is one t for each image.
#[track_caller]
pub(super) fn one_t_per_image(op: &str, x: &Batch, t: &[usize]) {
    assert_eq!(t.len(), x.shape()[0], "{op}: one t per image: {} t for a batch {:?}", t.len(), x.shape());
}
