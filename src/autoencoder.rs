//! The autoencoder of latent diffusion (Rombach et al. 2022, section 3.1), the same function as diffusers' `AutoencoderKL`.
//!
//! ```text
//! x → conv_in → down 0 → … → down L → mid → conv_out → quant_conv → mean, log σ²      encoder
//! z = mean + σ n                                                                      the posterior q(z|x)
//! z → post_quant_conv → conv_in → mid → up L → … → up 0 → conv_out → x̂                decoder
//! ```
//!
//! The blocks are those of the [U-Net](crate::unet), without a time, without skips, with attention in the middle only. It is
//! trained on a bound on the likelihood of its own (Kingma & Welling 2014): with a decoder N(x̂, s² I),
//!
//! ```text
//! −log p(x) ≤ |x − x̂|²/(2 s²) + D/2 log(2π s²) + KL(q(z|x) ‖ N(0, I))
//! ```
//!
//! and up to a factor and a constant that is `|x − x̂|² + β KL` with `β = 2 s²`. A decoder that has to look like
//! images can then be trained on against a [`Discriminator`]. (Rombach et al. do both at once, with a perceptual distance
//! besides, which is left out here.)

mod bound;
mod config;
mod discriminator;
mod encoded;
mod posterior;

pub use bound::{Coder, LatentBound, decoder_variance, latent_bound};
pub use config::{AutoencoderConfig, DownType, UpType};
pub use discriminator::{AdversarialLoss, Adversaries, Discriminator, DiscriminatorCache};
pub use encoded::Encoded;
pub use posterior::Posterior;

use crate::diffusion::Normal;
use crate::nn::{
    Conv2d, Conv2dCache, DownBlock, DownBlockCache, GroupNorm, GroupNormCache, MidBlock, MidBlockCache,
    UpBlock, UpBlockCache,
};
use crate::params::params;
use crate::tensor::{Batch, Tensor4, row_major};
use crate::threads::Working;
use ndarray::{Array1, ArrayView4, Axis, concatenate};
use ndarray_rand::rand::Rng;
use rayon::prelude::*;

/// Images that go through the network together, outside of training.
const GROUP_SIZE: usize = 8;

/// Encoder and decoder.
#[derive(Clone, Debug)]
pub struct AutoencoderKl {
    /// what it was built from
    pub config: AutoencoderConfig,
    /// image → features
    pub encoder: Encoder,
    /// latent → image
    pub decoder: Decoder,
    /// features → mean and log σ², 1×1
    pub quant_conv: Conv2d,
    /// latent → what the decoder reads, 1×1
    pub post_quant_conv: Conv2d,
}

params!(AutoencoderKl { encoder, decoder, quant_conv, post_quant_conv });

/// From fine to coarse.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// image → first features
    pub conv_in: Conv2d,
    /// from fine to coarse
    pub down_blocks: Vec<DownBlock>,
    /// at the coarsest resolution
    pub mid_block: MidBlock,
    /// before the last convolution
    pub conv_norm_out: GroupNorm,
    /// features → two numbers for each of the latent's
    pub conv_out: Conv2d,
}

params!(Encoder { conv_in, down_blocks, mid_block, conv_norm_out, conv_out });

/// From coarse to fine.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// latent → first features
    pub conv_in: Conv2d,
    /// at the coarsest resolution
    pub mid_block: MidBlock,
    /// from coarse to fine
    pub up_blocks: Vec<UpBlock>,
    /// before the last convolution
    pub conv_norm_out: GroupNorm,
    /// features → image
    pub conv_out: Conv2d,
}

params!(Decoder { conv_in, mid_block, up_blocks, conv_norm_out, conv_out });

/// What [`Encoder::backward`] needs.
#[derive(Debug)]
pub struct EncoderCache {
    conv_in: Conv2dCache,
    down: Vec<DownBlockCache>,
    mid: MidBlockCache,
    conv_norm_out: GroupNormCache,
    conv_out: Conv2dCache,
}

/// What [`Decoder::backward`] needs.
#[derive(Debug)]
pub struct DecoderCache {
    conv_in: Conv2dCache,
    mid: MidBlockCache,
    up: Vec<UpBlockCache>,
    conv_norm_out: GroupNormCache,
    conv_out: Conv2dCache,
}

