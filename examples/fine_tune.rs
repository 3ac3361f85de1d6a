//! Fine-tunes a diffusers folder: the shipped garments network sees nothing but sneakers for a while, and is saved as a folder
//! that `UNet2DModel.from_pretrained` and `ddpm sample --model sneakers` open.
//!
//! ```sh
//! cargo run --release --example fine_tune     # sneakers/, sneakers.png
//! ```

#![allow(clippy::print_stdout)]

use ddpm::checkpoint::Precision;
use ddpm::prelude::*;

const SNEAKER: u8 = 7;

fn main() -> Result<()> {
    let all = fashion_mnist_test();
    let labels = all.labels.clone().expect("Fashion-MNIST has labels");
    let sneakers: Vec<usize> = (0..all.len()).filter(|&n| labels[n] == SNEAKER).collect();
    let data = Dataset::from_images(&all.select(&sneakers));

    let model = load_pretrained("assets/fashion-mnist-ddpm")?;
    let adam = AdamOptions { lr: 5e-4, warmup: 10, clip: 1.0, ema_decay: 0.9, ..AdamOptions::default() };
    let options = TrainOptions { batch: 32, seed: 1, loss: Loss::Simple, times: Times::Uniform, adam };
    let mut trainer = Trainer::from_weights(model.unet, model.reverse, options);
    for _ in 0..40 {
        let report = trainer.step(&data)?;
        if report.step.is_multiple_of(10) {
            println!("step {}: loss {:.4}", report.step, report.loss);
        }
    }
    let (unet, reverse) = (&trainer.adam.ema, &trainer.objective.reverse);
    save_pretrained(unet, reverse, "sneakers", Precision::F16)?;

    let x0 = ddim_sample(unet, reverse, &Ddim::new(20), [16, 28, 28, 1], &Noise::seed(1));
    Grid::new(&to_u8(&x0), 4).figure().save("sneakers.png")
}
