//! The U-Net of Ho et al., the same function as diffusers' `UNet2DModel`.
//!
//! ```text
//! conv_in ─┬─ down 0 ─┬─ down 1 ─┬─ … ─┐
//!          │          │          │     mid: residual block, attention, residual block
//! conv_out ┴── up  L ─┴─ up L−1 ─┴─ … ─┘
//! ```
//!
//! Down level `i` has `layers_per_block` residual blocks of `block_out_channels[i]`, attention after each where
//! its type says so, and halves the resolution (but not the last). Everything it computes is pushed on a stack;
//! the up levels, one residual block longer, pop it and concatenate: see [`DownBlock`] and [`UpBlock`], and what
//! stands there about skips.

mod config;

pub use config::{BlockType, MAX_PARAMETERS, UnetConfig};

use crate::diffusion::{Denoiser, Given, Known, Query};
use crate::nn::blocks::{add_popped, replace};
use crate::nn::{
    ClassEmbedding, Conv2d, Conv2dCache, DownBlock, DownBlockCache, GroupNorm, GroupNormCache, MidBlock,
    MidBlockCache, NEARLY_ZERO, TimeEmbedding, TimeEmbeddingCache, UpBlock, UpBlockCache, activation,
    sinusoidal_embedding,
};
use crate::params::params;
use crate::tensor::{Batch, Contiguous, Tensor1, Tensor2, Tensor4, copy, recycle, row_major};
use crate::threads::{self, Working};
use ndarray::{ArrayView4, Axis, concatenate, s};
use ndarray_rand::rand::Rng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::borrow::Cow;
use std::f32::consts::TAU;

/// Images that go through the network together in training: as many as the widest tile of the matrix product has rows,
/// so that a tile is one pixel of all of them, and few enough for the cache. Fixed, so that the sums that make a gradient
/// do not depend on the number of threads.
pub const GROUP_SIZE: usize = 8;

/// Without gradients there are no sums over images, and a group may be what suits the cache: twice as many images share
/// the work that is done once for each, transforming weights.
const INFERENCE_GROUP: usize = 16;

/// The network.
#[derive(Clone, Debug)]
pub struct Unet {
    /// what it was built from
    pub config: UnetConfig,
    /// image → first features
    pub conv_in: Conv2d,
    /// what every residual block is told of the time
    pub time_embedding: TimeEmbedding,
    /// and of the class, if the network knows classes
    pub class_embedding: Option<ClassEmbedding>,
    /// from fine to coarse
    pub down_blocks: Vec<DownBlock>,
    /// at the coarsest resolution
    pub mid_block: MidBlock,
    /// from coarse to fine
    pub up_blocks: Vec<UpBlock>,
    /// before the last convolution
    pub conv_norm_out: GroupNorm,
    /// features → output, starting at nothing
    pub conv_out: Conv2d,
}

params!(Unet {
    conv_in,
    time_embedding,
    class_embedding,
    down_blocks,
    mid_block,
    up_blocks,
    conv_norm_out,
    conv_out
});

/// What [`Unet::backward`] needs.
#[derive(Debug)]
pub struct UnetCache {
    conv_in: Conv2dCache,
    time_embedding: TimeEmbeddingCache,
    classes: Vec<Option<usize>>,
    temb: Tensor2,
    down: Vec<DownBlockCache>,
    mid: MidBlockCache,
    up: Vec<UpBlockCache>,
    conv_norm_out: GroupNormCache,
    conv_out: Conv2dCache,
}

