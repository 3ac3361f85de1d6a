//! Adam (Kingma & Ba 2015), clipping by the global norm, warm-up, and the moving average of the weights.

use crate::error::{Error, Result};
use crate::matmul::simd::vectorized;
use crate::params::Params;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What an optimiser step needs to know. The defaults are the paper's (appendix B); warm-up and clipping, which it
/// does not mention, are those of its code.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamOptions {
    /// step size after warm-up
    pub lr: f64,
    /// over so many steps the step size grows linearly from `lr/warmup` to `lr`; 0 is none
    pub warmup: u64,
    /// decay of the first moment
    pub beta1: f64,
    /// decay of the second moment
    pub beta2: f64,
    /// added to the root of the second moment
    pub eps: f64,
    /// the gradient is scaled down to this global norm if it is longer; 0 is never
    pub clip: f64,
    /// the averaged weights keep this much of themselves at every step
    pub ema_decay: f64,
    /// whether that decay begins small and grows: [`ema_decay_at`](AdamOptions::ema_decay_at). Not in the paper, whose
    /// runs are so long that it makes no difference, nor in runs of the first edition.
    #[serde(default)]
    pub ema_warmup: bool,
    /// when the step size falls at the end; never in the paper
    #[serde(default)]
    pub cooldown: Option<Cooldown>,
}

/// The last steps of a run, over which the step size falls linearly to nothing.
///
/// A run at a constant step size can go on for as long as there is time, and be cooled down when there is no more: most of
/// what a longer schedule would have gained comes in these steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cooldown {
    /// the last step at the full size
    pub from: u64,
    /// the last step at all
    pub to: u64,
}

impl Default for AdamOptions {
    fn default() -> AdamOptions {
        AdamOptions {
            lr: 2e-4,
            warmup: 5000,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            clip: 1.0,
            ema_decay: 0.9999,
            ema_warmup: false,
            cooldown: None,
        }
    }
}

impl AdamOptions {
    /// The step size of step `k`, counted from 1: `lr · min(k / warmup, 1)`, and in a cool-down from step a to step b
    /// times (b + 1 − k)/(b + 1 − a).
    pub fn lr_at(&self, k: u64) -> f64 {
        let warm = if k >= self.warmup { self.lr } else { self.lr * k as f64 / self.warmup as f64 };
        match self.cooldown {
            Some(Cooldown { from, to }) if k > from => {
                warm * (to + 1).saturating_sub(k) as f64 / (to + 1 - from) as f64
            }
            _ => warm,
        }
    }

    /// The decay of the average at step `k`, counted from 1: `d`, or with warm-up `min(d, (1 + k)/(10 + k))`.
    ///
    /// The average begins as a copy of the initial weights, of which `k` steps of a constant decay leave `dᵏ`: after 300
    /// steps at d = 0.999 still 74 %, and an image drawn with them is noise. With warm-up the average is one over the last
    /// tenth of a short run, and becomes the usual one at k = (10 d − 1)/(1 − d), 8,990 for d = 0.999. (The rule is that of
    /// TensorFlow's `ExponentialMovingAverage`.)
    ///
    /// ```
    /// use ddpm::optim::AdamOptions;
    /// let options = AdamOptions { ema_decay: 0.999, ema_warmup: true, ..AdamOptions::default() };
    /// let left = |steps: u64| (1..=steps).map(|k| options.ema_decay_at(k)).product::<f64>();
    /// assert!(left(300) < 1e-15); // of the initial weights
    /// assert_eq!(options.ema_decay_at(8_991), 0.999);
    /// ```
    pub fn ema_decay_at(&self, k: u64) -> f64 {
        let k = k as f64;
        if self.ema_warmup { self.ema_decay.min((1.0 + k) / (10.0 + k)) } else { self.ema_decay }
    }

    /// What must hold of each number.
    ///
    /// # Errors
    /// An [`Error::Argument`] that names it.
    pub fn check(&self) -> Result<()> {
        let wrong = |name: &str, expected: &str, found: f64| Err(Error::argument(name, expected, found));
        // written so that NaN fails
        if !(self.lr > 0.0 && self.lr.is_finite()) {
            return wrong("lr", "a positive number", self.lr);
        }
        for (name, decay) in [("beta1", self.beta1), ("beta2", self.beta2), ("ema", self.ema_decay)] {
            if !(0.0..1.0).contains(&decay) {
                return wrong(name, "at least 0 and less than 1", decay);
            }
        }
        if !(self.eps > 0.0 && self.eps.is_finite()) {
            return wrong("eps", "a positive number", self.eps);
        }
        if !(self.clip >= 0.0 && self.clip.is_finite()) {
            return wrong("clip", "a length, or 0 for no limit", self.clip);
        }
        match self.cooldown {
            Some(Cooldown { from, to }) if from > to => {
                Err(Error::argument("cooldown", format!("an end after step {from}"), to))
            }
            _ => Ok(()),
        }
    }
}

