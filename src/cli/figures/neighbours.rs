//! Figs. 12 and 15: the training images nearest to samples, in pixels and in a classifier's features.

use super::studio::Studio;
use crate::cli::sample::{Wish, draw};
use crate::cli::say::{note, show};
use anyhow::{Result, bail};
use clap::Args;
use ddpm::Error;
use ddpm::checkpoint;
use ddpm::data::{self, EXCERPT_EVERY, Images, Split, to_u8, with_mirrored};
use ddpm::figures::Grid;
use ddpm::files::check_file;
use ddpm::quality::{Classifier, nearest, pixels};
use ndarray::{Array2, Array4, Axis, s, stack};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Samples that are looked up.
const SAMPLES: usize = 8;
/// Neighbours of each, in pixels and in features.
const NEAREST: usize = 4;

pub(super) fn neighbours(studio: &Studio) -> Result<()> {
    let samples = |x0: &ddpm::tensor::Batch| to_u8(&x0.slice(s![..SAMPLES, .., .., ..]));
    let garments = samples(&studio.garments.chains(studio.seed).x0);
    let candidates = with_mirrored(&data::fashion_mnist_excerpt().pixels);
    let classifier = &studio.judge()?.classifier;
    let features = |images: &Array4<u8>| features(classifier, images);
    studio.save(
        "neighbours.png",
        &Grid::new(&beside(&garments, &candidates, &[&pixels, &features]), 1 + 2 * NEAREST)
            .column_labels(labels(&["in pixels", "in features"]))
            .figure(),
    )?;

    let Some(pictures) = &studio.trained_on else {
        note!(
            "paintings_neighbours.png: stays as it is, since the training paintings are not shipped; see --paintings"
        );
        return Ok(());
    };
    let whole = samples(&studio.paintings.chains(studio.seed).x0);
    let candidates = with_mirrored(&pictures.crops(2).pixels);
    studio.save(
        "paintings_neighbours.png",
        &Grid::new(&beside(&whole, &candidates, &[&pixels]), 1 + NEAREST)
            .column_labels(labels(&["in pixels"]))
            .figure(),
    )
}

/// "sample", then the name of each space above its nearest neighbour and numbers above the others.
fn labels(spaces: &[&str]) -> Vec<String> {
    let of_space = |name: &&str| {
        std::iter::once(name.to_string()).chain((2..=NEAREST).map(|k| k.to_string())).collect::<Vec<_>>()
    };
    std::iter::once("sample".to_string()).chain(spaces.iter().flat_map(of_space)).collect()
}

/// From images to the rows whose distances count.
type Space<'a> = &'a dyn Fn(&Array4<u8>) -> Array2<f32>;

/// Rows of a sample and its nearest candidates in each space.
fn beside(samples: &Array4<u8>, candidates: &Array4<u8>, spaces: &[Space]) -> Array4<u8> {
    let found: Vec<_> =
        spaces.iter().map(|space| nearest(&space(samples), &space(candidates), NEAREST)).collect();
    let mut images = Vec::new();
    for (n, sample) in samples.outer_iter().enumerate() {
        images.push(sample);
        let neighbours = found.iter().flat_map(|found| &found[n]);
        images.extend(neighbours.map(|neighbour| candidates.index_axis(Axis(0), neighbour.index)));
    }
    stack(Axis(0), &images).expect("images of one shape")
}

fn features(classifier: &Classifier, images: &Array4<u8>) -> Array2<f32> {
    classifier.judge(images).features.mapv(|v| v as f32)
}

/// Make the excerpt of Fashion-MNIST's training set that is shipped: every 120th image, then those nearest to samples
///
/// The whole training set, mirrored too, is searched for the first samples of `ddpm figures`, in pixels and in the
/// classifier's features. What is found goes behind the regular part of the excerpt, so that the figure of neighbours can
/// be drawn without the training set.
#[derive(Args)]
#[command(after_help = "Example:\n  ddpm excerpt --out assets/fashion-mnist/excerpt-images-idx3-ubyte.gz")]
pub(crate) struct Excerpt {
    /// A folder of IDX files [default: Fashion-MNIST's training set, where Debian puts it]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Of the samples
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "excerpt-images-idx3-ubyte.gz")]
    out: PathBuf,
}

impl Excerpt {
    pub(crate) fn run(self) -> Result<()> {
        check_file(&self.out)?;
        let train = data::fashion_mnist(self.data.as_deref(), Split::Train)?;
        if train.shape() != [28, 28, 1] {
            let found = format!("images of {:?} in {}", train.shape(), train.name);
            bail!(Error::argument("--data", "images of [28, 28, 1], as the samples", found));
        }
        let (x0, _) = draw(&checkpoint::shipped()?, &Wish::new(SAMPLES, self.seed), &[]);
        let excerpt = excerpt(&train, &to_u8(&x0), &Classifier::shipped()?);
        data::idx::write_images(&self.out, &excerpt.pixels)?;
        show!("{} images in {}", excerpt.len(), self.out.display());
        Ok(())
    }
}

/// The regular part, and what is nearest to the samples in pixels or in features.
fn excerpt(train: &Images, samples: &Array4<u8>, classifier: &Classifier) -> Images {
    let candidates = with_mirrored(&train.pixels);
    let in_pixels = nearest(&pixels(samples), &pixels(&candidates), NEAREST);
    let in_features = nearest(&features(classifier, samples), &features(classifier, &candidates), NEAREST);
    let found = in_pixels.iter().chain(&in_features).flatten();
    let found: BTreeSet<usize> = found.map(|neighbour| neighbour.index % train.len()).collect();
    let regular = (0..train.len()).step_by(EXCERPT_EVERY);
    train.select(&regular.chain(found).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ddpm::data::flip_horizontal;

    /// What the figure finds in the excerpt is what a search of everything finds.
    #[test]
    fn the_excerpt_has_every_neighbour() {
        let train = data::fashion_mnist_test();
        let train = train.select(&(0..250).collect::<Vec<_>>());
        let classifier = Classifier::shipped().unwrap();
        let samples = flip_horizontal(&train.select(&[7, 30]).pixels); // a mirrored copy is found too
        let excerpt = excerpt(&train, &samples, &classifier);
        assert_eq!(excerpt.select(&[0, 1, 2]).pixels, train.select(&[0, 120, 240]).pixels);
        assert!(excerpt.len() <= 3 + 2 * 2 * NEAREST);
        let features = |images: &Array4<u8>| features(&classifier, images);
        let rows = |images: &Images| beside(&samples, &with_mirrored(&images.pixels), &[&pixels, &features]);
        assert_eq!(rows(&excerpt), rows(&train));
        assert_eq!(rows(&excerpt).index_axis(Axis(0), 1), samples.index_axis(Axis(0), 0));
    }

    #[test]
    fn a_space_is_named_above_its_nearest() {
        assert_eq!(labels(&["a", "b"]), ["sample", "a", "2", "3", "4", "b", "2", "3", "4"]);
    }
}
