//! `ddpm sharpen`: trains an autoencoder's decoder on, against a discriminator.

use super::material::autoencoder_of;
use super::numbers::{factor, positive, whole};
use super::runs::{self, PictureArgs, RunArgs, Started};
use anyhow::{Context, Result};
use clap::Args;
use ddpm::train::{RunOptions, Sharpening, Training};
use std::path::{Path, PathBuf};

/// Train an autoencoder's decoder on, until its images can't be told from real ones
///
/// A decoder of squared error is smooth: it paints the mean of what it can't know. Here it minimises |x − x̂|²/D + λ (d(x̂) − 1)²/2,
/// against a discriminator d that learns at the same time to say 1 of pieces of images and 0 of decoded ones. The encoder
/// stays, so a diffusion model of its latents goes on as it is. Writes what `ddpm autoencode` writes.
#[derive(Args)]
#[command(
    after_help = "Example:\n  ddpm sharpen --init runs/vae --data PAINTINGS --out runs/sharp\n  ddpm sharpen --resume --out runs/sharp --steps 3000"
)]
pub(super) struct Sharpen {
    /// The autoencoder: a run's folder, or one in diffusers' layout
    #[arg(long, value_name = "DIR", required_unless_present = "resume", conflicts_with = "resume")]
    init: Option<PathBuf>,

    /// Where the run keeps its files
    #[arg(long, value_name = "DIR", default_value = "runs/sharp")]
    out: PathBuf,

    /// Steps in all
    #[arg(long, default_value_t = 1500)]
    steps: u64,

    #[command(flatten)]
    kept: RunArgs,

    #[command(flatten)]
    pictures: PictureArgs,

    /// λ, the weight of being told from images: 0.1 is sharper, at 0.4 patterns of the discriminator's can be seen
    #[arg(long, default_value_t = 0.1, value_parser = factor, conflicts_with = "resume")]
    weight: f64,

    /// Images per step
    #[arg(long, default_value_t = 16, value_parser = whole(1..=65536), conflicts_with = "resume")]
    batch: usize,

    /// Of everything random
    #[arg(long, default_value_t = 1, conflicts_with = "resume")]
    seed: u64,

    /// Step size
    #[arg(long, default_value_t = 1e-3, value_parser = positive, conflicts_with = "resume")]
    lr: f64,

    /// Steps over which the step size grows to --lr
    #[arg(long, default_value_t = 50, conflicts_with = "resume")]
    warmup: u64,
}

impl Sharpen {
    pub(super) fn run(self) -> Result<()> {
        let options = self.kept.options(self.out.clone(), self.steps);
        let mut started = match &self.init {
            None => runs::resumed::<Sharpening>(options, |model| model.autoencoder.config.in_channels)?,
            Some(folder) => self.fresh(folder, options)?,
        };
        self.kept.work(&mut started, |loss| format!("loss {loss:.4}"))?;
        started.say_end();
        Ok(())
    }

    fn fresh(&self, folder: &Path, options: RunOptions) -> Result<Started<Sharpening>> {
        let autoencoder = autoencoder_of(folder).context("--init")?;
        let run = runs::new_run(options)?;
        let origin = self.pictures.origin();
        let material = origin.load(autoencoder.config.in_channels)?;
        let adam = runs::adam(self.lr, self.warmup, 1.0);
        let objective = Sharpening { batch: self.batch, seed: self.seed, weight: self.weight, adam };
        objective.check()?;
        let training = Training::of(objective.model(autoencoder), objective, adam);
        Ok(Started::fresh(run, training, &origin, material))
    }
}