impl Encoder {
    fn new(config: &AutoencoderConfig, rng: &mut impl Rng) -> Encoder {
        let (widths, options) = (&config.block_out_channels, config.block_options());
        let last = widths[widths.len() - 1];
        let conv_in = Conv2d::new(config.in_channels, widths[0], 3, 1.0, rng);
        let mut channels = widths[0];
        let mut down_blocks = Vec::new();
        for (level, &width) in widths.iter().enumerate() {
            let padding = (level + 1 < widths.len()).then_some([0, 1]);
            let shape = (channels, width, config.layers_per_block);
            down_blocks.push(DownBlock::new(shape, false, padding, &options, rng));
            channels = width;
        }
        Encoder {
            conv_in,
            down_blocks,
            mid_block: MidBlock::new(last, &options, rng),
            conv_norm_out: GroupNorm::new(last, options.norm_num_groups, options.norm_eps),
            conv_out: Conv2d::new(last, 2 * config.latent_channels, 3, 1.0, rng),
        }
    }

    /// # Shapes
    /// `[N, H, W, in_channels]` → `[N, h, w, 2 latent_channels]`, with sides halved once for each level but the last.
    pub fn forward(&self, x: Tensor4) -> (Tensor4, EncoderCache) {
        let (mut h, conv_in) = self.conv_in.forward(x);
        let mut down = Vec::new();
        for block in &self.down_blocks {
            let (y, cache) = block.forward(h, None, &mut [], None);
            down.push(cache);
            h = y;
        }
        let (h, mid) = self.mid_block.forward(h, None, &mut []);
        let (h, conv_norm_out) = self.conv_norm_out.forward_silu(h);
        let (y, conv_out) = self.conv_out.forward(h);
        (y, EncoderCache { conv_in, down, mid, conv_norm_out, conv_out })
    }

    /// Returns `dx`.
    pub fn backward(&self, cache: EncoderCache, dy: &Tensor4, grad: &mut Encoder) -> Tensor4 {
        let dh = self.conv_out.backward(cache.conv_out, dy, &mut grad.conv_out);
        let dh = self.conv_norm_out.backward_silu(cache.conv_norm_out, dh, &mut grad.conv_norm_out);
        let mut dh = self.mid_block.backward(cache.mid, dh, None, &mut grad.mid_block);
        let blocks = self.down_blocks.iter().zip(&mut grad.down_blocks).zip(cache.down);
        for ((block, grad), cache) in blocks.rev() {
            dh = block.backward(cache, dh, None, None, grad);
        }
        self.conv_in.backward(cache.conv_in, &dh, &mut grad.conv_in)
    }

    /// [`forward`](Encoder::forward) without a cache.
    pub fn infer(&self, x: &Tensor4) -> Tensor4 {
        let mut h = self.conv_in.infer(x);
        for block in &self.down_blocks {
            h = block.infer(h, None, None);
        }
        let h = self.mid_block.infer(h, None);
        self.conv_out.infer(&self.conv_norm_out.infer_silu(&h))
    }
}

impl Decoder {
    fn new(config: &AutoencoderConfig, rng: &mut impl Rng) -> Decoder {
        let (widths, options) = (&config.block_out_channels, config.block_options());
        let last = widths[widths.len() - 1];
        let conv_in = Conv2d::new(config.latent_channels, last, 3, 1.0, rng);
        let mid_block = MidBlock::new(last, &options, rng);
        let mut channels = last;
        let mut up_blocks = Vec::new();
        for (level, &width) in widths.iter().enumerate().rev() {
            let mut inputs = vec![width; config.layers_per_block + 1];
            inputs[0] = channels;
            up_blocks.push(UpBlock::new((&inputs, width), false, level > 0, &options, rng));
            channels = width;
        }
        Decoder {
            conv_in,
            mid_block,
            up_blocks,
            conv_norm_out: GroupNorm::new(widths[0], options.norm_num_groups, options.norm_eps),
            conv_out: Conv2d::new(widths[0], config.out_channels, 3, 1.0, rng),
        }
    }

