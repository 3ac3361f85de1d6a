//! How good samples are: what a classifier sees in them, how far their features lie from those of real images, and
//! which training images they resemble.
//!
//! The paper's Inception score and FID look at samples through a network that was trained on ImageNet. Here a small
//! [`Classifier`] of garments, trained in this crate, takes its place. The formula of the [`frechet_distance`] is the
//! same, the numbers are not comparable with any FID, and are never called so. Paintings have no classifier; for them there
//! are [`roughness`], [`thumbnails`] and [`copies`].

mod classification;
mod classifier;
mod crps;
mod frechet;
mod jackknife;
mod kernel_distance;
mod linear_denoiser;
mod neighbours;
mod pictures;

pub use classification::{Classification, ClassificationHeader, ClassifierOptions, train};
pub use classifier::{Classifier, ClassifierCache, FEATURES, Judgement};
pub use crps::{coverage, crps, crps_csdi, crps_normal, csdi_levels, quantile, quantiles};
pub use frechet::{Moments, frechet_distance};
pub use jackknife::jackknife;
pub use kernel_distance::{KernelReference, kernel_distance};
pub use linear_denoiser::LinearDenoiser;
pub use neighbours::{Neighbour, nearest, pixels};
pub use pictures::{copies, roughness, thumbnails};
