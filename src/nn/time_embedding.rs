//! How the network is told the time: sinusoids (Vaswani et al. 2017), then a small perceptron.

use super::{Linear, LinearCache, activation};
use crate::params::params;
use crate::tensor::Tensor2;
use ndarray_rand::rand::Rng;

/// `[sin(s ω_0), …, cos(s ω_0), …]` with `ω_k = 10000^{−k/(half − freq_shift)}`, `half = ⌊dim/2⌋`.
///
/// `s = t − 1`: the paper counts `t = 1..=T`, published weights expect 0..T−1, and this is the one place that
/// converts. Ho et al. have `freq_shift = 1` and sines first; `flip_sin_to_cos` puts cosines first. An odd `dim`
/// gets a zero at the end. Returns `[N, dim]`.
///
/// # Panics
/// If a `t` is 0.
#[track_caller]
pub fn sinusoidal_embedding(t: &[usize], dim: usize, flip_sin_to_cos: bool, freq_shift: f32) -> Tensor2 {
    let half = dim / 2;
    let mut out = Tensor2::zeros((t.len(), dim));
    for (mut row, &t) in out.outer_iter_mut().zip(t) {
        assert!(t >= 1, "time embedding: t = {t}, but the paper's t begins at 1");
        for k in 0..half {
            // in f32, exponent and product too: the published networks were trained on these very numbers
            let omega = (-(10_000f32.ln()) * k as f32 / (half as f32 - freq_shift)).exp();
            let angle = (t - 1) as f32 * omega;
            let (first, second) =
                if flip_sin_to_cos { (angle.cos(), angle.sin()) } else { (angle.sin(), angle.cos()) };
            row[k] = first;
            row[half + k] = second;
        }
    }
    out
}

/// `temb = W₂ silu(W₁ sinusoids(t) + b₁) + b₂`.
#[derive(Clone, Debug)]
pub struct TimeEmbedding {
    /// channels → 4 · channels
    pub linear_1: Linear,
    /// 4 · channels → 4 · channels
    pub linear_2: Linear,
}

params!(TimeEmbedding { linear_1, linear_2 });

/// What [`TimeEmbedding::backward`] needs.
#[derive(Debug)]
pub struct TimeEmbeddingCache {
    linear_1: LinearCache,
    hidden: Tensor2,
    linear_2: LinearCache,
}

impl TimeEmbedding {
    /// For sinusoids of `channels` numbers.
    pub fn new(channels: usize, rng: &mut impl Rng) -> TimeEmbedding {
        let width = 4 * channels;
        TimeEmbedding {
            linear_1: Linear::new(channels, width, 1.0, rng),
            linear_2: Linear::new(width, width, 1.0, rng),
        }
    }

    /// Sinusoids `[N, channels]` → embedding `[N, 4 · channels]`.
    pub fn forward(&self, sinusoids: Tensor2) -> (Tensor2, TimeEmbeddingCache) {
        let (hidden, linear_1) = self.linear_1.forward(sinusoids);
        let mut a = hidden.clone();
        activation::silu(a.as_slice_mut().expect("contiguous"));
        let (y, linear_2) = self.linear_2.forward(a);
        (y, TimeEmbeddingCache { linear_1, hidden, linear_2 })
    }

    /// [`forward`](TimeEmbedding::forward) without a cache.
    pub fn infer(&self, sinusoids: &Tensor2) -> Tensor2 {
        let mut hidden = self.linear_1.infer(sinusoids);
        activation::silu(hidden.as_slice_mut().expect("contiguous"));
        self.linear_2.infer(&hidden)
    }

    /// Only parameters have gradients: nothing depends on the sinusoids' own.
    pub fn backward(&self, cache: TimeEmbeddingCache, dy: &Tensor2, grad: &mut TimeEmbedding) {
        let mut da = self.linear_2.backward(cache.linear_2, dy, &mut grad.linear_2);
        let hidden = cache.hidden.as_slice().expect("contiguous");
        activation::silu_backward(hidden, da.as_slice_mut().expect("contiguous"));
        self.linear_1.backward(cache.linear_1, &da, &mut grad.linear_1);
    }
}
