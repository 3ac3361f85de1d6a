//! Convolution as shifted rows times a matrix, whatever the size of the kernel and the stride.
//!
//! The channels of a pixel are a row, the tap `(u, v)` only shifts where that row is read, and the sum over taps and
//! channels is one product with the weights seen as a matrix `[k·k·C, O]`. All taps share one accumulator; there is
//! no im2col buffer, and a tap that falls outside the image is left out instead of padded.

use crate::matmul::kernel::{Initial, Point, Product, Rows};
use crate::matmul::transposed::{Segment, TransposedProduct};
use crate::matmul::{product_into, whole_vectors};
use crate::tensor::{Contiguous, Tensor2, Tensor3, Tensor4, recycle, scratch};
use crate::threads;
use ndarray::s;
use rayon::prelude::*;
use std::borrow::Cow;
use std::ops::Range;

/// Outer products of at least so many pixels are summed before `dw` is touched: few enough to stay in L2.
const PIXELS: usize = 256;

/// Kernel size, stride, and zeros before the first pixel: one axis of a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub k: usize,
    pub s: usize,
    pub p: usize,
}

/// How an axis of the result reads an axis of the source: position `i` reads `start[i] + tap[u]` for each bit `u` of
/// `valid[i]`.
#[derive(Debug)]
pub(crate) struct Reach {
    start: Vec<isize>,
    valid: Vec<u64>,
    tap: Vec<isize>,
    /// all positions, those that read the same taps side by side
    order: Vec<usize>,
}

impl Reach {
    /// `y[i]` reads `x[s·i + u − p]`.
    pub(crate) fn forward(Axis { k, s, p }: Axis, inputs: usize, outputs: usize) -> Reach {
        let inside = |i, u| (p..p + inputs).contains(&(s * i + u));
        Reach {
            start: (0..outputs).map(|i| (s * i) as isize - p as isize).collect(),
            valid: (0..outputs).map(|i| bits(k, |u| inside(i, u))).collect(),
            tap: (0..k as isize).collect(),
            order: (0..outputs).collect(),
        }
    }

    /// The adjoint: `x[h]` reads the `y[i]` with `s·i + u − p = h`.
    ///
    /// Write `h + p = s·q + r`. Then `u = s·m + r` with the same rest `r`, and `i = q − m`.
    pub(crate) fn adjoint(Axis { k, s, p }: Axis, inputs: usize, outputs: usize) -> Reach {
        let inside = |h: usize, u| (h + p) % s == u % s && (u..u + s * outputs).contains(&(h + p));
        let mut order: Vec<usize> = (0..inputs).collect();
        order.sort_by_key(|h| (h + p) % s);
        Reach {
            start: (0..inputs).map(|h| ((h + p) / s) as isize).collect(),
            valid: (0..inputs).map(|h| bits(k, |u| inside(h, u))).collect(),
            tap: (0..k).map(|u| -((u / s) as isize)).collect(),
            order,
        }
    }

    /// The positions that read tap `u`, where they lie side by side.
    fn positions(&self, u: usize) -> Range<usize> {
        let valid = |i: &usize| self.valid[*i] >> u & 1 == 1;
        let first = (0..self.valid.len()).find(valid).unwrap_or(0);
        first..first + (first..self.valid.len()).take_while(valid).count()
    }
}

/// The number whose bit `u < k` is `f(u)`.
fn bits(k: usize, f: impl Fn(usize) -> bool) -> u64 {
    (0..k).filter(|&u| f(u)).fold(0, |bits, u| bits | 1 << u)
}

