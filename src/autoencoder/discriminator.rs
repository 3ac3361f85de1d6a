//! What tells images from decoded ones, one verdict for each piece (PatchGAN: Isola et al. 2017; in an autoencoder's training:
//! Rombach et al. 2022, section 3.1).
//!
//! ```text
//! x → convs.0 → LeakyReLU → convs.1 → LeakyReLU → convs.2 → LeakyReLU → conv_out → d(x)
//! ```
//!
//! Each of the `convs` is 3×3 and halves the sides, `conv_out` is 1×1: a verdict rests on 15×15 pixels. Nothing is normalised,
//! for how strong a texture is, is what has to be judged. (SiLU, which the other networks have, is nearly linear for differences as
//! small as those of neighbouring pixels, and a linear map sees no strength: with it d was still 0.5 everywhere after 600 steps.)
//!
//! d is trained to say 1 of images and 0 of decoded ones, the decoder to be said 1 of (least squares: Mao et al. 2017), and to
//! stay near the image; the means are over verdicts and images, D numbers in an image:
//!
//! ```text
//! L_discriminator = ½ mean (d(x) − 1)² + ½ mean d(x̂)²
//! L_decoder       = mean |x − x̂|²/D + ½ λ mean (d(x̂) − 1)²
//! ```

use super::{AutoencoderKl, Posterior};
use crate::nn::activation::{leaky_relu, leaky_relu_backward};
use crate::nn::{Conv2d, Conv2dCache};
use crate::params::{Params, params};
use crate::tensor::{Batch, Contiguous, Tensor4, row_major};
use ndarray_rand::rand::Rng;

/// Channels from fine to coarse.
const WIDTHS: [usize; 3] = [32, 64, 128];

/// Judges pieces of images.
#[derive(Clone, Debug)]
pub struct Discriminator {
    /// each halves the sides
    pub convs: Vec<Conv2d>,
    /// features → a verdict
    pub conv_out: Conv2d,
}

params!(Discriminator { convs, conv_out });

/// What [`Discriminator::backward`] needs.
#[derive(Clone, Debug)]
pub struct DiscriminatorCache {
    /// of each convolution, with what came out of it
    convs: Vec<(Conv2dCache, Tensor4)>,
    conv_out: Conv2dCache,
}

impl Discriminator {
    /// For images of so many channels.
    pub fn new(channels: usize, rng: &mut impl Rng) -> Discriminator {
        let mut before = channels;
        let convs = WIDTHS.map(|width| {
            let conv = Conv2d::new(before, width, 3, 1.0, rng).strided(2, [1, 1]);
            before = width;
            conv
        });
        Discriminator { convs: convs.into(), conv_out: Conv2d::new(before, 1, 1, 1.0, rng) }
    }

    /// # Shapes
    /// `[N, H, W, channels]` → `[N, ⌈H/8⌉, ⌈W/8⌉, 1]`.
    pub fn forward(&self, mut x: Tensor4) -> (Tensor4, DiscriminatorCache) {
        let mut convs = Vec::new();
        for conv in &self.convs {
            let (h, cache) = conv.forward(x);
            x = h.clone();
            leaky_relu(x.numbers_mut());
            convs.push((cache, h));
        }
        let (y, conv_out) = self.conv_out.forward(x);
        (y, DiscriminatorCache { convs, conv_out })
    }

    /// Returns `dx`.
    pub fn backward(&self, cache: DiscriminatorCache, dy: &Tensor4, grad: &mut Discriminator) -> Tensor4 {
        let mut dx = self.conv_out.backward(cache.conv_out, dy, &mut grad.conv_out);
        let convs = self.convs.iter().zip(&mut grad.convs).zip(cache.convs);
        for ((conv, grad), (cache, h)) in convs.rev() {
            leaky_relu_backward(h.numbers(), dx.numbers_mut());
            dx = conv.backward(cache, &dx, grad);
        }
        dx
    }
}

/// An autoencoder, and what judges its images.
#[derive(Clone, Debug)]
pub struct Adversaries {
    /// of which the encoder stays as it is, and so the latents
    pub autoencoder: AutoencoderKl,
    /// against which the decoder learns
    pub discriminator: Discriminator,
}

params!(Adversaries { autoencoder, discriminator });

/// The two losses of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdversarialLoss {
    /// mean |x − x̂|²/D + ½ λ mean (d(x̂) − 1)²
    pub decoder: f64,
    /// ½ mean (d(x) − 1)² + ½ mean d(x̂)²
    pub discriminator: f64,
}

