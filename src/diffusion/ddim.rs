//! DDIM (Song, Meng, Ermon 2021): the same network, fewer steps, with as much noise as one likes.

use super::batch::same_shape;
use super::respace::evenly;
use super::sampler::start;
use super::{Denoiser, Noise, PSample, Query, Reverse, Schedule, Step, ddim_posterior};
use crate::tensor::Batch;
use ndarray::Array4;
use std::mem::replace;

/// Which steps of the long chain are visited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spacing {
    /// 1 + k ⌊T/steps⌋: the last is t = 1, the first may lie well below T (Song et al.; diffusers' default)
    #[default]
    Leading,
    /// k T/steps, rounded: the first is T, and from the last one the step is to t = 0. Where ᾱ_T = 0 only this starts
    /// from what x_T is: noise and nothing else (Lin et al. 2024, section 3.3)
    Trailing,
}

impl Spacing {
    /// What suits a schedule: [`Trailing`](Spacing::Trailing) where ᾱ_T = 0.
    ///
    /// ```
    /// use ddpm::diffusion::{Schedule, Spacing};
    /// assert_eq!(Spacing::of(&Schedule::linear(1000)), Spacing::Leading);
    /// ```
    pub fn of(schedule: &Schedule) -> Self {
        if schedule.has_zero_terminal_snr() { Self::Trailing } else { Self::Leading }
    }
}

/// A DDIM sampler's choices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ddim {
    /// how many steps, 1..=T
    pub steps: usize,
    /// η: 0 is deterministic, 1 has the noise of β̃
    pub eta: f64,
    /// whether the ε̂ of a step is computed again from the clipped x̂_0 (improved-diffusion; diffusers'
    /// `use_clipped_model_output`). Without it (diffusers' default) ε̂ stays as the network said it. No
    /// difference when `reverse.clip` is off. With [`Guided`](super::Guided) it is needed: ε̃ goes beyond any image, and with x̂_0
    /// clipped and ε̃ as it is a step leads away from the class.
    pub rederive_eps: bool,
    /// which steps
    pub spacing: Spacing,
}

impl Ddim {
    /// Deterministic, ε̂ as the network said it, down to t = 1.
    ///
    /// ```
    /// let ddim = ddpm::diffusion::Ddim::new(50);
    /// assert_eq!((ddim.steps, ddim.eta), (50, 0.0));
    /// ```
    pub fn new(steps: usize) -> Self {
        Self { steps, eta: 0.0, rederive_eps: false, spacing: Spacing::Leading }
    }

    /// The t that are visited, from large to small.
    ///
    /// # Panics
    /// Unless 1 ≤ steps ≤ T.
    ///
    /// ```
    /// use ddpm::diffusion::{Ddim, Spacing};
    /// assert_eq!(Ddim::new(4).timesteps(1000), [751, 501, 251, 1]);
    /// let trailing = Ddim { spacing: Spacing::Trailing, ..Ddim::new(4) };
    /// assert_eq!(trailing.timesteps(1000), [1000, 750, 500, 250]);
    /// ```
    #[allow(non_snake_case)] // T is the paper's name
    #[track_caller]
    pub fn timesteps(&self, T: usize) -> Vec<usize> {
        assert!((1..=T).contains(&self.steps), "ddim: {} steps of a chain of {T}", self.steps);
        match self.spacing {
            Spacing::Leading => (0..self.steps).rev().map(|k| 1 + k * (T / self.steps)).collect(),
            Spacing::Trailing => evenly(T, self.steps).rev().collect(),
        }
    }
}

/// Samples with DDIM: x_T ~ N(0, I), then one step from each of `ddim.timesteps(T)` to the next, the last to t = 0.
///
/// # Shapes
/// `shape` = `[N, H, W, C]`, which is the result's.
///
/// # Panics
/// Unless 1 ≤ steps ≤ T; when the model's output has the wrong shape.
///
/// ```
/// use ddpm::diffusion::{Ddim, Noise, Reverse, Schedule, ddim_sample, oracle::GaussianWorld};
/// let schedule = Schedule::linear(1000);
/// let (world, reverse) = (GaussianWorld::new(0.5, 0.0, schedule.clone()), Reverse::new(schedule));
/// let x0 = ddim_sample(&world, &reverse, &Ddim::new(10), [1, 2, 2, 1], &Noise::seed(1));
/// assert!(x0.iter().all(|x| (x - 0.5).abs() < 1e-12)); // all data are 0.5, and ten steps find them
/// ```
#[track_caller]
pub fn ddim_sample(
    model: &(impl Denoiser + ?Sized),
    reverse: &Reverse,
    ddim: &Ddim,
    shape: [usize; 4],
    noise: &Noise,
) -> Batch {
    let steps = ddim_steps(model, reverse, ddim, shape, noise);
    steps.last().expect("at least one step").x_prev
}

