//! Convolution on `[N, H, W, C]`: shifted rows times a matrix.
//!
//! With stride `s` and `p` zeros before the first row and column,
//!
//! ```text
//! y[n, i, j, o] = b[o] + Σ_{u,v,c} x[n, s·i + u − p, s·j + v − p, c] · w[u, v, c, o]
//! ```
//!
//! Pad the image once. Then the channels of a pixel are a row, the tap `(u, v)` only shifts where that row is
//! read, and the sum over taps and channels is one product with the matrix `w` seen as `[kh·kw·C, O]`. Nine
//! shifted products share one accumulator; there is no im2col buffer.
//!
//! # Backward
//!
//! *Data.* `y[i]` reads `x[s·i + u − p]` through `w[u]`, so `dx[h]` collects `dy[i] w[u]ᵀ` wherever
//! `s·i + u − p = h`. That again is a convolution of stride 1: put `s − 1` zeros between the numbers of `dy`, pad
//! it by `k − 1 − p`, flip the taps and exchange the channels of `w`. (The adjoint of skipping pixels is to stuff
//! zeros; the adjoint of a shift is the shift back.)
//!
//! *Weights.* `dw[u, v, c, o] = Σ_{n,i,j} x[n, s·i + u − p, s·j + v − p, c] · dy[n, i, j, o]`: rows again, now
//! with one row per `(u, v, c)` that runs over the pixels. So the image is transposed to channels first, and a
//! strided convolution sorts its pixels by their phase modulo `s`, which makes each row contiguous.

use super::variance_scaling;
use crate::matmul::kernel::{Init, Product, simd, vectorized};
use crate::matmul::transpose;
use crate::params::params;
use crate::tensor::{Tensor1, Tensor4};
use ndarray::Axis;
use ndarray_rand::rand::Rng;
use std::borrow::Cow;

/// A two-dimensional convolution with a square kernel.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// `[k, k, in, out]`; checkpoints hold `[out, in, k, k]`
    pub weight: Tensor4,
    /// `[out]`
    pub bias: Tensor1,
    /// how many pixels the kernel moves at a time
    pub stride: usize,
    /// zeros before and after each row and column
    pub padding: [usize; 2],
}

params!(Conv2d { weight, bias });

/// What [`Conv2d::backward`] needs: the padded input.
#[derive(Debug)]
pub struct Conv2dCache {
    padded: Tensor4,
}

impl Conv2d {
    /// A `size` × `size` convolution with [variance-scaled](variance_scaling) weights and no bias.
    pub fn new(inputs: usize, outputs: usize, size: usize, scale: f32, rng: &mut impl Rng) -> Conv2d {
        let area = size * size;
        Conv2d {
            weight: variance_scaling(
                (size, size, inputs, outputs),
                area * inputs,
                area * outputs,
                scale,
                rng,
            ),
            bias: Tensor1::zeros(outputs),
            stride: 1,
            padding: [size / 2; 2],
        }
    }

    /// The same layer with another stride and padding.
    pub fn strided(self, stride: usize, padding: [usize; 2]) -> Conv2d {
        Conv2d { stride, padding, ..self }
    }

    /// `[N, H, W, in]` → `[N, H', W', out]` with `H' = (H + padding − k) / stride + 1`.
    ///
    /// # Panics
    /// If `x` has another number of channels than `in`, or is smaller than the kernel.
    #[track_caller]
    pub fn infer(&self, x: &Tensor4) -> Tensor4 {
        if self.padding == [0, 0] {
            return self.convolve(x);
        }
        self.convolve(&pad(x, self.padding))
    }

    /// [`infer`](Conv2d::infer), keeping the padded input for [`backward`](Conv2d::backward).
    #[track_caller]
    pub fn forward(&self, x: Tensor4) -> (Tensor4, Conv2dCache) {
        let padded = if self.padding == [0, 0] { x } else { pad(&x, self.padding) };
        (self.convolve(&padded), Conv2dCache { padded })
    }

    /// From the module's formula:  `db += Σ dy`,  `dw += Σ x dy`,  `dx = dy * w`, flipped and transposed.
    pub fn backward(&self, cache: Conv2dCache, dy: &Tensor4, grad: &mut Conv2d) -> Tensor4 {
        self.backward_weights(&cache.padded, dy, grad);
        let (_, h, w, _) = cache.padded.dim();
        drop(cache);
        let [before, after] = self.padding;
        self.backward_data(dy, (h - before - after, w - before - after))
    }

