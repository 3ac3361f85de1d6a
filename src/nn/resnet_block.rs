//! The residual block of the U-Net.
//!
//! ```text
//! h₁ = Conv₁(silu(GN₁(x))) + W_t silu(temb) + b_t        the time enters as one number per channel
//! h₂ = Conv₂(dropout(silu(GN₂(h₁))))
//! y  = shortcut(x) + h₂                                  shortcut: a 1×1 convolution if the channels change
//! ```
//!
//! Backward reads it from the bottom: `dy` goes into both terms of the sum, and the two `dx` add. A block of an
//! autoencoder knows no time: it has no `W_t`, and the term is left out.

use super::lanes::add_channel_sums;
use super::{
    Conv2d, Conv2dCache, Dropout, DropoutCache, GroupNorm, GroupNormCache, Linear, LinearCache, NEARLY_ZERO,
};
use crate::matmul::kernel::Initial;
use crate::params::params;
use crate::tensor::{Contiguous, Tensor2, Tensor4, copy, recycle};
use ndarray::Axis;
use ndarray_rand::rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Two 3×3 convolutions around the time, with a shortcut.
#[derive(Clone, Debug)]
pub struct ResnetBlock {
    /// GN₁
    pub norm1: GroupNorm,
    /// Conv₁, in → out
    pub conv1: Conv2d,
    /// W_t, b_t, or nothing in a network that knows no time
    pub time_emb_proj: Option<Linear>,
    /// GN₂
    pub norm2: GroupNorm,
    /// before Conv₂
    pub dropout: Dropout,
    /// Conv₂, out → out, starting at nothing
    pub conv2: Conv2d,
    /// 1×1, in → out, where they differ
    pub conv_shortcut: Option<Conv2d>,
}

params!(ResnetBlock { norm1, conv1, time_emb_proj, norm2, conv2, conv_shortcut });

/// What [`ResnetBlock::backward`] needs.
#[derive(Debug)]
pub struct ResnetBlockCache {
    norm1: GroupNormCache,
    conv1: Conv2dCache,
    time_emb_proj: Option<LinearCache>,
    norm2: GroupNormCache,
    dropout: DropoutCache,
    conv2: Conv2dCache,
}

impl ResnetBlock {
    /// `[.., inputs]` → `[.., outputs]`, told the time by an embedding of `time` numbers, or not at all by `None`.
    ///
    /// ```
    /// use ddpm::nn::ResnetBlock;
    /// use ddpm::rng::stream;
    /// let block = ResnetBlock::new((4, 8, None), (2, 1e-6), 0.0, &mut stream(1, 0));
    /// assert!(block.conv_shortcut.is_some()); // x has fewer channels than what is added to it
    /// ```
    pub fn new(
        (inputs, outputs, time): (usize, usize, impl Into<Option<usize>>),
        (groups, eps): (usize, f32),
        dropout: f32,
        rng: &mut impl Rng,
    ) -> ResnetBlock {
        ResnetBlock {
            norm1: GroupNorm::new(inputs, groups, eps),
            conv1: Conv2d::new(inputs, outputs, 3, 1.0, rng),
            time_emb_proj: time.into().map(|time| Linear::new(time, outputs, 1.0, rng)),
            norm2: GroupNorm::new(outputs, groups, eps),
            dropout: Dropout { rate: dropout },
            conv2: Conv2d::new(outputs, outputs, 3, NEARLY_ZERO, rng),
            conv_shortcut: (inputs != outputs).then(|| Conv2d::new(inputs, outputs, 1, 1.0, rng)),
        }
    }

