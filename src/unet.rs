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
//! the up levels, one residual block longer, pop it and concatenate, `[h, skip]` on the channels. Backward walks
//! the same path from the other end: what was popped is pushed, what was concatenated is split.

mod config;

pub use config::{BlockType, MAX_PARAMETERS, UnetConfig};

use crate::diffusion::Denoiser;
use crate::nn::{
    Attention, AttentionCache, Conv2d, Conv2dCache, Downsample, GroupNorm, GroupNormCache, Linear,
    ResnetBlock, ResnetBlockCache, TimeEmbedding, TimeEmbeddingCache, Upsample, UpsampleCache, ZERO,
    activation, sinusoidal_embedding,
};
use crate::params::params;
use crate::tensor::{Batch, Tensor2, Tensor4, copy, recycle, stale};
use ndarray::{ArrayView4, Axis, concatenate, s};
use ndarray_rand::rand::Rng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::borrow::Cow;

/// Images that go through the network together in training: as many as the widest tile of the matrix product has rows,
/// so that a tile is one pixel of all of them, and few enough for the cache. Fixed, so that the sums that make a gradient
/// do not depend on the number of threads.
pub const GROUP: usize = 8;

/// The network.
#[derive(Clone, Debug)]
pub struct Unet {
    /// what it was built from
    pub config: UnetConfig,
    /// image → first features
    pub conv_in: Conv2d,
    /// what every residual block is told of the time
    pub time_embedding: TimeEmbedding,
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

params!(Unet { conv_in, time_embedding, down_blocks, mid_block, up_blocks, conv_norm_out, conv_out });

/// One level on the way down.
#[derive(Clone, Debug)]
pub struct DownBlock {
    /// after each residual block, or none
    pub attentions: Vec<Attention>,
    /// `layers_per_block` of them
    pub resnets: Vec<ResnetBlock>,
    /// one, or none at the last level
    pub downsamplers: Vec<Downsample>,
}

params!(DownBlock { attentions, resnets, downsamplers });

/// The coarsest level: residual block, attention, residual block.
#[derive(Clone, Debug)]
pub struct MidBlock {
    /// one
    pub attentions: Vec<Attention>,
    /// two
    pub resnets: Vec<ResnetBlock>,
}

params!(MidBlock { attentions, resnets });

/// One level on the way up.
#[derive(Clone, Debug)]
pub struct UpBlock {
    /// after each residual block, or none
    pub attentions: Vec<Attention>,
    /// `layers_per_block + 1` of them
    pub resnets: Vec<ResnetBlock>,
    /// one, or none at the finest level
    pub upsamplers: Vec<Upsample>,
}

params!(UpBlock { attentions, resnets, upsamplers });

/// What [`Unet::backward`] needs.
#[derive(Debug)]
pub struct UnetCache {
    conv_in: Conv2dCache,
    time_embedding: TimeEmbeddingCache,
    temb: Tensor2,
    down: Vec<LevelCache<Conv2dCache>>,
    mid: (ResnetBlockCache, AttentionCache, ResnetBlockCache),
    up: Vec<LevelCache<UpsampleCache>>,
    conv_norm_out: GroupNormCache,
    conv_out: Conv2dCache,
}

/// A level's blocks in order, each with its attention, and its resampling.
#[derive(Debug)]
struct LevelCache<R> {
    blocks: Vec<(ResnetBlockCache, Option<AttentionCache>)>,
    /// on the way up: the channels of `h` in each `[h, skip]`
    main_channels: Vec<usize>,
    resample: Option<R>,
}

impl<R> LevelCache<R> {
    fn new() -> Self {
        LevelCache { blocks: Vec::new(), main_channels: Vec::new(), resample: None }
    }
}

impl Unet {
    /// A network with Ho's initialisation.
    pub fn new(config: &UnetConfig, rng: &mut impl Rng) -> Unet {
        let widths = &config.block_out_channels;
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let norm = |channels| GroupNorm::new(channels, config.norm_num_groups, config.norm_eps);
        let conv_in = Conv2d::new(config.in_channels, first, 3, 1.0, rng);
        let time_embedding = TimeEmbedding::new(first, rng);

        let mut build = Build { config, stack: vec![first], channels: first, rng };
        let levels = config.down_block_types.iter().enumerate();
        let down_blocks = levels.map(|(i, kind)| build.down(kind.has_attention(), i)).collect();
        let mid_block = MidBlock {
            attentions: vec![build.attention()],
            resnets: vec![build.resnet(last, last), build.resnet(last, last)],
        };
        let levels = config.up_block_types.iter().zip((0..widths.len()).rev());
        let up_blocks = levels.map(|(kind, i)| build.up(kind.has_attention(), i)).collect();
        let conv_out = Conv2d::new(first, config.out_channels, 3, ZERO, build.rng);

        Unet {
            config: config.clone(),
            conv_in,
            time_embedding,
            down_blocks,
            mid_block,
            up_blocks,
            conv_norm_out: norm(first),
            conv_out,
        }
    }

