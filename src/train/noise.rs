//! Learning noise levels alone, in a world of which everything is known: the bound of independent Gaussians.

use super::{Objective, Training};
use crate::diffusion::{Gamma, Level, diffusion_term, through_z};
use crate::error::{Error, Result};
use crate::optim::AdamOptions;
use crate::rng::{Domain, normal};
use crate::tensor::Batch;
use ndarray::{Array1, Array2};
use ndarray_rand::rand::Rng;
use std::f64::consts::LN_2;

/// Data x_d ~ N(0, v_d), independent, with the best denoiser ε̂ = σ z/(α² v + σ²) and the decoder N(z_0/α_0, e^{γ_0}).
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussians {
    /// v, `[D]`
    pub variance: Array1<f64>,
}

impl Gaussians {
    /// ½ Σ_{i=1}^{T} expm1(γ_i − γ_{i−1}) v/(v + e^{γ_i}) of each dimension: the whole diffusion term, in nats, `[D]`; and its
    /// gradient.
    ///
    /// # Shapes
    /// `gamma` `[T + 1, D]`.
    pub fn diffusion(&self, gamma: &Array2<f64>) -> (Array1<f64>, Array2<f64>) {
        let (mut nats, mut grad) = (Array1::zeros(self.variance.len()), Array2::zeros(gamma.raw_dim()));
        for i in 1..gamma.nrows() {
            for (d, &v) in self.variance.iter().enumerate() {
                let (t, s) = (gamma[[i, d]], gamma[[i - 1, d]]);
                let (noise, left) = (t.exp(), v / (v + t.exp())); // left: E(ε − ε̂)²
                nats[d] += 0.5 * (t - s).exp_m1() * left;
                grad[[i, d]] += 0.5 * left * ((t - s).exp() - (t - s).exp_m1() * noise / (v + noise));
                grad[[i - 1, d]] -= 0.5 * left * (t - s).exp();
            }
        }
        (nats, grad)
    }

    /// By how much the whole bound exceeds the entropy, bits per dimension.
    ///
    /// # Shapes
    /// `gamma` `[T + 1, D]`.
    pub fn excess(&self, gamma: &Array2<f64>) -> f64 {
        let (diffusion, last) = (self.diffusion(gamma).0, gamma.nrows() - 1);
        let ends = |(d, &v): (usize, &f64)| {
            let (first, alpha) = (gamma[[0, d]], Level::from_gamma(gamma[[last, d]]).alpha);
            let alpha2 = alpha * alpha;
            // decoder: ½ ln(2πe e^{γ_0}); entropy: ½ ln(2πe v)
            0.5 * (first - v.ln()) + 0.5 * (alpha2 * v - alpha2 - (-alpha2).ln_1p())
        };
        let ends: f64 = self.variance.iter().enumerate().map(ends).sum();
        (diffusion.sum() + ends) / (self.variance.len() as f64 * LN_2)
    }

    /// A γ for all dimensions, or one for each: a path may be shared.
    fn spread(&self, gamma: &Array2<f64>) -> Array2<f64> {
        gamma.broadcast((gamma.nrows(), self.variance.len())).expect("one path, or one for each").to_owned()
    }
}

/// γ is moved down the diffusion term of [`Gaussians`].
#[derive(Clone, Debug)]
pub struct NoiseLevels {
    /// whose bound it is
    pub world: Gaussians,
    /// T
    pub steps: usize,
    /// examples per step of Adam, each with a t, an x and an ε of its own; 0 is the exact expectation
    pub batch: usize,
    /// of everything random
    pub seed: u64,
    /// leave out how γ moves z, which is wrong: to see that it is
    pub weight_only: bool,
}

impl NoiseLevels {
    /// A training that has not begun.
    pub fn training(self, gamma: Gamma, adam: AdamOptions) -> Training<NoiseLevels> {
        Training::of(gamma, self, adam)
    }

    /// The whole sum, in expectation.
    fn exact(&self, model: &Gamma, grad: &mut Gamma) -> f64 {
        let (nats, d_gamma) = self.world.diffusion(&self.world.spread(&model.table(self.steps)));
        for (i, row) in d_gamma.outer_iter().enumerate() {
            model.backward(i as f64 / self.steps as f64, &shared(row.to_owned(), model), grad);
        }
        nats.sum()
    }

