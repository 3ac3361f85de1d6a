//! `ddpm train`.

use super::progress::Progress;
use clap::Args;
use ddpm::data::{self, Dataset, FolderOptions, Split};
use ddpm::diffusion::{Loss, Prediction, Reverse, ScheduleKind, Variance};
use ddpm::optim::AdamOptions;
use ddpm::train::{self, RunOptions, TrainOptions, Trainer};
use ddpm::unet::UnetConfig;
use ddpm::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Train a network (Algorithm 1)
///
/// Writes loss.csv, checkpoint.safetensors and, as a diffusers folder, the averaged weights. Ctrl-C saves and stops;
/// --resume goes on as if nothing had happened.
#[derive(Args)]
#[command(
    after_help = "Example:\n  ddpm train --steps 9000 --out runs/garments\n  ddpm train --steps 18000 --out runs/garments --resume\n  ddpm train --data ~/wikiart --size 32 --widths 64,128,128 --groups 32 --out runs/paintings"
)]
pub(super) struct Train {
    /// Where the run keeps its files
    #[arg(long, value_name = "DIR", default_value = "runs/latest")]
    out: PathBuf,

    /// Steps in all, those of a resumed run included
    #[arg(long, default_value_t = 9000)]
    steps: u64,

    /// A folder of IDX files or of pictures [default: Fashion-MNIST's training set, where Debian puts it]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Go on from the checkpoint in --out; network, loss and rates are those of the run
    #[arg(long)]
    resume: bool,

    /// Minutes between checkpoints
    #[arg(long, value_name = "MINUTES", default_value_t = 5.0)]
    checkpoint_every: f64,

    /// Steps between rows of the loss log
    #[arg(long, value_name = "STEPS", default_value_t = 50)]
    log_every: u64,

    /// Don't mirror images
    #[arg(long)]
    no_flip: bool,

    #[command(flatten)]
    network: NetworkArgs,

    #[command(flatten)]
    process: ProcessArgs,

    /// Images per step
    #[arg(long, default_value_t = 64, conflicts_with = "resume")]
    batch: usize,

    /// Of everything random
    #[arg(long, default_value_t = 1, conflicts_with = "resume")]
    seed: u64,

    /// Step size
    #[arg(long, default_value_t = 1e-3, conflicts_with = "resume")]
    lr: f64,

    /// Steps over which the step size grows to --lr
    #[arg(long, default_value_t = 500, conflicts_with = "resume")]
    warmup: u64,

    /// Longest gradient; 0 is no limit
    #[arg(long, default_value_t = 1.0, conflicts_with = "resume")]
    clip: f64,

    /// Decay of the averaged weights
    #[arg(long, default_value_t = 0.999, conflicts_with = "resume")]
    ema: f64,
}

/// The shape of the network.
#[derive(Args)]
struct NetworkArgs {
    /// Side of the crops from a folder of pictures
    #[arg(long, default_value_t = 32)]
    size: usize,

    /// Channels of each level, fine to coarse; attention stands at the second
    #[arg(long, value_delimiter = ',', default_value = "32,64,128", conflicts_with = "resume")]
    widths: Vec<usize>,

    /// Residual blocks per level
    #[arg(long, default_value_t = 1, conflicts_with = "resume")]
    layers: usize,

    /// Groups of the group normalisations
    #[arg(long, default_value_t = 8, conflicts_with = "resume")]
    groups: usize,

    /// Rate of dropout
    #[arg(long, default_value_t = 0.0, conflicts_with = "resume")]
    dropout: f32,
}

/// The two chains and the loss.
#[derive(Args)]
struct ProcessArgs {
    /// Length T of the chain
    #[arg(long = "T", value_name = "T", default_value_t = 1000, conflicts_with = "resume")]
    t: usize,

    /// linear, cosine, quad or sigmoid
    #[arg(long, default_value = "linear", conflicts_with = "resume")]
    schedule: ScheduleKind,

    /// What the network predicts: eps, x0 or mu_tilde
    #[arg(long, default_value = "eps", conflicts_with = "resume")]
    predict: Prediction,

    /// Variance of the reverse process: beta, beta_tilde, learned or learned_range
    #[arg(long, default_value = "beta", conflicts_with = "resume")]
    variance: Variance,