    /// `silu(temb)`, which every residual block projects to its own channels; and what backward needs.
    fn embed_time(&self, t: &[usize]) -> (Tensor2, Tensor2, TimeEmbeddingCache) {
        let (temb, cache) = self.time_embedding.forward(self.sinusoids(t));
        let mut silu_temb = temb.clone();
        activation::silu(silu_temb.as_slice_mut().expect("contiguous"));
        (silu_temb, temb, cache)
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
        self.check_input(&x, t);
        let (silu_temb, temb, time_embedding) = self.embed_time(t);
        let (mut h, conv_in) = self.conv_in.forward(row_major(&x).into_owned());
        let mut skips = vec![copy(&h)];

        let mut down = Vec::new();
        for level in &self.down_blocks {
            let mut cache = LevelCache::new();
            for (i, resnet) in level.resnets.iter().enumerate() {
                let (y, resnet) = resnet.forward(h, &silu_temb, rngs);
                let (y, attention) = attend(level.attentions.get(i), y);
                cache.blocks.push((resnet, attention));
                skips.push(copy(&y));
                h = y;
            }
            if let Some(downsample) = level.downsamplers.first() {
                let (y, resample) = downsample.conv.forward(h);
                cache.resample = Some(resample);
                skips.push(copy(&y));
                h = y;
            }
            down.push(cache);
        }

        let (y, first) = self.mid_block.resnets[0].forward(h, &silu_temb, rngs);
        let (y, attention) = self.mid_block.attentions[0].forward(y);
        let (mut h, second) = self.mid_block.resnets[1].forward(y, &silu_temb, rngs);

        let mut up = Vec::new();
        for level in &self.up_blocks {
            let mut cache = LevelCache::new();
            for (i, resnet) in level.resnets.iter().enumerate() {
                cache.main_channels.push(h.len_of(Axis(3)));
                let joined = concat_channels(h, skips.pop().expect("one skip per block"));
                let (y, resnet) = resnet.forward(joined, &silu_temb, rngs);
                let (y, attention) = attend(level.attentions.get(i), y);
                cache.blocks.push((resnet, attention));
                h = y;
            }
            if let Some(upsample) = level.upsamplers.first() {
                let (y, resample) = upsample.forward(h);
                cache.resample = Some(resample);
                h = y;
            }
            up.push(cache);
        }

        let (h, conv_norm_out) = self.conv_norm_out.forward_silu(h);
        let (y, conv_out) = self.conv_out.forward(h);
        let mid = (first, attention, second);
        (y, UnetCache { conv_in, time_embedding, temb, down, mid, up, conv_norm_out, conv_out })
    }

