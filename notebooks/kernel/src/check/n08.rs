//! 08: diffusion of points in the plane.

use super::{exercises, museum};
use crate::plane::{PointNet, as_batch, energy_distance};
use ddpm::diffusion::{NoisyBatch, Reverse, Schedule, simple_loss};
use ddpm::nn::sinusoidal_embedding;
use ddpm::optim::{Adam, AdamOptions};
use ddpm::params::Params;
use ddpm::prelude::ndarray::{Array1, Array2, Axis, array};
use ddpm::prelude::{Batch, normal, stream, toy};

/// `adam_weights(theta, gradients, lr)`.
type AdamWeights = fn(f64, &[f64], f64) -> Vec<f64>;
/// `train_step(net, adam, reverse, batch)`.
type TrainStep = fn(&mut PointNet, &mut Adam<PointNet>, &Reverse, &NoisyBatch) -> f64;
/// `energy_between(x, y)`.
type Energy = fn(&Array2<f64>, &Array2<f64>) -> f64;

type TimeSinusoids = fn(usize, usize) -> Vec<f64>;
type Averages = fn(&[f64], f64) -> Vec<f64>;

exercises! {
    solutions: "08_two_dimensions.rs";
    /// `time_sinusoids(t, dim)`: dim/2 sines, then as many cosines.
    time_sinusoids: TimeSinusoids;
    /// `adam_weights(theta, gradients, lr)`: the weight after each step of Adam.
    adam_weights: AdamWeights;
    /// `averages(weights, decay)`: the warmed-up average after each step.
    averages: Averages;
    /// `train_step(net, adam, reverse, batch)`: one step of Algorithm 1; returns the mean L_simple before it.
    train_step: TrainStep;
    /// `energy_between(x, y)`: the energy distance of two clouds of points.
    energy_between: Energy;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn time_sinusoids(e: Exercise<TimeSinusoids>) -> Exercise<TimeSinusoids> {
        // the crate computes in f32
        let truth =
            |t, dim| sinusoidal_embedding(&[t], dim, false, 1.0).mapv(f64::from).into_raw_vec_and_offset().0;
        e.case_within(1e-4, "t = 1, dim = 4", |f| f(1, 4), truth(1, 4))
            .case_within(1e-4, "t = 2, dim = 8", |f| f(2, 8), truth(2, 8))
            .case_within(1e-4, "t = 200, dim = 6", |f| f(200, 6), truth(200, 6))
            .mistake("t instead of t − 1: the network counts from 0", |t, dim| sinusoids(t as f64, dim, 1.0, false))
            .mistake("cosines first", |t, dim| sinusoids(t as f64 - 1.0, dim, 1.0, true))
            .mistake("the exponent is divided by dim/2, so that the slowest wave does not reach 1/10000", |t, dim| sinusoids(t as f64 - 1.0, dim, 0.0, false))
            .hint("Think of a clock: how many hands, and how fast does each turn?")
            .hint("`half = dim / 2` frequencies ω_0 … ω_{half−1}, from 1 down to 1/10000: their logarithms are equally spaced.")
            .hint("ω_k = 10000^(−k/(half − 1)); first all sin((t − 1) ω_k), then all cos((t − 1) ω_k).")
    }

    pub(super) fn adam_weights(e: Exercise<AdamWeights>) -> Exercise<AdamWeights> {
        let gradients = [0.5, -1.0, 2.0];
        e.case("one gradient, 0.5", |f| f(1.0, &[0.5], 0.1), adam_by_hand(1.0, &[0.5], 0.1, Slip::None))
            .case("the gradients 0.5, -1, 2", move |f| f(1.0, &gradients, 0.1), adam_by_hand(1.0, &gradients, 0.1, Slip::None))
            .case("gradients a million times smaller", move |f| f(1.0, &gradients.map(|g| 1e-6 * g), 0.1), adam_by_hand(1.0, &gradients.map(|g| 1e-6 * g), 0.1, Slip::None))
            .trivial(|theta, gradients, _| vec![theta; gradients.len()])
            .trivial(|_, gradients, _| gradients.to_vec())
            .mistake("no bias correction: the first steps are too long", |theta, g, lr| adam_by_hand(theta, g, lr, Slip::NoCorrection))
            .mistake("corrected by 1 − β at every step, not by 1 − β^k", |theta, g, lr| adam_by_hand(theta, g, lr, Slip::SameCorrection))
            .mistake("v is not put under the root", |theta, g, lr| adam_by_hand(theta, g, lr, Slip::NoRoot))
            .mistake("uphill: the step is subtracted", |theta, g, lr| adam_by_hand(theta, g, -lr, Slip::None))
            .hint("Two running means, and a correction because both start at 0.")
            .hint("m and v begin at 0; k counts from 1. After the first step m = 0.1 g and v = 0.001 g², so that m/(1 − 0.9) = g.")
            .hint("θ ← θ − lr · (m / (1 − 0.9^k)) / (√(v / (1 − 0.999^k)) + 1e-8)")
    }

    pub(super) fn averages(e: Exercise<Averages>) -> Exercise<Averages> {
        let long: Vec<f64> = (0..30).map(|k| f64::from(k * k % 7)).collect();
        let (truth, run) = (warmed(&long, |k| (1.0 - 1.0 / k).min(0.9)), long.clone());
        e.case("one weight, 5, decay 0.999", |f| f(&[5.0], 0.999), vec![5.0])
            .case("weights 1, 2, 6, decay 0.999", |f| f(&[1.0, 2.0, 6.0], 0.999), vec![1.0, 1.5, 3.0])
            .case("thirty weights, decay 0.9", move |f| f(&run, 0.9), truth)
            .trivial(|weights, _| weights.to_vec())
            .mistake(museum::B12, |weights, decay| warmed(weights, |_| decay))
            .mistake("the decay and its rest are swapped", |weights, decay| warmed(weights, |k| 1.0 - (1.0 - 1.0 / k).min(decay)))
            .mistake("k counts from 0: it is a step behind, and 1 − 1/k was meant for k = 1", |weights, decay| warmed(weights, |k| (1.0 - 1.0 / (k + 1.0)).min(decay)))
            .mistake("a plain mean to the end: the decay is never reached", |weights, _| warmed(weights, |k| 1.0 - 1.0 / k))
            .hint("What should the average be after the very first step?")
            .hint("In step k = 1, 2, …: d = min(decay, 1 − 1/k), then average = d · average + (1 − d) · weight.")
            .hint("At k = 1, d = 0: the average becomes the first weight, whatever it was before.")
    }

    pub(super) fn train_step(e: Exercise<TrainStep>) -> Exercise<TrainStep> {
        e
        .case_within(1e-4, "the loss of a fresh network", |f| run(f, 1)[0], run(PointNet::train_step, 1)[0])
        .case_within(2e-3, "the losses of 25 steps", |f| run(f, 25), run(PointNet::train_step, 25))
        .case_within(1e-4, "the sum of 64 losses where the mean is asked", |f| run(f, 2).len(), 2)
        .mistake("the weights are never updated", |net, _, reverse, batch| {
            let eps_hat = net.forward(&batch.x_t, &batch.t).0;
            simple_loss(reverse, &eps_hat, batch).loss.mean().unwrap_or(f64::NAN)
        })
        .mistake("uphill: the sign of the gradient is wrong", |net, adam, reverse, batch| descend(net, adam, reverse, batch, |g, _| -g))
        .mistake("the poster's line 5, a slope of ε − ε̂ without norm and square", |net, adam, reverse, batch| {
            descend(net, adam, reverse, batch, |g, n| Batch::from_elem(g.raw_dim(), -0.5 / n))
        })
        .mistake("the network is shown x_0, not x_t", |net, adam, reverse, batch| {
            let clean = NoisyBatch { x_t: batch.x0.clone(), ..batch.clone() };
            net.train_step(adam, reverse, &clean)
        })
        .mistake("the network is not told the t of each point", |net, adam, reverse, batch| {
            let timeless = NoisyBatch { t: vec![1; batch.t.len()], ..batch.clone() };
            net.train_step(adam, reverse, &timeless)
        })
        .hint("Algorithm 1, line 5, is three things: a prediction, a gradient, a step. In which order do they need one another?")
            .hint("Five lines: `net.forward(&batch.x_t, &batch.t)`, `simple_loss`, an empty gradient `net.zeros_like()`, `net.backward`, `adam.step(net, &grad)`.")
        .hint("`simple_loss` gives the gradient of the sum over points; divide it by their number, and return the mean of the losses.")
    }

    pub(super) fn energy_between(e: Exercise<Energy>) -> Exercise<Energy> {
        let (a, b) = (toy::moons(40, &mut stream(8, 1)), toy::swirl(60, &mut stream(8, 2)));
        let truth = energy_distance(&a, &b);
        let again = a.clone();
        e.case("one point (0, 0), one point (3, 4)", |f| f(&array![[0.0, 0.0]], &array![[3.0, 4.0]]), 10.0)
            .case("40 points of the moons, 60 of the swirl", move |f| f(&a, &b), truth)
            .case("a cloud and itself", move |f| f(&again, &again), 0.0)
            .mistake("the factor 2 is missing", |x, y| energy(x, y, f64::sqrt, 1.0))
            .mistake("squared distances, which see nothing but the means", |x, y| energy(x, y, |d| d, 2.0))
            .mistake("pairs of a point with itself are left out of the mean", |x, y| {
                let without = |x: &Array2<f64>| spread(x, x, f64::sqrt) * x.nrows() as f64 / (x.nrows() as f64 - 1.0).max(1.0);
                2.0 * spread(x, y, f64::sqrt) - without(x) - without(y)
            })
            .hint("Strangers and relatives: which three mean distances occur?")
            .hint("Three means of Euclidean distances: over all pairs (x, y), all pairs (x, x′), all pairs (y, y′).")
            .hint("2 E‖X − Y‖ − E‖X − X′‖ − E‖Y − Y′‖, where x and x′ may be the same point.")
    }
}

