//! Gradient checks, for tests and for the course: along random directions, against a random cotangent.
//!
//! For `y = f(x)` and a random `g`, the scalar `L = ⟨y, g⟩` has `dL = ⟨dx, v⟩` along any direction `v`. (A sum of `y`
//! would not do: normalisation makes it constant.) Central differences of `L` along `v` must agree with `⟨dx, v⟩`.
//!
//! In `f32` a small step drowns in rounding and a large one in curvature. So steps are large, Richardson's
//! extrapolation from two of them takes the leading term of the curvature out, what is compared is the step as it was
//! rounded, `x₊ − x₋`, and of several lengths the best one counts: a wrong gradient is wrong at every length.

use crate::params::Params;
use crate::rng::{normal, stream};
use ndarray::{Array, Array1, ArrayRef, Dimension};

/// Tolerated error relative to the gradient's length: a tenth of the smallest mistake that must be seen.
const TOLERANCE: f64 = 5e-4;
/// Lengths of the longer of two steps.
const STEPS: [f32; 3] = [0.2, 0.05, 0.0125];

/// `⟨a, b⟩` in f64.
///
/// # Panics
/// If the shapes differ.
///
/// # Shapes
/// Two arrays of one shape.
///
/// ```
/// assert_eq!(ddpm::nn::gradient_check::inner(&ndarray::array![1.0, 2.0], &ndarray::array![3.0, 4.0]), 11.0);
/// ```
#[track_caller]
pub fn inner<D: Dimension>(a: &ArrayRef<f32, D>, b: &ArrayRef<f32, D>) -> f64 {
    assert_eq!(a.shape(), b.shape(), "inner product");
    a.iter().zip(b).map(|(&a, &b)| a as f64 * b as f64).sum()
}

/// Asserts that `dx` is the gradient of `loss` at `x`, and that the check would have noticed two slightly wrong ones.
///
/// # Panics
/// If it is not, or the check would not have.
#[track_caller]
pub fn check<D: Dimension>(
    what: &str,
    x: &Array<f32, D>,
    dx: &Array<f32, D>,
    loss: impl Fn(&Array<f32, D>) -> f64,
) {
    let error = self::error(x, dx, &loss);
    assert!(error < TOLERANCE, "{what}: the gradient is off by {error:.1e} of its length");
    let aside: Array<f32, D> = normal(x.raw_dim(), &mut stream(98, 0));
    let aside = &aside * (0.07 * (inner(dx, dx) / inner(&aside, &aside)).sqrt() as f32);
    for (mistake, wrong) in [("1 % too long", dx * 1.01), ("7 % beside", dx + aside)] {
        let seen = self::error(x, &wrong, &loss);
        assert!(seen > 2.0 * TOLERANCE, "{what}: the check does not see a gradient {mistake} ({seen:.1e})");
    }
}

/// [`check`] for every parameter tensor of a layer, but those whose key ends with one of `skip`.
///
/// # Panics
/// As [`check`].
///
/// ```
/// use ddpm::nn::{Linear, gradient_check::{check_params, inner}};
/// use ddpm::{params::Params, rng::stream, tensor::Tensor2};
/// let (layer, x) = (Linear::new(3, 2, 1.0, &mut stream(1, 0)), Tensor2::ones((4, 3)));
/// let mut grad = layer.zeros_like();
/// let (y, cache) = layer.forward(x.clone());
/// layer.backward(cache, &y, &mut grad);
/// check_params("linear", &layer, &grad, &[], |layer| 0.5 * inner(&layer.infer(&x), &layer.infer(&x)));
/// ```
#[track_caller]
pub fn check_params<M: Params>(what: &str, model: &M, grad: &M, skip: &[&str], loss: impl Fn(&M) -> f64) {
    for (i, (key, dw)) in grad.named().into_iter().enumerate() {
        if skip.iter().any(|end| key.ends_with(end)) {
            continue;
        }
        let w = Array1::from(model.slices()[i].to_vec());
        check(&format!("{what} {key}"), &w, &Array1::from_iter(dw.iter().copied()), |w| {
            let mut moved = model.clone();
            moved.slices_mut()[i].copy_from_slice(w.as_slice().expect("contiguous"));
            loss(&moved)
        });
    }
}

