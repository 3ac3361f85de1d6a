//! Convolution on `[N, H, W, C]`.
//!
//! With stride `s` and `p` zeros before the first row and column,
//!
//! ```text
//! y[n, i, j, o] = b[o] + Σ_{u,v,c} x[n, s·i + u − p, s·j + v − p, c] · w[u, v, c, o]
//! ```
//!
//! # Backward
//!
//! *Data.* `y[i]` reads `x[s·i + u − p]` through `w[u]`, so `dx[h]` collects `dy[i] w[u]ᵀ` wherever
//! `s·i + u − p = h`: a convolution again, with the channels of `w` exchanged and, for stride 1, its taps flipped.
//!
//! *Weights.* `dw[u, v, c, o] = Σ_{n,i,j} x[n, s·i + u − p, s·j + v − p, c] · dy[n, i, j, o]`: one product of two
//! sets of pixels, shifted against each other, for each tap.
//!
//! # Speed
//!
//! Two ways lead there: [`direct`], for all kernels and strides, and [`winograd`], which needs 2.25 times fewer
//! multiplications for what most of a U-Net is made of, 3×3 with stride 1 and many channels.
//! [`definition`](Conv2d::definition) is the formula above, word for word.

pub(crate) mod direct;
mod winograd;

use super::lanes::add_channel_sums;
use super::variance_scaling;
use crate::matmul::kernel::Initial;
use crate::matmul::transpose;
use crate::params::params;
use crate::tensor::{Contiguous, Tensor1, Tensor4, recycle, scratch};
use direct::{Axis, Reach};
use ndarray_rand::rand::Rng;

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

params!(Conv2d { weight: Conv, bias });

/// What [`Conv2d::backward`] needs: the input.
#[derive(Clone, Debug)]
pub struct Conv2dCache {
    x: Tensor4,
}

impl Conv2d {
    /// A `size` × `size` convolution with [variance-scaled](variance_scaling) weights and no bias.
    ///
    /// ```
    /// use ddpm::{nn::Conv2d, rng::stream};
    /// let layer = Conv2d::new(3, 5, 3, 1.0, &mut stream(1, 0));
    /// assert_eq!(layer.weight.dim(), (3, 3, 3, 5));
    /// assert!(layer.bias.iter().all(|&b| b == 0.0));
    /// ```
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

    /// Floating-point operations for an image of so many pixels that come out: two per multiplication.
    ///
    /// ```
    /// use ddpm::{nn::Conv2d, rng::stream};
    /// assert_eq!(Conv2d::new(3, 5, 3, 1.0, &mut stream(1, 0)).flops(100), 2 * 9 * 3 * 5 * 100);
    /// ```
    pub fn flops(&self, pixels: usize) -> u64 {
        2 * (self.weight.len() * pixels) as u64
    }

    /// The same layer with another stride and padding.
    ///
    /// ```
    /// use ddpm::nn::Conv2d;
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = Conv2d::new(3, 5, 3, 1.0, &mut stream(1, 0)).strided(2, [0, 1]);
    /// let x: Tensor4 = normal((1, 8, 6, 3), &mut stream(1, 1));
    /// assert_eq!(layer.infer(&x).dim(), (1, 4, 3, 5));
    /// ```
    pub fn strided(self, stride: usize, padding: [usize; 2]) -> Conv2d {
        Conv2d { stride, padding, ..self }
    }

    /// `[N, H, W, in]` → `[N, H', W', out]` with `H' = (H + padding − k) / stride + 1`.
    ///
    /// # Panics
    /// If `x` has another number of channels than `in`, or is smaller than the kernel.
    ///
    /// ```
    /// use ddpm::nn::Conv2d;
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = Conv2d::new(3, 5, 3, 1.0, &mut stream(1, 0));
    /// let x: Tensor4 = normal((1, 8, 6, 3), &mut stream(1, 1));
    /// let (fast, slow) = (layer.infer(&x), layer.definition(&x));
    /// assert!((fast - slow).iter().all(|d| d.abs() < 1e-5));
    /// ```
    #[track_caller]
    pub fn infer(&self, x: &Tensor4) -> Tensor4 {
        self.infer_into(x, Initial::bias(self.bias.numbers()), None)
    }