/// `y[n, i, j] = init + Σ_{u,v} x[n, lines(i, u), columns(j, v)] · weight[u, v]`, for `weight [k, k, in, out]`.
pub(crate) fn convolve(x: &Tensor4, reach: [&Reach; 2], weight: &[f32], init: Initial, y: &mut Tensor4) {
    let (n, h, w, ci) = x.dim();
    let (_, oh, ow, co) = y.dim();
    if y.is_empty() {
        return;
    }
    if is_narrow(weight.len() / (ci * co), co) {
        return convolve_narrow(x, reach, weight, init, y);
    }
    let (b, ldb) = whole_vectors(weight, co);
    let [lines, columns] = reach;
    let tap = |u: &isize, v: &isize| (u * w as isize + v) * ci as isize;
    let taps: Vec<isize> =
        lines.tap.iter().flat_map(|u| columns.tap.iter().map(move |v| tap(u, v))).collect();
    let points = points(reach, (w * ci, ci), (ow * co, co));
    let (a_stride, c_stride) = (h * w * ci, oh * ow * co);
    let (a, c) = (x.numbers(), y.numbers_mut());
    // the images from `first` on that `c` holds, or of one image the lines from `line` on
    let part = |first: usize, line: usize, c: &mut [f32]| {
        let (from, to) = (line * ow * co, line * ow * co + c.len());
        let inside = |point: &Point| Point { c: point.c - from, ..*point };
        let own: Cow<[Point]> = match c.len() < c_stride {
            true => points.iter().filter(|point| (from..to).contains(&point.c)).map(inside).collect(),
            false => (&points).into(),
        };
        let rows = Rows { points: &own, images: c.len().div_ceil(c_stride), a_stride, c_stride };
        let init = init.of_image(first);
        Product { a: &a[first * a_stride..], rows, taps: &taps, k: ci, b: &b, ldb, n: co, init }.run(c);
    };
    match threads::parts(2 * (taps.len() * ci * n * c_stride) as u64) {
        1 => part(0, 0, c),
        parts if parts <= n => {
            let images = n.div_ceil(parts);
            c.par_chunks_mut(images * c_stride).enumerate().for_each(|(i, c)| part(i * images, 0, c));
        }
        parts => {
            let height = oh.div_ceil(parts.div_ceil(n));
            c.par_chunks_mut(c_stride).enumerate().for_each(|(image, c)| {
                let lines = c.par_chunks_mut(height * ow * co).enumerate();
                lines.for_each(|(i, c)| part(image, i * height, c));
            });
        }
    }
}

/// Whether all taps of all outputs fill fewer vectors than the outputs of each tap do by themselves.
fn is_narrow(taps: usize, co: usize) -> bool {
    2 * (taps * co).div_ceil(VECTOR) <= taps * co.div_ceil(VECTOR)
}

/// The widest vector of any CPU; which way is taken must not depend on the one at hand.
const VECTOR: usize = 16;

/// [`convolve`] to few channels, such as an image's: one product for all taps, `z[pixel, τ, o] = Σ_c x[pixel, c] weight[τ, c, o]`,
/// from which every output gathers its own, `y[i, o] = init + Σ_τ z[start_i + τ, τ, o]`.
fn convolve_narrow(x: &Tensor4, reach: [&Reach; 2], weight: &[f32], init: Initial, y: &mut Tensor4) {
    let (n, h, w, ci) = x.dim();
    let (_, oh, ow, co) = y.dim();
    let taps = weight.len() / (ci * co);
    let columns = (taps * co).next_multiple_of(VECTOR);
    let mut wide = Tensor2::zeros((ci, columns));
    wide.slice_mut(s![.., ..taps * co]).indexed_iter_mut().for_each(|((c, to), wide)| {
        *wide = weight[(to / co * ci + c) * co + to % co];
    });
    let mut z: Tensor3 = scratch((n, h * w, columns));
    let pixels = x.view().into_shape_with_order((n * h * w, ci)).expect("pixels, one after another");
    product_into(pixels, wide.view(), Initial::ZERO, z.numbers_mut());

    let [down, across] = reach;
    let tap: Vec<isize> =
        down.tap.iter().flat_map(|u| across.tap.iter().map(move |v| u * w as isize + v)).collect();
    let points = points(reach, (w, 1), (ow * co, co));
    for (image, y) in y.numbers_mut().chunks_exact_mut(oh * ow * co).enumerate() {
        let z = &z.numbers()[image * h * w * columns..][..h * w * columns];
        let bias = init.bias.map(|(bias, stride)| &bias[image * stride..][..co]);
        for point in &points {
            for (o, y) in y[point.c..][..co].iter_mut().enumerate() {
                let of_tap = |t: usize| z[(point.a + tap[t]) as usize * columns + t * co + o];
                let sum: f32 = (0..taps).filter(|t| point.taps >> t & 1 == 1).map(of_tap).sum();
                let sum = sum + bias.map_or(0.0, |bias| bias[o]);
                *y = if init.accumulate { *y + sum } else { sum };
            }
        }
    }
    recycle(z);
}

