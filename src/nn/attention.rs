//! Self-attention over the pixels of an image (Vaswani et al. 2017; Ho et al. at one resolution, one head).
//!
//! For each image, with tokens the `T = H·W` pixels, and for each head of `d` channels,
//!
//! ```text
//! u = GroupNorm(x),  q = u W_q + b_q,  k = u W_k + b_k,  v = u W_v + b_v         [T, d] per head
//! s = q kᵀ / √d,     p = softmax(s) by rows,     o = p v,     y = x + o W_o + b_o
//! ```
//!
//! # Backward
//!
//! ```text
//! do = dy W_oᵀ            dv = pᵀ do          dp = do vᵀ
//! ds_ij = p_ij (dp_ij − Σ_l dp_il p_il)       dq = ds k / √d      dk = dsᵀ q / √d
//! du = dq W_qᵀ + dk W_kᵀ + dv W_vᵀ            dx = dy + GroupNorm's backward of du
//! ```
//!
//! (`b_k` shifts every score of a row by the same amount, which softmax does not see: its exact gradient is 0.)

use super::{GroupNorm, GroupNormCache, Linear, LinearCache, NEARLY_ZERO, activation};
use crate::matmul::{matmul, matmul_nt, matmul_tn};
use crate::params::params;
use crate::tensor::{Contiguous, Tensor2, Tensor4, copy, recycle, scratch};
use ndarray::{ArrayRef2, s};
use ndarray_rand::rand::Rng;

/// Multi-head self-attention with a residual connection.
#[derive(Clone, Debug)]
pub struct Attention {
    /// normalises the input of the branch
    pub group_norm: GroupNorm,
    /// query
    pub to_q: Linear,
    /// key
    pub to_k: Linear,
    /// value
    pub to_v: Linear,
    /// output projection, alone in a list because checkpoints call it `to_out.0`
    pub to_out: Vec<Linear>,
    /// number of heads; each has `C / heads` channels
    pub heads: usize,
}

params!(Attention { group_norm, to_q, to_k, to_v, to_out });

/// What [`Attention::backward`] needs.
#[derive(Debug)]
pub struct AttentionCache {
    group_norm: GroupNormCache,
    to_q: LinearCache,
    to_k: LinearCache,
    to_v: LinearCache,
    q: Tensor2,
    k: Tensor2,
    v: Tensor2,
    /// softmax of each image and head, `[T, T]`
    p: Vec<Tensor2>,
    to_out: LinearCache,
}

impl Attention {
    /// Attention over `channels`, starting as the identity.
    ///
    /// # Panics
    /// If `heads` does not divide `channels`.
    ///
    /// ```
    /// use ddpm::nn::{Attention, GroupNorm};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = Attention::new(8, 2, GroupNorm::new(8, 4, 1e-6), &mut stream(1, 0));
    /// let x: Tensor4 = normal((1, 4, 4, 8), &mut stream(1, 1));
    /// assert!((layer.infer(&x) - &x).iter().all(|d| d.abs() < 1e-3));
    /// ```
    #[track_caller]
    pub fn new(channels: usize, heads: usize, group_norm: GroupNorm, rng: &mut impl Rng) -> Attention {
        assert!(
            heads > 0 && channels.is_multiple_of(heads),
            "attention: {heads} heads for {channels} channels"
        );
        let mut linear = |scale| Linear::new(channels, channels, scale, rng);
        Attention {
            group_norm,
            to_q: linear(1.0),
            to_k: linear(1.0),
            to_v: linear(1.0),
            to_out: vec![linear(NEARLY_ZERO)],
            heads,
        }
    }

    /// Floating-point operations for an image of so many pixels: the four projections, q kᵀ and p v.
    ///
    /// ```
    /// use ddpm::nn::{Attention, GroupNorm};
    /// use ddpm::rng::stream;
    /// let layer = Attention::new(8, 2, GroupNorm::new(8, 4, 1e-6), &mut stream(1, 0));
    /// assert!(layer.flops(200) > 2 * layer.flops(100)); // the products of all pairs of pixels
    /// ```
    pub fn flops(&self, pixels: usize) -> u64 {
        let projections =
            [&self.to_q, &self.to_k, &self.to_v, &self.to_out[0]].map(|layer| layer.flops(pixels));
        projections.iter().sum::<u64>() + 4 * (pixels * pixels * self.to_q.bias.len()) as u64
    }

