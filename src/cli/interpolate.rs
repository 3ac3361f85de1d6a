//! `ddpm interpolate`: two images, mixed at several depths of the chain (Figs. 8 and 9).

use super::data::{TestArgs, as_batch};
use super::model::ModelArgs;
use super::progress::Progress;
use crate::cli::say::show;
use anyhow::{Result, bail};
use clap::Args;
use ddpm::Error;
use ddpm::data::to_u8;
use ddpm::diffusion::{Denoiser, Interpolation, Noise, Query, Reverse, Watched, interpolate};
use ddpm::figures::{Figure, Grid};
use ddpm::tensor::Batch;
use ndarray::{ArrayView3, Axis, concatenate};
use rayon::prelude::*;
use std::path::PathBuf;

/// Interpolate between two test images, at several depths (Figs. 8, 9)
///
/// Of a latent diffusion model the sources are shown as its autoencoder decodes them.
#[derive(Args)]
#[command(after_help = "Example:\n  ddpm interpolate --a 3 --b 12 --depths 750,500,250,0 --out mix.png")]
pub(super) struct Interpolate {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    data: TestArgs,

    /// Number of the first image
    #[arg(long, default_value_t = PAIR.0)]
    a: usize,

    /// Number of the second image
    #[arg(long, default_value_t = PAIR.1)]
    b: usize,

    /// Depths t; 0 mixes pixels [default: nine from T to 0, as in Fig. 9]
    #[arg(long, value_delimiter = ',')]
    depths: Option<Vec<usize>>,

    /// Of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// The picture to write, .png or .svg
    #[arg(long, value_name = "FILE", default_value = "interpolation.png")]
    out: PathBuf,
}

/// The test images of the figure: an ankle boot and a pullover.
pub(super) const PAIR: (usize, usize) = (0, 1);

impl Interpolate {
    pub(super) fn run(self) -> Result<()> {
        Figure::check_path(&self.out)?;
        let model = self.model.load()?;
        let T = model.reverse.schedule.T();
        let depths = self.depths.unwrap_or_else(|| paper_depths(T));
        if let Some(t) = depths.iter().find(|&&t| t > T) {
            bail!(Error::argument("--depths", format!("0 to {T}"), t));
        }
        if depths.is_empty() {
            bail!(Error::argument("--depths", "at least one depth", "none"));
        }
        let count = self.a.max(self.b).saturating_add(1);
        let images = self.data.images(&model, count)?;
        for (name, number) in [("--a", self.a), ("--b", self.b)] {
            if number >= images.len() {
                bail!(Error::argument(name, format!("0 to {}", images.len() - 1), number));
            }
        }
        let images = model.latents(as_batch(&images.select(&[self.a, self.b])));
        let (a, b) = (images.index_axis(Axis(0), 0), images.index_axis(Axis(0), 1));
        let depths: Vec<_> = depths.into_iter().map(|t| (t, t)).collect();
        let pictures = |x| model.pictures(x);
        coarse_to_fine(&model.unet, &model.reverse, [a, b], &depths, &pictures, self.seed).save(&self.out)?;
        show!("{}", self.out.display());
        Ok(())
    }
}

/// The rows of Fig. 9: eighths of T, those of 1000 being 1000, 875, …, 125, 0.
pub(super) fn paper_depths(T: usize) -> Vec<usize> {
    (0..=8).rev().map(|i| i * T / 8).collect()
}

/// One row per depth: source, reconstruction, λ = 0.1 … 0.9, reconstruction, source. A depth is a t, and the t that its row is
/// labelled with: another one if the chain is a shorter one. `pictures` makes images of what the chain ends with.
pub(super) fn coarse_to_fine(
    model: &(impl Denoiser + Sync),
    reverse: &Reverse,
    [a, b]: [ArrayView3<f64>; 2],
    depths: &[(usize, usize)],
    pictures: &(dyn Fn(Batch) -> Batch + Sync),
    seed: u64,
) -> Figure {
    let lambdas: Vec<f64> = (0..=10).map(|i| i as f64 / 10.0).collect();
    let progress = Progress::new("interpolation", depths.iter().map(|depth| depth.0).sum());
    let row = |&(t, _): &(usize, usize)| -> Batch {
        // the network's calls move the bar: one for each step of this depth
        let before = |_: &Query| progress.step("");
        let watched = Watched { model, before };
        let between = Interpolation { x0: a, x0_prime: b, t, lambdas: &lambdas };
        let mixed = interpolate(&watched, reverse, &between, &Noise::seed(seed));
        pictures(concatenate![Axis(0), a.insert_axis(Axis(0)), mixed, b.insert_axis(Axis(0))])
    };
    let rows: Vec<Batch> = depths.par_iter().map(row).collect();
    progress.finish();

    let views: Vec<_> = rows.iter().map(|row| row.view()).collect();
    let images = concatenate(Axis(0), &views).expect("rows of one shape");
    let inner = (1..10).map(|i| if i == 1 { "λ = 0.1".to_string() } else { format!("0.{i}") });
    let columns = ["source", "rec."]
        .map(String::from)
        .into_iter()
        .chain(inner)
        .chain(["rec.", "source"].map(String::from));
    Grid::new(&to_u8(&images), 13)
        .column_labels(columns)
        .row_labels(depths.iter().map(|(_, t)| format!("t = {t}")))
        .figure()
}
