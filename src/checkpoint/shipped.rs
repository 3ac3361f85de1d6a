//! The networks that come with the crate, so that every figure is made without a training or a download.

use super::folder::{CONFIG, WEIGHTS};
use super::scheduler::SCHEDULER;
use super::{ABOUT, About, Pretrained, parse_autoencoder, parse_pretrained};
use crate::error::{Fault, Result};
use std::borrow::Cow;

/// A network inside the program: a folder as [`load_pretrained`](super::load_pretrained) reads it, and the log of its
/// training. Most folders are crates of their own, for their size.
#[derive(Debug)]
pub struct Shipped {
    /// what `--model` calls it
    pub name: &'static str,
    /// where the folder lies in the repository; its README says how the network was trained
    pub folder: &'static str,
    /// the folder's files by their paths in it
    files: &'static [(&'static str, &'static [u8])],
}

/// A network of series, whose files are of this crate.
macro_rules! series {
    ($name:literal) => {
        Shipped {
            name: $name,
            folder: concat!("assets/series/", $name),
            files: series!($name, "config.json", "scheduler_config.json", "about.json", "loss.csv", "diffusion_pytorch_model.safetensors"),
        }
    };
    ($name:literal, $($file:literal),*) => {
        &[$(($file, include_bytes!(concat!("../../assets/series/", $name, "/", $file)))),*]
    };
}

/// Fashion-MNIST, 28×28.
pub static GARMENTS: Shipped =
    Shipped { name: "garments", folder: "assets/fashion-mnist-ddpm", files: ddpm_garments::FILES };

/// The network of [`GARMENTS`], trained on for the bound: L_vlb, with a learned variance.
pub static LIKELIHOOD: Shipped = Shipped {
    name: "likelihood",
    folder: "assets/fashion-mnist-likelihood",
    files: ddpm_garments_likelihood::FILES,
};

/// Whole paintings, 32×32 RGB.
pub static PAINTINGS: Shipped =
    Shipped { name: "paintings", folder: "assets/paintings-ddpm", files: ddpm_paintings::FILES };

/// The small networks of Table 2, equal but for what they predict, their variance and their loss.
pub static ABLATION: [Shipped; 7] = [
    Shipped { name: "mu_learned", folder: "assets/ablation/mu_learned", files: ddpm_ablation::MU_LEARNED },
    Shipped { name: "mu_fixed", folder: "assets/ablation/mu_fixed", files: ddpm_ablation::MU_FIXED },
    Shipped { name: "mu_mse", folder: "assets/ablation/mu_mse", files: ddpm_ablation::MU_MSE },
    Shipped { name: "eps_learned", folder: "assets/ablation/eps_learned", files: ddpm_ablation::EPS_LEARNED },
    Shipped { name: "eps_fixed", folder: "assets/ablation/eps_fixed", files: ddpm_ablation::EPS_FIXED },
    Shipped { name: "eps_simple", folder: "assets/ablation/eps_simple", files: ddpm_ablation::EPS_SIMPLE },
    Shipped { name: "eps_hybrid", folder: "assets/ablation/eps_hybrid", files: ddpm_ablation::EPS_HYBRID },
];

/// Fashion-MNIST once more: a network that knows the ten classes, and is shown known pixels.
pub static TOLD: Shipped =
    Shipped { name: "told", folder: "assets/fashion-mnist-told", files: ddpm_garments_told::FILES };

/// Fashion-MNIST as latents of 7×7×4, with their autoencoder.
pub static LATENTS: Shipped =
    Shipped { name: "latents", folder: "assets/fashion-mnist-latent", files: ddpm_garments_latents::FILES };

/// Whole paintings, 64×64 RGB, as latents of 16×16×8, with their autoencoder.
pub static PAINTING_LATENTS: Shipped = Shipped {
    name: "paintings-latents",
    folder: "assets/paintings-latent",
    files: ddpm_paintings_latents::FILES,
};

/// Windows of a Gaussian process, of which everything is known.
pub static GAUSSIAN_PROCESS: Shipped = series!("gaussian");

/// The weather of Seattle.
pub static WEATHER: Shipped = series!("weather");

impl Shipped {
    /// The network.
    ///
    /// # Errors
    /// The files inside the program are damaged, which a test rules out.
    pub fn load(&self) -> Result<Pretrained> {
        let unet = if self.file("vae/config.json").is_some() { "unet/" } else { "" };
        let [config, scheduler, about] =
            [CONFIG, SCHEDULER, ABOUT].map(|name| self.text(&format!("{unet}{name}")));
        let weights = self.file(&format!("{unet}{WEIGHTS}")).unwrap_or_default();
        let mut model = parse_pretrained(&config.unwrap_or_default(), scheduler.as_deref(), weights)?;
        let about = about.map(|text| About::parse(&text, &model.unet.config)).transpose();
        model.about = about.map_err(Fault::at(ABOUT))?.unwrap_or_default();
        let autoencoder = self.text("vae/config.json").zip(self.file(&format!("vae/{WEIGHTS}")));
        model.autoencoder =
            autoencoder.map(|(config, weights)| parse_autoencoder(&config, weights)).transpose()?;
        Ok(model)
    }

    /// loss.csv of its training.
    pub fn log(&self) -> &'static [u8] {
        self.file("loss.csv").unwrap_or_default()
    }

    fn file(&self, path: &str) -> Option<&'static [u8]> {
        self.files.iter().find(|(name, _)| *name == path).map(|(_, bytes)| *bytes)
    }

    fn text(&self, path: &str) -> Option<Cow<'static, str>> {
        self.file(path).map(String::from_utf8_lossy)
    }

    /// Every network that comes with the crate.
    pub fn all() -> impl Iterator<Item = &'static Shipped> {
        [&GARMENTS, &LIKELIHOOD, &PAINTINGS, &TOLD, &LATENTS, &PAINTING_LATENTS, &GAUSSIAN_PROCESS, &WEATHER]
            .into_iter()
            .chain(&ABLATION)
    }
}

/// The network of [`GARMENTS`].
///
/// # Errors
/// As [`Shipped::load`].
pub fn shipped() -> Result<Pretrained> {
    GARMENTS.load()
}
