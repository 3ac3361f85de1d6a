//! 07: backprop by hand, convolution, resampling, group normalisation, attention.

use super::exercises;
use ddpm::prelude::ndarray::{Array, Array1, Array2, Axis, Dimension};
use ddpm::rng::{normal, stream};
use ddpm::tensor::Batch;

/// `group_norm_backward(x, g, eps)` is `dx`.
type GroupNormBackward = fn(&Array1<f64>, &Array1<f64>, f64) -> Array1<f64>;
/// `dq`, `dk`, `dv`.
type Three = (Array2<f64>, Array2<f64>, Array2<f64>);
/// `attention_backward(q, k, v, d_o)`.
type AttentionBackward = fn(&Array2<f64>, &Array2<f64>, &Array2<f64>, &Array2<f64>) -> Three;
/// `[N, H, W, C]`, or `[3, 3, in, out]`.
type Four = (usize, usize, usize, usize);

fn random(shape: Four, seed: u64) -> Batch {
    normal(shape, &mut stream(seed, 7))
}

/// 1, 2, 3, … in row-major order.
fn counting(shape: Four) -> Batch {
    let mut n = 0.0;
    Batch::from_shape_simple_fn(shape, || {
        n += 1.0;
        n
    })
}

/// 0 everywhere but in the middle.
fn dot_of_light(size: usize) -> Batch {
    Batch::from_shape_fn((1, size, size, 1), |(_, i, j, _)| f64::from(i == size / 2 && j == size / 2))
}

/// dL/dx for L = `loss(x)`, by central differences.
fn slopes<D: Dimension>(x: &Array<f64, D>, h: f64, loss: impl Fn(&Array<f64, D>) -> f64) -> Array<f64, D> {
    let mut dx = x.clone();
    for (i, dx) in dx.iter_mut().enumerate() {
        let at = |step: f64| {
            let mut moved = x.clone();
            if let Some(number) = moved.iter_mut().nth(i) {
                *number += step;
            }
            loss(&moved)
        };
        *dx = (at(h) - at(-h)) / (2.0 * h);
    }
    dx
}

/// The step for functions whose central difference is exact at any step.
const LINEAR: f64 = 0.5;
/// The step for curved functions in f64.
const CURVED: f64 = 1e-5;

/// Calls `f(n, i, j, o, u, v, c)` for all taps that read a pixel of the image: `y[n, i, j, o]` reads
/// `x[n, i + u − 1, j + v − 1, c]` through `w[u, v, c, o]`.
fn each_tap((n, h, w, inputs): Four, outputs: usize, mut f: impl FnMut([usize; 4], [usize; 4], [usize; 4])) {
    for (n, i, j) in (0..n * h * w).map(|k| (k / (h * w), k / w % h, k % w)) {
        for (u, v) in (0..9).map(|k| (k / 3, k % 3)) {
            let inside = (1..=h).contains(&(i + u)) && (1..=w).contains(&(j + v));
            for (c, o) in (0..inputs * outputs).map(|k| (k / outputs, k % outputs)).filter(|_| inside) {
                f([n, i + u - 1, j + v - 1, c], [u, v, c, o], [n, i, j, o]);
            }
        }
    }
}

/// 3×3, stride 1, padding 1.
fn conv(x: &Batch, w: &Batch) -> Batch {
    let (n, height, width, _) = x.dim();
    let mut y = Batch::zeros((n, height, width, w.dim().3));
    each_tap(x.dim(), w.dim().3, |x_at, w_at, y_at| y[y_at] += x[x_at] * w[w_at]);
    y
}

/// dx, with the tap that `tap` names in the place of the right one.
fn data_gradient(dy: &Batch, w: &Batch, tap: fn([usize; 4]) -> [usize; 4]) -> Batch {
    let (n, height, width, _) = dy.dim();
    let mut dx = Batch::zeros((n, height, width, w.dim().2));
    each_tap(dx.dim(), w.dim().3, |x_at, w_at, y_at| dx[x_at] += dy[y_at] * w[tap(w_at)]);
    dx
}

