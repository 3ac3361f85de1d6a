//! The blocks that U-Nets and autoencoders are made of: residual blocks of one resolution, each perhaps followed by attention,
//! and a change of the resolution.
//!
//! ```text
//! down: (residual block, attention)*, halve        mid: residual block, attention, residual block
//! up:   (residual block, attention)*, double
//! ```
//!
//! # Skips
//!
//! In a U-Net each output on the way down is pushed on a stack; on the way up each residual block pops one and reads
//! `[h, skip]`, joined on the channels. Backward walks the same path from the other end: what was popped is pushed, as the
//! gradient of the skip; what was pushed is popped, and adds to the gradient of `h`, since `h` fed two places. An
//! autoencoder has no skips: it passes `None`.

use super::{
    Attention, AttentionCache, Conv2d, Conv2dCache, Downsample, GroupNorm, ResnetBlock, ResnetBlockCache,
    Upsample, UpsampleCache,
};
use crate::params::params;
use crate::tensor::{Contiguous, Tensor2, Tensor4, copy, recycle, scratch};
use ndarray::{Axis, s};
use ndarray_rand::rand::Rng;
use rand_chacha::ChaCha8Rng;

/// What all blocks of a network have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockOptions {
    /// groups of each group normalisation
    pub norm_num_groups: usize,
    /// its ε
    pub norm_eps: f32,
    /// numbers in the embedding of the time; `None` is a network that knows none
    pub time: Option<usize>,
    /// rate of dropout
    pub dropout: f32,
    /// channels of a head of attention; `None` is one head of all
    pub attention_head_dim: Option<usize>,
}

impl BlockOptions {
    fn resnet(&self, inputs: usize, outputs: usize, rng: &mut impl Rng) -> ResnetBlock {
        let norm = (self.norm_num_groups, self.norm_eps);
        ResnetBlock::new((inputs, outputs, self.time), norm, self.dropout, rng)
    }

    fn attention(&self, channels: usize, rng: &mut impl Rng) -> Attention {
        let norm = GroupNorm::new(channels, self.norm_num_groups, self.norm_eps);
        Attention::new(channels, self.attention_head_dim.map_or(1, |d| channels / d), norm, rng)
    }
}

/// The stack of skips: of outputs in forward, of their gradients in backward. None in an autoencoder.
pub type Skips<'a> = Option<&'a mut Vec<Tensor4>>;

/// A residual block's cache and that of the attention behind it.
type Pair = (ResnetBlockCache, Option<AttentionCache>);

// ---- down

/// One level on the way down.
#[derive(Clone, Debug)]
pub struct DownBlock {
    /// after each residual block, or none
    pub attentions: Vec<Attention>,
    /// one or more
    pub resnets: Vec<ResnetBlock>,
    /// one, or none at the last level
    pub downsamplers: Vec<Downsample>,
}

params!(DownBlock { attentions, resnets, downsamplers });

/// What [`DownBlock::backward`] needs.
#[derive(Debug)]
pub struct DownBlockCache {
    pairs: Vec<Pair>,
    downsample: Option<Conv2dCache>,
}

impl DownBlock {
    /// `layers` residual blocks from `inputs` to `width` channels, with attention or without; `padding` is that of the
    /// convolution that halves, none at the last level.
    ///
    /// ```
    /// use ddpm::nn::{BlockOptions, DownBlock};
    /// use ddpm::rng::stream;
    /// let options = BlockOptions { norm_num_groups: 2, norm_eps: 1e-6, time: None, dropout: 0.0, attention_head_dim: None };
    /// let block = DownBlock::new((4, 8, 1), false, Some([0, 1]), &options, &mut stream(1, 0));
    /// assert_eq!((block.resnets.len(), block.downsamplers.len()), (1, 1));
    /// ```
    pub fn new(
        (inputs, width, layers): (usize, usize, usize),
        attention: bool,
        padding: Option<[usize; 2]>,
        options: &BlockOptions,
        rng: &mut impl Rng,
    ) -> DownBlock {
        let mut block = DownBlock { attentions: vec![], resnets: vec![], downsamplers: vec![] };
        for layer in 0..layers {
            block.resnets.push(options.resnet(if layer == 0 { inputs } else { width }, width, rng));
            if attention {
                block.attentions.push(options.attention(width, rng));
            }
        }
        if let Some(padding) = padding {
            let conv = Conv2d::new(width, width, 3, 1.0, rng).strided(2, padding);
            block.downsamplers.push(Downsample { conv });
        }
        block
    }

