//! `ddpm autoencode`: trains the autoencoder of a latent diffusion model.

use super::numbers::{counting, factor, positive, whole};
use super::runs::{self, PictureArgs, RunArgs, Started};
use anyhow::Result;
use clap::Args;
use ddpm::Fault;
use ddpm::autoencoder::{AutoencoderConfig, AutoencoderKl};
use ddpm::checkpoint;
use ddpm::data::Examples;
use ddpm::rng::stream;
use ddpm::train::{Autoencoding, RunOptions, Training};
use std::path::PathBuf;

/// Train an autoencoder, for a diffusion model on its latents
///
/// Minimises (|x − x̂|² + β KL)/D. Writes what `ddpm train` writes; model/ is a folder of diffusers' AutoencoderKL, whose
/// scaling_factor gives the latents a standard deviation of 1.
#[derive(Args)]
#[command(
    after_help = "Example:\n  ddpm autoencode --steps 3000 --cooldown 1500 --out runs/vae\n  ddpm train --latents runs/vae --widths 64 --layers 2 --out runs/latent"
)]
pub(super) struct Autoencode {
    /// Where the run keeps its files
    #[arg(long, value_name = "DIR", default_value = "runs/autoencoder")]
    out: PathBuf,

    /// Steps in all
    #[arg(long, default_value_t = 3000)]
    steps: u64,

    #[command(flatten)]
    kept: RunArgs,

    #[command(flatten)]
    pictures: PictureArgs,

    /// Channels of each level, fine to coarse; all but the last halve the sides
    #[arg(long, value_delimiter = ',', default_value = "16,32,32", value_parser = counting(), conflicts_with = "resume")]
    widths: Vec<usize>,

    /// Residual blocks per level
    #[arg(long, default_value_t = 1, value_parser = counting(), conflicts_with = "resume")]
    layers: usize,

    /// Groups of the group normalisations
    #[arg(long, default_value_t = 8, value_parser = counting(), conflicts_with = "resume")]
    groups: usize,

    /// Channels of the latent
    #[arg(long, default_value_t = 4, value_parser = counting(), conflicts_with = "resume")]
    latent: usize,

    /// Weight of the KL
    #[arg(long, default_value_t = 1e-3, value_parser = factor, conflicts_with = "resume")]
    beta: f64,

    /// Images per step
    #[arg(long, default_value_t = 64, value_parser = whole(1..=65536), conflicts_with = "resume")]
    batch: usize,

    /// Of everything random
    #[arg(long, default_value_t = 1, conflicts_with = "resume")]
    seed: u64,

    /// Step size
    #[arg(long, default_value_t = 2e-3, value_parser = positive, conflicts_with = "resume")]
    lr: f64,

    /// Steps over which the step size grows to --lr
    #[arg(long, default_value_t = 50, conflicts_with = "resume")]
    warmup: u64,
}

impl Autoencode {
    pub(super) fn run(self) -> Result<()> {
        let options = self.kept.options(self.out.clone(), self.steps);
        let mut started = if self.kept.resume {
            runs::resumed::<Autoencoding>(options, |model| model.config.in_channels)?
        } else {
            self.fresh(options)?
        };
        self.kept.work(&mut started, |loss| format!("loss {loss:.4}"))?;
        let model = scaled(started.training.adam.ema.clone(), &*started.examples);
        checkpoint::save_autoencoder(&model, started.run.options.model(), self.kept.precision)?;
        started.say_end();
        Ok(())
    }

    fn fresh(&self, options: RunOptions) -> Result<Started<Autoencoding>> {
        let run = runs::new_run(options)?;
        let origin = self.pictures.origin();
        let material = origin.load(3)?;
        let [h, _, c] = material.examples.shape();
        let config = AutoencoderConfig {
            layers_per_block: self.layers,
            latent_channels: self.latent,
            ..AutoencoderConfig::new(h, c, &self.widths, self.groups)
        };
        config.check().map_err(Fault::at("--widths, --layers, --groups, --latent"))?;
        let adam = runs::adam(self.lr, self.warmup, 1.0);
        let objective = Autoencoding { batch: self.batch, seed: self.seed, beta: self.beta, adam };
        objective.check()?;
        let model = AutoencoderKl::new(&config, &mut stream(self.seed, u64::MAX));
        Ok(Started::fresh(run, Training::of(model, objective, adam), &origin, material))
    }
}

/// With a scaling_factor of 1 over the standard deviation of all numbers of some images' latents.
fn scaled(mut model: AutoencoderKl, examples: &dyn Examples) -> AutoencoderKl {
    let mut rngs: Vec<_> = (0..512).map(|n| stream(0, n)).collect();
    let posterior = model.encode(&examples.draw_batch(&mut rngs).x0).normal;
    let noise = ddpm::rng::normal(posterior.mean.raw_dim(), &mut stream(0, 512));
    model.config.scaling_factor = 1.0 / posterior.sample(&noise).std(1.0);
    model
}