/// dw, added up at the tap that `tap` names.
fn weight_gradient(x: &Batch, dy: &Batch, tap: fn([usize; 4]) -> [usize; 4]) -> Batch {
    let mut dw = Batch::zeros((3, 3, x.dim().3, dy.dim().3));
    each_tap(x.dim(), dy.dim().3, |x_at, w_at, y_at| dw[tap(w_at)] += x[x_at] * dy[y_at]);
    dw
}

/// What must come out of `conv_backward_data`: the adjoint of `conv` in x, found with unit steps.
fn data_truth(dy: &Batch, w: &Batch) -> Batch {
    let (n, height, width, _) = dy.dim();
    slopes(&Batch::zeros((n, height, width, w.dim().2)), LINEAR, |x| (conv(x, w) * dy).sum())
}

fn weight_truth(x: &Batch, dy: &Batch) -> Batch {
    slopes(&Batch::zeros((3, 3, x.dim().3, dy.dim().3)), LINEAR, |w| (conv(x, w) * dy).sum())
}

/// `dx[i, j]` from the four pixels that it fed, each times its share.
fn four_pixels(dy: &Batch, shares: [f64; 4]) -> Batch {
    let (n, h, w, c) = dy.dim();
    let pixel = |n, i, j, c, k: usize| dy[[n, 2 * i + k / 2, 2 * j + k % 2, c]];
    Batch::from_shape_fn((n, h / 2, w / 2, c), |(n, i, j, c)| {
        shares.iter().enumerate().map(|(k, share)| share * pixel(n, i, j, c, k)).sum()
    })
}

/// μ, and 1/√(v + ε).
fn moments(x: &Array1<f64>, eps: f64) -> (f64, f64) {
    let mean = x.sum() / x.len() as f64;
    let variance = x.mapv(|x| (x - mean).powi(2)).sum() / x.len() as f64;
    (mean, 1.0 / (variance + eps).sqrt())
}

fn normalised(x: &Array1<f64>, eps: f64) -> Array1<f64> {
    let (mean, r) = moments(x, eps);
    (x - mean) * r
}

/// r (g − `by_mean`·mean(g) − a·mean(g b)), whatever stands for x̂ in the last term.
fn three_terms(g: &Array1<f64>, r: f64, by_mean: f64, (a, b): (&Array1<f64>, &Array1<f64>)) -> Array1<f64> {
    let n = g.len() as f64;
    (g - by_mean * g.sum() / n - a * ((g * b).sum() / n)) * r
}

fn softmax(scores: &Array2<f64>) -> Array2<f64> {
    let e = scores.mapv(f64::exp);
    let sums = e.sum_axis(Axis(1)).insert_axis(Axis(1));
    e / sums
}

fn root(q: &Array2<f64>) -> f64 {
    (q.ncols() as f64).sqrt()
}

fn attention(q: &Array2<f64>, k: &Array2<f64>, v: &Array2<f64>) -> Array2<f64> {
    softmax(&(q.dot(&k.t()) / root(q))).dot(v)
}

/// The backward pass, with `ds` made from `p` and `dp` as told.
fn attention_gradient(
    [q, k, v, d_o]: [&Array2<f64>; 4],
    scale: f64,
    ds: fn(&Array2<f64>, &Array2<f64>) -> Array2<f64>,
) -> Three {
    let p = softmax(&(q.dot(&k.t()) / root(q)));
    let ds = ds(&p, &d_o.dot(&v.t())) * scale;
    (ds.dot(k), ds.t().dot(q), p.t().dot(d_o))
}

/// p (dp − Σ dp p), the sum along an axis.
fn softmax_gradient<const AXIS: usize>(p: &Array2<f64>, dp: &Array2<f64>) -> Array2<f64> {
    p * &(dp - &(p * dp).sum_axis(Axis(AXIS)).insert_axis(Axis(AXIS)))
}

fn attention_truth([q, k, v, d_o]: [&Array2<f64>; 4]) -> Three {
    let loss = |q: &Array2<f64>, k: &Array2<f64>, v: &Array2<f64>| (attention(q, k, v) * d_o).sum();
    (
        slopes(q, CURVED, |q| loss(q, k, v)),
        slopes(k, CURVED, |k| loss(q, k, v)),
        slopes(v, CURVED, |v| loss(q, k, v)),
    )
}

