//! An autoencoder's loss as an objective: images are drawn, encoded, sampled and decoded again.

use super::{Objective, Saved};
use crate::autoencoder::{AutoencoderConfig, AutoencoderKl};
use crate::checkpoint::{self, Precision, Tensors};
use crate::data::Examples;
use crate::error::{Error, Fault, Result};
use crate::optim::AdamOptions;
use crate::rng::{Domain, normal_batch, stream};
use crate::tensor::{Batch, Tensor4};
use crate::unet::GROUP_SIZE;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What an autoencoder's training minimises: the mean over images of (|x − x̂|² + β KL(q(z|x) ‖ N(0, I)))/D.
///
/// That is D/2 ln(2π s²) short of the negative ELBO times 2 s²/D, with a decoder N(x̂, s² I) and β = 2 s² (Kingma & Welling
/// 2014). An adversarial loss comes afterwards, by [`Sharpening`](super::Sharpening).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Autoencoding {
    /// images per step
    pub batch: usize,
    /// of everything random
    pub seed: u64,
    /// the weight of the KL
    pub beta: f64,
    /// how the weights move
    pub adam: AdamOptions,
}

impl Autoencoding {
    /// What must hold of the numbers.
    ///
    /// # Errors
    /// An [`Error::Argument`] that names the option.
    pub fn check(&self) -> Result<()> {
        if self.batch == 0 {
            return Err(Error::argument("batch", "at least one image", 0));
        }
        if !(self.beta.is_finite() && self.beta >= 0.0) {
            return Err(Error::argument("beta", "a number that is not below 0", self.beta));
        }
        self.adam.check()
    }
}

impl Objective for Autoencoding {
    type Model = AutoencoderKl;
    type Data = dyn Examples;
    /// images, and the noise that makes z of their posterior
    type Group = (Tensor4, Batch);

    /// # Errors
    /// The images have other channels, or sides that can't be halved as often as the encoder does.
    fn check_data(&self, model: &AutoencoderKl, data: &dyn Examples) -> Result<()> {
        check_images(&model.config, data)
    }

    fn draw(&self, model: &AutoencoderKl, data: &dyn Examples, steps: u64) -> Vec<(Tensor4, Batch)> {
        draw_images(&model.config, data, (self.seed, self.batch), steps)
    }

    fn examples((x, _): &Self::Group) -> usize {
        x.dim().0
    }

    fn loss_and_grad(
        &self,
        model: &AutoencoderKl,
        (x, noise): &mut Self::Group,
        n: usize,
        grad: &mut AutoencoderKl,
    ) -> f64 {
        model.add_loss(x.clone(), noise, self.beta, n, grad).loss * n as f64
    }
}

/// Whether an autoencoder can encode these images.
pub(super) fn check_images(config: &AutoencoderConfig, data: &dyn Examples) -> Result<()> {
    let ([h, w, c], factor) = (data.shape(), config.reduction());
    if c == config.in_channels && h % factor == 0 && w % factor == 0 {
        return Ok(());
    }
    let expected =
        format!("images of {} channels, with sides that are multiples of {factor}", config.in_channels);
    Err(Error::argument(data.name(), expected, format!("{h}x{w}x{c}")))
}

/// Images, and the noise that makes z of their posterior: image `i` of step `k` has the stream `k · batch + i`.
pub(super) fn draw_images(
    config: &AutoencoderConfig,
    data: &dyn Examples,
    (seed, batch): (u64, usize),
    steps: u64,
) -> Vec<(Tensor4, Batch)> {
    let first = steps * batch as u64;
    let streams: Vec<u64> = (first..first + batch as u64).collect();
    let latent = config.latent_shape(data.shape());
    let draw = |streams: &[u64]| {
        let stream = |&n: &u64| Domain::Training.stream(seed, n);
        let mut rngs: Vec<ChaCha8Rng> = streams.iter().map(stream).collect();
        let x = data.draw_batch(&mut rngs).x0.mapv(|v| v as f32);
        (x, normal_batch(latent, &mut rngs))
    };
    streams.par_chunks(GROUP_SIZE).map(draw).collect()
}

/// What a checkpoint says of an autoencoder.
#[derive(Debug, Serialize, Deserialize)]
pub struct AutoencodingHeader {
    autoencoding: Autoencoding,
    autoencoder: String,
}

impl Saved for Autoencoding {
    type Header = AutoencodingHeader;

    fn adam_options(&self) -> AdamOptions {
        self.adam
    }

    fn adam_options_mut(&mut self) -> &mut AdamOptions {
        &mut self.adam
    }

    fn header(&self, model: &AutoencoderKl) -> AutoencodingHeader {
        AutoencodingHeader { autoencoding: *self, autoencoder: model.config.to_json() }
    }

    fn restored(header: AutoencodingHeader, file: &Tensors) -> Result<(AutoencoderKl, Self), Fault> {
        let AutoencodingHeader { autoencoding, autoencoder } = header;
        let config = AutoencoderConfig::from_json(&autoencoder)?;
        autoencoding.check().map_err(|e| Fault::format("options that can be used", e))?;
        checkpoint::enough_for(config.parameters(), file)?;
        Ok((AutoencoderKl::new(&config, &mut stream(autoencoding.seed, u64::MAX)), autoencoding))
    }

    fn save_model(&self, model: &AutoencoderKl, folder: &Path, precision: Precision) -> Result<()> {
        checkpoint::save_autoencoder(model, folder, precision)
    }
}