    /// The images, and what they are told of the time, to the next images.
    ///
    /// # Shapes
    /// `x` `[N, H, W, in]`, `silu_temb = silu(temb)` `[N, time]`, or `None` for a block that knows no time → `[N, H, W, out]`;
    /// one stream per image for dropout.
    ///
    /// # Panics
    /// If the shapes don't fit, or the time is missing or too much.
    ///
    /// ```
    /// use ddpm::nn::ResnetBlock;
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let block = ResnetBlock::new((4, 8, None), (2, 1e-6), 0.0, &mut stream(1, 0));
    /// let x: Tensor4 = normal((1, 8, 8, 4), &mut stream(1, 1));
    /// assert_eq!(block.forward(x, None, &mut []).0.dim(), (1, 8, 8, 8));
    /// ```
    #[track_caller]
    pub fn forward<'a>(
        &self,
        x: Tensor4,
        silu_temb: impl Into<Option<&'a Tensor2>>,
        rngs: &mut [ChaCha8Rng],
    ) -> (Tensor4, ResnetBlockCache) {
        let y = self.shortcut(&x);
        let (a, norm1) = self.norm1.forward_silu(x);
        let (time, time_emb_proj) = match self.projection(silu_temb.into()) {
            Some((layer, silu_temb)) => {
                let (time, cache) = layer.forward(silu_temb.clone());
                (Some(time + &self.conv1.bias), Some(cache))
            }
            None => (None, None),
        };
        let (h, conv1) = self.conv1.forward_into(a, self.per_image(time.as_ref()), None);
        let (a, norm2) = self.norm2.forward_silu(h);
        let (a, dropout) = self.dropout.forward(a, rngs);
        let (y, conv2) = self.conv2.forward_into(a, onto(&self.conv2), Some(y));
        (y, ResnetBlockCache { norm1, conv1, time_emb_proj, norm2, dropout, conv2 })
    }

    /// [`forward`](ResnetBlock::forward) without dropout and without a cache.
    ///
    /// # Shapes
    /// As [`forward`](ResnetBlock::forward).
    ///
    /// ```
    /// use ddpm::nn::ResnetBlock;
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let block = ResnetBlock::new((4, 8, None), (2, 1e-6), 0.0, &mut stream(1, 0));
    /// let x: Tensor4 = normal((1, 8, 8, 4), &mut stream(1, 1));
    /// assert_eq!(block.infer(&x, None), block.forward(x, None, &mut []).0);
    /// ```
    #[track_caller]
    pub fn infer<'a>(&self, x: &Tensor4, silu_temb: impl Into<Option<&'a Tensor2>>) -> Tensor4 {
        let projection = self.projection(silu_temb.into());
        let time = projection.map(|(layer, silu_temb)| layer.infer(silu_temb) + &self.conv1.bias);
        let a = self.norm1.infer_silu(x);
        let h = self.conv1.infer_into(&a, self.per_image(time.as_ref()), None);
        recycle(a);
        let a = self.norm2.infer_silu(&h);
        recycle(h);
        let y = self.conv2.infer_into(&a, onto(&self.conv2), Some(self.shortcut(x)));
        recycle(a);
        y
    }

    /// Floating-point operations for an image of so many pixels.
    ///
    /// ```
    /// use ddpm::nn::ResnetBlock;
    /// use ddpm::rng::stream;
    /// let block = ResnetBlock::new((4, 8, None), (2, 1e-6), 0.0, &mut stream(1, 0));
    /// assert_eq!(block.flops(20), 2 * block.flops(10));
    /// ```
    pub fn flops(&self, pixels: usize) -> u64 {
        let shortcut = self.conv_shortcut.as_ref().map_or(0, |conv| conv.flops(pixels));
        let time = self.time_emb_proj.as_ref().map_or(0, |layer| layer.flops(1));
        self.conv1.flops(pixels) + self.conv2.flops(pixels) + shortcut + time
    }

    /// The layer of the time and what it is told: both, or neither.
    #[track_caller]
    fn projection<'a>(&self, silu_temb: Option<&'a Tensor2>) -> Option<(&Linear, &'a Tensor2)> {
        let layer = self.time_emb_proj.as_ref();
        assert_eq!(layer.is_some(), silu_temb.is_some(), "residual block: a layer of the time, and a time");
        layer.zip(silu_temb)
    }

    /// What Conv₁ adds to every pixel: `time[n, ·]`, its own bias among it, for those of image `n`; the one row there is, for
    /// those of all; or the bias alone.
    fn per_image<'a>(&'a self, time: Option<&'a Tensor2>) -> Initial<'a> {
        let bias = match time {
            Some(time) if time.nrows() == 1 => (time.numbers(), 0),
            Some(time) => (time.numbers(), time.ncols()),
            None => (self.conv1.bias.numbers(), 0),
        };
        Initial { bias: Some(bias), accumulate: false }
    }

    /// What the branch is added to.
    fn shortcut(&self, x: &Tensor4) -> Tensor4 {
        self.conv_shortcut.as_ref().map_or_else(|| copy(x), |conv| conv.infer(x))
    }

    /// Returns `dx`; adds the gradient of `silu(temb)` to `d_silu_temb`, where there is one.
    ///
    /// # Shapes
    /// As in `forward`.
    ///
    /// ```
    /// use ddpm::params::Params;
    /// use ddpm::nn::ResnetBlock;
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let block = ResnetBlock::new((4, 8, None), (2, 1e-6), 0.0, &mut stream(1, 0));
    /// let x: Tensor4 = normal((1, 8, 8, 4), &mut stream(1, 1));
    /// let (y, cache) = block.forward(x, None, &mut []);
    /// assert_eq!(block.backward(cache, y, None, &mut block.zeros_like()).dim(), (1, 8, 8, 4));
    /// ```
    pub fn backward<'a>(
        &self,
        cache: ResnetBlockCache,
        dy: Tensor4,
        d_silu_temb: impl Into<Option<&'a mut Tensor2>>,
        grad: &mut ResnetBlock,
    ) -> Tensor4 {
        // h₂ = Conv₂(dropout(silu(GN₂(h₁))))
        let da = self.conv2.backward(cache.conv2, &dy, &mut grad.conv2);
        let da = self.dropout.backward(cache.dropout, da);
        let dh = self.norm2.backward_silu(cache.norm2, da, &mut grad.norm2);
        // h₁ = Conv₁(…) + time, the same for every pixel: its gradient is the sum over pixels
        if let (Some(layer), Some(cache), Some(d_silu_temb), Some(grad)) =
            (&self.time_emb_proj, cache.time_emb_proj, d_silu_temb.into(), &mut grad.time_emb_proj)
        {
            let mut dtime = Tensor2::zeros((dh.len_of(Axis(0)), dh.len_of(Axis(3))));
            for (image, mut dtime) in dh.outer_iter().zip(dtime.outer_iter_mut()) {
                let image = image.to_slice().expect("contiguous");
                add_channel_sums(image, dtime.numbers_mut());
            }
            *d_silu_temb += &layer.backward(cache, &dtime, grad);
        }
        let da = self.conv1.backward(cache.conv1, &dh, &mut grad.conv1);
        recycle(dh);
        // y = shortcut(x) + h₂
        let d_shortcut = match (&self.conv_shortcut, &mut grad.conv_shortcut) {
            (Some(conv), Some(grad)) => {
                let (_, h, w, _) = dy.dim();
                conv.backward_weights(&cache.norm1.x, &dy, grad);
                let dx = conv.backward_data(&dy, (h, w));
                recycle(dy);
                dx
            }
            _ => dy,
        };
        let mut dx = self.norm1.backward_silu(cache.norm1, da, &mut grad.norm1);
        dx += &d_shortcut;
        recycle(d_shortcut);
        dx
    }
}

