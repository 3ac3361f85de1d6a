//! Which network, which process, which images: arguments that several commands share.

use super::say::note;
use anyhow::{Context, Result, bail};
use clap::Args;
use ddpm::Error;
use ddpm::checkpoint::{self, Pretrained, Shipped};
use ddpm::diffusion::{Reverse, Variance};
use std::path::{Path, PathBuf};

/// The network, and how its reverse process is read.
#[derive(Args)]
pub(super) struct ModelArgs {
    /// A folder of a run, or of a model or pipeline of diffusers; or a shipped network: garments, likelihood (garments, for the bound), paintings, told (garments,
    /// which knows their classes and is shown known pixels), latents (garments, behind an autoencoder), paintings-latents (64×64, the same), gaussian and weather
    /// (series), mu_learned, mu_fixed, mu_mse, eps_learned, eps_fixed, eps_simple, eps_hybrid [default: garments; to fill in
    /// what is missing: told, weather]
    #[arg(long, value_name = "DIR|NAME", visible_alias = "pretrained")]
    model: Option<PathBuf>,

    /// Variance of the reverse process [default: the network's own]
    #[arg(long)]
    pub variance: Option<Variance>,

    /// Don't clip x̂_0 to [−1, 1]
    #[arg(long)]
    pub no_clip: bool,
}

impl ModelArgs {
    /// Loads the network, that of garments if none was named.
    pub(super) fn load(&self) -> Result<Pretrained> {
        self.load_or(&checkpoint::GARMENTS)
    }

    /// Loads the network.
    pub(super) fn load_or(&self, default: &Shipped) -> Result<Pretrained> {
        let path = self.model.as_deref().unwrap_or(Path::new(default.name));
        let named = Shipped::all().find(|shipped| Path::new(shipped.name) == path);
        let mut model = match named {
            Some(shipped) => shipped.load()?,
            None => load(path).context("--model")?,
        };
        if let Some(variance) = self.variance {
            if variance.is_learned() != model.reverse.variance.is_learned() {
                let expected =
                    if model.reverse.variance.is_learned() { "learned" } else { "beta or beta_tilde" };
                bail!(Error::argument("--variance", format!("{expected}, for this network"), variance));
            }
            model.reverse.variance = variance;
        }
        model.reverse.clip &= !self.no_clip;
        Ok(model)
    }
}

/// Reads a network from a folder, and says what whoever uses it should know.
pub(super) fn load(folder: &Path) -> Result<Pretrained> {
    let model = checkpoint::load_pretrained(folder)?;
    for warning in &model.warnings {
        note!("warning: {warning}");
    }
    Ok(model)
}

/// The shape of the images a network makes.
pub(super) fn image_shape(model: &Pretrained) -> [usize; 3] {
    let config = &model.unet.config;
    let (h, w) = config.image_size();
    [h, w, config.image_channels()]
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
