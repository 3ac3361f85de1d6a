//! What is timed.

use super::report::{Report, What};
use super::shapes::{self, Convolution, Product, Transposed};
use crate::cli::model::image_shape;
use anyhow::Result;
use ddpm::checkpoint::Pretrained;
use ddpm::data::{Dataset, Images, to_u8};
use ddpm::diffusion::{Loss, Noise, Times};
use ddpm::matmul::{matmul, matmul_nt, matmul_tn};
use ddpm::nn::Conv2d;
use ddpm::optim::AdamOptions;
use ddpm::params::Params;
use ddpm::rng::{normal, stream};
use ddpm::tensor::{Tensor2, Tensor4, recycle};
use ddpm::train::{TrainOptions, Trainer};
use ddpm::unet::GROUP_SIZE;
use rayon::prelude::*;
use std::hint::black_box;

/// Of everything random: the time does not depend on it.
pub(super) const SEED: u64 = 1;

/// Whole steps of Algorithm 1 on random images: draws, noise, forward, backward, Adam, averaged weights.
pub(super) fn train(model: &Pretrained, batches: &[usize], report: &mut Report) -> Result<()> {
    let [h, w, c] = image_shape(model);
    for &batch in batches {
        let (mut trainer, data) = trainer(model, batch);
        // backward is two products, for data and for weights, where forward is one
        let flops = 3.0 * batch as f64 * model.unet.flops(h, w) as f64;
        let what = What { work: "train", shape: format!("{h}x{w}x{c}"), batch, flops };
        report.row(what, |calls| Ok((0..calls).try_for_each(|_| trainer.step(&data).map(drop))?))?;
    }
    Ok(())
}

/// A training of this network on random images.
pub(super) fn trainer(model: &Pretrained, batch: usize) -> (Trainer, Dataset) {
    let [h, w, c] = image_shape(model);
    let pixels = to_u8(&normal::<f64, _>((64, h, w, c), &mut stream(SEED, 1)));
    let data = Dataset::from_images(&Images::new("noise", pixels, None));
    // no warm-up: from the first step on all weights are as large as in training, not the 1e-10 of zero layers
    let adam = AdamOptions { warmup: 0, ..AdamOptions::default() };
    let options = TrainOptions { batch, seed: SEED, loss: Loss::Simple, times: Times::Uniform, adam };
    (Trainer::from_weights(model.unet.clone(), model.reverse.clone(), options), data)
}

/// One step of Algorithm 2 in the middle of the chain, its noise included.
pub(super) fn reverse(model: &Pretrained, batches: &[usize], report: &mut Report) -> Result<()> {
    let [h, w, c] = image_shape(model);
    let noise = Noise::seed(SEED);
    for &batch in batches {
        let shape = [batch, h, w, c];
        let t = vec![model.reverse.schedule.T().div_ceil(2); batch];
        let x_t = noise.batch(shape, &vec![0; batch]);
        let step = || model.reverse.p_sample(&model.unet, &x_t, &t, &noise.batch(shape, &t));
        let flops = batch as f64 * model.unet.flops(h, w) as f64;
        let what = What { work: "reverse", shape: format!("{h}x{w}x{c}"), batch, flops };
        report.row(what, |calls| {
            (0..calls).for_each(|_| drop(black_box(step())));
            Ok(())
        })?;
    }
    Ok(())
}

/// The images of one thread, in groups as they go through the network, with the gradients of what becomes of them.
struct Part {
    groups: Vec<(Tensor4, Tensor4)>,
    grad: Conv2d,
}

/// One of the three passes of a convolution over a group `(x, dy)`.
type Pass = fn(&Conv2d, &Tensor4, &Tensor4, &mut Conv2d);

const PASSES: [(&str, Pass); 3] = [
    ("conv_fwd", |conv, x, _, _| recycle(black_box(conv.infer(x)))),
    ("conv_dgrad", |conv, x, dy, _| {
        let (_, h, w, _) = x.dim();
        recycle(black_box(conv.backward_data(dy, (h, w))));
    }),
    ("conv_wgrad", |conv, x, dy, grad| conv.backward_weights(x, dy, grad)),
];

/// Every 3×3 convolution of stride 1, forward and the two halves of backward.
pub(super) fn convolutions(model: &Pretrained, batches: &[usize], report: &mut Report) -> Result<()> {
    let [h, w, _] = image_shape(model);
    for shape in shapes::convolutions(&model.unet, (h, w)) {
        let conv = Conv2d::new(shape.inputs, shape.outputs, 3, 1.0, &mut stream(SEED, 2));
        for &batch in batches {
            let mut parts = parts(&conv, shape, batch);
            for (work, pass) in PASSES {
                let flops = batch as f64 * shape.flops();
                let what = What { work, shape: shape.to_string(), batch, flops };
                report.row(what, |calls| {
                    parts.par_iter_mut().with_max_len(1).for_each(|Part { groups, grad }| {
                        for _ in 0..calls {
                            groups.iter().for_each(|(x, dy)| pass(&conv, x, dy, grad));
                        }
                    });
                    Ok(())
                })?;
            }
        }
    }
    Ok(())
}

/// A batch in groups, shared out to the threads.
fn parts(conv: &Conv2d, shape: Convolution, batch: usize) -> Vec<Part> {
    let (h, w) = shape.size;
    let rng = &mut stream(SEED, 3);
    let mut random = |n, channels| normal((n, h, w, channels), rng);
    let mut groups: Vec<(Tensor4, Tensor4)> = (0..batch)
        .step_by(GROUP_SIZE)
        .map(|first| GROUP_SIZE.min(batch - first))
        .map(|n| (random(n, shape.inputs), random(n, shape.outputs)))
        .collect();
    let each = groups.len().div_ceil(rayon::current_num_threads());
    let mut parts = Vec::new();
    while !groups.is_empty() {
        let rest = groups.split_off(each.min(groups.len()));
        parts.push(Part { groups, grad: conv.zeros_like() });
        groups = rest;
    }
    parts
}

/// Matrix products, one on each thread: the network never splits one.
pub(super) fn products(model: &Pretrained, report: &mut Report) -> Result<()> {
    let [h, w, _] = image_shape(model);
    let batch = rayon::current_num_threads();
    for shape in shapes::products(&model.unet, (h, w)) {
        let Product { sizes: [m, k, n], transposed, .. } = shape;
        let rng = &mut stream(SEED, 4);
        let (a, b) = match transposed {
            Transposed::Neither => ((m, k), (k, n)),
            Transposed::Left => ((k, m), (k, n)),
            Transposed::Right => ((m, k), (n, k)),
        };
        let (a, b): (Tensor2, Tensor2) = (normal(a, rng), normal(b, rng));
        let product = || match transposed {
            Transposed::Neither => matmul(&a, &b),
            Transposed::Left => matmul_tn(&a, &b),
            Transposed::Right => matmul_nt(&a, &b),
        };
        let flops = batch as f64 * shape.flops();
        let what = What { work: "matmul", shape: shape.to_string(), batch, flops };
        report.row(what, |calls| {
            rayon::broadcast(|_| (0..calls).for_each(|_| recycle(black_box(product()))));
            Ok(())
        })?;
    }
    Ok(())
}
