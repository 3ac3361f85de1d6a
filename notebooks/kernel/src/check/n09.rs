//! 09: a small U-Net.

use super::{exercises, museum};
use ddpm::nn::ResnetBlock;
use ddpm::params::Params;
use ddpm::prelude::ndarray::{Array2, array, concatenate, s};
use ddpm::prelude::{Axis, Unet, UnetConfig};
use ddpm::rng::{normal, stream};
use ddpm::tensor::Batch;

/// `tiny_u_backward(a, b, c, dy)` is `dx`.
type TinyUBackward = fn(&Array2<f64>, &Array2<f64>, &Array2<f64>, &Array2<f64>) -> Array2<f64>;

/// The input channels of the residual blocks on the way up, read off a network that has been built.
fn built(widths: &[usize], layers: usize) -> Vec<usize> {
    let unet = Unet::new(&UnetConfig::paper(8, 1, widths, layers, 4), &mut stream(1, 0));
    unet.up_blocks.iter().flat_map(|block| &block.resnets).map(|r| r.conv1.weight.dim().2).collect()
}

/// What a walk down leaves on the stack; with `downsampled`, the outputs of the downsamplings too.
fn stack(widths: &[usize], layers: usize, downsampled: bool) -> Vec<usize> {
    let mut stack = vec![widths[0]];
    for (level, &width) in widths.iter().enumerate() {
        let resampled = usize::from(downsampled && level + 1 < widths.len());
        stack.extend(vec![width; layers + resampled]);
    }
    stack
}

/// The walk up: `h` and what `pop` gives; `h` leaves a block with the channels of its level.
fn up(widths: &[usize], layers: usize, mut pop: impl FnMut() -> usize) -> Vec<usize> {
    let mut h = widths[widths.len() - 1];
    let mut inputs = Vec::new();
    for &width in widths.iter().rev() {
        for _ in 0..=layers {
            inputs.push(h + pop());
            h = width;
        }
    }
    inputs
}

/// Weights and biases of a residual block: norms, convolutions, time, shortcut.
fn resnet_parts(inputs: usize, outputs: usize, time: usize) -> [usize; 4] {
    [
        2 * inputs + 2 * outputs,
        9 * inputs * outputs + outputs + 9 * outputs * outputs + outputs,
        time * outputs + outputs,
        if inputs == outputs { 0 } else { inputs * outputs + outputs },
    ]
}

/// h = x A, m = h + h B, y = [m, h] C.
fn tiny_u(x: &Array2<f64>, a: &Array2<f64>, b: &Array2<f64>, c: &Array2<f64>) -> Array2<f64> {
    let h = x.dot(a);
    let m = &h + &h.dot(b);
    joined(&m, &h).dot(c)
}

fn joined(left: &Array2<f64>, right: &Array2<f64>) -> Array2<f64> {
    concatenate![Axis(1), *left, *right]
}

/// dx, with `through`, `identity` and `skip` telling which of the three ways back are taken.
fn tiny_u_gradient([a, b, dm, ds]: [&Array2<f64>; 4], [through, identity, skip]: [f64; 3]) -> Array2<f64> {
    let dh = dm.dot(&b.t()) * through + dm * identity + ds * skip;
    dh.dot(&a.t())
}

/// The two halves of d[m, h].
fn halves(c: &Array2<f64>, dy: &Array2<f64>) -> (Array2<f64>, Array2<f64>) {
    let d = dy.dot(&c.t());
    let k = d.ncols() / 2;
    (d.slice(s![.., ..k]).to_owned(), d.slice(s![.., k..]).to_owned())
}

/// The gradient of a linear function, number by number.
fn tiny_u_truth([a, b, c, dy]: [&Array2<f64>; 4]) -> Array2<f64> {
    Array2::from_shape_fn((dy.nrows(), a.nrows()), |at| {
        let mut unit = Array2::zeros((dy.nrows(), a.nrows()));
        unit[at] = 1.0;
        (tiny_u(&unit, a, b, c) * dy).sum()
    })
}

/// One number per image and channel, for every pixel.
fn with_time(h: &Batch, time: &Array2<f64>, pick: fn((usize, usize, usize, usize)) -> [usize; 2]) -> Batch {
    Batch::from_shape_fn(h.dim(), |at| h[at] + time[pick(at)])
}

type UpInputs = fn(&[usize], usize) -> Vec<usize>;
type ResnetParameters = fn(usize, usize, usize) -> usize;
type AddTime = fn(&Batch, &Array2<f64>) -> Batch;
type FirstLoss = fn(f64, f64) -> [f64; 3];