    /// Pushes each output on `skips`.
    ///
    /// # Shapes
    /// `[N, H, W, inputs]` → `[N, H/2, W/2, width]`, or `[N, H, W, width]` at the last level.
    ///
    /// ```
    /// use ddpm::nn::{BlockOptions, DownBlock};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let options = BlockOptions { norm_num_groups: 2, norm_eps: 1e-6, time: None, dropout: 0.0, attention_head_dim: None };
    /// let block = DownBlock::new((4, 8, 1), false, Some([0, 1]), &options, &mut stream(1, 0));
    /// let x: Tensor4 = normal((1, 8, 8, 4), &mut stream(1, 1));
    /// let mut skips = Vec::new();
    /// let (y, _) = block.forward(x, None, &mut [], Some(&mut skips));
    /// assert_eq!((y.dim(), skips.len()), ((1, 4, 4, 8), 2)); // of the residual block, and halved
    /// ```
    pub fn forward(
        &self,
        mut h: Tensor4,
        silu_temb: Option<&Tensor2>,
        rngs: &mut [ChaCha8Rng],
        mut skips: Skips,
    ) -> (Tensor4, DownBlockCache) {
        let mut cache = DownBlockCache { pairs: Vec::new(), downsample: None };
        for (i, resnet) in self.resnets.iter().enumerate() {
            let (y, resnet) = resnet.forward(h, silu_temb, rngs);
            let (y, attention) = attend(self.attentions.get(i), y);
            cache.pairs.push((resnet, attention));
            push(&mut skips, &y);
            h = y;
        }
        if let Some(downsample) = self.downsamplers.first() {
            let (y, resample) = downsample.conv.forward(h);
            cache.downsample = Some(resample);
            push(&mut skips, &y);
            h = y;
        }
        (h, cache)
    }

    /// Pops the gradient of each output from `d_skips`; returns `dx`.
    ///
    /// # Shapes
    /// As in `forward`; `d_skips` hold gradients of the shapes of its skips.
    ///
    /// ```
    /// use ddpm::params::Params;
    /// use ddpm::nn::{BlockOptions, DownBlock};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let options = BlockOptions { norm_num_groups: 2, norm_eps: 1e-6, time: None, dropout: 0.0, attention_head_dim: None };
    /// let block = DownBlock::new((4, 8, 1), false, Some([0, 1]), &options, &mut stream(1, 0));
    /// let x: Tensor4 = normal((1, 8, 8, 4), &mut stream(1, 1));
    /// let (y, cache) = block.forward(x, None, &mut [], None);
    /// let dx = block.backward(cache, y, None, None, &mut block.zeros_like());
    /// assert_eq!(dx.dim(), (1, 8, 8, 4));
    /// ```
    pub fn backward(
        &self,
        cache: DownBlockCache,
        mut dh: Tensor4,
        mut d_silu_temb: Option<&mut Tensor2>,
        mut d_skips: Skips,
        grad: &mut DownBlock,
    ) -> Tensor4 {
        if let Some(resample) = cache.downsample {
            add_popped(&mut dh, &mut d_skips);
            let dx = self.downsamplers[0].conv.backward(resample, &dh, &mut grad.downsamplers[0].conv);
            replace(&mut dh, dx);
        }
        for (i, (resnet, attention)) in cache.pairs.into_iter().enumerate().rev() {
            add_popped(&mut dh, &mut d_skips);
            dh = attend_backward(&self.attentions, &mut grad.attentions, i, attention, dh);
            dh = self.resnets[i].backward(resnet, dh, d_silu_temb.as_deref_mut(), &mut grad.resnets[i]);
        }
        dh
    }

