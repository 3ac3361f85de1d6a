//! `ddpm noise`: trains a network together with its noise levels.

use super::data::{Cut, ImageSize};
use super::numbers::{counting, factor, positive, whole};
use super::runs::{self, RunArgs, Started};
use super::say::show;
use super::tables;
use anyhow::Result;
use clap::Args;
use ddpm::Fault;
use ddpm::data::{fashion_mnist_test, to_u8};
use ddpm::diffusion::{Estimate, Noise, Path};
use ddpm::rng::Domain;
use ddpm::train::{RunOptions, Training, VariationalTraining};
use ddpm::unet::UnetConfig;
use serde::Serialize;
use std::path::PathBuf;

/// Train a network together with its noise levels (VDM, MuLAN)
///
/// Minimises the bound at T steps itself. Writes what `ddpm train` writes; model/variational.safetensors has the averaged
/// network and γ. At the end bound.csv gets the terms of the bound of each of --images test images (of pictures of a folder:
/// of training pictures), and gamma.csv the numbers of γ.
#[derive(Args)]
#[command(after_help = "Example:\n  ddpm noise --path knots --T 20 --steps 1500 --out runs/knots")]
pub(super) struct NoiseLevels {
    /// Where the run keeps its files
    #[arg(long, value_name = "DIR", default_value = "runs/noise")]
    out: PathBuf,

    /// Steps in all
    #[arg(long, default_value_t = 1500)]
    steps: u64,

    /// Images on which the bound is evaluated at the end
    #[arg(long, default_value_t = 256, value_parser = whole(2..=10_000))]
    images: usize,

    #[command(flatten)]
    kept: RunArgs,

    /// How γ rises
    #[arg(long, default_value = "knots", conflicts_with = "resume")]
    path: Path,

    /// A γ for each pixel
    #[arg(long, conflicts_with = "resume")]
    per_pixel: bool,

    /// MuLAN's context: so many numbers z, drawn for each image, move its γ, at the price of their KL
    #[arg(long, value_name = "NUMBERS", default_value_t = 0, conflicts_with = "resume")]
    context: usize,

    /// Steps T of the chain
    #[arg(long = "T", value_name = "T", default_value_t = 20, value_parser = whole(1..=100_000), conflicts_with = "resume")]
    t: usize,

    /// γ's numbers move so many times as fast as the network's
    #[arg(long, default_value_t = 10.0, value_parser = factor, conflicts_with = "resume")]
    gamma_rate: f64,

    /// A folder of IDX files or of pictures [default: Fashion-MNIST's training set, where Debian puts it]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    data: Option<PathBuf>,

    /// Side of the crops from a folder of pictures, or height and width, 48x64
    #[arg(long, default_value_t = ImageSize([32, 32]), conflicts_with = "resume")]
    size: ImageSize,

    /// Channels of each level, fine to coarse
    #[arg(long, value_delimiter = ',', default_value = "16,32,48", value_parser = counting(), conflicts_with = "resume")]
    widths: Vec<usize>,

    /// Residual blocks per level
    #[arg(long, default_value_t = 1, value_parser = counting(), conflicts_with = "resume")]
    layers: usize,

    /// Groups of the group normalisations
    #[arg(long, default_value_t = 8, value_parser = counting(), conflicts_with = "resume")]
    groups: usize,

    /// Images per step
    #[arg(long, default_value_t = 64, value_parser = whole(1..=65536), conflicts_with = "resume")]
    batch: usize,

    /// Of everything random
    #[arg(long, default_value_t = 1, conflicts_with = "resume")]
    seed: u64,

    /// Step size
    #[arg(long, default_value_t = 1e-3, value_parser = positive, conflicts_with = "resume")]
    lr: f64,

    /// Steps over which the step size grows to --lr
    #[arg(long, default_value_t = 200, conflicts_with = "resume")]
    warmup: u64,
}

/// The terms of one image, bits per dimension.
#[derive(Serialize)]
struct BoundRow {
    image: usize,
    reconstruction: f64,
    diffusion: f64,
    prior: f64,
    context: f64,
}

impl NoiseLevels {
    pub(super) fn run(self) -> Result<()> {
        let options = self.kept.options(self.out.clone(), self.steps);
        let mut started = if self.kept.resume {
            runs::resumed::<VariationalTraining>(options, |model| model.unet.config.in_channels)?
        } else {
            self.fresh(options)?
        };
        self.kept.work(&mut started, |loss| format!("{loss:.3} bits/dim"))?;
        started.say_end();
        if started.training.adam.steps >= self.steps { self.evaluate(&started) } else { Ok(()) }
    }

    /// The bound with the averaged weights, and what γ has become.
    fn evaluate(&self, Started { training, examples, .. }: &Started<VariationalTraining>) -> Result<()> {
        let (model, seed) = (&training.adam.ema, training.objective.seed);
        let of_folder = training.record.as_ref().is_some_and(|record| record.data.folder.is_some());
        let levels = if of_folder {
            let mut rngs: Vec<_> = (0..self.images as u64).map(|n| Domain::Common.stream(seed, n)).collect();
            to_u8(&examples.draw_batch(&mut rngs).x0)
        } else {
            fashion_mnist_test().first(self.images).pixels
        };
        let bound = model.bound(&levels, &Noise::seed(1)); // the same for every run
        let named = bound.named();
        show!("{} images, bits/dim ± standard error over images", levels.dim().0);
        for (name, term) in &named {
            let Estimate { mean, std_error } = Estimate::of(term);
            show!("{name:16}{mean:>10.4} ± {std_error:.1e}");
        }
        let [reconstruction, diffusion, prior, context, _] = named.map(|(_, term)| term);
        let row = |image: usize| BoundRow {
            image,
            reconstruction: reconstruction[image],
            diffusion: diffusion[image],
            prior: prior[image],
            context: context[image],
        };
        tables::save_csv(&self.out.join("bound.csv"), (0..levels.dim().0).map(row))?;
        let numbers = model.gamma.numbers.mapv(|v| model.gamma.rate * f64::from(v));
        let rows = numbers.outer_iter().map(|path| path.to_vec());
        tables::save_csv(&self.out.join("gamma.csv"), rows)
    }

    fn fresh(&self, options: RunOptions) -> Result<Started<VariationalTraining>> {
        let run = runs::new_run(options)?;
        let origin = runs::pictures(self.data.clone(), Cut::crops(self.size.0));
        let material = origin.load(3)?;
        let [h, w, c] = material.examples.shape();
        let mut config = UnetConfig::paper(h, c, &self.widths, self.layers, self.groups);
        config.sample_size = Some((h, w));
        config.check().map_err(Fault::at("--widths, --layers, --groups, --size"))?;
        let adam = runs::adam(self.lr, self.warmup, 0.0);
        let objective = VariationalTraining {
            batch: self.batch,
            seed: self.seed,
            steps: self.t,
            path: self.path,
            per_pixel: self.per_pixel,
            context: self.context,
            gamma_rate: self.gamma_rate,
            adam,
        };
        objective.check()?;
        let training = Training::of(objective.model(&config), objective, adam);
        Ok(Started::fresh(run, training, &origin, material))
    }
}
