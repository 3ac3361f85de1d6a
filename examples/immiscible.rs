//! Does immiscible diffusion pay here? Trains the small network of `assets/ablation` with one pairing of images and
//! noises, and prints every 250 steps what its averaged weights have learned, as CSV: L_simple and the bound of test
//! images with *independent* noise, the same for all, and the Fréchet distance of samples.
//!
//! Runs of one seed share the initial weights, images, times and noises; only who meets whom differs.
//!
//! ```sh
//! for seed in 1 2 3; do for pairing in drawn assigned nearest:4; do
//!     cargo run --release --example immiscible -- $pairing $seed
//! done; done | awk 'NR == 1 || !/^pairing/' > assets/immiscible/runs.csv
//! ```

#![allow(clippy::print_stdout)] // the CSV

use ddpm::data::{Dataset, Split, fashion_mnist, fashion_mnist_test, to_u8};
use ddpm::diffusion::{
    Ddim, ElboOptions, Loss, Noise, Pairing, Reverse, Schedule, TimeSteps, Times, ddim_sample, elbo_variants,
};
use ddpm::optim::{AdamOptions, Cooldown};
use ddpm::quality::{Classifier, Moments, frechet_distance};
use ddpm::train::{TrainOptions, Trainer};
use ddpm::unet::{Unet, UnetConfig};
use std::error::Error;

/// Of a run, and between two looks at it.
const STEPS: u64 = 1500;
const EVERY: u64 = 250;
/// Images of the bound, times per image, samples for the distance, and steps to draw them.
const IMAGES: usize = 256;
const TIMES: usize = 8;
const SAMPLES: usize = 500;
const DDIM: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (pairing, seed) = arguments.next().zip(arguments.next()).ok_or("expected: PAIRING SEED")?;
    let (pairing, seed): (Pairing, u64) = (pairing.parse()?, seed.parse()?);

    let data = Dataset::from_images(&fashion_mnist(None, Split::Train)?);
    let config = UnetConfig::paper(28, 1, &[16, 32, 48], 1, 8);
    let reverse = Reverse::new(Schedule::linear(1000));
    let adam = AdamOptions {
        lr: 1e-3,
        warmup: 200,
        ema_decay: 0.995,
        ema_warmup: true,
        cooldown: Some(Cooldown { from: STEPS - 400, to: STEPS }),
        ..AdamOptions::default()
    };
    let options = TrainOptions { batch: 64, seed, loss: Loss::Simple, times: Times::Uniform, adam };
    let mut trainer = Trainer::new(&config, reverse.clone(), options);
    trainer.objective.beyond.pairing = pairing;

    let judge = Judge::new()?;
    println!("pairing,seed,step,l_simple,bits_per_dim,frechet");
    while trainer.adam.steps < STEPS {
        trainer.step(&data)?;
        if trainer.adam.steps.is_multiple_of(EVERY) {
            let [l_simple, bits, frechet] = judge.look(&trainer.adam.ema, &reverse);
            println!("{pairing},{seed},{},{l_simple:.5},{bits:.4},{frechet:.3}", trainer.adam.steps);
        }
    }
    Ok(())
}

/// Test images, and their moments in the features of the shipped classifier.
struct Judge {
    images: ddpm::tensor::Batch,
    classifier: Classifier,
    moments: Moments,
}

impl Judge {
    fn new() -> Result<Judge, Box<dyn Error>> {
        let test = fashion_mnist_test();
        let classifier = Classifier::shipped()?;
        let moments = Moments::of(&classifier.judge(&test.pixels).features);
        let images = test.batch(&(0..IMAGES).collect::<Vec<_>>());
        Ok(Judge { images, classifier, moments })
    }

    /// L_simple, bits per dimension, Fréchet distance.
    fn look(&self, unet: &Unet, reverse: &Reverse) -> [f64; 3] {
        let time_steps = TimeSteps::Stratified { count: TIMES, seed: 1 };
        let options = ElboOptions { time_steps, ..ElboOptions::default() };
        let unclipped = Reverse { clip: false, ..reverse.clone() }; // L_simple is of ε̂ as it is
        let bounds =
            elbo_variants(unet, &[unclipped, reverse.clone()], &self.images, &options, &Noise::seed(1));
        let x0 = ddim_sample(unet, reverse, &Ddim::new(DDIM), [SAMPLES, 28, 28, 1], &Noise::seed(1));
        let features = self.classifier.judge(&to_u8(&x0)).features;
        let distance = frechet_distance(&Moments::of(&features), &self.moments);
        [bounds[0].L_simple().mean, bounds[1].bits_per_dim().mean, distance]
    }
}
