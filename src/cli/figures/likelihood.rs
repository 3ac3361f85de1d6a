//! Table 1: bits per dimension on test and training images, beside lossless codecs and the paper's rows.

use super::studio::{Studio, paintings, stored};
use crate::cli::bound::{evaluate, variants};
use crate::cli::data::as_batch;
use crate::cli::say::show;
use anyhow::{Context, Result};
use ddpm::checkpoint::Pretrained;
use ddpm::data::{Dataset, Images, fashion_mnist_excerpt, fashion_mnist_test};
use ddpm::diffusion::{Elbo, ElboOptions, Reverse, TimeSteps};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use ndarray::{Array3, ArrayView3};
use serde::{Deserialize, Serialize};

/// Garments of each split, and strata of t for each.
const GARMENTS: (usize, usize) = (300, 20);
/// Draws of whole paintings of each split, and strata of t for each.
const WHOLE: (usize, usize) = (64, 30);

const HELD_OUT: &str = "paintings, held out";
const TRAINED_ON: &str = "paintings, training";
/// Its rows of the training paintings, which are not shipped, stay as they were last computed.
const STORED: &str = include_str!("../../../figures/likelihood.csv");

/// A row of likelihood.csv. What the paper says is marked as quoted.
#[derive(Clone, Deserialize, Serialize)]
struct Row {
    source: String,
    model: String,
    data: String,
    images: Option<usize>,
    bits_per_dim: f64,
    std_error: Option<f64>,
    rate: Option<f64>,
    distortion: Option<f64>,
}

impl Row {
    fn new(source: &str, model: String, data: String, bits_per_dim: f64) -> Row {
        Row {
            source: source.into(),
            model,
            data,
            images: None,
            bits_per_dim,
            std_error: None,
            rate: None,
            distortion: None,
        }
    }

    fn computed(model: String, images: &Images, bits_per_dim: f64) -> Row {
        let row = Row::new("computed", model, images.name.clone(), bits_per_dim);
        Row { images: Some(images.len()), ..row }
    }

    fn quoted(model: &str, data: &str, bits_per_dim: f64) -> Row {
        Row::new("quoted: Ho et al. 2020, Table 1", model.into(), data.into(), bits_per_dim)
    }
}

/// Rows of the paper's Table 1, CIFAR10: NLL test, and train where it is given.
const QUOTED: [(&str, f64, Option<f64>); 6] = [
    ("Diffusion (original), upper bound", 5.40, None),
    ("Gated PixelCNN", 3.03, Some(2.90)),
    ("Sparse Transformer", 2.80, None),
    ("PixelIQN", 5.29, None),
    ("Ours (L, fixed isotropic Σ), upper bound", 3.70, Some(3.69)),
    ("Ours (L_simple), upper bound", 3.75, Some(3.72)),
];

pub(super) fn table(studio: &Studio) -> Result<()> {
    let mut rows = Vec::new();
    for images in [fashion_mnist_test(), fashion_mnist_excerpt()].map(|images| images.first(GARMENTS.0)) {
        rows.extend(bounds(&studio.garments.model, &images, GARMENTS.1, studio.seed));
        rows.extend(codecs(&images)?);
    }
    let draws = |data: &Dataset, name: &str| Images { name: name.into(), ..data.draws(WHOLE.0, studio.seed) };
    let painted = |images: &Images| -> Result<Vec<Row>> {
        let bounds = bounds(&studio.paintings.model, images, WHOLE.1, studio.seed);
        Ok([bounds, codecs(images)?].concat())
    };
    rows.extend(painted(&draws(&paintings(&studio.paintings.model), HELD_OUT))?);
    match &studio.trained_on {
        Some(pictures) => rows.extend(painted(&draws(pictures, TRAINED_ON))?),
        None => rows.extend(stored::<Row>(STORED).into_iter().filter(|row| row.data == TRAINED_ON)),
    }
    for row in &rows {
        let error = row.std_error.map_or(String::new(), |e| format!(" ± {e:.3}"));
        show!("{:34} {:24} {:.3}{error} bits/dim", row.data, row.model, row.bits_per_dim);
    }
    show!("");
    for (model, test, train) in QUOTED {
        rows.push(Row::quoted(model, "CIFAR10, test", test));
        rows.extend(train.map(|bits| Row::quoted(model, "CIFAR10, training", bits)));
    }
    studio.save_csv("likelihood.csv", rows)
}

/// The bound with σ² = β and β̃ at random t of every stratum.
fn bounds(model: &Pretrained, images: &Images, times: usize, seed: u64) -> Vec<Row> {
    let variants = variants(&model.reverse);
    let options =
        ElboOptions { time_steps: TimeSteps::Stratified { count: times, seed }, ..ElboOptions::default() };
    let bounds = evaluate(model, &variants, &as_batch(images), &options, seed);
    let row = |(variant, bound): (&Reverse, &Elbo)| {
        let total = bound.bits_per_dim();
        Row {
            std_error: Some(total.std_error),
            rate: Some(bound.rate().mean),
            distortion: Some(bound.distortion().mean),
            ..Row::computed(format!("DDPM, σ² = {}", variant.variance), images, total.mean)
        }
    };
    variants.iter().zip(&bounds).map(row).collect()
}

/// From an image to the length of its file.
type Codec = fn(ArrayView3<u8>) -> Result<usize>;

/// PNG and lossless WebP, one file per image and one file for all of them side by side.
fn codecs(images: &Images) -> Result<Vec<Row>> {
    let columns = (images.len() as f64).sqrt().ceil() as usize;
    let sheet = ddpm::figures::tile(&images.pixels, columns, 0);
    let dims = images.pixels.len() as f64;
    let codecs: [(&str, Codec); 2] = [("PNG", png), ("WebP", webp)];
    let mut rows = Vec::new();
    for (name, encode) in codecs {
        let each = images.pixels.outer_iter().map(encode).sum::<Result<usize>>()?;
        for (how, bytes) in [("one file each", each), ("one file for all", encode(sheet.view())?)] {
            rows.push(Row::computed(format!("{name}, {how}"), images, 8.0 * bytes as f64 / dims));
        }
    }
    Ok(rows)
}

fn png(image: ArrayView3<u8>) -> Result<usize> {
    encoded(image, |bytes, pixels, w, h, kind| {
        PngEncoder::new_with_quality(bytes, CompressionType::Best, FilterType::Adaptive)
            .write_image(pixels, w, h, kind)
    })
}

fn webp(image: ArrayView3<u8>) -> Result<usize> {
    encoded(image, |bytes, pixels, w, h, kind| {
        WebPEncoder::new_lossless(bytes).write_image(pixels, w, h, kind)
    })
}

/// The length of an image's file.
fn encoded(
    image: ArrayView3<u8>,
    write: impl FnOnce(&mut Vec<u8>, &[u8], u32, u32, ExtendedColorType) -> image::ImageResult<()>,
) -> Result<usize> {
    let (h, w, c) = image.dim();
    let kind = if c == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let pixels: Array3<u8> = image.as_standard_layout().into_owned();
    let mut bytes = Vec::new();
    write(&mut bytes, pixels.as_slice().expect("contiguous"), w as u32, h as u32, kind)
        .context("an image can't be compressed")?;
    Ok(bytes.len())
}
