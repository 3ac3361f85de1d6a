//! A shorter chain through the same noise levels (Nichol & Dhariwal 2021, section 4).

use super::{Denoiser, Prediction, Query, Reverse, Schedule, Variance};
use crate::tensor::Batch;
use ndarray::{Axis, concatenate};

/// A network that was trained on T steps, as the denoiser of a chain of fewer: step t′ of the short chain is step
/// `times[t′ − 1]` of the long one. It predicts ε, whatever the network predicts; or v, if the short chain ends with
/// ᾱ = 0, where ε says nothing of the image.
#[derive(Clone, Debug)]
pub struct Respaced<'a, M: ?Sized> {
    model: &'a M,
    /// the long chain
    reverse: Reverse,
    times: Vec<usize>,
    /// of the short chain
    prediction: Prediction,
}

/// The chain that visits K = `steps` of the T times: T/K, 2T/K, …, T, rounded. Its last step goes from T/K to 0.
///
/// With S_1 < … < S_K the visited times, β′_i = 1 − ᾱ_{S_i}/ᾱ_{S_{i−1}}, so that ᾱ′_i = ᾱ_{S_i}: the short chain's
/// q(x_i|x_0) is the long chain's at S_i, and whatever takes a denoiser and a [`Reverse`] (sampler, interpolation, bound)
/// works as before. A fixed or absolutely learned variance becomes β̃′, since β′ is far from it where steps are long; one
/// that is learned as a fraction stays.
///
/// # Panics
/// Unless 1 ≤ K ≤ T.
///
/// ```
/// use ddpm::diffusion::{Noise, Reverse, Schedule, oracle::GaussianWorld, respace, sample};
/// let schedule = Schedule::linear(1000);
/// let (world, reverse) = (GaussianWorld::new(0.5, 0.01, schedule.clone()), Reverse::new(schedule));
/// let (model, reverse) = respace(&world, &reverse, 25);
/// let x0 = sample(&model, &reverse, [64, 4, 4, 1], &Noise::seed(1)); // 25 looks instead of 1000
/// assert!((x0.mean().unwrap() - 0.5).abs() < 0.02);
/// ```
#[track_caller]
pub fn respace<'a, M: Denoiser + ?Sized>(
    model: &'a M,
    reverse: &Reverse,
    steps: usize,
) -> (Respaced<'a, M>, Reverse) {
    let last = reverse.schedule.T();
    assert!((1..=last).contains(&steps), "respace: {steps} of {last} steps, 1..={last} possible");
    let times: Vec<usize> = evenly(last, steps).collect();
    let before = std::iter::once(&0).chain(&times);
    let betas: Vec<f64> = before.zip(&times).map(|(&s, &t)| reverse.schedule.transition(s, t).beta).collect();
    let schedule = Schedule::from_betas(&betas).expect("ᾱ falls strictly, and so do some of its values");
    let variance = match reverse.variance {
        Variance::LearnedRange => Variance::LearnedRange,
        Variance::Beta | Variance::BetaTilde | Variance::Learned => Variance::BetaTilde,
    };
    let prediction = if schedule.has_zero_terminal_snr() { Prediction::V } else { Prediction::Eps };
    let short = Reverse { schedule, prediction, variance, clip: reverse.clip };
    (Respaced { model, reverse: reverse.clone(), times, prediction }, short)
}

/// T/K, 2T/K, …, T, rounded.
#[allow(non_snake_case)] // T and K are the documentation's names
pub(super) fn evenly(T: usize, K: usize) -> impl DoubleEndedIterator<Item = usize> {
    (1..=K).map(move |i| (2 * i * T + K) / (2 * K))
}

impl<M: ?Sized> Respaced<'_, M> {
    /// S_1 … S_K.
    ///
    /// ```
    /// use ddpm::diffusion::{Reverse, Schedule, respace, oracle::GaussianWorld};
    /// let schedule = Schedule::cosine(10);
    /// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
    /// assert_eq!(respace(&world, &Reverse::new(schedule), 2).0.times(), [5, 10]);
    /// ```
    pub fn times(&self) -> &[usize] {
        &self.times
    }
}