impl Unet {
    /// A network with Ho's initialisation.
    pub fn new(config: &UnetConfig, rng: &mut impl Rng) -> Unet {
        let widths = &config.block_out_channels;
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let conv_in = Conv2d::new(config.in_channels, first, 3, 1.0, rng);
        let time_embedding = TimeEmbedding::new(first, rng);
        let options = config.block_options();
        let padding = if config.downsample_padding == 0 { [0, 1] } else { [config.downsample_padding; 2] };

        let (mut channels, mut skips) = (first, vec![first]); // of the running h, and of what is on the stack
        let mut down_blocks = Vec::new();
        for (level, (&width, kind)) in widths.iter().zip(&config.down_block_types).enumerate() {
            let halves = level + 1 < widths.len();
            let shape = (channels, width, config.layers_per_block);
            let padding = halves.then_some(padding);
            down_blocks.push(DownBlock::new(shape, kind.has_attention(), padding, &options, rng));
            skips.extend(vec![width; config.layers_per_block + usize::from(halves)]);
            channels = width;
        }
        let mid_block = MidBlock::new(last, &options, rng);
        let mut up_blocks = Vec::new();
        for (level, kind) in (0..widths.len()).rev().zip(&config.up_block_types) {
            let width = widths[level];
            let mut inputs = Vec::new();
            for _ in 0..=config.layers_per_block {
                inputs.push(channels + skips.pop().expect("one skip per block"));
                channels = width;
            }
            up_blocks.push(UpBlock::new((&inputs, width), kind.has_attention(), level > 0, &options, rng));
        }
        let conv_out = Conv2d::new(first, config.out_channels, 3, NEARLY_ZERO, rng);
        // the last to be drawn: the others are those of a network without classes
        let class_embedding = config.num_class_embeds.map(|rows| ClassEmbedding::new(rows, 4 * first, rng));
        Unet {
            config: config.clone(),
            conv_in,
            time_embedding,
            class_embedding,
            down_blocks,
            mid_block,
            up_blocks,
            conv_norm_out: GroupNorm::new(first, config.norm_num_groups, config.norm_eps),
            conv_out,
        }
    }

    /// The same network, ready to learn what else it may be told: a table of `classes` rows, known pixels beside x_t. Without
    /// a class it is the same function: ∅ is a row of zeros, as are the weights of the new channels (what is known is not
    /// seen in x_t any more).
    ///
    /// # Panics
    /// If the network has such inputs already.
    #[track_caller]
    pub fn with_conditions(&self, classes: Option<usize>, known: bool, rng: &mut impl Rng) -> Unet {
        let mut unet = self.clone();
        if let Some(rows) = classes {
            assert!(self.class_embedding.is_none(), "with_conditions: the network knows classes");
            unet.config.num_class_embeds = Some(rows);
            unet.class_embedding =
                Some(ClassEmbedding::new(rows, 4 * self.config.block_out_channels[0], rng));
        }
        if known {
            assert!(!self.config.sees_known(), "with_conditions: the network sees known pixels");
            let c = self.config.in_channels;
            unet.config.in_channels = 2 * c + 1;
            let old = &self.conv_in.weight; // [3, 3, in, out]
            let (kh, kw, _, out) = old.dim();
            unet.conv_in.weight = Tensor4::zeros((kh, kw, 2 * c + 1, out));
            unet.conv_in.weight.slice_mut(s![.., .., c..2 * c, ..]).assign(old);
        }
        unet
    }

    /// The same network with a second half of its output, v for a learned variance: zeros, which is the geometric mean of β_t
    /// and β̃_t ([`Variance::LearnedRange`](crate::diffusion::Variance::LearnedRange)), or σ² = 1
    /// ([`Variance::Learned`](crate::diffusion::Variance::Learned)).
    pub fn with_learned_variance(&self) -> Unet {
        let mut unet = self.clone();
        let c = self.config.out_channels;
        unet.config.out_channels = 2 * c;
        let (kh, kw, width, _) = self.conv_out.weight.dim(); // [3, 3, in, out]
        unet.conv_out.weight = Tensor4::zeros((kh, kw, width, 2 * c));
        unet.conv_out.weight.slice_mut(s![.., .., .., ..c]).assign(&self.conv_out.weight);
        unet.conv_out.bias = Tensor1::zeros(2 * c);
        unet.conv_out.bias.slice_mut(s![..c]).assign(&self.conv_out.bias);
        unet
    }

