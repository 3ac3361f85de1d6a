//! One step of a training: the loss of a batch, its gradient, and what Adam makes of it.

use super::{Objective, Training};
use crate::error::{Error, Result};
use crate::optim::{Adam, global_norm};
use crate::params::Params;
use crate::ranks::Ranks;
use crate::threads::Working;
use serde::Serialize;
use std::ops::Range;

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

impl<O: Objective> Training<O> {
    /// One step, of Algorithm 1 if this is a [`Trainer`](super::Trainer): draws, loss and gradient, Adam.
    ///
    /// # Errors
    /// The loss or the gradient is not finite; the weights are then as before the step.
    pub fn step(&mut self, data: &O::Data) -> Result<StepReport> {
        let mut groups = self.objective.draw(&self.model, data, self.adam.steps);
        let n = groups.iter().map(O::examples).sum::<usize>().max(1);
        let (objective, ranks) = (&self.objective, &self.ranks);
        let loss = |model: &O::Model, group: &mut O::Group, grad: &mut O::Model| {
            objective.loss_and_grad(model, group, n, grad)
        };
        let report = descend_together(&mut self.model, &mut self.adam, &mut groups, n, &loss, ranks)?;
        share_losses::<O>(&mut groups, ranks);
        self.objective.learn(&groups);
        Ok(report)
    }
}

/// One step of Adam down the slope of a mean loss: `loss` gives the sum of a group's losses and adds its gradient, divided
/// by `n`, the number of examples of all groups, to its last argument.
///
/// # Errors
/// The loss or the gradient is not finite; the weights are then as before.
pub fn descend<M, G>(
    model: &mut M,
    adam: &mut Adam<M>,
    groups: &mut [G],
    n: usize,
    loss: &(impl Fn(&M, &mut G, &mut M) -> f64 + Sync),
) -> Result<StepReport>
where
    M: Params + Send + Sync,
    G: Send,
{
    descend_together(model, adam, groups, n, loss, &Ranks::alone())
}

/// [`descend`] of several ranks, each with its branch of the groups.
fn descend_together<M, G>(
    model: &mut M,
    adam: &mut Adam<M>,
    groups: &mut [G],
    n: usize,
    loss: &(impl Fn(&M, &mut G, &mut M) -> f64 + Sync),
    ranks: &Ranks,
) -> Result<StepReport>
where
    M: Params + Send + Sync,
    G: Send,
{
    let (sum, grad) = sum_over_ranks(&*model, groups, loss, ranks, 0..ranks.size());
    let (loss, grad_norm) = (sum / n as f64, global_norm(&grad));
    if !loss.is_finite() || !grad_norm.is_finite() {
        let loss = if loss.is_finite() { grad_norm } else { loss };
        return Err(Error::NonFiniteLoss { step: adam.steps + 1, loss, kept: None });
    }
    adam.step_with_norm(model, &grad, grad_norm);
    Ok(StepReport { step: adam.steps, loss, grad_norm, lr: adam.options.lr_at(adam.steps) })
}

/// The sum of `loss` over all groups, and the gradient of it that `loss` adds to its last argument.
///
/// ```text
///               g_1 + … + g_8                  one binary tree, whose sums depend on the number of groups
///           ╱                 ╲                alone: any number of threads, and any processes that share the
///     g_1 + … + g_4     g_5 + … + g_8          groups by its branches, form the same bits
///       ╱       ╲         ╱       ╲
///   g_1+g_2  g_3+g_4  g_5+g_6  g_7+g_8
/// ```
pub(super) fn sum_of_gradients<M, G>(
    model: &M,
    groups: &mut [G],
    loss: &(impl Fn(&M, &mut G, &mut M) -> f64 + Sync),
) -> (f64, M)
where
    M: Params + Send + Sync,
    G: Send,
{
    if groups.len() <= 1 {
        let _working = Working::begin();
        let mut grad = model.zeros_like();
        let sum = groups.iter_mut().map(|group| loss(model, group, &mut grad)).sum();
        return (sum, grad);
    }
    let (left, right) = groups.split_at_mut(groups.len() / 2);
    let side = |groups: &mut [G]| sum_of_gradients(model, groups, loss);
    let ((sum, mut grad), (other_sum, other)) = rayon::join(|| side(left), || side(right));
    for (g, o) in grad.slices_mut().into_iter().zip(other.slices()) {
        g.iter_mut().zip(o).for_each(|(g, o)| *g += o);
    }
    (sum + other_sum, grad)
}

/// [`sum_of_gradients`] where the ranks of `branch` share the groups: each half of them computes one side of the tree, and
/// the ranks of both halves exchange, in pairs, what they have.
fn sum_over_ranks<M, G>(
    model: &M,
    groups: &mut [G],
    loss: &(impl Fn(&M, &mut G, &mut M) -> f64 + Sync),
    ranks: &Ranks,
    branch: Range<usize>,
) -> (f64, M)
where
    M: Params + Send + Sync,
    G: Send,
{
    if branch.len() == 1 || groups.len() <= 1 {
        return sum_of_gradients(model, groups, loss); // of one group, by each rank of the branch for itself
    }
    let half = branch.len() / 2;
    let (middle, rank) = (branch.start + half, ranks.rank());
    let (left, right) = groups.split_at_mut(groups.len() / 2);
    let ((sum, mut grad), other) = match rank < middle {
        true => (sum_over_ranks(model, left, loss, ranks, branch.start..middle), rank + half),
        false => (sum_over_ranks(model, right, loss, ranks, middle..branch.end), rank - half),
    };
    // a + b and b + a are the same bits: so are the sums on both sides
    let other_sum = ranks.exchange_numbers(other, &[sum])[0];
    let theirs: Vec<f32> = ranks.exchange_numbers(other, &grad.slices().concat());
    let own = grad.slices_mut().into_iter().flatten();
    own.zip(theirs).for_each(|(g, o)| *g += o);
    (sum + other_sum, grad)
}

/// The groups that `rank` computes for all, if those of `branch` share `groups` as [`sum_over_ranks`] does.
fn computed(groups: Range<usize>, branch: Range<usize>, rank: usize) -> Range<usize> {
    if branch.len() == 1 || groups.len() <= 1 {
        return if rank == branch.start { groups } else { groups.end..groups.end };
    }
    let (middle, cut) = (branch.start + branch.len() / 2, groups.start + groups.len() / 2);
    match rank < middle {
        true => computed(groups.start..cut, branch.start..middle, rank),
        false => computed(cut..groups.end, middle..branch.end, rank),
    }
}

/// Tells all ranks the losses of the groups that others have computed.
fn share_losses<O: Objective>(groups: &mut [O::Group], ranks: &Ranks) {
    if ranks.size() == 1 {
        return;
    }
    let own = computed(0..groups.len(), 0..ranks.size(), ranks.rank());
    let mut losses: Vec<_> = groups.iter_mut().filter_map(O::losses_mut).collect();
    if losses.is_empty() {
        return;
    }
    let mine: Vec<f64> = losses[own].iter().flat_map(|losses| losses.iter().copied()).collect();
    let all = ranks.all(&mine).concat(); // the ranks' groups lie in the order of the ranks
    let mut rest = all.into_iter();
    losses
        .iter_mut()
        .for_each(|losses| losses.iter_mut().for_each(|loss| *loss = rest.next().expect("every loss")));
}