    /// `db[o] += Σ dy`,  `dw[u, v, c, o] += Σ_{n,i,j} x[n, s·i + u − p, s·j + v − p, c] · dy[n, i, j, o]`.
    fn backward_weights(&self, padded: &Tensor4, dy: &Tensor4, grad: &mut Conv2d) {
        let (n, hp, wp, ci) = padded.dim();
        let (_, oh, ow, co) = dy.dim();
        let (k, s) = (self.weight.len_of(Axis(0)), self.stride);
        let dy = dy.as_slice().expect("contiguous");
        let db = grad.bias.as_slice_mut().expect("contiguous");
        vectorized(|| {
            dy.chunks_exact(co).for_each(|row| db.iter_mut().zip(row).for_each(|(b, d)| *b += d));
        });

        // x as [phase, channel, image, row, column]: rows of pixels
        let (h, w) = (hp.div_ceil(s), wp.div_ceil(s));
        let plane = n * h * w;
        let xt = channels_first(padded, s);
        let starts: Vec<usize> = (0..k * k * ci)
            .map(|row| (row / ci / k, row / ci % k, row % ci))
            .map(|(u, v, c)| (((u % s) * s + v % s) * ci + c) * plane + (u / s) * w + v / s)
            .collect();
        // One tap per row of an image, or a single one where the rows of x and of y have the same length.
        let whole = (h, w) == (oh, ow);
        let taps: Vec<usize> =
            if whole { vec![0] } else { (0..n * oh).map(|r| (r / oh) * h * w + (r % oh) * w).collect() };
        let (b, ldb) = whole_vectors(dy, co);
        Product {
            a: &xt,
            starts: &starts,
            taps: &taps,
            k: if whole { n * oh * ow } else { ow },
            b: &b,
            ldb,
            n: co,
            init: Init::Accumulate,
        }
        .run(grad.weight.as_slice_mut().expect("contiguous"), co);
    }

    /// `dx = dy` stuffed with zeros, padded, convolved with the flipped and transposed weights.
    fn backward_data(&self, dy: &Tensor4, (h, w): (usize, usize)) -> Tensor4 {
        let k = self.weight.len_of(Axis(0));
        let before = k - 1 - self.padding[0];
        let (_, oh, ow, _) = dy.dim();
        let needs_padding = (h + k - 1, w + k - 1) != (oh, ow);
        let stuffed = if needs_padding {
            Cow::Owned(place(dy, self.stride, before, (h + k - 1, w + k - 1)))
        } else {
            Cow::Borrowed(dy)
        };
        self.adjoint().convolve(&stuffed)
    }

    /// The convolution that carries gradients back: taps flipped, channels exchanged, stride 1, no bias.
    fn adjoint(&self) -> Conv2d {
        let (k, _, ci, co) = self.weight.dim();
        let mut weight = Tensor4::zeros((k, k, co, ci));
        let taps = self.weight.as_slice().expect("contiguous").chunks_exact(ci * co);
        let flipped = weight.as_slice_mut().expect("contiguous").chunks_exact_mut(ci * co).rev();
        taps.zip(flipped).for_each(|(w, out)| transpose(w, co, out, ci));
        Conv2d { weight, bias: Tensor1::zeros(ci), stride: 1, padding: [0, 0] }
    }

    /// The convolution of an image that is already padded.
    #[track_caller]
    fn convolve(&self, x: &Tensor4) -> Tensor4 {
        let (n, hp, wp, ci) = x.dim();
        let (k, _, inputs, co) = self.weight.dim();
        assert!(
            ci == inputs && hp >= k && wp >= k,
            "convolution {:?} [k, k, in, out] on padded {:?} [N, H, W, C]",
            self.weight.shape(),
            x.shape()
        );
        let s = self.stride;
        let (oh, ow) = ((hp - k) / s + 1, (wp - k) / s + 1);
        let starts: Vec<usize> = (0..n * oh * ow)
            .map(|p| (p / (oh * ow), p / ow % oh, p % ow))
            .map(|(image, i, j)| ((image * hp + s * i) * wp + s * j) * ci)
            .collect();
        let taps: Vec<usize> = (0..k * k).map(|t| ((t / k) * wp + t % k) * ci).collect();
        let (b, ldb) = whole_vectors(self.weight.as_slice().expect("contiguous"), co);
        let mut y = Tensor4::zeros((n, oh, ow, co));
        Product {
            a: x.as_slice().expect("contiguous"),
            starts: &starts,
            taps: &taps,
            k: ci,
            b: &b,
            ldb,
            n: co,
            init: Init::Bias(self.bias.as_slice().expect("contiguous")),
        }
        .run(y.as_slice_mut().expect("contiguous"), co);
        y
    }