    /// [`forward`](DownBlock::forward) without dropout and without a cache.
    ///
    /// # Shapes
    /// As [`forward`](DownBlock::forward).
    ///
    /// ```
    /// use ddpm::nn::{BlockOptions, DownBlock};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let options = BlockOptions { norm_num_groups: 2, norm_eps: 1e-6, time: None, dropout: 0.0, attention_head_dim: None };
    /// let block = DownBlock::new((4, 8, 1), false, Some([0, 1]), &options, &mut stream(1, 0));
    /// let x: Tensor4 = normal((1, 8, 8, 4), &mut stream(1, 1));
    /// assert_eq!(block.infer(x.clone(), None, None), block.forward(x, None, &mut [], None).0);
    /// ```
    pub fn infer(&self, mut h: Tensor4, silu_temb: Option<&Tensor2>, mut skips: Skips) -> Tensor4 {
        for (i, resnet) in self.resnets.iter().enumerate() {
            h = infer_pair(resnet, self.attentions.get(i), h, silu_temb);
            push(&mut skips, &h);
        }
        if let Some(downsample) = self.downsamplers.first() {
            let y = downsample.conv.infer(&h);
            replace(&mut h, y);
            push(&mut skips, &h);
        }
        h
    }

    /// Floating-point operations for an image of `h` × `w`, and the sides of what comes out.
    ///
    /// ```
    /// use ddpm::nn::{BlockOptions, DownBlock};
    /// use ddpm::rng::stream;
    /// let options = BlockOptions { norm_num_groups: 2, norm_eps: 1e-6, time: None, dropout: 0.0, attention_head_dim: None };
    /// let block = DownBlock::new((4, 8, 1), false, Some([0, 1]), &options, &mut stream(1, 0));
    /// assert_eq!(block.flops((8, 6)).1, (4, 3));
    /// ```
    pub fn flops(&self, (h, w): (usize, usize)) -> (u64, (usize, usize)) {
        let sum = level_flops(&self.resnets, &self.attentions, h * w);
        match self.downsamplers.first() {
            Some(downsample) => (sum + downsample.conv.flops(h / 2 * (w / 2)), (h / 2, w / 2)),
            None => (sum, (h, w)),
        }
    }
}

// ---- mid

/// The coarsest level: residual block, attention, residual block.
#[derive(Clone, Debug)]
pub struct MidBlock {
    /// one
    pub attentions: Vec<Attention>,
    /// two
    pub resnets: Vec<ResnetBlock>,
}

params!(MidBlock { attentions, resnets });

/// What [`MidBlock::backward`] needs.
#[derive(Debug)]
pub struct MidBlockCache {
    first: ResnetBlockCache,
    attention: AttentionCache,
    second: ResnetBlockCache,
}

impl MidBlock {
    /// A block of `width` channels.
    ///
    /// ```
    /// use ddpm::nn::{BlockOptions, MidBlock};
    /// use ddpm::rng::stream;
    /// let options = BlockOptions { norm_num_groups: 2, norm_eps: 1e-6, time: None, dropout: 0.0, attention_head_dim: None };
    /// let block = MidBlock::new(4, &options, &mut stream(1, 0));
    /// assert_eq!((block.resnets.len(), block.attentions.len()), (2, 1));
    /// ```
    pub fn new(width: usize, options: &BlockOptions, rng: &mut impl Rng) -> MidBlock {
        MidBlock {
            attentions: vec![options.attention(width, rng)],
            resnets: vec![options.resnet(width, width, rng), options.resnet(width, width, rng)],
        }
    }

    /// # Shapes
    /// `[N, H, W, width]` → the same.
    ///
    /// ```
    /// use ddpm::nn::{BlockOptions, MidBlock};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let options = BlockOptions { norm_num_groups: 2, norm_eps: 1e-6, time: None, dropout: 0.0, attention_head_dim: None };
    /// let block = MidBlock::new(4, &options, &mut stream(1, 0));
    /// let x: Tensor4 = normal((1, 8, 8, 4), &mut stream(1, 1));
    /// assert_eq!(block.forward(x, None, &mut []).0.dim(), (1, 8, 8, 4));
    /// ```
    pub fn forward(
        &self,
        h: Tensor4,
        silu_temb: Option<&Tensor2>,
        rngs: &mut [ChaCha8Rng],
    ) -> (Tensor4, MidBlockCache) {
        let (y, first) = self.resnets[0].forward(h, silu_temb, rngs);
        let (y, attention) = self.attentions[0].forward(y);
        let (y, second) = self.resnets[1].forward(y, silu_temb, rngs);
        (y, MidBlockCache { first, attention, second })
    }

