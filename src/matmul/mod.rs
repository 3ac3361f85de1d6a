//! Matrix products: the definition in three loops, and the fast version that the network runs on.
//!
//! [`definition`] is what is meant; [`matmul`], [`matmul_nt`] and [`matmul_tn`] are the same numbers (up to the
//! rounding of a different order of sums) near the speed limit of the CPU. How that is reached stands in
//! [`kernel`]: a register tile in plain Rust over fixed arrays, compiled for each instruction set.

mod blocked;
pub mod kernel;
#[cfg(test)]
mod tests;

use crate::tensor::Tensor2;
use kernel::Init;
use ndarray::{ArrayRef2, ArrayView2, CowArray, Ix2};

/// `C[i, j] = Σ_k A[i, k] · B[k, j]`, in three loops: the definition that the fast version is tested against.
///
/// # Panics
/// If the inner sizes differ.
#[track_caller]
pub fn definition(a: &ArrayRef2<f32>, b: &ArrayRef2<f32>) -> Tensor2 {
    let (m, k, n) = sizes("definition", a, b);
    let mut c = Tensor2::zeros((m, n));
    for i in 0..m {
        for j in 0..n {
            for l in 0..k {
                c[[i, j]] += a[[i, l]] * b[[l, j]];
            }
        }
    }
    c
}

/// `C = A B` for `A [m, k]` and `B [k, n]`.
///
/// # Panics
/// If the inner sizes differ.
///
/// ```
/// use ddpm::matmul::matmul;
/// use ndarray::array;
/// assert_eq!(matmul(&array![[1.0, 2.0]], &array![[3.0], [4.0]]), array![[11.0]]);
/// ```
#[track_caller]
pub fn matmul(a: &ArrayRef2<f32>, b: &ArrayRef2<f32>) -> Tensor2 {
    let (m, _, n) = sizes("matmul", a, b);
    let mut c = Tensor2::zeros((m, n));
    product_into(a.view(), b.view(), Init::Zero, c.as_slice_mut().expect("a fresh array"));
    c
}

/// `C = A Bᵀ` for `A [m, k]` and `B [n, k]`.
///
/// # Panics
/// If the inner sizes differ.
#[track_caller]
pub fn matmul_nt(a: &ArrayRef2<f32>, b: &ArrayRef2<f32>) -> Tensor2 {
    matmul(a, &b.t())
}

/// `C = Aᵀ B` for `A [k, m]` and `B [k, n]`.
///
/// # Panics
/// If the inner sizes differ.
#[track_caller]
pub fn matmul_tn(a: &ArrayRef2<f32>, b: &ArrayRef2<f32>) -> Tensor2 {
    matmul(&a.t(), b)
}

/// `C = init + A B` into the row-major `c [m, n]`.
#[track_caller]
pub(crate) fn product_into(a: ArrayView2<f32>, b: ArrayView2<f32>, init: Init, c: &mut [f32]) {
    let (m, k, n) = sizes("matmul", &a, &b);
    assert_eq!(c.len(), m * n, "matmul: C has {} numbers, [{m}, {n}] needed", c.len());
    let (a, b) = (row_major(a), row_major(b));
    let (a, b) = (a.as_slice().expect("row-major"), b.as_slice().expect("row-major"));
    blocked::product(kernel::simd(), (m, k, n), a, b, init, c);
}

#[track_caller]
fn sizes(name: &str, a: &ArrayRef2<f32>, b: &ArrayRef2<f32>) -> (usize, usize, usize) {
    let ((m, k), (k2, n)) = (a.dim(), b.dim());
    assert_eq!(k, k2, "{name}: [{m}, {k}] times [{k2}, {n}]: the inner sizes differ");
    (m, k, n)
}

/// The same matrix with its rows in memory one after another; copied only when they are not yet.
fn row_major(x: ArrayView2<f32>) -> CowArray<f32, Ix2> {
    if x.is_standard_layout() {
        return x.into();
    }
    let (m, n) = x.dim();
    match x.reversed_axes().to_slice() {
        Some(columns) => {
            let mut rows = vec![0.0; m * n];
            transpose(columns, m, &mut rows, n);
            Tensor2::from_shape_vec((m, n), rows).expect("m × n numbers").into()
        }
        None => x.as_standard_layout().into_owned().into(),
    }
}

/// `out[j, i] = x[i, j]` for rows of `x` every `ldx` and of `out` every `ldo` numbers, in 16 × 16 tiles so that
/// both sides are read and written in whole cache lines.
pub(crate) fn transpose(x: &[f32], ldx: usize, out: &mut [f32], ldo: usize) {
    const T: usize = 16;
    if ldx == 0 || ldo == 0 {
        return;
    }
    let (rows, columns) = (x.len().div_ceil(ldx).min(ldo), ldx.min(out.len().div_ceil(ldo)));
    kernel::vectorized(|| {
        for i0 in (0..rows).step_by(T) {
            for j0 in (0..columns).step_by(T) {
                let (h, w) = (T.min(rows - i0), T.min(columns - j0));
                if (h, w) == (T, T) {
                    transpose_tile::<T>(&x[i0 * ldx + j0..], ldx, &mut out[j0 * ldo + i0..], ldo);
                    continue;
                }
                for i in i0..i0 + h {
                    for j in j0..j0 + w {
                        out[j * ldo + i] = x[i * ldx + j];
                    }
                }
            }
        }
    })
}

/// A whole tile, through an array that stays in registers.
#[inline(always)]
fn transpose_tile<const T: usize>(x: &[f32], ldx: usize, out: &mut [f32], ldo: usize) {
    let mut tile = [[0.0f32; T]; T];
    for (i, row) in tile.iter_mut().enumerate() {
        row.copy_from_slice(&x[i * ldx..][..T]);
    }
    for j in 0..T {
        let column: [f32; T] = std::array::from_fn(|i| tile[i][j]);
        out[j * ldo..][..T].copy_from_slice(&column);
    }
}
