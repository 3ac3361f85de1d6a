//! Algorithm 1 as an objective: images, times and noise are drawn, and the network guesses what was added.

use super::step::sum_of_gradients;
use super::{Objective, Saved, TrainOptions};
use crate::checkpoint::{self, Precision, Tensors};
use crate::data::Dataset;
use crate::diffusion::{
    Decoder, Given, ImportanceSampler, Loss, NoisyBatch, Reverse, Schedule, TimeDistribution, Times,
};
use crate::error::{Error, Fault, Result};
use crate::optim::AdamOptions;
use crate::rng::{Domain, normal};
use crate::tensor::{Batch, Tensor4};
use crate::unet::{GROUP_SIZE, Unet, UnetConfig};
use ndarray::{Array, ArrayD, Dimension};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What a [`Trainer`](super::Trainer) minimises: the loss of a network that denoises.
#[derive(Clone, Debug)]
pub struct Denoising {
    /// batch, seed, loss, rates
    pub options: TrainOptions,
    /// schedule and parametrisation
    pub reverse: Reverse,
    /// what is known of the losses at each t, if t is drawn by importance
    pub importance: Option<ImportanceSampler>,
    /// where its draws come from; runs of the first edition share their streams with samples of the same seed
    pub domain: Domain,
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

/// The sum over a group of weight times loss; adds its gradient, divided by `n`, to `grad`. The group keeps the losses of
/// its images.
fn group_loss(
    unet: &Unet,
    reverse: &Reverse,
    loss: Loss,
    group: &mut Group,
    n: usize,
    grad: &mut Unet,
) -> f64 {
    let Group { noisy, given, rngs, weights, losses } = group;
    let scale = 1.0 / n as f64;
    let (y, cache) = unet.forward_given(noisy.x_t.mapv(|v| v as f32), &noisy.t, given, rngs);
    let result = loss.loss_and_grad(reverse, &y.mapv(f64::from), noisy, Decoder::Exact);
    let mut dy = Tensor4::zeros(y.raw_dim());
    for ((mut dy, d_output), weight) in dy.outer_iter_mut().zip(result.d_output.outer_iter()).zip(&*weights) {
        dy.zip_mut_with(&d_output, |dy, d| *dy = (d * (scale * weight)) as f32);
    }
    unet.backward(cache, &dy, grad);
    *losses = result.loss.to_vec();
    losses.iter().zip(weights).map(|(loss, weight)| loss * *weight).sum()
}

/// The mean of weight times loss over all groups, and its gradient; each group keeps the losses of its images.
pub fn loss_and_gradient(unet: &Unet, reverse: &Reverse, loss: Loss, groups: &mut [Group]) -> (f64, Unet) {
    let n = groups.iter().map(Denoising::examples).sum();
    let (sum, grad) = sum_of_gradients(unet, groups, &|unet: &Unet, group: &mut Group, grad: &mut Unet| {
        group_loss(unet, reverse, loss, group, n, grad)
    });
    (sum / n as f64, grad)
}

impl Objective for Denoising {
    type Model = Unet;
    type Data = Dataset;
    type Group = Group;