    /// Returns `dx`.
    ///
    /// # Shapes
    /// As in `forward`.
    ///
    /// ```
    /// use ddpm::params::Params;
    /// use ddpm::nn::{BlockOptions, MidBlock};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let options = BlockOptions { norm_num_groups: 2, norm_eps: 1e-6, time: None, dropout: 0.0, attention_head_dim: None };
    /// let block = MidBlock::new(4, &options, &mut stream(1, 0));
    /// let x: Tensor4 = normal((1, 8, 8, 4), &mut stream(1, 1));
    /// let (y, cache) = block.forward(x, None, &mut []);
    /// assert_eq!(block.backward(cache, y, None, &mut block.zeros_like()).dim(), (1, 8, 8, 4));
    /// ```
    pub fn backward(
        &self,
        cache: MidBlockCache,
        dh: Tensor4,
        mut d_silu_temb: Option<&mut Tensor2>,
        grad: &mut MidBlock,
    ) -> Tensor4 {
        let dh = self.resnets[1].backward(cache.second, dh, d_silu_temb.as_deref_mut(), &mut grad.resnets[1]);
        let dh = self.attentions[0].backward(cache.attention, dh, &mut grad.attentions[0]);
        self.resnets[0].backward(cache.first, dh, d_silu_temb, &mut grad.resnets[0])
    }

    /// [`forward`](MidBlock::forward) without dropout and without a cache.
    ///
    /// # Shapes
    /// As [`forward`](MidBlock::forward).
    ///
    /// ```
    /// use ddpm::nn::{BlockOptions, MidBlock};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let options = BlockOptions { norm_num_groups: 2, norm_eps: 1e-6, time: None, dropout: 0.0, attention_head_dim: None };
    /// let block = MidBlock::new(4, &options, &mut stream(1, 0));
    /// let x: Tensor4 = normal((1, 8, 8, 4), &mut stream(1, 1));
    /// assert_eq!(block.infer(x.clone(), None), block.forward(x, None, &mut []).0);
    /// ```
    pub fn infer(&self, h: Tensor4, silu_temb: Option<&Tensor2>) -> Tensor4 {
        let h = infer_pair(&self.resnets[0], self.attentions.first(), h, silu_temb);
        infer_pair(&self.resnets[1], None, h, silu_temb)
    }

    /// Floating-point operations for an image of so many pixels.
    ///
    /// ```
    /// use ddpm::nn::{BlockOptions, MidBlock};
    /// use ddpm::rng::stream;
    /// let options = BlockOptions { norm_num_groups: 2, norm_eps: 1e-6, time: None, dropout: 0.0, attention_head_dim: None };
    /// let block = MidBlock::new(4, &options, &mut stream(1, 0));
    /// assert!(block.flops(64) > 4 * block.flops(16)); // attention grows with the square
    /// ```
    pub fn flops(&self, pixels: usize) -> u64 {
        level_flops(&self.resnets, &self.attentions, pixels)
    }
}

// ---- up

/// One level on the way up.
#[derive(Clone, Debug)]
pub struct UpBlock {
    /// after each residual block, or none
    pub attentions: Vec<Attention>,
    /// one more than on the way down
    pub resnets: Vec<ResnetBlock>,
    /// one, or none at the finest level
    pub upsamplers: Vec<Upsample>,
}

params!(UpBlock { attentions, resnets, upsamplers });

/// What [`UpBlock::backward`] needs.
#[derive(Debug)]
pub struct UpBlockCache {
    pairs: Vec<Pair>,
    /// the channels of `h` in each `[h, skip]`
    main_channels: Vec<usize>,
    upsample: Option<UpsampleCache>,
}

impl UpBlock {
    /// A residual block for each of `inputs`, which are the channels that it reads, those of its skip among them; all of
    /// them make `width`.
    ///
    /// ```
    /// use ddpm::nn::{BlockOptions, UpBlock};
    /// use ddpm::rng::stream;
    /// let options = BlockOptions { norm_num_groups: 2, norm_eps: 1e-6, time: None, dropout: 0.0, attention_head_dim: None };
    /// let block = UpBlock::new((&[12, 10], 8), false, true, &options, &mut stream(1, 0)); // 4 + 8 and 8 + 2 channels
    /// assert_eq!((block.resnets.len(), block.upsamplers.len()), (2, 1));
    /// ```
    pub fn new(
        (inputs, width): (&[usize], usize),
        attention: bool,
        upsample: bool,
        options: &BlockOptions,
        rng: &mut impl Rng,
    ) -> UpBlock {
        let mut block = UpBlock { attentions: vec![], resnets: vec![], upsamplers: vec![] };
        for &inputs in inputs {
            block.resnets.push(options.resnet(inputs, width, rng));
            if attention {
                block.attentions.push(options.attention(width, rng));
            }
        }
        if upsample {
            block.upsamplers.push(Upsample { conv: Conv2d::new(width, width, 3, 1.0, rng) });
        }
        block
    }

