//! `ddpm classifier`: trains the judge of samples.

use super::numbers::{positive, whole};
use super::progress::Progress;
use crate::cli::say::{note, show};
use anyhow::{Result, bail};
use clap::Args;
use ddpm::Error;
use ddpm::data::{self, Dataset, Split, idx};
use ddpm::files::check_file;
use ddpm::optim::{AdamOptions, Cooldown};
use ddpm::quality::{self, ClassifierOptions};
use std::path::PathBuf;

/// Train the classifier that judges samples, and say how often it is right on the test set
#[derive(Args)]
#[command(after_help = "Example:\n  ddpm classifier --out runs/classifier.safetensors")]
pub(super) struct Classifier {
    /// A folder of IDX files, images and labels [default: Fashion-MNIST's training set, where Debian puts it]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Steps of Adam
    #[arg(long, default_value_t = 6000, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,

    /// Images per step
    #[arg(long, default_value_t = 64, value_parser = whole(1..=65536))]
    batch: usize,

    /// Of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Step size; it falls to nothing over the last half of the steps
    #[arg(long, default_value_t = 2e-3, value_parser = positive)]
    lr: f64,

    /// The file of weights to write
    #[arg(long, value_name = "FILE", default_value = "classifier.safetensors")]
    out: PathBuf,
}

impl Classifier {
    pub(super) fn run(self) -> Result<()> {
        check_file(&self.out)?;
        let images = data::fashion_mnist(self.data.as_deref(), Split::Train)?;
        let test = match self.data.as_deref() {
            None => Some(data::fashion_mnist_test()),
            Some(dir) if idx::has_split(dir, Split::Test) => {
                Some(data::fashion_mnist(Some(dir), Split::Test)?)
            }
            Some(dir) => {
                note!("{}: has no test images (t10k-…); judged on the training images alone", dir.display());
                None
            }
        };
        if let Some(test) = test.iter().find(|test| test.shape() != images.shape()) {
            let [expected, found] =
                [&images, test].map(|i| format!("images of {:?} in {}", i.shape(), i.name));
            bail!(Error::argument("--data", expected, found));
        }
        let adam = AdamOptions {
            lr: self.lr,
            warmup: 200,
            ema_decay: 0.995, // the last 200 steps or so
            cooldown: Some(Cooldown { from: self.steps / 2, to: self.steps }),
            ..AdamOptions::default()
        };
        let options = ClassifierOptions { steps: self.steps, batch: self.batch, seed: self.seed, adam };
        let progress = Progress::new("classifier", self.steps as usize);
        let mut smooth = None;
        let model = quality::train(&Dataset::from_images(&images), &options, &mut |_, loss| {
            let loss = smooth.map_or(loss, |s: f64| 0.98 * s + 0.02 * loss);
            smooth = Some(loss);
            progress.step(format!("steps, cross-entropy {loss:.4} nats"));
        })?;
        progress.finish();
        model.save(&self.out)?;
        for images in std::iter::once(&images).chain(&test) {
            let labels = images.labels.as_deref().unwrap_or(&[]);
            let accuracy = model.judge(&images.pixels).accuracy(labels);
            show!("{}: {:.2} % right", images.name, 100.0 * accuracy);
        }
        show!("{}", self.out.display());
        Ok(())
    }
}