/// Adam's moments and the averaged weights, values of the model's own type.
#[derive(Clone, Debug)]
pub struct Adam<M> {
    /// `m`: running mean of the gradient
    pub m: M,
    /// `v`: running mean of its square
    pub v: M,
    /// running mean of the weights; begins as a copy of them
    pub ema: M,
    /// steps taken
    pub steps: u64,
    /// rates and decays
    pub options: AdamOptions,
}

impl<M: Params> Adam<M> {
    /// For a model that has not been trained.
    pub fn new(model: &M, options: AdamOptions) -> Adam<M> {
        Adam { m: model.zeros_like(), v: model.zeros_like(), ema: model.clone(), steps: 0, options }
    }

    /// One step; returns the global norm of the gradient before clipping.
    ///
    /// With `g` the clipped gradient and `k` the step, counted from 1,
    ///
    /// ```text
    /// m ← β₁ m + (1 − β₁) g          v ← β₂ v + (1 − β₂) g²
    /// θ ← θ − lr · (m / (1 − β₁ᵏ)) / (√(v / (1 − β₂ᵏ)) + ε)
    /// θ̄ ← d θ̄ + (1 − d) θ          d = ema_decay_at(k)
    /// ```
    ///
    /// in one sweep over memory. Every number is on its own, so threads change nothing.
    pub fn step(&mut self, model: &mut M, grad: &M) -> f64 {
        let norm = global_norm(grad);
        self.step_with_norm(model, grad, norm);
        norm
    }

    /// [`step`](Adam::step) with a gradient whose [`global_norm`] is known.
    pub fn step_with_norm(&mut self, model: &mut M, grad: &M, norm: f64) {
        self.steps += 1;
        let o = self.options;
        // PyTorch's clip_grad_norm_ has the same 1e-6
        let scale = if o.clip > 0.0 { (o.clip / (norm + 1e-6)).min(1.0) as f32 } else { 1.0 };
        let correct = |beta: f64| (1.0 / (1.0 - beta.powf(self.steps as f64))) as f32;
        let ema_decay = o.ema_decay_at(self.steps);
        let rates = Rates {
            scale,
            beta: [o.beta1 as f32, o.beta2 as f32],
            rest: [(1.0 - o.beta1) as f32, (1.0 - o.beta2) as f32],
            correct: [correct(o.beta1), correct(o.beta2)],
            lr: o.lr_at(self.steps) as f32,
            eps: o.eps as f32,
            decay: [ema_decay as f32, (1.0 - ema_decay) as f32],
        };
        let weights = model.slices_mut().into_iter().zip(grad.slices());
        let moments = self.m.slices_mut().into_iter().zip(self.v.slices_mut());
        let tensors: Vec<_> = weights.zip(moments).zip(self.ema.slices_mut()).collect();
        tensors.into_par_iter().for_each(|(((theta, g), (m, v)), ema)| {
            sweep(theta, g, m, v, ema, rates);
        });
    }
}

/// The constants of one step: decays, what they leave, and the corrections of both moments.
#[derive(Clone, Copy)]
struct Rates {
    scale: f32,
    beta: [f32; 2],
    rest: [f32; 2],
    correct: [f32; 2],
    lr: f32,
    eps: f32,
    decay: [f32; 2],
}

vectorized! {
    /// The formulas of [`Adam::step`] for one tensor: clipping, moments, weights and average.
    fn sweep(theta: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], ema: &mut [f32], r: Rates) {
        for ((((theta, g), m), v), ema) in theta.iter_mut().zip(g).zip(m).zip(v).zip(ema) {
            let g = g * r.scale;
            *m = r.beta[0] * *m + r.rest[0] * g;
            *v = r.beta[1] * *v + r.rest[1] * g * g;
            *theta -= r.lr * (*m * r.correct[0]) / ((*v * r.correct[1]).sqrt() + r.eps);
            *ema = r.decay[0] * *ema + r.decay[1] * *theta;
        }
    }
}

