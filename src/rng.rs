//! Random numbers: one independent, seekable stream per unit of work.
//!
//! No function of the crate creates entropy: each takes an `rng` as its last argument, or a seed, or a
//! [`Noise`](crate::diffusion::Noise), which gives every image and step a stream of its own. A result then depends on
//! the seed alone: not on the number of threads, on how a batch was split, or on an interruption.

use ndarray::{Array, ShapeBuilder};
use ndarray_rand::RandomExt;
use ndarray_rand::rand::{Rng, SeedableRng};
use ndarray_rand::rand_distr::{Distribution, StandardNormal};
use rand_chacha::ChaCha8Rng;

/// The `n`-th random stream of a seed: ChaCha8 with the counter's high word set to `n`.
///
/// ```
/// use ddpm::rng::stream;
/// use ndarray_rand::rand::Rng;
/// assert_eq!(stream(1, 7).random::<u64>(), stream(1, 7).random::<u64>());
/// assert_ne!(stream(1, 7).random::<u64>(), stream(1, 8).random::<u64>());
/// ```
pub fn stream(seed: u64, n: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(n);
    rng
}

/// An array of independent draws from N(0, 1).
///
/// ```
/// use ddpm::rng::{normal, stream};
/// let eps: ddpm::tensor::Batch = normal((2, 8, 8, 1), &mut stream(0, 0));
/// assert_eq!(eps.shape(), [2, 8, 8, 1]);
/// ```
pub fn normal<A, Sh>(shape: Sh, rng: &mut impl Rng) -> Array<A, Sh::Dim>
where
    Sh: ShapeBuilder,
    StandardNormal: Distribution<A>,
{
    Array::random_using(shape, StandardNormal, rng)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_draws_have_the_stated_moments() {
        let z = normal::<f64, _>(100_000, &mut stream(3, 0));
        let mean = z.mean().unwrap();
        let var = z.mapv(|v| v * v).mean().unwrap() - mean * mean;
        assert!(mean.abs() < 0.015 && (var - 1.0).abs() < 0.02, "mean {mean}, variance {var}");
    }

    /// The stream is part of the crate's results: figures and trained weights depend on it.
    #[test]
    fn the_stream_is_stable() {
        let mut rng = stream(20200619, 1);
        assert_eq!([rng.random::<u64>(), rng.random()], [12409522206369725418, 1060130836660912008]);
        let z = normal::<f64, _>(3, &mut stream(20200619, 1));
        assert_eq!(z, ndarray::array![0.24637425816206654, -1.3111231781251307, 1.0374010840532972]);
    }
}