    /// T times the term of one t; its gradient times `share` is added to `grad`.
    fn sampled(&self, model: &Gamma, draw: &NoiseDraw, share: f64, grad: &mut Gamma) -> f64 {
        let world = &self.world;
        let (t, s) = ((draw.i as f64) / self.steps as f64, (draw.i - 1) as f64 / self.steps as f64);
        let d = world.variance.len();
        let row = |x: Array1<f64>| {
            let x = if x.len() == d { x } else { Array1::from_elem(d, x[0]) };
            x.into_shape_with_order((1, 1, d, 1)).expect("one row")
        };
        let (gamma_t, gamma_s) = (row(model.at(t)), row(model.at(s)));
        let (x, eps, v) = (row(draw.x.clone()), row(draw.eps.clone()), row(world.variance.clone()));
        let (alpha, sigma) = (
            gamma_t.mapv(|g| Level::from_gamma(g).alpha),
            gamma_t.mapv(|g| Level::from_gamma(g).variance.sqrt()),
        );
        let gain: Batch = &sigma / &(&(&alpha * &alpha * &v) + &(&sigma * &sigma));
        let eps_hat = &gain * &(&alpha * &x + &sigma * &eps);
        let term = diffusion_term(&eps, &eps_hat, &gamma_t, &gamma_s, self.steps as f64);
        let mut d_gamma = term.d_gamma;
        if !self.weight_only {
            d_gamma += &through_z(&x, &eps, &gamma_t, &(&term.d_input * &gain));
        }
        let flat = |x: Batch| shared((x * share).into_shape_with_order(d).expect("one row"), model);
        model.backward(t, &flat(d_gamma), grad);
        model.backward(s, &flat(term.d_gamma_s), grad);
        term.nats[0]
    }
}

/// The derivatives of a shared path add up.
fn shared(d_gamma: Array1<f64>, model: &Gamma) -> Array1<f64> {
    if model.numbers.nrows() == 1 { Array1::from_elem(1, d_gamma.sum()) } else { d_gamma }
}

/// What is drawn for a term: t = i/T, x and ε; nothing for the exact expectation.
#[derive(Debug)]
pub struct NoiseDraw {
    i: usize,
    x: Array1<f64>,
    eps: Array1<f64>,
}

impl Objective for NoiseLevels {
    type Model = Gamma;
    type Data = ();
    type Group = Vec<NoiseDraw>;

    /// # Errors
    /// There are neither one path nor one for each dimension.
    fn check_data(&self, model: &Gamma, _: &()) -> Result<()> {
        let (paths, d) = (model.numbers.nrows(), self.world.variance.len());
        if paths == 1 || paths == d {
            return Ok(());
        }
        Err(Error::argument("paths", format!("1 or {d}, one for each dimension"), paths))
    }

    fn draw(&self, _: &Gamma, _: &(), steps: u64) -> Vec<Vec<NoiseDraw>> {
        let d = self.world.variance.len();
        let root = self.world.variance.mapv(f64::sqrt);
        // VDM's times: u + k/B mod 1, as even as they can be
        let u: f64 = Domain::Training.stream(self.seed, u64::MAX / 4 - steps).random();
        let draw = |n: u64| {
            let mut rng = Domain::Training.stream(self.seed, steps * self.batch as u64 + n);
            let share = (u + n as f64 / self.batch as f64).fract();
            let i = 1 + ((share * self.steps as f64) as usize).min(self.steps - 1);
            NoiseDraw { i, x: normal::<f64, _>(d, &mut rng) * &root, eps: normal(d, &mut rng) }
        };
        vec![(0..self.batch as u64).map(draw).collect()]
    }

    fn examples(group: &Vec<NoiseDraw>) -> usize {
        group.len().max(1)
    }

