//! Gradient checks for tests: along a random direction, against a random cotangent.
//!
//! For `y = f(x)` and a random `g`, the scalar `L = ⟨y, g⟩` has `dL = ⟨dx, v⟩` along any direction `v`. A central
//! difference of `L` along `v` must agree with `⟨dx, v⟩`.

use crate::rng::{normal, stream};
use ndarray::{Array, Dimension};

/// `⟨a, b⟩` in f64.
pub(crate) fn inner<D: Dimension>(a: &Array<f32, D>, b: &Array<f32, D>) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| a as f64 * b as f64).sum()
}

/// Asserts `⟨dx, v⟩ ≈ (L(x + hv) − L(x − hv)) / 2h` for three random `v`; returns the worst relative error.
#[track_caller]
pub(crate) fn check<D: Dimension>(
    what: &str,
    x: &Array<f32, D>,
    dx: &Array<f32, D>,
    loss: impl Fn(&Array<f32, D>) -> f64,
) {
    let error = relative_error(x, dx, &loss);
    assert!(error < 3e-3, "{what}: the gradient is off by {error:.2e}");
    // negative control: the check must notice a gradient that is 2 % off
    let wrong = relative_error(x, &(dx * 1.02), &loss);
    assert!(wrong > 5e-3, "{what}: the check does not see a wrong gradient ({wrong:.2e})");
}

/// `|⟨dx, v⟩ − difference quotient|` over `|⟨dx, v⟩|` for `v = dx/|dx|` and two random perturbations of it.
fn relative_error<D: Dimension>(
    x: &Array<f32, D>,
    dx: &Array<f32, D>,
    loss: impl Fn(&Array<f32, D>) -> f64,
) -> f64 {
    assert_eq!(x.shape(), dx.shape(), "a gradient has the shape of what it belongs to");
    let norm = inner(dx, dx).sqrt();
    assert!(norm > 0.0, "the gradient is 0");
    let mut worst = 0.0f64;
    for n in 0..3 {
        // a random direction with a component along dx, so that ⟨dx, v⟩ is not small by chance
        let noise: Array<f32, D> = normal(x.raw_dim(), &mut stream(99, n));
        let v = dx / norm as f32 + noise / (x.len() as f32).sqrt();
        let h = 1e-2f32;
        let difference = (loss(&(x + &(&v * h))) - loss(&(x - &(&v * h)))) / (2.0 * h as f64);
        worst = worst.max((difference - inner(dx, &v)).abs() / norm);
    }
    worst
}
