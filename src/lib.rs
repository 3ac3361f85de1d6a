//! Denoising diffusion probabilistic models (Ho, Jain, Abbeel 2020) from scratch.

pub mod checkpoint;
pub mod diffusion;
pub mod error;
pub mod matmul;
pub mod nn;
pub mod params;
pub mod rng;
pub mod tensor;
pub mod unet;

pub use error::{Error, Result};
