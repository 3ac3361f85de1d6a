//! 3×3 convolutions with fewer multiplications (Winograd 1980; Lavin & Gray 2016).
//!
//! Two outputs of a filter of three taps need six multiplications by their definition, and four if one first forms
//! sums: with `d₀ … d₃` the four inputs and `g₀ g₁ g₂` the filter,
//!
//! ```text
//! m₀ = (d₀ − d₂) g₀              m₁ = (d₁ + d₂) (g₀ + g₁ + g₂)/2
//! m₃ = (d₁ − d₃) g₂              m₂ = (d₂ − d₁) (g₀ − g₁ + g₂)/2
//! y₀ = m₀ + m₁ + m₂ = d₀ g₀ + d₁ g₁ + d₂ g₂        y₁ = m₁ − m₂ − m₃ = d₁ g₀ + d₂ g₁ + d₃ g₂
//! ```
//!
//! In matrices `y = Aᵀ [(G g) ∘ (Bᵀ d)]`, and for images, lines first and then columns,
//!
//! ```text
//! Y = Aᵀ [ Σ_c (G g G ᵀ) ∘ (Bᵀ d B) ] A        2×2 outputs from 4×4 inputs: 16 multiplications instead of 36
//! ```
//!
//! The sum over channels is inside, so each of the 16 numbers of a tile is a matrix product over channels,
//! `M_e = V_e U_e` with `V_e [tiles, in]`, `U_e [in, out]`: 2.25 times fewer multiplications on the same kernel. The
//! transforms are additions only (and halves), whole vectors of channels at a time.
//!
//! # Backward
//!
//! *Data:* the same with flipped weights. *Weights:* the formula is linear in `U`, so
//! `dU_e = V_eᵀ dM_e` with `dM = A dY Aᵀ`, and `dg = Gᵀ dU G`: every matrix returns on the other side, transposed.

use crate::matmul::kernel::{Initial, Product, Rows};
use crate::matmul::simd::vectorized;
use crate::matmul::transposed::{Segment, TransposedProduct};
pub(super) use crate::nn::lanes::LANES;
use crate::tensor::{Contiguous, Tensor1, Tensor4, recycle, scratch};
use crate::threads;
use rayon::prelude::*;
use std::array::from_fn;
use std::ops::Range;

/// Channels of all tiles that are transformed together, in and out: 16 planes of so many numbers are 600 KiB of L2.
const CHANNELS: usize = 9600;
/// But not fewer tiles, or the products would have too few rows.
const TILES: usize = 48;

type Lane = [f32; LANES];

/// Numbers of a transformed tile, 4×4, lines first.
const POINTS: usize = 16;

/// Images `[N, H, W, ·]` in tiles of 2×2 pixels; a band is a line of tiles.
#[derive(Clone, Copy)]
struct Tiling {
    h: usize,
    w: usize,
    bands_per_image: usize,
    tiles_per_band: usize,
}

impl Tiling {
    fn new(h: usize, w: usize) -> Tiling {
        Tiling { h, w, bands_per_image: h.div_ceil(2), tiles_per_band: w.div_ceil(2) }
    }

    /// The image of a band, and its first line there.
    fn place(self, band: usize) -> (usize, usize) {
        (band / self.bands_per_image, 2 * (band % self.bands_per_image))
    }

    /// Of the 16 products over `n` images.
    fn flops(self, n: usize, ci: usize, co: usize) -> u64 {
        2 * (POINTS * n * self.bands_per_image * self.tiles_per_band * ci * co) as u64
    }

    /// The lines of `y` that each strip writes.
    fn lines<'a>(self, strips: &[Range<usize>], y: &'a mut [f32], c: usize) -> Vec<&'a mut [f32]> {
        let first = |band: usize| {
            let (image, line) = self.place(band);
            (image * self.h + line) * self.w * c
        };
        let mut rest = y;
        let mut cut = |strip: &Range<usize>| {
            let (lines, after) =
                std::mem::take(&mut rest).split_at_mut(first(strip.end) - first(strip.start));
            rest = after;
            lines
        };
        strips.iter().map(&mut cut).collect()
    }

    /// All bands of `n` images, in ranges that fit into the cache.
    fn strips(self, n: usize, channels: usize) -> Vec<Range<usize>> {
        let (bands, tiles) = (n * self.bands_per_image, TILES.max(CHANNELS / channels));
        let size = tiles.div_ceil(self.tiles_per_band).min(bands).max(1);
        (0..bands).step_by(size).map(|band| band..bands.min(band + size)).collect()
    }

    /// For each tile of a strip its image, and its first line and column.
    fn tiles(self, strip: &Range<usize>) -> Vec<(usize, usize, usize)> {
        let tiles = strip.clone().flat_map(|band| (0..self.tiles_per_band).map(move |tile| (band, tile)));
        tiles.map(|(band, tile)| (self.place(band).0, self.place(band).1, 2 * tile)).collect()
    }

    /// Where pixel `(line, column)` of an image begins among pixels of `c` channels, if it is inside.
    #[inline(always)]
    fn pixel(self, c: usize, image: usize, line: Option<usize>, column: Option<usize>) -> Option<usize> {
        let (line, column) = (line?, column?);
        if line < self.h && column < self.w {
            Some(((image * self.h + line) * self.w + column) * c)
        } else {
            None
        }
    }
}