fn sinusoids(s: f64, dim: usize, shift: f64, flip: bool) -> Vec<f64> {
    let half = dim / 2;
    let angle = |k: usize| s * 10_000_f64.powf(-(k as f64) / (half as f64 - shift));
    let sines = (0..half).map(|k| angle(k).sin());
    let cosines = (0..half).map(|k| angle(k).cos());
    if flip { cosines.chain(sines).collect() } else { sines.chain(cosines).collect() }
}

/// What may go wrong in Adam.
#[derive(Clone, Copy, PartialEq)]
enum Slip {
    None,
    NoCorrection,
    SameCorrection,
    NoRoot,
}

fn adam_by_hand(mut theta: f64, gradients: &[f64], lr: f64, slip: Slip) -> Vec<f64> {
    let (mut m, mut v) = (0.0, 0.0);
    let step = |(k, g): (i32, &f64)| {
        m = 0.9 * m + 0.1 * g;
        v = 0.999 * v + 0.001 * g * g;
        let correct = |beta: f64| match slip {
            Slip::NoCorrection => 1.0,
            Slip::SameCorrection => 1.0 - beta,
            _ => 1.0 - beta.powi(k),
        };
        let spread = v / correct(0.999);
        let spread = if slip == Slip::NoRoot { spread } else { spread.sqrt() };
        theta -= lr * (m / correct(0.9)) / (spread + 1e-8);
        theta
    };
    (1..).zip(gradients).map(step).collect()
}

