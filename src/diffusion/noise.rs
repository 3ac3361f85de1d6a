//! Where noise comes from: one stream per image and step, or numbers given from outside.

use crate::rng::{normal, stream};
use crate::tensor::Batch;
use ndarray::Array3;
use rand_chacha::ChaCha8Rng;
use std::fmt;

/// The noise ε or z of every image and every step, N(0, I).
///
/// Each pair (image, t) has a stream of its own, so an image's noise does not depend on how many images stand
/// beside it, on the order of evaluation, on threads, or on an interruption.
///
/// ```
/// use ddpm::diffusion::Noise;
/// let noise = Noise::seed(7);
/// let two = noise.batch([2, 4, 4, 1], &[10, 10]);
/// let second = noise.clone().first_image(1).batch([1, 4, 4, 1], &[10]);
/// assert_eq!(two.slice(ndarray::s![1.., .., .., ..]), second);
/// ```
#[derive(Clone)]
pub struct Noise<'a> {
    source: Source<'a>,
    first: usize,
}

/// From (image, t) to `[H, W, C]`.
type Given<'a> = &'a (dyn Fn(usize, usize) -> Array3<f64> + Sync);

#[derive(Clone)]
enum Source<'a> {
    Seed(u64),
    Given(Given<'a>),
}

impl<'a> Noise<'a> {
    /// Noise from the streams of `seed`.
    ///
    /// ```
    /// use ddpm::diffusion::Noise;
    /// assert_eq!(Noise::seed(1).batch([1, 2, 2, 1], &[5]), Noise::seed(1).batch([1, 2, 2, 1], &[5]));
    /// assert_ne!(Noise::seed(1).batch([1, 2, 2, 1], &[5]), Noise::seed(1).batch([1, 2, 2, 1], &[6]));
    /// ```
    pub fn seed(seed: u64) -> Noise<'static> {
        Noise { source: Source::Seed(seed), first: 0 }
    }

    /// Noise that is given: `f(image, t)` returns `[H, W, C]`. For tests against recorded trajectories.
    ///
    /// ```
    /// use ddpm::diffusion::Noise;
    /// use ndarray::Array3;
    /// let counted = |image: usize, t: usize| Array3::from_elem((1, 1, 1), (10 * image + t) as f64);
    /// assert_eq!(Noise::given(&counted).batch([2, 1, 1, 1], &[3, 4])[[1, 0, 0, 0]], 14.0);
    /// ```
    pub fn given(f: Given<'a>) -> Noise<'a> {
        Noise { source: Source::Given(f), first: 0 }
    }

    /// The same noise for a batch whose first image is number `first`: how a large job is split into batches.
    ///
    /// ```
    /// use ddpm::diffusion::Noise;
    /// let noise = |first| Noise::seed(1).first_image(first);
    /// assert_eq!(noise(0).image(7, 5, [2, 2, 1]), noise(7).image(0, 5, [2, 2, 1]));
    /// ```
    pub fn first_image(self, first: usize) -> Noise<'a> {
        Noise { first, ..self }
    }

    /// The number of the batch's image `n`.
    pub(super) fn number(&self, n: usize) -> usize {
        self.first + n
    }

    /// The noise of image `n` of the batch at step t: `[H, W, C]`.
    ///
    /// # Panics
    /// When noise is given and its shape is not `shape`.
    ///
    /// ```
    /// use ddpm::diffusion::Noise;
    /// assert_eq!(Noise::seed(1).image(0, 5, [4, 3, 2]).dim(), (4, 3, 2));
    /// ```
    #[track_caller]
    pub fn image(&self, n: usize, t: usize, shape: [usize; 3]) -> Array3<f64> {
        let n = self.number(n);
        match self.source {
            Source::Seed(seed) => normal(shape, &mut image_stream(seed, n, t)),
            Source::Given(f) => {
                let eps = f(n, t);
                assert_eq!(eps.shape(), shape, "noise: the given shape and the image's must be equal");
                eps
            }
        }
    }

    /// The noise of a batch with one t per image: `[N, H, W, C]`.
    ///
    /// # Panics
    /// When `t` has not N entries.
    ///
    /// ```
    /// use ddpm::diffusion::Noise;
    /// let batch = Noise::seed(1).batch([2, 4, 3, 1], &[5, 9]);
    /// assert_eq!(batch.index_axis(ndarray::Axis(0), 1), Noise::seed(1).image(1, 9, [4, 3, 1]));
    /// ```
    #[track_caller]
    pub fn batch(&self, shape: [usize; 4], t: &[usize]) -> Batch {
        let [n, h, w, c] = shape;
        assert_eq!(t.len(), n, "noise: one t per image: {} t for a batch {shape:?}", t.len());
        self.pairs([h, w, c], (0..n).zip(t.iter().copied()))
    }

    /// The noise of any (image, t) pairs: one `[H, W, C]` each, stacked.
    pub(super) fn pairs(
        &self,
        [h, w, c]: [usize; 3],
        pairs: impl ExactSizeIterator<Item = (usize, usize)>,
    ) -> Batch {
        let mut eps = Batch::zeros((pairs.len(), h, w, c));
        for (mut eps, (n, t)) in eps.outer_iter_mut().zip(pairs) {
            eps.assign(&self.image(n, t, [h, w, c]));
        }
        eps
    }
}

impl fmt::Debug for Noise<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Source::Seed(seed) => write!(f, "Noise::seed({seed}), first image {}", self.first),
            Source::Given(_) => write!(f, "Noise::given, first image {}", self.first),
        }
    }
}

/// The stream of image `n` at step t. Step 0 does not draw noise, so its stream is free for what an image needs
/// once: x_T of a sample, the t's of an estimate.
pub(super) fn image_stream(seed: u64, n: usize, t: usize) -> ChaCha8Rng {
    stream(seed, ((n as u64) << 32) | t as u64) // 2³² images, 2³² steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_steps_have_streams_of_their_own() {
        let eps = Noise::seed(1).batch([2, 2, 2, 1], &[1, 2]);
        let swapped = Noise::seed(1).batch([2, 2, 2, 1], &[2, 1]);
        let all: Vec<f64> = eps.iter().chain(&swapped).copied().collect();
        assert!(all.iter().enumerate().all(|(i, a)| all[..i].iter().all(|b| a != b)));
    }

    #[test]
    #[should_panic(expected = "noise: one t per image: 1 t for a batch [2, 2, 2, 1]")]
    fn one_t_for_two_images() {
        Noise::seed(1).batch([2, 2, 2, 1], &[1]);
    }

    #[test]
    #[should_panic(expected = "noise: the given shape and the image's must be equal")]
    fn given_noise_of_another_shape() {
        Noise::given(&|_, _| Array3::zeros((1, 1, 1))).batch([1, 2, 2, 1], &[1]);
    }
}