/// The steps of [`ddim_sample`], each taken when it is asked for.
///
/// # Shapes, panics
/// As [`ddim_sample`].
///
/// ```
/// use ddpm::diffusion::{Ddim, Noise, Reverse, Schedule, ddim_steps, oracle::GaussianWorld};
/// let schedule = Schedule::linear(1000);
/// let (world, reverse) = (GaussianWorld::new(0.5, 0.0, schedule.clone()), Reverse::new(schedule));
/// let (ddim, noise) = (Ddim::new(4), Noise::seed(1));
/// let steps = ddim_steps(&world, &reverse, &ddim, [1, 2, 2, 1], &noise);
/// assert_eq!(steps.map(|step| step.t).collect::<Vec<_>>(), ddim.timesteps(1000));
/// ```
#[track_caller]
pub fn ddim_steps<'a>(
    model: &'a (impl Denoiser + ?Sized),
    reverse: &'a Reverse,
    ddim: &'a Ddim,
    shape: [usize; 4],
    noise: &'a Noise,
) -> impl Iterator<Item = Step> + 'a {
    let timesteps = ddim.timesteps(reverse.schedule.T());
    let mut x = start(shape, noise);
    (0..timesteps.len()).map(move |i| {
        let t = timesteps[i];
        let t_prev = timesteps.get(i + 1).copied().unwrap_or(0);
        let needs_noise = ddim.eta > 0.0 && t_prev > 0;
        let z = if needs_noise { noise.batch(shape, &vec![t; shape[0]]) } else { Batch::zeros(shape) };
        let PSample { x_prev, x0_hat } = ddim_step(model, reverse, ddim, &x, t, t_prev, &z);
        Step { t, x_t: replace(&mut x, x_prev.clone()), x0_hat, x_prev }
    })
}