    /// temb = W₂ silu(W₁ sinusoids(t) + b₁) + b₂ + `E[c]`: adds the last part. Every residual block projects `silu(temb)` to
    /// its own channels.
    fn add_classes(&self, temb: &mut Tensor2, classes: &[Option<usize>]) {
        if let Some(embedding) = &self.class_embedding {
            *temb += &embedding.infer(classes);
        }
    }

    fn sinusoids(&self, t: &[usize]) -> Tensor2 {
        let c = &self.config;
        sinusoidal_embedding(t, c.block_out_channels[0], c.flip_sin_to_cos, c.freq_shift)
    }

    /// `x [N, H, W, in_channels]` at times `t` (the paper's, from 1; one per image) → `[N, H, W, out_channels]`.
    ///
    /// `rngs` has one stream per image for dropout, and may be empty if its rate is 0.
    ///
    /// # Panics
    /// If the shapes don't fit, or a side is not divisible by 2 for every downsampling.
    #[track_caller]
    pub fn forward(&self, x: Tensor4, t: &[usize], rngs: &mut [ChaCha8Rng]) -> (Tensor4, UnetCache) {
        self.forward_given(x, t, &Given::default(), rngs)
    }

    /// [`forward`](Unet::forward) with what is known of each image, row by row.
    ///
    /// A network with a table of classes takes an image without one for one of no class (the last row). One that is told
    /// pixels sees `[m x_0, (1 − m) x_t, m]`, 2C + 1 channels (CSDI, Tashiro et al. 2021); a `∂L/∂x` is that of what it sees.
    ///
    /// # Panics
    /// As [`forward`](Unet::forward); if it is told what it has no table or no channels for.
    #[track_caller]
    pub fn forward_given(
        &self,
        x: Tensor4,
        t: &[usize],
        given: &Given,
        rngs: &mut [ChaCha8Rng],
    ) -> (Tensor4, UnetCache) {
        let (x, classes) = self.see(&x, t, given);
        let (mut temb, time_embedding) = self.time_embedding.forward(self.sinusoids(t));
        self.add_classes(&mut temb, &classes);
        let mut silu_temb = temb.clone();
        activation::silu(silu_temb.numbers_mut());
        let (mut h, conv_in) = self.conv_in.forward(row_major(&x).into_owned());
        let mut skips = vec![copy(&h)];

        let (mut down, mut up) = (Vec::new(), Vec::new());
        for block in &self.down_blocks {
            let (y, cache) = block.forward(h, Some(&silu_temb), rngs, Some(&mut skips));
            down.push(cache);
            h = y;
        }
        let (mut h, mid) = self.mid_block.forward(h, Some(&silu_temb), rngs);
        for block in &self.up_blocks {
            let (y, cache) = block.forward(h, Some(&silu_temb), rngs, Some(&mut skips));
            up.push(cache);
            h = y;
        }
        let (h, conv_norm_out) = self.conv_norm_out.forward_silu(h);
        let (y, conv_out) = self.conv_out.forward(h);
        (y, UnetCache { conv_in, time_embedding, classes, temb, down, mid, up, conv_norm_out, conv_out })
    }

    /// Given `dy = ∂L/∂y`, adds every parameter's gradient to `grad` and returns `∂L/∂x`.
    pub fn backward(&self, cache: UnetCache, dy: &Tensor4, grad: &mut Unet) -> Tensor4 {
        let mut d_silu_temb = Tensor2::zeros(cache.temb.raw_dim());
        let dh = self.conv_out.backward(cache.conv_out, &row_major(dy), &mut grad.conv_out);
        let mut dh = self.conv_norm_out.backward_silu(cache.conv_norm_out, dh, &mut grad.conv_norm_out);

        let mut d_skips: Vec<Tensor4> = Vec::new();
        let blocks = self.up_blocks.iter().zip(&mut grad.up_blocks).zip(cache.up);
        for ((block, grad), cache) in blocks.rev() {
            dh = block.backward(cache, dh, Some(&mut d_silu_temb), Some(&mut d_skips), grad);
        }
        dh = self.mid_block.backward(cache.mid, dh, Some(&mut d_silu_temb), &mut grad.mid_block);
        let blocks = self.down_blocks.iter().zip(&mut grad.down_blocks).zip(cache.down);
        for ((block, grad), cache) in blocks.rev() {
            dh = block.backward(cache, dh, Some(&mut d_silu_temb), Some(&mut d_skips), grad);
        }
        add_popped(&mut dh, &mut Some(&mut d_skips));

        let temb = cache.temb.numbers();
        activation::silu_backward(temb, d_silu_temb.numbers_mut());
        let d_temb = d_silu_temb;
        if let Some((embedding, grad)) = self.class_embedding.as_ref().zip(grad.class_embedding.as_mut()) {
            embedding.backward(&cache.classes, &d_temb, grad);
        }
        self.time_embedding.backward(cache.time_embedding, &d_temb, &mut grad.time_embedding);
        self.conv_in.backward(cache.conv_in, &dh, &mut grad.conv_in)
    }

