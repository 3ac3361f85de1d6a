use super::super::gradient_check::{check, check_params, inner, shaken};
use super::*;
use crate::params::Params;
use crate::rng::{normal, stream};
use ndarray::s;

fn layer(inputs: usize, outputs: usize, size: usize, stride: usize, padding: [usize; 2]) -> Conv2d {
    shaken(Conv2d::new(inputs, outputs, size, 1.0, &mut stream(1, 0)).strided(stride, padding), 0.1)
}

fn random(shape: (usize, usize, usize, usize), seed: u64) -> Tensor4 {
    normal(shape, &mut stream(seed, 0))
}

/// Kernel size, stride, padding: those of the U-Net, and others.
const KINDS: [(usize, usize, [usize; 2]); 8] = [
    (3, 1, [1, 1]),
    (3, 2, [0, 1]),
    (3, 2, [1, 1]),
    (1, 1, [0, 0]),
    (1, 2, [0, 0]),
    (3, 1, [0, 0]),
    (5, 3, [2, 1]),
    (2, 2, [0, 0]),
];

/// All kinds of convolution on images of several shapes, with channels around the edges of the kernel's tiles.
fn cases() -> impl Iterator<Item = (Conv2d, Tensor4)> {
    let shapes = [(1, 6, 6), (2, 5, 7), (3, 4, 9)];
    let channels = [(1, 1), (3, 16), (7, 3), (16, 7), (33, 16), (16, 33), (16, 32), (48, 16)];
    KINDS.into_iter().flat_map(move |(size, stride, padding)| {
        shapes.into_iter().flat_map(move |(n, h, w)| {
            channels.map(|(ci, co)| (layer(ci, co, size, stride, padding), random((n, h, w, ci), 2)))
        })
    })
}

#[test]
fn the_fast_version_is_the_definition() {
    for (conv, x) in cases() {
        let (y, want) = (conv.infer(&x), conv.definition(&x));
        assert_eq!(y.dim(), want.dim(), "{conv:?}");
        let terms = conv.weight.len() as f32 / conv.bias.len() as f32;
        let error = (&y - &want).iter().fold(0.0f32, |m, d| m.max(d.abs()));
        assert!(error < 3e-7 * terms.max(10.0), "{:?} on {:?}: {error:e}", conv.weight.shape(), x.shape());
        assert_eq!(conv.forward(x).0, y);
    }
}

/// Without its bias a convolution is linear in x and in w: ⟨conv(x), dy⟩ = ⟨x, dx⟩ = ⟨w, dw⟩.
#[test]
fn backward_is_the_adjoint_by_data_and_by_weights() {
    for (mut conv, x) in cases() {
        conv.bias.fill(0.0);
        let (y, cache) = conv.forward(x.clone());
        let dy = random(y.dim(), 3);
        let mut grad = conv.zeros_like();
        let dx = conv.backward(cache, &dy, &mut grad);
        let (forward, by_data, by_weights) =
            (inner(&y, &dy), inner(&x, &dx), inner(&conv.weight, &grad.weight));
        let size = (inner(&y, &y) * inner(&dy, &dy)).sqrt();
        assert!((forward - by_data).abs() < 1e-6 * size, "{conv:?}: {forward} {by_data}");
        assert!((forward - by_weights).abs() < 1e-6 * size, "{conv:?}: {forward} {by_weights}");
        let db: f64 = dy.iter().map(|&d| d as f64).sum();
        assert!((grad.bias.iter().map(|&b| b as f64).sum::<f64>() - db).abs() < 1e-4);
    }
}

#[test]
fn gradients() {
    // the last has whole vectors of channels: Winograd's algorithm
    let few = KINDS.map(|(size, stride, padding)| (layer(3, 5, size, stride, padding), 3));
    for (conv, channels) in few.into_iter().chain([(layer(16, 32, 3, 1, [1, 1]), 16)]) {
        let x = random((2, 6, 5, channels), 2);
        let (y, cache) = conv.forward(x.clone());
        let g = random(y.dim(), 3);
        let mut grad = conv.zeros_like();
        let dx = conv.backward(cache, &g, &mut grad);
        check("convolution x", &x, &dx, |x| inner(&conv.infer(x), &g));
        check_params("convolution", &conv, &grad, &[], |conv| inner(&conv.infer(&x), &g));
    }
}

/// In a batch an image shares tiles with others. The sums are the same ones.
#[test]
fn an_image_alone_gives_the_bits_it_gives_in_a_batch() {
    for (conv, x) in cases() {
        let y = conv.infer(&x);
        let dx = conv.backward_data(&y, (x.dim().1, x.dim().2));
        for i in 0..x.dim().0 {
            let one = |x: &Tensor4| x.slice(s![i..=i, .., .., ..]).to_owned();
            assert_eq!(conv.infer(&one(&x)), one(&y), "{:?}", conv.weight.shape());
            assert_eq!(conv.backward_data(&one(&y), (x.dim().1, x.dim().2)), one(&dx));
        }
    }
}

#[test]
fn gradients_add_up() {
    let (conv, x) = (layer(3, 5, 3, 1, [1, 1]), random((2, 4, 4, 3), 2));
    let (y, cache) = conv.forward(x.clone());
    let mut once = conv.zeros_like();
    conv.backward(cache, &y, &mut once);
    let mut twice = once.clone();
    conv.backward(conv.forward(x).1, &y, &mut twice);
    for (once, twice) in once.slices().iter().zip(twice.slices()) {
        assert!(once.iter().zip(twice).all(|(a, b)| (2.0 * a - b).abs() <= 1e-4 * a.abs().max(1.0)));
    }
}

#[test]
#[should_panic(
    expected = "convolution [3, 3, 2, 4] [k, k, in, out], padding [1, 1], on [1, 4, 4, 3] [N, H, W, C]"
)]
fn channels_must_agree() {
    layer(2, 4, 3, 1, [1, 1]).infer(&random((1, 4, 4, 3), 1));
}

#[test]
#[should_panic(expected = "padding [0, 0], on [1, 2, 6, 2]")]
fn images_smaller_than_the_kernel() {
    layer(2, 4, 3, 1, [0, 0]).infer(&random((1, 2, 6, 2), 1));
}