/// a ← d(k) a + (1 − d(k)) w from a = 0, with k = 1, 2, …
fn warmed(weights: &[f64], decay: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut average = 0.0;
    let step = |(k, w): (u32, &f64)| {
        let d = decay(f64::from(k));
        average = d * average + (1.0 - d) * w;
        average
    };
    (1..).zip(weights).map(step).collect()
}

/// The losses of so many steps on one batch.
fn run(step: TrainStep, steps: usize) -> Vec<f64> {
    let reverse = Reverse::new(Schedule::cosine(50));
    let x0 = as_batch(&toy::swirl(64, &mut stream(8, 3)));
    let t = (0..64).map(|n| 1 + 7 * n % 50).collect();
    let batch = NoisyBatch::new(&reverse.schedule, x0, t, normal((64, 1, 1, 2), &mut stream(8, 4)));
    let mut net = PointNet::new(24, &mut stream(8, 5));
    let options = AdamOptions { lr: 3e-3, warmup: 0, clip: 0.0, ..AdamOptions::default() };
    let mut adam = Adam::new(&net, options);
    (0..steps).map(|_| step(&mut net, &mut adam, &reverse, &batch)).collect()
}

/// A training step whose gradient, already divided by n, is changed on the way.
fn descend(
    net: &mut PointNet,
    adam: &mut Adam<PointNet>,
    reverse: &Reverse,
    batch: &NoisyBatch,
    change: fn(Batch, f64) -> Batch,
) -> f64 {
    let (eps_hat, cache) = net.forward(&batch.x_t, &batch.t);
    let result = simple_loss(reverse, &eps_hat, batch);
    let n = batch.t.len() as f64;
    let mut grad = net.zeros_like();
    net.backward(cache, &change(result.d_output / n, n), &mut grad);
    adam.step(net, &grad);
    result.loss.sum() / n
}

/// The mean of f(‖x − y‖²) over all pairs.
fn spread(x: &Array2<f64>, y: &Array2<f64>, f: fn(f64) -> f64) -> f64 {
    let row = |a: ddpm::prelude::ndarray::ArrayView1<f64>| -> f64 {
        let off: Array2<f64> = y - &a;
        let squares: Array1<f64> = off.mapv(|d| d * d).sum_axis(Axis(1));
        squares.mapv(f).sum()
    };
    x.outer_iter().map(row).sum::<f64>() / (x.nrows() * y.nrows()) as f64
}

fn energy(x: &Array2<f64>, y: &Array2<f64>, f: fn(f64) -> f64, between: f64) -> f64 {
    between * spread(x, y, f) - spread(x, x, f) - spread(y, y, f)
}