/// 16 matrices: `[tiles, c]` of a strip, or `[in, out]` of weights.
struct Planes {
    data: Tensor1,
    skip: usize,
    stride: usize,
}

impl Planes {
    fn new(rows: usize, c: usize) -> Planes {
        // Cache lines begin at multiples of 64 bytes; and 16 planes that begin at the same address modulo 4096
        // would share one set of the cache.
        let stride = rows * c + LANES;
        let data = scratch(POINTS * stride + LANES);
        let skip = data.as_ptr().align_offset(64).min(LANES);
        Planes { data, skip, stride }
    }

    fn numbers(&self) -> &[f32] {
        &self.data.numbers()[self.skip..]
    }

    fn numbers_mut(&mut self) -> &mut [f32] {
        &mut self.data.numbers_mut()[self.skip..]
    }

    fn plane(&self, e: usize) -> &[f32] {
        &self.numbers()[e * self.stride..][..self.stride]
    }

    fn plane_mut(&mut self, e: usize) -> &mut [f32] {
        let stride = self.stride;
        &mut self.numbers_mut()[e * stride..][..stride]
    }

    /// All planes, by lanes.
    fn lanes(&self) -> [&[Lane]; POINTS] {
        sixteen(self.numbers().chunks_exact(self.stride).map(|plane| plane.as_chunks().0))
    }

    /// All planes, to write.
    fn lanes_mut(&mut self) -> [&mut [Lane]; POINTS] {
        let stride = self.stride;
        sixteen(self.numbers_mut().chunks_exact_mut(stride).map(|plane| plane.as_chunks_mut().0))
    }
}

impl Drop for Planes {
    fn drop(&mut self) {
        recycle(std::mem::take(&mut self.data));
    }
}

/// `y = init + x * weight` for `weight [3, 3, in, out]`, padded by 1; with `flip`, the taps in the opposite order.
pub(super) fn convolve(x: &Tensor4, weight: &[f32], flip: bool, init: Initial, y: &mut Tensor4) {
    let (n, h, w, ci) = x.dim();
    let co = y.dim().3;
    let (x, y) = (x.numbers(), y.numbers_mut());
    let tiling = Tiling::new(h, w);
    let parts = threads::parts(tiling.flops(n, ci, co));
    let strips = tiling.strips(n, ci + co);
    let longest = strips.first().map_or(0, |strip| strip.len()) * tiling.tiles_per_band;
    let taps = nine(weight, (ci, co), flip);
    if strips.len() < 2 * parts && parts > 1 {
        return convolve_by_lines(x, taps, tiling, n, init, y);
    }
    let u = transform_weights(taps, (ci, co));
    let planes = || (Planes::new(longest, ci), Planes::new(longest, co));
    let convolve = |(v, m): &mut (Planes, Planes), (strip, y): (&Range<usize>, &mut [f32])| {
        transform_inputs(x, ci, tiling, strip, v);
        let rows = Rows::matrix(strip.len() * tiling.tiles_per_band, ci, co);
        for e in 0..POINTS {
            let (a, b) = (v.plane(e), u.plane(e));
            let product = Product { a, rows, taps: &[0], k: ci, b, ldb: co, n: co, init: Initial::ZERO };
            product.run(m.plane_mut(e));
        }
        transform_outputs(m, co, tiling, strip, init, y);
    };
    let lines = tiling.lines(&strips, y, co);
    if parts == 1 {
        let mut planes = planes();
        strips.iter().zip(lines).for_each(|strip| convolve(&mut planes, strip));
    } else {
        strips.par_iter().zip(lines).for_each_init(planes, convolve);
    }
}