/// The convolution's bias, and what `y` holds already.
fn onto(conv: &Conv2d) -> Initial<'_> {
    Initial { bias: Some((conv.bias.numbers(), 0)), accumulate: true }
}

#[cfg(test)]
mod tests {
    use super::super::gradient_check::{check, check_params, inner, shaken};
    use super::*;
    use crate::nn::activation::silu;
    use crate::params::Params;
    use crate::rng::{normal, stream};

    fn block(inputs: usize, outputs: usize, dropout: f32) -> ResnetBlock {
        shaken(ResnetBlock::new((inputs, outputs, 6), (2, 1e-5), dropout, &mut stream(1, 0)), 0.1)
    }

    fn random(shape: (usize, usize, usize, usize), seed: u64) -> Tensor4 {
        normal(shape, &mut stream(seed, 0))
    }

    /// The module's formulas, layer by layer from their plain parts.
    #[test]
    fn forward_is_what_the_formula_says() {
        for (inputs, outputs) in [(4, 4), (4, 8), (8, 4)] {
            let block = block(inputs, outputs, 0.0);
            let x = random((2, 4, 5, inputs), 2);
            let temb: Tensor2 = normal((2, 6), &mut stream(3, 0));
            let silu4 = |mut x: Tensor4| {
                silu(x.as_slice_mut().unwrap());
                x
            };
            let time = block
                .time_emb_proj
                .as_ref()
                .unwrap()
                .infer(&temb)
                .into_shape_with_order((2, 1, 1, outputs))
                .unwrap();
            let h = block.conv1.definition(&silu4(block.norm1.infer(&x))) + time;
            let h = block.conv2.definition(&silu4(block.norm2.infer(&h)));
            let want = h + block.conv_shortcut.as_ref().map_or(x.clone(), |conv| conv.definition(&x));
            let y = block.infer(&x, &temb);
            assert!((&y - want).iter().all(|d| d.abs() < 2e-5));
            let (forward, _) = block.forward(x, &temb, &mut []);
            assert!((forward - y).iter().all(|d| d.abs() < 1e-5));
        }
    }

