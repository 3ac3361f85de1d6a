//! One step of Algorithm 1: the draws, the loss of a batch and its gradient.

use super::Trainer;
use crate::data::Dataset;
use crate::diffusion::{
    Decoder, Given, ImportanceSampler, Loss, NoisyBatch, Reverse, Schedule, TimeDistribution,
};
use crate::error::{Error, Result};
use crate::optim::{global_norm, sum_of_gradients};
use crate::rng::normal;
use crate::tensor::{Batch, Tensor4};
use crate::unet::{GROUP, Unet};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
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

/// Images that go through the network together, after the draws of Algorithm 1.
#[derive(Clone, Debug)]
pub struct Group {
    /// x_0, t, ε and x_t
    pub noisy: NoisyBatch,
    /// what the network is told of each image beside x_t and t
    pub given: Given,
    /// one stream per image, for dropout; may be empty if its rate is 0
    pub rngs: Vec<ChaCha8Rng>,
    /// what the loss of each image counts: 1, or 1/(T p_t) for t drawn by importance
    pub weights: Vec<f64>,
    /// the loss of each image without its weight, once it is computed
    pub losses: Vec<f64>,
}

impl Group {
    /// Images that count alike, of which nothing else is known.
    pub fn new(noisy: NoisyBatch, rngs: Vec<ChaCha8Rng>) -> Group {
        let given = Given::default();
        Group { weights: vec![1.0; noisy.t.len()], noisy, given, rngs, losses: Vec::new() }
    }

    /// Lines 2–4 of Algorithm 1: x_0, t and ε of as many images as there are streams.
    pub fn draw(
        data: &Dataset,
        schedule: &Schedule,
        times: &TimeDistribution,
        rngs: Vec<ChaCha8Rng>,
    ) -> Group {
        Group { given: Given::default(), ..Group::draw_labelled(data, schedule, times, rngs) }
    }

    /// [`draw`](Group::draw) with the class of each image, if the data have labels: for a network that knows classes.
    pub fn draw_labelled(
        data: &Dataset,
        schedule: &Schedule,
        times: &TimeDistribution,
        mut rngs: Vec<ChaCha8Rng>,
    ) -> Group {
        let (x0, labels) = data.labelled_batch(&mut rngs);
        let (t, weights) = rngs.iter_mut().map(|rng| times.draw(rng)).unzip();
        let [h, w, c] = data.shape();
        let mut eps = Batch::zeros(x0.raw_dim());
        for (mut image, rng) in eps.outer_iter_mut().zip(&mut rngs) {
            image.assign(&normal::<f64, _>((h, w, c), rng));
        }
        let given = labels.map_or_else(Given::default, |labels| Given::classes(&labels));
        Group { weights, given, ..Group::new(NoisyBatch::new(schedule, x0, t, eps), rngs) }
    }
}

/// The mean of weight times loss over all groups, and its gradient; each group keeps the losses of its images.
pub fn loss_and_gradient(unet: &Unet, reverse: &Reverse, loss: Loss, groups: &mut [Group]) -> (f64, Unet) {
    let n: usize = groups.iter().map(|g| g.noisy.t.len()).sum();
    let scale = 1.0 / n as f64;
    let (sum, grad) = sum_of_gradients(unet, groups, &|group: &mut Group, grad: &mut Unet| {
        let Group { noisy, given, rngs, weights, losses } = group;
        let (y, cache) = unet.forward_given(noisy.x_t.mapv(|v| v as f32), &noisy.t, given, rngs);
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

impl Trainer {
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
            return Err(Error::NonFiniteLoss { step: self.adam.steps + 1, loss, kept: None });
        }
        self.adam.step_with_norm(&mut self.unet, &grad, grad_norm);
        if let Some(importance) = &mut self.importance {
            groups.iter().for_each(|group| importance.record(&group.noisy.t, &group.losses));
        }
        let lr = self.options.adam.lr_at(self.adam.steps);
        Ok(StepReport { step: self.adam.steps, loss, grad_norm, lr })
    }

    /// The batch of the next step: image `i` of step `k` has the stream `k · batch + i` of the run's seed and
    /// domain.
    pub(super) fn draw(&self, data: &Dataset) -> Vec<Group> {
        let first = self.adam.steps * self.options.batch as u64;
        let streams: Vec<u64> = (first..first + self.options.batch as u64).collect();
        let schedule = &self.reverse.schedule;
        let uniform = TimeDistribution::Uniform(schedule.T());
        let times = self.importance.as_ref().map_or(uniform, ImportanceSampler::distribution);
        let group = |n: &[u64]| {
            let rngs = n.iter().map(|&n| self.domain.stream(self.options.seed, n)).collect();
            match self.unet.class_embedding {
                Some(_) => Group::draw_labelled(data, schedule, &times, rngs),
                None => Group::draw(data, schedule, &times, rngs),
            }
        };
        streams.par_chunks(GROUP).map(group).collect()
    }
}
