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
    ///
    /// # Shapes
    /// `x` and the result `[N, H, W, C]`, `rngs` N streams.
    ///
    /// ```
    /// use ddpm::{nn::Dropout, rng::stream, tensor::Tensor4};
    /// let (y, _) = Dropout { rate: 0.5 }.forward(Tensor4::ones((1, 9, 9, 8)), &mut [stream(1, 0)]);
    /// assert!(y.iter().all(|&v| v == 0.0 || v == 2.0)); // kept ones make up for the others
    /// assert!((y.mean().unwrap() - 1.0).abs() < 0.1);
    /// ```
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
    ///
    /// # Shapes
    /// `dy` and `dx` `[N, H, W, C]`.
    ///
    /// ```
    /// use ddpm::{nn::Dropout, rng::stream, tensor::Tensor4};
    /// let (layer, ones) = (Dropout { rate: 0.5 }, Tensor4::ones((1, 4, 4, 2)));
    /// let (y, cache) = layer.forward(ones.clone(), &mut [stream(1, 0)]);
    /// assert_eq!(layer.backward(cache, ones), y); // the same factors
    /// ```
    pub fn backward(&self, cache: DropoutCache, mut dy: Tensor4) -> Tensor4 {
        if let Some(factors) = cache.factors {
            Zip::from(&mut dy).and(&factors).for_each(|dy, f| *dy *= f);
        }
        dy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{normal, stream};
    use ndarray::s;

    fn streams(n: u64) -> Vec<ChaCha8Rng> {
        (0..n).map(|i| stream(5, i)).collect()
    }

    #[test]
    fn rate_zero_is_the_identity_and_draws_nothing() {
        let x: Tensor4 = normal((2, 3, 3, 4), &mut stream(1, 0));
        let layer = Dropout { rate: 0.0 };
        let (y, cache) = layer.forward(x.clone(), &mut []);
        assert_eq!(y, x);
        assert_eq!(layer.backward(cache, x.clone()), x);
    }

    #[test]
    fn survivors_are_scaled_so_that_the_mean_stays() {
        for rate in [0.1f32, 0.5, 0.9] {
            let (y, _) = Dropout { rate }.forward(Tensor4::ones((4, 32, 32, 16)), &mut streams(4));
            assert!(y.iter().all(|&v| v == 0.0 || v == 1.0 / (1.0 - rate)));
            // 65536 Bernoulli draws: five standard errors of the mean
            let deviation = (rate / (1.0 - rate)).sqrt() / 256.0;
            let mean = y.mean().unwrap();
            assert!((mean - 1.0).abs() < 5.0 * deviation, "rate {rate}: mean {mean}");
        }
    }

    #[test]
    fn a_batch_may_be_split_anywhere() {
        let x: Tensor4 = normal((5, 3, 3, 4), &mut stream(1, 0));
        let layer = Dropout { rate: 0.5 };
        let (whole, _) = layer.forward(x.clone(), &mut streams(5));
        let (left, _) = layer.forward(x.slice(s![..2, .., .., ..]).to_owned(), &mut streams(5)[..2]);
        let (right, _) = layer.forward(x.slice(s![2.., .., .., ..]).to_owned(), &mut streams(5)[2..]);
        assert_eq!(whole, ndarray::concatenate![Axis(0), left, right]);
    }

    /// The same mask on the way back: the gradient of ⟨y, g⟩ is what becomes of g.
    #[test]
    fn backward_has_the_mask_of_forward() {
        let (x, g): (Tensor4, Tensor4) =
            (normal((2, 3, 3, 4), &mut stream(1, 0)), normal((2, 3, 3, 4), &mut stream(2, 0)));
        let layer = Dropout { rate: 0.5 }; // a factor of 2 is exact
        let (y, cache) = layer.forward(x.clone(), &mut streams(2));
        let dx = layer.backward(cache, g.clone());
        assert!(y.iter().any(|&v| v == 0.0), "something is dropped");
        assert_eq!(&dx * &x, &y * &g, "both are x g f");
    }

    #[test]
    #[should_panic(expected = "dropout: 1 streams for [2, 1, 1, 1]")]
    fn every_image_needs_a_stream() {
        Dropout { rate: 0.5 }.forward(Tensor4::zeros((2, 1, 1, 1)), &mut streams(1));
    }
}
