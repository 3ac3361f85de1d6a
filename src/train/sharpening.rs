//! An autoencoder's decoder against a discriminator, as an objective.

use super::autoencoding::{check_images, draw_images};
use super::{Objective, Saved};
use crate::autoencoder::{Adversaries, AutoencoderConfig, AutoencoderKl};
use crate::checkpoint::{self, Precision, Tensors};
use crate::data::Examples;
use crate::error::{Error, Fault, Result};
use crate::optim::AdamOptions;
use crate::rng::stream;
use crate::tensor::{Batch, Tensor4};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a decoder minimises that has to look like images, not only to be near them: mean |x − x̂|²/D + ½ λ mean (d(x̂) − 1)²,
/// while the discriminator d minimises ½ mean (d(x) − 1)² + ½ mean d(x̂)² (Rombach et al. 2022, section 3.1, with the least
/// squares of Mao et al. 2017). Both take a step at once. The encoder stays, so that a diffusion model of its latents stays right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sharpening {
    /// images per step
    pub batch: usize,
    /// of everything random
    pub seed: u64,
    /// λ
    pub weight: f64,
    /// how the weights move
    pub adam: AdamOptions,
}

impl Sharpening {
    /// What must hold of the numbers.
    ///
    /// # Errors
    /// An [`Error::Argument`] that names the option.
    pub fn check(&self) -> Result<()> {
        if self.batch == 0 {
            return Err(Error::argument("batch", "at least one image", 0));
        }
        if !(self.weight.is_finite() && self.weight >= 0.0) {
            return Err(Error::argument("weight", "a number that is not below 0", self.weight));
        }
        self.adam.check()
    }
}

impl Objective for Sharpening {
    type Model = Adversaries;
    type Data = dyn Examples;
    /// images, and the noise that makes z of their posterior
    type Group = (Tensor4, Batch);

    /// # Errors
    /// The images have other channels, or sides that can't be halved as often as the encoder does.
    fn check_data(&self, model: &Adversaries, data: &dyn Examples) -> Result<()> {
        check_images(&model.autoencoder.config, data)
    }

    fn draw(&self, model: &Adversaries, data: &dyn Examples, steps: u64) -> Vec<(Tensor4, Batch)> {
        draw_images(&model.autoencoder.config, data, (self.seed, self.batch), steps)
    }

    fn examples((x, _): &Self::Group) -> usize {
        x.dim().0
    }

    /// Returns the decoder's.
    fn loss_and_grad(
        &self,
        model: &Adversaries,
        (x, noise): &mut Self::Group,
        n: usize,
        grad: &mut Adversaries,
    ) -> f64 {
        model.add_losses(x.clone(), noise, self.weight, n, grad).decoder * n as f64
    }
}

/// What a checkpoint says of an autoencoder and its discriminator.
#[derive(Debug, Serialize, Deserialize)]
pub struct SharpeningHeader {
    sharpening: Sharpening,
    autoencoder: String,
}

impl Saved for Sharpening {
    type Header = SharpeningHeader;

    fn adam_options(&self) -> AdamOptions {
        self.adam
    }

    fn adam_options_mut(&mut self) -> &mut AdamOptions {
        &mut self.adam
    }

    fn header(&self, model: &Adversaries) -> SharpeningHeader {
        SharpeningHeader { sharpening: *self, autoencoder: model.autoencoder.config.to_json() }
    }

    fn restored(header: SharpeningHeader, file: &Tensors) -> Result<(Adversaries, Self), Fault> {
        let SharpeningHeader { sharpening, autoencoder } = header;
        let config = AutoencoderConfig::from_json(&autoencoder)?;
        sharpening.check().map_err(|e| Fault::format("options that can be used", e))?;
        checkpoint::enough_for(config.parameters(), file)?;
        Ok((sharpening.model(AutoencoderKl::new(&config, &mut stream(0, 0))), sharpening))
    }

    /// The autoencoder alone: nobody has use for the discriminator afterwards.
    fn save_model(&self, model: &Adversaries, folder: &Path, precision: Precision) -> Result<()> {
        checkpoint::save_autoencoder(&model.autoencoder, folder, precision)
    }
}

impl Sharpening {
    /// The autoencoder with a fresh discriminator.
    pub fn model(&self, autoencoder: AutoencoderKl) -> Adversaries {
        Adversaries::new(autoencoder, &mut stream(self.seed, u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Images, to_u8};
    use crate::params::Params;
    use crate::rng::normal;
    use crate::train::Training;
    use ndarray::Array4;

    fn objective(weight: f64) -> Sharpening {
        Sharpening {
            batch: 2,
            seed: 1,
            weight,
            adam: AdamOptions { lr: 1e-3, warmup: 0, ..AdamOptions::default() },
        }
    }

    fn training(weight: f64) -> Training<Sharpening> {
        let autoencoder = AutoencoderKl::new(&AutoencoderConfig::new(8, 1, &[4, 8], 2), &mut stream(1, 0));
        let objective = objective(weight);
        Training::of(objective.model(autoencoder), objective, objective.adam)
    }

    fn data() -> Dataset {
        let pixels: Array4<f64> = normal((3, 8, 8, 1), &mut stream(2, 0));
        Dataset::from_images(&Images::new("noise", to_u8(&pixels), None))
    }

    fn steps(training: &mut Training<Sharpening>, n: u64) {
        for _ in 0..n {
            training.step(&data()).unwrap();
        }
    }

    /// A few steps, once with a checkpoint between them, are the same bits; decoder and discriminator move, the encoder doesn't.
    #[test]
    fn goes_on_from_a_checkpoint_and_leaves_the_encoder() {
        let (mut whole, mut halves) = (training(0.1), training(0.1));
        let before = whole.model.clone();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        steps(&mut whole, 4);
        steps(&mut halves, 2);
        halves.save(&path).unwrap();
        let mut halves = Training::<Sharpening>::load(&path).unwrap();
        steps(&mut halves, 2);
        assert_eq!(whole.model.slices(), halves.model.slices());

        let Adversaries { autoencoder, discriminator } = &whole.model;
        assert_eq!(autoencoder.encoder.slices(), before.autoencoder.encoder.slices());
        assert_eq!(autoencoder.quant_conv.slices(), before.autoencoder.quant_conv.slices());
        assert_ne!(autoencoder.decoder.slices(), before.autoencoder.decoder.slices());
        assert_ne!(autoencoder.post_quant_conv.slices(), before.autoencoder.post_quant_conv.slices());
        assert_ne!(discriminator.slices(), before.discriminator.slices());
    }

    #[test]
    fn what_cannot_be() {
        let wrong = [
            (Sharpening { batch: 0, ..objective(0.1) }, "batch: expected at least one image, found 0"),
            (objective(-1.0), "weight: expected a number that is not below 0, found -1"),
            (objective(f64::NAN), "weight: expected a number that is not below 0, found NaN"),
        ];
        for (options, message) in wrong {
            assert_eq!(options.check().unwrap_err().to_string(), message);
        }
        let wide = Dataset::from_images(&Images::new("wide", ndarray::Array4::zeros((1, 8, 7, 1)), None));
        let training = training(0.1);
        let message = training.objective.check_data(&training.model, &wide).unwrap_err().to_string();
        assert_eq!(
            message,
            "wide: expected images of 1 channels, with sides that are multiples of 2, found 8x7x1"
        );
    }
}