/// [`convolve`] of so few images that transforming the weights is much of the work: the threads share the four lines of the
/// tiles' 16 numbers, and each has the `U` of its lines in its own cache.
fn convolve_by_lines(x: &[f32], taps: [&[Lane]; 9], tiling: Tiling, n: usize, init: Initial, y: &mut [f32]) {
    let pixels = n * tiling.h * tiling.w;
    let (ci, co) = (x.len() / pixels, y.len() / pixels);
    let all = 0..n * tiling.bands_per_image;
    let tiles = all.len() * tiling.tiles_per_band;
    let (mut v, mut m) = (Planes::new(tiles, ci), Planes::new(tiles, co));
    transform_inputs(x, ci, tiling, &all, &mut v);
    let stride = m.stride;
    m.numbers_mut()[..POINTS * stride].par_chunks_exact_mut(4 * stride).enumerate().for_each(|(l, m)| {
        let mut u = Planes::new(ci, co);
        let u_stride = u.stride / LANES;
        transform_line(l, taps, u.numbers_mut().as_chunks_mut().0, u_stride);
        for (k, m) in m.chunks_exact_mut(stride).enumerate() {
            let rows = Rows::matrix(tiles, ci, co);
            let (a, b) = (v.plane(4 * l + k), u.plane(k));
            Product { a, rows, taps: &[0], k: ci, b, ldb: co, n: co, init: Initial::ZERO }.run(m);
        }
    });
    transform_outputs(&m, co, tiling, &all, init, y);
}

/// `dw += ∂⟨y, dy⟩/∂w` for `dw [3, 3, in, out]`.
pub(super) fn add_weight_gradient(x: &Tensor4, dy: &Tensor4, dw: &mut [f32]) {
    let (n, h, w, ci) = x.dim();
    let co = dy.dim().3;
    let (x, dy) = (x.numbers(), dy.numbers());
    let tiling = Tiling::new(h, w);
    let strips = tiling.strips(n, ci + co);
    let longest = strips.first().map_or(0, |strip| strip.len()) * tiling.tiles_per_band;
    let parts = threads::parts(tiling.flops(n, ci, co) / strips.len().max(1) as u64);
    let (mut v, mut dm) = (Planes::new(longest, ci), Planes::new(longest, co));
    let mut du = Planes::new(ci, co);
    du.numbers_mut().fill(0.0);
    for strip in strips {
        transform_inputs(x, ci, tiling, &strip, &mut v);
        transform_output_gradients(dy, co, tiling, &strip, &mut dm);
        let segments = [Segment { a: 0, b: 0, len: strip.len() * tiling.tiles_per_band }];
        let gradient = |(e, du): (usize, &mut [f32])| {
            let (a, b) = (v.plane(e), dm.plane(e));
            TransposedProduct { a, lda: ci, m: ci, b, ldb: co, n: co, segments: &segments }.run(du, co);
        };
        let stride = du.stride;
        let planes = &mut du.numbers_mut()[..POINTS * stride];
        match parts {
            1 => planes.chunks_exact_mut(stride).enumerate().for_each(gradient),
            _ => planes.par_chunks_exact_mut(stride).enumerate().for_each(gradient),
        }
    }
    add_taps(du.lanes(), ci * co, dw);
}

vectorized! {
    /// `V = Bᵀ d B` of every tile of a strip, pixels outside the image being 0.
    fn transform_inputs(x: &[f32], c: usize, tiling: Tiling, strip: &Range<usize>, v: &mut Planes) {
        let zeros = vec![0.0; c];
        let planes = v.lanes_mut();
        let blocks = c / LANES;
        for (tile, (image, line, column)) in tiling.tiles(strip).into_iter().enumerate() {
            let mut d: [[&[Lane]; 4]; 4] = [[&[]; 4]; 4];
            for (l, line_of_d) in d.iter_mut().enumerate() {
                for (m, d) in line_of_d.iter_mut().enumerate() {
                    let (line, column) = ((line + l).checked_sub(1), (column + m).checked_sub(1));
                    *d = lanes(tiling.pixel(c, image, line, column), x, &zeros);
                }
            }
            for b in 0..blocks {
                let mut t = [[[0.0; LANES]; 4]; 4];
                for m in 0..4 {
                    [t[0][m], t[1][m], t[2][m], t[3][m]] = input([&d[0][m][b], &d[1][m][b], &d[2][m][b], &d[3][m][b]]);
                }
                for l in 0..4 {
                    let v = input([&t[l][0], &t[l][1], &t[l][2], &t[l][3]]);
                    for m in 0..4 {
                        planes[4 * l + m][tile * blocks + b] = v[m];
                    }
                }
            }
        }
    }
}

