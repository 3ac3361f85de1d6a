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
//! Y = Aᵀ [ Σ_c (G g Gᵀ) ∘ (Bᵀ d B) ] A
//! ```
//!
//! The sum over channels is inside, so each number of a tile is a matrix product over channels, `M_e = V_e U_e` with
//! `V_e [tiles, in]`, `U_e [in, out]`, on the same kernel. The transforms are additions and a few multiplications, whole
//! vectors of channels at a time.
//!
//! | | outputs | inputs | multiplications for each output |
//! |---|---|---|---|
//! | definition | | | 9 |
//! | F(2, 3), as above | 2×2 | 4×4 | 4: 2.25 times fewer |
//! | F(4, 3) | 4×4 | 6×6 | 2.25: 4 times fewer |
//!
//! # Where the matrices come from
//!
//! A filter multiplies polynomials, and a product of polynomials is known from its values at enough points: evaluate both
//! (`G`, `A`), multiply, and interpolate (`B`). F(2, 3) takes the points 0, 1, −1, ∞. F(4, 3) has to take two more, and large
//! powers of large points cost digits: 0, ±√½, ±√2, ∞ have half the rounding error of the usual 0, ±1, ±2, ∞, and by
//! symmetry half the work (8·10⁻⁷ of the result with 64 channels, where the definition has 1·10⁻⁷).
//!
//! # Backward
//!
//! *Data:* the same with flipped weights. *Weights:* the formula is linear in `U`, so
//! `dU_e = V_eᵀ dM_e` with `dM = A dY Aᵀ`, and `dg = Gᵀ dU G`: every matrix returns on the other side, transposed.

#![allow(clippy::needless_range_loop)] // lines and columns of several arrays at once, and constant bounds

use crate::matmul::kernel::{Initial, Product, Rows};
use crate::matmul::simd::vectorized;
use crate::matmul::transposed::{Segment, TransposedProduct};
use crate::nn::lanes::LANES;
use crate::tensor::{Contiguous, Tensor1, Tensor4, recycle, scratch};
use crate::threads;
use rayon::prelude::*;
use std::array::from_fn;
use std::ops::Range;

/// Numbers of all tiles that are transformed together, in and out: 600 KiB of L2.
const NUMBERS: usize = 150_000;
/// But not fewer tiles, or the products would have too few rows.
const TILES: usize = 48;
/// Up to so many tiles in all, weights are transformed line by line.
const FEW: usize = 64;

type Lane = [f32; LANES];

/// Images `[N, H, W, ·]` in tiles of M×M pixels, made of P×P with P = M + 2; a band is a line of tiles.
#[derive(Clone, Copy)]
struct Tiling {
    h: usize,
    w: usize,
    /// M
    size: usize,
    bands_per_image: usize,
    tiles_per_band: usize,
}

impl Tiling {
    /// For F(P − 2, 3).
    fn new<const P: usize>(h: usize, w: usize) -> Tiling {
        let size = P - 2;
        Tiling { h, w, size, bands_per_image: h.div_ceil(size), tiles_per_band: w.div_ceil(size) }
    }

    /// The image of a band, and its first line there.
    fn place(self, band: usize) -> (usize, usize) {
        (band / self.bands_per_image, self.size * (band % self.bands_per_image))
    }

    /// Products of a tile.
    fn points(self) -> usize {
        (self.size + 2) * (self.size + 2)
    }

    /// Of all products over `n` images.
    fn flops(self, n: usize, ci: usize, co: usize) -> u64 {
        2 * (self.points() * n * self.bands_per_image * self.tiles_per_band * ci * co) as u64
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
        let (bands, tiles) = (n * self.bands_per_image, TILES.max(NUMBERS / (self.points() * channels)));
        let size = tiles.div_ceil(self.tiles_per_band).min(bands).max(1);
        (0..bands).step_by(size).map(|band| band..bands.min(band + size)).collect()
    }

