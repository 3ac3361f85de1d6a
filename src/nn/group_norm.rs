//! Group normalisation (Wu & He 2018), alone or followed by SiLU in the same pass.
//!
//! Over the `m = H·W·C/G` numbers of one image and one group of channels,
//!
//! ```text
//! μ = mean x,   v = mean (x − μ)²,   x̂ = (x − μ) / √(v + ε),   z = γ x̂ + β,   y = z  or  y = z σ(z)
//! ```
//!
//! # Backward
//!
//! `γ` and `β` act per channel, so `dβ = Σ dz` and `dγ = Σ dz x̂` over images and pixels. With `g = γ dz`, the
//! gradient with respect to `x̂`, the long way through `v` and `μ` collapses to three terms:
//!
//! ```text
//! dx = (g − mean g − x̂ · mean(g x̂)) / √(v + ε)
//! ```
//!
//! The second term takes out what a shift of all `x` would do, the third what a common scale would do:
//! normalisation makes both invisible. (So the gradient of `Σ y` tells nothing about this layer. Check it along
//! random directions.)

use super::activation::{sigmoid, silu_slope};
use super::lanes::{LANES, channel_sums};
use crate::matmul::simd::vectorized;
use crate::params::params;
use crate::tensor::{Contiguous, Tensor1, Tensor4, recycle, scratch};
use crate::threads;
use ndarray::Axis;
use rayon::prelude::*;

/// Normalises groups of channels per image.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    /// `γ`, `[C]`
    pub weight: Tensor1,
    /// `β`, `[C]`
    pub bias: Tensor1,
    /// how many groups the channels are cut into
    pub groups: usize,
    /// `ε`, added to the variance
    pub eps: f32,
}

params!(GroupNorm { weight, bias });

/// What [`GroupNorm::backward`] needs: the input, and each image's and channel's mean and `1/√(v + ε)`.
#[derive(Debug)]
pub struct GroupNormCache {
    pub(crate) x: Tensor4,
    moments: Vec<Moments>,
}

/// Mean and inverse standard deviation, spread from groups to channels, `[C]` each.
#[derive(Debug)]
struct Moments {
    mean: Vec<f32>,
    inv_std: Vec<f32>,
}

impl GroupNorm {
    /// `γ = 1`, `β = 0`.
    ///
    /// # Panics
    /// If `groups` does not divide `channels`.
    ///
    /// ```
    /// let layer = ddpm::nn::GroupNorm::new(8, 2, 1e-6);
    /// assert_eq!((layer.weight.sum(), layer.bias.sum()), (8.0, 0.0));
    /// ```
    #[track_caller]
    pub fn new(channels: usize, groups: usize, eps: f32) -> GroupNorm {
        assert!(
            groups > 0 && channels.is_multiple_of(groups),
            "group norm: {groups} groups of {channels} channels"
        );
        GroupNorm { weight: Tensor1::ones(channels), bias: Tensor1::zeros(channels), groups, eps }
    }

    /// `y = γ x̂ + β`: `[N, H, W, C]` → the same shape.
    ///
    /// ```
    /// use ddpm::nn::GroupNorm;
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = GroupNorm::new(8, 2, 1e-6);
    /// let x: Tensor4 = normal((1, 16, 16, 8), &mut stream(1, 0));
    /// assert_eq!(layer.forward(x.clone()).0, layer.infer(&x));
    /// ```
    pub fn forward(&self, x: Tensor4) -> (Tensor4, GroupNormCache) {
        self.forward_with::<false>(x)
    }

    /// `y = z σ(z)`, `z = γ x̂ + β`: normalisation and SiLU in one pass.
    ///
    /// # Shapes
    /// `[N, H, W, C]` → the same shape.
    ///
    /// ```
    /// use ddpm::nn::GroupNorm;
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = GroupNorm::new(8, 2, 1e-6);
    /// let x: Tensor4 = normal((1, 16, 16, 8), &mut stream(1, 0));
    /// assert_eq!(layer.forward_silu(x.clone()).0, layer.infer_silu(&x));
    /// ```
    pub fn forward_silu(&self, x: Tensor4) -> (Tensor4, GroupNormCache) {
        self.forward_with::<true>(x)
    }

