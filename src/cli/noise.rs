//! `ddpm noise`: trains a network together with its noise levels.

use super::data::ImageSize;
use super::material::Origin;
use super::numbers::{counting, factor, positive, time, whole};
use super::progress::Progress;
use super::signals::stop_on_signals;
use crate::cli::say::show;
use anyhow::{Context, Result, bail};
use clap::Args;
use ddpm::checkpoint::Precision;
use ddpm::data::Examples;
use ddpm::diffusion::Path;
use ddpm::optim::{AdamOptions, Cooldown};
use ddpm::params::Params;
use ddpm::train::{DataKind, Event, Run, RunOptions, RunRecord, Training, VariationalTraining};
use ddpm::unet::UnetConfig;
use ddpm::{Error, Fault};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Train a network together with its noise levels (VDM, MuLAN)
///
/// Minimises the bound at T steps itself. Writes what `ddpm train` writes; model/variational.safetensors has the averaged
/// network and γ.
#[derive(Args)]
#[command(after_help = "Example:\n  ddpm noise --path knots --T 20 --steps 1500 --out runs/knots")]
pub(super) struct NoiseLevels {
    /// Where the run keeps its files
    #[arg(long, value_name = "DIR", default_value = "runs/noise")]
    out: PathBuf,

    /// Go on from the checkpoint in --out, up to --steps
    #[arg(long)]
    resume: bool,

    /// Steps in all
    #[arg(long, default_value_t = 1500)]
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

    /// How γ rises
    #[arg(long, default_value = "knots", conflicts_with = "resume")]
    path: Path,

    /// A γ for each pixel
    #[arg(long, conflicts_with = "resume")]
    per_pixel: bool,

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

type Started = (Run, Training<VariationalTraining>, Box<dyn Examples>);

impl NoiseLevels {
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
            Event::Step(report) => progress.step(format!("steps, {:.3} bits/dim", report.loss)),
            Event::Warning(warning) => progress.note(format_args!("warning: {warning}")),
        })?;
        progress.finish();
        show!("{} steps; averaged weights in {}", training.adam.steps, run.options.model().display());
        Ok(())
    }

    fn fresh(&self, options: RunOptions) -> Result<Started> {
        if options.checkpoint().exists() {
            let found = options.checkpoint().display().to_string();
            bail!(Error::argument("--out", "a folder without a checkpoint, or --resume", found));
        }
        let run = Run::open(options)?;
        let origin = Origin {
            kind: DataKind::Pictures,
            path: self.data.clone(),
            size: self.size.0,
            holdout: None,
            flip: true,
            classes: false,
            autoencoder: None,
        };
        let material = origin.load(3)?;
        let [h, w, c] = material.examples.shape();
        let mut config = UnetConfig::paper(h, c, &self.widths, self.layers, self.groups);
        config.sample_size = Some((h, w));
        config.check().map_err(Fault::at("--widths, --layers, --groups, --size"))?;
        let adam = AdamOptions {
            lr: self.lr,
            warmup: self.warmup,
            clip: 0.0,
            ema_decay: 0.999,
            ema_warmup: true,
            ..AdamOptions::default()
        };
        let objective = VariationalTraining {
            batch: self.batch,
            seed: self.seed,
            steps: self.t,
            path: self.path,
            per_pixel: self.per_pixel,
            gamma_rate: self.gamma_rate,
            adam,
        };
        objective.check()?;
        let mut training = Training::of(objective.model(&config), objective, adam);
        training.record = Some(origin.record(&material, &run.options));
        Ok((run, training, material.examples))
    }

    fn resumed(&self, options: RunOptions) -> Result<Started> {
        let path = options.checkpoint();
        std::fs::metadata(&path).map_err(Error::io(&path))?; // before Run::open makes a folder
        let run = Run::open(options)?;
        let training = Training::<VariationalTraining>::load(&path)?;
        let Some(RunRecord { data, .. }) = &training.record else {
            bail!(Error::format(&path, "what it was trained on", "nothing"));
        };
        let material = Origin::of(data, false).load(training.model.unet.config.in_channels)?;
        if material.fingerprint != data.fingerprint {
            let expected = format!("the pictures that the run began with, fingerprint {}", data.fingerprint);
            bail!(Error::argument(material.examples.name(), expected, material.fingerprint));
        }
        Ok((run, training, material.examples))
    }
}
