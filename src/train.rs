//! Training: Algorithm 1.
//!
//! ```text
//! repeat   x_0 ~ q(x_0);   t ~ Uniform{1..T};   ε ~ N(0, I)
//!          take a gradient descent step on ∇_θ ‖ε − ε_θ(√ᾱ_t x_0 + √(1−ᾱ_t) ε, t)‖²
//! ```
//!
//! Image `i` of step `k` draws everything, which image, flip, t, ε and dropout, from a stream of its own. So a
//! run that is stopped and resumed, or that runs on another number of threads, computes the same bits.

use crate::checkpoint::{self, Precision, Shipped, Tensors};
use crate::data::Dataset;
use crate::diffusion::{
    Decoder, ImportanceSampler, Loss, NoisyBatch, Reverse, Schedule, TimeDistribution, Times,
};
use crate::error::{Error, Fault, Result};
use crate::optim::{Adam, AdamOptions, Cooldown, global_norm, sum_of_gradients};
use crate::rng::{normal, stream};
use crate::tensor::{Batch, Tensor4};
use crate::unet::{GROUP, Unet, UnetConfig};
use ndarray::{Array, Dimension};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What distinguishes one training run from another. A resumed run must have the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainOptions {
    /// images per step
    pub batch: usize,
    /// of everything random
    pub seed: u64,
    /// what is minimised
    pub loss: Loss,
    /// how t is drawn
    #[serde(default)]
    pub times: Times,
    /// how the weights move
    pub adam: AdamOptions,
}

/// A network in training.
#[derive(Clone, Debug)]
pub struct Trainer {
    /// the weights
    pub unet: Unet,
    /// moments and averaged weights
    pub adam: Adam<Unet>,
    /// batch, seed, loss, rates
    pub options: TrainOptions,
    /// schedule and parametrisation
    pub reverse: Reverse,
    /// what is known of the losses at each t, if t is drawn by importance
    pub importance: Option<ImportanceSampler>,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// steps taken so far
    pub step: u64,
    /// mean over the batch
    pub loss: f64,
    /// of the gradient, before clipping
    pub grad_norm: f64,
    /// the step size
    pub lr: f64,
}

/// Images that go through the network together, after the draws of Algorithm 1.
#[derive(Clone, Debug)]
pub struct Group {
    /// x_0, t, ε and x_t
    pub noisy: NoisyBatch,
    /// one stream per image, for dropout; may be empty if its rate is 0
    pub rngs: Vec<ChaCha8Rng>,
    /// what the loss of each image counts: 1, or 1/(T p_t) for t drawn by importance
    pub weights: Vec<f64>,
    /// the loss of each image without its weight, once it is computed
    pub losses: Vec<f64>,
}

impl Group {
    /// Images that count alike.
    pub fn new(noisy: NoisyBatch, rngs: Vec<ChaCha8Rng>) -> Group {
        Group { weights: vec![1.0; noisy.t.len()], noisy, rngs, losses: Vec::new() }
    }

    /// Lines 2–4 of Algorithm 1: x_0, t and ε of as many images as there are streams.
    pub fn draw(
        data: &Dataset,
        schedule: &Schedule,
        times: &TimeDistribution,
        mut rngs: Vec<ChaCha8Rng>,
    ) -> Group {
        let x0 = data.batch(&mut rngs);
        let (t, weights) = rngs.iter_mut().map(|rng| times.draw(rng)).unzip();
        let [h, w, c] = data.shape();
        let mut eps = Batch::zeros(x0.raw_dim());
        for (mut image, rng) in eps.outer_iter_mut().zip(&mut rngs) {
            image.assign(&normal::<f64, _>((h, w, c), rng));
        }
        Group { weights, ..Group::new(NoisyBatch::new(schedule, x0, t, eps), rngs) }
    }
}