    /// Pops a skip for each residual block.
    ///
    /// # Shapes
    /// `[N, H, W, C]` → `[N, 2H, 2W, width]`, or `[N, H, W, width]` at the finest level.
    ///
    /// ```
    /// use ddpm::nn::{BlockOptions, UpBlock};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let options = BlockOptions { norm_num_groups: 2, norm_eps: 1e-6, time: None, dropout: 0.0, attention_head_dim: None };
    /// let block = UpBlock::new((&[12, 10], 8), false, true, &options, &mut stream(1, 0)); // 4 + 8 and 8 + 2 channels
    /// let x: Tensor4 = normal((1, 8, 8, 4), &mut stream(1, 1));
    /// let skips = || vec![normal((1, 8, 8, 2), &mut stream(1, 2)), normal((1, 8, 8, 8), &mut stream(1, 3))];
    /// let (y, _) = block.forward(x, None, &mut [], Some(&mut skips()));
    /// assert_eq!(y.dim(), (1, 16, 16, 8));
    /// ```
    pub fn forward(
        &self,
        mut h: Tensor4,
        silu_temb: Option<&Tensor2>,
        rngs: &mut [ChaCha8Rng],
        mut skips: Skips,
    ) -> (Tensor4, UpBlockCache) {
        let mut cache = UpBlockCache { pairs: Vec::new(), main_channels: Vec::new(), upsample: None };
        for (i, resnet) in self.resnets.iter().enumerate() {
            cache.main_channels.push(h.len_of(Axis(3)));
            let (y, resnet) = resnet.forward(join_popped(h, &mut skips), silu_temb, rngs);
            let (y, attention) = attend(self.attentions.get(i), y);
            cache.pairs.push((resnet, attention));
            h = y;
        }
        if let Some(upsample) = self.upsamplers.first() {
            let (y, resample) = upsample.forward(h);
            cache.upsample = Some(resample);
            h = y;
        }
        (h, cache)
    }

    /// Pushes the gradient of each skip on `d_skips`; returns `dx`.
    ///
    /// # Shapes
    /// As in `forward`; `d_skips` get gradients of the shapes of its skips.
    ///
    /// ```
    /// use ddpm::params::Params;
    /// use ddpm::nn::{BlockOptions, UpBlock};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let options = BlockOptions { norm_num_groups: 2, norm_eps: 1e-6, time: None, dropout: 0.0, attention_head_dim: None };
    /// let block = UpBlock::new((&[12, 10], 8), false, true, &options, &mut stream(1, 0)); // 4 + 8 and 8 + 2 channels
    /// let x: Tensor4 = normal((1, 8, 8, 4), &mut stream(1, 1));
    /// let skips = || vec![normal((1, 8, 8, 2), &mut stream(1, 2)), normal((1, 8, 8, 8), &mut stream(1, 3))];
    /// let (y, cache) = block.forward(x, None, &mut [], Some(&mut skips()));
    /// let mut d_skips = Vec::new();
    /// let dx = block.backward(cache, y, None, Some(&mut d_skips), &mut block.zeros_like());
    /// assert_eq!((dx.dim(), d_skips.len()), ((1, 8, 8, 4), 2));
    /// ```
    pub fn backward(
        &self,
        cache: UpBlockCache,
        mut dh: Tensor4,
        mut d_silu_temb: Option<&mut Tensor2>,
        mut d_skips: Skips,
        grad: &mut UpBlock,
    ) -> Tensor4 {
        if let Some(resample) = cache.upsample {
            let dx = self.upsamplers[0].backward(resample, &dh, &mut grad.upsamplers[0]);
            replace(&mut dh, dx);
        }
        for (i, (resnet, attention)) in cache.pairs.into_iter().enumerate().rev() {
            dh = attend_backward(&self.attentions, &mut grad.attentions, i, attention, dh);
            dh = self.resnets[i].backward(resnet, dh, d_silu_temb.as_deref_mut(), &mut grad.resnets[i]);
            if let Some(d_skips) = &mut d_skips {
                let (d_main, d_skip) = split_channels(dh, cache.main_channels[i]);
                d_skips.push(d_skip);
                dh = d_main;
            }
        }
        dh
    }

