//! This crate's side of the U-Net's comparison: `ddpm_peer THREADS train|reverse BATCH`.
//!
//! The model `m28h1` is [`UnetConfig::paper`] for 28×28 grey images, widths 32, 64, 128, one residual block a level,
//! 8 groups, one attention head. A step is
//!
//! - `train`: [`Trainer::step`], which is the draws of Algorithm 1, forward, backward, clipping, Adam and the averaged
//!   weights;
//! - `reverse`: what [`sample`] does at one t: z, the network, and x_{t−1} = μ_θ + σ_t z.

use ddpm::data::{Dataset, Images};
use ddpm::diffusion::{Loss, Noise, Reverse, Schedule, Times};
use ddpm::optim::AdamOptions;
use ddpm::params::Params;
use ddpm::prelude::{Array4, Batch, Rng};
use ddpm::rng::{normal, stream};
use ddpm::train::{TrainOptions, Trainer};
use ddpm::unet::UnetConfig;
use ddpm_peers::{serve, use_threads};
use std::hint::black_box;

#[cfg(doc)]
use ddpm::diffusion::sample;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [threads, work, batch] = &arguments[..] else {
        panic!("usage: ddpm_peer THREADS train|reverse BATCH")
    };
    use_threads(threads.parse().expect("THREADS, a number"));
    let batch: usize = batch.parse().expect("BATCH, a number");

    // no warm-up, as the other side
    let adam = AdamOptions { warmup: 0, ..AdamOptions::default() };
    let options = TrainOptions { batch, seed: 1, loss: Loss::Simple, times: Times::Uniform, adam };
    let reverse = Reverse::new(Schedule::linear(1000));
    let config = UnetConfig::paper(28, 1, &[32, 64, 128], 1, 8);
    let mut trainer = Trainer::new(&config, reverse, options);
    let about = format!(
        r#"{{"peer": "ddpm {}", "parameters": {}}}"#,
        env!("CARGO_PKG_VERSION"),
        trainer.model.count()
    );

    match work.as_str() {
        "train" => {
            let rng = &mut stream(2, 0);
            let pixels = Array4::from_shape_simple_fn((batch, 28, 28, 1), || rng.random());
            let data = Dataset::from_images(&Images::new("noise", pixels, None));
            serve(&about, || {
                black_box(trainer.step(&data).expect("a finite loss"));
            });
        }
        "reverse" => {
            let x_t: Batch = normal((batch, 28, 28, 1), &mut stream(2, 0));
            let (t, noise) = (vec![500; batch], Noise::seed(3));
            serve(&about, || {
                let z = noise.batch([batch, 28, 28, 1], &t);
                black_box(trainer.objective.reverse.p_sample(&trainer.model, black_box(&x_t), &t, &z));
            });
        }
        other => panic!("train or reverse, not '{other}'"),
    }
}
