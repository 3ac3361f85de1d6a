//! How many bits does an image cost? L_T, Σ L_{t−1} and L_0 of test images under the shipped network (Eq. 5), beside those of
//! a model without a network: independent Gaussian pixels.
//!
//! ```sh
//! cargo run --release --example bound
//! ```

#![allow(clippy::print_stdout)]

use ddpm::prelude::*;

fn main() -> Result<()> {
    let garments = fashion_mnist_test().batch(&(0..16).collect::<Vec<_>>());
    let model = checkpoint::GARMENTS.load()?;
    // ten t of each image, one from each tenth of 2..=1000, stand for all
    let options =
        ElboOptions { time_steps: TimeSteps::Stratified { count: 10, seed: 1 }, ..ElboOptions::default() };
    let bound =
        |denoiser: &dyn Denoiser| elbo(denoiser, &model.reverse, &garments, &options, &Noise::seed(1));

    println!("the network\n{}", bound(&model.unet));

    let (mean, variance) = (garments.mean().expect("pixels"), garments.var(0.0));
    let grey = GaussianWorld::new(mean, variance, model.reverse.schedule.clone());
    println!("independent pixels, N({mean:.2}, {variance:.2})\n{}", bound(&grey));
    Ok(())
}
