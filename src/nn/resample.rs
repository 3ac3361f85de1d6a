//! Between the resolutions of the U-Net: a strided convolution down, nearest neighbours and a convolution up.

use super::{Conv2d, Conv2dCache};
use crate::params::params;
use crate::tensor::{Contiguous, Tensor4, recycle, scratch};

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

/// What [`Upsample::backward`] needs: that of its convolution.
#[derive(Debug)]
pub struct UpsampleCache(Conv2dCache);

impl Upsample {
    /// `[N, H, W, C]` → `[N, 2H, 2W, C]`.
    ///
    /// ```
    /// use ddpm::nn::{Conv2d, Upsample};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = Upsample { conv: Conv2d::new(3, 3, 3, 1.0, &mut stream(1, 0)) };
    /// let x: Tensor4 = normal((1, 4, 5, 3), &mut stream(1, 1));
    /// // four pixels for each, then a convolution
    /// let slow = layer.conv.definition(&ddpm::nn::nearest_upsample(&x));
    /// assert!((layer.infer(&x) - slow).iter().all(|d| d.abs() < 1e-4));
    /// ```
    pub fn infer(&self, x: &Tensor4) -> Tensor4 {
        let wide = nearest_upsample(x);
        let y = self.conv.infer(&wide);
        recycle(wide);
        y
    }

    /// [`infer`](Upsample::infer), keeping what backward needs.
    ///
    /// # Shapes
    /// As [`infer`](Upsample::infer).
    ///
    /// ```
    /// use ddpm::nn::{Conv2d, Upsample};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = Upsample { conv: Conv2d::new(3, 3, 3, 1.0, &mut stream(1, 0)) };
    /// let x: Tensor4 = normal((1, 4, 5, 3), &mut stream(1, 1));
    /// assert_eq!(layer.forward(x.clone()).0, layer.infer(&x));
    /// ```
    pub fn forward(&self, x: Tensor4) -> (Tensor4, UpsampleCache) {
        let (y, cache) = self.conv.forward(nearest_upsample(&x));
        recycle(x);
        (y, UpsampleCache(cache))
    }

    /// Backward of the convolution, then of the nearest neighbours.
    ///
    /// # Shapes
    /// `dy` `[N, 2H, 2W, C]`; returns `dx` `[N, H, W, C]`.
    ///
    /// ```
    /// use ddpm::params::Params;
    /// use ddpm::nn::{Conv2d, Upsample};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = Upsample { conv: Conv2d::new(3, 3, 3, 1.0, &mut stream(1, 0)) };
    /// let x: Tensor4 = normal((1, 4, 5, 3), &mut stream(1, 1));
    /// let (y, cache) = layer.forward(x.clone());
    /// let dx = layer.backward(cache, &y, &mut layer.zeros_like());
    /// assert!(((&y * &y).sum() / (dx * x).sum() - 1.0).abs() < 1e-4); // ⟨dy, y⟩ = ⟨dx, x⟩
    /// ```
    pub fn backward(&self, cache: UpsampleCache, dy: &Tensor4, grad: &mut Upsample) -> Tensor4 {
        let d_wide = self.conv.backward(cache.0, dy, &mut grad.conv);
        let dx = nearest_upsample_backward(&d_wide);
        recycle(d_wide);
        dx
    }
}

/// `y[i, j] = x[⌊i/2⌋, ⌊j/2⌋]`: `[N, H, W, C]` → `[N, 2H, 2W, C]`.
///
/// ```
/// use ddpm::{nn::nearest_upsample, tensor::Tensor4};
/// let y = nearest_upsample(&Tensor4::from_shape_fn((1, 1, 2, 1), |(_, _, j, _)| j as f32));
/// assert_eq!(y.iter().copied().collect::<Vec<_>>(), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
/// ```
pub fn nearest_upsample(x: &Tensor4) -> Tensor4 {
    let (n, h, w, c) = x.dim();
    let mut y = scratch((n, 2 * h, 2 * w, c));
    let rows = x.numbers().chunks_exact(w * c);
    for (x, y) in rows.zip(y.numbers_mut().chunks_exact_mut(4 * w * c)) {
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
///
/// # Shapes
/// `[N, 2H, 2W, C]` → `[N, H, W, C]`.
///
/// ```
/// use ddpm::{nn::nearest_upsample_backward, tensor::Tensor4};
/// assert_eq!(nearest_upsample_backward(&Tensor4::ones((1, 4, 6, 2))), Tensor4::from_elem((1, 2, 3, 2), 4.0));
/// ```
#[track_caller]
pub fn nearest_upsample_backward(dy: &Tensor4) -> Tensor4 {
    let (n, h2, w2, c) = dy.dim();
    assert!(h2 % 2 == 0 && w2 % 2 == 0, "backward of nearest upsampling on odd {:?}", dy.shape());
    let mut dx = scratch((n, h2 / 2, w2 / 2, c));
    let rows = dy.numbers().chunks_exact(2 * w2 * c);
    for (dy, dx) in rows.zip(dx.numbers_mut().chunks_exact_mut(w2 / 2 * c)) {
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

    /// Nearest neighbours and the convolution, one after the other.
    #[test]
    fn up_is_its_two_steps_forward_and_backward() {
        for (inputs, outputs) in [(1, 1), (5, 3), (16, 32), (33, 16)] {
            let layer =
                shaken(Upsample { conv: Conv2d::new(inputs, outputs, 3, 1.0, &mut stream(1, 0)) }, 0.1);
            let x = random((2, 3, 5, inputs), 2);
            let wide = nearest_upsample(&x);
            let (y, cache) = layer.forward(x.clone());
            let dy = random(y.dim(), 3);
            let (mut grad, mut want_grad) = (layer.zeros_like(), layer.zeros_like());
            let dx = layer.backward(cache, &dy, &mut grad);
            let (want, cache) = layer.conv.forward(wide);
            let want_dx = nearest_upsample_backward(&layer.conv.backward(cache, &dy, &mut want_grad.conv));
            let close = |a: &[f32], b: &[f32]| {
                let size = b.iter().fold(0.0f32, |m, b| m.max(b.abs()));
                assert_eq!(a.len(), b.len());
                assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-6 * size), "{inputs} to {outputs}");
            };
            close(y.as_slice().unwrap(), want.as_slice().unwrap());
            close(dx.as_slice().unwrap(), want_dx.as_slice().unwrap());
            close(&grad.slices().concat(), &want_grad.slices().concat());
        }
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
        let (y, cache) = layer.forward(x.clone());
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
