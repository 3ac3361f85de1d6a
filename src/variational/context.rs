//! MuLAN's context: a γ for each image, from an auxiliary latent z.
//!
//! −log p(x) ≤ E_{z ~ q(z|x)} [bound of x with γ(·; z)] + KL(q(z|x) ‖ N(0, I))
//!
//! q(z|x) = N(m, diag e^v), (m, v) = W x + b; what z says is added to the numbers of γ's paths: numbers + V z + c. In MuLAN z
//! is fifty bits of which fifteen are 1, drawn by a relaxation; a Gaussian needs none, and its KL is exact.

use super::values;
use crate::autoencoder::Posterior;
use crate::diffusion::{Gamma, Normal};
use crate::nn::{Linear, LinearCache};
use crate::params::params;
use crate::tensor::{Batch, Tensor2};
use ndarray::{Array1, Axis};
use ndarray_rand::rand::Rng;

/// Encoder and decoder of z.
#[derive(Clone, Debug)]
pub struct Context {
    /// x → mean and log σ² of z
    pub encoder: Linear,
    /// z → what is added to the numbers of γ
    pub decoder: Linear,
}

params!(Context { encoder, decoder });

/// The z of some images, and what [`Context::backward`] needs.
#[derive(Debug)]
pub struct Drawn {
    posterior: Posterior,
    noise: Batch,
    /// what is added to the numbers of γ, `[N, numbers]`
    numbers: Tensor2,
    encoder: LinearCache,
    decoder: LinearCache,
}

impl Drawn {
    /// KL(q(z|x) ‖ N(0, I)) of each image, nats.
    pub fn kl(&self) -> Array1<f64> {
        let normal = &self.posterior.normal;
        normal.kl(&Normal::standard(&normal.mean))
    }

    /// γ of each image.
    pub fn gammas(&self, base: &Gamma) -> Vec<Gamma> {
        moved(base, &self.numbers)
    }
}

/// γ with each row of `numbers` added to its own.
fn moved(base: &Gamma, numbers: &Tensor2) -> Vec<Gamma> {
    let add = |row: ndarray::ArrayView1<f32>| {
        let row = row.to_shape(base.numbers.raw_dim()).expect("a number for each of γ's");
        Gamma { numbers: &base.numbers + &row, ..base.clone() }
    };
    numbers.outer_iter().map(add).collect()
}

impl Context {
    /// For images of `pixels` numbers, a z of `latent`, and a γ of `numbers`; at first q(z|x) = N(0, I), and z moves γ little.
    pub fn new(pixels: usize, latent: usize, numbers: usize, rng: &mut impl Rng) -> Context {
        let mut encoder = Linear::new(pixels, 2 * latent, 1.0, rng);
        encoder.weight.fill(0.0);
        Context { encoder, decoder: Linear::new(latent, numbers, 0.01, rng) }
    }

    /// How many numbers z has.
    pub fn latent(&self) -> usize {
        self.decoder.weight.nrows()
    }

    /// z ~ q(z|x).
    ///
    /// # Shapes
    /// `x` `[N, H, W, C]`, `noise` `[N, 1, 1, latent]`.
    pub fn draw(&self, x: &Batch, noise: Batch) -> Drawn {
        let (moments, encoder) = self.encoder.forward(values(x));
        let (n, both) = moments.dim();
        let moments = moments.mapv(f64::from).into_shape_with_order((n, 1, 1, both)).expect("rows");
        let posterior = Posterior::new(&moments);
        let (numbers, decoder) = self.decoder.forward(values(&posterior.normal.sample(&noise)));
        Drawn { posterior, noise, numbers, encoder, decoder }
    }

    /// The γ that z ~ N(0, I) has, for samples.
    pub fn prior(&self, base: &Gamma, z: &Batch) -> Vec<Gamma> {
        moved(base, &self.decoder.infer(&values(z)))
    }

    /// Backward of `scale` · Σ KL and of the numbers of γ.
    ///
    /// # Shapes
    /// `d_numbers` `[N, numbers]`.
    pub fn backward(&self, drawn: Drawn, d_numbers: &Tensor2, scale: f64, grad: &mut Context) {
        let dz = self.decoder.backward(drawn.decoder, d_numbers, &mut grad.decoder);
        let dz = dz.mapv(f64::from).insert_axis(Axis(1)).insert_axis(Axis(1));
        let through_z = drawn.posterior.backward_sample(&drawn.noise, &dz);
        let d_moments = through_z + drawn.posterior.backward_kl() * scale;
        self.encoder.backward(drawn.encoder, &values(&d_moments), &mut grad.encoder);
    }
}