/// The mean of weight times loss over all groups, and its gradient; each group keeps the losses of its images.
pub fn loss_and_gradient(unet: &Unet, reverse: &Reverse, loss: Loss, groups: &mut [Group]) -> (f64, Unet) {
    let n: usize = groups.iter().map(|g| g.noisy.t.len()).sum();
    let scale = 1.0 / n as f64;
    let (sum, grad) = sum_of_gradients(unet, groups, &|group: &mut Group, grad: &mut Unet| {
        let Group { noisy, rngs, weights, losses } = group;
        let (y, cache) = unet.forward(noisy.x_t.mapv(|v| v as f32), &noisy.t, rngs);
        let result = loss.loss_and_grad(reverse, &y.mapv(f64::from), noisy, Decoder::Exact);
        let mut dy = Tensor4::zeros(y.raw_dim());
        for ((mut dy, d_output), weight) in
            dy.outer_iter_mut().zip(result.d_output.outer_iter()).zip(&*weights)
        {
            dy.zip_mut_with(&d_output, |dy, d| *dy = (d * (scale * weight)) as f32);
        }
        unet.backward(cache, &dy, grad);
        *losses = result.loss.to_vec();
        losses.iter().zip(weights).map(|(loss, weight)| loss * *weight).sum()
    });
    (sum / n as f64, grad)
}

/// The header of a checkpoint; network and process as diffusers' JSON.
#[derive(Serialize, Deserialize)]
struct Header {
    steps: u64,
    options: TrainOptions,
    scheduler: String,
    unet: String,
}

/// The key of the header in a checkpoint's metadata.
const HEADER: &str = "ddpm_training";
/// The keys of the importance sampler's history.
const LOSSES: &str = "importance.losses";
const SEEN: &str = "importance.seen";

impl Trainer {
    /// A new run; the initial weights are drawn from a stream that no step uses.
    pub fn new(config: &UnetConfig, reverse: Reverse, options: TrainOptions) -> Trainer {
        Trainer::from_weights(Unet::new(config, &mut stream(options.seed, u64::MAX)), reverse, options)
    }

    /// A new run that begins with the weights of another one, say to fit a published network to one's own pictures.
    pub fn from_weights(unet: Unet, reverse: Reverse, options: TrainOptions) -> Trainer {
        let importance =
            (options.times == Times::Importance).then(|| ImportanceSampler::new(reverse.schedule.T()));
        Trainer { adam: Adam::new(&unet, options.adam), unet, options, reverse, importance }
    }

    /// Lets the step size fall to nothing over the `steps` that end with step `end`.
    pub fn cool_down(&mut self, steps: u64, end: u64) {
        self.options.adam.cooldown = Some(Cooldown { from: end.saturating_sub(steps), to: end });
        self.adam.options = self.options.adam;
    }

    /// One step of Algorithm 1.
    ///
    /// # Errors
    /// The loss or the gradient is not finite; the weights are then as before the step.
    pub fn step(&mut self, data: &Dataset) -> Result<StepReport> {
        let mut groups = self.draw(data);
        let (loss, grad) = loss_and_gradient(&self.unet, &self.reverse, self.options.loss, &mut groups);
        let grad_norm = global_norm(&grad);
        if !loss.is_finite() || !grad_norm.is_finite() {
            let loss = if loss.is_finite() { grad_norm } else { loss };
            return Err(Error::NonFiniteLoss { step: self.adam.steps + 1, loss });
        }
        self.adam.step_with_norm(&mut self.unet, &grad, grad_norm);
        if let Some(importance) = &mut self.importance {
            groups.iter().for_each(|group| importance.record(&group.noisy.t, &group.losses));
        }
        let lr = self.options.adam.lr_at(self.adam.steps);
        Ok(StepReport { step: self.adam.steps, loss, grad_norm, lr })
    }

    /// The batch of the next step: image `i` of step `k` has the stream `k · batch + i` of the run's seed.
    fn draw(&self, data: &Dataset) -> Vec<Group> {
        let first = self.adam.steps * self.options.batch as u64;
        let streams: Vec<u64> = (first..first + self.options.batch as u64).collect();
        let schedule = &self.reverse.schedule;
        let uniform = TimeDistribution::Uniform(schedule.T());
        let times = self.importance.as_ref().map_or(uniform, ImportanceSampler::distribution);
        let group = |n: &[u64]| {
            let rngs = n.iter().map(|&n| stream(self.options.seed, n)).collect();
            Group::draw(data, schedule, &times, rngs)
        };
        streams.par_chunks(GROUP).map(group).collect()
    }

