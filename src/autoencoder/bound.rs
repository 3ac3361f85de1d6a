//! The bound of a latent diffusion model on the images themselves, term by term, so that it can stand beside that of a model
//! of pixels:
//!
//! −log p(x) ≤ −E log p(x|z) + E log q(z|x) + E[L_T + Σ L_{t−1} + L_0](z), z ~ q(z|x)
//!
//! The first term is a Gaussian around the decoded image, integrated over the bin of each grey level (Eq. 13): a probability.
//! The other two are densities, and their units cancel: of u = s z both change by log s for each number. The last is the
//! paper's bound on the diffusion model's data u, with a density for L_0.

use super::AutoencoderKl;
use crate::diffusion::{
    Decoder, Denoiser, Elbo, ElboOptions, Estimate, L_0, Noise, Normal, PMeanVariance, Reverse, bits_per_dim,
    elbo,
};
use crate::tensor::Batch;
use ndarray::Array1;
use std::f64::consts::PI;

/// What makes latents of images, and images of latents.
pub trait Coder {
    /// q(z|x)
    fn posterior(&self, x: &Batch) -> Normal;
    /// x̂(z)
    fn image(&self, z: &Batch) -> Batch;
    /// s, by which z is multiplied for the diffusion model
    fn scaling_factor(&self) -> f64;
}

impl Coder for AutoencoderKl {
    fn posterior(&self, x: &Batch) -> Normal {
        self.encode(x).normal
    }

    fn image(&self, z: &Batch) -> Batch {
        self.decode(z)
    }

    fn scaling_factor(&self) -> f64 {
        self.config.scaling_factor
    }
}

/// The three terms for each image, in nats.
#[derive(Clone, Debug)]
pub struct LatentBound {
    /// D = H·W·C of the images
    pub dims: usize,
    /// −log p(x|z), `[N]`
    pub reconstruction: Array1<f64>,
    /// E log q(u|x), `[N]`: negative where the latent is uncertain
    pub posterior: Array1<f64>,
    /// the bound on −log p(u)
    pub prior: Elbo,
}

impl LatentBound {
    /// The whole bound of each image, nats, `[N]`.
    pub fn total(&self) -> Array1<f64> {
        &self.reconstruction + &self.posterior + &self.prior.total()
    }

    /// Its mean over the images, bits per dimension of the image.
    pub fn bits_per_dim(&self) -> Estimate {
        self.estimate(&self.total())
    }

    /// Any of the terms, nats `[N]`, as bits per dimension of the image.
    pub fn estimate(&self, nats: &Array1<f64>) -> Estimate {
        Estimate::of(&nats.mapv(|nats| bits_per_dim(nats, self.dims)))
    }
}

/// The variance s² of the decoder N(x̂, s² I) that is best for these images: the mean squared error of what is decoded from
/// draws of q(z|x). Take other images than those that are evaluated.
pub fn decoder_variance(coder: &impl Coder, images: &Batch, noise: &Noise) -> f64 {
    let posterior = coder.posterior(images);
    let x_hat = coder.image(&posterior.sample(&of_posterior(&posterior, noise)));
    (&x_hat - images).mapv(|d| d * d).mean().expect("at least one pixel")
}