    /// [`forward`](Unet::forward) without dropout and without caches.
    #[track_caller]
    pub fn infer(&self, x: &Tensor4, t: &[usize]) -> Tensor4 {
        self.infer_given(x, t, &Given::default())
    }

    /// [`forward_given`](Unet::forward_given) without dropout and without caches.
    #[track_caller]
    pub fn infer_given(&self, x: &Tensor4, t: &[usize], given: &Given) -> Tensor4 {
        let (x, classes) = self.see(x, t, given);
        // in sampling all images have the same time, and one row does for all
        let alike = t.iter().zip(&classes).all(|told| told == (&t[0], &classes[0]));
        let rows = if alike { 1 } else { t.len() };
        let mut silu_temb = self.time_embedding.infer(&self.sinusoids(&t[..rows]));
        self.add_classes(&mut silu_temb, &classes[..rows]);
        activation::silu(silu_temb.numbers_mut());

        let mut h = self.conv_in.infer(&row_major(&x));
        let mut skips = vec![copy(&h)];
        for block in &self.down_blocks {
            h = block.infer(h, Some(&silu_temb), Some(&mut skips));
        }
        h = self.mid_block.infer(h, Some(&silu_temb));
        for block in &self.up_blocks {
            h = block.infer(h, Some(&silu_temb), Some(&mut skips));
        }
        let a = self.conv_norm_out.infer_silu(&h);
        replace(&mut h, a);
        let y = self.conv_out.infer(&h);
        recycle(h);
        y
    }

    /// Floating-point operations of one forward pass for an image of `h` × `w`: two per multiplication of a matrix
    /// product, convolutions, linear layers and attention; the rest is small.
    pub fn flops(&self, h: usize, w: usize) -> u64 {
        let (time, mut sides) = (&self.time_embedding, (h, w));
        let mut sum = time.linear_1.flops(1) + time.linear_2.flops(1) + self.conv_in.flops(h * w);
        for block in &self.down_blocks {
            let (flops, next) = block.flops(sides);
            (sum, sides) = (sum + flops, next);
        }
        sum += self.mid_block.flops(sides.0 * sides.1);
        for block in &self.up_blocks {
            let (flops, next) = block.flops(sides);
            (sum, sides) = (sum + flops, next);
        }
        sum + self.conv_out.flops(h * w)
    }