    /// Writes everything that [`load`](Trainer::load) needs to go on; the file appears whole or not at all.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let header = Header {
            steps: self.adam.steps,
            options: self.options.clone(),
            scheduler: checkpoint::reverse_to_json(&self.reverse),
            unet: self.unet.config.to_json(),
        };
        let mut file = Tensors::default();
        let header = serde_json::to_string(&header).map_err(|e| Error::format(path, "a header", e))?;
        file.metadata.insert(HEADER.into(), header);
        for (prefix, model) in self.models() {
            checkpoint::add(model, prefix, &mut file.tensors);
        }
        if let Some(ImportanceSampler { losses, seen }) = &self.importance {
            file.tensors.insert(LOSSES.into(), losses.clone().into_dyn());
            file.tensors.insert(SEEN.into(), seen.clone().into_dyn());
        }
        checkpoint::write(path, &file, Precision::F32)
    }

    fn models(&self) -> [(&'static str, &Unet); 4] {
        [
            ("model.", &self.unet),
            ("ema.", &self.adam.ema),
            ("adam_m.", &self.adam.m),
            ("adam_v.", &self.adam.v),
        ]
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// The file can't be read, is damaged or cut short, is not a training checkpoint, or lacks a tensor.
    pub fn load(path: &Path) -> Result<Trainer> {
        Trainer::from_tensors(checkpoint::read(path)?).map_err(Fault::at(path))
    }

    /// What [`save`](Trainer::save) wrote.
    fn from_tensors(mut file: Tensors) -> Result<Trainer, Fault> {
        let header = file.metadata.get(HEADER);
        let header = header.ok_or_else(|| Fault::format("a training checkpoint", "other tensors"))?;
        let header: Header =
            serde_json::from_str(header).map_err(|e| Fault::format("a training header", e))?;
        let config = UnetConfig::from_json(&header.unet)?;
        let reverse = checkpoint::reverse_from_json(&header.scheduler)?;
        checkpoint::check_channels(&config, &reverse)?;
        if header.options.batch == 0 {
            return Err(Fault::format("a batch of at least one image", 0));
        }
        checkpoint::enough(&config, &file)?;
        let mut trainer = Trainer::new(&config, reverse, header.options);
        trainer.adam.steps = header.steps;
        checkpoint::fill(&mut trainer.unet, "model.", &mut file.tensors)?;
        checkpoint::fill(&mut trainer.adam.ema, "ema.", &mut file.tensors)?;
        checkpoint::fill(&mut trainer.adam.m, "adam_m.", &mut file.tensors)?;
        checkpoint::fill(&mut trainer.adam.v, "adam_v.", &mut file.tensors)?;
        if let Some(ImportanceSampler { losses, seen }) = &mut trainer.importance {
            take(losses, LOSSES, &mut file)?;
            take(seen, SEEN, &mut file)?;
        }
        checkpoint::nothing_left(&file.tensors)?;
        Ok(trainer)
    }
}

/// Fills an array, of the shape it has, with the tensor of that key as it is.
fn take<D: Dimension>(array: &mut Array<f32, D>, key: &str, file: &mut Tensors) -> Result<(), Fault> {
    let missing = || Fault::MissingKey { key: key.into() };
    let found = file.tensors.remove(key).ok_or_else(missing)?;
    if found.shape() != array.shape() {
        let (expected, found) = (array.shape().to_vec(), found.shape().to_vec());
        return Err(Fault::WrongShape { key: key.into(), expected, found });
    }
    array.assign(&found.into_dimensionality::<D>().expect("as many axes"));
    Ok(())
}

/// Where a run keeps its files, and how often.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// the folder
    pub out: PathBuf,
    /// stop after this many steps in all
    pub steps: u64,
    /// a checkpoint at least this often
    pub checkpoint_every: Duration,
    /// a row of the loss log every so many steps
    pub log_every: u64,
    /// how the averaged weights are stored
    pub precision: Precision,
}

impl RunOptions {
    /// Where a run's checkpoint lies.
    pub fn checkpoint(&self) -> PathBuf {
        self.out.join("checkpoint.safetensors")
    }

    /// Where the loss log lies.
    pub fn log(&self) -> PathBuf {
        self.out.join("loss.csv")
    }

    /// Where the averaged weights lie, as a diffusers folder.
    pub fn model(&self) -> PathBuf {
        self.out.join("model")
    }
}