    /// [`forward`](UpBlock::forward) without dropout and without a cache.
    ///
    /// # Shapes
    /// As [`forward`](UpBlock::forward).
    ///
    /// ```
    /// use ddpm::nn::{BlockOptions, UpBlock};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let options = BlockOptions { norm_num_groups: 2, norm_eps: 1e-6, time: None, dropout: 0.0, attention_head_dim: None };
    /// let block = UpBlock::new((&[12, 10], 8), false, true, &options, &mut stream(1, 0)); // 4 + 8 and 8 + 2 channels
    /// let x: Tensor4 = normal((1, 8, 8, 4), &mut stream(1, 1));
    /// let skips = || vec![normal((1, 8, 8, 2), &mut stream(1, 2)), normal((1, 8, 8, 8), &mut stream(1, 3))];
    /// let y = block.forward(x.clone(), None, &mut [], Some(&mut skips())).0;
    /// assert_eq!(block.infer(x, None, Some(&mut skips())), y);
    /// ```
    pub fn infer(&self, mut h: Tensor4, silu_temb: Option<&Tensor2>, mut skips: Skips) -> Tensor4 {
        for (i, resnet) in self.resnets.iter().enumerate() {
            h = infer_pair(resnet, self.attentions.get(i), join_popped(h, &mut skips), silu_temb);
        }
        if let Some(upsample) = self.upsamplers.first() {
            let y = upsample.infer(&h);
            replace(&mut h, y);
        }
        h
    }

    /// Floating-point operations for an image of `h` × `w`, and the sides of what comes out.
    ///
    /// ```
    /// use ddpm::nn::{BlockOptions, UpBlock};
    /// use ddpm::rng::stream;
    /// let options = BlockOptions { norm_num_groups: 2, norm_eps: 1e-6, time: None, dropout: 0.0, attention_head_dim: None };
    /// let block = UpBlock::new((&[12, 10], 8), false, true, &options, &mut stream(1, 0)); // 4 + 8 and 8 + 2 channels
    /// assert_eq!(block.flops((8, 6)).1, (16, 12));
    /// ```
    pub fn flops(&self, (h, w): (usize, usize)) -> (u64, (usize, usize)) {
        let sum = level_flops(&self.resnets, &self.attentions, h * w);
        match self.upsamplers.first() {
            Some(upsample) => (sum + upsample.conv.flops(4 * h * w), (2 * h, 2 * w)),
            None => (sum, (h, w)),
        }
    }
}

// ---- what they share