/// The pixels of the first image, given how far lines and pixels are apart in A and in C.
fn points(
    [lines, columns]: [&Reach; 2],
    (a_line, a_pixel): (usize, usize),
    (c_line, c_pixel): (usize, usize),
) -> Vec<Point> {
    let k = columns.tap.len();
    let point = |i: usize, j: usize| Point {
        a: lines.start[i] * a_line as isize + columns.start[j] * a_pixel as isize,
        c: i * c_line + j * c_pixel,
        // tap (u, v) is number u·k + v
        taps: (0..k).filter(|u| lines.valid[i] >> u & 1 == 1).map(|u| columns.valid[j] << (u * k)).sum(),
    };
    let pixels = lines.order.iter().flat_map(|&i| columns.order.iter().map(move |&j| (i, j)));
    pixels.map(|(i, j)| point(i, j)).collect()
}

/// `dw[u, v, c, o] += Σ_{n,i,j} x[n, s·i + u − p, s·j + v − p, c] · dy[n, i, j, o]`.
///
/// For one tap, the pixels of a line of `y` that have it are a stretch of evenly spaced pixels of `x`.
pub(crate) fn add_weight_gradient(x: &Tensor4, dy: &Tensor4, axis: Axis, dw: &mut [f32]) {
    let (n, h, w, ci) = x.dim();
    let (_, oh, ow, co) = dy.dim();
    if dy.is_empty() {
        return;
    }
    let Axis { k, s, p } = axis;
    let (lines, columns) = (Reach::forward(axis, h, oh), Reach::forward(axis, w, ow));
    let (b, ldb) = whole_vectors(dy.numbers(), co);
    let a = x.numbers();
    let block = PIXELS.div_ceil(oh * ow);
    let gradient = |(tap, dw): (usize, &mut [f32])| {
        let (u, v) = (tap / k, tap % k);
        let (i, j) = (lines.positions(u), columns.positions(v));
        if i.is_empty() || j.is_empty() {
            return;
        }
        for images in (0..n).step_by(block).map(|image| image..n.min(image + block)) {
            let segments = merged(
                images.clone().flat_map(|image| i.clone().map(move |i| (image, i))).map(|(image, i)| {
                    Segment {
                        a: ((image * h + s * i + u - p) * w + s * j.start + v - p) * ci,
                        b: ((image * oh + i) * ow + j.start) * ldb,
                        len: j.len(),
                    }
                }),
                (s * ci, ldb),
            );
            TransposedProduct { a, lda: s * ci, m: ci, b: &b, ldb, n: co, segments: &segments }.run(dw, co);
        }
    };
    match threads::parts(2 * (k * k * ci * dy.len()) as u64) {
        1 => dw.chunks_exact_mut(ci * co).enumerate().for_each(gradient),
        _ => dw.par_chunks_exact_mut(ci * co).enumerate().for_each(gradient),
    }
}

/// Segments that go on where the one before ends become one.
fn merged(segments: impl Iterator<Item = Segment>, (lda, ldb): (usize, usize)) -> Vec<Segment> {
    let mut all: Vec<Segment> = Vec::new();
    for segment in segments {
        match all.last_mut() {
            Some(last) if (last.a + last.len * lda, last.b + last.len * ldb) == (segment.a, segment.b) => {
                last.len += segment.len;
            }
            _ => all.push(segment),
        }
    }
    all
}
