//! Layers, each with its backward pass written by hand below its forward pass.
//!
//! # The contract of a layer
//!
//! A layer is a struct of parameters. It has
//!
//! - `forward(&self, x) -> (y, Cache)`: the output, and the least that backward needs;
//! - `backward(&self, cache, dy, grad: &mut Self) -> dx`: given `dy = ∂L/∂y`, adds `∂L/∂parameter` to `grad`,
//!   a value of the layer's own type, and returns `dx = ∂L/∂x`;
//! - `infer(&self, x) -> y`: the same output without a cache.
//!
//! Large arrays are moved in where a layer can keep or overwrite them: `forward` moves `x` into its cache, and
//! a `dy` that is taken by value is used up, as the memory of `dx` if the shapes agree. What a layer has used up it gives
//! to [`recycle`](crate::tensor::recycle), and the next tensor of that size is made of it.
//!
//! There is no graph and no trait: a network's backward calls its layers' backward in the opposite order, in
//! plain sight. Whatever one value feeds twice (a residual sum, a skip connection) gets two gradients, and they
//! add.
//!
//! # The layers
//!
//! | layer | forward | what backward keeps |
//! |---|---|---|
//! | [`Linear`] | y = x W + b | x |
//! | [`Conv2d`] | y = b + Σ over taps of shifted x times w | x |
//! | [`GroupNorm`] | y = γ (x − μ)/√(v + ε) + β, alone or with SiLU | x, μ, 1/√(v + ε) |
//! | [`Attention`] | y = x + softmax(q kᵀ/√d) v W_o + b_o | its layers', q, k, v, the softmax |
//! | [`Dropout`] | y = x m/(1 − rate) | m/(1 − rate) |
//! | [`Downsample`], [`Upsample`] | half and double resolution | x |
//! | [`TimeEmbedding`] | W₂ silu(W₁ sinusoids(t) + b₁) + b₂ | the two layers' |
//! | [`ClassEmbedding`] | `E[c]`, a row of a table | c |
//! | [`ResnetBlock`] | y = shortcut(x) + Conv₂(silu(GN₂(Conv₁(silu(GN₁(x))) + time))) | its layers' |
//! | [`DownBlock`], [`MidBlock`], [`UpBlock`] | residual blocks, attention, half or double resolution | its layers' |
//!
//! # One worked example
//!
//! For `y = x W + b` the chain rule says `dW = xᵀ dy`, `db = Σ dy`, `dx = dy Wᵀ`:
//!
//! ```
//! use ddpm::nn::Linear;
//! use ddpm::params::Params;
//! use ndarray::array;
//!
//! let layer = Linear { weight: array![[2.0], [3.0]], bias: array![1.0] };
//! let (y, cache) = layer.forward(array![[10.0, 100.0]]);
//! assert_eq!(y, array![[321.0]]);
//!
//! let mut grad = layer.zeros_like();
//! let dx = layer.backward(cache, &array![[1.0]], &mut grad);
//! assert_eq!(grad.weight, array![[10.0], [100.0]]);
//! assert_eq!(grad.bias, array![1.0]);
//! assert_eq!(dx, array![[2.0, 3.0]]);
//! ```

pub mod activation;
mod attention;
pub(crate) mod blocks;
mod class_embedding;
mod conv2d;
mod dropout;
pub mod gradient_check;
mod group_norm;
mod lanes;
mod linear;
mod resample;
mod resnet_block;
mod time_embedding;

pub use attention::{Attention, AttentionCache};
pub use blocks::{
    BlockOptions, DownBlock, DownBlockCache, MidBlock, MidBlockCache, Skips, UpBlock, UpBlockCache,
};
pub use class_embedding::ClassEmbedding;
pub use conv2d::{Conv2d, Conv2dCache};
pub use dropout::{Dropout, DropoutCache};
pub use group_norm::{GroupNorm, GroupNormCache};
pub use linear::{Linear, LinearCache};
pub use resample::{Downsample, Upsample, UpsampleCache, nearest_upsample, nearest_upsample_backward};
pub use resnet_block::{ResnetBlock, ResnetBlockCache};
pub use time_embedding::{TimeEmbedding, TimeEmbeddingCache, sinusoidal_embedding};

use ndarray::{Array, Dimension, ShapeBuilder};
use ndarray_rand::RandomExt;
use ndarray_rand::rand::Rng;
use ndarray_rand::rand_distr::Uniform;

/// The scale of a layer that starts as (nearly) nothing, so that every residual block starts as the identity.
pub const NEARLY_ZERO: f32 = 1e-10;

/// Uniform weights in `±√(6·scale / (fan_in + fan_out))`: variance scaling over the average fan, as in Ho's code.
///
/// `scale` is 1, or [`NEARLY_ZERO`] for the last layer of a residual branch.
///
/// ```
/// use ddpm::{nn::variance_scaling, rng::stream, tensor::Tensor2};
/// let w: Tensor2 = variance_scaling((100, 200), 100, 200, 1.0, &mut stream(1, 0));
/// assert!((w.std(0.0) - (2.0f32 / 300.0).sqrt()).abs() < 2e-3); // of a uniform law: width/√12
/// ```
pub fn variance_scaling<D: Dimension>(
    shape: impl ShapeBuilder<Dim = D>,
    fan_in: usize,
    fan_out: usize,
    scale: f32,
    rng: &mut impl Rng,
) -> Array<f32, D> {
    let bound = (6.0 * scale / (fan_in + fan_out) as f32).sqrt();
    Array::random_using(shape, Uniform::new_inclusive(-bound, bound).expect("a finite interval"), rng)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;
    use crate::tensor::Tensor2;

    #[test]
    fn weights_fill_their_interval_evenly() {
        let w: Tensor2 = variance_scaling((200, 100), 200, 100, 1.0, &mut stream(1, 0));
        let bound = (6.0f32 / 300.0).sqrt();
        assert!(w.iter().all(|w| w.abs() <= bound) && w.iter().any(|w| w.abs() > 0.999 * bound));
        // Var U(−b, b) = b²/3 = 2 / (fan_in + fan_out)
        let variance = w.mapv(|w| w * w).mean().unwrap();
        assert!((variance * 150.0 - 1.0).abs() < 0.03 && w.mean().unwrap().abs() < 0.01, "{variance}");
        let nothing: Tensor2 = variance_scaling((200, 100), 200, 100, NEARLY_ZERO, &mut stream(1, 0));
        assert!(nothing.iter().all(|w| w.abs() <= 1e-5 * bound) && nothing.iter().any(|&w| w != 0.0));
    }
}