fn level_flops(resnets: &[ResnetBlock], attentions: &[Attention], pixels: usize) -> u64 {
    let resnets: u64 = resnets.iter().map(|resnet| resnet.flops(pixels)).sum();
    resnets + attentions.iter().map(|attention| attention.flops(pixels)).sum::<u64>()
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

/// A residual block and its attention.
fn infer_pair(
    resnet: &ResnetBlock,
    attention: Option<&Attention>,
    mut h: Tensor4,
    silu_temb: Option<&Tensor2>,
) -> Tensor4 {
    let y = resnet.infer(&h, silu_temb);
    replace(&mut h, y);
    if let Some(attention) = attention {
        let y = attention.infer(&h);
        replace(&mut h, y);
    }
    h
}

/// `h` becomes `y`.
pub(crate) fn replace(h: &mut Tensor4, y: Tensor4) {
    recycle(std::mem::replace(h, y));
}

fn push(skips: &mut Skips, h: &Tensor4) {
    if let Some(skips) = skips {
        skips.push(copy(h));
    }
}

/// `[h, skip]`, where there are skips.
fn join_popped(h: Tensor4, skips: &mut Skips) -> Tensor4 {
    match skips {
        Some(skips) => concat_channels(h, skips.pop().expect("one skip per block")),
        None => h,
    }
}

/// `dh += d_skip`, where there are skips.
pub(crate) fn add_popped(dh: &mut Tensor4, d_skips: &mut Skips) {
    if let Some(d_skips) = d_skips {
        let d_skip = d_skips.pop().expect("one skip per block");
        *dh += &d_skip;
        recycle(d_skip);
    }
}

/// `[h, skip]` on the channels.
fn concat_channels(h: Tensor4, skip: Tensor4) -> Tensor4 {
    let (n, height, width, a) = h.dim();
    let b = skip.len_of(Axis(3));
    let mut joined = scratch((n, height, width, a + b));
    let pixels = joined.numbers_mut().chunks_exact_mut(a + b);
    let parts = h.numbers().chunks_exact(a);
    for ((pixel, h), skip) in pixels.zip(parts).zip(skip.numbers().chunks_exact(b)) {
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
mod tests {
    use super::super::gradient_check::{check, check_params, inner, shaken};
    use super::*;
    use crate::params::Params;
    use crate::rng::{normal, stream};
    use ndarray::concatenate;

    const PLAIN: BlockOptions = BlockOptions {
        norm_num_groups: 2,
        norm_eps: 1e-6,
        time: None,
        dropout: 0.0,
        attention_head_dim: None,
    };

    fn random(shape: (usize, usize, usize, usize), seed: u64) -> Tensor4 {
        normal(shape, &mut stream(seed, 0))
    }

    #[test]
    fn joining_and_splitting_channels() {
        let (a, b) = (random((2, 3, 2, 5), 1), random((2, 3, 2, 3), 2));
        let joined = concat_channels(a.clone(), b.clone());
        assert_eq!(joined, concatenate(Axis(3), &[a.view(), b.view()]).unwrap());
        assert_eq!(split_channels(joined, 5), (a, b));
    }

    /// Without skips and without a time: the blocks of an autoencoder, alone.
    #[test]
    fn gradients_without_skips() {
        let rng = &mut stream(1, 0);
        let down = shaken(DownBlock::new((2, 4, 2), true, Some([0, 1]), &PLAIN, rng), 0.1);
        let (x, g) = (random((2, 4, 6, 2), 2), random((2, 2, 3, 4), 3));
        let run = |block: &DownBlock, x: &Tensor4| block.infer(x.clone(), None, None);
        let (y, cache) = down.forward(x.clone(), None, &mut [], None);
        assert_eq!(y, run(&down, &x));
        let mut grad = down.zeros_like();
        let dx = down.backward(cache, g.clone(), None, None, &mut grad);
        check("down x", &x, &dx, |x| inner(&run(&down, x), &g));
        check_params("down", &down, &grad, &["to_k.bias"], |down| inner(&run(down, &x), &g));

        let up = shaken(UpBlock::new((&[6, 4], 4), true, true, &PLAIN, rng), 0.1);
        let (x, g) = (random((2, 2, 3, 6), 2), random((2, 4, 6, 4), 3));
        let run = |block: &UpBlock, x: &Tensor4| block.infer(x.clone(), None, None);
        let (y, cache) = up.forward(x.clone(), None, &mut [], None);
        assert_eq!(y, run(&up, &x));
        let mut grad = up.zeros_like();
        let dx = up.backward(cache, g.clone(), None, None, &mut grad);
        check("up x", &x, &dx, |x| inner(&run(&up, x), &g));
        check_params("up", &up, &grad, &["to_k.bias"], |up| inner(&run(up, &x), &g));

        let mid = shaken(MidBlock::new(4, &PLAIN, rng), 0.1);
        let (x, g) = (random((2, 2, 3, 4), 2), random((2, 2, 3, 4), 3));
        let run = |block: &MidBlock, x: &Tensor4| block.infer(x.clone(), None);
        let (y, cache) = mid.forward(x.clone(), None, &mut []);
        assert_eq!(y, run(&mid, &x));
        let mut grad = mid.zeros_like();
        let dx = mid.backward(cache, g.clone(), None, &mut grad);
        check("mid x", &x, &dx, |x| inner(&run(&mid, x), &g));
        check_params("mid", &mid, &grad, &["to_k.bias"], |mid| inner(&run(mid, &x), &g));
    }
}
