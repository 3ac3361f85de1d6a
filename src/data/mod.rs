//! Data: Fashion-MNIST, a folder of pictures, toy 2-D sets.
//!
//! | source | function | kind |
//! |---|---|---|
//! | Fashion-MNIST, shipped test set | [`fashion_mnist_test`] | [`Images`] `[10000, 28, 28, 1]` |
//! | Fashion-MNIST, from a folder | [`fashion_mnist`] | [`Images`] |
//! | any IDX file of images or labels | [`idx::read_images`], [`idx::read_labels`] | bytes `[N, H, W, 1]`, `N` labels |
//! | twenty-two paintings, shipped | [`paintings`], [`whole_paintings`] | [`Dataset`] of random crops, of whole pictures |
//! | any folder of JPEG, PNG, WebP | [`load_folder`] | [`Dataset`] of random crops |
//! | swirl, moons, two Gaussians, dinosaur | [`toy`] | points `[n, 2]` |
//!
//! [`Images`] are whole and numbered, for evaluation; a [`Dataset`] is drawn from at random, for training.
//! [`Dataset::from_images`] and [`Dataset::fixed`] lead from one to the other.
//!
//! Files hold 8-bit pixels; the paper works on [−1, 1] (its section 3.3). [`to_unit`] and [`to_u8`] are the only two
//! places where one becomes the other.

mod dataset;
mod examples;
pub mod folder;
pub mod idx;
mod masks;
mod series;
mod shipped;
pub mod toy;

pub use dataset::{Dataset, Example};
pub use examples::{Drawn, Examples};
pub use folder::{FolderOptions, Framing, LoadReport, Reason, Skipped, load_folder, load_folder_watched};
pub use idx::{Split, fashion_mnist};
pub use masks::{MaskKind, forecast_condition, random_condition};
pub use series::{Scale, Series, Windows};
pub use shipped::{
    EXCERPT_EVERY, FASHION_MNIST_CLASSES, fashion_mnist_excerpt, fashion_mnist_test, paintings,
    seattle_weather, whole_paintings,
};

use crate::tensor::Batch;
use ndarray::{Array4, ArrayRef, Axis, Dimension, concatenate, s};

/// 8-bit images of one size, with their labels if they have any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Grey levels or RGB, `[N, H, W, C]`.
    pub pixels: Array4<u8>,
    /// One class per image, `N` of them.
    pub labels: Option<Vec<u8>>,
    /// Where the images come from, for logs and tables.
    pub name: String,
}

impl Images {
    /// Images with their labels.
    ///
    /// # Panics
    /// If there are labels, but not one per image.
    #[track_caller]
    pub fn new(name: impl Into<String>, pixels: Array4<u8>, labels: Option<Vec<u8>>) -> Self {
        if let Some(labels) = &labels {
            let (images, labels) = (pixels.len_of(Axis(0)), labels.len());
            assert_eq!(images, labels, "Images::new: {images} images, {labels} labels");
        }
        Images { pixels, labels, name: name.into() }
    }

