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

#[cfg(test)]
mod tests {
    use super::super::gradient_check::{check, check_params, inner, shaken};
    use super::*;
    use crate::params::Params;
    use crate::rng::{normal, stream};

    fn random(shape: (usize, usize, usize, usize), seed: u64) -> Tensor4 {
        normal(shape, &mut stream(seed, 0))
    }

    #[test]
    fn every_pixel_becomes_four_and_its_gradient_their_sum() {
        for (n, h, w, c) in [(1, 1, 1, 1), (2, 3, 5, 7), (3, 4, 2, 16)] {
            let x = random((n, h, w, c), 1);
            let y = nearest_upsample(&x);
            assert_eq!(
                y,
                Tensor4::from_shape_fn((n, 2 * h, 2 * w, c), |(n, i, j, c)| x[[n, i / 2, j / 2, c]])
            );
            let dy = random(y.dim(), 2);
            let (left, right) = (inner(&y, &dy), inner(&x, &nearest_upsample_backward(&dy)));
            assert!((left - right).abs() < 1e-5 * inner(&y, &y).max(1.0), "{left} {right}");
        }
    }

    #[test]
    fn gradients_of_upsampling() {
        let layer = shaken(Upsample { conv: Conv2d::new(3, 3, 3, 1.0, &mut stream(1, 0)) }, 0.1);
        let x = random((2, 3, 2, 3), 2);
        let (y, cache) = layer.forward(&x);
        assert_eq!(y, layer.infer(&x));
        let g = random(y.dim(), 3);
        let mut grad = layer.zeros_like();
        let dx = layer.backward(cache, &g, &mut grad);
        check("upsample x", &x, &dx, |x| inner(&layer.infer(x), &g));
        check_params("upsample", &layer, &grad, &[], |layer| inner(&layer.infer(&x), &g));
    }

    #[test]
    #[should_panic(expected = "backward of nearest upsampling on odd [1, 3, 4, 1]")]
    fn only_even_sides_come_back() {
        nearest_upsample_backward(&Tensor4::zeros((1, 3, 4, 1)));
    }
}
