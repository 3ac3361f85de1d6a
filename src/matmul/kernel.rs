//! The micro-kernel: rows times a matrix.
//!
//! Everything that goes forward here is *rows times a matrix*: a linear layer, attention, a 1×1 convolution, and,
//! with nine shifted rows sharing one accumulator, a 3×3 convolution. So there is one kernel,
//!
//! ```text
//! C[row, j] = init + Σ_τ Σ_k  A[start_row + tap_τ + k] · B[τ·K + k, j]
//! ```
//!
//! where the row is read once per tap. A matrix product has one tap, at 0. In a convolution a row is a pixel of the
//! result, and a tap that would fall outside the image is left out: the border costs nothing and needs no padding.
//!
//! A tile of `MR` rows × `NV` vectors of `L` lanes stays in registers while `k` runs; every step loads `NV`
//! vectors of B, broadcasts `MR` numbers of A, and does `MR·NV` fused multiply-adds: the more of these for each load, the
//! better, and a square tile has most. AVX-512's 32 registers hold 6 × 4 sums with four vectors of B and one number of A,
//! or, where fewer columns are left, 12 × 2; AVX2's 16 hold 6 × 2. The body is plain Rust over
//! fixed arrays; compiled once per instruction set it reaches over 90 % of the FMA peak. Five habits keep LLVM on
//! that path (measured; without any one of them it is ten to thirty times slower): A, B and C are arguments of the
//! function that is compiled per instruction set, so that the compiler knows they don't overlap; A is read through
//! `MR` separate row slices; B by index rather than by iterator; the accumulator is only touched with constant
//! indices; and nothing is a closure, which might stay a function of its own.
//!
//! Each output sums over taps and `k` in the same order in every version, with one rounding per step under FMA. AVX2
//! and AVX-512 therefore agree to the bit.

use super::simd::{Simd, simd};

/// What the sums begin with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Initial<'a> {
    /// added to every row of image `i`: `rows[i·stride..][..n]`; with a stride of 0 the same for all
    pub bias: Option<(&'a [f32], usize)>,
    /// whether C is added to; if not, what stood there is never read
    pub accumulate: bool,
}

impl<'a> Initial<'a> {
    /// `C = A B`
    pub(crate) const ZERO: Initial<'static> = Initial { bias: None, accumulate: false };
    /// `C += A B`
    pub(crate) const ACCUMULATE: Initial<'static> = Initial { bias: None, accumulate: true };

    /// `C = A B + bias`, the same bias `[n]` for every row
    pub(crate) fn bias(bias: &'a [f32]) -> Initial<'a> {
        Initial { bias: Some((bias, 0)), accumulate: false }
    }

    /// The same for the images from `first` on.
    pub(crate) fn of_image(self, first: usize) -> Initial<'a> {
        Initial { bias: self.bias.map(|(bias, stride)| (&bias[first * stride..], stride)), ..self }
    }

    /// The same for the columns from `j` on.
    #[inline(always)]
    pub(crate) fn from(self, j: usize) -> Initial<'a> {
        Initial { bias: self.bias.map(|(bias, stride)| (&bias[j..], stride)), ..self }
    }
}

/// A row of C in the first image.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Point {
    /// where its row of A begins; a tap may move a start that lies before A into it
    pub a: isize,
    /// where it stands in C
    pub c: usize,
    /// bit `τ`: whether tap `τ` counts
    pub taps: u64,
}

/// The rows of C: each point of each image, the images of a point side by side.
///
/// So the rows of a tile mostly have the same taps, and a tap that none of them has is skipped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    /// rows of the first image
    pub points: &'a [Point],
    /// how many images there are
    pub images: usize,
    /// from image to image in A
    pub a_stride: usize,
    /// from image to image in C
    pub c_stride: usize,
}

/// The one row of a matrix; the others are its images.
pub(crate) const MATRIX: [Point; 1] = [Point { a: 0, c: 0, taps: 1 }];