    /// Given `dy = ∂L/∂y`, adds every parameter's gradient to `grad` and returns `∂L/∂x`.
    pub fn backward(&self, cache: UnetCache, dy: &Tensor4, grad: &mut Unet) -> Tensor4 {
        let mut d_silu_temb = Tensor2::zeros(cache.temb.raw_dim());
        let dh = self.conv_out.backward(cache.conv_out, &row_major(dy), &mut grad.conv_out);
        let mut dh = self.conv_norm_out.backward_silu(cache.conv_norm_out, dh, &mut grad.conv_norm_out);

        // What forward popped, backward pushes.
        let mut d_skips: Vec<Tensor4> = Vec::new();
        let levels = self.up_blocks.iter().zip(&mut grad.up_blocks).zip(cache.up);
        for ((level, grad), cache) in levels.rev() {
            if let Some(resample) = cache.resample {
                let dy = level.upsamplers[0].backward(resample, &dh, &mut grad.upsamplers[0]);
                replace(&mut dh, dy);
            }
            for (i, (resnet, attention)) in cache.blocks.into_iter().enumerate().rev() {
                dh = attend_backward(&level.attentions, &mut grad.attentions, i, attention, dh);
                let joined = level.resnets[i].backward(resnet, dh, &mut d_silu_temb, &mut grad.resnets[i]);
                let (d_main, d_skip) = split_channels(joined, cache.main_channels[i]);
                d_skips.push(d_skip);
                dh = d_main;
            }
        }

        let (mid, mid_grad) = (&self.mid_block, &mut grad.mid_block);
        let (first, attention, second) = cache.mid;
        dh = mid.resnets[1].backward(second, dh, &mut d_silu_temb, &mut mid_grad.resnets[1]);
        dh = mid.attentions[0].backward(attention, dh, &mut mid_grad.attentions[0]);
        dh = mid.resnets[0].backward(first, dh, &mut d_silu_temb, &mut mid_grad.resnets[0]);

        // What forward pushed, backward pops: every pushed value fed two places, so its gradients add.
        let levels = self.down_blocks.iter().zip(&mut grad.down_blocks).zip(cache.down);
        for ((level, grad), cache) in levels.rev() {
            if let Some(resample) = cache.resample {
                add(&mut dh, d_skips.pop().expect("one skip per block"));
                let dx = level.downsamplers[0].conv.backward(resample, &dh, &mut grad.downsamplers[0].conv);
                replace(&mut dh, dx);
            }
            for (i, (resnet, attention)) in cache.blocks.into_iter().enumerate().rev() {
                add(&mut dh, d_skips.pop().expect("one skip per block"));
                dh = attend_backward(&level.attentions, &mut grad.attentions, i, attention, dh);
                dh = level.resnets[i].backward(resnet, dh, &mut d_silu_temb, &mut grad.resnets[i]);
            }
        }
        add(&mut dh, d_skips.pop().expect("one skip per block"));

        let temb = cache.temb.as_slice().expect("contiguous");
        activation::silu_backward(temb, d_silu_temb.as_slice_mut().expect("contiguous"));
        self.time_embedding.backward(cache.time_embedding, &d_silu_temb, &mut grad.time_embedding);
        self.conv_in.backward(cache.conv_in, &dh, &mut grad.conv_in)
    }

    /// [`forward`](Unet::forward) without dropout and without caches.
    #[track_caller]
    pub fn infer(&self, x: &Tensor4, t: &[usize]) -> Tensor4 {
        self.check_input(x, t);
        let mut silu_temb = self.time_embedding.infer(&self.sinusoids(t));
        activation::silu(silu_temb.as_slice_mut().expect("contiguous"));

        let mut h = self.conv_in.infer(&row_major(x));
        let mut skips = vec![copy(&h)];
        for level in &self.down_blocks {
            for (i, resnet) in level.resnets.iter().enumerate() {
                infer_block(resnet, level.attentions.get(i), &mut h, &silu_temb);
                skips.push(copy(&h));
            }
            if let Some(downsample) = level.downsamplers.first() {
                let y = downsample.conv.infer(&h);
                replace(&mut h, y);
                skips.push(copy(&h));
            }
        }
        let mid = &self.mid_block;
        infer_block(&mid.resnets[0], mid.attentions.first(), &mut h, &silu_temb);
        infer_block(&mid.resnets[1], None, &mut h, &silu_temb);
        for level in &self.up_blocks {
            for (i, resnet) in level.resnets.iter().enumerate() {
                h = concat_channels(h, skips.pop().expect("one skip per block"));
                infer_block(resnet, level.attentions.get(i), &mut h, &silu_temb);
            }
            if let Some(upsample) = level.upsamplers.first() {
                let y = upsample.infer(&h);
                replace(&mut h, y);
            }
        }
        let a = self.conv_norm_out.infer_silu(&h);
        replace(&mut h, a);
        let y = self.conv_out.infer(&h);
        recycle(h);
        y
    }

