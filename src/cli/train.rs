//! `ddpm train`.

use super::data::{Cut, ImageSize, WHOLE};
use super::material::{Material, Origin};
use super::model;
use super::numbers::{counting, not_negative, percent, positive, rate, time, whole};
use super::progress::Progress;
use super::runs::{new_run, reopened, stopped_by_signals};
use super::together::{agreed, ranks};
use crate::cli::say::{note, show};
use anyhow::{Context, Result, bail};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args};
use ddpm::checkpoint::{Classes, Precision, Pretrained};
use ddpm::data::{Examples, MaskKind};
use ddpm::diffusion::{Loss, Pairing, Prediction, Reverse, Schedule, ScheduleKind, Times, Variance};
use ddpm::optim::AdamOptions;
use ddpm::rng::stream;
use ddpm::train::{
    Beyond, DataKind, DataRecord, Denoising, Event, Run, RunOptions, RunRecord, TrainOptions, Trainer,
};
use ddpm::unet::{BlockType, Unet, UnetConfig};
use ddpm::{Error, Fault};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Train a network (Algorithm 1)
///
/// Writes checkpoint.safetensors, loss.csv and model/, the averaged weights as a diffusers folder: every few minutes, and at
/// the end. Ctrl-C saves and stops, and --resume goes on as if nothing had happened; beside --out it needs no other argument.
///
/// The average in model/ makes better pictures than the weights of the moment. In a short run it is one over the last tenth
/// of the steps, after some thousands one over the last 1/(1 − --ema) of them.
#[derive(Args)]
#[command(
    after_help = "Example:\n  ddpm train --steps 9000 --out runs/garments\n  ddpm train --resume --out runs/garments\n  ddpm train --resume --out runs/garments --steps 18000 --cooldown 4000\n  ddpm train --data ~/wikiart --size 64 --holdout 10 --out runs/paintings"
)]
pub(super) struct Train {
    /// Where the run keeps its files
    #[arg(long, value_name = "DIR", default_value = "runs/latest")]
    out: PathBuf,

    /// Steps in all, those of a resumed run included [with --resume: as before]
    #[arg(long, default_value_t = 9000)]
    steps: u64,

    /// A folder of IDX files or of pictures [default: Fashion-MNIST's training set, where Debian puts it]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// A series instead of pictures: a CSV file of numbers, perhaps with gaps, its first column perhaps of times; or the word
    /// gaussian, for a process of which everything is known. --holdout leaves out so manyth a part at its end
    #[arg(long, value_name = "FILE|gaussian", conflicts_with_all = ["data", "init", "classes"], requires = "masks")]
    series: Option<PathBuf>,

    /// Train on latents instead of pixels: the folder of an autoencoder, as `ddpm autoencode` or diffusers writes it
    #[arg(long, value_name = "DIR", conflicts_with_all = ["series", "init"])]
    latents: Option<PathBuf>,

    /// Rows of the series that the network sees at a time
    #[arg(long, value_name = "ROWS", default_value_t = 64, value_parser = whole(4..=4096))]
    length: usize,

    /// Go on from the checkpoint in --out, with all that the run was told; what is given again must be the same. (With
    /// --data, the folder may have moved, and --size, --holdout and --no-flip are to be given again as well.)
    #[arg(long)]
    resume: bool,

    /// Minutes between checkpoints
    #[arg(long, value_name = "MINUTES", default_value_t = 5.0, value_parser = time)]
    checkpoint_every: f64,

    /// Steps between rows of the loss log
    #[arg(long, value_name = "STEPS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    log_every: u64,

    /// Don't mirror images
    #[arg(long)]
    no_flip: bool,

