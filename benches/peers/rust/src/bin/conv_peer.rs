//! One convolution in four Rust libraries: `conv_peer THREADS PEER SIDE BATCH`, and `conv_peer --check`.
//!
//! For fixed x, w and dy, a step computes y = x * w (3×3, padding 1, 32 → 32 channels), L = Σ y dy, ∂L/∂x and ∂L/∂w;
//! each library in its own layout, through its public interface. The convolution of this crate always has a bias, so
//! it also adds b and sums ∂L/∂b. No library is lazy here: L is read, and both gradients are kept, as arrays that
//! `--check` compares with the definition.

use burn_tensor::{Device, Tensor, TensorData, module::conv2d, ops::ConvOptions};
use candle_core::Var;
use ddpm::nn::Conv2d;
use ddpm::params::Params;
use ddpm::prelude::{Array1, Array4, Axis, Tensor4};
use ddpm::rng::{normal, stream};
use ddpm::unet::GROUP_SIZE;
use ddpm_peers::{serve, use_threads};
use rayon::prelude::*;
use std::hint::black_box;

const PEERS: [&str; 4] = ["ddpm", "candle", "burn-flex", "burn-ndarray"];
const USAGE: &str =
    "usage: conv_peer THREADS ddpm|candle|burn-flex|burn-ndarray SIDE BATCH, or conv_peer --check";
const CHANNELS: usize = 32;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--check"] => check(),
        [threads, peer, side, batch] => {
            let number = |text: &str| text.parse::<usize>().expect(USAGE);
            use_threads(number(threads));
            let mut step = step(peer, &Problem::new(number(batch), number(side)));
            serve(&format!(r#"{{"peer": "{peer}"}}"#), || {
                black_box(step());
            });
        }
        _ => panic!("{USAGE}"),
    }
}

/// What all libraries are given, in the layout of PyTorch: x and dy `[N, C, H, W]`, w `[O, C, 3, 3]`.
struct Problem {
    x: Tensor4,
    w: Tensor4,
    dy: Tensor4,
}

impl Problem {
    fn new(batch: usize, side: usize) -> Problem {
        let images = (batch, CHANNELS, side, side);
        Problem {
            x: normal(images, &mut stream(1, 0)),
            w: normal((CHANNELS, CHANNELS, 3, 3), &mut stream(1, 1)),
            dy: normal(images, &mut stream(1, 2)),
        }
    }
}

/// L, ∂L/∂x and ∂L/∂w as a library holds them.
enum Answer {
    Ddpm(f32, Vec<Tensor4>, Conv2d),
    Candle(f32, candle_core::Tensor, candle_core::Tensor),
    Burn(f32, Tensor<4>, Tensor<4>),
}

/// What a library does in one step.
type Step = Box<dyn FnMut() -> Answer>;

fn step(peer: &str, problem: &Problem) -> Step {
    match peer {
        "ddpm" => ddpm(problem),
        "candle" => candle(problem).expect("shapes that fit"),
        "burn-flex" => burn(problem, Device::flex()),
        #[expect(deprecated, reason = "the backend that came before flex, and that much code still runs on")]
        "burn-ndarray" => burn(problem, Device::ndarray()),
        other => panic!("no peer '{other}'; {USAGE}"),
    }
}

/// Channels last; groups of [`GROUP_SIZE`] images side by side, as in training.
fn ddpm(problem: &Problem) -> Step {
    let groups = |x: &Tensor4| -> Vec<Tensor4> {
        let x = x.view().permuted_axes([0, 2, 3, 1]);
        x.axis_chunks_iter(Axis(0), GROUP_SIZE).map(|group| group.as_standard_layout().into_owned()).collect()
    };
    let weight = problem.w.view().permuted_axes([2, 3, 1, 0]).as_standard_layout().into_owned();
    let conv = Conv2d { weight, bias: Array1::zeros(CHANNELS), stride: 1, padding: [1, 1] };
    let (x, dy) = (groups(&problem.x), groups(&problem.dy));
    Box::new(move || {
        let empty = || (0.0, Vec::new(), conv.zeros_like());
        let one = |(mut loss, mut dxs, mut grad): (f32, Vec<Tensor4>, Conv2d),
                   (x, dy): (&Tensor4, &Tensor4)| {
            let (y, cache) = conv.forward(x.clone());
            loss += y.iter().zip(dy).map(|(y, dy)| y * dy).sum::<f32>();
            dxs.push(conv.backward(cache, dy, &mut grad));
            (loss, dxs, grad)
        };
        let both = |(loss, mut dxs, mut grad): (f32, Vec<Tensor4>, Conv2d),
                    other: (f32, Vec<Tensor4>, Conv2d)| {
            dxs.extend(other.1);
            grad.weight += &other.2.weight;
            grad.bias += &other.2.bias;
            (loss + other.0, dxs, grad)
        };
        let (loss, dxs, grad) = x.par_iter().zip(&dy).fold(empty, one).reduce(empty, both);
        Answer::Ddpm(loss, dxs, grad)
    })
}

