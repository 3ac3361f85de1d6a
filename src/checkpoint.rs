//! Weights in files: diffusers' folders, and the crate's own training checkpoints.
//!
//! Both are [safetensors](https://github.com/huggingface/safetensors) under the keys of diffusers' state dict,
//! which are the paths of [`Params`](crate::params::Params). This is the border where layouts change: a convolution is `[k, k, in, out]`
//! here and `[out, in, k, k]` there, a linear layer `[in, out]` here and `[out, in]` there.

mod about;
mod autoencoder;
mod checksum;
mod file;
mod folder;
mod layout;
mod pretrained;
mod scheduler;
#[cfg(feature = "weights")]
mod shipped;

pub use about::{ABOUT, About, Classes, save_about};
pub use autoencoder::{load_autoencoder, parse_autoencoder, save_autoencoder};
pub use file::{Precision, Tensors, parse, read, write};
pub use folder::{CONFIG, WEIGHTS};
pub use layout::{add, fill, from_pytorch, nothing_left, take, to_pytorch};
pub use pretrained::{Pretrained, load_pretrained, parse_pretrained, save_latent_pipeline, save_pretrained};
pub(crate) use pretrained::{enough, enough_for};
pub(crate) use scheduler::check_channels;
pub use scheduler::{SCHEDULER, reverse_from_json, reverse_to_json};
#[cfg(feature = "weights")]
pub use shipped::{
    ABLATION, GARMENTS, GAUSSIAN_PROCESS, LATENTS, LIKELIHOOD, PAINTING_LATENTS, PAINTINGS, Shipped, TOLD,
    WEATHER, shipped,
};

#[cfg(test)]
mod tests;
