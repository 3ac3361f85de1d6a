//! Which network, which process, which images: arguments that several commands share.

use super::train::{is_idx, load_folder, split_folder};
use clap::Args;
use ddpm::checkpoint::{self, Pretrained, Shipped};
use ddpm::data::{self, Images, Split};
use ddpm::diffusion::{Reverse, Variance};
use ddpm::tensor::Batch;
use ddpm::{Error, Result};
use std::path::{Path, PathBuf};

/// The network, and how its reverse process is read.
#[derive(Args)]
pub(super) struct ModelArgs {
    /// A diffusers folder with config.json and the weights, or a shipped network: garments, paintings, mu_learned,
    /// mu_fixed, mu_mse, eps_learned, eps_fixed, eps_simple, eps_hybrid
    #[arg(long, value_name = "DIR|NAME", visible_alias = "pretrained", default_value = "garments")]
    pub model: PathBuf,

    /// Variance of the reverse process [default: the network's own]
    #[arg(long)]
    pub variance: Option<Variance>,

    /// Don't clip x̂_0 to [−1, 1]
    #[arg(long)]
    pub no_clip: bool,
}

impl ModelArgs {
    /// Loads the network.
    pub(super) fn load(&self) -> Result<Pretrained> {
        let named = Shipped::all().find(|shipped| Path::new(shipped.name) == self.model);
        let mut model = match named {
            Some(shipped) => shipped.load()?,
            None => checkpoint::load_pretrained(&self.model)?,
        };
        if let Some(variance) = self.variance {
            if variance.is_learned() != model.reverse.variance.is_learned() {
                let expected =
                    if model.reverse.variance.is_learned() { "learned" } else { "beta or beta_tilde" };
                return Err(Error::argument("--variance", format!("{expected}, for this network"), variance));
            }
            model.reverse.variance = variance;
        }
        model.reverse.clip &= !self.no_clip;
        Ok(model)
    }
}

/// The shape of the images a network makes.
pub(super) fn image_shape(model: &Pretrained) -> [usize; 3] {
    let config = &model.unet.config;
    let (h, w) = config.sample_size.unwrap_or((32, 32));
    [h, w, config.in_channels]
}

/// σ² as the figures write it.
pub(super) fn variance_name(reverse: &Reverse) -> &'static str {
    match reverse.variance {
        Variance::Beta => "σ_{t}^{2} = β_{t}",
        Variance::BetaTilde => "σ_{t}^{2} = β\u{303}_{t}",
        Variance::Learned => "learned σ_{t}^{2}",
        Variance::LearnedRange => "learned σ_{t}^{2} in [β\u{303}_{t}, β_{t}]",
    }
}

/// Test images, in their order: Fashion-MNIST's, or those of a folder.
///
/// With `holdout`, only the pictures that `ddpm train --holdout` leaves out.
pub(super) fn test_images(
    folder: Option<&Path>,
    holdout: Option<usize>,
    model: &Pretrained,
    count: usize,
) -> Result<Images> {
    let [h, w, c] = image_shape(model);
    let images = match folder {
        None => data::fashion_mnist_test(),
        Some(dir) if is_idx(dir)? => data::fashion_mnist(Some(dir), Split::Test)?,
        Some(dir) => match holdout {
            Some(every) => split_folder(dir, h, c, every)?.1.fixed(count),
            None => load_folder(dir, h, c)?.fixed(count),
        },
    };
    if images.shape() != [h, w, c] {
        return Err(Error::argument(
            "--data",
            format!("images of {h}x{w}x{c}"),
            format!("{:?} in {}", images.shape(), images.name),
        ));
    }
    if count == 0 || count > images.len() {
        return Err(Error::argument("--images", format!("1 to {} images", images.len()), count));
    }
    Ok(images.first(count))
}

/// The same as numbers in [−1, 1].
pub(super) fn as_batch(images: &Images) -> Batch {
    data::to_unit(&images.pixels)
}