    /// Whole pictures instead of crops at three scales: each example holds at least so many percent of the shorter side
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, default_missing_value = WHOLE, value_parser = percent())]
    whole: Option<u8>,

    /// Hold out every so manyth picture of a folder, for `ddpm elbo --holdout`
    #[arg(long, value_name = "EVERY", value_parser = whole(2..))]
    holdout: Option<usize>,

    /// Begin with the weights, the shape and the process of this diffusers folder
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    init: Option<PathBuf>,

    /// Let the step size fall to nothing over the last so many of --steps; may be given when a run is resumed
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    cooldown: Option<u64>,

    /// How model/ stores the averaged weights
    #[arg(long, default_value = "f32")]
    precision: Precision,

    #[command(flatten)]
    network: NetworkArgs,

    #[command(flatten)]
    process: ProcessArgs,

    #[command(flatten)]
    ideas: IdeaArgs,

    /// Images per step
    #[arg(long, default_value_t = 64, value_parser = whole(1..=65536))]
    batch: usize,

    /// Of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Step size
    #[arg(long, default_value_t = 1e-3, value_parser = positive)]
    lr: f64,

    /// Steps over which the step size grows to --lr
    #[arg(long, default_value_t = 500)]
    warmup: u64,

    /// Longest gradient; 0 is no limit
    #[arg(long, default_value_t = 1.0, value_parser = not_negative)]
    clip: f64,

    /// Decay of the averaged weights
    #[arg(long, default_value_t = 0.999, value_parser = rate)]
    ema: f64,

    /// Let that decay begin small, so that the average soon forgets the initial weights; false is the paper's
    #[arg(long, default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    ema_warmup: bool,
}

/// The shape of the network.
#[derive(Args)]
struct NetworkArgs {
    /// Side of the crops from a folder of pictures, or height and width, 48x64
    #[arg(long, default_value_t = ImageSize([32, 32]))]
    size: ImageSize,

    /// Channels of each level, fine to coarse; attention stands at the second
    #[arg(long, value_delimiter = ',', default_value = "32,64,128", value_parser = counting(), conflicts_with = "init")]
    widths: Vec<usize>,

    /// Residual blocks per level
    #[arg(long, default_value_t = 1, value_parser = counting(), conflicts_with = "init")]
    layers: usize,

    /// Groups of the group normalisations
    #[arg(long, default_value_t = 8, value_parser = counting(), conflicts_with = "init")]
    groups: usize,

    /// Rate of dropout
    #[arg(long, default_value_t = 0.0, value_parser = rate, conflicts_with = "init")]
    dropout: f64,
}

/// What goes beyond the paper.
#[derive(Args)]
struct IdeaArgs {
    /// Teach the network classes: the labels of IDX files, or the sub-folders of a folder of pictures
    #[arg(long)]
    classes: bool,

    /// How often an image's class is hidden, so that the network can also do without it, as guidance needs [default with
    /// --classes: 0.1]
    #[arg(long, value_name = "RATE", value_parser = rate, requires = "classes")]
    drop_label: Option<f64>,

    /// Which noise an image meets: drawn (Algorithm 1), assigned (the best permutation of the batch; within each class with
    /// --classes), nearest:K (of K noises) [default: drawn]
    #[arg(long, value_name = "PAIRING")]
    pairing: Option<Pairing>,

    /// Teach the network to fill in what is missing: by which rules pixels are shown to it, each as often as the others
    #[arg(long, value_name = "RULES", value_delimiter = ',')]
    masks: Vec<MaskKind>,
}

/// The two chains and the loss.
#[derive(Args)]
struct ProcessArgs {
    /// Length T of the chain
    #[arg(long = "T", value_name = "T", default_value_t = 1000, value_parser = whole(1..=1_000_000), conflicts_with = "init")]
    t: usize,

    /// The schedule of β_t
    #[arg(long, default_value = "linear", conflicts_with = "init")]
    schedule: ScheduleKind,

    /// Rescale the schedule so that nothing of the image is left at t = T; the network must not predict eps then
    #[arg(long, conflicts_with = "init")]
    zero_snr: bool,

    /// What the network predicts
    #[arg(long, default_value = "eps", conflicts_with = "init")]
    predict: Prediction,

    /// Variance of the reverse process [default: beta, or that of --init, whose network learns another one as well]
    #[arg(long)]
    variance: Option<Variance>,

    /// What is minimised
    #[arg(long, default_value = "simple")]
    loss: Loss,

    /// How t is drawn
    #[arg(long, default_value = "uniform")]
    times: Times,
}