/// A row of the loss log: means over the steps since the row before. The last row of a run that was stopped may
/// stand for fewer steps than the others; when the run goes on, it is continued.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRow {
    /// steps taken
    pub step: u64,
    /// mean loss
    pub loss: f64,
    /// mean norm of the gradient before clipping
    pub grad_norm: f64,
    /// step size
    pub lr: f64,
    /// wall time of training so far
    pub seconds: f64,
}

/// The log of a shipped network's training.
///
/// ```
/// # fn main() -> ddpm::Result<()> {
/// let log = ddpm::train::shipped_log(&ddpm::checkpoint::GARMENTS)?;
/// assert_eq!(log[0].step, 50);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// It is damaged.
pub fn shipped_log(shipped: &Shipped) -> Result<Vec<LogRow>> {
    read_log(&Path::new(shipped.folder).join("loss.csv"), shipped.log)
}

fn read_log(path: &Path, csv: &[u8]) -> Result<Vec<LogRow>> {
    let rows = csv::Reader::from_reader(csv).into_deserialize().collect::<std::result::Result<_, _>>();
    rows.map_err(|e| Error::format(path, "a loss log", e))
}

/// Trains until `run.steps`, or until `stop`; checkpoints on the way and at the end, and writes the averaged weights.
///
/// # Errors
/// The loss is not finite (the last checkpoint stays), or a file can't be written.
pub fn run(
    trainer: &mut Trainer,
    data: &Dataset,
    run: &RunOptions,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&StepReport),
) -> Result<()> {
    std::fs::create_dir_all(&run.out).map_err(Error::io(&run.out))?;
    let mut log = LossLog::open(&run.log(), trainer.adam.steps, run.log_every)?;
    let mut saved = Instant::now();
    while trainer.adam.steps < run.steps && !stop.load(Ordering::Relaxed) {
        let report = trainer.step(data)?;
        log.add(&report, run.log_every);
        progress(&report);
        if saved.elapsed() >= run.checkpoint_every {
            log.write()?;
            trainer.save(&run.checkpoint())?;
            saved = Instant::now();
        }
    }
    log.write()?;
    trainer.save(&run.checkpoint())?;
    checkpoint::save_pretrained(&trainer.adam.ema, &trainer.reverse, run.model(), run.precision)
}

/// The loss log in memory; written whole, like everything that is saved.
struct LossLog {
    path: PathBuf,
    rows: Vec<LogRow>,
    /// steps in the last row if more are to be added to it, else 0
    open_steps: u64,
    started: Instant,
    seconds_before: f64,
}

impl LossLog {
    /// Continues the log of a run up to step `steps`; what was logged after its checkpoint is computed again.
    fn open(path: &Path, steps: u64, every: u64) -> Result<LossLog> {
        let mut rows = Vec::new();
        if steps > 0 && path.exists() {
            rows = read_log(path, &std::fs::read(path).map_err(Error::io(path))?)?;
            rows.retain(|row| row.step <= steps);
        }
        let seconds_before = rows.last().map_or(0.0, |row| row.seconds);
        let open_steps = match rows[..] {
            [.., before, last] if !last.step.is_multiple_of(every) => last.step - before.step,
            [last] if !last.step.is_multiple_of(every) => last.step,
            _ => 0,
        };
        Ok(LossLog { path: path.to_path_buf(), rows, open_steps, started: Instant::now(), seconds_before })
    }

    fn add(&mut self, report: &StepReport, every: u64) {
        let n = self.open_steps + 1;
        let before = if n == 1 { None } else { self.rows.pop() };
        let (loss, grad_norm) = before.map_or((0.0, 0.0), |row| (row.loss, row.grad_norm));
        self.rows.push(LogRow {
            step: report.step,
            // running means: what is in the file is all there is to know
            loss: loss + (report.loss - loss) / n as f64,
            grad_norm: grad_norm + (report.grad_norm - grad_norm) / n as f64,
            lr: report.lr,
            seconds: self.seconds_before + self.started.elapsed().as_secs_f64(),
        });
        self.open_steps = if report.step.is_multiple_of(every) { 0 } else { n };
    }

    fn write(&self) -> Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in &self.rows {
            writer.serialize(row).map_err(|e| Error::format(&self.path, "a loss log", e))?;
        }
        let bytes = writer.into_inner().map_err(|e| Error::format(&self.path, "a loss log", e))?;
        crate::files::write_atomically(&self.path, &bytes)
    }
}

#[cfg(test)]
mod tests;