/// Evaluates it: one z for each image, and for each t one noise.
///
/// z has the noise of a step that no chain has, which the prior's terms don't use.
///
/// # Shapes
/// `images` `[N, H, W, C]`, grey levels k/127.5 − 1; the denoiser's data are u = s z `[N, h, w, c]`.
///
/// # Panics
/// As [`elbo`].
pub fn latent_bound(
    coder: &impl Coder,
    (denoiser, reverse): (&dyn Denoiser, &Reverse),
    images: &Batch,
    decoder_variance: f64,
    options: &ElboOptions,
    noise: &Noise,
) -> LatentBound {
    let (n, s) = (images.dim().0, coder.scaling_factor());
    let posterior = coder.posterior(images);
    let z = posterior.sample(&of_posterior(&posterior, noise));
    let mean = coder.image(&z);
    let log_variance = Batch::from_elem(mean.raw_dim(), decoder_variance.ln());
    let p = PMeanVariance { x0_hat: mean.clone(), normal: Normal { mean, log_variance } };
    // E log N(u; m, v) = −½ Σ (1 + log 2π v), v of u = s² times that of z
    let log_q = |v: &f64| -0.5 * (1.0 + (2.0 * PI).ln() + v + 2.0 * s.ln());
    let variances = posterior.log_variance.outer_iter();
    LatentBound {
        dims: images.len() / n,
        reconstruction: L_0(images, &p, Decoder::Exact),
        posterior: variances.map(|v| v.iter().map(log_q).sum()).collect(),
        prior: elbo(denoiser, reverse, &(z * s), &ElboOptions { continuous: true, ..*options }, noise),
    }
}

/// The noise of z: of a step that no chain has.
fn of_posterior(posterior: &Normal, noise: &Noise) -> Batch {
    let (n, h, w, c) = posterior.mean.dim();
    noise.batch([n, h, w, c], &vec![1 << 30; n])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::oracle::GaussianWorld;
    use crate::diffusion::{Schedule, Variance};
    use crate::rng::{normal, stream};

    /// Probabilistic PCA of one number: x = w z + s ε; q is the true posterior, N(w x/(w² + s²), s²/(w² + s²)).
    struct Linear {
        w: f64,
        s2: f64,
        scale: f64,
    }

    impl Coder for Linear {
        fn posterior(&self, x: &Batch) -> Normal {
            let total = self.w * self.w + self.s2;
            let log_variance = Batch::from_elem(x.raw_dim(), (self.s2 / total).ln());
            Normal { mean: x.mapv(|x| self.w * x / total), log_variance }
        }

        fn image(&self, z: &Batch) -> Batch {
            z * self.w
        }

        fn scaling_factor(&self) -> f64 {
            self.scale
        }
    }

    /// With the true posterior and a perfect prior the bound is the likelihood, whatever the scale of the latent.
    #[test]
    fn the_bound_of_a_linear_model_is_its_likelihood() {
        let (w, s2, n) = (0.25f64, 0.01f64, 400);
        let levels = |x: f64| ((x + 1.0) * 127.5).round().clamp(0.0, 255.0) / 127.5 - 1.0;
        let x: Batch = normal::<f64, _>((n, 1, 1, 1), &mut stream(1, 0)) * (w * w + s2).sqrt();
        let x = x.mapv(levels);
        let log_sigma = 0.5 * (w * w + s2).ln();
        let exact: Array1<f64> = x.iter().map(|&x| -Decoder::Exact.log_prob(x, 0.0, log_sigma)).collect();
        for scale in [1.0, 0.7] {
            let schedule = Schedule::linear(1000);
            let prior = GaussianWorld::new(0.0, scale * scale, schedule.clone());
            let reverse = Reverse { clip: false, variance: Variance::Beta, ..Reverse::new(schedule) };
            let coder = Linear { w, s2, scale };
            let options = ElboOptions::default();
            let bound = latent_bound(&coder, (&prior, &reverse), &x, s2, &options, &Noise::seed(3));
            let off = Estimate::of(&(bound.total() - &exact));
            // for data of another variance than 1 the chain's own is not quite that of the reversed one
            let slack = if scale == 1.0 { 2e-3 } else { 0.05 };
            assert!(off.mean.abs() < 4.0 * off.std_error + slack, "scale {scale}: {off}");
            assert!(off.std_error < 0.1, "{off}");
            let variance = decoder_variance(&coder, &x, &Noise::seed(4));
            assert!((variance / s2 - 1.0).abs() < 0.25, "{variance}"); // the model's own
        }
    }
}