    /// The module's formula, word for word: what the fast version is tested against.
    pub fn definition(&self, x: &Tensor4) -> Tensor4 {
        let (n, h, w, ci) = x.dim();
        let (k, _, _, co) = self.weight.dim();
        let [before, after] = self.padding;
        let out = |size: usize| (size + before + after - k) / self.stride + 1;
        Tensor4::from_shape_fn((n, out(h), out(w), co), |(n, i, j, o)| {
            let mut y = self.bias[o];
            for (u, v) in (0..k * k).map(|t| (t / k, t % k)) {
                let (r, q) = (self.stride * i + u, self.stride * j + v);
                let inside = (before..before + h).contains(&r) && (before..before + w).contains(&q);
                for c in (0..ci).filter(|_| inside) {
                    y += x[[n, r - before, q - before, c]] * self.weight[[u, v, c, o]];
                }
            }
            y
        })
    }
}

/// `x` with zeros around it: `before` at the top and left, `after` at the bottom and right.
fn pad(x: &Tensor4, [before, after]: [usize; 2]) -> Tensor4 {
    let (_, h, w, _) = x.dim();
    place(x, 1, before, (h + before + after, w + before + after))
}

/// Zeros `[N, H, W, C]` with pixel `(i, j)` of `x` at `(before + step·i, before + step·j)`.
fn place(x: &Tensor4, step: usize, before: usize, (h, w): (usize, usize)) -> Tensor4 {
    let (n, xh, xw, c) = x.dim();
    let mut out = Tensor4::zeros((n, h, w, c));
    let target = out.as_slice_mut().expect("contiguous");
    for (r, row) in x.as_slice().expect("contiguous").chunks_exact((xw * c).max(1)).enumerate() {
        let (image, i) = (r / xh, r % xh);
        let target = &mut target[((image * h + before + step * i) * w + before) * c..];
        if step == 1 {
            target[..xw * c].copy_from_slice(row);
        } else {
            let pixels = target.chunks_mut(step * c);
            pixels.zip(row.chunks_exact(c)).for_each(|(t, pixel)| t[..c].copy_from_slice(pixel));
        }
    }
    out
}

/// `[N, H, W, C]` → `[s·s phases, C, N, ⌈H/s⌉, ⌈W/s⌉]`: phase `(a, b)` holds the pixels `(s·i + a, s·j + b)`.
fn channels_first(x: &Tensor4, s: usize) -> Vec<f32> {
    let (n, hp, wp, c) = x.dim();
    let (h, w) = (hp.div_ceil(s), wp.div_ceil(s));
    let plane = n * h * w;
    let mut out = vec![0.0; s * s * c * plane];
    let images = x.as_slice().expect("contiguous").chunks_exact(hp * wp * c);
    let mut phase_image = vec![0.0; if s == 1 { 0 } else { h * w * c }];
    for (image, x) in images.enumerate() {
        for (phase, out) in out.chunks_exact_mut(c * plane).enumerate() {
            let out = &mut out[image * h * w..];
            if s == 1 {
                transpose(x, c, out, plane);
                continue;
            }
            phase_image.fill(0.0);
            let (a, b) = (phase / s, phase % s);
            for (i, row) in x.chunks_exact(wp * c).skip(a).step_by(s).enumerate() {
                let pixels = row.chunks_exact(c).skip(b).step_by(s);
                pixels
                    .zip(phase_image[i * w * c..].chunks_exact_mut(c))
                    .for_each(|(p, t)| t.copy_from_slice(p));
            }
            transpose(&phase_image, c, out, plane);
        }
    }
    out
}

/// The matrix `b` of `n` columns with rows of whole vectors: in place if they are, else padded with zeros.
fn whole_vectors(b: &[f32], n: usize) -> (Cow<'_, [f32]>, usize) {
    let ldb = n.next_multiple_of(simd().lanes());
    if ldb == n {
        return (Cow::Borrowed(b), n);
    }
    let mut padded = vec![0.0; b.len() / n * ldb];
    padded.chunks_exact_mut(ldb).zip(b.chunks_exact(n)).for_each(|(p, row)| p[..n].copy_from_slice(row));
    (Cow::Owned(padded), ldb)
}

#[cfg(test)]
mod tests;
