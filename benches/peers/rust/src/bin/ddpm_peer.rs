//! This crate's side of the comparison: `ddpm_peer THREADS MODEL train|reverse BATCH`.
//!
//! MODEL is a folder with a diffusers configuration, whose network is made anew. A step is
//!
//! - `train`: [`Training::step`], which is the draws, forward, backward, clipping, Adam and the averaged weights;
//! - `reverse`: what [`sample`] does at one t: z, the network, and x_{t−1} = μ_θ + σ_t z; of an autoencoder, decoding.

use ddpm::autoencoder::AutoencoderKl;
use ddpm::checkpoint::{Pretrained, load_autoencoder, load_pretrained};
use ddpm::data::{Dataset, Images};
use ddpm::diffusion::{Loss, Noise, Reverse, Schedule, Times};
use ddpm::optim::AdamOptions;
use ddpm::params::Params;
use ddpm::prelude::{Array4, Batch, Rng};
use ddpm::rng::{normal, stream};
use ddpm::train::{Autoencoding, TrainOptions, Trainer, Training};
use ddpm_peers::{serve, use_threads};
use std::hint::black_box;
use std::path::Path;

#[cfg(doc)]
use ddpm::diffusion::sample;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [threads, model, work, batch] = &arguments[..] else {
        panic!("usage: ddpm_peer THREADS MODEL train|reverse BATCH")
    };
    use_threads(threads.parse().expect("THREADS, a number"));
    let batch: usize = batch.parse().expect("BATCH, a number");
    let train = match work.as_str() {
        "train" => true,
        "reverse" => false,
        other => panic!("train or reverse, not '{other}'"),
    };
    let config = std::fs::read_to_string(Path::new(model).join("config.json")).expect("a folder of diffusers");
    if config.contains("AutoencoderKL") {
        autoencoder(load_autoencoder(model).expect("an autoencoder").0, train, batch);
    } else {
        unet(&load_pretrained(model).expect("a network"), train, batch);
    }
}

/// The weight of the KL.
const BETA: f64 = 1e-3;

/// No warm-up, as the other side.
fn adam() -> AdamOptions {
    AdamOptions { warmup: 0, ..AdamOptions::default() }
}

fn about(parameters: usize) -> String {
    format!(r#"{{"peer": "ddpm {}", "parameters": {parameters}}}"#, env!("CARGO_PKG_VERSION"))
}

/// As many random images as a batch has.
fn data(batch: usize, [h, w, c]: [usize; 3]) -> Dataset {
    let rng = &mut stream(2, 0);
    let pixels = Array4::from_shape_simple_fn((batch, h, w, c), || rng.random());
    Dataset::from_images(&Images::new("noise", pixels, None))
}

fn unet(like: &Pretrained, train: bool, batch: usize) {
    let config = &like.unet.config;
    let ((h, w), c) = (config.image_size(), config.image_channels());
    let options = TrainOptions { batch, seed: 1, loss: Loss::Simple, times: Times::Uniform, adam: adam() };
    let mut trainer = Trainer::new(config, Reverse::new(Schedule::linear(1000)), options);
    let about = about(trainer.model.count());
    if train {
        let data = data(batch, [h, w, c]);
        return serve(&about, || {
            black_box(trainer.step(&data).expect("a finite loss"));
        });
    }
    let x_t: Batch = normal((batch, h, w, c), &mut stream(2, 0));
    let (t, noise) = (vec![500; batch], Noise::seed(3));
    serve(&about, || {
        let z = noise.batch([batch, h, w, c], &t);
        black_box(trainer.objective.reverse.p_sample(&trainer.model, black_box(&x_t), &t, &z));
    });
}

fn autoencoder(like: AutoencoderKl, train: bool, batch: usize) {
    let config = &like.config;
    let shape = [config.sample_size, config.sample_size, config.in_channels];
    let model = AutoencoderKl::new(config, &mut stream(1, 0));
    let about = about(model.count());
    if train {
        let objective = Autoencoding { batch, seed: 1, beta: BETA, adam: adam() };
        let mut trainer = Training::of(model, objective, adam());
        let data = data(batch, shape);
        return serve(&about, || {
            black_box(trainer.step(&data).expect("a finite loss"));
        });
    }
    let [h, w, c] = config.latent_shape(shape);
    let z: Batch = normal((batch, h, w, c), &mut stream(2, 0));
    serve(&about, || {
        black_box(model.decode(black_box(&z)));
    });
}
