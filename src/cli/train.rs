//! `ddpm train`.

use super::progress::Progress;
use clap::Args;
use ddpm::checkpoint::{self, Precision, Pretrained};
use ddpm::data::{self, Dataset, FolderOptions, Split};
use ddpm::diffusion::{Loss, Prediction, Reverse, ScheduleKind, Times, Variance};
use ddpm::optim::AdamOptions;
use ddpm::train::{self, RunOptions, TrainOptions, Trainer};
use ddpm::unet::UnetConfig;
use ddpm::{Error, Fault, Result};
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
    after_help = "Example:\n  ddpm train --steps 9000 --out runs/garments\n  ddpm train --steps 18000 --cooldown 4000 --out runs/garments --resume\n  ddpm train --data ~/wikiart --size 64 --holdout 10 --out runs/paintings"
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

    /// Hold out every so manyth picture of a folder, for `ddpm elbo --holdout`
    #[arg(long, value_name = "EVERY")]
    holdout: Option<usize>,

    /// Begin with the weights, the shape and the process of this diffusers folder
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    init: Option<PathBuf>,

    /// Let the step size fall to nothing over the last so many of --steps; may be given when a run is resumed
    #[arg(long, value_name = "STEPS")]
    cooldown: Option<u64>,

    /// How model/ stores the averaged weights: f32, f16 or bf16
    #[arg(long, default_value = "f32")]
    precision: Precision,

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
    #[arg(long, value_delimiter = ',', default_value = "32,64,128", conflicts_with_all = ["resume", "init"])]
    widths: Vec<usize>,

    /// Residual blocks per level
    #[arg(long, default_value_t = 1, conflicts_with_all = ["resume", "init"])]
    layers: usize,

    /// Groups of the group normalisations
    #[arg(long, default_value_t = 8, conflicts_with_all = ["resume", "init"])]
    groups: usize,

    /// Rate of dropout
    #[arg(long, default_value_t = 0.0, conflicts_with_all = ["resume", "init"])]
    dropout: f32,
}

/// The two chains and the loss.
#[derive(Args)]
struct ProcessArgs {
    /// Length T of the chain
    #[arg(long = "T", value_name = "T", default_value_t = 1000, conflicts_with_all = ["resume", "init"])]
    t: usize,

    /// linear, cosine, quad or sigmoid
    #[arg(long, default_value = "linear", conflicts_with_all = ["resume", "init"])]
    schedule: ScheduleKind,

    /// What the network predicts: eps, x0 or mu_tilde
    #[arg(long, default_value = "eps", conflicts_with_all = ["resume", "init"])]
    predict: Prediction,

    /// Variance of the reverse process: beta, beta_tilde, learned or learned_range
    #[arg(long, default_value = "beta", conflicts_with_all = ["resume", "init"])]
    variance: Variance,

    /// What is minimised: simple, vlb or hybrid
    #[arg(long, default_value = "simple", conflicts_with = "resume")]
    loss: Loss,

    /// How t is drawn: uniform, or importance (more often where the loss is large)
    #[arg(long, default_value = "uniform", conflicts_with = "resume")]
    times: Times,
}

