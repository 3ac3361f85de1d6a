//! How the network is told the time: sinusoids (Vaswani et al. 2017), then a small perceptron.

use super::{Linear, LinearCache, activation};
use crate::params::params;
use crate::tensor::{Contiguous, Tensor2};
use ndarray_rand::rand::Rng;

/// `[sin(s ω_0), …, cos(s ω_0), …]` with `ω_k = 10000^{−k/(half − freq_shift)}`, `half = ⌊dim/2⌋`.
///
/// `s = t − 1`: the paper counts `t = 1..=T`, published weights expect 0..T−1, and this is the one place that
/// converts. Ho et al. have `freq_shift = 1` and sines first; `flip_sin_to_cos` puts cosines first. An odd `dim`
/// gets a zero at the end. Returns `[N, dim]`.
///
/// # Panics
/// If a `t` is 0.
///
/// # Shapes
/// `t` N steps; returns `[N, dim]`.
///
/// ```
/// let e = ddpm::nn::sinusoidal_embedding(&[1, 1000], 8, false, 1.0);
/// assert_eq!(e.row(0).to_vec(), [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]); // sines and cosines of t − 1, as in the official code
/// ```
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
    ///
    /// ```
    /// use ddpm::nn::{TimeEmbedding, sinusoidal_embedding};
    /// use ddpm::rng::stream;
    /// let layer = TimeEmbedding::new(8, &mut stream(1, 0));
    /// let sinusoids = sinusoidal_embedding(&[1, 500], 8, false, 1.0);
    /// assert_ne!(layer.infer(&sinusoids).row(0), layer.infer(&sinusoids).row(1));
    /// ```
    pub fn new(channels: usize, rng: &mut impl Rng) -> TimeEmbedding {
        let width = 4 * channels;
        TimeEmbedding {
            linear_1: Linear::new(channels, width, 1.0, rng),
            linear_2: Linear::new(width, width, 1.0, rng),
        }
    }

    /// Sinusoids `[N, channels]` → embedding `[N, 4 · channels]`.
    ///
    /// ```
    /// use ddpm::nn::{TimeEmbedding, sinusoidal_embedding};
    /// use ddpm::rng::stream;
    /// let layer = TimeEmbedding::new(8, &mut stream(1, 0));
    /// let sinusoids = sinusoidal_embedding(&[1, 500], 8, false, 1.0);
    /// assert_eq!(layer.forward(sinusoids.clone()).0, layer.infer(&sinusoids));
    /// ```
    pub fn forward(&self, sinusoids: Tensor2) -> (Tensor2, TimeEmbeddingCache) {
        let (hidden, linear_1) = self.linear_1.forward(sinusoids);
        let mut a = hidden.clone();
        activation::silu(a.numbers_mut());
        let (y, linear_2) = self.linear_2.forward(a);
        (y, TimeEmbeddingCache { linear_1, hidden, linear_2 })
    }

    /// [`forward`](TimeEmbedding::forward) without a cache.
    ///
    /// # Shapes
    /// `[N, channels]` → `[N, 4 · channels]`.
    ///
    /// ```
    /// use ddpm::nn::{TimeEmbedding, sinusoidal_embedding};
    /// use ddpm::rng::stream;
    /// let layer = TimeEmbedding::new(8, &mut stream(1, 0));
    /// let sinusoids = sinusoidal_embedding(&[1, 500], 8, false, 1.0);
    /// assert_eq!(layer.infer(&sinusoids).dim(), (2, 32));
    /// ```
    pub fn infer(&self, sinusoids: &Tensor2) -> Tensor2 {
        let mut hidden = self.linear_1.infer(sinusoids);
        activation::silu(hidden.numbers_mut());
        self.linear_2.infer(&hidden)
    }

    /// Only parameters have gradients: nothing depends on the sinusoids' own.
    ///
    /// # Shapes
    /// `dy` `[N, 4 · channels]`.
    ///
    /// ```
    /// use ddpm::params::Params;
    /// use ddpm::nn::{TimeEmbedding, sinusoidal_embedding};
    /// use ddpm::rng::stream;
    /// let layer = TimeEmbedding::new(8, &mut stream(1, 0));
    /// let sinusoids = sinusoidal_embedding(&[1, 500], 8, false, 1.0);
    /// let (y, cache) = layer.forward(sinusoids);
    /// let mut grad = layer.zeros_like();
    /// layer.backward(cache, &y, &mut grad);
    /// assert!(grad.slices().iter().all(|g| g.iter().any(|&g| g != 0.0)));
    /// ```
    pub fn backward(&self, cache: TimeEmbeddingCache, dy: &Tensor2, grad: &mut TimeEmbedding) {
        let mut da = self.linear_2.backward(cache.linear_2, dy, &mut grad.linear_2);
        let hidden = cache.hidden.numbers();
        activation::silu_backward(hidden, da.numbers_mut());
        self.linear_1.backward(cache.linear_1, &da, &mut grad.linear_1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::gradient_check::{check_params, inner, shaken};
    use super::*;
    use crate::params::Params;
    use crate::rng::{normal, stream};
    use ndarray::s;

    #[test]
    fn sinusoids_are_the_formula() {
        // dim 8: half 4, exponents 0, −1/3, −2/3, −1 of 10000 with freq_shift 1, quarters with freq_shift 0
        for (freq_shift, denominator) in [(1.0, 3.0f64), (0.0, 4.0)] {
            let e = sinusoidal_embedding(&[1, 2, 1000], 8, false, freq_shift);
            for (row, s) in [0.0, 1.0, 999.0].into_iter().enumerate() {
                for k in 0..4 {
                    let angle = s * 10_000f64.powf(-(k as f64) / denominator);
                    // an f32 angle of 999 is exact to 3e-5
                    let tolerance = 1e-6 + 2e-7 * s;
                    assert!((e[[row, k]] as f64 - angle.sin()).abs() < tolerance);
                    assert!((e[[row, 4 + k]] as f64 - angle.cos()).abs() < tolerance);
                }
            }
        }
    }

    /// The network is fed t − 1: the first step is all sines of 0, cosines of 0.
    #[test]
    fn the_first_step_is_time_zero() {
        let e = sinusoidal_embedding(&[1], 6, false, 1.0);
        assert_eq!(e.as_slice().unwrap(), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn flipping_exchanges_the_halves_and_an_odd_size_ends_in_zero() {
        let (a, b) =
            (sinusoidal_embedding(&[5, 77], 9, false, 1.0), sinusoidal_embedding(&[5, 77], 9, true, 1.0));
        assert_eq!(a.slice(s![.., ..4]), b.slice(s![.., 4..8]));
        assert_eq!(a.slice(s![.., 4..8]), b.slice(s![.., ..4]));
        assert_eq!((a[[0, 8]], a[[1, 8]], b[[1, 8]]), (0.0, 0.0, 0.0));
    }

    #[test]
    fn gradients_of_the_perceptron() {
        let layer = shaken(TimeEmbedding::new(6, &mut stream(1, 0)), 0.1);
        let x = sinusoidal_embedding(&[1, 30, 1000], 6, false, 1.0);
        let (y, cache) = layer.forward(x.clone());
        assert_eq!(y, layer.infer(&x));
        assert_eq!(y.dim(), (3, 24));
        let g: Tensor2 = normal(y.raw_dim(), &mut stream(2, 0));
        let mut grad = layer.zeros_like();
        layer.backward(cache, &g, &mut grad);
        check_params("time embedding", &layer, &grad, &[], |layer| inner(&layer.infer(&x), &g));
    }

    #[test]
    #[should_panic(expected = "time embedding: t = 0, but the paper's t begins at 1")]
    fn time_begins_at_one() {
        sinusoidal_embedding(&[3, 0], 8, false, 1.0);
    }
}