impl Train {
    pub(super) fn run(self, given: &ArgMatches) -> Result<()> {
        let options = RunOptions {
            out: self.out.clone(),
            steps: self.steps,
            checkpoint_every: Duration::from_secs_f64(self.checkpoint_every * 60.0),
            log_every: self.log_every,
            precision: self.precision,
        };
        let started = if self.resume {
            self.resumed(options, &|name| given.value_source(name) == Some(ValueSource::CommandLine))
        } else {
            self.fresh(options)
        };
        let (run, mut trainer, data) = agreed(started)?;
        trainer.ranks = ranks().clone();
        agreed(ranks().same(&trainer.facts()).map_err(Into::into))?;
        if let Some(steps) = self.cooldown {
            if steps > run.options.steps {
                bail!(Error::argument("--cooldown", format!("at most {} steps", run.options.steps), steps,));
            }
            trainer.cool_down(steps, run.options.steps);
        }
        let stop = stopped_by_signals()?;
        let what = if data.scale.is_some() { "windows" } else { "pictures" };
        show!("{} on {} ({} {what})", describe(&trainer), data.examples.name(), data.count);
        agreed(watched(&run, &mut trainer, &*data.examples, &stop))?;
        show!("{} steps; averaged weights in {}", trainer.adam.steps, run.options.model().display());
        Ok(())
    }

    /// What is to be trained on, as far as the arguments say it.
    fn origin(&self) -> Origin {
        let (kind, path, size) = match &self.series {
            Some(path) => (DataKind::Series, Some(path.clone()), [0, self.length]),
            None => (DataKind::Pictures, self.data.clone(), self.network.size.0),
        };
        Origin {
            kind,
            path,
            cut: Cut { size, whole: self.whole, holdout: self.holdout },
            flip: !self.no_flip,
            classes: self.ideas.classes,
            autoencoder: self.latents.clone(),
        }
    }

    /// A new run, on given weights or its own, which must not overwrite another one.
    fn fresh(&self, options: RunOptions) -> Result<(Run, Trainer, Material)> {
        let run = new_run(options)?;
        let given = self.init.as_deref().map(model::load).transpose().context("--init")?;
        let channels = given.as_ref().map_or(3, |given| given.unet.config.image_channels());
        let classes = self.ideas.classes || given.as_ref().is_some_and(|given| given.about.classes.is_some());
        let origin = Origin { classes, ..self.origin() };
        let data = origin.load(channels)?;
        let rows = classes.then(|| data.rows()).transpose()?;
        let options = TrainOptions {
            batch: self.batch,
            seed: self.seed,
            loss: self.process.loss,
            times: self.process.times,
            adam: AdamOptions {
                lr: self.lr,
                warmup: self.warmup,
                clip: self.clip,
                ema_decay: self.ema,
                ema_warmup: self.ema_warmup,
                ..AdamOptions::default()
            },
        };
        let mut trainer = match given {
            Some(Pretrained { unet, reverse, .. }) => {
                let (unet, reverse) = self.process.with_variance(unet, reverse)?;
                options.check(&reverse)?;
                fits(&unet.config, &data)?;
                Trainer::from_weights(self.ideas.added_to(unet, rows, self.seed)?, reverse, options)
            }
            None => {
                let (config, reverse) = self.shape(data.examples.shape(), rows)?;
                options.check(&reverse)?;
                Trainer::new(&config, reverse, options)
            }
        };
        let objective = &mut trainer.objective;
        objective.beyond = self.ideas.beyond(classes);
        objective.beyond.check(&trainer.model.config, &objective.reverse, &objective.options)?;
        let named = data.class_names.clone().filter(|_| classes);
        objective.about.classes =
            named.map(|names| Classes { names, drop_label: objective.beyond.drop_label });
        objective.about.series = data.scale.clone();
        objective.autoencoder = data.autoencoder.clone();
        trainer.record = Some(origin.record(&data, &run.options));
        Ok((run, trainer, data))
    }