    fn loss_and_grad(&self, model: &Gamma, group: &mut Vec<NoiseDraw>, n: usize, grad: &mut Gamma) -> f64 {
        if group.is_empty() {
            return self.exact(model, grad);
        }
        group.iter().map(|draw| self.sampled(model, draw, 1.0 / n as f64, grad)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::Path;
    use crate::optim::Cooldown;
    use crate::params::Params;
    use ndarray::array;

    fn best(path: Path, paths: usize, objective: NoiseLevels, steps: u64) -> f64 {
        let gamma = Gamma::new(path, [-13.3, 5.0], objective.steps, paths);
        let cooldown = Some(Cooldown { from: steps / 2, to: steps });
        let adam = AdamOptions { lr: 0.05, warmup: 0, clip: 0.0, cooldown, ..AdamOptions::default() };
        let (world, length) = (objective.world.clone(), objective.steps);
        let mut training = objective.training(gamma, adam);
        for _ in 0..steps {
            training.step(&()).unwrap();
        }
        world.excess(&world.spread(&training.model.table(length)))
    }

    fn world() -> Gaussians {
        Gaussians { variance: (0..16).map(|d| 10f64.powf(-4.0 + 4.0 * f64::from(d) / 15.0)).collect() }
    }

    fn levels(steps: usize, batch: usize) -> NoiseLevels {
        NoiseLevels { world: world(), steps, batch, seed: 1, weight_only: false }
    }

    /// The optima of 16 Gaussians, v = 1e-4 … 1, in bits/dim: what better means than ours have found.
    #[test]
    fn the_exact_loss_reaches_the_optima() {
        let straight =
            world().excess(&world().spread(&Gamma::new(Path::Linear, [-13.3, 5.0], 10, 1).table(10)));
        assert!((straight / 9.789 - 1.0).abs() < 1e-3, "{straight}");
        for (path, paths, steps, optimum) in [
            (Path::Knots, 1, 10, 5.337),
            (Path::Knots, 16, 10, 4.422),
            (Path::Polynomial, 1, 10, 6.299),
            (Path::Polynomial, 16, 10, 5.734),
            (Path::Knots, 1, 20, 2.119),
            (Path::Polynomial, 16, 20, 2.253),
        ] {
            let got = best(path, paths, levels(steps, 0), 2000);
            assert!((got / optimum - 1.0).abs() < 5e-3, "{path} {paths} {steps}: {got}, best {optimum}");
        }
    }

    /// Drawn terms reach it within 1 %, if γ's way through z is counted: without it the schedule goes somewhere else.
    #[test]
    fn the_sampled_loss_reaches_the_optimum() {
        let got = best(Path::Knots, 1, levels(10, 128), 1500);
        assert!((got / 5.337 - 1.0).abs() < 0.01, "{got}");
        let wrong = best(Path::Knots, 1, NoiseLevels { weight_only: true, ..levels(10, 128) }, 1500);
        assert!(wrong > 1.05 * got, "{wrong} against {got}");
    }

    /// The mean of drawn gradients is the exact one.
    #[test]
    fn drawn_gradients_are_unbiased() {
        let mut gamma = Gamma::new(Path::Knots, [-13.3, 5.0], 10, 1);
        gamma.numbers.iter_mut().enumerate().for_each(|(i, r)| *r = (i as f32 * 1.3).sin());
        let objective = levels(10, 100_000);
        let (mut exact, mut drawn) = (gamma.zeros_like(), gamma.zeros_like());
        objective.exact(&gamma, &mut exact);
        let mut groups = objective.draw(&gamma, &(), 0);
        objective.loss_and_grad(&gamma, &mut groups[0], 100_000, &mut drawn);
        let scale = exact.numbers.iter().fold(0.0f32, |m, g| m.max(g.abs()));
        for (exact, drawn) in exact.numbers.iter().zip(&drawn.numbers) {
            assert!((exact - drawn).abs() < 0.02 * scale, "{drawn}, exactly {exact}");
        }
    }

    /// One dimension, two steps, by differences.
    #[test]
    fn the_exact_gradient() {
        let world = Gaussians { variance: array![0.3] };
        let gamma = array![[-2.0], [0.4], [1.5]];
        let (_, grad) = world.diffusion(&gamma);
        for i in 0..3 {
            let moved = |by: f64| {
                let mut gamma = gamma.clone();
                gamma[[i, 0]] += by;
                world.diffusion(&gamma).0[0]
            };
            assert!((grad[[i, 0]] - (moved(1e-6) - moved(-1e-6)) / 2e-6).abs() < 1e-8, "{i}");
        }
    }
}