    /// Floating-point operations of one forward pass for an image of `h` × `w`: two per multiplication of a matrix
    /// product, convolutions, linear layers and attention; the rest is small.
    pub fn flops(&self, mut h: usize, mut w: usize) -> u64 {
        let conv = |conv: &Conv2d, pixels: usize| 2 * (conv.weight.len() * pixels) as u64;
        let linear = |linear: &Linear| 2 * linear.weight.len() as u64;
        let resnet = |r: &ResnetBlock, pixels| {
            let shortcut = r.conv_shortcut.as_ref().map_or(0, |c| conv(c, pixels));
            conv(&r.conv1, pixels) + conv(&r.conv2, pixels) + shortcut + linear(&r.time_emb_proj)
        };
        let attention = |a: &Attention, pixels: usize| {
            let projections = [&a.to_q, &a.to_k, &a.to_v, &a.to_out[0]].map(linear).iter().sum::<u64>();
            // q kᵀ and p v
            projections * pixels as u64 + 4 * (pixels * pixels * a.to_q.bias.len()) as u64
        };
        let level = |resnets: &[ResnetBlock], attentions: &[Attention], pixels| {
            let blocks = resnets.iter().map(|r| resnet(r, pixels)).sum::<u64>();
            blocks + attentions.iter().map(|a| attention(a, pixels)).sum::<u64>()
        };
        let time = &self.time_embedding;
        let mut sum = linear(&time.linear_1) + linear(&time.linear_2) + conv(&self.conv_in, h * w);
        for block in &self.down_blocks {
            sum += level(&block.resnets, &block.attentions, h * w);
            for downsample in &block.downsamplers {
                (h, w) = (h / 2, w / 2);
                sum += conv(&downsample.conv, h * w);
            }
        }
        sum += level(&self.mid_block.resnets, &self.mid_block.attentions, h * w);
        for block in &self.up_blocks {
            sum += level(&block.resnets, &block.attentions, h * w);
            for upsample in &block.upsamplers {
                (h, w) = (h * 2, w * 2);
                sum += conv(&upsample.conv, h * w);
            }
        }
        sum + conv(&self.conv_out, h * w)
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

/// Groups of at most [`GROUP`] images side by side on all threads; the network computes in `f32`.
impl Denoiser for Unet {
    #[track_caller]
    fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
        assert_eq!(t.len(), x_t.len_of(Axis(0)), "U-Net: {} times for {:?}", t.len(), x_t.shape());
        // an image's result is the same in any group, so that few images may be shared out to many threads
        let size = GROUP.min(t.len().div_ceil(rayon::current_num_threads())).max(1);
        let infer = |(x, t): (ArrayView4<f64>, &[usize])| self.infer(&x.mapv(|v| v as f32), t);
        let groups = x_t.axis_chunks_iter(Axis(0), size);
        let groups: Vec<Tensor4> = if t.len() <= size || rayon::current_num_threads() == 1 {
            groups.zip(t.chunks(size)).map(infer).collect() // without waking another thread
        } else {
            groups.into_par_iter().zip(t.par_chunks(size)).map(infer).collect()
        };
        let views: Vec<_> = groups.iter().map(|g| g.view()).collect();
        let joined = concatenate(Axis(0), &views).expect("groups of one shape");
        joined.mapv(f64::from)
    }
}

/// Builds levels while it counts the channels: those of the running `h`, and those on the skip stack.
struct Build<'a, R> {
    config: &'a UnetConfig,
    stack: Vec<usize>,
    channels: usize,
    rng: &'a mut R,
}

impl<R: Rng> Build<'_, R> {
    fn resnet(&mut self, inputs: usize, outputs: usize) -> ResnetBlock {
        let c = self.config;
        self.channels = outputs;
        let time = 4 * c.block_out_channels[0];
        ResnetBlock::new((inputs, outputs, time), (c.norm_num_groups, c.norm_eps), c.dropout, self.rng)
    }

    fn attention(&mut self) -> Attention {
        let norm = GroupNorm::new(self.channels, self.config.norm_num_groups, self.config.norm_eps);
        Attention::new(self.channels, self.config.heads(self.channels), norm, self.rng)
    }