    /// [`forward`](GroupNorm::forward) without a cache.
    ///
    /// # Shapes
    /// `[N, H, W, C]` → the same shape.
    ///
    /// ```
    /// use ddpm::nn::GroupNorm;
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = GroupNorm::new(8, 2, 1e-6);
    /// let x: Tensor4 = normal((1, 16, 16, 8), &mut stream(1, 0));
    /// let y = layer.infer(&(3.0 * x + 5.0)); // scale and shift are lost
    /// assert!(y.mean().unwrap().abs() < 1e-4 && (y.std(0.0) - 1.0).abs() < 1e-3);
    /// ```
    pub fn infer(&self, x: &Tensor4) -> Tensor4 {
        self.apply::<false>(x).0
    }

    /// [`forward_silu`](GroupNorm::forward_silu) without a cache.
    ///
    /// # Shapes
    /// `[N, H, W, C]` → the same shape.
    ///
    /// ```
    /// use ddpm::nn::GroupNorm;
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = GroupNorm::new(8, 2, 1e-6);
    /// let x: Tensor4 = normal((1, 16, 16, 8), &mut stream(1, 0));
    /// let mut y = layer.infer(&x);
    /// ddpm::nn::activation::silu(y.as_slice_mut().unwrap());
    /// assert!((layer.infer_silu(&x) - y).iter().all(|d| d.abs() < 1e-6));
    /// ```
    pub fn infer_silu(&self, x: &Tensor4) -> Tensor4 {
        self.apply::<true>(x).0
    }

    fn forward_with<const SILU: bool>(&self, x: Tensor4) -> (Tensor4, GroupNormCache) {
        let (y, moments) = self.apply::<SILU>(&x);
        (y, GroupNormCache { x, moments })
    }

    #[track_caller]
    fn apply<const SILU: bool>(&self, x: &Tensor4) -> (Tensor4, Vec<Moments>) {
        let c = self.weight.len();
        assert_eq!(x.len_of(Axis(3)), c, "group norm of {c} channels on {:?}", x.shape());
        let mut y = scratch(x.raw_dim());
        let mut moments = Vec::with_capacity(x.len_of(Axis(0)));
        for (x, mut y) in x.outer_iter().zip(y.outer_iter_mut()) {
            let x = x.to_slice().expect("contiguous");
            let m = self.moments(x);
            let (scale, shift) = self.affine(&m);
            let y = y.numbers_mut();
            // with SiLU some twenty operations a number
            match threads::parts(20 * x.len() as u64) {
                1 => normalise::<SILU>(x, &scale, &shift, y),
                parts => {
                    let numbers = (x.len() / c).div_ceil(parts) * c;
                    let chunks = x.par_chunks(numbers).zip(y.par_chunks_mut(numbers));
                    chunks.for_each(|(x, y)| normalise::<SILU>(x, &scale, &shift, y));
                }
            }
            moments.push(m);
        }
        (y, moments)
    }

    /// `z = γ (x − μ)/√(v + ε) + β` as one multiply and one add per number: `z = scale · x + shift`.
    fn affine(&self, m: &Moments) -> (Vec<f32>, Vec<f32>) {
        let scale: Vec<f32> = self.weight.iter().zip(&m.inv_std).map(|(w, r)| w * r).collect();
        let shift = self.bias.iter().zip(&m.mean).zip(&scale).map(|((b, mu), s)| b - mu * s).collect();
        (scale, shift)
    }

    /// Two passes, mean then variance: `E[x²] − μ²` would cancel where the mean is large.
    fn moments(&self, x: &[f32]) -> Moments {
        let count = (x.len() / self.groups) as f32;
        let mean = self.group_means(&sums(x, self.weight.len()), count);
        let variance = self.group_means(&squares(x, &mean), count);
        let inv_std = variance.iter().map(|v| 1.0 / (v + self.eps).sqrt()).collect();
        Moments { mean, inv_std }
    }

    /// Sums per channel `[C]` → means per group, repeated for each channel of the group `[C]`.
    fn group_means(&self, sums: &[f32], count: f32) -> Vec<f32> {
        let width = sums.len() / self.groups;
        sums.chunks(width).flat_map(|g| std::iter::repeat_n(g.iter().sum::<f32>() / count, width)).collect()
    }

