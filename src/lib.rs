//! Denoising diffusion probabilistic models (Ho, Jain, Abbeel 2020) from scratch.

pub mod checkpoint;
pub mod data;
pub mod diffusion;
pub mod error;
#[cfg(feature = "figures")]
pub mod figures;
pub mod matmul;
pub mod nn;
pub mod optim;
pub mod params;
pub mod rng;
pub mod tensor;
pub mod train;
pub mod unet;

pub use error::{Error, Result};
