//! The networks that come with the crate, so that every figure is made without a training or a download.

use super::{ABOUT, About, Pretrained, parse_autoencoder, parse_pretrained};
use crate::error::{Fault, Result};

/// A network inside the program: the contents of a folder as [`load_pretrained`](super::load_pretrained) reads it, and
/// the log of its training.
#[derive(Debug)]
pub struct Shipped {
    /// what `--model` calls it
    pub name: &'static str,
    /// where the folder lies in the repository; its README says how the network was trained
    pub folder: &'static str,
    /// loss.csv of its training
    pub log: &'static [u8],
    config: &'static str,
    scheduler: &'static str,
    weights: &'static [u8],
    /// about.json, if there is one
    about: Option<&'static str>,
    /// of a network of latents: its autoencoder's configuration and weights
    autoencoder: Option<(&'static str, &'static [u8])>,
}

/// `shipped!(name, folder)`; then `about` if there is an about.json, `vae` if the folder is a pipeline with an autoencoder.
macro_rules! shipped {
    ($name:literal, $folder:literal) => {
        shipped!($name, $folder, unet: "", None, None)
    };
    ($name:literal, $folder:literal, about) => {
        shipped!($name, $folder, unet: "", Some(include_str!(concat!("../../", $folder, "/about.json"))), None)
    };
    ($name:literal, $folder:literal, vae) => {
        shipped!($name, $folder, unet: "/unet", None, Some((
            include_str!(concat!("../../", $folder, "/vae/config.json")),
            include_bytes!(concat!("../../", $folder, "/vae/diffusion_pytorch_model.safetensors")),
        )))
    };
    ($name:literal, $folder:literal, unet: $unet:literal, $about:expr, $autoencoder:expr) => {
        Shipped {
            name: $name,
            folder: $folder,
            log: include_bytes!(concat!("../../", $folder, "/loss.csv")),
            config: include_str!(concat!("../../", $folder, $unet, "/config.json")),
            scheduler: include_str!(concat!("../../", $folder, $unet, "/scheduler_config.json")),
            weights: include_bytes!(concat!("../../", $folder, $unet, "/diffusion_pytorch_model.safetensors")),
            about: $about,
            autoencoder: $autoencoder,
        }
    };
}

/// Fashion-MNIST, 28×28.
pub static GARMENTS: Shipped = shipped!("garments", "assets/fashion-mnist-ddpm");

/// Crops of impressionist paintings, 32×32 RGB.
pub static PAINTINGS: Shipped = shipped!("paintings", "assets/paintings-ddpm");

/// The small networks of Table 2, equal but for what they predict, their variance and their loss.
pub static ABLATION: [Shipped; 7] = [
    shipped!("mu_learned", "assets/ablation/mu_learned"),
    shipped!("mu_fixed", "assets/ablation/mu_fixed"),
    shipped!("mu_mse", "assets/ablation/mu_mse"),
    shipped!("eps_learned", "assets/ablation/eps_learned"),
    shipped!("eps_fixed", "assets/ablation/eps_fixed"),
    shipped!("eps_simple", "assets/ablation/eps_simple"),
    shipped!("eps_hybrid", "assets/ablation/eps_hybrid"),
];

/// Fashion-MNIST once more: a network that knows the ten classes, and is shown known pixels.
pub static TOLD: Shipped = shipped!("told", "assets/fashion-mnist-told", about);

/// Windows of a Gaussian process, of which everything is known.
pub static GAUSSIAN_PROCESS: Shipped = shipped!("gaussian", "assets/series/gaussian", about);

/// The weather of Seattle.
pub static WEATHER: Shipped = shipped!("weather", "assets/series/weather", about);

/// Fashion-MNIST as latents of 7×7×4, with their autoencoder.
pub static LATENTS: Shipped = shipped!("latents", "assets/fashion-mnist-latent", vae);

impl Shipped {
    /// The network.
    ///
    /// # Errors
    /// The files inside the program are damaged, which a test rules out.
    pub fn load(&self) -> Result<Pretrained> {
        let mut model = parse_pretrained(self.config, Some(self.scheduler), self.weights)?;
        let about = self.about.map(|text| About::parse(text, &model.unet.config)).transpose();
        model.about = about.map_err(Fault::at(ABOUT))?.unwrap_or_default();
        let parse = |(config, weights)| parse_autoencoder(config, weights);
        model.autoencoder = self.autoencoder.map(parse).transpose()?;
        Ok(model)
    }

    /// Every network that comes with the crate.
    pub fn all() -> impl Iterator<Item = &'static Shipped> {
        [&GARMENTS, &PAINTINGS, &TOLD, &LATENTS, &GAUSSIAN_PROCESS, &WEATHER].into_iter().chain(&ABLATION)
    }
}

/// The network of [`GARMENTS`].
///
/// # Errors
/// As [`Shipped::load`].
pub fn shipped() -> Result<Pretrained> {
    GARMENTS.load()
}