exercises! {
    solutions: "09_unet.rs";
    /// `up_inputs(widths, layers)`: the input channels of each residual block on the way up, coarse to fine.
    up_inputs: UpInputs;
    /// `resnet_parameters(inputs, outputs, time)`: how many numbers a residual block learns.
    resnet_parameters: ResnetParameters;
    /// `tiny_u_backward(a, b, c, dy)`: dx of h = x A, m = h + h B, y = [m, h] C.
    tiny_u_backward: TinyUBackward;
    /// `add_time(h, time)`: adds `time[n, c]` to every pixel of channel c of image n.
    add_time: AddTime;
    /// `first_loss(alpha_bar, m)`: the expected loss per number of a network that says 0, for the targets ε, x_0 and v.
    first_loss: FirstLoss;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn up_inputs(e: Exercise<UpInputs>) -> Exercise<UpInputs> {
        e
        .case("widths [8], 1 block per level", |f| f(&[8], 1), built(&[8], 1))
        .case("widths [8, 16], 1 block", |f| f(&[8, 16], 1), built(&[8, 16], 1))
        .case("widths [8, 16, 32], 2 blocks", |f| f(&[8, 16, 32], 2), built(&[8, 16, 32], 2))
        .case("widths [4, 16, 8], 1 block", |f| f(&[4, 16, 8], 1), built(&[4, 16, 8], 1))
        .trivial(|widths, _| widths.to_vec())
            .mistake("the skips come from the wrong end: the last one pushed is the first one popped", |widths, layers| {
            let mut skips = stack(widths, layers, true).into_iter();
            up(widths, layers, || skips.next().unwrap_or(0))
        })
        .mistake("the output of a downsampling is a skip, too", |widths, layers| {
            let mut skips = stack(widths, layers, false);
            up(widths, layers, || skips.pop().unwrap_or(0))
        })
        .mistake("twice the level's width: true only where h and skip come from the same level", |widths, layers| {
            widths.iter().rev().flat_map(|&width| vec![2 * width; layers + 1]).collect()
        })
        .hint("Keep a stack: the output of conv_in, of each block on the way down, of each downsampling.")
        .hint("There is one downsampling less than levels; the way up has layers + 1 blocks per level, and each pops once.")
        .hint("h starts with the last width. At each block: push h + pop(), then h becomes the level's width.")
    }

    pub(super) fn resnet_parameters(e: Exercise<ResnetParameters>) -> Exercise<ResnetParameters> {
        let count = |inputs, outputs, time| {
            ResnetBlock::new((inputs, outputs, time), (4, 1e-6), 0.0, &mut stream(1, 0)).count()
        };
        e.case("32 → 32 channels, time 128", |f| f(32, 32, 128), count(32, 32, 128))
            .case("96 → 64 channels, time 128", |f| f(96, 64, 128), count(96, 64, 128))
            .case("16 → 32 channels, time 64", |f| f(16, 32, 64), count(16, 32, 64))
            .trivial(|inputs, _, _| inputs)
            .trivial(|_, outputs, _| outputs)
            .trivial(|_, _, time| time)
            .mistake("without the biases", |inputs, outputs, time| {
                let [norms, convs, embedding, shortcut] = resnet_parts(inputs, outputs, time);
                let shortcut_bias = if inputs == outputs { 0 } else { outputs };
                norms + convs - 2 * outputs + embedding - outputs + shortcut - shortcut_bias
            })
            .mistake("without γ and β of the two norms", |inputs, outputs, time| {
                resnet_parts(inputs, outputs, time)[1..].iter().sum()
            })
            .mistake("without the projection of the time", |inputs, outputs, time| {
                let [norms, convs, _, shortcut] = resnet_parts(inputs, outputs, time);
                norms + convs + shortcut
            })
            .mistake("with a shortcut convolution where the channels do not change", |inputs, outputs, time| {
                let [norms, convs, embedding, _] = resnet_parts(inputs, outputs, time);
                norms + convs + embedding + inputs * outputs + outputs
            })
            .mistake("without the 1×1 shortcut where the channels change", |inputs, outputs, time| {
                resnet_parts(inputs, outputs, time)[..3].iter().sum()
            })
            .hint("List the layers that have weights, and which widths each of them joins.")
            .hint("Six layers: GN₁, Conv₁, the time's Linear, GN₂, Conv₂ and, if inputs ≠ outputs, a 1×1 convolution.")
            .hint("GN: 2C. Conv k×k: k² · in · out + out. Linear: in · out + out. GN₁ has `inputs` channels, GN₂ `outputs`.")
    }

    pub(super) fn tiny_u_backward(e: Exercise<TinyUBackward>) -> Exercise<TinyUBackward> {
        let matrix =
            |shape: (usize, usize), seed: u64| -> Array2<f64> { normal(shape, &mut stream(seed, 9)) };
        let given = move |d: usize, k: usize, outputs: usize| {
            [matrix((d, k), 1), matrix((k, k), 2), matrix((2 * k, outputs), 3), matrix((4, outputs), 4)]
        };
        let run = move |f: TinyUBackward, d, k, outputs| {
            let [a, b, c, dy] = given(d, k, outputs);
            f(&a, &b, &c, &dy)
        };
        e.case(
            "A = 1, B = 2, C = [5; 7], dy = 1",
            |f| f(&array![[1.0]], &array![[2.0]], &array![[5.0], [7.0]], &array![[1.0]]),
            array![[22.0]],
        )
        .case("4 random rows, A [2, 3]", move |f| run(f, 2, 3, 5), tiny_u_truth(given(2, 3, 5).each_ref()))
        .trivial(|a, _, _, _| a.clone())
        .trivial(|_, b, _, _| b.clone())
        .trivial(|_, _, c, _| c.clone())
        .trivial(|_, _, _, dy| dy.clone())
        .mistake("the skip's gradient is lost: h also went straight into the concatenation", |a, b, c, dy| {
            let (dm, ds) = halves(c, dy);
            tiny_u_gradient([a, b, &dm, &ds], [1.0, 1.0, 0.0])
        })
        .mistake("the residual's straight way is lost: m = h + …", |a, b, c, dy| {
            let (dm, ds) = halves(c, dy);
            tiny_u_gradient([a, b, &dm, &ds], [1.0, 0.0, 1.0])
        })
        .mistake("the residual's branch is lost: m = … + h B", |a, b, c, dy| {
            let (dm, ds) = halves(c, dy);
            tiny_u_gradient([a, b, &dm, &ds], [0.0, 1.0, 1.0])
        })
        .mistake("the halves of the concatenation are exchanged: m comes first", |a, b, c, dy| {
            let (ds, dm) = halves(c, dy);
            tiny_u_gradient([a, b, &dm, &ds], [1.0, 1.0, 1.0])
        })
        .hint("Backwards: first d[m, h] = dy Cᵀ, cut into two halves of K columns each.")
        .hint("h fed three places: the concatenation, the sum, the product with B. Three gradients add.")
        .hint("dh = dm + dm Bᵀ + (right half), and dx = dh Aᵀ.")
    }

    pub(super) fn add_time(e: Exercise<AddTime>) -> Exercise<AddTime> {
        let h = || -> Batch { normal((2, 3, 3, 3), &mut stream(5, 9)) };
        let time = || -> Array2<f64> { normal((2, 3), &mut stream(6, 9)) };
        let other = move || time() + 1.0;
        e.case(
            "random h [2, 3, 3, 3], time [2, 3]",
            move |f| f(&h(), &time()),
            with_time(&h(), &time(), |(n, _, _, c)| [n, c]),
        )
        .holds(
            "the same h at two times",
            move |f| f(&h(), &other()) - f(&h(), &time()),
            "two different outputs",
            |change| {
                if change.numbers.iter().any(|&d| d != 0.0) {
                    Ok(())
                } else {
                    Err("they are the same".into())
                }
            },
        )
        .trivial(|h, _| h.clone())
        .mistake(museum::B14, |h, _| h.clone())
        .mistake("every image gets the time of the first one", |h, time| {
            with_time(h, time, |(_, _, _, c)| [0, c])
        })
        .mistake("the time is added along the columns, not along the channels", |h, time| {
            with_time(h, time, |(n, _, j, _)| [n, j])
        })
        .hint("One number per image and channel, for every pixel. What does broadcasting need?")
        .hint("Shapes: h [N, H, W, C], time [N, C]. The time needs two axes of length 1 in the middle.")
        .hint(
            "time.clone().insert_axis(Axis(1)).insert_axis(Axis(1)) is [N, 1, 1, C], and `+` broadcasts it.",
        )
    }

    pub(super) fn first_loss(e: Exercise<FirstLoss>) -> Exercise<FirstLoss> {
        let truth = |alpha_bar: f64, m: f64| [1.0, m, alpha_bar + (1.0 - alpha_bar) * m];
        e.case("ᾱ = 0.5, m = 0.25", |f| f(0.5, 0.25), truth(0.5, 0.25))
            .case("ᾱ = 0.9, m = 0.69, as for our garments", |f| f(0.9, 0.69), truth(0.9, 0.69))
            .case(
                "ᾱ = 0.00004, the last step of the paper's schedule",
                |f| f(0.00004, 0.69),
                truth(0.00004, 0.69),
            )
            .trivial(|alpha_bar, _| [alpha_bar; 3])
            .trivial(|_, m| [m; 3])
            .mistake("the two parts of v are exchanged: √ᾱ goes with ε", |alpha_bar, m| {
                [1.0, m, (1.0 - alpha_bar) + alpha_bar * m]
            })
            .mistake("x_0 taken for N(0, 1)", |_, _| [1.0, 1.0, 1.0])
            .mistake("v: the factors are not squared", |alpha_bar, m| {
                [1.0, m, alpha_bar.sqrt() + (1.0 - alpha_bar).sqrt() * m]
            })
            .hint("The loss is the mean of (target − 0)². What is the mean square of ε?")
            .hint("In v² the mixed term has mean 0: ε is drawn independently of x_0, and its mean is 0.")
            .hint("[1, m, ᾱ · 1 + (1 − ᾱ) · m]")
    }
}
