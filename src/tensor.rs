//! Tensors: names for ndarray's arrays, and nothing more.
//!
//! Images are `[N, H, W, C]`, channels last: every pixel is a row of channels, so a linear layer, a 1×1
//! convolution and a 3×3 convolution are all "rows times a matrix".
//!
//! The network computes in `f32` ([`Tensor4`]); the mathematics of the paper, where sums of a thousand terms
//! must add up, in `f64` ([`Batch`]). Casts stand where the two meet: where a network becomes a
//! [`Denoiser`](crate::diffusion::Denoiser), and in a step of [training](crate::train).

use ndarray::{Array1, Array2, Array3, Array4};

/// A vector of `f32`.
pub type Tensor1 = Array1<f32>;
/// A matrix of `f32`.
pub type Tensor2 = Array2<f32>;
/// Three axes of `f32`, such as `[heads, rows, columns]`.
pub type Tensor3 = Array3<f32>;
/// Four axes of `f32`: activations `[N, H, W, C]`, convolution weights `[kh, kw, in, out]`.
pub type Tensor4 = Array4<f32>;
/// A batch of images in `f64`, `[N, H, W, C]`, pixels in [−1, 1]: what [`diffusion`](crate::diffusion) works on.
pub type Batch = Array4<f64>;