    /// What is minimised: simple, vlb or hybrid
    #[arg(long, default_value = "simple", conflicts_with = "resume")]
    loss: Loss,
}

impl Train {
    pub(super) fn run(self) -> Result<()> {
        let run = RunOptions {
            out: self.out.clone(),
            steps: self.steps,
            checkpoint_every: Duration::try_from_secs_f64(self.checkpoint_every * 60.0)
                .map_err(|e| Error::argument("--checkpoint-every", "minutes", e))?,
            log_every: self.log_every.max(1),
        };
        let mut trainer = if self.resume { Some(Trainer::load(&run.checkpoint())?) } else { None };
        let channels = trainer.as_ref().map(|t| t.unet.config.in_channels);
        let mut data = load(self.data.as_deref(), self.network.size, channels.unwrap_or(3))?;
        data.flip = !self.no_flip;
        let trainer = match &mut trainer {
            Some(trainer) => trainer,
            None => trainer.insert(self.fresh(&run, &data)?),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let handler = stop.clone();
        ctrlc::set_handler(move || handler.store(true, Ordering::Relaxed))
            .map_err(|e| Error::argument("Ctrl-C", "a handler", e))?;
        println!("{} on {} ({} pictures)", describe(trainer), data.name, data.len());

        let mut progress = Progress::new("training", self.steps.saturating_sub(trainer.adam.steps) as usize);
        let batch = trainer.options.batch as f64;
        let mut smooth = None;
        train::run(trainer, &data, &run, &stop, &mut |report| {
            let loss = smooth.map_or(report.loss, |s: f64| 0.98 * s + 0.02 * report.loss);
            smooth = Some(loss);
            progress.step(format!("steps, {:.1} images/s, loss {loss:.4}", progress.per_second() * batch));
        })?;
        progress.finish();
        println!("{} steps; averaged weights in {}", trainer.adam.steps, run.model().display());
        Ok(())
    }

    /// A new run, which must not overwrite another one.
    fn fresh(&self, run: &RunOptions, data: &Dataset) -> Result<Trainer> {
        if run.checkpoint().exists() {
            let found = run.checkpoint().display().to_string();
            return Err(Error::argument("--out", "a folder without a checkpoint, or --resume", found));
        }
        let [h, w, channels] = data.shape();
        let n = &self.network;
        let mut config = UnetConfig::paper(h, channels, &n.widths, n.layers, n.groups);
        config.sample_size = Some((h, w));
        config.dropout = n.dropout;
        let p = &self.process;
        if p.variance.is_learned() {
            config.out_channels = 2 * channels;
        }
        let config = UnetConfig::from_json(&config.to_json(), Path::new("--widths, --layers, --groups"))?;
        let schedule = p.schedule.schedule(p.t)?;
        let reverse = Reverse { prediction: p.predict, variance: p.variance, ..Reverse::new(schedule) };
        let adam = AdamOptions {
            lr: self.lr,
            warmup: self.warmup,
            clip: self.clip,
            ema_decay: self.ema,
            ..AdamOptions::default()
        };
        let options = TrainOptions { batch: self.batch.max(1), seed: self.seed, loss: p.loss, adam };
        Ok(Trainer::new(&config, reverse, options))
    }
}

/// Fashion-MNIST, a folder of IDX files, or a folder of pictures.
fn load(folder: Option<&Path>, size: usize, channels: usize) -> Result<Dataset> {
    match folder {
        Some(dir) if !is_idx(dir)? => {
            let options = FolderOptions { channels, ..FolderOptions::new(size) };
            let (data, report) = data::load_folder(dir, &options)?;
            eprintln!("{report}");
            Ok(data)
        }
        _ => Ok(Dataset::from_images(&data::fashion_mnist(folder, Split::Train)?)),
    }
}

/// Whether a folder holds IDX files rather than pictures.
pub(super) fn is_idx(dir: &Path) -> Result<bool> {
    let entries = std::fs::read_dir(dir).map_err(Error::io(dir))?;
    Ok(entries.flatten().any(|e| e.file_name().to_string_lossy().contains("idx3")))
}

fn describe(trainer: &Trainer) -> String {
    use ddpm::params::Params;
    let o = &trainer.options;
    format!("{} parameters, batch {}, seed {}", trainer.unet.count(), o.batch, o.seed)
}
