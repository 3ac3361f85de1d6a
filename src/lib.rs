//! Denoising diffusion probabilistic models (Ho, Jain, Abbeel 2020) from scratch: the mathematics with every term of
//! the bound on the likelihood, the U-Net with its backward pass written by hand, the training, and the paper's
//! figures. It runs on the CPU and needs no machine-learning library: the layers, their gradients, the optimiser and
//! the matrix product are all here to be read.
//!
//! Equation numbers are those of [arXiv 2006.11239](https://arxiv.org/abs/2006.11239), version 2.
//!
//! # Quick start
//!
//! No network is needed for a first DDPM. Where every pixel is N(m, s²), the best guess of the noise has a closed
//! form: [`oracle::GaussianWorld`](diffusion::oracle::GaussianWorld) plays the trained network.
//!
//! ```
//! use ddpm::prelude::*;
//!
//! let schedule = Schedule::linear(1000); // section 4: T = 1000, β from 1e-4 to 0.02
//! let model = GaussianWorld::new(0.2, 0.04, schedule.clone()); // every pixel is N(0.2, 0.2²)
//! let reverse = Reverse::new(schedule); // ε-prediction, σ_t² = β_t
//!
//! let x0 = sample(&model, &reverse, [64, 4, 4, 1], &Noise::seed(1)); // Algorithm 2
//! assert!((x0.mean().unwrap() - 0.2).abs() < 0.02);
//!
//! let data = to_unit(&to_u8(&x0)); // rounded to 256 grey levels
//! let bound = elbo(&model, &reverse, &data, &ElboOptions::default(), &Noise::seed(2));
//! println!("{bound}"); // L_T, Σ L_{t−1}, L_0 and their sum (Eq. 5)
//!
//! let entropy = 6.72; // ½ log₂ 2πe s² + log₂ 127.5 bits: the least that any model can reach on average
//! assert!((bound.bits_per_dim().mean - entropy).abs() < 3.0 * bound.bits_per_dim().std_error);
//! ```
//!
//! It prints
//!
//! ```text
//! L_T       0.0000 ± 0.0000 bits/dim
//! Σ L_t-1   4.3243 ± 0.0417 bits/dim
//! L_0       2.4331 ± 0.0444 bits/dim
//! bound     6.7574 ± 0.0625 bits/dim
//! ```
//!
//! A real network takes the model's place, since [`Unet`](unet::Unet) is a [`Denoiser`](diffusion::Denoiser) too.
//! [`checkpoint::GARMENTS`] and [`checkpoint::PAINTINGS`] are shipped, `ddpm train` trains one, and [`checkpoint::load_pretrained`] loads one.
//!
//! Programs of one screen each stand in the folder `examples`: `sample`, `bound`, `own_denoiser`, `train_on_a_folder`,
//! `fine_tune`, `latent`.
//!
//! # From the paper to the code
//!
//! | paper | | code |
//! |---|---|---|
//! | §2, Eq. 1 | reverse process p_θ | [`Reverse`](diffusion::Reverse), [`Denoiser`](diffusion::Denoiser) |
//! | §2, Eq. 2 | forward process q, β_1 … β_T | [`Schedule`](diffusion::Schedule) |
//! | Eq. 4 | q(x_t given x_0) | [`q_mean_variance`](diffusion::q_mean_variance), [`q_sample`](diffusion::q_sample) |
//! | Eqs. 3, 5 | the bound | [`elbo`](diffusion::elbo()), [`elbo_variants`](diffusion::elbo_variants) → [`Elbo`](diffusion::Elbo) |
//! | Eqs. 6, 7 | q(x_{t−1} given x_t, x_0) | [`q_posterior`](diffusion::q_posterior); for any s < t, per image or pixel, [`posterior`](diffusion::posterior) |
//! | §3.1 | L_T | [`L_T`](diffusion::L_T) |
//! | §3.2, Eq. 8 | L_{t−1} | [`L_t_minus_1`](diffusion::L_t_minus_1), [`kl_normal`](diffusion::kl_normal) |
//! | §3.2 | σ_t² = β_t or β̃_t | [`Variance`](diffusion::Variance) |
//! | §3.2, Eqs. 9–11 | μ_θ from ε_θ | [`Prediction`](diffusion::Prediction), [`Reverse::read`](diffusion::Reverse::read) |
//! | Eq. 12 | weights of L_{t−1} as an error of ε | [`Schedule::weight`](diffusion::Schedule::weight), [`Schedule::kl_const`](diffusion::Schedule::kl_const) |
//! | §3.3 | pixels in [−1, 1] | [`to_unit`](data::to_unit), [`to_u8`](data::to_u8) |
//! | §3.3, Eq. 13 | L_0 | [`L_0`](diffusion::L_0()), [`Decoder`](diffusion::Decoder) |
//! | §3.4, Eq. 14 | L_simple | [`L_simple`](diffusion::L_simple()), [`simple_loss`](diffusion::simple_loss) |
//! | Algorithm 1 | training | [`Trainer::step`](train::Trainer::step), [`Run::train`](train::Run::train) |
//! | Algorithm 2 | sampling | [`sample`](diffusion::sample), [`Reverse::p_sample`](diffusion::Reverse::p_sample) |
//! | §4 | β linear from 1e-4 to 0.02, T = 1000 | [`Schedule::linear`](diffusion::Schedule::linear) |
//! | §4.1, Table 1 | bits per dimension | [`Elbo::bits_per_dim`](diffusion::Elbo::bits_per_dim) |
//! | §4.2, Table 2 | predictions, variances and losses compared | [`Prediction`](diffusion::Prediction), [`Variance`](diffusion::Variance), [`Loss`](diffusion::Loss) |
//! | §4.3, Table 4, Fig. 5 | rate and distortion, the costs of Algorithms 3 and 4 | [`rate_distortion`](diffusion::rate_distortion) |
//! | §4.3, Eq. 15, Figs. 6, 14 | x̂_0 along the way | [`progressive`](diffusion::progressive) |
//! | §4.3, Fig. 7 | images that share x_t | [`shared_latents`](diffusion::shared_latents) |
//! | §4.4, Figs. 8, 9 | interpolation | [`interpolate`](diffusion::interpolate) |
//! | §4.3, Fig. 10 | sample quality over the reverse process | [`Classifier`](quality::Classifier), [`frechet_distance`](quality::frechet_distance()) |
//! | Figs. 12, 15 | nearest neighbours | [`nearest`](quality::nearest) |
//! | appendix B | the network | [`Unet`](unet::Unet), [`UnetConfig::paper`](unet::UnetConfig::paper) |
//! | appendix B | Adam, averaged weights | [`Adam`](optim::Adam) |
//!
//! Beyond the paper, four ideas, each with its own bound or the reason why it has none:
//!
//! | paper | | code |
//! |---|---|---|
//! | Ho & Salimans 2022 (arXiv 2207.12598) | classes, guidance without a classifier | [`Given`](diffusion::Given), [`Guided`](diffusion::Guided), [`ClassEmbedding`](nn::ClassEmbedding) |
//! | Tashiro et al. 2021 (CSDI, arXiv 2107.03502) | what is missing, from what is known | [`Known`](diffusion::Known), [`masked_loss`](diffusion::masked_loss), [`MaskKind`](data::MaskKind), [`crps`](quality::crps()) |
//! | Lugmayr et al. 2022 (RePaint, arXiv 2201.09865) | the same without training for it | [`repaint`](diffusion::repaint), [`Jumps`](diffusion::Jumps) |
//! | Li et al. 2024 (arXiv 2406.12303) | immiscible diffusion | [`Pairing`](diffusion::Pairing), [`assignment`](diffusion::assignment) |
//! | Rombach et al. 2022 (arXiv 2112.10752) | latent diffusion, and its bound term by term | [`AutoencoderKl`](autoencoder::AutoencoderKl), [`latent_bound`](autoencoder::latent_bound) |
//! | Kingma et al. 2021 (VDM, arXiv 2107.00630) | noise levels γ that are learned | [`Gamma`](diffusion::Gamma), [`diffusion_term`](diffusion::diffusion_term), [`through_z`](diffusion::through_z), [`Variational`](variational::Variational) |
//! | Sahoo et al. 2024 (MuLAN, arXiv 2312.13236) | γ of each pixel, and of each image | [`Path::Polynomial`](diffusion::Path::Polynomial), [`Context`](variational::Context) |
//!
//! From later papers: the cosine schedule ([`Schedule::cosine`](diffusion::Schedule::cosine)), the variance between β̃_t
//! and β_t ([`Variance::LearnedRange`](diffusion::Variance::LearnedRange)), its loss
//! ([`hybrid_loss`](diffusion::hybrid_loss)), t drawn by importance ([`ImportanceSampler`](diffusion::ImportanceSampler)) and
//! shorter chains ([`respace`](diffusion::respace())) of Nichol and Dhariwal 2021, the sampler of Song, Meng and Ermon 2021
//! ([`ddim_sample`](diffusion::ddim_sample)), v-prediction ([`Prediction::V`](diffusion::Prediction::V)) of Salimans and
//! Ho 2022, and chains that end in noise alone
//! ([`Schedule::rescaled_to_zero_snr`](diffusion::Schedule::rescaled_to_zero_snr)) of Lin et al. 2024.
//!
//! # The modules, in an order to read them
//!
//! | module | |
//! |---|---|
//! | [`diffusion`] | the paper: both chains, the bound, the samplers, and exact denoisers of toy data; knows no network |
//! | [`tensor`], [`rng`], [`error`], [`files`] | names of arrays, streams of random numbers, what can go wrong outside, files that are whole |
//! | [`data`] | Fashion-MNIST, folders of pictures, points of the plane |
//! | [`nn`] | the layers, each with its backward pass below its forward pass |
//! | [`unet`] | the network: the layers put together, and taken apart again in its backward pass |
//! | [`autoencoder`] | images as Gaussians of fewer numbers, from the same blocks |
//! | [`params`], [`optim`] | named parameters; Adam over them |
//! | [`variational`] | a network that is trained together with its noise levels |
//! | [`train`] | Algorithm 1, step by step and as a run that can be resumed |
//! | [`ranks`] | processes that share the work of one, and give its bytes |
//! | [`quality`] | a classifier, the Fréchet distance in its features, nearest neighbours |
//! | [`checkpoint`] | weights in files, under the names that diffusers gives them |
//! | [`matmul`] | the matrix product: three loops first, then fast |
#![cfg_attr(
    feature = "figures",
    doc = "| [`figures`] | every figure of the paper and of the bound, from plain data |"
)]
//! | [`prelude`] | what a notebook imports |
//!
//! Imports point one way. [`diffusion`] uses [`tensor`] and [`rng`] and never names a network; a network is whatever
//! implements [`Denoiser`](diffusion::Denoiser). [`nn`] knows nothing of diffusion. [`train`] brings the two together.
//!
//! # Conventions
//!
//! - **Shapes.** Images are `[N, H, W, C]`, channels last, with pixels in [−1, 1]. Files hold PyTorch's order; only
//!   [`checkpoint`] converts. Wherever an argument is an array, its shape stands in the text.
//! - **Time.** t = 1..=T as in the paper; tables have T + 1 entries, and ᾱ_0 = 1. The network is told t − 1, as
//!   published weights expect; only [`sinusoidal_embedding`](nn::sinusoidal_embedding) converts.
//! - **Units.** Quantities of information are in nats per image, unless a name says `bits_per_dim` or its
//!   documentation says bits. All terms of the bound are costs: the ELBO is minus their sum.
//! - **Numbers.** The mathematics computes in `f64` ([`Batch`](tensor::Batch)), the network in `f32`
//!   ([`Tensor4`](tensor::Tensor4)).
//! - **Names.** The paper's symbols in ASCII, `alpha_bar`, `mu_tilde`, `eps_hat`, `x0_hat`, and the verbs of the
//!   authors' code, `q_sample`, `p_mean_variance`. The gradient of `x` is `dx`.
//! - **Randomness.** Nothing creates entropy: randomness comes from a seed, or from an `rng` that is the last
//!   argument. Each image and step has a [stream](rng::stream) of its own, so that results don't depend on the
//!   number of threads, on how a batch is split, or on an interruption.
//! - **Panics and errors.** A wrong shape is a bug in the program and panics, with the operation and both shapes. What
//!   comes from outside (files, configurations, arguments of commands) returns a [`Result`] whose [`Error`] says
//!   where, what was expected and what was found.
//!
//! # Features
//!
//! `figures` draws, `cli` is the `ddpm` command; both are on by default. No feature changes a number. The variable
//! `DDPM_SIMD=portable|avx2|avx512` chooses the instruction set; without it the best one of the CPU is taken. AVX2 and AVX-512
//! give the same bits, the portable version rounds differently.

pub mod autoencoder;
pub mod checkpoint;
pub mod data;
pub mod diffusion;
pub mod error;
#[cfg(feature = "figures")]
pub mod figures;
pub mod files;
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls what is compiled for the CPU at hand")
)]
pub mod matmul;
mod names;
pub mod nn;
pub mod optim;
pub mod params;
pub mod prelude;
pub mod quality;
pub mod ranks;
pub mod rng;
mod schema;
pub mod tensor;
mod threads;
pub mod train;
pub mod unet;
pub mod variational;

pub use error::{Error, Fault, Result};

/// The README's program is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