    /// Goes on with the run in --out. What is `given` on the command line must be what the run has; what is not comes from
    /// its checkpoint.
    fn resumed(&self, options: RunOptions, given: &dyn Fn(&str) -> bool) -> Result<(Run, Trainer, Material)> {
        let path = options.checkpoint();
        let (mut run, mut trainer) = reopened::<Denoising>(options)?;
        self.same(&trainer, given)?;
        let config = &trainer.model.config;
        let classes = config.num_class_embeds.is_some();
        let origin = match &trainer.record {
            Some(RunRecord { data, options: before }) => {
                keep(&mut run.options, before, given);
                self.same_pictures(data, given)?;
                let before = Origin::of(data, classes);
                let moved = self.data.clone().or(self.series.clone());
                Origin {
                    path: moved.or(before.path),
                    autoencoder: self.latents.clone().or(before.autoencoder),
                    ..before
                }
            }
            None => {
                let size = config.sample_size.map_or(self.network.size.0, |(h, w)| [h, w]);
                let size = if given("size") { self.network.size.0 } else { size };
                let origin = self.origin();
                Origin { cut: Cut { size, ..origin.cut }, classes, ..origin }
            }
        };
        let data = origin.load(config.image_channels())?;
        fits(config, &data)?;
        let record = origin.record(&data, &run.options);
        match &trainer.record {
            Some(before) => unchanged(&before.data, &record.data)?,
            None => note!(
                "warning: {}: does not say which pictures it was trained on; it goes on with {}, {}, {}",
                path.display(),
                data.examples.name(),
                origin.cut.holdout.map_or("all of them".into(), |every| format!("every {every}th held out")),
                if origin.flip { "mirrored at random" } else { "not mirrored" },
            ),
        }
        trainer.record = Some(record);
        trainer.objective.autoencoder = data.autoencoder.clone();
        Ok((run, trainer, data))
    }

    /// What would change the run, if it is given at all, must be as the run has it.
    fn same(&self, trainer: &Trainer, given: &dyn Fn(&str) -> bool) -> Result<()> {
        let Trainer { model: unet, objective: Denoising { options: o, reverse, .. }, .. } = trainer;
        let (c, n, p, i) = (&unet.config, &self.network, &self.process, &self.ideas);
        let beyond = &trainer.objective.beyond;
        let (T, zero_snr) = (reverse.schedule.T(), reverse.schedule.has_zero_terminal_snr());
        let kind = ScheduleKind::ALL
            .into_iter()
            .find(|&kind| schedule(kind, T, zero_snr).is_ok_and(|schedule| schedule == reverse.schedule));
        let pairs = [
            ("batch", self.batch.to_string(), o.batch.to_string()),
            ("seed", self.seed.to_string(), o.seed.to_string()),
            ("lr", self.lr.to_string(), o.adam.lr.to_string()),
            ("warmup", self.warmup.to_string(), o.adam.warmup.to_string()),
            ("clip", self.clip.to_string(), o.adam.clip.to_string()),
            ("ema", self.ema.to_string(), o.adam.ema_decay.to_string()),
            ("ema_warmup", self.ema_warmup.to_string(), o.adam.ema_warmup.to_string()),
            ("loss", p.loss.to_string(), o.loss.to_string()),
            ("times", p.times.to_string(), o.times.to_string()),
            ("widths", names(&n.widths), names(&c.block_out_channels)),
            ("layers", n.layers.to_string(), c.layers_per_block.to_string()),
            ("groups", n.groups.to_string(), c.norm_num_groups.to_string()),
            ("dropout", (n.dropout as f32).to_string(), c.dropout.to_string()),
            ("t", p.t.to_string(), T.to_string()),
            ("zero_snr", p.zero_snr.to_string(), zero_snr.to_string()),
            ("schedule", p.schedule.to_string(), kind.map_or("another".into(), |kind| kind.to_string())),
            ("predict", p.predict.to_string(), reverse.prediction.to_string()),
            ("variance", p.variance.unwrap_or_default().to_string(), reverse.variance.to_string()),
            ("classes", i.classes.to_string(), c.num_class_embeds.is_some().to_string()),
            ("drop_label", i.beyond(true).drop_label.to_string(), beyond.drop_label.to_string()),
            ("pairing", i.pairing.unwrap_or_default().to_string(), beyond.pairing.to_string()),
            ("masks", names(&i.masks), names(&beyond.masks)),
        ];
        pairs.into_iter().try_for_each(|(name, now, before)| as_before(name, given(name), now, before))
    }

