//! The second micro-kernel: the transpose of a matrix times another one, `C += Aᵀ B`.
//!
//! Every gradient of weights is of this kind: `dW = xᵀ dy`, a sum over rows (pixels, images) of outer products,
//!
//! ```text
//! C[r, j] += Σ_s Σ_k  A[a_s + k·lda + r] · B[b_s + k·ldb + j]
//! ```
//!
//! where the segments `s` are the stretches over which both sides run evenly: a matrix has one, and a convolution
//! has one per line of an image, because a tap shifts x against y and cuts a pixel off.
//!
//! The tile has `MR` columns of A, adjacent in memory, and they must not be a power of two: of 8 or 16 adjacent
//! numbers LLVM makes a vector, shuffles it, and is thirty times slower. 11 × 2 vectors reach over 90 % of the peak of
//! AVX-512, 6 × 2 about 70 % of AVX2's. The other habits are those of [`kernel`](super::kernel).

use super::kernel::store;
use super::simd::{Simd, simd};

/// A stretch of rows of A and of B.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// where it begins in A
    pub a: usize,
    /// where it begins in B; a multiple of [`Simd::lanes`]
    pub b: usize,
    /// how many rows
    pub len: usize,
}

/// `C += Aᵀ B`; see the module's formula.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransposedProduct<'a> {
    /// `m` numbers every `lda`
    pub a: &'a [f32],
    /// row length of A
    pub lda: usize,
    /// columns of A that count: rows of C
    pub m: usize,
    /// `n` numbers every `ldb`, a multiple of [`Simd::lanes`]
    pub b: &'a [f32],
    /// row length of B
    pub ldb: usize,
    /// columns of B and of C
    pub n: usize,
    /// what is summed over
    pub segments: &'a [Segment],
}

impl TransposedProduct<'_> {
    /// Adds the product to `c`, whose rows have `ldc` numbers.
    pub(crate) fn run(&self, c: &mut [f32], ldc: usize) {
        self.run_on(simd(), c, ldc);
    }

    /// [`run`](TransposedProduct::run) on a given instruction set.
    ///
    /// # Panics
    /// If this CPU lacks it.
    pub(super) fn run_on(&self, simd: Simd, c: &mut [f32], ldc: usize) {
        assert!(simd.available(), "transposed product: this CPU has no {simd:?}");
        let (a, b) = (self.a, self.b);
        match simd {
            Simd::Portable if cfg!(target_arch = "aarch64") => product::<6, 1, 8, true>(a, b, c, ldc, self),
            Simd::Portable => product::<3, 1, 8, false>(a, b, c, ldc, self),
            // SAFETY: the assertion above: `Simd::available` has seen AVX2 and FMA on this CPU.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => unsafe { product_avx2(a, b, c, ldc, self) },
            // SAFETY: the assertion above: `Simd::available` has seen the AVX-512 features.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => unsafe { product_avx512(a, b, c, ldc, self) },
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("only x86-64 has more than the portable kernel"),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn product_avx2(a: &[f32], b: &[f32], c: &mut [f32], ldc: usize, p: &TransposedProduct) {
    product::<6, 2, 8, true>(a, b, c, ldc, p);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
fn product_avx512(a: &[f32], b: &[f32], c: &mut [f32], ldc: usize, p: &TransposedProduct) {
    product::<11, 2, 16, true>(a, b, c, ldc, p);
}

/// Column panels: as many full ones as fit, then single vectors.
#[inline(always)]
fn product<const MR: usize, const NV: usize, const L: usize, const FMA: bool>(
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    ldc: usize,
    p: &TransposedProduct,
) {
    let mut j = 0;
    while j < p.n {
        if j + NV * L <= p.n {
            panel::<MR, NV, L, FMA>(a, b, c, ldc, p, j);
            j += NV * L;
        } else {
            panel::<MR, 1, L, FMA>(a, b, c, ldc, p, j);
            j += L;
        }
    }
}

/// One column panel for all rows of C. The last tile begins earlier and stores only the rows that are new; where there
/// are fewer rows than a tile has, they go one by one.
#[inline(always)]
fn panel<const MR: usize, const NV: usize, const L: usize, const FMA: bool>(
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    ldc: usize,
    p: &TransposedProduct,
    j: usize,
) {
    if p.m < MR {
        return (0..p.m).for_each(|r| tile::<1, NV, L, FMA>(a, b, c, ldc, p, (r, r, j)));
    }
    for r in (0..p.m).step_by(MR) {
        tile::<MR, NV, L, FMA>(a, b, c, ldc, p, (r.min(p.m - MR), r, j));
    }
}

/// The tile of C that begins in row `first` and column `j`; rows before `new` are not stored.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // indices on purpose, as in `kernel`
fn tile<const MR: usize, const NV: usize, const L: usize, const FMA: bool>(
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    ldc: usize,
    p: &TransposedProduct,
    (first, new, j): (usize, usize, usize),
) {
    let (b, _) = b.as_chunks::<L>();
    let columns = (p.n - j).min(NV * L);
    let mut acc = [[[0.0f32; L]; NV]; MR];
    for segment in p.segments {
        let (mut at, mut q) = (segment.a + first, (segment.b + j) / L);
        for _ in 0..segment.len {
            let a: &[f32; MR] = a[at..at + MR].try_into().expect("MR numbers");
            let b: &[[f32; L]; NV] = b[q..q + NV].try_into().expect("NV vectors");
            (at, q) = (at + p.lda, q + p.ldb / L);
            for i in 0..MR {
                for v in 0..NV {
                    for l in 0..L {
                        acc[i][v][l] = if FMA {
                            a[i].mul_add(b[v][l], acc[i][v][l])
                        } else {
                            a[i] * b[v][l] + acc[i][v][l]
                        };
                    }
                }
            }
        }
    }
    // a copy with constant indices, as in `kernel`
    let mut sums = [[[0.0f32; L]; NV]; MR];
    for i in 0..MR {
        for v in 0..NV {
            sums[i][v] = acc[i][v];
        }
    }
    for (i, sums) in sums.iter().enumerate().skip(new - first) {
        store(sums, None, true, &mut c[(first + i) * ldc + j..][..columns]);
    }
}