    #[test]
    fn gradients_with_and_without_a_shortcut() {
        for (inputs, outputs) in [(4, 4), (4, 6)] {
            let block = block(inputs, outputs, 0.0);
            assert_eq!(block.conv_shortcut.is_some(), inputs != outputs);
            let x = random((2, 4, 3, inputs), 2);
            let temb: Tensor2 = normal((2, 6), &mut stream(3, 0));
            let g = random((2, 4, 3, outputs), 4);
            let (_, cache) = block.forward(x.clone(), &temb, &mut []);
            let (mut grad, mut d_temb) = (block.zeros_like(), Tensor2::zeros(temb.raw_dim()));
            let dx = block.backward(cache, g.clone(), &mut d_temb, &mut grad);
            check("residual block x", &x, &dx, |x| inner(&block.infer(x, &temb), &g));
            check("residual block temb", &temb, &d_temb, |temb| inner(&block.infer(&x, temb), &g));
            check_params("residual block", &block, &grad, &[], |b| inner(&b.infer(&x, &temb), &g));
        }
    }

    /// A block that knows no time is the formula without its term.
    #[test]
    fn without_a_time() {
        let block = ResnetBlock::new((4, 6, None), (2, 1e-6), 0.0, &mut stream(1, 0));
        let block = shaken(block, 0.1);
        assert!(block.named().iter().all(|(key, _)| !key.contains("time")));
        let (x, g) = (random((2, 4, 3, 4), 2), random((2, 4, 3, 6), 4));
        let (y, cache) = block.forward(x.clone(), None, &mut []);
        assert_eq!(y, block.infer(&x, None));
        let mut silent =
            ResnetBlock { time_emb_proj: Some(Linear::new(3, 6, 1.0, &mut stream(2, 0))), ..block.clone() };
        assert!((silent.infer(&x, &Tensor2::zeros((2, 3))) - &y).iter().all(|d| d.abs() < 1e-5));
        let mut grad = block.zeros_like();
        let dx = block.backward(cache, g.clone(), None, &mut grad);
        check("residual block without a time", &x, &dx, |x| inner(&block.infer(x, None), &g));
        check_params("residual block without a time", &block, &grad, &[], |b| inner(&b.infer(&x, None), &g));
        // negative control: with a time, the output moves
        silent.time_emb_proj.as_mut().unwrap().bias[0] = 3.0;
        assert!((silent.infer(&x, &Tensor2::zeros((2, 3))) - y).iter().any(|d| d.abs() > 0.1));
    }

    #[test]
    #[should_panic(expected = "residual block: a layer of the time, and a time")]
    fn a_time_is_told_to_those_who_know_it() {
        block(4, 4, 0.0).infer(&random((1, 4, 4, 4), 1), None);
    }

    /// With the streams started again, dropout is a fixed mask: the block is differentiable as ever.
    #[test]
    fn gradients_through_dropout() {
        let block = block(4, 6, 0.4);
        let x = random((2, 4, 3, 4), 2);
        let temb: Tensor2 = normal((2, 6), &mut stream(3, 0));
        let g = random((2, 4, 3, 6), 4);
        let run = |x: &Tensor4| block.forward(x.clone(), &temb, &mut [stream(5, 0), stream(5, 1)]);
        let mut d_temb = Tensor2::zeros(temb.raw_dim());
        let dx = block.backward(run(&x).1, g.clone(), &mut d_temb, &mut block.zeros_like());
        check("residual block with dropout", &x, &dx, |x| inner(&run(x).0, &g));
    }

    #[test]
    fn it_starts_as_its_shortcut() {
        let x = random((1, 4, 4, 4), 2);
        let fresh = ResnetBlock::new((4, 4, 6), (2, 1e-5), 0.0, &mut stream(1, 0));
        let y = fresh.infer(&x, &normal((1, 6), &mut stream(3, 0)));
        assert!((y - x).iter().all(|d| d.abs() < 1e-4));
    }
}