/// `Bᵀ d`.
#[inline(always)]
fn input([d0, d1, d2, d3]: [&Lane; 4]) -> [Lane; 4] {
    [sub(d0, d2), add(d1, d2), sub(d2, d1), sub(d1, d3)]
}

vectorized! {
    /// `Y = init + Aᵀ M A` of every tile of a strip, whose lines are `y`.
    fn transform_outputs(m: &Planes, c: usize, tiling: Tiling, strip: &Range<usize>, init: Initial, y: &mut [f32]) {
        let planes = m.lanes();
        let blocks = c / LANES;
        let zeros = vec![0.0; c];
        let (image, line) = tiling.place(strip.start);
        let before = (image * tiling.h + line) * tiling.w * c;
        for (tile, (image, line, column)) in tiling.tiles(strip).into_iter().enumerate() {
            let (bias, _) = match init.bias {
                Some((bias, stride)) => bias[image * stride..][..c].as_chunks(),
                None => zeros.as_chunks(),
            };
            for b in 0..blocks {
                let at = tile * blocks + b;
                let mut s = [[[0.0; LANES]; 4]; 2];
                for k in 0..4 {
                    let m = [&planes[k][at], &planes[4 + k][at], &planes[8 + k][at], &planes[12 + k][at]];
                    [s[0][k], s[1][k]] = output(m);
                }
                for (l, s) in s.iter().enumerate() {
                    let pair = output([&s[0], &s[1], &s[2], &s[3]]);
                    for (m, sum) in pair.iter().enumerate() {
                        let Some(at) = tiling.pixel(c, image, Some(line + l), Some(column + m)) else { continue };
                        let y: &mut Lane = (&mut y[at - before + b * LANES..][..LANES]).try_into().expect("a lane");
                        let sum = add(sum, &bias[b]);
                        *y = if init.accumulate { add(y, &sum) } else { sum };
                    }
                }
            }
        }
    }
}

/// `Aᵀ m`.
#[inline(always)]
fn output([m0, m1, m2, m3]: [&Lane; 4]) -> [Lane; 2] {
    [add(&add(m0, m1), m2), sub(&sub(m1, m2), m3)]
}

vectorized! {
    /// `dM = A dY Aᵀ` of every tile of a strip, pixels outside the image being 0.
    fn transform_output_gradients(dy: &[f32], c: usize, tiling: Tiling, strip: &Range<usize>, dm: &mut Planes) {
        let zeros = vec![0.0; c];
        let planes = dm.lanes_mut();
        let blocks = c / LANES;
        for (tile, (image, line, column)) in tiling.tiles(strip).into_iter().enumerate() {
            let mut d: [[&[Lane]; 2]; 2] = [[&[]; 2]; 2];
            for (l, m) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                d[l][m] = lanes(tiling.pixel(c, image, Some(line + l), Some(column + m)), dy, &zeros);
            }
            for b in 0..blocks {
                let mut t = [[[0.0; LANES]; 2]; 4];
                for m in 0..2 {
                    [t[0][m], t[1][m], t[2][m], t[3][m]] = output_transposed([&d[0][m][b], &d[1][m][b]]);
                }
                for l in 0..4 {
                    let dm = output_transposed([&t[l][0], &t[l][1]]);
                    for m in 0..4 {
                        planes[4 * l + m][tile * blocks + b] = dm[m];
                    }
                }
            }
        }
    }
}

/// `A y`.
#[inline(always)]
fn output_transposed([y0, y1]: [&Lane; 2]) -> [Lane; 4] {
    [*y0, add(y0, y1), sub(y0, y1), sub(&[0.0; LANES], y1)]
}

/// `U = G g Gᵀ`: `[3, 3, in, out]` → 16 planes `[in, out]`.
fn transform_weights(taps: [&[Lane]; 9], (ci, co): (usize, usize)) -> Planes {
    let mut u = Planes::new(ci, co);
    let stride = u.stride / LANES;
    let (u_lanes, _) = u.numbers_mut().as_chunks_mut();
    // some taps at a time, which stay in L1 for the four lines
    for first in (0..taps[0].len()).step_by(64) {
        let some = first..taps[0].len().min(first + 64);
        for (l, line) in u_lanes.chunks_mut(4 * stride).take(4).enumerate() {
            transform_line(l, taps.map(|tap| &tap[some.clone()]), &mut line[first..], stride);
        }
    }
    u
}