impl<M: Denoiser + ?Sized> Denoiser for Respaced<'_, M> {
    fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
        self.answer(&Query::new(x_t, t))
    }

    fn answer(&self, query: &Query) -> Batch {
        let (x_t, t) = (query.x_t, query.t);
        let t: Vec<usize> = t.iter().map(|&t| self.times[t - 1]).collect();
        let output = self.model.answer(&Query { t: &t, ..*query });
        let (answer, v) = match self.prediction {
            Prediction::V => self.reverse.v_hat(output, x_t, &t),
            _ => self.reverse.eps_hat(output, x_t, &t),
        };
        match v.filter(|_| self.reverse.variance == Variance::LearnedRange) {
            Some(v) => concatenate![Axis(3), answer, v],
            None => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Ddim, ddim_step, forward::v_target, oracle::GaussianWorld};
    use crate::rng::{normal, stream};

    fn world() -> (GaussianWorld, Reverse) {
        let schedule = Schedule::linear(1000);
        (GaussianWorld::new(0.2, 0.3, schedule.clone()), Reverse::new(schedule))
    }

    #[test]
    fn the_times_are_spread_evenly() {
        let (world, reverse) = world();
        let times = |steps| respace(&world, &reverse, steps).0.times().to_vec();
        assert_eq!(times(8), [125, 250, 375, 500, 625, 750, 875, 1000]);
        assert_eq!(times(3), [333, 667, 1000]);
        assert_eq!(times(1000), (1..=1000).collect::<Vec<_>>());
    }

    #[test]
    fn the_noise_levels_are_those_of_the_long_chain() {
        let (world, reverse) = world();
        for steps in [1, 7, 250, 1000] {
            let (model, short) = respace(&world, &reverse, steps);
            assert_eq!((model.times()[steps - 1], short.schedule.T()), (1000, steps));
            for (i, &t) in model.times().iter().enumerate() {
                let (a, b) = (short.schedule.alpha_bar(i + 1), reverse.schedule.alpha_bar(t));
                // β′ = 1 − ᾱ/ᾱ is rounded at 1e-16, however small ᾱ is
                assert!((a - b).abs() < 1e-12 * b + 1e-15, "{steps} steps, t = {t}: {a} and {b}");
            }
        }
    }

    /// A step of the short chain is DDIM's jump with η = 1, which was derived on another road.
    #[test]
    fn a_step_is_a_ddim_jump() {
        let (world, reverse) = world();
        let (model, short) = respace(&world, &reverse, 10);
        let x_t: Batch = normal((2, 2, 2, 1), &mut stream(1, 0));
        let z = normal((2, 2, 2, 1), &mut stream(1, 1));
        // DDIM's ε̂ must be that of the clipped x̂_0, as Algorithm 2 has it
        let ddim = Ddim { eta: 1.0, rederive_eps: true, ..Ddim::new(10) };
        for i in [2, 5, 10] {
            let a = short.p_sample(&model, &x_t, &[i, i], &z).x_prev;
            let (t, before) = (model.times()[i - 1], model.times()[i - 2]);
            let b = ddim_step(&world, &reverse, &ddim, &x_t, t, before, &z).x_prev;
            assert!((a - b).iter().all(|d| d.abs() < 1e-10), "step {i}");
        }
    }

    /// The same denoiser asked for ε, x_0, μ̃ or v makes the same short chain.
    #[test]
    fn the_prediction_does_not_matter() {
        let (world, reverse) = world();
        let reverse = Reverse { clip: false, ..reverse };
        let x_t: Batch = normal((1, 2, 2, 1), &mut stream(2, 0));
        let want = respace(&world, &reverse, 10).0.predict(&x_t, &[6]);
        for prediction in Prediction::ALL {
            let asked = Reverse { prediction, ..reverse.clone() };
            let answer = |x: &Batch, t: &[usize]| {
                let p = reverse.p_mean_variance(&world, x, t);
                match prediction {
                    Prediction::Eps => world.predict(x, t),
                    Prediction::X0 => p.x0_hat,
                    Prediction::MuTilde => p.normal.mean,
                    Prediction::V => v_target(&reverse.schedule, &p.x0_hat, t, &world.predict(x, t)),
                }
            };
            let got = respace(&answer, &asked, 10).0.predict(&x_t, &[6]);
            assert!((got - &want).iter().all(|d| d.abs() < 1e-9), "{prediction}");
        }
    }

    #[test]
    fn a_learned_fraction_stays_and_a_learned_variance_goes() {
        let (_, reverse) = world();
        let twice = |x: &Batch, _: &[usize]| concatenate![Axis(3), x.clone(), x.clone()];
        for (variance, channels) in [(Variance::LearnedRange, 2), (Variance::Learned, 1)] {
            let long = Reverse { variance, ..reverse.clone() };
            let (model, short) = respace(&twice, &long, 5);
            let output = model.predict(&Batch::ones((1, 2, 2, 1)), &[3]);
            assert_eq!(output.dim().3, channels);
            assert_eq!(short.variance.is_learned(), channels == 2);
        }
    }

    #[test]
    #[should_panic(expected = "respace: 1001 of 1000 steps, 1..=1000 possible")]
    fn no_more_steps_than_there_are() {
        let (world, reverse) = world();
        respace(&world, &reverse, 1001);
    }
}