type ConvBackwardData = fn(&Batch, &Batch) -> Batch;
type ConvBackwardWeights = fn(&Batch, &Batch) -> Batch;
type UpsampleBackward = fn(&Batch) -> Batch;

exercises! {
    solutions: "07_backprop_unet_parts.rs";
    /// `conv_backward_data(dy, w)`: dx of a 3×3 convolution, stride 1, padding 1.
    conv_backward_data: ConvBackwardData;
    /// `conv_backward_weights(x, dy)`: dw `[3, 3, in, out]` of the same convolution.
    conv_backward_weights: ConvBackwardWeights;
    /// `upsample_backward(dy)`: dx of nearest-neighbour upsampling by two.
    upsample_backward: UpsampleBackward;
    /// `group_norm_backward(x, g, eps)`: dx of x̂ = (x − μ)/√(v + ε) over one group, from g = dL/dx̂.
    group_norm_backward: GroupNormBackward;
    /// `attention_backward(q, k, v, d_o)`: (dq, dk, dv) of o = softmax(q kᵀ/√d) v, one head, all `[T, d]`.
    attention_backward: AttentionBackward;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn conv_backward_data(e: Exercise<ConvBackwardData>) -> Exercise<ConvBackwardData> {
        let (dy, w) = (random((2, 4, 5, 2), 1), random((3, 3, 2, 2), 2));
        let (dy3, w3) = (random((1, 3, 4, 3), 3), random((3, 3, 2, 3), 4));
        let expected = [
            data_truth(&dot_of_light(3), &counting((3, 3, 1, 1))),
            data_truth(&dy, &w),
            data_truth(&dy3, &w3),
        ];
        let [first, second, third] = expected;
        e.case("dy = 1 in the middle of 3×3, w = 1, 2, …, 9", |f| f(&dot_of_light(3), &counting((3, 3, 1, 1))), first)
            .case("random dy [2, 4, 5, 2], w [3, 3, 2, 2]", move |f| f(&dy, &w), second)
            .case("random dy [1, 3, 4, 3], w [3, 3, 2, 3]", move |f| f(&dy3, &w3), third)
            .trivial(|dy, _| dy.clone())
            .trivial(|_, w| w.clone())
            .mistake("the taps run the wrong way: the one that reads x[h] for y[i] is u = h − i + 1", |dy, w| {
                data_gradient(dy, w, |[u, v, c, o]| [2 - u, 2 - v, c, o])
            })
            .mistake("the two axes of the kernel are exchanged", |dy, w| data_gradient(dy, w, |[u, v, c, o]| [v, u, c, o]))
            .mistake("in and out channels are exchanged: x[c] meets dy[o] through w[u, v, c, o]", |dy, w| {
                data_gradient(dy, w, |[u, v, c, o]| [u, v, o, c])
            })
            .mistake("`=` where `+=` is needed: every x fed up to nine pixels of each output channel", |dy, w| {
                let (n, height, width, _) = dy.dim();
                let mut dx = Batch::zeros((n, height, width, w.dim().2));
                each_tap(dx.dim(), w.dim().3, |x_at, w_at, y_at| dx[x_at] = dy[y_at] * w[w_at]);
                dx
            })
            .hint("Write the loops of the forward pass, over n, i, j, o, u, v, c. Change only the innermost line.")
            .hint("Forward: y[n,i,j,o] += x[n,h,q,c] * w[u,v,c,o] with h = i + u − 1, q = j + v − 1, if inside. What does x[n,h,q,c] get back?")
            .hint("dx[n,h,q,c] += dy[n,i,j,o] * w[u,v,c,o]")
    }

    pub(super) fn conv_backward_weights(e: Exercise<ConvBackwardWeights>) -> Exercise<ConvBackwardWeights> {
        let (x, dy) = (random((2, 4, 5, 2), 5), random((2, 4, 5, 3), 6));
        let (first, second) =
            (weight_truth(&dot_of_light(3), &counting((1, 3, 3, 1))), weight_truth(&x, &dy));
        e.case("x = 1 in the middle of 3×3, dy = 1, 2, …, 9", |f| f(&dot_of_light(3), &counting((1, 3, 3, 1))), first)
            .case("random x [2, 4, 5, 2], dy [2, 4, 5, 3]", move |f| f(&x, &dy), second)
            .trivial(|x, _| x.clone())
            .trivial(|_, dy| dy.clone())
            .mistake("the taps run the wrong way", |x, dy| weight_gradient(x, dy, |[u, v, c, o]| [2 - u, 2 - v, c, o]))
            .mistake("the mean over images and pixels instead of the sum", |x, dy| {
                let (n, h, w, _) = x.dim();
                weight_gradient(x, dy, |at| at) / (n * h * w) as f64
            })
            .mistake("only the last image counts: the sum runs over all of them", |x, dy| {
                let last = x.dim().0 - 1..;
                let part = |a: &Batch| a.slice(ddpm::prelude::s![last.clone(), .., .., ..]).to_owned();
                weight_gradient(&part(x), &part(dy), |at| at)
            })
            .hint("Backward loops are forward loops in which another array is written to.")
            .hint("The same loops once more. Which number does y[n,i,j,o] += x[n,h,q,c] * w[u,v,c,o] give back to w[u,v,c,o]?")
            .hint("dw[u,v,c,o] += x[n,h,q,c] * dy[n,i,j,o], summed over all n, i, j.")
    }

    pub(super) fn upsample_backward(e: Exercise<UpsampleBackward>) -> Exercise<UpsampleBackward> {
        e.case(
            "dy = 1, 2, 3, 4 on 2×2 pixels",
            |f| f(&counting((1, 2, 2, 1))),
            Batch::from_elem((1, 1, 1, 1), 10.0),
        )
        .case(
            "dy = 1, 2, …, 16 on 4×4 pixels",
            |f| f(&counting((1, 4, 4, 1))),
            four_pixels(&counting((1, 4, 4, 1)), [1.0; 4]),
        )
        .case(
            "random dy [2, 4, 6, 3]",
            |f| f(&random((2, 4, 6, 3), 8)),
            four_pixels(&random((2, 4, 6, 3), 8), [1.0; 4]),
        )
        .trivial(Batch::clone)
        .mistake("the mean of the four, which is the adjoint of something else", |dy| {
            four_pixels(dy, [0.25; 4])
        })
        .mistake("one pixel of the four: x fed all of them", |dy| four_pixels(dy, [1.0, 0.0, 0.0, 0.0]))
        .mistake("two pixels of the four: x fed two rows", |dy| four_pixels(dy, [1.0, 1.0, 0.0, 0.0]))
        .hint("What did forward do with one number? The adjoint does the opposite of copying.")
        .hint("One x was copied to four y. What is fed several places gets several gradients back.")
        .hint("dx[n,i,j,c] = dy[n,2i,2j,c] + dy[n,2i,2j+1,c] + dy[n,2i+1,2j,c] + dy[n,2i+1,2j+1,c]")
    }

    pub(super) fn group_norm_backward(e: Exercise<GroupNormBackward>) -> Exercise<GroupNormBackward> {
        let vector = |n: usize, seed: u64| -> Array1<f64> { normal(n, &mut stream(seed, 7)) };
        let truth = |x: &Array1<f64>, g: &Array1<f64>, eps: f64| {
            slopes(x, CURVED, |x| (normalised(x, eps) * g).sum())
        };
        let (x, g) = (vector(6, 9), vector(6, 10) + 0.5);
        let (wide, gw) = (vector(12, 11) * 3.0 + 5.0, vector(12, 12));
        let (first, second) = (truth(&x, &g, 0.3), truth(&wide, &gw, 1e-6));
        e.case_within(1e-7, "6 random numbers, ε = 0.3", move |f| f(&x, &g, 0.3), first)
            .case_within(1e-7, "12 numbers of mean 5 and deviation 3, ε = 1e-6", move |f| f(&wide, &gw, 1e-6), second)
            .case("g = 1 everywhere", move |f| f(&vector(6, 9), &Array1::ones(6), 1e-6), Array1::<f64>::zeros(6))
            .trivial(|x, _, _| x.clone())
            .trivial(|_, g, _| g.clone())
            .mistake("μ and v taken for constants", |x, g, eps| g * moments(x, eps).1)
            .mistake("v taken for a constant: the term with x̂ is missing", |x, g, eps| {
                three_terms(g, moments(x, eps).1, 1.0, (&Array1::zeros(g.len()), g))
            })
            .mistake("the mean of g is not taken off", |x, g, eps| {
                let hat = normalised(x, eps);
                three_terms(g, moments(x, eps).1, 0.0, (&hat, &hat))
            })
            .mistake("x where x̂ belongs", |x, g, eps| three_terms(g, moments(x, eps).1, 1.0, (x, x)))
            .mistake("divided by the variance, not by its root", |x, g, eps| {
                let (hat, r) = (normalised(x, eps), moments(x, eps).1);
                three_terms(g, r * r, 1.0, (&hat, &hat))
            })
            .mistake("ε is added to the standard deviation, not to the variance", |x, g, eps| {
                let r = 1.0 / (1.0 / moments(x, 0.0).1 + eps);
                let hat = (x - moments(x, 0.0).0) * r;
                three_terms(g, r, 1.0, (&hat, &hat))
            })
            .hint("Compute μ, v = mean (x − μ)², r = 1/√(v + ε) and x̂ = (x − μ) r first.")
            .hint("Three terms: g itself, minus what a common shift would do, minus what a common scale would do.")
            .hint("dx = r (g − mean(g) − x̂ · mean(g x̂))")
    }

    pub(super) fn attention_backward(e: Exercise<AttentionBackward>) -> Exercise<AttentionBackward> {
        let matrix = |t: usize, seed: u64| -> Array2<f64> { normal((t, 2), &mut stream(seed, 7)) };
        let given = move |t: usize| [13, 14, 15, 16].map(|seed| matrix(t, seed));
        let run = move |f: AttentionBackward, t: usize| {
            let [q, k, v, d_o] = given(t);
            let (dq, dk, dv) = f(&q, &k, &v, &d_o);
            ((dq, dk), dv)
        };
        let truth = |t: usize| {
            let (dq, dk, dv) = attention_truth(given(t).each_ref());
            ((dq, dk), dv)
        };
        e.case_within(1e-7, "3 tokens of 2 channels", move |f| run(f, 3), truth(3))
            .case_within(
                1e-7,
                "1 token: whatever q and k are, the softmax is 1",
                move |f| run(f, 1),
                truth(1),
            )
            .case_within(1e-7, "5 tokens of 2 channels", move |f| run(f, 5), truth(5))
            .trivial(|q, k, v, _| (q.clone(), k.clone(), v.clone()))
            .trivial(|_, _, _, d_o| (d_o.clone(), d_o.clone(), d_o.clone()))
            .mistake(
                "softmax differentiated as if each number stood alone: Σ dp p of the row is missing",
                |q, k, v, d_o| attention_gradient([q, k, v, d_o], 1.0 / root(q), |p, dp| p * dp),
            )
            .mistake("Σ dp p taken over columns; softmax runs over rows", |q, k, v, d_o| {
                attention_gradient([q, k, v, d_o], 1.0 / root(q), softmax_gradient::<0>)
            })
            .mistake("1/√d is missing on the way back", |q, k, v, d_o| {
                attention_gradient([q, k, v, d_o], 1.0, softmax_gradient::<1>)
            })
            .mistake("dq and dk are exchanged", |q, k, v, d_o| {
                let (dq, dk, dv) = attention_gradient([q, k, v, d_o], 1.0 / root(q), softmax_gradient::<1>);
                (dk, dq, dv)
            })
            .mistake("dv = p do; from o = p v it is pᵀ do", |q, k, v, d_o| {
                let (dq, dk, _) = attention_gradient([q, k, v, d_o], 1.0 / root(q), softmax_gradient::<1>);
                (dq, dk, softmax(&(q.dot(&k.t()) / root(q))).dot(d_o))
            })
            .hint("Go through the three lines backwards: o = p v, then p = softmax(s), then s = q kᵀ/√d.")
            .hint("dv = pᵀ do, dp = do vᵀ; ds = p (dp − Σ dp p), the sum along each row.")
            .hint("dq = ds k/√d and dk = dsᵀ q/√d.")
    }
}