    /// For each tile of a strip its image, and its first line and column.
    fn tiles(self, strip: &Range<usize>) -> Vec<(usize, usize, usize)> {
        let tiles = strip.clone().flat_map(|band| (0..self.tiles_per_band).map(move |tile| (band, tile)));
        tiles.map(|(band, tile)| (self.place(band).0, self.place(band).1, self.size * tile)).collect()
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

/// P² matrices: `[tiles, c]` of a strip, or `[in, out]` of weights.
struct Planes {
    data: Tensor1,
    skip: usize,
    stride: usize,
}

impl Planes {
    fn new(points: usize, rows: usize, c: usize) -> Planes {
        // Cache lines begin at multiples of 64 bytes; and planes that begin at the same address modulo 4096
        // would share one set of the cache.
        let stride = rows * c + LANES;
        let data = scratch(points * stride + LANES);
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

    /// All planes by line and column of a tile, in lanes.
    fn lanes<const P: usize>(&self) -> [[&[Lane]; P]; P] {
        square(self.numbers().chunks_exact(self.stride).map(|plane| plane.as_chunks().0))
    }

    /// All planes, to write.
    fn lanes_mut<const P: usize>(&mut self) -> [[&mut [Lane]; P]; P] {
        let stride = self.stride;
        square(self.numbers_mut().chunks_exact_mut(stride).map(|plane| plane.as_chunks_mut().0))
    }
}

impl Drop for Planes {
    fn drop(&mut self) {
        recycle(std::mem::take(&mut self.data));
    }
}

/// Whether an image has so few pixels that larger tiles would hang over its edges, or leave too few rows to the products.
fn is_small(h: usize, w: usize) -> bool {
    h.min(w) < SMALL
}

/// Sides below this have tiles of 2×2.
const SMALL: usize = 10;

/// Whether the channels are whole vectors.
pub(super) fn fits(ci: usize, co: usize) -> bool {
    ci.is_multiple_of(LANES) && co.is_multiple_of(LANES)
}

/// `y = init + x * weight` for `weight [3, 3, in, out]`, padded by 1; with `flip`, the taps in the opposite order.
pub(super) fn convolve(x: &Tensor4, weight: &[f32], flip: bool, init: Initial, y: &mut Tensor4) {
    let (_, h, w, _) = x.dim();
    match is_small(h, w) {
        true => convolve_in_tiles::<4>(x, weight, flip, init, y),
        false => convolve_in_tiles::<6>(x, weight, flip, init, y),
    }
}

fn convolve_in_tiles<const P: usize>(
    x: &Tensor4,
    weight: &[f32],
    flip: bool,
    init: Initial,
    y: &mut Tensor4,
) {
    let (n, h, w, ci) = x.dim();
    let co = y.dim().3;
    let (x, y) = (x.numbers(), y.numbers_mut());
    let tiling = Tiling::new::<P>(h, w);
    let parts = threads::parts(tiling.flops(n, ci, co));
    let strips = tiling.strips(n, ci + co);
    let longest = strips.first().map_or(0, |strip| strip.len()) * tiling.tiles_per_band;
    let taps = nine(weight, (ci, co), flip);
    let few = n * tiling.bands_per_image * tiling.tiles_per_band <= FEW;
    if few || (strips.len() < 2 * parts && parts > 1) {
        return convolve_by_lines::<P>(x, taps, tiling, n, init, y);
    }
    let u = transform_weights::<P>(taps, (ci, co));
    let planes = || (Planes::new(P * P, longest, ci), Planes::new(P * P, longest, co));
    let convolve = |(v, m): &mut (Planes, Planes), (strip, y): (&Range<usize>, &mut [f32])| {
        transform_inputs::<P>(x, ci, tiling, strip, v);
        let rows = Rows::matrix(strip.len() * tiling.tiles_per_band, ci, co);
        for e in 0..P * P {
            let (a, b) = (v.plane(e), u.plane(e));
            let product = Product { a, rows, taps: &[0], k: ci, b, ldb: co, n: co, init: Initial::ZERO };
            product.run(m.plane_mut(e));
        }
        transform_outputs::<P>(m, co, tiling, strip, init, y);
    };
    let lines = tiling.lines(&strips, y, co);
    if parts == 1 {
        let mut planes = planes();
        strips.iter().zip(lines).for_each(|strip| convolve(&mut planes, strip));
    } else {
        strips.par_iter().zip(lines).for_each_init(planes, convolve);
    }
}

/// [`convolve`] of so few images that transforming the weights is much of the work: a line of the tiles' numbers at a time,
/// whose `U` stays in the cache until it is used. Threads share the lines.
fn convolve_by_lines<const P: usize>(
    x: &[f32],
    taps: [&[Lane]; 9],
    tiling: Tiling,
    n: usize,
    init: Initial,
    y: &mut [f32],
) {
    let pixels = n * tiling.h * tiling.w;
    let (ci, co) = (x.len() / pixels, y.len() / pixels);
    let all = 0..n * tiling.bands_per_image;
    let tiles = all.len() * tiling.tiles_per_band;
    let (mut v, mut m) = (Planes::new(P * P, tiles, ci), Planes::new(P * P, tiles, co));
    transform_inputs::<P>(x, ci, tiling, &all, &mut v);
    let stride = m.stride;
    let line = |(l, m): (usize, &mut [f32])| {
        let mut u = Planes::new(P, ci, co);
        let u_stride = u.stride / LANES;
        transform_line::<P>(l, taps, u.numbers_mut().as_chunks_mut().0, u_stride);
        for (k, m) in m.chunks_exact_mut(stride).enumerate() {
            let rows = Rows::matrix(tiles, ci, co);
            let (a, b) = (v.plane(P * l + k), u.plane(k));
            Product { a, rows, taps: &[0], k: ci, b, ldb: co, n: co, init: Initial::ZERO }.run(m);
        }
    };
    let lines = &mut m.numbers_mut()[..P * P * stride];
    match threads::parts(tiling.flops(n, ci, co)) {
        1 => lines.chunks_exact_mut(P * stride).enumerate().for_each(line),
        _ => lines.par_chunks_exact_mut(P * stride).enumerate().for_each(line),
    }
    transform_outputs::<P>(&m, co, tiling, &all, init, y);
}

/// `dw += ∂⟨y, dy⟩/∂w` for `dw [3, 3, in, out]`.
pub(super) fn add_weight_gradient(x: &Tensor4, dy: &Tensor4, dw: &mut [f32]) {
    let (_, h, w, _) = x.dim();
    match is_small(h, w) {
        true => add_weight_gradient_of_tiles::<4>(x, dy, dw),
        false => add_weight_gradient_of_tiles::<6>(x, dy, dw),
    }
}

fn add_weight_gradient_of_tiles<const P: usize>(x: &Tensor4, dy: &Tensor4, dw: &mut [f32]) {
    let (n, h, w, ci) = x.dim();
    let co = dy.dim().3;
    let (x, dy) = (x.numbers(), dy.numbers());
    let tiling = Tiling::new::<P>(h, w);
    let strips = tiling.strips(n, ci + co);
    let longest = strips.first().map_or(0, |strip| strip.len()) * tiling.tiles_per_band;
    let parts = threads::parts(tiling.flops(n, ci, co) / strips.len().max(1) as u64);
    let (mut v, mut dm) = (Planes::new(P * P, longest, ci), Planes::new(P * P, longest, co));
    let mut du = Planes::new(P * P, ci, co);
    du.numbers_mut().fill(0.0);
    for strip in strips {
        transform_inputs::<P>(x, ci, tiling, &strip, &mut v);
        transform_output_gradients::<P>(dy, co, tiling, &strip, &mut dm);
        let segments = [Segment { a: 0, b: 0, len: strip.len() * tiling.tiles_per_band }];
        let gradient = |(e, du): (usize, &mut [f32])| {
            let (a, b) = (v.plane(e), dm.plane(e));
            TransposedProduct { a, lda: ci, m: ci, b, ldb: co, n: co, segments: &segments }.run(du, co);
        };
        let stride = du.stride;
        let planes = &mut du.numbers_mut()[..P * P * stride];
        match parts {
            1 => planes.chunks_exact_mut(stride).enumerate().for_each(gradient),
            _ => planes.par_chunks_exact_mut(stride).enumerate().for_each(gradient),
        }
    }
    add_taps::<P>(&du, ci * co, dw);
}

vectorized! {
    /// `V = Bᵀ d B` of every tile of a strip, pixels outside the image being 0.
    fn transform_inputs<const P: usize>(x: &[f32], c: usize, tiling: Tiling, strip: &Range<usize>, v: &mut Planes) {
        let zeros = vec![0.0; c];
        let planes = v.lanes_mut::<P>();
        let blocks = c / LANES;
        for (tile, (image, line, column)) in tiling.tiles(strip).into_iter().enumerate() {
            let d: [[&[Lane]; P]; P] = from_fn(|l| from_fn(|m| {
                let (line, column) = ((line + l).checked_sub(1), (column + m).checked_sub(1));
                lanes(tiling.pixel(c, image, line, column), x, &zeros)
            }));
            for b in 0..blocks {
                let mut t = [[[0.0; LANES]; P]; P]; // columns first
                for m in 0..P {
                    t[m] = input(from_fn(|l| &d[l][m][b]));
                }
                for l in 0..P {
                    let v = input::<P>(from_fn(|m| &t[m][l]));
                    for m in 0..P {
                        planes[l][m][tile * blocks + b] = v[m];
                    }
                }
            }
        }
    }
}

/// `Bᵀ d`.
#[inline(always)]
fn input<const P: usize>(d: [&Lane; P]) -> [Lane; P] {
    let mut v = [[0.0; LANES]; P];
    if P == 4 {
        (v[0], v[1]) = (sub(d[0], d[2]), add(d[1], d[2]));
        (v[2], v[3]) = (sub(d[2], d[1]), sub(d[1], d[3]));
    } else {
        let [even, odd] = [plus(d[4], -2.0, d[2]), plus(d[3], -2.0, d[1])];
        (v[1], v[2]) = (plus(&even, SQRT_HALF, &odd), plus(&even, -SQRT_HALF, &odd));
        let [even, odd] = [plus(d[4], -0.5, d[2]), plus(d[3], -0.5, d[1])];
        (v[3], v[4]) = (plus(&even, SQRT_2, &odd), plus(&even, -SQRT_2, &odd));
        (v[0], v[5]) = (plus(&add(d[0], d[4]), -2.5, d[2]), plus(&add(d[1], d[5]), -2.5, d[3]));
    }
    v
}

vectorized! {
    /// `Y = init + Aᵀ M A` of every tile of a strip, whose lines are `y`.
    fn transform_outputs<const P: usize>(m: &Planes, c: usize, tiling: Tiling, strip: &Range<usize>, init: Initial, y: &mut [f32]) {
        let planes = m.lanes::<P>();
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
                let mut s = [[[0.0; LANES]; P]; P]; // columns first, P − 2 lines of each
                for k in 0..P {
                    s[k] = output(from_fn(|l| &planes[l][k][at]));
                }
                for l in 0..P - 2 {
                    let sums = output::<P>(from_fn(|k| &s[k][l]));
                    for m in 0..P - 2 {
                        let Some(at) = tiling.pixel(c, image, Some(line + l), Some(column + m)) else { continue };
                        let y: &mut Lane = (&mut y[at - before + b * LANES..][..LANES]).try_into().expect("a lane");
                        let sum = add(&sums[m], &bias[b]);
                        *y = if init.accumulate { add(y, &sum) } else { sum };
                    }
                }
            }
        }
    }
}

/// `Aᵀ m`, P − 2 numbers and two zeros.
#[inline(always)]
fn output<const P: usize>(m: [&Lane; P]) -> [Lane; P] {
    let mut y = [[0.0; LANES]; P];
    if P == 4 {
        (y[0], y[1]) = (add(&add(m[0], m[1]), m[2]), sub(&sub(m[1], m[2]), m[3]));
    } else {
        let [even, odd] = [add(m[1], m[2]), times(SQRT_HALF, &sub(m[1], m[2]))];
        let [twice, double] = [add(m[3], m[4]), times(SQRT_2, &sub(m[3], m[4]))];
        y[0] = add(&add(m[0], &even), &twice);
        y[1] = add(&odd, &double);
        y[2] = plus(&times(0.5, &even), 2.0, &twice);
        y[3] = add(&plus(&times(0.5, &odd), 2.0, &double), m[5]);
    }
    y
}

vectorized! {
    /// `dM = A dY Aᵀ` of every tile of a strip, pixels outside the image being 0.
    fn transform_output_gradients<const P: usize>(dy: &[f32], c: usize, tiling: Tiling, strip: &Range<usize>, dm: &mut Planes) {
        let zeros = vec![0.0; c];
        let planes = dm.lanes_mut::<P>();
        let blocks = c / LANES;
        for (tile, (image, line, column)) in tiling.tiles(strip).into_iter().enumerate() {
            let mut d: [[&[Lane]; P]; P] = [[&[]; P]; P]; // P − 2 lines and columns
            for l in 0..P - 2 {
                for m in 0..P - 2 {
                    d[l][m] = lanes(tiling.pixel(c, image, Some(line + l), Some(column + m)), dy, &zeros);
                }
            }
            for b in 0..blocks {
                let mut t = [[[0.0; LANES]; P]; P]; // columns first
                for m in 0..P - 2 {
                    t[m] = output_transposed::<P>(from_fn(|l| if l < P - 2 { &d[l][m][b] } else { &NOTHING }));
                }
                for l in 0..P {
                    let dm = output_transposed::<P>(from_fn(|m| if m < P - 2 { &t[m][l] } else { &NOTHING }));
                    for m in 0..P {
                        planes[l][m][tile * blocks + b] = dm[m];
                    }
                }
            }
        }
    }
}

/// `A y` of the first P − 2.
#[inline(always)]
fn output_transposed<const P: usize>(y: [&Lane; P]) -> [Lane; P] {
    let mut m = [[0.0; LANES]; P];
    m[0] = *y[0];
    if P == 4 {
        (m[1], m[2], m[3]) = (add(y[0], y[1]), sub(y[0], y[1]), sub(&NOTHING, y[1]));
    } else {
        let [even, odd] = [plus(y[0], 0.5, y[2]), times(SQRT_HALF, &plus(y[1], 0.5, y[3]))];
        (m[1], m[2]) = (add(&even, &odd), sub(&even, &odd));
        let [even, odd] = [plus(y[0], 2.0, y[2]), times(SQRT_2, &plus(y[1], 2.0, y[3]))];
        (m[3], m[4]) = (add(&even, &odd), sub(&even, &odd));
        m[5] = *y[3];
    }
    m
}

/// `U = G g Gᵀ`: `[3, 3, in, out]` → P² planes `[in, out]`.
fn transform_weights<const P: usize>(taps: [&[Lane]; 9], (ci, co): (usize, usize)) -> Planes {
    let mut u = Planes::new(P * P, ci, co);
    let stride = u.stride / LANES;
    let (u_lanes, _) = u.numbers_mut().as_chunks_mut();
    // some taps at a time, which stay in L1 for all lines
    for first in (0..taps[0].len()).step_by(64) {
        let some = first..taps[0].len().min(first + 64);
        for (l, line) in u_lanes.chunks_mut(P * stride).take(P).enumerate() {
            transform_line::<P>(l, taps.map(|tap| &tap[some.clone()]), &mut line[first..], stride);
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

/// Line `l` of `U = G g Gᵀ`: P planes, `stride` lanes apart.
fn transform_line<const P: usize>(l: usize, taps: [&[Lane]; 9], u: &mut [Lane], stride: usize) {
    match l {
        0 => transform_taps::<P, 0>(taps, u, stride),
        1 => transform_taps::<P, 1>(taps, u, stride),
        2 => transform_taps::<P, 2>(taps, u, stride),
        3 => transform_taps::<P, 3>(taps, u, stride),
        4 => transform_taps::<P, 4>(taps, u, stride),
        _ => transform_taps::<P, 5>(taps, u, stride),
    }
}

vectorized! {
    fn transform_taps<const P: usize, const L: usize>(taps: [&[Lane]; 9], u: &mut [Lane], stride: usize) {
        let mut planes = u.chunks_mut(stride);
        let u: [&mut [Lane]; P] = from_fn(|_| planes.next().expect("a plane for each column"));
        for b in 0..taps[0].len() {
            let mut t = [[0.0; LANES]; 3];
            for v in 0..3 {
                t[v] = filter::<P>([&taps[v][b], &taps[3 + v][b], &taps[6 + v][b]])[L];
            }
            let line = filter::<P>([&t[0], &t[1], &t[2]]);
            for m in 0..P {
                u[m][b] = line[m];
            }
        }
    }
}

/// `G g`.
#[inline(always)]
fn filter<const P: usize>([g0, g1, g2]: [&Lane; 3]) -> [Lane; P] {
    let mut u = [[0.0; LANES]; P];
    (u[0], u[P - 1]) = (*g0, *g2);
    if P == 4 {
        let (even, odd) = (times(0.5, &add(g0, g2)), times(0.5, g1));
        (u[1], u[2]) = (add(&even, &odd), sub(&even, &odd));
    } else {
        let (even, odd) = (times(-2.0 / 3.0, &plus(g0, 0.5, g2)), times(-2.0 / 3.0 * SQRT_HALF, g1));
        (u[1], u[2]) = (add(&even, &odd), sub(&even, &odd));
        let (even, odd) = (times(1.0 / 6.0, &plus(g0, 2.0, g2)), times(1.0 / 6.0 * SQRT_2, g1));
        (u[3], u[4]) = (add(&even, &odd), sub(&even, &odd));
    }
    u
}

vectorized! {
    /// `dg += Gᵀ dU G`: P² planes `[in·out]` → `[3, 3, in·out]`.
    fn add_taps<const P: usize>(du: &Planes, size: usize, dw: &mut [f32]) {
        let du = du.lanes::<P>();
        for b in 0..size / LANES {
            let mut t = [[[0.0; LANES]; 3]; P]; // columns first
            for m in 0..P {
                t[m] = filter_transposed::<P>(from_fn(|l| &du[l][m][b]));
            }
            for u in 0..3 {
                let line = filter_transposed::<P>(from_fn(|m| &t[m][u]));
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
fn filter_transposed<const P: usize>(u: [&Lane; P]) -> [Lane; 3] {
    if P == 4 {
        let (even, odd) = (times(0.5, &add(u[1], u[2])), times(0.5, &sub(u[1], u[2])));
        return [add(u[0], &even), odd, add(&even, u[3])];
    }
    let (near, near_odd) = (times(-2.0 / 3.0, &add(u[1], u[2])), sub(u[1], u[2]));
    let (far, far_odd) = (times(1.0 / 6.0, &add(u[3], u[4])), sub(u[3], u[4]));
    [
        add(&add(u[0], &near), &far),
        add(&times(-2.0 / 3.0 * SQRT_HALF, &near_odd), &times(1.0 / 6.0 * SQRT_2, &far_odd)),
        add(&add(&times(0.5, &near), &times(2.0, &far)), u[P - 1]),
    ]
}

/// The points of F(4, 3) beside 0 and ∞ are ± these.
const SQRT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;
const SQRT_2: f32 = std::f32::consts::SQRT_2;

const NOTHING: Lane = [0.0; LANES];

/// The channels of a pixel that begins `at`, or zeros.
#[inline(always)]
fn lanes<'a>(at: Option<usize>, x: &'a [f32], zeros: &'a [f32]) -> &'a [Lane] {
    match at {
        Some(at) => x[at..at + zeros.len()].as_chunks().0,
        None => zeros.as_chunks().0,
    }
}

fn square<T, const P: usize>(mut planes: impl Iterator<Item = T>) -> [[T; P]; P] {
    from_fn(|_| from_fn(|_| planes.next().expect("P² planes")))
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
fn times(s: f32, a: &Lane) -> Lane {
    let mut c = *a;
    for c in &mut c {
        *c *= s;
    }
    c
}

/// `a + s b`.
#[inline(always)]
fn plus(a: &Lane, s: f32, b: &Lane) -> Lane {
    add(a, &times(s, b))
}
