//! Our matrix product and its definition against `matrixmultiply`, the product under ndarray's `dot`.

use ddpm::matmul::{definition, matmul, matmul_nt, matmul_tn};
use ddpm::rng::{normal, stream};
use ddpm::tensor::Tensor2;

/// `C = A B` by `matrixmultiply`, for matrices whose rows lie in memory one after another.
#[expect(unsafe_code, reason = "matrixmultiply takes pointers")]
fn sgemm(a: &Tensor2, b: &Tensor2) -> Tensor2 {
    let ((m, k), (k2, n)) = (a.dim(), b.dim());
    assert!(k == k2 && a.is_standard_layout() && b.is_standard_layout());
    let mut c = Tensor2::zeros((m, n));
    let strides = |columns: usize| (columns as isize, 1);
    let ((ra, ca), (rb, cb), (rc, cc)) = (strides(k), strides(n), strides(n));
    // SAFETY: the assertion above: each pointer begins a matrix of just these sizes and strides, and C is our own.
    unsafe {
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        matrixmultiply::sgemm(m, k, n, 1.0, a, ra, ca, b, rb, cb, 0.0, c, rc, cc);
    }
    c
}

#[test]
fn three_products_agree() {
    for (m, k, n) in [(1, 1, 1), (0, 3, 2), (3, 0, 2), (7, 5, 9), (64, 64, 64), (33, 700, 17), (300, 40, 130)]
    {
        let a: Tensor2 = normal((m, k), &mut stream(1, 0));
        let b: Tensor2 = normal((k, n), &mut stream(2, 0));
        let yardstick = sgemm(&a, &b);
        // of sums of k products of N(0, 1): k roundings of numbers near √k, in any order
        let tolerance = 4.0 * f32::EPSILON * (k.max(1) as f32);
        for (name, c) in [
            ("definition", definition(&a, &b)),
            ("matmul", matmul(&a, &b)),
            ("matmul_nt", matmul_nt(&a, &b.t().as_standard_layout())),
            ("matmul_tn", matmul_tn(&a.t().as_standard_layout(), &b)),
        ] {
            assert_eq!(c.dim(), (m, n));
            let worst = (&c - &yardstick).iter().fold(0.0f32, |worst, d| worst.max(d.abs()));
            assert!(worst <= tolerance, "{name} of [{m}, {k}] and [{k}, {n}] is off by {worst:e}");
        }
    }
}