    /// [`infer`](Conv2d::infer), keeping the input for [`backward`](Conv2d::backward).
    ///
    /// # Shapes
    /// As [`infer`](Conv2d::infer).
    ///
    /// ```
    /// use ddpm::nn::Conv2d;
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = Conv2d::new(3, 5, 3, 1.0, &mut stream(1, 0));
    /// let x: Tensor4 = normal((1, 8, 6, 3), &mut stream(1, 1));
    /// assert_eq!(layer.forward(x.clone()).0, layer.infer(&x));
    /// ```
    #[track_caller]
    pub fn forward(&self, x: Tensor4) -> (Tensor4, Conv2dCache) {
        (self.infer(&x), Conv2dCache { x })
    }

    /// [`infer_into`](Conv2d::infer_into), keeping the input.
    pub(super) fn forward_into(
        &self,
        x: Tensor4,
        init: Initial,
        y: Option<Tensor4>,
    ) -> (Tensor4, Conv2dCache) {
        (self.infer_into(&x, init, y), Conv2dCache { x })
    }

    /// `init + x * w`; an `init` that accumulates adds to `y`, else `y` is made.
    #[track_caller]
    pub(super) fn infer_into(&self, x: &Tensor4, init: Initial, y: Option<Tensor4>) -> Tensor4 {
        let (n, h, w, ci) = x.dim();
        let (k, _, inputs, co) = self.weight.dim();
        let padding: usize = self.padding.iter().sum();
        assert!(
            ci == inputs && h + padding >= k && w + padding >= k,
            "convolution {:?} [k, k, in, out], padding {:?}, on {:?} [N, H, W, C]",
            self.weight.shape(),
            self.padding,
            x.shape()
        );
        let out = |size: usize| (size + padding - k) / self.stride + 1;
        let mut y = y.unwrap_or_else(|| scratch((n, out(h), out(w), co)));
        let weight = self.weight.numbers();
        if self.is_winograd() {
            winograd::convolve(x, weight, false, init, &mut y);
        } else {
            let reach = |size| Reach::forward(self.axis(), size, out(size));
            direct::convolve(x, [&reach(h), &reach(w)], weight, init, &mut y);
        }
        y
    }

    /// From the module's formula:  `db += Σ dy`,  `dw += Σ x dy`,  `dx = dy * w`, flipped and transposed.
    ///
    /// # Shapes
    /// `dy` `[N, H', W', out]`; returns `dx` `[N, H, W, in]`.
    ///
    /// ```
    /// use ddpm::params::Params;
    /// use ddpm::nn::Conv2d;
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = Conv2d::new(3, 5, 3, 1.0, &mut stream(1, 0));
    /// let x: Tensor4 = normal((1, 8, 6, 3), &mut stream(1, 1));
    /// let (y, cache) = layer.forward(x.clone());
    /// let mut grad = layer.zeros_like();
    /// let dx = layer.backward(cache, &y, &mut grad);
    /// // without a bias y is linear in x and in w: ⟨dy, y⟩ = ⟨dx, x⟩ = ⟨dw, w⟩
    /// let [a, b, c] = [(&y * &y).sum(), (dx * x).sum(), (grad.weight * layer.weight).sum()];
    /// assert!((a / b - 1.0).abs() < 1e-4 && (a / c - 1.0).abs() < 1e-4);
    /// ```
    pub fn backward(&self, cache: Conv2dCache, dy: &Tensor4, grad: &mut Conv2d) -> Tensor4 {
        self.backward_weights(&cache.x, dy, grad);
        let (_, h, w, _) = cache.x.dim();
        recycle(cache.x);
        self.backward_data(dy, (h, w))
    }

