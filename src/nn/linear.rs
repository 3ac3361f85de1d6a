//! The linear layer: rows times a matrix.

use crate::matmul::{add_transposed_product, kernel::Initial, matmul_nt, product_into};
use crate::nn::lanes::add_channel_sums;
use crate::nn::variance_scaling;
use crate::params::params;
use crate::tensor::{Contiguous, Tensor1, Tensor2, recycle, scratch};
use ndarray_rand::rand::Rng;

/// `y = x W + b`, for rows `x`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[in, out]`; checkpoints hold the transpose
    pub weight: Tensor2,
    /// `[out]`
    pub bias: Tensor1,
}

params!(Linear { weight: Linear, bias });

/// What [`Linear::backward`] needs: the input.
#[derive(Debug)]
pub struct LinearCache {
    x: Tensor2,
}

impl Linear {
    /// A layer with [variance-scaled](variance_scaling) weights and no bias.
    ///
    /// ```
    /// use ddpm::{nn::Linear, rng::stream};
    /// let layer = Linear::new(3, 2, 1.0, &mut stream(1, 0));
    /// assert_eq!((layer.weight.dim(), layer.bias.sum()), ((3, 2), 0.0));
    /// ```
    pub fn new(inputs: usize, outputs: usize, scale: f32, rng: &mut impl Rng) -> Linear {
        Linear {
            weight: variance_scaling((inputs, outputs), inputs, outputs, scale, rng),
            bias: Tensor1::zeros(outputs),
        }
    }

    /// Floating-point operations for so many rows.
    ///
    /// ```
    /// use ddpm::{nn::Linear, rng::stream};
    /// let layer = Linear::new(3, 2, 1.0, &mut stream(1, 0));
    /// assert_eq!(layer.flops(10), 2 * 3 * 2 * 10);
    /// ```
    pub fn flops(&self, rows: usize) -> u64 {
        2 * (self.weight.len() * rows) as u64
    }

    /// `y = x W + b`: `[rows, in]` → `[rows, out]`.
    ///
    /// # Panics
    /// If `x` has another number of columns than `in`.
    ///
    /// ```
    /// use ddpm::{nn::Linear, rng::{normal, stream}, tensor::Tensor2};
    /// let layer = Linear::new(3, 2, 1.0, &mut stream(1, 0));
    /// let x: Tensor2 = normal((4, 3), &mut stream(1, 1));
    /// assert!((layer.infer(&x) - x.dot(&layer.weight)).iter().all(|d| d.abs() < 1e-5));
    /// ```
    #[track_caller]
    pub fn infer(&self, x: &Tensor2) -> Tensor2 {
        let mut y = scratch((x.nrows(), self.bias.len()));
        let bias = Initial::bias(self.bias.numbers());
        let out = y.as_slice_mut().expect("a fresh array");
        product_into(x.view(), self.weight.view(), bias, out);
        y
    }

    /// `y += x W + b`.
    pub(super) fn add_to(&self, x: &Tensor2, y: &mut [f32]) {
        let bias = Some((self.bias.numbers(), 0));
        product_into(x.view(), self.weight.view(), Initial { bias, accumulate: true }, y);
    }

    /// [`infer`](Linear::infer), keeping the input for [`backward`](Linear::backward).
    ///
    /// # Shapes
    /// `[rows, in]` → `[rows, out]`.
    ///
    /// ```
    /// use ddpm::{nn::Linear, rng::{normal, stream}, tensor::Tensor2};
    /// let layer = Linear::new(3, 2, 1.0, &mut stream(1, 0));
    /// let x: Tensor2 = normal((4, 3), &mut stream(1, 1));
    /// assert_eq!(layer.forward(x.clone()).0, layer.infer(&x));
    /// ```
    #[track_caller]
    pub fn forward(&self, x: Tensor2) -> (Tensor2, LinearCache) {
        (self.infer(&x), LinearCache { x })
    }

    /// [`add_to`](Linear::add_to), keeping the input.
    pub(super) fn forward_added(&self, x: Tensor2, y: &mut [f32]) -> LinearCache {
        self.add_to(&x, y);
        LinearCache { x }
    }

    /// From `y = x W + b`:  `dW += xᵀ dy`,  `db += Σ_rows dy`,  `dx = dy Wᵀ`.
    ///
    /// # Shapes
    /// `dy` `[rows, out]`; returns `dx` `[rows, in]`.
    ///
    /// ```
    /// use ddpm::params::Params;
    /// use ddpm::{nn::Linear, rng::{normal, stream}, tensor::Tensor2};
    /// let layer = Linear::new(3, 2, 1.0, &mut stream(1, 0));
    /// let (_, cache) = layer.forward(normal((4, 3), &mut stream(1, 1)));
    /// let (dy, mut grad): (Tensor2, _) = (Tensor2::ones((4, 2)), layer.zeros_like());
    /// let dx = layer.backward(cache, &dy, &mut grad);
    /// assert_eq!(grad.bias, ndarray::array![4.0, 4.0]); // Σ over rows
    /// assert!((dx - dy.dot(&layer.weight.t())).iter().all(|d| d.abs() < 1e-6));
    /// ```
    pub fn backward(&self, cache: LinearCache, dy: &Tensor2, grad: &mut Linear) -> Tensor2 {
        let dw = grad.weight.numbers_mut();
        add_transposed_product(&cache.x, dy, dw);
        add_channel_sums(dy.numbers(), grad.bias.numbers_mut());
        recycle(cache.x);
        matmul_nt(dy, &self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::super::gradient_check::{check, check_params, inner, shaken};
    use super::*;
    use crate::params::Params;
    use crate::rng::{normal, stream};

    #[test]
    fn gradients() {
        for (rows, inputs, outputs) in [(1, 1, 1), (4, 7, 5), (40, 33, 17)] {
            let layer = shaken(Linear::new(inputs, outputs, 1.0, &mut stream(1, 0)), 0.1);
            let x: Tensor2 = normal((rows, inputs), &mut stream(2, 0));
            let (y, cache) = layer.forward(x.clone());
            assert_eq!(y, layer.infer(&x));
            let g: Tensor2 = normal(y.raw_dim(), &mut stream(3, 0));
            let mut grad = layer.zeros_like();
            let dx = layer.backward(cache, &g, &mut grad);
            check("linear x", &x, &dx, |x| inner(&layer.infer(x), &g));
            check_params("linear", &layer, &grad, &[], |layer| inner(&layer.infer(&x), &g));
        }
    }

    #[test]
    #[should_panic(expected = "matmul: [2, 3] times [4, 5]: the inner sizes differ")]
    fn columns_must_agree() {
        Linear::new(4, 5, 1.0, &mut stream(1, 0)).infer(&Tensor2::zeros((2, 3)));
    }
}