impl Rows<'static> {
    /// `m` rows, every `lda` numbers of A and `ldc` of C.
    pub(crate) fn matrix(m: usize, lda: usize, ldc: usize) -> Rows<'static> {
        Rows { points: &MATRIX, images: m, a_stride: lda, c_stride: ldc }
    }
}

/// Rows times a matrix; see the module's formula.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a> {
    /// the numbers the rows are read from
    pub a: &'a [f32],
    /// where each row begins and ends up
    pub rows: Rows<'a>,
    /// what is added to the beginning for each tap; at most 64
    pub taps: &'a [isize],
    /// numbers per row and tap
    pub k: usize,
    /// `[taps · k, ldb]`; `ldb` is a multiple of [`Simd::lanes`] and at least `n`
    pub b: &'a [f32],
    /// row length of B
    pub ldb: usize,
    /// columns of C
    pub n: usize,
    /// what the sums begin with
    pub init: Initial<'a>,
}

impl Product<'_> {
    /// Computes the product into `c`.
    pub(crate) fn run(&self, c: &mut [f32]) {
        self.run_on(simd(), c);
    }

    /// [`run`](Product::run) on a given instruction set.
    ///
    /// # Panics
    /// If this CPU lacks it.
    pub(super) fn run_on(&self, simd: Simd, c: &mut [f32]) {
        assert!(simd.available(), "product: this CPU has no {simd:?}");
        assert!(self.taps.len() <= 64, "product: {} taps, but a point has 64 bits", self.taps.len());
        let zeros = vec![0.0; self.k];
        let (a, b) = (self.a, self.b);
        match simd {
            // On x86-64 a separate multiply and add (SSE2 has no FMA) and 16 registers; NEON has both and 32.
            Simd::Portable if cfg!(target_arch = "aarch64") => {
                panels::<8, 1, 8, true>(a, &zeros, b, c, self, 0);
            }
            Simd::Portable => {
                panels::<4, 1, 8, false>(a, &zeros, b, c, self, 0);
            }
            // SAFETY: the assertion above: `Simd::available` has seen AVX2 and FMA on this CPU.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => unsafe { product_avx2(a, &zeros, b, c, self) },
            // SAFETY: the assertion above: `Simd::available` has seen the AVX-512 features.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => unsafe { product_avx512(a, &zeros, b, c, self) },
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("only x86-64 has more than the portable kernel"),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn product_avx2(a: &[f32], zeros: &[f32], b: &[f32], c: &mut [f32], p: &Product) {
    let j = panels::<6, 2, 8, true>(a, zeros, b, c, p, 0);
    panels::<6, 1, 8, true>(a, zeros, b, c, p, j);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
fn product_avx512(a: &[f32], zeros: &[f32], b: &[f32], c: &mut [f32], p: &Product) {
    let j = panels::<6, 4, 16, true>(a, zeros, b, c, p, 0);
    let j = panels::<12, 2, 16, true>(a, zeros, b, c, p, j);
    panels::<12, 1, 16, true>(a, zeros, b, c, p, j);
}

/// From column `j` on as many panels of `NV` vectors as fit, and single vectors to the end; where the rest begins.
#[inline(always)]
fn panels<const MR: usize, const NV: usize, const L: usize, const FMA: bool>(
    a: &[f32],
    zeros: &[f32],
    b: &[f32],
    c: &mut [f32],
    p: &Product,
    mut j: usize,
) -> usize {
    while j + NV * L <= p.n || (NV == 1 && j < p.n) {
        panel::<MR, NV, L, FMA>(a, zeros, b, c, p, j);
        j += NV * L;
    }
    j
}

/// One row of a tile.
#[derive(Clone, Copy, Default)]
struct Row {
    point: Point,
    image: usize,
}

/// One column panel for all rows. Rows that the last tile lacks have no taps.
#[inline(always)]
#[allow(clippy::needless_range_loop, clippy::manual_memcpy)] // indices on purpose: the module's habits
fn panel<const MR: usize, const NV: usize, const L: usize, const FMA: bool>(
    a: &[f32],
    zeros: &[f32],
    b: &[f32],
    c: &mut [f32],
    p: &Product,
    j: usize,
) {
    let (b, _) = b.as_chunks::<L>();
    let columns = (p.n - j).min(NV * L);
    let mut left = p.rows.points.len() * p.rows.images;
    let (mut point, mut image) = (0, 0);
    while left > 0 {
        let count = left.min(MR);
        left -= count;
        let mut rows = [Row::default(); MR];
        for row in rows.iter_mut().take(count) {
            let Point { a, c, taps } = p.rows.points[point];
            let (a, c) = (a + (image * p.rows.a_stride) as isize, c + image * p.rows.c_stride);
            *row = Row { point: Point { a, c, taps }, image };
            image += 1;
            if image == p.rows.images {
                (point, image) = (point + 1, 0);
            }
        }
        let mut any = 0;
        for row in &rows {
            any |= row.point.taps;
        }

        let mut acc = [[[0.0f32; L]; NV]; MR];
        for (t, &tap) in p.taps.iter().enumerate() {
            if any >> t & 1 == 0 {
                continue;
            }
            let mut reads: [&[f32]; MR] = [&[]; MR];
            for i in 0..MR {
                let Point { a: start, taps, .. } = rows[i].point;
                reads[i] =
                    if taps >> t & 1 == 1 { &a[(start + tap) as usize..][..p.k] } else { &zeros[..p.k] };
            }
            let mut q = (t * p.k * p.ldb + j) / L;
            for k in 0..p.k {
                let b: &[[f32; L]; NV] = b[q..q + NV].try_into().expect("NV vectors");
                q += p.ldb / L;
                for i in 0..MR {
                    let a = reads[i][k];
                    for v in 0..NV {
                        for l in 0..L {
                            acc[i][v][l] = if FMA {
                                a.mul_add(b[v][l], acc[i][v][l])
                            } else {
                                a * b[v][l] + acc[i][v][l]
                            };
                        }
                    }
                }
            }
        }
        // The common case by constant indices: a run-time index into `acc` would send it to the stack …
        if count == MR && columns == NV * L && p.init.bias.is_none() && !p.init.accumulate {
            for i in 0..MR {
                let (c, _) = c[rows[i].point.c + j..][..NV * L].as_chunks_mut::<L>();
                for v in 0..NV {
                    c[v] = acc[i][v];
                }
            }
            continue;
        }
        // … and so the others take a copy.
        let mut tile = [[[0.0f32; L]; NV]; MR];
        for i in 0..MR {
            for v in 0..NV {
                tile[i][v] = acc[i][v];
            }
        }
        for (sums, row) in tile.iter().zip(&rows).take(count) {
            let c = &mut c[row.point.c + j..][..columns];
            match p.init.bias {
                Some((bias, stride)) => {
                    let bias = &bias[row.image * stride + j..][..columns];
                    store(sums, Some(bias), p.init.accumulate, c);
                }
                None => store(sums, None, p.init.accumulate, c),
            }
        }
    }
}

/// `c = acc (+ bias) (+ c)` for `NV` whole vectors, or for as many numbers as `c` has.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
pub(super) fn store<const NV: usize, const L: usize>(
    acc: &[[f32; L]; NV],
    bias: Option<&[f32]>,
    accumulate: bool,
    c: &mut [f32],
) {
    if c.len() < NV * L {
        for (i, (c, acc)) in c.iter_mut().zip(acc.as_flattened()).enumerate() {
            let sum = acc + bias.map_or(0.0, |bias| bias[i]);
            *c = if accumulate { *c + sum } else { sum };
        }
        return;
    }
    let (c, _) = c.as_chunks_mut::<L>();
    for v in 0..NV {
        let mut sum = acc[v];
        if let Some(bias) = bias {
            let bias = &bias[v * L..][..L];
            for l in 0..L {
                sum[l] += bias[l];
            }
        }
        if accumulate {
            for l in 0..L {
                sum[l] += c[v][l];
            }
        }
        c[v] = sum;
    }
}