    /// `db[o] += Σ dy`,  `dw[u, v, c, o] += Σ_{n,i,j} x[n, s·i + u − p, s·j + v − p, c] · dy[n, i, j, o]`.
    ///
    /// # Shapes
    /// `x` `[N, H, W, in]`, `dy` `[N, H', W', out]`.
    ///
    /// ```
    /// use ddpm::params::Params;
    /// use ddpm::{nn::Conv2d, rng::stream, tensor::Tensor4};
    /// let layer = Conv2d::new(1, 1, 1, 1.0, &mut stream(1, 0));
    /// let mut grad = layer.zeros_like();
    /// let ones = Tensor4::ones((2, 3, 3, 1));
    /// layer.backward_weights(&(3.0 * &ones), &ones, &mut grad);
    /// assert_eq!((grad.weight[[0, 0, 0, 0]], grad.bias[0]), (54.0, 18.0)); // 18 pixels
    /// ```
    pub fn backward_weights(&self, x: &Tensor4, dy: &Tensor4, grad: &mut Conv2d) {
        add_pixels(dy, grad.bias.numbers_mut());
        let dw = grad.weight.numbers_mut();
        if self.is_winograd() {
            winograd::add_weight_gradient(x, dy, dw);
        } else {
            direct::add_weight_gradient(x, dy, self.axis(), dw);
        }
    }

    /// `dx[h] = Σ dy[i] w[u]ᵀ` over `s·i + u − p = h`, for an input of height and width `(h, w)`.
    ///
    /// # Shapes
    /// `dy` `[N, H', W', out]`; returns `[N, H, W, in]`.
    ///
    /// ```
    /// use ddpm::nn::Conv2d;
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = Conv2d::new(3, 5, 3, 1.0, &mut stream(1, 0));
    /// let dy: Tensor4 = normal((1, 8, 6, 5), &mut stream(1, 1));
    /// assert_eq!(layer.backward_data(&dy, (8, 6)).dim(), (1, 8, 6, 3));
    /// ```
    pub fn backward_data(&self, dy: &Tensor4, (h, w): (usize, usize)) -> Tensor4 {
        let (n, oh, ow, _) = dy.dim();
        let (_, _, ci, co) = self.weight.dim();
        let transposed = transpose_taps(self.weight.numbers(), (ci, co));
        let mut dx = scratch((n, h, w, ci));
        let weight = transposed.numbers();
        if self.is_winograd() {
            winograd::convolve(dy, weight, true, Initial::ZERO, &mut dx);
        } else {
            let reach = |size, outputs| Reach::adjoint(self.axis(), size, outputs);
            direct::convolve(dy, [&reach(h, oh), &reach(w, ow)], weight, Initial::ZERO, &mut dx);
        }
        recycle(transposed);
        dx
    }

    fn axis(&self) -> Axis {
        Axis { k: self.weight.dim().0, s: self.stride, p: self.padding[0] }
    }

    /// 3×3 with stride 1, padded to the same size, with whole vectors of channels.
    fn is_winograd(&self) -> bool {
        let (k, _, ci, co) = self.weight.dim();
        (k, self.stride, self.padding) == (3, 1, [1, 1]) && winograd::fits(ci, co)
    }

    /// The module's formula, word for word: what the fast version is tested against.
    ///
    /// # Shapes
    /// As [`infer`](Conv2d::infer).
    ///
    /// ```
    /// use ddpm::{nn::Conv2d, rng::stream, tensor::Tensor4};
    /// let mut layer = Conv2d::new(1, 1, 3, 1.0, &mut stream(1, 0));
    /// layer.weight.fill(1.0);
    /// let y = layer.definition(&Tensor4::ones((1, 3, 3, 1)));
    /// assert_eq!((y[[0, 1, 1, 0]], y[[0, 0, 0, 0]]), (9.0, 4.0)); // a corner has four neighbours inside
    /// ```
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

/// `[taps, in, out]` → `[taps, out, in]`.
pub(super) fn transpose_taps(weight: &[f32], (ci, co): (usize, usize)) -> Tensor1 {
    let mut transposed = scratch(weight.len());
    let out = transposed.numbers_mut().chunks_exact_mut(ci * co);
    weight.chunks_exact(ci * co).zip(out).for_each(|(w, out)| transpose(w, co, out, ci));
    transposed
}

/// `sum[c] += Σ_{n,i,j} x[n, i, j, c]`.
pub(super) fn add_pixels(x: &Tensor4, sum: &mut [f32]) {
    add_channel_sums(x.numbers(), sum);
}

#[cfg(test)]
mod tests;