    /// The same for what makes the pictures. Their folder may have moved; who names it describes them anew, as a whole.
    fn same_pictures(&self, before: &DataRecord, given: &dyn Fn(&str) -> bool) -> Result<()> {
        let [h, w, _] = before.shape;
        let every = |holdout: Option<usize>| holdout.map_or("none".into(), |every| every.to_string());
        let percent = |whole: Option<u8>| whole.map_or("crops".into(), |percent| percent.to_string());
        let flips = |flip: bool| if flip { "mirrored images" } else { "no mirrored images" }.to_string();
        let pairs = [
            ("size", self.network.size.to_string(), ImageSize([h, w]).to_string()),
            ("holdout", every(self.holdout), every(before.holdout)),
            ("whole", percent(self.whole), percent(before.whole)),
            ("no_flip", flips(!self.no_flip), flips(before.flip)),
        ];
        let anew = given("data");
        pairs
            .into_iter()
            .try_for_each(|(name, now, before)| as_before(name, anew || given(name), now, before))
    }

    /// Network and process, as the arguments describe them, for images of `[h, w, channels]`.
    fn shape(&self, [h, w, channels]: [usize; 3], classes: Option<usize>) -> Result<(UnetConfig, Reverse)> {
        let n = &self.network;
        let mut config = UnetConfig::paper(h, channels, &n.widths, n.layers, n.groups);
        config.sample_size = Some((h, w));
        config.dropout = n.dropout as f32;
        config.num_class_embeds = classes;
        if !self.ideas.masks.is_empty() {
            config.in_channels = 2 * channels + 1;
        }
        if self.series.is_some() {
            config = of_series(config);
        }
        if self.latents.is_some() && n.widths.len() == 1 {
            (config.down_block_types, config.up_block_types) =
                (vec![BlockType::Attention], vec![BlockType::Attention]);
        }
        let p = &self.process;
        let variance = p.variance.unwrap_or_default();
        if variance.is_learned() {
            config.out_channels = 2 * channels;
        }
        UnetConfig { sample_size: None, ..config.clone() }
            .check()
            .map_err(Fault::at("--widths, --layers, --groups"))?;
        config.check_size(h, w).map_err(Fault::at("--size, --widths"))?;
        let schedule = schedule(p.schedule, p.t, p.zero_snr)?;
        let clip = self.series.is_none() && self.latents.is_none(); // their numbers have no bounds
        let reverse = Reverse { prediction: p.predict, variance, clip, ..Reverse::new(schedule) };
        reverse
            .check()
            .map_err(|_| Error::argument("--predict", "v, x0 or mu_tilde with --zero-snr", p.predict))?;
        Ok((config, reverse))
    }
}

/// A network that is told where it is in a series, with attention over the whole of its coarsest level.
fn of_series(config: UnetConfig) -> UnetConfig {
    let rows = config.sample_size.map_or(0, |(h, _)| h);
    let places = UnetConfig::COLUMNS + if rows > 1 { rows } else { 0 };
    let (mut down, mut up) = (config.down_block_types.clone(), config.up_block_types.clone());
    (down[config.block_out_channels.len() - 1], up[0]) = (BlockType::Attention, BlockType::Attention);
    let in_channels = config.in_channels + places;
    UnetConfig { in_channels, down_block_types: down, up_block_types: up, ..config }
}

fn schedule(kind: ScheduleKind, T: usize, zero_snr: bool) -> Result<Schedule> {
    let schedule = kind.schedule(T)?;
    Ok(if zero_snr { schedule.rescaled_to_zero_snr()? } else { schedule })
}

