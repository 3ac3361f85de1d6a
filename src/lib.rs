//! Denoising diffusion probabilistic models (Ho, Jain, Abbeel 2020) from scratch.

pub mod data;
pub mod diffusion;
pub mod error;
#[cfg(feature = "figures")]
pub mod figures;
pub mod params;
pub mod rng;
pub mod tensor;

pub use error::{Error, Result};
