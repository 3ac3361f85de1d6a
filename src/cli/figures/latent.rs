//! A diffusion model behind an autoencoder: its samples and their cost beside those of pixels, and its bound term by term.

use super::bound::IMAGES;
use super::real::Real;
use super::studio::Studio;
use crate::cli::bound::figure_terms;
use crate::cli::elbo::{latent, latent_terms};
use crate::cli::sample::{Wish, fast};
use crate::cli::say::show;
use anyhow::Result;
use ddpm::checkpoint::{self, Pretrained, Shipped};
use ddpm::data::{fashion_mnist_test, to_u8};
use ddpm::diffusion::{Estimate, TimeSteps};
use ddpm::figures::{self, Grid};
use ddpm::tensor::Batch;
use ddpm::train::shipped_log;
use ndarray::{Axis, concatenate, s};
use serde::Serialize;

/// Samples, the steps of DDIM that draw them, and how many are shown.
const SAMPLES: usize = 256;
const STEPS: usize = 20;
const SHOWN: usize = 12;

#[derive(Serialize)]
struct Row {
    images: &'static str,
    /// multiplications and additions for one image, decoder included
    gflop_per_image: f64,
    /// of the network's training, as its log has it
    training_minutes: Option<f64>,
    frechet: f64,
    frechet_error: f64,
}

/// Samples of both models, and what the autoencoder alone makes of test images: no sample can be better than those.
pub(super) fn samples(studio: &Studio) -> Result<()> {
    let (latents, judge) = (checkpoint::LATENTS.load()?, studio.judge()?);
    let real = Real::new(SAMPLES, &judge.test);
    let test = fashion_mnist_test().batch(&(0..SAMPLES).collect::<Vec<_>>());
    let decoded = latents.pictures(latents.latents(test.clone()));
    let draw = |model: &Pretrained| fast(model, &Wish::new(SAMPLES, studio.seed), STEPS, 0.0);
    let (ours, pixels) = (draw(&latents), draw(&studio.garments.model));
    let row = |images, x: &Batch, flop: u64, shipped: Option<&Shipped>| -> Result<Row> {
        let Estimate { mean, std_error } = real.distance(&judge.classifier.judge(&to_u8(x)).features);
        let log = shipped.map(shipped_log).transpose()?;
        Ok(Row {
            images,
            gflop_per_image: flop as f64 / 1e9,
            training_minutes: log.and_then(|log| Some(log.last()?.seconds / 60.0)),
            frechet: mean,
            frechet_error: std_error,
        })
    };
    let chain = |model: &Pretrained| {
        let (h, w) = model.unet.config.image_size();
        STEPS as u64 * model.unet.flops(h, w)
    };
    let autoencoder = latents.autoencoder.as_ref().expect("a model of latents");
    let (h, w) = latents.unet.config.image_size();
    let decoder = autoencoder.decoding_flops(h, w);
    let rows = vec![
        row("test images", &test, 0, None)?,
        row("test images through the autoencoder", &decoded, 0, None)?,
        row("samples of latents", &ours, chain(&latents) + decoder, Some(&checkpoint::LATENTS))?,
        row("samples of pixels", &pixels, chain(&studio.garments.model), Some(&checkpoint::GARMENTS))?,
    ];
    for r in &rows {
        show!(
            "{:36} {:8.2} GFLOP, distance {:.2} ± {:.2}",
            r.images,
            r.gflop_per_image,
            r.frechet,
            r.frechet_error
        );
    }
    let shown = [&test, &decoded, &ours, &pixels].map(|x| x.slice(s![..SHOWN, .., .., ..]));
    let grid = Grid::new(&to_u8(&concatenate(Axis(0), &shown)?), SHOWN)
        .scale(2)
        .row_labels(["test", "decoded", "latents", "pixels"]);
    studio.save("latent_samples.png", &grid.figure())?;
    studio.save_csv("latent.csv", rows)
}

#[derive(Serialize)]
struct Term {
    term: &'static str,
    bits_per_dim: f64,
    std_error: f64,
}

/// The bound of the latent model at every t, beside that of the pixels on the same images.
pub(super) fn bound(studio: &Studio) -> Result<()> {
    let model = checkpoint::LATENTS.load()?;
    let autoencoder = model.autoencoder.as_ref().expect("a model of latents");
    let images = fashion_mnist_test();
    let (bound, _) = latent((&model, autoencoder), &images, IMAGES, TimeSteps::All, studio.seed);
    let terms = latent_terms(&images.name, &bound);
    let (_, pixels) = studio.bounds();
    let [pixels, prior] = [("pixels", &pixels[0]), ("latents", &bound.prior)]
        .map(|(name, elbo)| figure_terms(name, elbo, bound.dims));
    let ends = [&bound.reconstruction, &bound.posterior].map(|nats| bound.estimate(nats).mean);
    studio.save("latent_bound.png", &figures::elbo::side_by_side(&pixels, (&prior, ends)))?;
    let row =
        |(term, e): (&'static str, Estimate)| Term { term, bits_per_dim: e.mean, std_error: e.std_error };
    studio.save_csv("latent_bound.csv", terms.into_iter().map(row))
}