    /// The input and the classes, after a check that they fit each other and the network.
    #[track_caller]
    fn see<'a>(&self, x: &'a Tensor4, t: &[usize], given: &Given) -> (Cow<'a, Tensor4>, Vec<Option<usize>>) {
        let x = match &given.known {
            Some(known) => Cow::Owned(beside_known(x, known, self.config.positions())),
            None if self.config.sees_known() => {
                let (n, h, w, _) = x.dim();
                let nothing = Known { values: Batch::zeros(x.dim()), mask: Batch::zeros((n, h, w, 1)) };
                Cow::Owned(beside_known(x, &nothing, self.config.positions()))
            }
            None => Cow::Borrowed(x),
        };
        self.check_input(&x, t);
        let classes = match &given.class {
            Some(classes) if self.class_embedding.is_some() => {
                assert_eq!(classes.len(), t.len(), "U-Net: one class per image");
                classes.clone()
            }
            Some(classes) => panic!("U-Net without a table of classes, told {classes:?}"),
            None => vec![None; t.len()],
        };
        (x, classes)
    }

    #[track_caller]
    fn check_input(&self, x: &Tensor4, t: &[usize]) {
        let (n, h, w, c) = x.dim();
        assert_eq!(t.len(), n, "U-Net: {} times for {:?}", t.len(), x.shape());
        assert_eq!(
            c,
            self.config.in_channels,
            "U-Net of {} channels on {:?}",
            self.config.in_channels,
            x.shape()
        );
        let step = 1 << (self.down_blocks.len() - 1);
        assert!(
            h % step == 0 && w % step == 0 && h > 0 && w > 0,
            "U-Net of {} levels on {:?}: height and width must be multiples of {step}",
            self.down_blocks.len(),
            x.shape()
        );
    }
}

/// What CSDI shows its network: [M x_0, (1 − M) x_t, M], and where each pixel is.
#[track_caller]
fn beside_known(x_t: &Tensor4, known: &Known, positions: usize) -> Tensor4 {
    let mask = known.mask.mapv(|m| m as f32);
    let values = &known.values.mapv(|v| v as f32) * &mask;
    let noisy = x_t * &mask.mapv(|m| 1.0 - m);
    let (n, h, w, _) = x_t.dim();
    let place = Tensor4::from_shape_fn((n, h, w, positions), |(_, y, x, k)| place(k, y, x as f32 / w as f32));
    concatenate(Axis(3), &[values.view(), noisy.view(), mask.view(), place.view()])
        .expect("one image beside another")
        .as_standard_layout()
        .into_owned()
}

/// Channel k of what says where a pixel is: sin and cos of 2π 2^j x, x in [0, 1) along the row; then 1 in row k − 8.
fn place(k: usize, row: usize, x: f32) -> f32 {
    match k {
        0..UnetConfig::COLUMNS => {
            let angle = TAU * (1 << (k / 2)) as f32 * x;
            if k.is_multiple_of(2) { angle.sin() } else { angle.cos() }
        }
        _ => f32::from(u8::from(row == k - UnetConfig::COLUMNS)),
    }
}

impl Denoiser for Unet {
    #[track_caller]
    fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
        self.answer(&Query::new(x_t, t))
    }

    #[track_caller]
    fn answer(&self, query: &Query) -> Batch {
        let (x_t, t) = (query.x_t, query.t);
        assert_eq!(t.len(), x_t.len_of(Axis(0)), "U-Net: {} times for {:?}", t.len(), x_t.shape());
        let images = query.numbers();
        // an image's result is the same in any group, so that few images may be shared out to many threads
        let size = INFERENCE_GROUP.min(t.len().div_ceil(rayon::current_num_threads())).max(1);
        let infer = |((x, t), images): ((ArrayView4<f64>, &[usize]), &[usize])| {
            let _working = Working::begin();
            self.infer_given(&x.mapv(|v| v as f32), t, &query.given.rows(images))
        };
        let groups = x_t.axis_chunks_iter(Axis(0), size);
        let groups: Vec<Tensor4> = if t.len() <= size || rayon::current_num_threads() == 1 {
            let (_, h, w, _) = x_t.dim();
            let groups = groups.zip(t.chunks(size)).zip(images.chunks(size));
            match threads::parts(self.flops(h, w)) {
                1 => groups.map(infer).collect(), // without waking another thread
                parts => threads::attended(parts, || groups.map(infer).collect()),
            }
        } else {
            groups.into_par_iter().zip(t.par_chunks(size)).zip(images.par_chunks(size)).map(infer).collect()
        };
        let views: Vec<_> = groups.iter().map(|g| g.view()).collect();
        let joined = concatenate(Axis(0), &views).expect("groups of one shape");
        joined.mapv(f64::from)
    }
}

#[cfg(test)]
mod tests;
