//! What can be trained: a model, what a step draws for it, and what it costs.

use crate::checkpoint::{Precision, Tensors};
use crate::error::{Fault, Result};
use crate::optim::AdamOptions;
use crate::params::Params;
use ndarray::ArrayD;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::path::Path;

/// What a training minimises: the mean of a loss over the examples that a step draws.
///
/// [`Training::step`](super::Training::step) is the loop around it. [`Denoising`](super::Denoising) is Algorithm 1.
pub trait Objective: Sync {
    /// what has the weights
    type Model: Params + Clone + Send + Sync;
    /// what is drawn from
    type Data: ?Sized + Sync;
    /// examples that go through the model together, after the draws of a step
    type Group: Send;

    /// Whether these data can train this model.
    ///
    /// # Errors
    /// They can't; the error says what is missing.
    fn check_data(&self, model: &Self::Model, data: &Self::Data) -> Result<()>;

    /// Everything random of the step that follows `steps` steps. It must depend on the seed, `steps` and the data alone, so
    /// that a run that is stopped and resumed, or runs on another number of threads, computes the same bits.
    fn draw(&self, model: &Self::Model, data: &Self::Data, steps: u64) -> Vec<Self::Group>;

    /// How many examples a group has.
    fn examples(group: &Self::Group) -> usize;

    /// The sum of the group's losses; adds to `grad` the gradient of that sum divided by `n`, the number of examples of all
    /// groups.
    fn loss_and_grad(
        &self,
        model: &Self::Model,
        group: &mut Self::Group,
        n: usize,
        grad: &mut Self::Model,
    ) -> f64;

    /// The losses that [`learn`](Objective::learn) reads of a group, one for each example from the draw on, if it does: ranks
    /// that share the groups tell each other.
    fn losses_mut(_group: &mut Self::Group) -> Option<&mut Vec<f64>> {
        None
    }

    /// What the objective itself learns from a step, if it does.
    fn learn(&mut self, _groups: &[Self::Group]) {}
}

/// An objective whose trainings can be saved, and go on from their checkpoint as if nothing had happened.
pub trait Saved: Objective + Sized {
    /// what a checkpoint says of objective and model, as JSON
    type Header: Serialize + DeserializeOwned;

    /// How the weights move.
    fn adam_options(&self) -> AdamOptions;

    /// As [`adam_options`](Saved::adam_options), to change.
    fn adam_options_mut(&mut self) -> &mut AdamOptions;

    /// What [`restored`](Saved::restored) needs.
    fn header(&self, model: &Self::Model) -> Self::Header;

    /// A model of the right shapes, its weights still to be filled in, and the objective.
    ///
    /// # Errors
    /// The header makes no sense, or the file can't hold such a model.
    fn restored(header: Self::Header, file: &Tensors) -> Result<(Self::Model, Self), Fault>;

    /// What the objective has learned, by key.
    fn state(&self) -> Vec<(&'static str, ArrayD<f32>)> {
        Vec::new()
    }

    /// Takes what [`state`](Saved::state) gave out of the tensors.
    ///
    /// # Errors
    /// A key is missing, or its shape is wrong.
    fn restore(&mut self, _tensors: &mut BTreeMap<String, ArrayD<f32>>) -> Result<(), Fault> {
        Ok(())
    }

    /// Writes a model, of averaged weights, in the form in which it is used.
    ///
    /// # Errors
    /// The folder can't be written to.
    fn save_model(&self, model: &Self::Model, folder: &Path, precision: Precision) -> Result<()>;
}
