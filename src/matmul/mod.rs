//! Matrix products: the definition in three loops, and the fast version that the network runs on.
//!
//! [`definition`] is what is meant; [`matmul`], [`matmul_nt`] and [`matmul_tn`] are the same numbers (up to the
//! rounding of a different order of sums) near the speed limit of the CPU. How that is reached stands in `kernel`
//! (`A B`) and `transposed` (`Aᵀ B`): a register tile in plain Rust over fixed arrays, compiled for each
//! [instruction set](simd); how near to the limit they come, [`peak`] tells. All `unsafe` of the crate is in this
//! module: calls of functions that are compiled for an instruction set which the CPU has been seen to have.

mod blocked;
pub(crate) mod kernel;
pub mod peak;
pub mod simd;
#[cfg(test)]
mod tests;
pub(crate) mod transposed;

use crate::tensor::{Tensor2, scratch, zeros};
use crate::threads;
use kernel::Initial;
use ndarray::{ArrayRef2, ArrayView2, CowArray, Ix2};
use rayon::prelude::*;
use std::borrow::Cow;
use transposed::{Segment, TransposedProduct};

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
    let mut c = scratch((m, n));
    product_into(a.view(), b.view(), Initial::ZERO, c.as_slice_mut().expect("a fresh array"));
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
    let mut c = zeros((a.ncols(), b.ncols()));
    add_transposed_product(a, b, c.as_slice_mut().expect("a fresh array"));
    c
}

/// `C += Aᵀ B` for `A [k, m]`, `B [k, n]` and the row-major `c [m, n]`.
#[track_caller]
pub(crate) fn add_transposed_product(a: &ArrayRef2<f32>, b: &ArrayRef2<f32>, c: &mut [f32]) {
    let (m, k, n) = sizes("matmul", &a.t(), b);
    assert_eq!(c.len(), m * n, "matmul: C has {} numbers, [{m}, {n}] needed", c.len());
    if c.is_empty() {
        return;
    }
    let (a, b) = (row_major(a.view()), row_major(b.view()));
    let (a, b) = (a.as_slice().expect("row-major"), b.as_slice().expect("row-major"));
    let (b, ldb) = whole_vectors(b, n);
    let segments = [Segment { a: 0, b: 0, len: k }];
    let rows = m.div_ceil(threads::parts(flops(m, k, n)));
    let part = |(i, c): (usize, &mut [f32])| {
        let a = &a[(i * rows).min(a.len())..];
        TransposedProduct { a, lda: m, m: c.len() / n, b: &b, ldb, n, segments: &segments }.run(c, n);
    };
    match rows < m {
        true => c.par_chunks_mut(rows * n).enumerate().for_each(part),
        false => part((0, c)),
    }
}

/// `C = init + A B` into the row-major `c [m, n]`.
#[track_caller]
pub(crate) fn product_into(a: ArrayView2<f32>, b: ArrayView2<f32>, init: Initial, c: &mut [f32]) {
    let (m, k, n) = sizes("matmul", &a, &b);
    assert_eq!(c.len(), m * n, "matmul: C has {} numbers, [{m}, {n}] needed", c.len());
    let (a, b) = (row_major(a), row_major(b));
    let (a, b) = (a.as_slice().expect("row-major"), b.as_slice().expect("row-major"));
    let rows = m.div_ceil(threads::parts(flops(m, k, n)));
    if rows == m {
        return blocked::product(simd::simd(), (m, k, n), a, b, init, c);
    }
    c.par_chunks_mut(rows * n).zip(a.par_chunks(rows * k)).for_each(|(c, a)| {
        blocked::product(simd::simd(), (c.len() / n, k, n), a, b, init, c);
    });
}

fn flops(m: usize, k: usize, n: usize) -> u64 {
    2 * (m * k * n) as u64
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

/// The matrix `b` of `n` columns with rows of whole vectors: in place if they are, else padded with zeros.
pub(crate) fn whole_vectors(b: &[f32], n: usize) -> (Cow<'_, [f32]>, usize) {
    let ldb = n.next_multiple_of(simd::simd().lanes());
    if ldb == n {
        return (Cow::Borrowed(b), n);
    }
    let mut padded = vec![0.0; b.len() / n * ldb];
    padded.chunks_exact_mut(ldb).zip(b.chunks_exact(n)).for_each(|(p, row)| p[..n].copy_from_slice(row));
    (Cow::Owned(padded), ldb)
}

/// `out[j, i] = x[i, j]` for rows of `x` every `ldx` and of `out` every `ldo` numbers, in 16 × 16 tiles so that
/// both sides are read and written in whole cache lines.
pub(crate) fn transpose(x: &[f32], ldx: usize, out: &mut [f32], ldo: usize) {
    if ldx > 0 && ldo > 0 {
        transpose_tiles(x, ldx, out, ldo);
    }
}

simd::vectorized! {
    fn transpose_tiles(x: &[f32], ldx: usize, out: &mut [f32], ldo: usize) {
        const T: usize = 16;
        let (rows, columns) = (x.len().div_ceil(ldx).min(ldo), ldx.min(out.len().div_ceil(ldo)));
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
    }
}

/// A whole tile, through an array that stays in registers.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
fn transpose_tile<const T: usize>(x: &[f32], ldx: usize, out: &mut [f32], ldo: usize) {
    let mut tile = [[0.0f32; T]; T];
    for i in 0..T {
        let row: &[f32; T] = x[i * ldx..][..T].try_into().expect("T numbers");
        for j in 0..T {
            tile[j][i] = row[j];
        }
    }
    for j in 0..T {
        out[j * ldo..][..T].copy_from_slice(&tile[j]);
    }
}
