//! Training: Algorithm 1.
//!
//! ```text
//! repeat   x_0 ~ q(x_0);   t ~ Uniform{1..T};   ε ~ N(0, I)
//!          take a gradient descent step on ∇_θ ‖ε − ε_θ(√ᾱ_t x_0 + √(1−ᾱ_t) ε, t)‖²
//! ```
//!
//! Image `i` of step `k` draws everything, which image, flip, t, ε and dropout, from a stream of its own. So a
//! run that is stopped and resumed, or that runs on another number of threads, computes the same bits.
//!
//! A [`Trainer`] is a network with its optimiser, and takes steps. A [`Run`] is a folder in which a trainer works for
//! hours: nothing that happens around it (a full device, a log that somebody edited, a second process, `kill -9`) costs
//! more than the steps since the last checkpoint.

mod checkpoint;
mod log;
mod run;
mod step;

pub use checkpoint::{DataRecord, RunRecord};
pub use log::{LogRow, shipped_log};
pub use run::{Event, Run, RunOptions};
pub use step::{Group, StepReport, loss_and_gradient};

use crate::data::Dataset;
use crate::diffusion::{ImportanceSampler, Loss, Reverse, Times};
use crate::error::{Error, Result};
use crate::optim::{Adam, AdamOptions, Cooldown};
use crate::rng::{Domain, stream};
use crate::unet::{Unet, UnetConfig};
use serde::{Deserialize, Serialize};

/// More images per step than this are a slip of the finger: at 28×28 their noise alone would take gigabytes.
const MAX_BATCH: usize = 1 << 16;

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

impl TrainOptions {
    /// What must hold of the options, and between them and the process.
    ///
    /// # Errors
    /// An [`Error::Argument`] that names the option: a batch of nothing, a loss that needs a learned variance and has
    /// none, or what [`AdamOptions::check`] finds.
    pub fn check(&self, reverse: &Reverse) -> Result<()> {
        if !(1..=MAX_BATCH).contains(&self.batch) {
            return Err(Error::argument("batch", format!("1 to {MAX_BATCH} images"), self.batch));
        }
        if self.loss == Loss::Hybrid && !reverse.variance.is_learned() {
            let found = format!("hybrid with variance {}", reverse.variance);
            return Err(Error::argument("loss", "simple or vlb where the variance is not learned", found));
        }
        reverse.check()?;
        self.adam.check()
    }
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
    /// what its run was told beside the options, if it is part of one
    pub record: Option<RunRecord>,
    /// where its draws come from; runs of the first edition share their streams with samples of the same seed
    pub domain: Domain,
    /// the unfinished row of its log
    open_row: Option<log::OpenRow>,
}

impl Trainer {
    /// A new run; the initial weights are drawn from a stream that no step uses.
    ///
    /// # Panics
    /// If the options fail their [`check`](TrainOptions::check).
    #[track_caller]
    pub fn new(config: &UnetConfig, reverse: Reverse, options: TrainOptions) -> Trainer {
        Trainer::from_weights(Unet::new(config, &mut stream(options.seed, u64::MAX)), reverse, options)
    }

    /// A new run that begins with the weights of another one, say to fit a published network to one's own pictures.
    ///
    /// # Panics
    /// If the options fail their [`check`](TrainOptions::check).
    #[track_caller]
    pub fn from_weights(unet: Unet, reverse: Reverse, options: TrainOptions) -> Trainer {
        options.check(&reverse).unwrap_or_else(|wrong| panic!("Trainer: {wrong}"));
        let importance =
            (options.times == Times::Importance).then(|| ImportanceSampler::new(reverse.schedule.T()));
        let adam = Adam::new(&unet, options.adam);
        Trainer {
            unet,
            adam,
            options,
            reverse,
            importance,
            record: None,
            domain: Domain::Training,
            open_row: None,
        }
    }

    /// Whether these data can train this network.
    ///
    /// # Errors
    /// The network knows classes, and an image has no label, or one that has no row in the network's table.
    pub fn check_data(&self, data: &Dataset) -> Result<()> {
        let Some(rows) = self.unet.config.num_class_embeds else { return Ok(()) };
        match data.classes() {
            None => Err(Error::argument(
                &data.name,
                "a label for every image, as the network knows classes",
                "none",
            )),
            Some(classes) if classes.len() > rows => {
                let expected = format!("labels below {rows}, the rows of the network's table of classes");
                Err(Error::argument(&data.name, expected, classes.len() - 1))
            }
            Some(_) => Ok(()),
        }
    }

    /// Lets the step size fall to nothing over the `steps` that end with step `end`.
    pub fn cool_down(&mut self, steps: u64, end: u64) {
        self.options.adam.cooldown = Some(Cooldown { from: end.saturating_sub(steps), to: end });
        self.adam.options = self.options.adam;
    }
}

#[cfg(test)]
mod tests;
