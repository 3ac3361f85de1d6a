//! One step of a training: the loss of a batch, its gradient, and what Adam makes of it.

use super::{Objective, Training};
use crate::error::{Error, Result};
use crate::optim::{Adam, global_norm};
use crate::params::Params;
use crate::threads::Working;
use serde::Serialize;

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
        let objective = &self.objective;
        let report = descend(&mut self.model, &mut self.adam, &mut groups, n, &|model, group, grad| {
            objective.loss_and_grad(model, group, n, grad)
        })?;
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
    let (sum, grad) = sum_of_gradients(&*model, groups, loss);
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
