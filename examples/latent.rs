//! Latent diffusion (Rombach et al. 2022): garments as 4×7×7 numbers, through the autoencoder and back, and drawn there.
//!
//! ```sh
//! cargo run --release --example latent     # latent.png: eight garments, what is left of them, eight new ones
//! ```

#![allow(clippy::print_stdout)]

use ddpm::prelude::*;
use ndarray::concatenate;

fn main() -> Result<()> {
    let model = checkpoint::LATENTS.load()?;
    let garments = fashion_mnist_test().batch(&(0..8).collect::<Vec<_>>());

    // x → z = s · mean of q(z|x) → x
    let z = model.latents(garments.clone());
    let back = model.pictures(z.clone());
    println!("{:?} pixels become {:?} numbers", &garments.shape()[1..], &z.shape()[1..]);
    let mse = (&back - &garments).mapv(|d| d * d).mean().expect("pixels");
    println!("and come back with {:.1} dB", 10.0 * (4.0 / mse).log10()); // pixels span [−1, 1]

    // the same DDPM as ever, of latents instead of pixels
    let [_, h, w, c] = *z.shape() else { unreachable!("a batch") };
    let drawn = ddim_sample(&model.unet, &model.reverse, &Ddim::new(50), [8, h, w, c], &Noise::seed(1));
    let rows = concatenate![Axis(0), garments, back, model.pictures(drawn)];
    Grid::new(&to_u8(&rows), 8).row_labels(["data", "decoded", "drawn"]).figure().save("latent.png")
}