/// Trains, and shows how it goes.
fn watched(
    run: &Run,
    trainer: &mut Trainer,
    data: &(dyn Examples + 'static),
    stop: &AtomicBool,
) -> Result<()> {
    let progress = Progress::new("training", run.options.steps.saturating_sub(trainer.adam.steps) as usize);
    let batch = trainer.objective.options.batch as f64;
    let mut smooth = None;
    run.train(trainer, data, stop, &mut |event| match event {
        Event::Step(report) => {
            let loss = smooth.map_or(report.loss, |s: f64| 0.98 * s + 0.02 * report.loss);
            smooth = Some(loss);
            progress.step(format!("steps, {:.1} images/s, loss {loss:.4}", progress.per_second() * batch));
        }
        Event::Warning(warning) => progress.note(format_args!("warning: {warning}")),
    })?;
    progress.finish();
    Ok(())
}

/// An argument with --resume: absent, or what the run has.
fn as_before(name: &str, given: bool, now: String, before: String) -> Result<()> {
    if !given || now == before {
        return Ok(());
    }
    let name = if name == "t" { "--T".to_string() } else { format!("--{}", name.replace('_', "-")) };
    bail!(Error::argument(name, format!("{before}, as the run began"), now))
}

/// How long, how often and how precisely a resumed run works, unless it is told otherwise: as before.
fn keep(now: &mut RunOptions, before: &RunOptions, given: &dyn Fn(&str) -> bool) {
    let RunOptions { out: _, steps, checkpoint_every, log_every, precision } = *before;
    if !given("steps") {
        now.steps = steps;
    }
    if !given("checkpoint_every") {
        now.checkpoint_every = checkpoint_every;
    }
    if !given("log_every") {
        now.log_every = log_every;
    }
    if !given("precision") {
        now.precision = precision;
    }
}

/// The pictures of a resumed run must be those it began with.
fn unchanged(before: &DataRecord, now: &DataRecord) -> Result<()> {
    if (before.shape, before.pictures, &before.fingerprint) == (now.shape, now.pictures, &now.fingerprint) {
        return Ok(());
    }
    let name = |data: &DataRecord| {
        let folder = data.folder.as_deref().unwrap_or("Fashion-MNIST");
        format!("{} pictures with fingerprint {} in {folder}", data.pictures, data.fingerprint)
    };
    bail!(Error::argument("--data", format!("what the run began with, {}", name(before)), name(now)))
}

/// The images must be such as the network is made for.
fn fits(config: &UnetConfig, data: &Material) -> Result<()> {
    let (found @ [h, w, _], c) = (data.examples.shape(), config.image_channels());
    let (h, w) = match config.sample_size {
        Some(size) => size,
        None => config.check_size(h, w).map(|()| (h, w)).map_err(Fault::at("--size"))?,
    };
    if found == [h, w, c] {
        return Ok(());
    }
    let [expected, found] = [[h, w, c], found].map(|[h, w, c]| format!("images of {h}x{w}x{c}"));
    bail!(Error::argument("--data", expected, format!("{found} in {}", data.examples.name())))
}

impl ProcessArgs {
    /// A given network under the variance that is asked for: if that is to be learned and the network has none, it gets the
    /// channels for it.
    fn with_variance(&self, unet: Unet, reverse: Reverse) -> Result<(Unet, Reverse)> {
        let variance = self.variance.unwrap_or(reverse.variance);
        let unet = match (reverse.variance.is_learned(), variance.is_learned()) {
            (false, true) => unet.with_learned_variance(),
            (true, false) => bail!(Error::argument("--variance", "a learned one, as --init has", variance)),
            _ => unet,
        };
        Ok((unet, Reverse { variance, ..reverse }))
    }
}

impl IdeaArgs {
    fn beyond(&self, classes: bool) -> Beyond {
        let drop_label = if classes { self.drop_label.unwrap_or(0.1) } else { 0.0 };
        Beyond { drop_label, pairing: self.pairing.unwrap_or_default(), masks: self.masks.clone() }
    }

    /// A network that was trained without what it is to learn now, ready to learn it.
    fn added_to(&self, unet: Unet, rows: Option<usize>, seed: u64) -> Result<Unet> {
        let rows = match (unet.config.num_class_embeds, rows) {
            (Some(has), Some(rows)) if has != rows => {
                bail!(Error::argument("--data", format!("{} classes, as --init has", has - 1), rows - 1))
            }
            (Some(_), _) => None,
            (None, rows) => rows,
        };
        let masks = !self.masks.is_empty() && !unet.config.sees_known();
        if masks && unet.config.in_channels != unet.config.out_channels {
            bail!(Error::argument(
                "--init",
                "a network without a learned variance, for --masks",
                "one with it"
            ));
        }
        Ok(unet.with_conditions(rows, masks, &mut stream(seed, u64::MAX)))
    }
}

fn names(all: &[impl ToString]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn describe(trainer: &Trainer) -> String {
    use ddpm::params::Params;
    let o = &trainer.objective.options;
    format!("{} parameters, batch {}, seed {}", trainer.model.count(), o.batch, o.seed)
}
