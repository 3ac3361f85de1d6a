//! Dropout (Srivastava et al. 2014), inverted: what survives is scaled up, so nothing changes at inference.

use crate::tensor::Tensor4;
use ndarray::{Axis, Zip};
use ndarray_rand::rand::Rng;
use rand_chacha::ChaCha8Rng;

/// `y = x ∘ m / (1 − rate)` with `m ~ Bernoulli(1 − rate)`.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// the probability that an activation is set to 0
    pub rate: f32,
}

/// What [`Dropout::backward`] needs: the factors `m / (1 − rate)`, or nothing when the rate is 0.
#[derive(Debug)]
pub struct DropoutCache {
    factors: Option<Tensor4>,
}

impl Dropout {
    /// Drops activations of `x [N, H, W, C]`; image `i` draws from `rngs[i]`, so a batch may be split anywhere.
    ///
    /// # Panics
    /// If the rate is above 0 and there are fewer streams than images.
    #[track_caller]
    pub fn forward(&self, mut x: Tensor4, rngs: &mut [ChaCha8Rng]) -> (Tensor4, DropoutCache) {
        if self.rate == 0.0 {
            return (x, DropoutCache { factors: None });
        }
        assert!(rngs.len() >= x.len_of(Axis(0)), "dropout: {} streams for {:?}", rngs.len(), x.shape());
        let mut factors = Tensor4::zeros(x.raw_dim());
        let keep = 1.0 / (1.0 - self.rate);
        for (mut image, rng) in factors.outer_iter_mut().zip(rngs) {
            image.mapv_inplace(|_| if rng.random::<f32>() < self.rate { 0.0 } else { keep });
        }
        x *= &factors;
        (x, DropoutCache { factors: Some(factors) })
    }

    /// From `y = x ∘ f`:  `dx = dy ∘ f`.
    pub fn backward(&self, cache: DropoutCache, mut dy: Tensor4) -> Tensor4 {
        if let Some(factors) = cache.factors {
            Zip::from(&mut dy).and(&factors).for_each(|dy, f| *dy *= f);
        }
        dy
    }
}
