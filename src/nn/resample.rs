//! Between the resolutions of the U-Net: a strided convolution down, nearest neighbours and a convolution up.

use super::{Conv2d, Conv2dCache};
use crate::params::params;
use crate::tensor::Tensor4;

/// Halves the resolution: a 3×3 convolution with stride 2.
#[derive(Clone, Debug)]
pub struct Downsample {
    /// stride 2, padded at the right and bottom only, or by 1 all around
    pub conv: Conv2d,
}

params!(Downsample { conv });

/// Doubles the resolution: nearest neighbours, then a 3×3 convolution.
#[derive(Clone, Debug)]
pub struct Upsample {
    /// 3×3, stride 1
    pub conv: Conv2d,
}

params!(Upsample { conv });

/// What [`Upsample::backward`] needs.
#[derive(Debug)]
pub struct UpsampleCache(Conv2dCache);

impl Upsample {
    /// `[N, H, W, C]` → `[N, 2H, 2W, C]`.
    pub fn infer(&self, x: &Tensor4) -> Tensor4 {
        self.conv.infer(&nearest_upsample(x))
    }

    /// [`infer`](Upsample::infer), keeping what backward needs.
    pub fn forward(&self, x: &Tensor4) -> (Tensor4, UpsampleCache) {
        let (y, cache) = self.conv.forward(nearest_upsample(x));
        (y, UpsampleCache(cache))
    }

    /// The two backward passes in the opposite order.
    pub fn backward(&self, cache: UpsampleCache, dy: &Tensor4, grad: &mut Upsample) -> Tensor4 {
        nearest_upsample_backward(&self.conv.backward(cache.0, dy, &mut grad.conv))
    }
}

/// `y[i, j] = x[⌊i/2⌋, ⌊j/2⌋]`: `[N, H, W, C]` → `[N, 2H, 2W, C]`.
pub fn nearest_upsample(x: &Tensor4) -> Tensor4 {
    let (n, h, w, c) = x.dim();
    let mut y = Tensor4::zeros((n, 2 * h, 2 * w, c));
    let rows = x.as_slice().expect("contiguous").chunks_exact(w * c);
    for (x, y) in rows.zip(y.as_slice_mut().expect("contiguous").chunks_exact_mut(4 * w * c)) {
        let (upper, lower) = y.split_at_mut(2 * w * c);
        for (x, y) in x.chunks_exact(c).zip(upper.chunks_exact_mut(2 * c)) {
            y[..c].copy_from_slice(x);
            y[c..].copy_from_slice(x);
        }
        lower.copy_from_slice(upper);
    }
    y
}

/// From `y[i, j] = x[⌊i/2⌋, ⌊j/2⌋]`: each `x` fed four pixels, so `dx` is the sum of their four gradients.
///
/// # Panics
/// If height or width is odd.
#[track_caller]
pub fn nearest_upsample_backward(dy: &Tensor4) -> Tensor4 {
    let (n, h2, w2, c) = dy.dim();
    assert!(h2 % 2 == 0 && w2 % 2 == 0, "backward of nearest upsampling on odd {:?}", dy.shape());
    let mut dx = Tensor4::zeros((n, h2 / 2, w2 / 2, c));
    let rows = dy.as_slice().expect("contiguous").chunks_exact(2 * w2 * c);
    for (dy, dx) in rows.zip(dx.as_slice_mut().expect("contiguous").chunks_exact_mut(w2 / 2 * c)) {
        let (upper, lower) = dy.split_at(w2 * c);
        for ((u, l), dx) in
            upper.chunks_exact(2 * c).zip(lower.chunks_exact(2 * c)).zip(dx.chunks_exact_mut(c))
        {
            for i in 0..c {
                dx[i] = (u[i] + u[i + c]) + (l[i] + l[i + c]);
            }
        }
    }
    dx
}