/// `√(Σ g²)` over all parameters, in f64 and a fixed order.
pub fn global_norm(grad: &impl Params) -> f64 {
    let square = |s: &&[f32]| s.iter().map(|&g| g as f64 * g as f64).sum::<f64>();
    let squares: Vec<f64> = grad.slices().par_iter().map(square).collect();
    squares.iter().sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, array};

    /// On one number with gradient 1, every corrected step is −lr.
    #[test]
    fn three_steps_by_hand() {
        let options = AdamOptions { lr: 0.1, warmup: 0, clip: 0.0, ema_decay: 0.5, ..AdamOptions::default() };
        let mut theta: Array1<f32> = array![1.0];
        let mut adam = Adam::new(&theta, options);
        for (want, want_ema) in [(0.9, 0.95), (0.8, 0.875), (0.7, 0.7875)] {
            assert_eq!(adam.step(&mut theta, &array![1.0]), 1.0);
            assert!((theta[0] - want).abs() < 1e-6, "{theta}");
            assert!((adam.ema[0] - want_ema).abs() < 1e-6, "{}", adam.ema);
        }
        assert_eq!(adam.steps, 3);
    }

    #[test]
    fn clipping_changes_the_length_and_not_the_direction() {
        let options = AdamOptions { warmup: 0, clip: 1.0, ..AdamOptions::default() };
        let mut theta: Array1<f32> = array![0.0, 0.0];
        let mut adam = Adam::new(&theta, options);
        assert_eq!(adam.step(&mut theta, &array![3.0, 4.0]), 5.0);
        assert!((adam.m[0] / adam.m[1] - 0.75).abs() < 1e-6);
        assert!((global_norm(&adam.m) - 0.1).abs() < 1e-6, "(1 − β₁) · 1");
    }

    #[test]
    fn warm_up_is_linear_and_ends() {
        let options = AdamOptions { lr: 1.0, warmup: 4, ..AdamOptions::default() };
        let rates: Vec<f64> = (1..=6).map(|k| options.lr_at(k)).collect();
        assert_eq!(rates, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn the_cool_down_ends_one_step_short_of_nothing() {
        let cooldown = Some(Cooldown { from: 3, to: 6 });
        let options = AdamOptions { lr: 1.0, warmup: 0, cooldown, ..AdamOptions::default() };
        let rates: Vec<f64> = (1..=8).map(|k| options.lr_at(k)).collect();
        assert_eq!(rates, [1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]);
    }

    #[test]
    fn each_wrong_number_is_named() {
        let good = AdamOptions::default();
        good.check().unwrap();
        type Change = fn(&mut AdamOptions);
        let wrong: [(Change, &str); 11] = [
            (|o| o.lr = 0.0, "lr: expected a positive number, found 0"),
            (|o| o.lr = f64::NAN, "lr: expected a positive number, found NaN"),
            (|o| o.lr = f64::INFINITY, "lr: expected a positive number, found inf"),
            (|o| o.beta1 = 1.0, "beta1: expected at least 0 and less than 1, found 1"),
            (|o| o.beta2 = -0.1, "beta2: expected at least 0 and less than 1, found -0.1"),
            (|o| o.ema_decay = f64::NAN, "ema: expected at least 0 and less than 1, found NaN"),
            (|o| o.eps = 0.0, "eps: expected a positive number, found 0"),
            (|o| o.clip = -1.0, "clip: expected a length, or 0 for no limit, found -1"),
            (|o| o.clip = f64::NAN, "clip: expected a length, or 0 for no limit, found NaN"),
            (|o| o.clip = f64::INFINITY, "clip: expected a length, or 0 for no limit, found inf"),
            (
                |o| o.cooldown = Some(Cooldown { from: 4, to: 3 }),
                "cooldown: expected an end after step 4, found 3",
            ),
        ];
        for (change, message) in wrong {
            let mut options = good;
            change(&mut options);
            assert_eq!(options.check().unwrap_err().to_string(), message);
        }
    }

    /// On weights that stand at 1 from the first step on, the average says how much of the initial 0 is left.
    #[test]
    fn the_average_soon_forgets_the_initial_weights() {
        let left = |ema_warmup, steps| {
            let options = AdamOptions { ema_decay: 0.999, ema_warmup, ..AdamOptions::default() };
            let mut adam = Adam::new(&array![0.0_f32], options);
            for _ in 0..steps {
                adam.step(&mut array![1.0], &array![0.0]);
            }
            1.0 - adam.ema[0]
        };
        assert!((left(false, 300) - 0.999_f32.powi(300)).abs() < 1e-4, "74 %");
        assert!((left(true, 2) - (2.0 / 11.0) * (3.0 / 12.0)).abs() < 1e-6, "by hand");
        // ∏ n / (n + 9) is 10⁻¹⁶ here: no more than the rounding of numbers at 1, which with or without fused products differs
        assert!(left(true, 300).abs() <= f32::EPSILON);
    }

    #[test]
    fn the_average_begins_as_the_weights() {
        let model: Array1<f32> = array![2.0, -3.0];
        assert_eq!(Adam::new(&model, AdamOptions::default()).ema, model);
    }
}