    /// Backward of [`forward`](GroupNorm::forward): see the module's derivation. `dy` becomes `dx`.
    ///
    /// # Shapes
    /// `dy` and `dx` `[N, H, W, C]`.
    ///
    /// ```
    /// use ddpm::{nn::GroupNorm, params::Params};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = GroupNorm::new(8, 2, 1e-6);
    /// let x: Tensor4 = normal((1, 16, 16, 8), &mut stream(1, 0));
    /// let (y, cache) = layer.forward(x);
    /// let dx = layer.backward(cache, y, &mut layer.zeros_like());
    /// assert!(dx.iter().all(|d| d.abs() < 1e-3)); // ½ Σ ŷ² is the same for every x: no slope
    /// ```
    pub fn backward(&self, cache: GroupNormCache, dy: Tensor4, grad: &mut GroupNorm) -> Tensor4 {
        self.backward_with::<false>(cache, dy, grad)
    }

    /// Backward of [`forward_silu`](GroupNorm::forward_silu): `dz = dy · silu′(z)` first, `z` recomputed from `x`.
    ///
    /// # Shapes
    /// `dy` and `dx` `[N, H, W, C]`.
    ///
    /// ```
    /// use ddpm::{nn::GroupNorm, params::Params};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = GroupNorm::new(8, 2, 1e-6);
    /// let x: Tensor4 = normal((1, 16, 16, 8), &mut stream(1, 0));
    /// let (y, cache) = layer.forward_silu(x);
    /// let mut grad = layer.zeros_like();
    /// let dx = layer.backward_silu(cache, y.clone(), &mut grad);
    /// assert_eq!((dx.shape(), grad.weight.len()), (y.shape(), 8));
    /// ```
    pub fn backward_silu(&self, cache: GroupNormCache, dy: Tensor4, grad: &mut GroupNorm) -> Tensor4 {
        self.backward_with::<true>(cache, dy, grad)
    }

    fn backward_with<const SILU: bool>(
        &self,
        cache: GroupNormCache,
        mut dy: Tensor4,
        grad: &mut GroupNorm,
    ) -> Tensor4 {
        let c = self.weight.len();
        for ((x, mut dy), m) in cache.x.outer_iter().zip(dy.outer_iter_mut()).zip(&cache.moments) {
            let x = x.to_slice().expect("contiguous");
            let dy = dy.numbers_mut();
            let count = (x.len() / self.groups) as f32;
            // z = γ x̂ + β,  y = z σ(z)   ⇒   dz = dy silu′(z),  dβ += Σ dz,  dγ += Σ dz x̂
            let (scale, shift) = self.affine(m);
            let [sum_dz, sum_dz_xhat] = backward_sums::<SILU>(x, dy, &scale, &shift, m);
            grad.bias.iter_mut().zip(&sum_dz).for_each(|(g, s)| *g += s);
            grad.weight.iter_mut().zip(&sum_dz_xhat).for_each(|(g, s)| *g += s);
            // dx = (g − mean g − x̂ mean(g x̂)) / √(v + ε)  with  g = γ dz:  dx = a dz + b x + e, per channel
            let weighted =
                |s: &[f32]| -> Vec<f32> { s.iter().zip(&self.weight).map(|(s, w)| s * w).collect() };
            let mean_g = self.group_means(&weighted(&sum_dz), count);
            let mean_g_xhat = self.group_means(&weighted(&sum_dz_xhat), count);
            let (mut a, mut b, mut e) = (vec![0.0; c], vec![0.0; c], vec![0.0; c]);
            for i in 0..c {
                let r = m.inv_std[i];
                a[i] = r * self.weight[i];
                b[i] = -r * r * mean_g_xhat[i];
                e[i] = -r * mean_g[i] - m.mean[i] * b[i];
            }
            backward_data(x, dy, &a, &b, &e);
        }
        recycle(cache.x);
        dy
    }
}

vectorized! {
    /// `z = scale · x + shift`,  `y = z` or `z σ(z)`.
    fn normalise<const SILU: bool>(x: &[f32], scale: &[f32], shift: &[f32], y: &mut [f32]) {
        let c = scale.len();
        for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
            for (((y, &x), &s), &t) in y.iter_mut().zip(x).zip(scale).zip(shift) {
                let z = x * s + t;
                *y = if SILU { z * sigmoid(z) } else { z };
            }
        }
    }
}

