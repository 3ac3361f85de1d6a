//! Trains a small network on a folder of pictures, as long as it takes to drink a coffee.
//!
//! ```sh
//! cargo run --release --example train_on_a_folder -- assets/paintings     # or your own; painted.png
//! ```

#![allow(clippy::print_stdout)]

use ddpm::data::FolderOptions;
use ddpm::prelude::*;
use std::path::PathBuf;

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).map_or("assets/paintings".into(), PathBuf::from);
    let (pictures, report) = load_folder(&folder, &FolderOptions::new(16))?;
    println!("{report}");

    let config = UnetConfig::paper(16, 3, &[16, 32, 32], 1, 8);
    let reverse = Reverse::new(Schedule::cosine(200));
    let adam = AdamOptions { lr: 1e-3, warmup: 50, clip: 1.0, ema_decay: 0.995, ..AdamOptions::default() };
    let options = TrainOptions { batch: 32, seed: 1, loss: Loss::Simple, times: Times::Uniform, adam };
    let mut trainer = Trainer::new(&config, reverse, options);
    for _ in 0..800 {
        let report = trainer.step(&pictures)?; // Algorithm 1
        if report.step.is_multiple_of(100) {
            println!("step {}: loss {:.4}", report.step, report.loss);
        }
    }

    let reverse = &trainer.objective.reverse;
    let x0 = sample(&trainer.adam.ema, reverse, [16, 16, 16, 3], &Noise::seed(1)); // the averaged weights
    Grid::new(&to_u8(&x0), 4).scale(3).figure().save("painted.png")
}