    /// # Shapes
    /// `[N, h, w, latent_channels]` → `[N, H, W, out_channels]`.
    pub fn forward(&self, z: Tensor4) -> (Tensor4, DecoderCache) {
        let (h, conv_in) = self.conv_in.forward(z);
        let (mut h, mid) = self.mid_block.forward(h, None, &mut []);
        let mut up = Vec::new();
        for block in &self.up_blocks {
            let (y, cache) = block.forward(h, None, &mut [], None);
            up.push(cache);
            h = y;
        }
        let (h, conv_norm_out) = self.conv_norm_out.forward_silu(h);
        let (y, conv_out) = self.conv_out.forward(h);
        (y, DecoderCache { conv_in, mid, up, conv_norm_out, conv_out })
    }

    /// Returns `dz`.
    pub fn backward(&self, cache: DecoderCache, dy: &Tensor4, grad: &mut Decoder) -> Tensor4 {
        let dh = self.conv_out.backward(cache.conv_out, dy, &mut grad.conv_out);
        let mut dh = self.conv_norm_out.backward_silu(cache.conv_norm_out, dh, &mut grad.conv_norm_out);
        let blocks = self.up_blocks.iter().zip(&mut grad.up_blocks).zip(cache.up);
        for ((block, grad), cache) in blocks.rev() {
            dh = block.backward(cache, dh, None, None, grad);
        }
        let dh = self.mid_block.backward(cache.mid, dh, None, &mut grad.mid_block);
        self.conv_in.backward(cache.conv_in, &dh, &mut grad.conv_in)
    }

    /// [`forward`](Decoder::forward) without a cache.
    pub fn infer(&self, z: &Tensor4) -> Tensor4 {
        let mut h = self.mid_block.infer(self.conv_in.infer(z), None);
        for block in &self.up_blocks {
            h = block.infer(h, None, None);
        }
        self.conv_out.infer(&self.conv_norm_out.infer_silu(&h))
    }
}

/// The parts of the loss of a batch.
#[derive(Clone, Debug)]
pub struct AutoencoderLoss {
    /// mean over images of (|x − x̂|² + β KL) / D, D numbers in an image
    pub loss: f64,
    /// |x − x̂|² of each image, `[N]`
    pub squared_error: Array1<f64>,
    /// KL(q(z|x) ‖ N(0, I)) of each image in nats, `[N]`
    pub kl: Array1<f64>,
    /// ∂loss/∂x, `[N, H, W, in_channels]`
    pub dx: Tensor4,
}

impl AutoencoderKl {
    /// A network with fresh weights.
    ///
    /// # Panics
    /// If the configuration does not pass its [check](AutoencoderConfig::check).
    #[track_caller]
    pub fn new(config: &AutoencoderConfig, rng: &mut impl Rng) -> AutoencoderKl {
        config.check().unwrap_or_else(|fault| panic!("autoencoder: {fault}"));
        let latent = config.latent_channels;
        AutoencoderKl {
            config: config.clone(),
            encoder: Encoder::new(config, rng),
            decoder: Decoder::new(config, rng),
            quant_conv: Conv2d::new(2 * latent, 2 * latent, 1, 1.0, rng),
            post_quant_conv: Conv2d::new(latent, latent, 1, 1.0, rng),
        }
    }

    /// q(z|x), on all threads.
    ///
    /// # Shapes
    /// `x` `[N, H, W, in_channels]`, pixels in [−1, 1] → mean and log σ² `[N, h, w, latent_channels]`.
    pub fn encode(&self, x: &Batch) -> Posterior {
        Posterior::new(&in_groups(x, |x| self.quant_conv.infer(&self.encoder.infer(&x))))
    }

    /// x̂(z), on all threads; `z` as the posterior has it, not scaled.
    ///
    /// # Shapes
    /// `[N, h, w, latent_channels]` → `[N, H, W, out_channels]`.
    pub fn decode(&self, z: &Batch) -> Batch {
        in_groups(z, |z| self.decoder.infer(&self.post_quant_conv.infer(&z)))
    }