    /// `[N, H, W, C]` → the same shape.
    ///
    /// ```
    /// use ddpm::nn::{Attention, GroupNorm};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = Attention::new(8, 2, GroupNorm::new(8, 4, 1e-6), &mut stream(1, 0));
    /// let x: Tensor4 = normal((1, 4, 4, 8), &mut stream(1, 1));
    /// assert_eq!(layer.forward(x.clone()).0, layer.infer(&x));
    /// ```
    pub fn forward(&self, x: Tensor4) -> (Tensor4, AttentionCache) {
        let (_, h, w, _) = x.dim();
        let mut y = copy(&x);
        let (u, group_norm) = self.group_norm.forward(x);
        let u = rows(u);
        let (q, to_q) = self.to_q.forward(copy(&u));
        let (k, to_k) = self.to_k.forward(copy(&u));
        let (v, to_v) = self.to_v.forward(u);
        let (o, p) = self.attend(&q, &k, &v, h * w);
        let to_out = self.to_out[0].forward_added(o, y.numbers_mut());
        (y, AttentionCache { group_norm, to_q, to_k, to_v, q, k, v, p, to_out })
    }

    /// [`forward`](Attention::forward) without a cache.
    ///
    /// # Shapes
    /// `[N, H, W, C]` → the same shape.
    ///
    /// ```
    /// use ddpm::nn::{Attention, GroupNorm};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = Attention::new(8, 2, GroupNorm::new(8, 4, 1e-6), &mut stream(1, 0));
    /// let x: Tensor4 = normal((2, 4, 3, 8), &mut stream(1, 1));
    /// assert_eq!(layer.infer(&x).shape(), x.shape());
    /// ```
    pub fn infer(&self, x: &Tensor4) -> Tensor4 {
        let (_, h, w, _) = x.dim();
        let u = rows(self.group_norm.infer(x));
        let (q, k, v) = (self.to_q.infer(&u), self.to_k.infer(&u), self.to_v.infer(&u));
        let (o, p) = self.attend(&q, &k, &v, h * w);
        let mut y = copy(x);
        self.to_out[0].add_to(&o, y.numbers_mut());
        [u, q, k, v, o].into_iter().chain(p).for_each(recycle);
        y
    }

    /// `o = softmax(q kᵀ / √d) v` for each image and head; also each `p`.
    fn attend(&self, q: &Tensor2, k: &Tensor2, v: &Tensor2, tokens: usize) -> (Tensor2, Vec<Tensor2>) {
        let mut o = scratch(q.raw_dim());
        let mut all = Vec::new();
        for (i, j) in self.blocks(q, tokens) {
            let at = s![i..i + tokens, j..j + q.ncols() / self.heads];
            let (head, p) = Attention::core(&q.slice(at), &k.slice(at), &v.slice(at));
            o.slice_mut(at).assign(&head);
            recycle(head);
            all.push(p);
        }
        (o, all)
    }

    /// `p = softmax(q kᵀ / √d)`, `o = p v` for one head, `q, k, v [T, d]`; returns `(o, p)`.
    ///
    /// # Shapes
    /// `q`, `k`, `v`, `o` `[T, d]`, `p` `[T, T]`.
    ///
    /// ```
    /// use ddpm::nn::Attention;
    /// use ndarray::array;
    /// // one key is so like the query that only its value counts
    /// let (o, p) = Attention::core(&array![[100.0, 0.0]], &array![[1.0, 0.0], [0.0, 1.0]], &array![[7.0], [9.0]]);
    /// assert!(o == array![[7.0]] && p[[0, 1]] < 1e-30);
    /// ```
    pub fn core(q: &ArrayRef2<f32>, k: &ArrayRef2<f32>, v: &ArrayRef2<f32>) -> (Tensor2, Tensor2) {
        let mut p = matmul_nt(q, k);
        activation::softmax_rows(p.numbers_mut(), k.nrows(), inverse_sqrt(q.ncols()));
        (matmul(&p, v), p)
    }

