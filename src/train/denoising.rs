//! Algorithm 1 as an objective: images, times and noise are drawn, and the network guesses what was added.

use super::step::sum_of_gradients;
use super::{Objective, Saved, TrainOptions};
use crate::autoencoder::AutoencoderKl;
use crate::checkpoint::About;
use crate::checkpoint::{self, Precision, Tensors};
use crate::data::{Drawn, Examples, MaskKind};
use crate::diffusion::{
    Decoder, Given, ImportanceSampler, Known, Loss, NoisyBatch, Pairing, Prediction, Reverse, Schedule,
    TimeDistribution, Times, assign_noise, masked_loss, nearest_noise,
};
use crate::error::{Error, Fault, Result};
use crate::optim::AdamOptions;
use crate::rng::{Domain, normal, normal_batch};
use crate::tensor::{Batch, Tensor4};
use crate::unet::{GROUP_SIZE, Unet, UnetConfig};
use ndarray::{Array, ArrayD, Axis, Dimension, concatenate, s};
use ndarray_rand::rand::Rng;
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
    /// what else is done with the draws
    pub beyond: Beyond,
    /// what the numbers mean
    pub about: About,
    /// of a network of latents: their autoencoder, which is saved beside the network; a checkpoint leaves it out
    pub autoencoder: Option<AutoencoderKl>,
    /// where its draws come from; runs of the first edition share their streams with samples of the same seed
    pub domain: Domain,
}

/// What a training does beyond Algorithm 1; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Beyond {
    /// the probability with which an image's class is hidden from the network, so that it can do without (Ho & Salimans 2022)
    #[serde(default)]
    pub drop_label: f64,
    /// which noise meets which image
    #[serde(default)]
    pub pairing: Pairing,
    /// by which rules, each as often as the others, pixels are shown to the network; the others are its target
    #[serde(default)]
    pub masks: Vec<MaskKind>,
}

impl Beyond {
    /// What must hold between these and the network, the process and the other options.
    ///
    /// # Errors
    /// An [`Error::Argument`] that names the option.
    pub fn check(&self, config: &UnetConfig, reverse: &Reverse, options: &TrainOptions) -> Result<()> {
        if !(0.0..1.0).contains(&self.drop_label) {
            return Err(Error::argument("drop_label", "a rate from 0 on and below 1", self.drop_label));
        }
        if self.drop_label > 0.0 && config.num_class_embeds.is_none() {
            return Err(Error::argument(
                "drop_label",
                "0 for a network that knows no classes",
                self.drop_label,
            ));
        }
        if self.masks.is_empty() == config.sees_known() {
            let found =
                if config.sees_known() { "none for a network that sees known pixels" } else { "some" };
            return Err(Error::argument(
                "masks",
                "rules for a network that sees known pixels, and for no other",
                found,
            ));
        }
        let plain = options.loss == Loss::Simple
            && options.times == Times::Uniform
            && reverse.prediction == Prediction::Eps;
        if !plain && !self.masks.is_empty() {
            let found = format!("{}, {}, {}", options.loss, options.times, reverse.prediction);
            return Err(Error::argument(
                "masks",
                "loss simple, uniform times, a network that predicts eps",
                found,
            ));
        }
        Ok(())
    }
}

/// Images that go through the network together, after the draws of Algorithm 1.
#[derive(Clone, Debug)]
pub struct Group {
    /// x_0, t, ε and x_t
    pub noisy: NoisyBatch,
    /// what the network is told of each image beside x_t and t
    pub given: Given,
    /// the pixels that count, `[N, H, W, 1]`; `None` is all
    pub targets: Option<Batch>,
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
        let n = noisy.t.len();
        Group { weights: vec![1.0; n], noisy, given, targets: None, rngs, losses: vec![0.0; n] }
    }

    /// Lines 2–4 of Algorithm 1: x_0, t and ε of as many images as there are streams.
    pub fn draw(
        data: &dyn Examples,
        schedule: &Schedule,
        times: &TimeDistribution,
        rngs: Vec<ChaCha8Rng>,
    ) -> Group {
        let Draw { drawn, t, weights, eps, rngs } = Draw::new(data, times, rngs);
        Group { weights, ..Group::new(NoisyBatch::new(schedule, drawn.x0, t, eps), rngs) }
    }
}

/// What is drawn for some images, before noise and image meet.
struct Draw {
    drawn: Drawn,
    t: Vec<usize>,
    weights: Vec<f64>,
    eps: Batch,
    rngs: Vec<ChaCha8Rng>,
}

impl Draw {
    fn new(data: &dyn Examples, times: &TimeDistribution, mut rngs: Vec<ChaCha8Rng>) -> Draw {
        let drawn = data.draw_batch(&mut rngs);
        let (t, weights) = rngs.iter_mut().map(|rng| times.draw(rng)).unzip();
        let eps = normal_batch(data.shape(), &mut rngs);
        Draw { drawn, t, weights, eps, rngs }
    }