    /// # Errors
    /// The network knows classes, and an image has no label, or one that has no row in the network's table.
    fn check_data(&self, unet: &Unet, data: &Dataset) -> Result<()> {
        let Some(rows) = unet.config.num_class_embeds else { return Ok(()) };
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

    /// Image `i` of step `k` has the stream `k · batch + i` of the run's seed and domain.
    fn draw(&self, unet: &Unet, data: &Dataset, steps: u64) -> Vec<Group> {
        let first = steps * self.options.batch as u64;
        let streams: Vec<u64> = (first..first + self.options.batch as u64).collect();
        let schedule = &self.reverse.schedule;
        let uniform = TimeDistribution::Uniform(schedule.T());
        let times = self.importance.as_ref().map_or(uniform, ImportanceSampler::distribution);
        let group = |n: &[u64]| {
            let rngs = n.iter().map(|&n| self.domain.stream(self.options.seed, n)).collect();
            match unet.class_embedding {
                Some(_) => Group::draw_labelled(data, schedule, &times, rngs),
                None => Group::draw(data, schedule, &times, rngs),
            }
        };
        streams.par_chunks(GROUP_SIZE).map(group).collect()
    }

    fn examples(group: &Group) -> usize {
        group.noisy.t.len()
    }

    fn loss_and_grad(&self, unet: &Unet, group: &mut Group, n: usize, grad: &mut Unet) -> f64 {
        group_loss(unet, &self.reverse, self.options.loss, group, n, grad)
    }

    fn learn(&mut self, groups: &[Group]) {
        if let Some(importance) = &mut self.importance {
            groups.iter().for_each(|group| importance.record(&group.noisy.t, &group.losses));
        }
    }
}

/// Network and process as diffusers' JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct DenoisingHeader {
    options: TrainOptions,
    scheduler: String,
    unet: String,
    #[serde(default)]
    domain: Domain,
}

/// The keys of the importance sampler's history.
pub(super) const LOSSES: &str = "importance.losses";
const SEEN: &str = "importance.seen";

impl Saved for Denoising {
    type Header = DenoisingHeader;

    fn adam_options(&self) -> AdamOptions {
        self.options.adam
    }

    fn header(&self, unet: &Unet) -> DenoisingHeader {
        DenoisingHeader {
            options: self.options.clone(),
            scheduler: checkpoint::reverse_to_json(&self.reverse),
            unet: unet.config.to_json(),
            domain: self.domain,
        }
    }

    fn restored(header: DenoisingHeader, file: &Tensors) -> Result<(Unet, Denoising), Fault> {
        let DenoisingHeader { options, scheduler, unet, domain } = header;
        let config = UnetConfig::from_json(&unet)?;
        let reverse = checkpoint::reverse_from_json(&scheduler)?;
        checkpoint::check_channels(&config, &reverse)?;
        options.check(&reverse).map_err(|e| Fault::format("options that can be used", e))?;
        checkpoint::enough(&config, file)?;
        let unet = Unet::new(&config, &mut crate::rng::stream(options.seed, u64::MAX));
        Ok((unet, Denoising { domain, ..Denoising::new(reverse, options) }))
    }

    fn state(&self) -> Vec<(&'static str, ArrayD<f32>)> {
        let arrays = |sampler: &ImportanceSampler| {
            vec![(LOSSES, sampler.losses.clone().into_dyn()), (SEEN, sampler.seen.clone().into_dyn())]
        };
        self.importance.as_ref().map_or_else(Vec::new, arrays)
    }

    fn restore(&mut self, tensors: &mut BTreeMap<String, ArrayD<f32>>) -> Result<(), Fault> {
        let Some(ImportanceSampler { losses, seen }) = &mut self.importance else { return Ok(()) };
        fill(losses, LOSSES, tensors)?;
        fill(seen, SEEN, tensors)
    }

    fn save_model(&self, unet: &Unet, folder: &Path, precision: Precision) -> Result<()> {
        checkpoint::save_pretrained(unet, &self.reverse, folder, precision)
    }
}

impl Denoising {
    pub(super) fn new(reverse: Reverse, options: TrainOptions) -> Denoising {
        let importance =
            (options.times == Times::Importance).then(|| ImportanceSampler::new(reverse.schedule.T()));
        Denoising { options, reverse, importance, domain: Domain::Training }
    }
}

/// Fills an array, of the shape it has, with the tensor of that key as it is.
fn fill<D: Dimension>(
    array: &mut Array<f32, D>,
    key: &str,
    tensors: &mut BTreeMap<String, ArrayD<f32>>,
) -> Result<(), Fault> {
    let found = checkpoint::take(tensors, key, array.shape())?;
    array.assign(&found.into_dimensionality::<D>().expect("as many axes"));
    Ok(())
}