impl Train {
    pub(super) fn run(self) -> Result<()> {
        let run = RunOptions {
            out: self.out.clone(),
            steps: self.steps,
            checkpoint_every: Duration::try_from_secs_f64(self.checkpoint_every * 60.0)
                .map_err(|e| Error::argument("--checkpoint-every", "minutes", e))?,
            log_every: self.log_every.max(1),
            precision: self.precision,
        };
        let mut trainer = if self.resume { Some(Trainer::load(&run.checkpoint())?) } else { None };
        let given = self.init.as_ref().map(checkpoint::load_pretrained).transpose()?;
        let unet = trainer.as_ref().map(|t| &t.unet).or(given.as_ref().map(|g| &g.unet));
        let channels = unet.map_or(3, |unet| unet.config.in_channels);
        let mut data = load(self.data.as_deref(), self.network.size, channels, self.holdout)?;
        data.flip = !self.no_flip;
        let trainer = match &mut trainer {
            Some(trainer) => trainer,
            None => trainer.insert(self.fresh(&run, &data, given)?),
        };
        if let Some(steps) = self.cooldown {
            trainer.cool_down(steps, self.steps);
        }
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

    /// A new run, on given weights or its own, which must not overwrite another one.
    fn fresh(&self, run: &RunOptions, data: &Dataset, given: Option<Pretrained>) -> Result<Trainer> {
        if run.checkpoint().exists() {
            let found = run.checkpoint().display().to_string();
            return Err(Error::argument("--out", "a folder without a checkpoint, or --resume", found));
        }
        let adam = AdamOptions {
            lr: self.lr,
            warmup: self.warmup,
            clip: self.clip,
            ema_decay: self.ema,
            ..AdamOptions::default()
        };
        let ProcessArgs { loss, times, .. } = self.process;
        let options = TrainOptions { batch: self.batch.max(1), seed: self.seed, loss, times, adam };
        let Some(Pretrained { unet, reverse }) = given else {
            let (config, reverse) = self.shape(data.shape())?;
            return Ok(Trainer::new(&config, reverse, options));
        };
        let (found @ [h, w, _], c) = (data.shape(), unet.config.in_channels);
        let (h, w) = unet.config.sample_size.unwrap_or((h, w));
        if found != [h, w, c] {
            let [expected, found] = [[h, w, c], found].map(|[h, w, c]| format!("images of {h}x{w}x{c}"));
            return Err(Error::argument("--data", expected, format!("{found} in {}", data.name)));
        }
        Ok(Trainer::from_weights(unet, reverse, options))
    }

    /// Network and process, as the arguments describe them, for images of `[h, w, channels]`.
    fn shape(&self, [h, w, channels]: [usize; 3]) -> Result<(UnetConfig, Reverse)> {
        let n = &self.network;
        let mut config = UnetConfig::paper(h, channels, &n.widths, n.layers, n.groups);
        config.sample_size = Some((h, w));
        config.dropout = n.dropout;
        let p = &self.process;
        if p.variance.is_learned() {
            config.out_channels = 2 * channels;
        }
        let config =
            UnetConfig::from_json(&config.to_json()).map_err(Fault::at("--widths, --layers, --groups"))?;
        let schedule = p.schedule.schedule(p.t)?;
        Ok((config, Reverse { prediction: p.predict, variance: p.variance, ..Reverse::new(schedule) }))
    }
}

/// Fashion-MNIST, a folder of IDX files, or a folder of pictures without those that are held out.
fn load(folder: Option<&Path>, size: usize, channels: usize, holdout: Option<usize>) -> Result<Dataset> {
    match folder {
        Some(dir) if !is_idx(dir)? => match holdout {
            Some(every) => Ok(split_folder(dir, size, channels, every)?.0),
            None => load_folder(dir, size, channels),
        },
        _ if holdout.is_some() => {
            Err(Error::argument("--holdout", "a folder of pictures", "IDX files, which have a test set"))
        }
        _ => Ok(Dataset::from_images(&data::fashion_mnist(folder, Split::Train)?)),
    }
}

/// A folder of pictures as crops; says on the way what could be used.
pub(super) fn load_folder(dir: &Path, size: usize, channels: usize) -> Result<Dataset> {
    let (data, report) = data::load_folder(dir, &FolderOptions { channels, ..FolderOptions::new(size) })?;
    eprintln!("{report}");
    Ok(data)
}

/// The same in two parts, `(train, held_out)`, every `every`-th picture held out.
pub(super) fn split_folder(
    dir: &Path,
    size: usize,
    channels: usize,
    every: usize,
) -> Result<(Dataset, Dataset)> {
    let data = load_folder(dir, size, channels)?;
    let n = data.len();
    if !(2..=n).contains(&every) {
        return Err(Error::argument("--holdout", format!("2 to {n}, of {n} pictures"), every));
    }
    Ok(data.split(every))
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