    /// Backward of [`core`](Attention::core): `(dq, dk, dv)` from `do`.
    ///
    /// # Shapes
    /// As in [`core`](Attention::core); each gradient has the shape of what it belongs to.
    ///
    /// ```
    /// use ddpm::nn::Attention;
    /// use ndarray::array;
    /// let (q, k, v) = (array![[0.0f32]], array![[1.0], [1.0]], array![[2.0], [4.0]]);
    /// let (_, p) = Attention::core(&q, &k, &v);
    /// let (_, _, dv) = Attention::core_backward(&q, &k, &v, &p, &array![[1.0]]);
    /// assert_eq!(dv, array![[0.5], [0.5]]); // o is the mean of both
    /// ```
    pub fn core_backward(
        q: &ArrayRef2<f32>,
        k: &ArrayRef2<f32>,
        v: &ArrayRef2<f32>,
        p: &Tensor2,
        d_o: &ArrayRef2<f32>,
    ) -> (Tensor2, Tensor2, Tensor2) {
        // o = p v   ⇒   dv = pᵀ do,  dp = do vᵀ
        let dv = matmul_tn(p, d_o);
        let mut ds = matmul_nt(d_o, v);
        // p = softmax(q kᵀ / √d)
        let (p, scale) = (p.numbers(), inverse_sqrt(q.ncols()));
        activation::softmax_rows_backward(p, ds.numbers_mut(), k.nrows(), scale);
        let (dq, dk) = (matmul(&ds, k), matmul_tn(&ds, q));
        recycle(ds);
        (dq, dk, dv)
    }

    /// First row and first column of each image and head.
    fn blocks(&self, q: &ArrayRef2<f32>, tokens: usize) -> Vec<(usize, usize)> {
        let d = q.ncols() / self.heads;
        (0..q.nrows()).step_by(tokens).flat_map(|i| (0..self.heads).map(move |head| (i, head * d))).collect()
    }

    /// The module's derivation, from the last line of the forward pass to the first.
    ///
    /// # Shapes
    /// `dy` and `dx` `[N, H, W, C]`.
    ///
    /// ```
    /// use ddpm::params::Params;
    /// use ddpm::nn::{Attention, GroupNorm};
    /// use ddpm::{rng::{normal, stream}, tensor::Tensor4};
    /// let layer = Attention::new(8, 2, GroupNorm::new(8, 4, 1e-6), &mut stream(1, 0));
    /// let x: Tensor4 = normal((1, 4, 4, 8), &mut stream(1, 1));
    /// let mut grad = layer.zeros_like();
    /// let (_, cache) = layer.forward(x);
    /// let dy: Tensor4 = normal((1, 4, 4, 8), &mut stream(1, 2));
    /// let dx = layer.backward(cache, dy.clone(), &mut grad);
    /// assert!((dx - dy).iter().all(|d| d.abs() < 1e-3)); // a fresh one is the identity
    /// ```
    pub fn backward(&self, cache: AttentionCache, dy: Tensor4, grad: &mut Attention) -> Tensor4 {
        let shape = dy.dim();
        let tokens = shape.1 * shape.2;
        let dy = rows(dy);
        let d_o = self.to_out[0].backward(cache.to_out, &dy, &mut grad.to_out[0]);
        let (q, k, v) = (cache.q, cache.k, cache.v);
        let (mut dq, mut dk, mut dv) = (scratch(q.raw_dim()), scratch(q.raw_dim()), scratch(q.raw_dim()));
        for ((i, j), p) in self.blocks(&q, tokens).into_iter().zip(cache.p) {
            let at = s![i..i + tokens, j..j + q.ncols() / self.heads];
            let (q, k, v, d_o) = (q.slice(at), k.slice(at), v.slice(at), d_o.slice(at));
            let (head_q, head_k, head_v) = Attention::core_backward(&q, &k, &v, &p, &d_o);
            dq.slice_mut(at).assign(&head_q);
            dk.slice_mut(at).assign(&head_k);
            dv.slice_mut(at).assign(&head_v);
            [head_q, head_k, head_v, p].into_iter().for_each(recycle);
        }
        // u feeds q, k and v: three gradients add
        let mut du = self.to_q.backward(cache.to_q, &dq, &mut grad.to_q);
        for term in [
            self.to_k.backward(cache.to_k, &dk, &mut grad.to_k),
            self.to_v.backward(cache.to_v, &dv, &mut grad.to_v),
        ] {
            du += &term;
            recycle(term);
        }
        let mut dx = self.group_norm.backward(cache.group_norm, images(du, shape), &mut grad.group_norm);
        // y = x + …
        let dy = images(dy, shape);
        dx += &dy;
        recycle(dy);
        [d_o, q, k, v, dq, dk, dv].into_iter().for_each(recycle);
        dx
    }
}

fn inverse_sqrt(d: usize) -> f32 {
    1.0 / (d as f32).sqrt()
}

/// `[N, H, W, C]` → `[N·H·W, C]`: every pixel is a row.
fn rows(x: Tensor4) -> Tensor2 {
    let (n, h, w, c) = x.dim();
    x.into_shape_with_order((n * h * w, c)).expect("contiguous")
}