/// One step from t to any earlier s = `t_prev` (Song et al., Eq. 12):
/// x_s = √ᾱ_s x̂_0 + √(1 − ᾱ_s − σ²) ε̂ + σ z, with σ² = η² (1 − ᾱ_s)/(1 − ᾱ_t) β_{t|s}: a draw of [`ddim_posterior`].
///
/// For s = t − 1 and η = 1, σ² is β̃_t and the step is that of Algorithm 2.
///
/// # Shapes
/// `x_t` and `z` `[N, H, W, C]`.
///
/// # Panics
/// Unless `t_prev` < t ≤ T; when the shapes differ.
///
/// ```
/// use ddpm::diffusion::{Ddim, Reverse, Schedule, ddim_step, oracle::GaussianWorld};
/// use ddpm::tensor::Batch;
/// let schedule = Schedule::cosine(10);
/// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
/// let (x_t, silence) = (Batch::ones((1, 2, 2, 1)), Batch::zeros((1, 2, 2, 1)));
/// let step = ddim_step(&world, &Reverse::new(schedule), &Ddim::new(2), &x_t, 10, 0, &silence);
/// assert_eq!(step.x_prev, step.x0_hat); // a step to t = 0 ends at the guess
/// ```
#[allow(clippy::too_many_arguments)] // what Eq. 12 is about
#[track_caller]
pub fn ddim_step(
    model: &(impl Denoiser + ?Sized),
    reverse: &Reverse,
    ddim: &Ddim,
    x_t: &Batch,
    t: usize,
    t_prev: usize,
    z: &Batch,
) -> PSample {
    same_shape("ddim_step", ("x_t", x_t), ("z", z));
    assert!(t_prev < t, "ddim_step: from t = {t} to t = {t_prev}");
    let each = vec![t; x_t.dim().0];
    let output = model.answer(&Query::new(x_t, &each));
    let x0_hat = reverse.read(output.clone(), x_t, &each).x0_hat;
    let eps_hat = if ddim.rederive_eps {
        reverse.eps_from_x0(x_t, &each, &x0_hat)
    } else {
        reverse.eps_hat(output, x_t, &each).0
    };

    let step = Array4::from_elem((1, 1, 1, 1), reverse.schedule.transition(t_prev, t));
    PSample { x_prev: ddim_posterior(&x0_hat, &eps_hat, &step, ddim.eta).sample(z), x0_hat }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Prediction, Variance, forward::v_target, oracle::GaussianWorld};
    use crate::rng::{normal, stream};

    fn world() -> (GaussianWorld, Reverse) {
        let schedule = Schedule::linear(1000);
        (GaussianWorld::new(0.2, 0.3, schedule.clone()), Reverse { clip: false, ..Reverse::new(schedule) })
    }

    /// η = 1 and s = t − 1 is Algorithm 2 with σ² = β̃.
    #[test]
    fn eta_one_is_ddpm() {
        let (model, reverse) = world();
        let reverse = Reverse { variance: Variance::BetaTilde, ..reverse };
        let x_t: Batch = normal((2, 2, 2, 1), &mut stream(1, 0));
        let z = normal((2, 2, 2, 1), &mut stream(1, 1));
        let ddim = Ddim { eta: 1.0, ..Ddim::new(1000) };
        for t in [2, 10, 500, 1000] {
            let a = ddim_step(&model, &reverse, &ddim, &x_t, t, t - 1, &z).x_prev;
            let b = reverse.p_sample(&model, &x_t, &[t, t], &z).x_prev;
            assert!((a - b).iter().all(|d| d.abs() < 1e-12), "t = {t}");
        }
    }

    /// With η = 0 a step keeps the noise ε̂: walking to s and reading x_s with the same ε̂ gives the same x̂_0.
    #[test]
    fn all_predictions_take_the_same_step() {
        let (_, reverse) = world();
        let x_t: Batch = normal((1, 2, 2, 1), &mut stream(1, 0));
        let eps: Batch = normal((1, 2, 2, 1), &mut stream(1, 1));
        let p = reverse.read(eps.clone(), &x_t, &[500]);
        let v = v_target(&reverse.schedule, &p.x0_hat, &[500], &eps);
        let answers = [
            (Prediction::Eps, eps),
            (Prediction::X0, p.x0_hat),
            (Prediction::MuTilde, p.normal.mean),
            (Prediction::V, v),
        ];
        assert_eq!(answers.each_ref().map(|(prediction, _)| *prediction), Prediction::ALL);
        let z = Batch::zeros(x_t.dim());
        let [first, others @ ..] = answers.map(|(prediction, answer)| {
            let reverse = Reverse { prediction, clip: true, ..reverse.clone() };
            let model = |_: &Batch, _: &[usize]| answer.clone();
            ddim_step(&model, &reverse, &Ddim::new(10), &x_t, 500, 400, &z).x_prev
        });
        assert!(others.iter().all(|other| (&first - other).iter().all(|d| d.abs() < 1e-10)));
    }

    #[test]
    fn any_number_of_steps_ends_at_one() {
        for steps in [1, 3, 7, 999, 1000] {
            let t = Ddim::new(steps).timesteps(1000);
            assert_eq!((t.len(), t[steps - 1]), (steps, 1));
            assert!(t[0] <= 1000 && t.windows(2).all(|t| t[0] > t[1]));
            let t = Ddim { spacing: Spacing::Trailing, ..Ddim::new(steps) }.timesteps(1000);
            assert_eq!((t.len(), t[0]), (steps, 1000));
            assert!(t[steps - 1] >= 1 && t.windows(2).all(|t| t[0] > t[1]));
        }
    }

    #[test]
    #[should_panic(expected = "ddim: 11 steps of a chain of 10")]
    fn more_steps_than_the_chain_has() {
        Ddim::new(11).timesteps(10);
    }

    #[test]
    #[should_panic(expected = "ddim_step: from t = 5 to t = 5")]
    fn only_backwards() {
        let (model, reverse) = world();
        let x = Batch::zeros((1, 1, 1, 1));
        ddim_step(&model, &reverse, &Ddim::new(10), &x, 5, 5, &x);
    }
}