/// The nine taps of `[3, 3, in, out]`; with `flip` from the last to the first.
fn nine(weight: &[f32], (ci, co): (usize, usize), flip: bool) -> [&[Lane]; 9] {
    let mut taps: [&[Lane]; 9] = [&[]; 9];
    for (t, tap) in weight.chunks_exact(ci * co).enumerate() {
        taps[if flip { 8 - t } else { t }] = tap.as_chunks().0;
    }
    taps
}

/// Line `l` of `U = G g Gᵀ`: four planes, `stride` lanes apart.
fn transform_line(l: usize, taps: [&[Lane]; 9], u: &mut [Lane], stride: usize) {
    match l {
        0 => transform_taps::<0>(taps, u, stride),
        1 => transform_taps::<1>(taps, u, stride),
        2 => transform_taps::<2>(taps, u, stride),
        _ => transform_taps::<3>(taps, u, stride),
    }
}

vectorized! {
    fn transform_taps<const L: usize>(taps: [&[Lane]; 9], u: &mut [Lane], stride: usize) {
        let (u0, rest) = u.split_at_mut(stride);
        let (u1, rest) = rest.split_at_mut(stride);
        let (u2, u3) = rest.split_at_mut(stride);
        for b in 0..taps[0].len() {
            let mut t = [[0.0; LANES]; 3];
            for v in 0..3 {
                t[v] = filter([&taps[v][b], &taps[3 + v][b], &taps[6 + v][b]])[L];
            }
            [u0[b], u1[b], u2[b], u3[b]] = filter([&t[0], &t[1], &t[2]]);
        }
    }
}

/// `G g`.
#[inline(always)]
fn filter([g0, g1, g2]: [&Lane; 3]) -> [Lane; 4] {
    let (even, odd) = (halved(&add(g0, g2)), halved(g1));
    [*g0, add(&even, &odd), sub(&even, &odd), *g2]
}

vectorized! {
    /// `dg += Gᵀ dU G`: 16 planes `[in·out]` → `[3, 3, in·out]`.
    fn add_taps(du: [&[Lane]; POINTS], size: usize, dw: &mut [f32]) {
        #[allow(clippy::needless_range_loop)]
        for b in 0..size / LANES {
            let mut t = [[[0.0; LANES]; 4]; 3];
            for m in 0..4 {
                let column = [&du[m][b], &du[4 + m][b], &du[8 + m][b], &du[12 + m][b]];
                [t[0][m], t[1][m], t[2][m]] = filter_transposed(column);
            }
            for u in 0..3 {
                let line = filter_transposed([&t[u][0], &t[u][1], &t[u][2], &t[u][3]]);
                for v in 0..3 {
                    let at = (3 * u + v) * size + b * LANES;
                    let dg: &mut Lane = (&mut dw[at..at + LANES]).try_into().expect("a lane");
                    *dg = add(dg, &line[v]);
                }
            }
        }
    }
}

/// `Gᵀ u`.
#[inline(always)]
fn filter_transposed([u0, u1, u2, u3]: [&Lane; 4]) -> [Lane; 3] {
    let (sum, difference) = (halved(&add(u1, u2)), halved(&sub(u1, u2)));
    [add(u0, &sum), difference, add(&sum, u3)]
}

/// The channels of a pixel that begins `at`, or zeros.
#[inline(always)]
fn lanes<'a>(at: Option<usize>, x: &'a [f32], zeros: &'a [f32]) -> &'a [Lane] {
    match at {
        Some(at) => x[at..at + zeros.len()].as_chunks().0,
        None => zeros.as_chunks().0,
    }
}

fn sixteen<T>(mut planes: impl Iterator<Item = T>) -> [T; POINTS] {
    from_fn(|_| planes.next().expect("16 planes"))
}

#[inline(always)]
fn add(a: &Lane, b: &Lane) -> Lane {
    let mut c = *a;
    for i in 0..LANES {
        c[i] += b[i];
    }
    c
}

#[inline(always)]
fn sub(a: &Lane, b: &Lane) -> Lane {
    let mut c = *a;
    for i in 0..LANES {
        c[i] -= b[i];
    }
    c
}

#[inline(always)]
fn halved(a: &Lane) -> Lane {
    let mut c = *a;
    for c in &mut c {
        *c *= 0.5;
    }
    c
}