/// `[N·H·W, C]` → `[N, H, W, C]`.
fn images(x: Tensor2, shape: (usize, usize, usize, usize)) -> Tensor4 {
    x.into_shape_with_order(shape).expect("contiguous")
}

#[cfg(test)]
mod tests {
    use super::super::gradient_check::{check, check_params, inner, shaken};
    use super::*;
    use crate::params::Params;
    use crate::rng::{normal, stream};
    use crate::tensor::Batch;
    use ndarray::{Array2, Axis};

    fn layer(channels: usize, heads: usize) -> Attention {
        let norm = GroupNorm::new(channels, 2, 1e-5);
        shaken(Attention::new(channels, heads, norm, &mut stream(1, 0)), 0.1)
    }

    fn random(shape: (usize, usize, usize, usize), seed: u64) -> Tensor4 {
        normal(shape, &mut stream(seed, 0))
    }

    /// The module's formulas in f64, number by number, from `u = GroupNorm(x)`.
    fn definition(layer: &Attention, x: &Tensor4) -> Batch {
        let (_, h, w, c) = x.dim();
        let (d, tokens) = (c / layer.heads, h * w);
        let u = layer.group_norm.infer(x);
        let project = |linear: &Linear, row: &dyn Fn(usize) -> f64, j: usize| -> f64 {
            linear.bias[j] as f64 + (0..c).map(|i| row(i) * linear.weight[[i, j]] as f64).sum::<f64>()
        };
        let mut y = x.mapv(f64::from);
        for n in 0..x.len_of(Axis(0)) {
            let all = |linear: &Linear| {
                let at = |t: usize, j| project(linear, &|i| u[[n, t / w, t % w, i]] as f64, j);
                Array2::from_shape_fn((tokens, c), |(t, j)| at(t, j))
            };
            let (q, k, v) = (all(&layer.to_q), all(&layer.to_k), all(&layer.to_v));
            let mut o = Array2::<f64>::zeros((tokens, c));
            for (first, t) in (0..c).step_by(d).flat_map(|first| (0..tokens).map(move |t| (first, t))) {
                let score = |l| (first..first + d).map(|j| q[[t, j]] * k[[l, j]]).sum::<f64>();
                let e: Vec<f64> = (0..tokens).map(|l| (score(l) / (d as f64).sqrt()).exp()).collect();
                let total: f64 = e.iter().sum();
                for j in first..first + d {
                    o[[t, j]] = (0..tokens).map(|l| e[l] / total * v[[l, j]]).sum();
                }
            }
            for (t, j) in (0..tokens).flat_map(|t| (0..c).map(move |j| (t, j))) {
                y[[n, t / w, t % w, j]] += project(&layer.to_out[0], &|i| o[[t, i]], j);
            }
        }
        y
    }

    #[test]
    fn one_head_or_several_are_the_definition() {
        for heads in [1, 2, 4, 8] {
            let (layer, x) = (layer(8, heads), random((2, 3, 4, 8), 2));
            let y = layer.infer(&x);
            assert!(
                (y.mapv(f64::from) - definition(&layer, &x)).iter().all(|d| d.abs() < 3e-6),
                "{heads} heads"
            );
            // the residual sum is formed in another order
            assert!((layer.forward(x).0 - y).iter().all(|d| d.abs() < 1e-6));
        }
    }

    #[test]
    fn gradients() {
        for heads in [1, 2, 4] {
            let (layer, x) = (layer(8, heads), random((2, 3, 3, 8), 2));
            let (y, cache) = layer.forward(x.clone());
            let g = random(y.dim(), 3);
            let mut grad = layer.zeros_like();
            let dx = layer.backward(cache, g.clone(), &mut grad);
            check("attention x", &x, &dx, |x| inner(&layer.infer(x), &g));
            // softmax does not see what `to_k.bias` does
            check_params("attention", &layer, &grad, &["to_k.bias"], |layer| inner(&layer.infer(&x), &g));
            assert!(grad.to_k.bias.iter().all(|d| d.abs() < 1e-5), "{}", grad.to_k.bias);
        }
    }

    #[test]
    fn it_starts_as_the_identity() {
        let fresh = Attention::new(8, 2, GroupNorm::new(8, 2, 1e-5), &mut stream(1, 0));
        let x = random((1, 4, 4, 8), 2);
        assert!((fresh.infer(&x) - x).iter().all(|d| d.abs() < 1e-4));
    }

    #[test]
    #[should_panic(expected = "attention: 3 heads for 8 channels")]
    fn heads_must_divide_channels() {
        layer(8, 3);
    }
}