    fn down(&mut self, attention: bool, level: usize) -> DownBlock {
        let c = self.config;
        let width = c.block_out_channels[level];
        let mut block = DownBlock { attentions: vec![], resnets: vec![], downsamplers: vec![] };
        for _ in 0..c.layers_per_block {
            block.resnets.push(self.resnet(self.channels, width));
            if attention {
                block.attentions.push(self.attention());
            }
            self.stack.push(width);
        }
        if level + 1 < c.block_out_channels.len() {
            let padding = if c.downsample_padding == 0 { [0, 1] } else { [c.downsample_padding; 2] };
            let conv = Conv2d::new(width, width, 3, 1.0, self.rng).strided(2, padding);
            block.downsamplers.push(Downsample { conv });
            self.stack.push(width);
        }
        block
    }

    fn up(&mut self, attention: bool, level: usize) -> UpBlock {
        let width = self.config.block_out_channels[level];
        let mut block = UpBlock { attentions: vec![], resnets: vec![], upsamplers: vec![] };
        for _ in 0..=self.config.layers_per_block {
            let skip = self.stack.pop().expect("one skip per block");
            block.resnets.push(self.resnet(self.channels + skip, width));
            if attention {
                block.attentions.push(self.attention());
            }
        }
        if level > 0 {
            block.upsamplers.push(Upsample { conv: Conv2d::new(width, width, 3, 1.0, self.rng) });
        }
        block
    }
}

fn attend(attention: Option<&Attention>, x: Tensor4) -> (Tensor4, Option<AttentionCache>) {
    match attention {
        Some(attention) => {
            let (y, cache) = attention.forward(x);
            (y, Some(cache))
        }
        None => (x, None),
    }
}

fn attend_backward(
    layers: &[Attention],
    grads: &mut [Attention],
    i: usize,
    cache: Option<AttentionCache>,
    dy: Tensor4,
) -> Tensor4 {
    match cache {
        Some(cache) => layers[i].backward(cache, dy, &mut grads[i]),
        None => dy,
    }
}

/// The layers want pixels in memory one after another. What comes from outside may have another layout: a slice, or
/// channels joined by ndarray.
fn row_major(x: &Tensor4) -> Cow<'_, Tensor4> {
    if x.is_standard_layout() { Cow::Borrowed(x) } else { Cow::Owned(x.as_standard_layout().into_owned()) }
}

/// A residual block and its attention, from `h` to `h`.
fn infer_block(resnet: &ResnetBlock, attention: Option<&Attention>, h: &mut Tensor4, silu_temb: &Tensor2) {
    let y = resnet.infer(h, silu_temb);
    replace(h, y);
    if let Some(attention) = attention {
        let y = attention.infer(h);
        replace(h, y);
    }
}

/// `h` becomes `y`.
fn replace(h: &mut Tensor4, y: Tensor4) {
    recycle(std::mem::replace(h, y));
}

/// `h += x`.
fn add(h: &mut Tensor4, x: Tensor4) {
    *h += &x;
    recycle(x);
}

/// `[h, skip]` on the channels.
fn concat_channels(h: Tensor4, skip: Tensor4) -> Tensor4 {
    let (n, height, width, a) = h.dim();
    let b = skip.len_of(Axis(3));
    let mut joined = stale((n, height, width, a + b));
    let pixels = joined.as_slice_mut().expect("contiguous").chunks_exact_mut(a + b);
    let parts = h.as_slice().expect("contiguous").chunks_exact(a);
    for ((pixel, h), skip) in pixels.zip(parts).zip(skip.as_slice().expect("contiguous").chunks_exact(b)) {
        pixel[..a].copy_from_slice(h);
        pixel[a..].copy_from_slice(skip);
    }
    recycle(h);
    recycle(skip);
    joined
}

/// The two parts of what [`concat_channels`] joined, the first with `a` channels.
fn split_channels(joined: Tensor4, a: usize) -> (Tensor4, Tensor4) {
    let part = |range| copy(&joined.slice(range));
    let parts = (part(s![.., .., .., ..a]), part(s![.., .., .., a..]));
    recycle(joined);
    parts
}

#[cfg(test)]
mod tests;
