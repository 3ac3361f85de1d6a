//! `ddpm autoencode`: trains the autoencoder of a latent diffusion model.

use super::data::ImageSize;
use super::material::Origin;
use super::numbers::{counting, factor, positive, time, whole};
use super::progress::Progress;
use super::signals::stop_on_signals;
use crate::cli::say::show;
use anyhow::{Context, Result, bail};
use clap::Args;
use ddpm::autoencoder::{AutoencoderConfig, AutoencoderKl};
use ddpm::checkpoint::{self, Precision};
use ddpm::data::Examples;
use ddpm::optim::{AdamOptions, Cooldown};
use ddpm::params::Params;
use ddpm::rng::stream;
use ddpm::train::{Autoencoding, DataKind, Event, Run, RunOptions, RunRecord, Training};
use ddpm::{Error, Fault};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

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

    /// Go on from the checkpoint in --out, up to --steps
    #[arg(long)]
    resume: bool,

    /// Steps in all
    #[arg(long, default_value_t = 3000)]
    steps: u64,

    /// Let the step size fall to nothing over the last so many of --steps
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    cooldown: Option<u64>,

    /// Minutes between checkpoints
    #[arg(long, value_name = "MINUTES", default_value_t = 5.0, value_parser = time)]
    checkpoint_every: f64,

    /// How model/ stores the averaged weights
    #[arg(long, default_value = "f32")]
    precision: Precision,

    /// A folder of IDX files or of pictures [default: Fashion-MNIST's training set, where Debian puts it]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    data: Option<PathBuf>,

    /// Side of the crops from a folder of pictures, or height and width, 48x64
    #[arg(long, default_value_t = ImageSize([64, 64]), conflicts_with = "resume")]
    size: ImageSize,

    /// Hold out every so manyth picture of a folder
    #[arg(long, value_name = "EVERY", value_parser = whole(2..), conflicts_with = "resume")]
    holdout: Option<usize>,

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
        let options = RunOptions {
            out: self.out.clone(),
            steps: self.steps,
            checkpoint_every: Duration::from_secs_f64(self.checkpoint_every * 60.0),
            log_every: 50,
            precision: self.precision,
        };
        let (run, mut training, examples) =
            if self.resume { self.resumed(options)? } else { self.fresh(options)? };
        if let Some(steps) = self.cooldown {
            let cooldown = Some(Cooldown { from: self.steps.saturating_sub(steps), to: self.steps });
            (training.objective.adam.cooldown, training.adam.options.cooldown) = (cooldown, cooldown);
        }
        let stop = Arc::new(AtomicBool::new(false));
        stop_on_signals(&stop).context("signals can't be caught")?;
        show!("{} parameters on {}", training.model.count(), examples.name());
        let progress = Progress::new("training", self.steps.saturating_sub(training.adam.steps) as usize);
        run.train(&mut training, &*examples, &stop, &mut |event| match event {
            Event::Step(report) => progress.step(format!("steps, loss {:.4}", report.loss)),
            Event::Warning(warning) => progress.note(format_args!("warning: {warning}")),
        })?;
        progress.finish();
        let model = scaled(training.adam.ema.clone(), &*examples);
        checkpoint::save_autoencoder(&model, run.options.model(), self.precision)?;
        show!("{} steps; averaged weights in {}", training.adam.steps, run.options.model().display());
        Ok(())
    }

    fn fresh(&self, options: RunOptions) -> Result<(Run, Training<Autoencoding>, Box<dyn Examples>)> {
        if options.checkpoint().exists() {
            let found = options.checkpoint().display().to_string();
            bail!(Error::argument("--out", "a folder without a checkpoint, or --resume", found));
        }
        let run = Run::open(options)?;
        let origin = Origin {
            kind: DataKind::Pictures,
            path: self.data.clone(),
            size: self.size.0,
            holdout: self.holdout,
            flip: true,
            classes: false,
            autoencoder: None,
        };
        let material = origin.load(3)?;
        let [h, _, c] = material.examples.shape();
        let config = AutoencoderConfig {
            layers_per_block: self.layers,
            latent_channels: self.latent,
            ..AutoencoderConfig::new(h, c, &self.widths, self.groups)
        };
        config.check().map_err(Fault::at("--widths, --layers, --groups, --latent"))?;
        let adam = AdamOptions {
            lr: self.lr,
            warmup: self.warmup,
            clip: 1.0,
            ema_decay: 0.999,
            ema_warmup: true,
            ..AdamOptions::default()
        };
        let objective = Autoencoding { batch: self.batch, seed: self.seed, beta: self.beta, adam };
        objective.check()?;
        let model = AutoencoderKl::new(&config, &mut stream(self.seed, u64::MAX));
        let mut training = Training::of(model, objective, adam);
        training.record = Some(origin.record(&material, &run.options));
        Ok((run, training, material.examples))
    }

    fn resumed(&self, options: RunOptions) -> Result<(Run, Training<Autoencoding>, Box<dyn Examples>)> {
        let path = options.checkpoint();
        std::fs::metadata(&path).map_err(Error::io(&path))?; // before Run::open makes a folder
        let run = Run::open(options)?;
        let training = Training::<Autoencoding>::load(&path)?;
        let Some(RunRecord { data, .. }) = &training.record else {
            bail!(Error::format(&path, "what it was trained on", "nothing"));
        };
        let material = Origin::of(data, false).load(training.model.config.in_channels)?;
        if material.fingerprint != data.fingerprint {
            let expected = format!("the pictures that the run began with, fingerprint {}", data.fingerprint);
            bail!(Error::argument(material.examples.name(), expected, material.fingerprint));
        }
        Ok((run, training, material.examples))
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
