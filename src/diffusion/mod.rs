//! The paper's mathematics: both chains, the bound on the log-likelihood, and the samplers. Knows no network.
//!
//! # Two chains
//!
//! ```text
//!   forward  q   destroys, fixed        q(x_t | x_{t−1}) = N(√α_t x_{t−1}, β_t I)                  Eq. 2
//!
//!      x_0 ──────▶ x_1 ──────▶  …  ──────▶ x_{t−1} ──────▶ x_t ──────▶  …  ──────▶ x_T
//!      image                                                                      noise, N(0, I)
//!      x_0 ◀────── x_1 ◀──────  …  ◀────── x_{t−1} ◀────── x_t ◀──────  …  ◀────── x_T
//!
//!   reverse  p   creates, learned       p(x_{t−1} | x_t) = N(μ_θ(x_t, t), σ_t² I)                  Eq. 1
//! ```
//!
//! Three facts make the pair trainable:
//!
//! 1. the forward chain can jump, q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I): [`q_sample`] (Eq. 4);
//! 2. seen from x_0 it can be walked backwards in closed form, q(x_{t−1} | x_t, x_0) = N(μ̃_t, β̃_t I):
//!    [`q_posterior`] (Eqs. 6, 7), and from any level to any lower one: [`posterior`];
//! 3. so the bound on −log p(x_0) is a sum of KL divergences between Gaussians (Eq. 5), one function each:
//!    [`L_T`], [`L_t_minus_1`], [`L_0`].
//!
#![doc = include_str!("../../notebooks/notation.md")]
//!
//! # Four ways to say the same
//!
//! Given x_t, a network may be asked for any of these; each gives x̂_0, and x̂_0 gives μ_θ = μ̃_t(x_t, x̂_0).
//!
//! | [`Prediction`] | its target | x̂_0 | |
//! |---|---|---|---|
//! | `Eps` | ε | (x_t − √(1 − ᾱ_t) ε̂)/√ᾱ_t | Eqs. 11, 15; the paper's choice |
//! | `X0` | x_0 | as it is | |
//! | `MuTilde` | μ̃_t | (μ_θ − c_2 x_t)/c_1 | Eq. 8; the first rows of Table 2 |
//! | `V` | √ᾱ_t ε − √(1 − ᾱ_t) x_0 | √ᾱ_t x_t − √(1 − ᾱ_t) v̂ | Salimans & Ho 2022 |
//!
//! Where a schedule ends with ᾱ_T = 0 ([`Schedule::rescaled_to_zero_snr`]), x_T is ε and the first row divides by 0:
//! [`Reverse::check`] refuses it. The other rows hold at every t.
//!
//! # A model is a function
//!
//! [`Denoiser`] is all this module knows of a network: a batch and one t per image in, a batch out; and a [`Query`], if the
//! model is one that can be told more of each image, its class or some of its pixels. The exact
//! denoisers in [`oracle`] are such functions too, so the whole paper runs in milliseconds before any network
//! exists:
//!
//! ```
//! use ddpm::diffusion::{Noise, Reverse, Schedule, oracle::GaussianWorld, sample};
//! let schedule = Schedule::linear_scaled(100)?;
//! let world = GaussianWorld::new(0.5, 0.01, schedule.clone()); // every pixel is N(0.5, 0.01)
//! let x0 = sample(&world, &Reverse::new(schedule), [64, 4, 4, 1], &Noise::seed(1));
//! assert!((x0.mean().unwrap() - 0.5).abs() < 0.02);
//! # Ok::<(), ddpm::Error>(())
//! ```
//!
//! All numbers here are `f64`.

mod batch;
mod ddim;
mod elbo;
mod estimate;
mod forward;
mod gamma;
mod gaussian;
mod gaussian_field;
mod given;
mod importance;
mod imputation;
mod level;
mod loss;
mod noise;
mod normal;
mod one_pixel;
pub mod oracle;
mod pairing;
mod rate;
mod respace;
mod reverse;
mod sampler;
mod schedule;
mod variational;
#[cfg(test)]
mod zero_snr;

pub use ddim::{Ddim, Spacing, ddim_sample, ddim_step, ddim_steps};
pub use elbo::{
    Decomposition, Elbo, ElboOptions, L_0, L_T, L_simple, L_t_minus_1, bits_per_dim, elbo, elbo_variants,
};
pub use estimate::{Estimate, TimeSteps};
pub use forward::{q_mean_variance, q_posterior, q_sample, q_step};
pub use gamma::{Gamma, GammaPoint, Path, PathPoint, pinned};
pub use gaussian::{Decoder, kl_normal, log_normal, log_normal_cdf, normal_cdf};
pub use given::{Conditioned, Given, Guided, Known, Query, Watched};
pub use importance::{ImportanceSampler, TimeDistribution, Times};
pub use imputation::{Jumps, masked_loss, paste, repaint, repaint_steps};
pub use level::{Level, Transition, ddim_posterior, noisy, posterior};
pub use loss::{Loss, LossGrad, NoisyBatch, hybrid_loss, simple_loss, vlb_loss};
pub use noise::Noise;
pub use normal::Normal;
pub use pairing::{Pairing, assign_noise, assignment, nearest_noise};
pub use rate::{RatePoint, rate_distortion};
pub use respace::{Respaced, respace};
pub use reverse::{Denoiser, PMeanVariance, PSample, Prediction, Reverse, Variance};
pub use sampler::{
    Interpolation, Snapshot, Step, decode, decode_steps, interpolate, interpolate_latents, progressive,
    sample, shared_latents,
};
pub(crate) use schedule::linspace;
pub use schedule::{Schedule, ScheduleKind};
pub use variational::{
    Term, continuous_term, diffusion_term, level_value, prior_term, reconstruction_term, through_z,
};