    /// Floating-point operations to decode a latent of `h` × `w`, counted as in [`Unet::flops`](crate::unet::Unet::flops).
    ///
    /// ```
    /// # use ddpm::{autoencoder::{AutoencoderConfig, AutoencoderKl}, rng::stream};
    /// let model = AutoencoderKl::new(&AutoencoderConfig::default(), &mut stream(1, 0));
    /// assert!(model.decoding_flops(8, 8) > 4 * model.decoding_flops(4, 4)); // attention grows with the square
    /// ```
    pub fn decoding_flops(&self, h: usize, w: usize) -> u64 {
        let (decoder, mut sides) = (&self.decoder, (h, w));
        let mut sum = self.post_quant_conv.flops(h * w) + decoder.conv_in.flops(h * w);
        sum += decoder.mid_block.flops(h * w);
        for block in &decoder.up_blocks {
            let (flops, next) = block.flops(sides);
            (sum, sides) = (sum + flops, next);
        }
        sum + decoder.conv_out.flops(sides.0 * sides.1)
    }

    /// The loss, and its gradient by every parameter added to `grad`; `noise` `[N, h, w, latent_channels]` makes z of the
    /// posterior.
    ///
    /// # Panics
    /// If the shapes don't fit.
    #[track_caller]
    pub fn loss_and_gradient(
        &self,
        x: Tensor4,
        noise: &Batch,
        beta: f64,
        grad: &mut AutoencoderKl,
    ) -> AutoencoderLoss {
        let n = x.dim().0;
        self.add_loss(x, noise, beta, n, grad)
    }

    /// The same for a part of a batch of `n` images: all but `squared_error` and `kl` are divided by n.
    pub(crate) fn add_loss(
        &self,
        x: Tensor4,
        noise: &Batch,
        beta: f64,
        n: usize,
        grad: &mut AutoencoderKl,
    ) -> AutoencoderLoss {
        let image = x.mapv(f64::from);
        let (features, encoder) = self.encoder.forward(row_major(&x).into_owned());
        let (moments, quant_conv) = self.quant_conv.forward(features);
        let posterior = Posterior::new(&moments.mapv(f64::from));
        let z = posterior.normal.sample(noise).mapv(|z| z as f32);
        let (features, post_quant_conv) = self.post_quant_conv.forward(z);
        let (x_hat, decoder) = self.decoder.forward(features);

        // L = Σ (|x − x̂|² + β KL) / (n D)
        let difference = &image - &x_hat.mapv(f64::from);
        let share = x.dim().0 as f64 / (difference.len() * n) as f64;
        let kl = posterior.normal.kl(&Normal::standard(&posterior.normal.mean));
        let squared_error = Array1::from_iter(difference.outer_iter().map(|d| d.iter().map(|d| d * d).sum()));
        let loss = share * (squared_error.sum() + beta * kl.sum());

        let dy = difference.mapv(|d| (-2.0 * share * d) as f32);
        let dz = self.decoder.backward(decoder, &dy, &mut grad.decoder);
        let dz = self.post_quant_conv.backward(post_quant_conv, &dz, &mut grad.post_quant_conv);
        let through_z = posterior.backward_sample(noise, &dz.mapv(f64::from));
        let d_moments = (through_z + posterior.backward_kl() * (beta * share)).mapv(|d| d as f32);
        let dh = self.quant_conv.backward(quant_conv, &d_moments, &mut grad.quant_conv);
        let dx = self.encoder.backward(encoder, &dh, &mut grad.encoder) - &dy; // x is also what x̂ is compared with
        AutoencoderLoss { loss, squared_error, kl, dx }
    }
}

/// `f` of groups of images side by side, joined again; the network computes in `f32`.
fn in_groups(x: &Batch, f: impl Fn(Tensor4) -> Tensor4 + Sync) -> Batch {
    let groups = x.axis_chunks_iter(Axis(0), GROUP_SIZE).into_par_iter();
    let f = |x: ArrayView4<f64>| {
        let _working = Working::begin();
        f(row_major(&x.mapv(|v| v as f32)).into_owned())
    };
    let groups: Vec<Tensor4> = groups.map(f).collect();
    let views: Vec<_> = groups.iter().map(|group| group.view()).collect();
    concatenate(Axis(0), &views).expect("groups of one shape").mapv(f64::from)
}

#[cfg(test)]
mod tests;