    /// Of each image's noise and k − 1 further ones, the nearest.
    fn choose_nearest(&mut self, k: usize) {
        let Draw { drawn, eps, rngs, .. } = self;
        for ((mut eps, x0), rng) in eps.outer_iter_mut().zip(drawn.x0.outer_iter()).zip(rngs) {
            let (h, w, c) = x0.dim();
            let mut all = normal::<f64, _>((k, h, w, c), rng);
            all.index_axis_mut(Axis(0), 0).assign(&eps);
            eps.assign(&all.index_axis(Axis(0), nearest_noise(x0, &all)));
        }
    }

    /// The classes that the network is told: an image's is hidden with probability `drop`.
    fn classes(&mut self, drop: f64) -> Option<Vec<Option<usize>>> {
        let labels = self.drawn.labels.as_ref()?;
        let hidden = |rng: &mut ChaCha8Rng| drop > 0.0 && rng.random::<f64>() < drop;
        Some(labels.iter().zip(&mut self.rngs).map(|(&label, rng)| (!hidden(rng)).then_some(label)).collect())
    }

    /// The condition and the target of each image, by a rule that is drawn for it.
    fn masks(&mut self, kinds: &[MaskKind]) -> (Known, Batch) {
        let (n, h, w, _) = self.drawn.x0.dim();
        let observed = self.drawn.observed.clone().unwrap_or_else(|| Batch::ones((n, h, w, 1)));
        let of = |n: usize| observed.slice(s![n, .., .., 0]).to_owned();
        let (mut mask, mut targets) = (Batch::zeros((n, h, w, 1)), Batch::zeros((n, h, w, 1)));
        for (i, rng) in self.rngs.iter_mut().enumerate() {
            let kind = kinds[rng.random_range(0..kinds.len())];
            let own = of(i);
            let condition = kind.condition(&own, &of((i + n - 1) % n), rng); // the first takes the last
            mask.slice_mut(s![i, .., .., 0]).assign(&condition);
            targets.slice_mut(s![i, .., .., 0]).assign(&(&own - &condition)); // M_ta = M − M_co
        }
        (Known { values: self.drawn.x0.clone(), mask }, targets)
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
    let Group { noisy, given, targets, rngs, weights, losses } = group;
    let scale = 1.0 / n as f64;
    let (y, cache) = unet.forward_given(noisy.x_t.mapv(|v| v as f32), &noisy.t, given, rngs);
    let y_hat = y.mapv(f64::from);
    let result = match targets {
        None => loss.loss_and_grad(reverse, &y_hat, noisy, Decoder::Exact),
        Some(targets) => masked_loss(&y_hat, noisy, targets), // of each pixel, where the others are of each image
    };
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

/// Hands the noises of a whole batch to the images that are near to them.
fn assign(draws: &mut [Draw], by_class: bool) {
    let all = |part: &dyn Fn(&Draw) -> &Batch| {
        let views: Vec<_> = draws.iter().map(|draw| part(draw).view()).collect();
        concatenate(Axis(0), &views).expect("images of one shape")
    };
    let (x0, eps) = (all(&|draw| &draw.drawn.x0), all(&|draw| &draw.eps));
    let labels: Option<Vec<Vec<usize>>> = draws.iter().map(|draw| draw.drawn.labels.clone()).collect();
    let labels = labels.filter(|_| by_class).map(|labels| labels.concat());
    let noise_of = assign_noise(&x0, &eps, labels.as_deref());
    let images = draws.iter_mut().flat_map(|draw| draw.eps.outer_iter_mut());
    images.zip(noise_of).for_each(|(mut image, noise)| image.assign(&eps.index_axis(Axis(0), noise)));
}

impl Objective for Denoising {
    type Model = Unet;
    type Data = dyn Examples;
    type Group = Group;

    /// # Errors
    /// The network knows classes, and an image has no label, or one that has no row in the network's table.
    fn check_data(&self, unet: &Unet, data: &dyn Examples) -> Result<()> {
        let Some(rows) = unet.config.num_class_embeds else { return Ok(()) };
        match data.classes() {
            None => Err(Error::argument(
                data.name(),
                "a label for every image, as the network knows classes",
                "none",
            )),
            Some(classes) if classes.len() > rows => {
                let expected = format!("labels below {rows}, the rows of the network's table of classes");
                Err(Error::argument(data.name(), expected, classes.len() - 1))
            }
            Some(_) => Ok(()),
        }
    }

    /// Image `i` of step `k` has the stream `k · batch + i` of the run's seed and domain.
    fn draw(&self, unet: &Unet, data: &dyn Examples, steps: u64) -> Vec<Group> {
        let first = steps * self.options.batch as u64;
        let streams: Vec<u64> = (first..first + self.options.batch as u64).collect();
        let uniform = TimeDistribution::Uniform(self.reverse.schedule.T());
        let times = self.importance.as_ref().map_or(uniform, ImportanceSampler::distribution);
        let draw = |n: &[u64]| {
            let rngs = n.iter().map(|&n| self.domain.stream(self.options.seed, n)).collect();
            let mut draw = Draw::new(data, &times, rngs);
            if let Pairing::Nearest(k) = self.beyond.pairing {
                draw.choose_nearest(k);
            }
            draw
        };
        let mut draws: Vec<Draw> = streams.par_chunks(GROUP_SIZE).map(draw).collect();
        if self.beyond.pairing == Pairing::Assigned {
            assign(&mut draws, unet.class_embedding.is_some());
        }
        draws.into_par_iter().map(|draw| self.group(unet, draw)).collect()
    }

    fn examples(group: &Group) -> usize {
        match &group.targets {
            Some(targets) => targets.sum() as usize,
            None => group.noisy.t.len(),
        }
    }

    fn loss_and_grad(&self, unet: &Unet, group: &mut Group, n: usize, grad: &mut Unet) -> f64 {
        group_loss(unet, &self.reverse, self.options.loss, group, n, grad)
    }

    fn losses_mut(group: &mut Group) -> Option<&mut Vec<f64>> {
        Some(&mut group.losses)
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
    #[serde(default, skip_serializing_if = "is_default")]
    beyond: Beyond,
    #[serde(default, skip_serializing_if = "is_default")]
    about: About,
}

/// What was not there when the first runs were saved is not written where it says nothing.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The keys of the importance sampler's history.
pub(super) const LOSSES: &str = "importance.losses";
const SEEN: &str = "importance.seen";

impl Saved for Denoising {
    type Header = DenoisingHeader;

    fn adam_options(&self) -> AdamOptions {
        self.options.adam
    }

    fn adam_options_mut(&mut self) -> &mut AdamOptions {
        &mut self.options.adam
    }

    fn header(&self, unet: &Unet) -> DenoisingHeader {
        DenoisingHeader {
            options: self.options.clone(),
            scheduler: checkpoint::reverse_to_json(&self.reverse),
            unet: unet.config.to_json(),
            domain: self.domain,
            beyond: self.beyond.clone(),
            about: self.about.clone(),
        }
    }

    fn restored(header: DenoisingHeader, file: &Tensors) -> Result<(Unet, Denoising), Fault> {
        let DenoisingHeader { options, scheduler, unet, domain, beyond, about } = header;
        let config = UnetConfig::from_json(&unet)?;
        let reverse = checkpoint::reverse_from_json(&scheduler)?;
        checkpoint::check_channels(&config, &reverse)?;
        options.check(&reverse).map_err(|e| Fault::format("options that can be used", e))?;
        beyond
            .check(&config, &reverse, &options)
            .map_err(|e| Fault::format("options that can be used", e))?;
        checkpoint::enough(&config, file)?;
        let unet = Unet::new(&config, &mut crate::rng::stream(options.seed, u64::MAX));
        Ok((unet, Denoising { domain, beyond, about, ..Denoising::new(reverse, options) }))
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
        match &self.autoencoder {
            None => {
                checkpoint::save_pretrained(unet, &self.reverse, folder, precision)?;
                checkpoint::save_about(&self.about, folder)
            }
            Some(model) => {
                checkpoint::save_latent_pipeline(unet, &self.reverse, model, folder, precision)?;
                checkpoint::save_about(&self.about, &folder.join("unet"))
            }
        }
    }
}

impl Denoising {
    pub(super) fn new(reverse: Reverse, options: TrainOptions) -> Denoising {
        let importance =
            (options.times == Times::Importance).then(|| ImportanceSampler::new(reverse.schedule.T()));
        let beyond = Beyond::default();
        Denoising {
            options,
            reverse,
            importance,
            beyond,
            about: About::default(),
            autoencoder: None,
            domain: Domain::Training,
        }
    }

    /// Noise is added as the options say, and the network is told what it may know.
    fn group(&self, unet: &Unet, mut draw: Draw) -> Group {
        let class = unet.class_embedding.as_ref().and_then(|_| draw.classes(self.beyond.drop_label));
        let masks = (!self.beyond.masks.is_empty()).then(|| draw.masks(&self.beyond.masks));
        let (known, targets) = masks.unzip();
        let Draw { drawn, t, weights, eps, rngs } = draw;
        let noisy = NoisyBatch::new(&self.reverse.schedule, drawn.x0, t, eps);
        Group { weights, given: Given { class, known }, targets, ..Group::new(noisy, rngs) }
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