vectorized! {
    /// `Σ_pixels x` per channel.
    fn sums(x: &[f32], c: usize) -> Vec<f32> {
        channel_sums(x, &vec![0.0; c], |x| x)
    }
}

vectorized! {
    /// `Σ_pixels (x − μ)²` per channel.
    fn squares(x: &[f32], mean: &[f32]) -> Vec<f32> {
        channel_sums(x, mean, |d| d * d)
    }
}

vectorized! {
    /// `dy` becomes `dz`; returns `Σ_pixels dz` and `Σ_pixels dz x̂` per channel.
    fn backward_sums<const SILU: bool>(
        x: &[f32], dy: &mut [f32], scale: &[f32], shift: &[f32], m: &Moments,
    ) -> [Vec<f32>; 2] {
        let c = scale.len();
        let (mut plain, mut with_x) = (vec![0.0f32; c], vec![0.0f32; c]);
        // a block of channels at a time, so that its sums stay in registers
        let whole = c - c % LANES;
        for first in (0..whole).step_by(LANES) {
            backward_block::<SILU, LANES>(x, dy, (scale, shift, &m.mean), (&mut plain, &mut with_x), first);
        }
        for first in whole..c {
            backward_block::<SILU, 1>(x, dy, (scale, shift, &m.mean), (&mut plain, &mut with_x), first);
        }
        for (w, r) in with_x.iter_mut().zip(&m.inv_std) {
            *w *= r;
        }
        [plain, with_x]
    }
}

/// [`backward_sums`] for `N` channels from `first` on.
#[inline(always)]
fn backward_block<const SILU: bool, const N: usize>(
    x: &[f32],
    dy: &mut [f32],
    (scale, shift, mean): (&[f32], &[f32], &[f32]),
    (plain, with_x): (&mut [f32], &mut [f32]),
    first: usize,
) {
    let c = scale.len();
    let (mut p, mut w) = ([0.0f32; N], [0.0f32; N]);
    let (scale, shift, mean) = (&scale[first..][..N], &shift[first..][..N], &mean[first..][..N]);
    for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact_mut(c)) {
        let (x, dy) = (&x[first..][..N], &mut dy[first..][..N]);
        for i in 0..N {
            let dz = if SILU { dy[i] * silu_slope(x[i] * scale[i] + shift[i]) } else { dy[i] };
            dy[i] = dz;
            p[i] += dz;
            w[i] += dz * (x[i] - mean[i]);
        }
    }
    plain[first..][..N].copy_from_slice(&p);
    with_x[first..][..N].copy_from_slice(&w);
}

