//! Random numbers: one independent, seekable stream per unit of work.
//!
//! No function of the crate creates entropy: each takes an `rng` as its last argument, or a seed, or a
//! [`Noise`](crate::diffusion::Noise), which gives every image and step a stream of its own. A result then depends on
//! the seed alone: not on the number of threads, on how a batch was split, or on an interruption.

use crate::tensor::Batch;
use ndarray::{Array, ShapeBuilder};
use ndarray_rand::RandomExt;
use ndarray_rand::rand::{Rng, SeedableRng};
use ndarray_rand::rand_distr::{Distribution, StandardNormal};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

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

/// What a stream is for. Each domain has 2⁶² streams of its own, so that what is drawn in one never meets what is drawn in
/// another, though both have the same seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// Samples, evaluations and everything else; in the first edition also training, whose runs go on as they began.
    #[default]
    Common = 0,
    /// The draws of a training's steps.
    Training = 1,
}

impl Domain {
    /// The `n`-th random stream of a seed in this domain: [`stream`] of n + 2⁶² · domain.
    ///
    /// ```
    /// use ddpm::rng::{Domain, stream};
    /// assert_eq!(Domain::Common.stream(1, 7), stream(1, 7));
    /// assert_ne!(Domain::Training.stream(1, 7), stream(1, 7));
    /// ```
    pub fn stream(self, seed: u64, n: u64) -> ChaCha8Rng {
        debug_assert!(n < 1 << 62, "the streams of a domain end at 2⁶², found {n}");
        stream(seed, (self as u64) << 62 | n)
    }
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

/// Draws from N(0, 1) for images, each from its own stream: `[rngs.len(), H, W, C]`.
///
/// ```
/// use ddpm::rng::{normal, normal_batch, stream};
/// let batch = normal_batch([2, 2, 1], &mut [stream(1, 0), stream(1, 1)]);
/// assert_eq!(batch.index_axis(ndarray::Axis(0), 1), normal::<f64, _>((2, 2, 1), &mut stream(1, 1)));
/// ```
pub fn normal_batch([h, w, c]: [usize; 3], rngs: &mut [ChaCha8Rng]) -> Batch {
    let mut batch = Batch::zeros((rngs.len(), h, w, c));
    for (mut image, rng) in batch.outer_iter_mut().zip(rngs) {
        image.assign(&normal::<f64, _>((h, w, c), rng));
    }
    batch
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

    /// Images 0 to 3 of a training at its first steps, and the noise of four images at every step of a chain.
    #[test]
    fn domains_do_not_meet() {
        let first = |mut rng: ChaCha8Rng| rng.random::<u64>();
        let training: Vec<u64> = (0..4000).map(|n| first(Domain::Training.stream(1, n))).collect();
        let noise = (0..4u64).flat_map(|image| (0..=1000).map(move |t| image << 32 | t));
        let noise: std::collections::HashSet<u64> =
            noise.map(|n| first(Domain::Common.stream(1, n))).collect();
        assert!(training.iter().all(|draw| !noise.contains(draw)));
        assert!((0..4000).any(|n| noise.contains(&first(stream(1, n)))), "they would, without domains");
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