impl Adversaries {
    /// With a fresh discriminator.
    pub fn new(autoencoder: AutoencoderKl, rng: &mut impl Rng) -> Adversaries {
        let discriminator = Discriminator::new(autoencoder.config.out_channels, rng);
        Adversaries { autoencoder, discriminator }
    }

    /// The losses, and to `grad` each network's gradient of its own: the decoder's with the discriminator held fixed, the
    /// discriminator's with x̂ held fixed. `noise` `[N, h, w, latent_channels]` makes z of the posterior.
    ///
    /// # Panics
    /// If the shapes don't fit.
    #[track_caller]
    pub fn losses_and_gradients(
        &self,
        x: Tensor4,
        noise: &Batch,
        weight: f64,
        grad: &mut Adversaries,
    ) -> AdversarialLoss {
        let n = x.dim().0;
        self.add_losses(x, noise, weight, n, grad)
    }

    /// The same for a part of a batch of `n` images: everything is divided by n.
    pub(crate) fn add_losses(
        &self,
        x: Tensor4,
        noise: &Batch,
        weight: f64,
        n: usize,
        grad: &mut Adversaries,
    ) -> AdversarialLoss {
        let Adversaries { autoencoder: model, discriminator: d } = self;
        let x = row_major(&x).into_owned();
        let moments = model.quant_conv.infer(&model.encoder.infer(&x)).mapv(f64::from);
        let z = Posterior::new(&moments).normal.sample(noise).mapv(|z| z as f32);
        let (features, post_quant_conv) = model.post_quant_conv.forward(z);
        let (x_hat, decoder) = model.decoder.forward(features);

        // L_discriminator = ½ mean (d(x) − 1)² + ½ mean d(x̂)²
        let ((of_x, x_cache), (of_x_hat, x_hat_cache)) = (d.forward(x.clone()), d.forward(x_hat.clone()));
        let share = x.dim().0 as f64 / (of_x.len() * n) as f64;
        let off_1 = |d: &Tensor4| d.mapv(|d| d - 1.0);
        let halved = |d: &Tensor4| 0.5 * share * d.iter().map(|&d| f64::from(d).powi(2)).sum::<f64>();
        let discriminator = halved(&off_1(&of_x)) + halved(&of_x_hat);
        let slope = |d: Tensor4, weight: f64| d * (weight * share) as f32;
        d.backward(x_cache, &slope(off_1(&of_x), 1.0), &mut grad.discriminator);
        d.backward(x_hat_cache.clone(), &slope(of_x_hat.clone(), 1.0), &mut grad.discriminator);

        // L_decoder = mean |x − x̂|²/D + ½ λ mean (d(x̂) − 1)²
        let (difference, judged) = (x_hat - &x, off_1(&of_x_hat));
        let per_number = x.dim().0 as f64 / (x.len() * n) as f64;
        let squared = difference.iter().map(|&d| f64::from(d).powi(2)).sum::<f64>();
        let fixed = &mut d.zeros_like();
        let dy = difference * (2.0 * per_number) as f32
            + d.backward(x_hat_cache, &slope(judged.clone(), weight), fixed);
        let dz = model.decoder.backward(decoder, &dy, &mut grad.autoencoder.decoder);
        model.post_quant_conv.backward(post_quant_conv, &dz, &mut grad.autoencoder.post_quant_conv);
        AdversarialLoss { decoder: per_number * squared + weight * halved(&judged), discriminator }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoencoder::AutoencoderConfig;
    use crate::nn::gradient_check::{check, check_all, check_params, inner, shaken};
    use crate::rng::{normal, stream};

    /// One that is differentiable around the tests' images: small weights, and biases that keep every number away from the
    /// corner of LeakyReLU, on both sides of it.
    fn smooth(channels: usize) -> Discriminator {
        let mut model = Discriminator::new(channels, &mut stream(1, 0));
        for conv in &mut model.convs {
            conv.weight *= 0.5;
            conv.bias.iter_mut().enumerate().for_each(|(i, b)| *b = if i % 2 == 0 { 2.0 } else { -2.0 });
        }
        model
    }

    #[test]
    fn gradients_of_the_discriminator() {
        let model = smooth(2);
        let x: Tensor4 = normal((2, 10, 8, 2), &mut stream(2, 0));
        let (y, cache) = model.forward(x.clone());
        assert_eq!(y.dim(), (2, 2, 1, 1));
        let dy: Tensor4 = normal(y.dim(), &mut stream(3, 0));
        let mut grad = model.zeros_like();
        let dx = model.backward(cache, &dy, &mut grad);
        check("discriminator x", &x, &dx, |x| inner(&model.forward(x.clone()).0, &dy));
        check_params("discriminator", &model, &grad, &[], |model| inner(&model.forward(x.clone()).0, &dy));
    }

    /// A verdict on 15×15 pixels: one that is farther away does not matter.
    #[test]
    fn a_verdict_rests_on_a_piece() {
        let model = shaken(Discriminator::new(1, &mut stream(1, 0)), 0.05);
        let x: Tensor4 = normal((1, 64, 64, 1), &mut stream(2, 0));
        let (mut moved, verdict) = (x.clone(), |x: &Tensor4| model.forward(x.clone()).0[[0, 4, 4, 0]]);
        moved.slice_mut(ndarray::s![0, 25..40, 25..40, 0]).fill(9.0);
        assert_ne!(verdict(&moved), verdict(&x));
        let mut outside = Tensor4::from_elem(x.raw_dim(), 9.0);
        let kept = ndarray::s![0, 25..40, 25..40, 0];
        outside.slice_mut(kept).assign(&x.slice(kept));
        assert_eq!(verdict(&outside), verdict(&x));
    }

    /// Each network has the gradient of its own loss, and the encoder has none.
    #[test]
    fn gradients_of_both_losses() {
        let config = AutoencoderConfig { latent_channels: 2, ..AutoencoderConfig::new(8, 1, &[4, 6], 2) };
        let autoencoder = shaken(AutoencoderKl::new(&config, &mut stream(1, 0)), 0.1);
        let model = Adversaries { autoencoder, discriminator: smooth(1) };
        let x: Tensor4 = normal((2, 8, 8, 1), &mut stream(2, 0)) * 0.5;
        let noise: Batch = normal((2, 4, 4, 2), &mut stream(3, 0));
        let mut grad = model.zeros_like();
        let losses = |model: &Adversaries, grad: &mut Adversaries| {
            model.losses_and_gradients(x.clone(), &noise, 0.7, grad)
        };
        let at_once = losses(&model, &mut grad);
        assert!(grad.autoencoder.encoder.slices().concat().iter().all(|&d| d == 0.0));

        let loss = |model: &Adversaries| losses(model, &mut model.zeros_like());
        let (decoder, d_decoder) = (&model.autoencoder.decoder, &grad.autoencoder.decoder);
        check_all("decoder", decoder, d_decoder, |decoder| {
            let mut moved = model.clone();
            moved.autoencoder.decoder = decoder.clone();
            loss(&moved).decoder
        });
        let (before_it, d_before_it) =
            (&model.autoencoder.post_quant_conv, &grad.autoencoder.post_quant_conv);
        check_params("post_quant_conv", before_it, d_before_it, &[], |conv| {
            let mut moved = model.clone();
            moved.autoencoder.post_quant_conv = conv.clone();
            loss(&moved).decoder
        });
        check_params("discriminator", &model.discriminator, &grad.discriminator, &[], |discriminator| {
            loss(&Adversaries { discriminator: discriminator.clone(), ..model.clone() }).discriminator
        });

        // an image's layout in memory doesn't matter
        let mut columns = Tensor4::zeros(ndarray::ShapeBuilder::f(x.raw_dim()));
        columns.assign(&x);
        assert_eq!(model.losses_and_gradients(columns, &noise, 0.7, &mut model.zeros_like()), at_once);

        // two halves of a batch are the batch
        let mut halves = model.zeros_like();
        let parts = [0..1, 1..2].map(|part| {
            let x = x.slice(ndarray::s![part.clone(), .., .., ..]).to_owned();
            let noise = noise.slice(ndarray::s![part, .., .., ..]).to_owned();
            model.add_losses(x, &noise, 0.7, 2, &mut halves)
        });
        assert!((parts[0].decoder + parts[1].decoder - at_once.decoder).abs() < 1e-6);
        assert!((parts[0].discriminator + parts[1].discriminator - at_once.discriminator).abs() < 1e-6);
        for (a, b) in halves.slices().concat().iter().zip(grad.slices().concat()) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}
