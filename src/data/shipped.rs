//! The data inside the crate, so that everything runs without a download.

use super::folder::{FolderOptions, decode, scales};
use super::idx::{parse_images, parse_labels};
use super::{Dataset, Images, Series, dataset::Picture};
use std::path::Path;

/// The ten garments of Fashion-MNIST, by label.
pub const FASHION_MNIST_CLASSES: [&str; 10] =
    ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];

static GARMENTS: &[u8] = include_bytes!("../../assets/fashion-mnist/t10k-images-idx3-ubyte.gz");
static EXCERPT: &[u8] = include_bytes!("../../assets/fashion-mnist/excerpt-images-idx3-ubyte.gz");
static GARMENT_LABELS: &[u8] = include_bytes!("../../assets/fashion-mnist/t10k-labels-idx1-ubyte.gz");

/// The 10,000 test images of Fashion-MNIST, `[10000, 28, 28, 1]`, with their labels; shipped with the crate.
pub fn fashion_mnist_test() -> Images {
    let shipped = Path::new("assets/fashion-mnist");
    let pixels = parse_images(GARMENTS, shipped).expect("the shipped images are whole");
    let labels = parse_labels(GARMENT_LABELS, shipped).expect("the shipped labels are whole");
    Images::new("Fashion-MNIST, test", pixels, Some(labels))
}

/// Of the training images, the regular part of the excerpt holds those with the numbers 0, 120, 240, …: 500 of 60,000.
pub const EXCERPT_EVERY: usize = 120;

/// An excerpt of Fashion-MNIST's training set, without labels: 500 images at equal distances, then those which are nearest
/// to samples of the shipped network, `[N, 28, 28, 1]`. Made by `ddpm excerpt`.
pub fn fashion_mnist_excerpt() -> Images {
    let pixels =
        parse_images(EXCERPT, Path::new("assets/fashion-mnist")).expect("the shipped images are whole");
    Images::new("Fashion-MNIST, training", pixels, None)
}

/// The weather of Seattle, 2012 to 2015, a row for each day: precipitation in mm, highest and lowest temperature in °C, wind
/// in m/s; shipped with the crate. From the records of NOAA, which are in the public domain, as the Python package
/// `vega_datasets` 0.9 has them.
pub fn seattle_weather() -> Series {
    let bytes = include_bytes!("../../assets/weather/seattle.csv");
    Series::parse(bytes, "Seattle's weather").expect("the shipped series is whole")
}

/// Random crops `[size, size, 3]` of the twenty-two shipped impressionist paintings.
///
/// # Panics
/// If `size` is larger than the smallest painting's short side, 184, or 0.
///
/// ```
/// let (train, held_out) = ddpm::data::paintings(16).split(5);
/// assert_eq!((train.len(), held_out.len()), (18, 4));
/// assert_eq!(train.shape(), [16, 16, 3]);
/// ```
#[track_caller]
pub fn paintings(size: usize) -> Dataset {
    shipped_paintings(FolderOptions::new(size))
}

/// The same paintings as *whole* pictures `[size, size, 3]`: each example holds at least 85 % of the shorter side.
///
/// # Panics
/// As [`paintings`].
///
/// ```
/// let whole = ddpm::data::whole_paintings(32);
/// assert_eq!((whole.len(), whole.shape()), (22, [32, 32, 3]));
/// ```
#[track_caller]
pub fn whole_paintings(size: usize) -> Dataset {
    shipped_paintings(FolderOptions::whole(size))
}

#[track_caller]
fn shipped_paintings(options: FolderOptions) -> Dataset {
    let [size, _] = options.size;
    assert!((1..=184).contains(&size), "paintings: crops of {size} pixels, 1..=184 possible");
    let pictures = PAINTINGS.iter().map(|(name, bytes)| {
        let picture = decode(bytes, &options).and_then(|picture| scales(&picture, &options));
        Picture { scales: picture.unwrap_or_else(|reason| panic!("{name}: {reason:?}")), label: None }
    });
    Dataset::from_pictures("paintings".into(), [size, size, options.channels], pictures.collect())
}

macro_rules! shipped {
    ($($number:literal)*) => {
        &[$((concat!($number, ".jpg"), include_bytes!(concat!("../../assets/paintings/", $number, ".jpg")))),*]
    };
}

/// File name and bytes of each painting, in the order of the museum's object numbers; titles in `SOURCES.md`.
static PAINTINGS: &[(&str, &[u8])] = shipped! {
    435868 435876 435882 436121 436528 436532 436535 436944 436947 436964 437299
    437430 437654 437658 437835 438815 438817 438821 459092 459110 459112 459123
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{LoadReport, load_folder};

    #[test]
    fn the_shipped_garments_are_a_thousand_of_each_class() {
        let images = fashion_mnist_test();
        assert_eq!(images.pixels.dim(), (10_000, 28, 28, 1));
        let mut count = [0; 10];
        images.labels.iter().flatten().for_each(|&label| count[usize::from(label)] += 1);
        assert_eq!(count, [1000; 10]);
    }

    #[test]
    fn the_shipped_paintings_are_those_of_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/paintings");
        let (from_folder, report) = load_folder(&folder, &FolderOptions::new(32)).unwrap();
        assert_eq!(report, LoadReport { loaded: 22, other_files: 1, ..LoadReport::default() });
        assert_eq!(paintings(32).fixed(500).pixels, from_folder.fixed(500).pixels);
    }

    #[test]
    fn crops_of_the_largest_possible_size_exist() {
        assert_eq!(paintings(184).shape(), [184, 184, 3]);
    }

    #[test]
    #[should_panic(expected = "crops of 185 pixels")]
    fn too_large_crops_panic() {
        paintings(185);
    }
}