/// [`check`] for all parameters of a model at once, as one long vector: what a single tensor's gradient is too small for.
///
/// # Panics
/// As [`check`].
///
/// ```
/// use ddpm::nn::{Linear, gradient_check::{check_all, inner}};
/// use ddpm::{params::Params, rng::stream, tensor::Tensor2};
/// let (layer, x) = (Linear::new(3, 2, 1.0, &mut stream(1, 0)), Tensor2::ones((4, 3)));
/// let mut grad = layer.zeros_like();
/// let (y, cache) = layer.forward(x.clone());
/// layer.backward(cache, &y, &mut grad);
/// check_all("linear", &layer, &grad, |layer| 0.5 * inner(&layer.infer(&x), &layer.infer(&x)));
/// ```
#[track_caller]
pub fn check_all<M: Params>(what: &str, model: &M, grad: &M, loss: impl Fn(&M) -> f64) {
    let numbers = |model: &M| Array1::from(model.slices().concat());
    check(what, &numbers(model), &numbers(grad), |numbers| {
        let (mut moved, mut rest) = (model.clone(), numbers.as_slice().expect("contiguous"));
        for slice in moved.slices_mut() {
            let (own, after) = rest.split_at(slice.len());
            slice.copy_from_slice(own);
            rest = after;
        }
        loss(&moved)
    });
}

/// The same layer with N(0, `size`²) added to every parameter: a layer that starts as nothing hides mistakes.
///
/// ```
/// use ddpm::{nn::{Linear, gradient_check::shaken}, rng::stream};
/// let layer = shaken(Linear::new(3, 2, 1.0, &mut stream(1, 0)), 0.1);
/// assert!(layer.bias.iter().all(|&b| b != 0.0));
/// ```
pub fn shaken<M: Params>(mut model: M, size: f32) -> M {
    for (i, slice) in model.slices_mut().into_iter().enumerate() {
        let noise: Array1<f32> = normal(slice.len(), &mut stream(97, i as u64));
        slice.iter_mut().zip(&noise).for_each(|(w, n)| *w += size * n);
    }
    model
}

/// How far `dx` is from the gradient of `loss` at `x`, relative to its own length: about 1e-5 for a right gradient in
/// `f32`, and as large as the mistake for a wrong one.
///
/// # Panics
/// If the shapes differ, or `dx` is 0.
///
/// ```
/// use ddpm::nn::gradient_check::error;
/// use ndarray::array;
/// let x = array![1.0_f32, 2.0, 3.0];
/// let loss = |x: &ndarray::Array1<f32>| x.iter().map(|&x| f64::from(x).powi(2)).sum();
/// assert!(error(&x, &(&x * 2.0), loss) < 1e-5);
/// assert!(error(&x, &(&x * 2.02), loss) > 5e-3);
/// ```
///
/// ```
/// use ddpm::nn::gradient_check::error;
/// use ndarray::{Array1, array};
/// let loss = |x: &Array1<f32>| x.iter().map(|&x| f64::from(x * x)).sum::<f64>();
/// let x = array![1.0, -2.0];
/// assert!(error(&x, &array![2.0, -4.0], loss) < 1e-2 && error(&x, &array![2.0, 4.0], loss) > 0.1);
/// ```
#[track_caller]
pub fn error<D: Dimension>(
    x: &Array<f32, D>,
    dx: &Array<f32, D>,
    loss: impl Fn(&Array<f32, D>) -> f64,
) -> f64 {
    assert_eq!(x.shape(), dx.shape(), "a gradient has the shape of what it belongs to");
    STEPS.into_iter().map(|step| relative_error(x, dx, step, &loss)).fold(f64::INFINITY, f64::min)
}

/// The worst `|difference of L − ⟨dx, x₊ − x₋⟩|` over three directions `v`, for a step of length 1, over `|dx|`.
fn relative_error<D: Dimension>(
    x: &Array<f32, D>,
    dx: &Array<f32, D>,
    step: f32,
    loss: impl Fn(&Array<f32, D>) -> f64,
) -> f64 {
    let length = inner(dx, dx).sqrt();
    assert!(length > 0.0, "the gradient is 0");
    let mut worst = 0.0f64;
    for n in 0..3 {
        // a random direction with a component along dx, so that ⟨dx, v⟩ is not small by chance
        let noise: Array<f32, D> = normal(x.raw_dim(), &mut stream(99, n));
        let v = dx / length as f32 + noise / (x.len() as f32).sqrt();
        let residual = |h: f32| {
            let (plus, minus) = (x + &(&v * h), x - &(&v * h));
            (loss(&plus) - loss(&minus) - inner(dx, &(plus - minus))) / (2.0 * h as f64)
        };
        // residual(h) = error + c h² + …
        let extrapolated = (4.0 * residual(step / 2.0) - residual(step)) / 3.0;
        worst = worst.max(extrapolated.abs() / length);
    }
    worst
}