fn candle(problem: &Problem) -> candle_core::Result<Step> {
    let tensor = |a: &Tensor4| {
        candle_core::Tensor::from_iter(a.iter().copied(), &candle_core::Device::Cpu)?.reshape(a.shape())
    };
    let (x, w) = (Var::from_tensor(&tensor(&problem.x)?)?, Var::from_tensor(&tensor(&problem.w)?)?);
    let dy = tensor(&problem.dy)?;
    let step = move || {
        let loss = (x.conv2d(&w, 1, 1, 1, 1)? * &dy)?.sum_all()?;
        let mut grads = loss.backward()?;
        let (dx, dw) = (grads.remove(&x), grads.remove(&w));
        Ok(Answer::Candle(loss.to_scalar()?, dx.expect("x is a Var"), dw.expect("w is a Var")))
    };
    Ok(Box::new(move || step().unwrap_or_else(|e: candle_core::Error| panic!("candle: {e}"))))
}

fn burn(problem: &Problem, device: Device) -> Step {
    let device = device.autodiff();
    let tensor = |a: &Tensor4| {
        let data = TensorData::new(a.iter().copied().collect::<Vec<f32>>(), a.shape().to_vec());
        Tensor::<4>::from_data(data, &device)
    };
    let (x, w, dy) =
        (tensor(&problem.x).require_grad(), tensor(&problem.w).require_grad(), tensor(&problem.dy));
    Box::new(move || {
        let y = conv2d(x.clone(), w.clone(), None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1));
        let loss = (y * dy.clone()).sum();
        let mut grads = loss.backward();
        let (dx, dw) = (x.grad_remove(&mut grads), w.grad_remove(&mut grads));
        Answer::Burn(loss.into_scalar(), dx.expect("x is tracked"), dw.expect("w is tracked"))
    })
}

impl Answer {
    /// L, ∂L/∂x and ∂L/∂w as numbers in the layout of PyTorch.
    fn numbers(self) -> [Vec<f32>; 3] {
        let flat =
            |a: candle_core::Tensor| a.flatten_all().and_then(|a| a.to_vec1()).expect("f32 on the CPU");
        let data = |a: Tensor<4>| a.into_data().try_to_vec().expect("f32");
        match self {
            Answer::Ddpm(loss, dxs, grad) => {
                let dx = dxs.into_iter().flat_map(|dx| dx.permuted_axes([0, 3, 1, 2]).into_iter()).collect();
                [vec![loss], dx, grad.weight.permuted_axes([3, 2, 0, 1]).into_iter().collect()]
            }
            Answer::Candle(loss, dx, dw) => [vec![loss], flat(dx), flat(dw)],
            Answer::Burn(loss, dx, dw) => [vec![loss], data(dx), data(dw)],
        }
    }
}

/// Compares every library with the definition on a few small images; images and groups don't divide evenly.
fn check() {
    let problem = Problem::new(GROUP_SIZE + 2, 7);
    let truth = definition(&problem);
    println!("largest difference from the definition, over its largest number");
    for peer in PEERS {
        let answer = step(peer, &problem)().numbers();
        let errors: Vec<f64> = answer.iter().zip(&truth).map(|(a, b)| largest_difference(a, b)).collect();
        println!("{peer:<13} L {:.1e}   dx {:.1e}   dw {:.1e}", errors[0], errors[1], errors[2]);
        // f32 keeps 6e-8; the sums have some hundred terms
        assert!(errors.iter().all(|&error| error < 1e-5), "{peer} computes something else");
    }
}

fn largest_difference(a: &[f32], truth: &[f64]) -> f64 {
    assert_eq!(a.len(), truth.len(), "as many numbers as in the definition");
    let largest = truth.iter().fold(0.0, |max: f64, b| max.max(b.abs()));
    a.iter().zip(truth).fold(0.0, |max: f64, (&a, b)| max.max((f64::from(a) - b).abs())) / largest
}

/// y[n, o, i, j] = Σ x[n, c, i + u − 1, j + v − 1] w[o, c, u, v], and L = Σ y dy: every product x w dy is a term of L,
/// and w dy one of ∂L/∂x, x dy one of ∂L/∂w.
fn definition(Problem { x, w, dy }: &Problem) -> [Vec<f64>; 3] {
    let (_, _, side, _) = x.dim();
    let (mut loss, mut dx, mut dw) = (0.0, Array4::zeros(x.dim()), Array4::zeros(w.dim()));
    for ((n, o, i, j), &dy) in dy.indexed_iter() {
        for ((_, c, u, v), &w) in w.index_axis(Axis(0), o).insert_axis(Axis(0)).indexed_iter() {
            let (r, q) = ((i + u).wrapping_sub(1), (j + v).wrapping_sub(1));
            if r < side && q < side {
                let (x, w, dy) = (f64::from(x[[n, c, r, q]]), f64::from(w), f64::from(dy));
                loss += x * w * dy;
                dx[[n, c, r, q]] += w * dy;
                dw[[o, c, u, v]] += x * dy;
            }
        }
    }
    [vec![loss], dx.into_raw_vec_and_offset().0, dw.into_raw_vec_and_offset().0]
}
