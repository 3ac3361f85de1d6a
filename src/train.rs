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
//! An [`Objective`] says what a step draws and what it costs, a [`Training`] is a model with its objective and its
//! optimiser, and takes steps; a [`Trainer`] is the one that does this with a network. A [`Run`] is a folder in which a trainer works for
//! hours: nothing that happens around it (a full device, a log that somebody edited, a second process, `kill -9`) costs
//! more than the steps since the last checkpoint.

mod autoencoding;
mod checkpoint;
mod denoising;
mod log;
mod noise;
mod objective;
mod run;
mod sharpening;
mod step;
mod variational;

pub use autoencoding::{Autoencoding, AutoencodingHeader};
pub use checkpoint::{DataKind, DataRecord, RunRecord};
pub use denoising::{Beyond, Denoising, DenoisingHeader, Group, loss_and_gradient};
#[cfg(feature = "weights")]
pub use log::shipped_log;
pub use log::{LogRow, read_log};
pub use noise::{Gaussians, NoiseDraw, NoiseLevels};
pub use objective::{Objective, Saved};
pub use run::{Event, Run, RunOptions};
pub use sharpening::{Sharpening, SharpeningHeader};
pub use step::{StepReport, descend};
pub use variational::{VariationalGroup, VariationalHeader, VariationalTraining};

use crate::diffusion::{Loss, Reverse, Times};
use crate::error::{Error, Result};
use crate::optim::{Adam, AdamOptions, Cooldown};
use crate::ranks::Ranks;
use crate::rng::stream;
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

/// A model in training, whatever it is and whatever for.
#[derive(Clone, Debug)]
pub struct Training<O: Objective> {
    /// the weights
    pub model: O::Model,
    /// moments and averaged weights
    pub adam: Adam<O::Model>,
    /// what is minimised
    pub objective: O,
    /// what its run was told beside the options, if it is part of one
    pub record: Option<RunRecord>,
    /// who shares its work
    pub ranks: Ranks,
    /// the unfinished row of its log
    open_row: Option<log::OpenRow>,
}

/// A network that learns to denoise: Algorithm 1.
pub type Trainer = Training<Denoising>;

impl<O: Objective> Training<O> {
    /// A training that has not begun.
    pub fn of(model: O::Model, objective: O, adam: AdamOptions) -> Training<O> {
        let adam = Adam::new(&model, adam);
        Training { model, adam, objective, record: None, ranks: Ranks::alone(), open_row: None }
    }
}

impl<O: Saved> Training<O> {
    /// Lets the step size fall to nothing over the `steps` that end with step `end`.
    pub fn cool_down(&mut self, steps: u64, end: u64) {
        let adam = self.objective.adam_options_mut();
        adam.cooldown = Some(Cooldown { from: end.saturating_sub(steps), to: end });
        self.adam.options = *adam;
    }
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
        let adam = options.adam;
        Training::of(unet, Denoising::new(reverse, options), adam)
    }
}

#[cfg(test)]
mod tests;
