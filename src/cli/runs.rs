//! What the commands that train have in common: the folder of a run, and the loop around it.

use super::data::{Cut, ImageSize, WHOLE};
use super::material::{Material, Origin};
use super::numbers::{percent, time, whole};
use super::progress::Progress;
use super::signals::stop_on_signals;
use super::together::ranks;
use crate::cli::say::show;
use anyhow::{Context, Result, bail};
use clap::Args;
use ddpm::Error;
use ddpm::checkpoint::Precision;
use ddpm::data::Examples;
use ddpm::optim::AdamOptions;
use ddpm::params::Params;
use ddpm::train::{DataKind, Event, Run, RunOptions, RunRecord, Saved, Training};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How often rows of the loss log are written.
const LOG_EVERY: u64 = 50;

/// How a run is stopped, kept and resumed.
#[derive(Args)]
pub(super) struct RunArgs {
    /// Go on from the checkpoint in --out, up to --steps
    #[arg(long)]
    pub resume: bool,

    /// Let the step size fall to nothing over the last so many of --steps
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    cooldown: Option<u64>,

    /// Minutes between checkpoints
    #[arg(long, value_name = "MINUTES", default_value_t = 5.0, value_parser = time)]
    checkpoint_every: f64,

    /// How model/ stores the averaged weights
    #[arg(long, default_value = "f32")]
    pub precision: Precision,
}

/// The pictures that an autoencoder learns from.
#[derive(Args)]
pub(super) struct PictureArgs {
    /// A folder of IDX files or of pictures [default: Fashion-MNIST's training set, where Debian puts it]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    data: Option<PathBuf>,

    /// Side of the crops from a folder of pictures, or height and width, 48x64
    #[arg(long, default_value_t = ImageSize([64, 64]), conflicts_with = "resume")]
    size: ImageSize,

    /// Whole pictures instead of crops at three scales: each example holds at least so many percent of the shorter side
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, default_missing_value = WHOLE, value_parser = percent(), conflicts_with = "resume")]
    whole: Option<u8>,

    /// Hold out every so manyth picture of a folder
    #[arg(long, value_name = "EVERY", value_parser = whole(2..), conflicts_with = "resume")]
    holdout: Option<usize>,
}

impl PictureArgs {
    pub(super) fn origin(&self) -> Origin {
        let Self { data, size, whole, holdout } = self;
        pictures(data.clone(), Cut { size: size.0, whole: *whole, holdout: *holdout })
    }
}

/// A run with what it trains, and on what.
pub(super) struct Started<O: Saved> {
    pub run: Run,
    pub training: Training<O>,
    pub examples: Box<dyn Examples>,
}

impl RunArgs {
    pub(super) fn options(&self, out: PathBuf, steps: u64) -> RunOptions {
        let checkpoint_every = Duration::from_secs_f64(self.checkpoint_every * 60.0);
        RunOptions { out, steps, checkpoint_every, log_every: LOG_EVERY, precision: self.precision }
    }

    /// Trains to the last step, or until a signal; `loss` says how it goes.
    pub(super) fn work<O>(&self, started: &mut Started<O>, loss: fn(f64) -> String) -> Result<()>
    where
        O: Saved<Data = dyn Examples>,
    {
        let Started { run, training, examples } = started;
        let steps = run.options.steps;
        if let Some(cooldown) = self.cooldown {
            training.cool_down(cooldown, steps);
        }
        let stop = stopped_by_signals()?;
        show!("{} parameters on {}", training.model.count(), examples.name());
        let progress = Progress::new("training", steps.saturating_sub(training.adam.steps) as usize);
        run.train(training, &**examples, &stop, &mut |event| match event {
            Event::Step(report) => progress.step(format!("steps, {}", loss(report.loss))),
            Event::Warning(warning) => progress.note(format_args!("warning: {warning}")),
        })?;
        progress.finish();
        Ok(())
    }
}

impl<O: Saved> Started<O> {
    /// A training that begins, with a record of what it is trained on.
    pub(super) fn fresh(
        run: Run,
        mut training: Training<O>,
        origin: &Origin,
        material: Material,
    ) -> Started<O> {
        training.record = Some(origin.record(&material, &run.options));
        Started { run, training, examples: material.examples }
    }

    /// What its last line says.
    pub(super) fn say_end(&self) {
        show!(
            "{} steps; averaged weights in {}",
            self.training.adam.steps,
            self.run.options.model().display()
        );
    }
}

/// Adam whose average suits a short run.
pub(super) fn adam(lr: f64, warmup: u64, clip: f64) -> AdamOptions {
    AdamOptions { lr, warmup, clip, ema_decay: 0.999, ema_warmup: true, ..AdamOptions::default() }
}

/// A flag that a termination, the end of the session or Ctrl-C raises.
pub(super) fn stopped_by_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop).context("signals can't be caught")?;
    Ok(stop)
}

/// A folder for a new run, which must not overwrite another one.
pub(super) fn new_run(options: RunOptions) -> Result<Run> {
    if options.checkpoint().exists() {
        let found = options.checkpoint().display().to_string();
        bail!(Error::argument("--out", "a folder without a checkpoint, or --resume", found));
    }
    opened(options)
}

/// The run of a folder, for the rank that writes into it; the others follow.
fn opened(options: RunOptions) -> Result<Run> {
    match ranks().is_first() {
        true => Ok(Run::open(options)?),
        false => Ok(Run::follow(options)),
    }
}

/// The run in a folder, and where it stands.
pub(super) fn reopened<O: Saved>(options: RunOptions) -> Result<(Run, Training<O>)> {
    let path = options.checkpoint();
    std::fs::metadata(&path).map_err(Error::io(&path))?; // before Run::open makes a folder
    Ok((opened(options)?, Training::load(&path)?))
}

/// The same with the pictures that it was trained on; `channels` are those of the model's images.
pub(super) fn resumed<O: Saved>(options: RunOptions, channels: fn(&O::Model) -> usize) -> Result<Started<O>> {
    let path = options.checkpoint();
    let (run, training) = reopened::<O>(options)?;
    let Some(RunRecord { data, .. }) = &training.record else {
        bail!(Error::format(&path, "what it was trained on", "nothing"));
    };
    let Material { examples, fingerprint, .. } = Origin::of(data, false).load(channels(&training.model))?;
    if fingerprint != data.fingerprint {
        let expected = format!("the pictures that the run began with, fingerprint {}", data.fingerprint);
        bail!(Error::argument(examples.name(), expected, fingerprint));
    }
    Ok(Started { run, training, examples })
}

/// Pictures from a folder, mirrored at random, without labels.
pub(super) fn pictures(path: Option<PathBuf>, cut: Cut) -> Origin {
    let (kind, autoencoder) = (DataKind::Pictures, None);
    Origin { kind, path, cut, flip: true, classes: false, autoencoder }
}