vectorized! {
    /// `dx = a dz + b x + e`, in the place of `dz`.
    fn backward_data(x: &[f32], dz: &mut [f32], a: &[f32], b: &[f32], e: &[f32]) {
        let c = a.len();
        for (x, dz) in x.chunks_exact(c).zip(dz.chunks_exact_mut(c)) {
            for ((((dz, &x), &a), &b), &e) in dz.iter_mut().zip(x).zip(a).zip(b).zip(e) {
                *dz = *dz * a + x * b + e;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::activation::silu;
    use super::super::gradient_check::{check, check_params, inner, shaken};
    use super::*;
    use crate::params::Params;
    use crate::rng::{normal, stream};
    use crate::tensor::Batch;

    fn layer(channels: usize, groups: usize) -> GroupNorm {
        shaken(GroupNorm::new(channels, groups, 1e-5), 0.3)
    }

    fn random(shape: (usize, usize, usize, usize), seed: u64) -> Tensor4 {
        normal(shape, &mut stream(seed, 0))
    }

    /// The module's first formula in f64, number by number.
    fn definition(norm: &GroupNorm, x: &Tensor4) -> Batch {
        let (_, h, w, c) = x.dim();
        let width = c / norm.groups;
        Batch::from_shape_fn(x.dim(), |(n, i, j, channel)| {
            let first = channel / width * width;
            let group = x.slice(ndarray::s![n, .., .., first..first + width]).mapv(f64::from);
            let m = (h * w * width) as f64;
            let mean = group.sum() / m;
            let v = group.mapv(|x| (x - mean) * (x - mean)).sum() / m;
            let x_hat = (x[[n, i, j, channel]] as f64 - mean) / (v + norm.eps as f64).sqrt();
            norm.weight[channel] as f64 * x_hat + norm.bias[channel] as f64
        })
    }

    #[test]
    fn forward_is_the_definition() {
        for (channels, groups) in [(1, 1), (6, 1), (6, 2), (6, 6), (32, 4), (35, 5)] {
            let norm = layer(channels, groups);
            // a mean of three standard deviations
            let x = random((3, 4, 5, channels), 2) + 3.0;
            let worst = (norm.infer(&x).mapv(f64::from) - definition(&norm, &x)).mapv(f64::abs);
            assert!(worst.iter().all(|&d| d < 5e-6), "{channels} channels, {groups} groups");
        }
    }

    /// A constant image has no variance: ε keeps it from dividing by 0, and only β is left.
    #[test]
    fn a_constant_image_becomes_beta() {
        let norm = layer(4, 2);
        let y = norm.infer(&Tensor4::from_elem((1, 3, 3, 4), 0.5));
        // z = s x + t with s = γ/√ε near 300: half a unit in the last place of s x and of t
        assert!((y - &norm.bias).iter().all(|d| d.abs() < 2e-5));
    }

    #[test]
    fn one_pass_is_normalisation_then_silu() {
        let (norm, x) = (layer(12, 3), random((2, 5, 4, 12), 2));
        let (mut two, _) = norm.forward(x.clone());
        silu(two.as_slice_mut().unwrap());
        assert_eq!(norm.infer_silu(&x), two);
        assert_eq!(norm.forward_silu(x.clone()).0, two);
        assert_eq!(norm.forward(x.clone()).0, norm.infer(&x));
    }

    #[test]
    fn gradients() {
        for (channels, groups) in [(1, 1), (6, 2), (8, 8), (20, 4)] {
            let (norm, x) = (layer(channels, groups), random((2, 3, 5, channels), 2) + 0.5);
            let g = random(x.dim(), 3);
            let mut grad = norm.zeros_like();
            let dx = norm.backward(norm.forward(x.clone()).1, g.clone(), &mut grad);
            check("group norm x", &x, &dx, |x| inner(&norm.infer(x), &g));
            check_params("group norm", &norm, &grad, &[], |norm| inner(&norm.infer(&x), &g));
        }
    }

    #[test]
    fn gradients_with_silu() {
        for (channels, groups) in [(1, 1), (6, 2), (8, 8), (20, 4)] {
            let (norm, x) = (layer(channels, groups), random((2, 3, 5, channels), 2) + 0.5);
            let g = random(x.dim(), 3);
            let mut grad = norm.zeros_like();
            let dx = norm.backward_silu(norm.forward_silu(x.clone()).1, g.clone(), &mut grad);
            check("group norm + silu x", &x, &dx, |x| inner(&norm.infer_silu(x), &g));
            check_params("group norm + silu", &norm, &grad, &[], |norm| inner(&norm.infer_silu(&x), &g));
        }
    }

    /// What normalisation can't see has no gradient: a shift of a whole group.
    #[test]
    fn a_shift_of_a_group_has_no_gradient() {
        let (norm, x) = (layer(6, 2), random((1, 4, 4, 6), 2));
        let dx = norm.backward(norm.forward(x.clone()).1, random(x.dim(), 3), &mut norm.zeros_like());
        for group in dx.axis_chunks_iter(Axis(3), 3) {
            assert!(group.sum().abs() < 1e-4 * group.mapv(f32::abs).sum());
        }
    }

    #[test]
    #[should_panic(expected = "group norm: 4 groups of 6 channels")]
    fn groups_must_divide_channels() {
        GroupNorm::new(6, 4, 1e-6);
    }

    #[test]
    #[should_panic(expected = "group norm of 6 channels on [1, 2, 2, 5]")]
    fn channels_must_agree() {
        layer(6, 2).infer(&Tensor4::zeros((1, 2, 2, 5)));
    }
}