    /// The number of images, N.
    pub fn len(&self) -> usize {
        self.pixels.len_of(Axis(0))
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Height, width, channels.
    pub fn shape(&self) -> [usize; 3] {
        let (_, h, w, c) = self.pixels.dim();
        [h, w, c]
    }

    /// The images at `indices`, in that order.
    ///
    /// # Panics
    /// If an index is out of bounds.
    #[track_caller]
    pub fn select(&self, indices: &[usize]) -> Images {
        let labels = self.labels.as_ref().map(|labels| indices.iter().map(|&i| labels[i]).collect());
        Images { pixels: self.pixels.select(Axis(0), indices), labels, name: self.name.clone() }
    }

    /// The first `n` images.
    ///
    /// # Panics
    /// If there are fewer.
    #[track_caller]
    pub fn first(&self, n: usize) -> Images {
        self.select(&(0..n).collect::<Vec<_>>())
    }

    /// The images at `indices` in [−1, 1], `[indices.len(), H, W, C]`.
    ///
    /// ```
    /// let images = ddpm::data::fashion_mnist_test();
    /// assert_eq!(images.batch(&[3, 1, 4]).shape(), [3, 28, 28, 1]);
    /// ```
    #[track_caller]
    pub fn batch(&self, indices: &[usize]) -> Batch {
        to_unit(&self.pixels.select(Axis(0), indices))
    }
}

/// 8-bit pixels to [−1, 1]: x / 127.5 − 1, the paper's section 3.3.
///
/// ```
/// use ndarray::{Array4, array};
/// let pixels = Array4::from_shape_vec((1, 1, 2, 1), vec![0, 255]).unwrap();
/// assert_eq!(ddpm::data::to_unit(&pixels).into_raw_vec_and_offset().0, [-1.0, 1.0]);
/// ```
pub fn to_unit<D: Dimension>(pixels: &ArrayRef<u8, D>) -> ndarray::Array<f64, D> {
    pixels.mapv(|level| f64::from(level) / 127.5 - 1.0)
}

/// [−1, 1] to 8-bit pixels: clamped, then rounded to the nearest of the 256 levels.
///
/// Ho's code truncates here, which darkens a sample by half a level; diffusers rounds, and so do we. NaN becomes 0.
pub fn to_u8<D: Dimension>(x: &ArrayRef<f64, D>) -> ndarray::Array<u8, D> {
    // `as` is the cast that saturates and sends NaN to 0
    x.mapv(|v| ((v + 1.0) * 127.5).round() as u8)
}

/// Every image mirrored left to right, `[N, H, W, C]`.
pub fn flip_horizontal<A: Clone>(images: &ArrayRef<A, ndarray::Ix4>) -> Array4<A> {
    images.slice(s![.., .., ..;-1, ..]).to_owned()
}

/// The images, then all of them mirrored: training mirrors at random, so that a mirrored copy is a copy.
pub fn with_mirrored<A: Clone>(images: &ArrayRef<A, ndarray::Ix4>) -> Array4<A> {
    concatenate![Axis(0), images.view(), flip_horizontal(images).view()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, array};

    fn three() -> Images {
        let pixels = Array4::from_shape_fn((3, 2, 4, 1), |(n, y, x, _)| (100 * n + 10 * y + x) as u8);
        Images::new("three", pixels, Some(vec![7, 8, 9]))
    }

    #[test]
    fn every_level_survives_the_round_trip() {
        let levels: Array1<u8> = (0..=255).collect();
        let unit = to_unit(&levels);
        assert_eq!((unit[0], unit[255]), (-1.0, 1.0));
        assert_eq!(to_u8(&unit), levels);
    }

    #[test]
    fn to_u8_clamps_and_rounds() {
        let half = 1.0 / 127.5;
        let x = array![-7.0, 7.0, -1.0 + 0.49 * half, -1.0 + 0.51 * half, f64::NAN, f64::INFINITY];
        assert_eq!(to_u8(&x), array![0, 255, 0, 1, 0, 255]);
    }

    #[test]
    fn flipping_twice_is_the_identity() {
        let images = three();
        let once = flip_horizontal(&images.pixels);
        assert_ne!(once, images.pixels);
        assert_eq!(once[[0, 1, 0, 0]], images.pixels[[0, 1, 3, 0]]);
        assert_eq!(flip_horizontal(&once), images.pixels);
    }

    #[test]
    fn selection_keeps_images_and_labels_together() {
        let two = three().select(&[2, 0]);
        assert_eq!(two.labels, Some(vec![9, 7]));
        assert_eq!(two.pixels[[0, 0, 0, 0]], 200);
        assert_eq!(two.len(), 2);
        assert_eq!(two.batch(&[1]), to_unit(&three().select(&[0]).pixels));
    }

    #[test]
    #[should_panic(expected = "3 images, 2 labels")]
    fn a_label_too_few_panics() {
        Images::new("x", Array4::zeros((3, 1, 1, 1)), Some(vec![0, 1]));
    }
}
