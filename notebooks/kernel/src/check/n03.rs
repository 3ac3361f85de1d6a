//! 03: the posterior, and sampling with a perfect denoiser.

use super::{exercises, museum};
use ddpm::diffusion::{Schedule, log_normal, normal_cdf};
use ddpm::prelude::Array1;
use ddpm::rng::{normal, stream};

/// `posterior(schedule, t, x0, x_t)`, the mean and the variance.
type Posterior = fn(&Schedule, usize, f64, f64) -> (f64, f64);
/// `reverse_step(schedule, t, x_t, eps_hat, z)`.
type ReverseStep = fn(&Schedule, usize, f64, f64, f64) -> f64;
/// `run_chain(schedule, start, eps_hat, z)`.
type RunChain = fn(&Schedule, f64, &dyn Fn(f64, usize) -> f64, &dyn Fn(usize) -> f64) -> f64;

/// Mean and variance of q(x_{t−1}|x_t, x_0) without Eq. 7: prior times likelihood, added up over a grid of x_{t−1}.
fn bayes(schedule: &Schedule, t: usize, x0: f64, x_t: f64) -> (f64, f64) {
    let (scale, before) = (schedule.alpha_bar(t - 1).sqrt(), 1.0 - schedule.alpha_bar(t - 1));
    let (centre, sd) = (scale * x0, before.sqrt());
    // twelve deviations of the prior on both sides, 20,000 steps
    let grid = (-10_000..=10_000).map(|i| centre + sd * 12.0 * f64::from(i) / 10_000.0);
    let log_weight = |x: f64| {
        log_normal(x, centre, before.ln())
            + log_normal(x_t, schedule.alpha(t).sqrt() * x, schedule.beta(t).ln())
    };
    let most = grid.clone().map(log_weight).fold(f64::NEG_INFINITY, f64::max);
    let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
    for x in grid {
        let weight = (log_weight(x) - most).exp();
        total += weight;
        first += weight * (x - centre);
        second += weight * (x - centre).powi(2);
    }
    let off = first / total;
    (centre + off, second / total - off * off)
}

/// c_1 x_0 + c_2 x_t.
fn mu_tilde(schedule: &Schedule, t: usize, x0: f64, x_t: f64) -> f64 {
    let (c1, c2) = schedule.posterior_coefs(t);
    c1 * x0 + c2 * x_t
}

/// x̂_0 (Eq. 15).
fn image(schedule: &Schedule, t: usize, x_t: f64, eps_hat: f64) -> f64 {
    (x_t - (1.0 - schedule.alpha_bar(t)).sqrt() * eps_hat) / schedule.alpha_bar(t).sqrt()
}

/// Line 4 of Algorithm 2 for a given root in the denominator, and σ_t z.
fn line_4(schedule: &Schedule, t: usize, x_t: f64, eps_hat: f64, root: f64, noise: f64) -> f64 {
    (x_t - schedule.beta(t) / root * eps_hat) / schedule.alpha(t).sqrt() + noise
}

/// √(1 − ᾱ_t).
fn root(schedule: &Schedule, t: usize) -> f64 {
    (1.0 - schedule.alpha_bar(t)).sqrt()
}

/// Algorithm 2 over the t in `steps`, with noise at those t for which `noisy` holds.
fn chain(
    schedule: &Schedule,
    start: f64,
    steps: impl Iterator<Item = usize>,
    eps_hat: &dyn Fn(f64, usize) -> f64,
    z: &dyn Fn(usize) -> f64,
    noisy: impl Fn(usize) -> bool,
) -> f64 {
    steps.fold(start, |x, t| {
        let noise = if noisy(t) { schedule.beta(t).sqrt() * z(t) } else { 0.0 };
        line_4(schedule, t, x, eps_hat(x, t), root(schedule, t), noise)
    })
}

/// The perfect denoiser of N(m, s²).
fn perfect(schedule: &Schedule, mean: f64, sd: f64) -> impl Fn(f64, usize) -> f64 {
    let schedule = schedule.clone();
    move |x, t| {
        let alpha_bar = schedule.alpha_bar(t);
        (1.0 - alpha_bar).sqrt() * (x - alpha_bar.sqrt() * mean) / (alpha_bar * sd * sd + 1.0 - alpha_bar)
    }
}

/// What 1000 chains arrive at, for data N(0.3, 0.02²) and T = 100.
fn arrivals(run: RunChain) -> Vec<f64> {
    let schedule = Schedule::cosine(100);
    let eps_hat = perfect(&schedule, 0.3, 0.02);
    let chains = (0..1000).map(|n| {
        let z: Array1<f64> = normal(101, &mut stream(33, n));
        run(&schedule, z[0], &eps_hat, &|t| z[t])
    });
    chains.collect()
}

/// The Kolmogorov–Smirnov distance of draws from N(m, s²): the largest difference of the two distribution functions.
fn ks_distance(draws: &[f64], mean: f64, sd: f64) -> f64 {
    let mut sorted = draws.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let gaps = sorted.iter().enumerate().map(|(i, x)| {
        let cdf = normal_cdf((x - mean) / sd);
        (cdf - i as f64 / n).abs().max(((i + 1) as f64 / n - cdf).abs())
    });
    gaps.fold(0.0, f64::max)
}

/// `completed_square(schedule, t, x0, x_t)`: (a, b).
type CompletedSquare = fn(&Schedule, usize, f64, f64) -> (f64, f64);
/// `mixture_guess(x_t, alpha_bar, shares, means, variance)`.
type MixtureGuess = fn(f64, f64, &[f64], &[f64], f64) -> f64;
/// `slope(schedule, t, eps_hat)`.
type Slope = fn(&Schedule, usize, f64) -> f64;

/// Where both sides of a line are compared.
const PLACES: [f64; 3] = [-1.3, 0.4, 2.0];

/// log q(x_t|x) + log q(x|x_0), and how much it differs from its value at x = 0.
fn exponent(s: &Schedule, t: usize, x0: f64, x_t: f64, x: f64) -> f64 {
    let log = |x: f64| {
        let before = 1.0 - s.alpha_bar(t - 1);
        log_normal(x_t, s.alpha(t).sqrt() * x, s.beta(t).ln())
            + log_normal(x, s.alpha_bar(t - 1).sqrt() * x0, before.ln())
    };
    log(x) - log(0.0)
}

/// The parts of a and b that the step and the jump bring.
fn squares(s: &Schedule, t: usize, x0: f64, x_t: f64) -> [(f64, f64); 2] {
    let before = 1.0 - s.alpha_bar(t - 1);
    let step = (s.alpha(t) / s.beta(t), s.alpha(t).sqrt() * x_t / s.beta(t));
    [step, (1.0 / before, s.alpha_bar(t - 1).sqrt() * x0 / before)]
}

/// E[x_0|x_t] of a mixture, by adding up over a grid of x_0.
fn guess_on_grid(x_t: f64, alpha_bar: f64, shares: &[f64], means: &[f64], variance: f64) -> f64 {
    let weight = |x0: f64| {
        let data = shares.iter().zip(means).map(|(share, m)| share * log_normal(x0, *m, variance.ln()).exp());
        data.sum::<f64>() * log_normal(x_t, alpha_bar.sqrt() * x0, (1.0 - alpha_bar).ln()).exp()
    };
    let grid = (-8000..=8000).map(|i| f64::from(i) / 2000.0);
    grid.clone().map(|x| x * weight(x)).sum::<f64>() / grid.map(weight).sum::<f64>()
}

/// Σ_k r_k guess_k, where r_k is proportional to share_k N(x_t; √ᾱ m_k, spread).
fn guess_of_modes(
    x_t: f64,
    alpha_bar: f64,
    shares: &[f64],
    means: &[f64],
    spread: f64,
    guess: impl Fn(f64) -> f64,
) -> f64 {
    let r = shares
        .iter()
        .zip(means)
        .map(|(share, m)| share * log_normal(x_t, alpha_bar.sqrt() * m, spread.ln()).exp());
    let r: Vec<f64> = r.collect();
    r.iter().zip(means).map(|(r, &m)| r * guess(m)).sum::<f64>() / r.iter().sum::<f64>()
}

/// The best guess if x_0 is of the mode m: its mean, moved by what x_t says.
fn moved(x_t: f64, alpha_bar: f64, variance: f64) -> impl Fn(f64) -> f64 {
    let gain = alpha_bar.sqrt() * variance / (alpha_bar * variance + 1.0 - alpha_bar);
    move |m| m + gain * (x_t - alpha_bar.sqrt() * m)
}

/// At x_t of the two humps of the notebook: the perfect answer ε̂, and the slope of log q(x_t) by differences.
fn humps(s: &Schedule, t: usize, x_t: f64) -> (f64, f64) {
    let (a, shares, means) = (s.alpha_bar(t), [0.3, 0.7], [-0.6, 0.5]);
    let log_q = |x: f64| {
        let mode =
            |(share, m): (&f64, &f64)| share * log_normal(x, a.sqrt() * m, (1.0 - 0.99 * a).ln()).exp();
        shares.iter().zip(&means).map(mode).sum::<f64>().ln()
    };
    let x0_hat = guess_of_modes(x_t, a, &shares, &means, 1.0 - 0.99 * a, moved(x_t, a, 0.01));
    let eps_hat = (x_t - a.sqrt() * x0_hat) / (1.0 - a).sqrt();
    (eps_hat, (log_q(x_t + 1e-5) - log_q(x_t - 1e-5)) / 2e-5)
}

type GuessImage = fn(&Schedule, usize, f64, f64) -> f64;
type ClippedMean = fn(&Schedule, usize, f64, f64) -> f64;

exercises! {
    solutions: "03_posterior.rs";
    /// `completed_square(schedule, t, x0, x_t)`: a and b of b x − ½ a x², the exponent of the product of Bayes' rule.
    completed_square: CompletedSquare;
    /// `posterior(schedule, t, x0, x_t)`: mean and variance of q(x_{t−1}|x_t, x_0) (Eqs. 6, 7).
    posterior: Posterior;
    /// `mixture_guess(x_t, alpha_bar, shares, means, variance)`: E[x_0|x_t] of a mixture of Gaussians.
    mixture_guess: MixtureGuess;
    /// `guess_image(schedule, t, x_t, eps_hat)`: x̂_0 (Eq. 15).
    guess_image: GuessImage;
    /// `slope(schedule, t, eps_hat)`: the score, ∇ log q(x_t), from the best guess of the noise.
    slope: Slope;
    /// `reverse_step(schedule, t, x_t, eps_hat, z)`: x_{t−1} by line 4 of Algorithm 2, with σ_t² = β_t.
    reverse_step: ReverseStep;
    /// `run_chain(schedule, start, eps_hat, z)`: all of Algorithm 2, from x_T = `start`; `eps_hat(x_t, t)`, `z(t)`.
    run_chain: RunChain;
    /// `clipped_mean(schedule, t, x_t, eps_hat)`: μ̃_t(x_t, x̂_0) with x̂_0 clipped to [−1, 1].
    clipped_mean: ClippedMean;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn completed_square(e: Exercise<CompletedSquare>) -> Exercise<CompletedSquare> {
        let case = |t: usize, x0: f64, x_t: f64| {
            let (schedule, other) = (Schedule::linear(1000), Schedule::linear(1000));
            let run = move |f: CompletedSquare| {
                let (a, b) = f(&schedule, t, x0, x_t);
                PLACES.map(|x| b * x - 0.5 * a * x * x).to_vec()
            };
            (
                format!("t = {t}, x_0 = {x0}, x_t = {x_t}: both sides at x = −1.3, 0.4, 2"),
                run,
                PLACES.map(|x| exponent(&other, t, x0, x_t, x)).to_vec(),
            )
        };
        [case(2, 0.5, 0.48), case(500, 0.5, -1.2), case(1000, -1.0, 0.7)]
            .into_iter()
            .fold(e, |e, (input, run, expected)| e.case(input, run, expected))
            .trivial(|_, _, x0, x_t| (x0, x_t))
            .trivial(|_, _, _, _| (0.0, 0.0))
            .mistake("the step shrinks x by √α_t: x² comes with α_t/β_t", |s, t, x0, x_t| {
                let [step, jump] = squares(s, t, x0, x_t);
                (1.0 / s.beta(t) + jump.0, step.1 + jump.1)
            })
            .mistake("only the step counts: the jump from x_0 is missing", |s, t, x0, x_t| squares(s, t, x0, x_t)[0])
            .mistake("the jump lands at √ᾱ_{t−1} x_0, not at x_0", |s, t, x0, x_t| {
                let [step, jump] = squares(s, t, x0, x_t);
                (step.0 + jump.0, step.1 + x0 / (1.0 - s.alpha_bar(t - 1)))
            })
            .mistake("half of it: the ½ stands in front of a x² already, and b x has none", |s, t, x0, x_t| {
                let [step, jump] = squares(s, t, x0, x_t);
                ((step.0 + jump.0) / 2.0, (step.1 + jump.1) / 2.0)
            })
            .hint("Write out both exponents, −(x_t − √α_t x)²/(2β_t) and −(x − √ᾱ_{t−1} x_0)²/(2(1 − ᾱ_{t−1})), and multiply out the squares.")
            .hint("Collect what stands with x², and what stands with x; the rest does not depend on x.")
            .hint("Each bracket gives −½ · (something) · x² and (something) · x. a and b are sums of two such somethings.")
    }

    pub(super) fn mixture_guess(e: Exercise<MixtureGuess>) -> Exercise<MixtureGuess> {
        const HUMPS: ([f64; 2], [f64; 2]) = ([0.3, 0.7], [-0.6, 0.5]);
        const THREE: ([f64; 3], [f64; 3]) = ([0.2, 0.5, 0.3], [-1.0, 0.1, 0.8]);
        let humps = |x_t: f64, a: f64| {
            (
                format!("the two humps, ᾱ = {a}, x_t = {x_t}, by adding up over a grid"),
                move |f: MixtureGuess| f(x_t, a, &HUMPS.0, &HUMPS.1, 0.01),
                guess_on_grid(x_t, a, &HUMPS.0, &HUMPS.1, 0.01),
            )
        };
        [humps(0.2, 0.5), humps(-0.5, 0.9), humps(0.1, 0.02)]
            .into_iter()
            .fold(e, |e, (input, run, expected)| e.case_within(1e-6, input, run, expected))
            .case_within(1e-6, "three modes with a variance of 0.2, ᾱ = 0.6, x_t = 0.7", |f| f(0.7, 0.6, &THREE.0, &THREE.1, 0.2), guess_on_grid(0.7, 0.6, &THREE.0, &THREE.1, 0.2))
            .trivial(|x_t, _, _, _, _| x_t)
            .trivial(|_, _, shares, means, _| shares.iter().zip(means).map(|(s, m)| s * m).sum())
            .mistake("the shares of the modes are left out", |x_t, a, shares, means, v| {
                guess_of_modes(x_t, a, &vec![1.0; shares.len()], means, a * v + 1.0 - a, moved(x_t, a, v))
            })
            .mistake("within a mode x_t says something too: the guess is not the mode's mean", |x_t, a, shares, means, v| {
                guess_of_modes(x_t, a, shares, means, a * v + 1.0 - a, |m| m)
            })
            .mistake("a mode of variance v is wider after the jump: ᾱ v + 1 − ᾱ", |x_t, a, shares, means, v| {
                guess_of_modes(x_t, a, shares, means, 1.0 - a, moved(x_t, a, v))
            })
            .mistake("the means of the modes shrink by √ᾱ, not by ᾱ", |x_t, a, shares, means, v| {
                guess_of_modes(x_t, a * a, shares, means, a * v + 1.0 - a, moved(x_t, a, v))
            })
            .hint("Two questions: which mode was it, given x_t? And if it was this one, which x_0?")
            .hint("The first is Bayes' rule of notebook 01: share · N(x_t; √ᾱ m, ᾱ v + 1 − ᾱ), divided by the sum.")
            .hint("The second is the posterior of two Gaussians: m + (√ᾱ v/(ᾱ v + 1 − ᾱ)) (x_t − √ᾱ m). The guess is the weighted mean.")
    }

    pub(super) fn slope(e: Exercise<Slope>) -> Exercise<Slope> {
        let case = |t: usize, x_t: f64| {
            let (schedule, (eps_hat, expected)) =
                (Schedule::linear(1000), humps(&Schedule::linear(1000), t, x_t));
            (
                format!("the two humps, t = {t}, x_t = {x_t}: the slope of log q(x_t) by differences"),
                move |f: Slope| f(&schedule, t, eps_hat),
                expected,
            )
        };
        [case(20, 0.3), case(200, -0.4), case(500, 1.1), case(900, -1.5)]
            .into_iter()
            .fold(e, |e, (input, run, expected)| e.case_within(1e-5, input, run, expected))
            .trivial(|_, _, eps_hat| eps_hat)
            .trivial(|_, _, eps_hat| -eps_hat)
            .mistake("the sign: noise leads away from the data, the score towards them", |s, t, eps| eps / root(s, t))
            .mistake("divided by the variance 1 − ᾱ_t instead of its root", |s, t, eps| -eps / (1.0 - s.alpha_bar(t)))
            .mistake("multiplied by the root instead of divided", |s, t, eps| -eps * root(s, t))
            .mistake("the root of 1 − α_t, of one step, instead of 1 − ᾱ_t", |s, t, eps| -eps / s.beta(t).sqrt())
            .hint("For one x_0: log q(x_t|x_0) = −(x_t − √ᾱ_t x_0)²/(2(1 − ᾱ_t)) + const. What is its slope in x_t?")
            .hint("x_t − √ᾱ_t x_0 is √(1 − ᾱ_t) ε.")
            .hint("One root of 1 − ᾱ_t cancels; the sign stays.")
    }

    pub(super) fn posterior(e: Exercise<Posterior>) -> Exercise<Posterior> {
        let case = |t: usize, x0: f64, x_t: f64| {
            let (schedule, expected) = (Schedule::linear(1000), bayes(&Schedule::linear(1000), t, x0, x_t));
            (move |f: Posterior| f(&schedule, t, x0, x_t), expected)
        };
        let (a, b, c) = (case(2, 0.5, 0.48), case(500, 0.5, -1.2), case(1000, -1.0, 0.7));
        e.case_within(1e-7, "linear, T = 1000, t = 2, x_0 = 0.5, x_t = 0.48, by Bayes on a grid", a.0, a.1)
            .case_within(1e-7, "t = 500, x_0 = 0.5, x_t = -1.2, by Bayes on a grid", b.0, b.1)
            .case_within(1e-7, "t = 1000, x_0 = -1, x_t = 0.7, by Bayes on a grid", c.0, c.1)
            .case("t = 1, x_0 = 0.5, x_t = 0.48", |f| f(&Schedule::linear(1000), 1, 0.5, 0.48), (0.5, 0.0))
            .trivial(|_, _, x0, x_t| (x0, x_t))
            .trivial(|_, _, x0, _| (x0, 0.0))
            .trivial(|_, _, _, x_t| (x_t, 0.0))
            .mistake("√ᾱ_t in front of x_t, a misprint: it is √α_t (Eq. 7)", |s, t, x0, x_t| {
                let (c1, c2) = s.posterior_coefs(t);
                (c1 * x0 + c2 * (s.alpha_bar(t) / s.alpha(t)).sqrt() * x_t, s.beta_tilde(t))
            })
            .mistake("√ᾱ_t in front of x_0: it is √ᾱ_{t−1}, what is left of the image one step earlier", |s, t, x0, x_t| {
                let (c1, c2) = s.posterior_coefs(t);
                (c1 * (s.alpha_bar(t) / s.alpha_bar(t - 1)).sqrt() * x0 + c2 * x_t, s.beta_tilde(t))
            })
            .mistake("the variance β_t: knowing x_0 makes it smaller, β̃_t", |s, t, x0, x_t| (mu_tilde(s, t, x0, x_t), s.beta(t)))
            .mistake("the standard deviation, not the variance", |s, t, x0, x_t| (mu_tilde(s, t, x0, x_t), s.beta_tilde(t).sqrt()))
            .hint("You have a and b of Exercise 3.1. Mean and variance are two fractions away.")
            .hint("Five numbers of the schedule occur: β_t, α_t, ᾱ_t, ᾱ_{t−1}, and 1 − ᾱ_t below every fraction.")
            .hint("`schedule.posterior_coefs(t)` has c_1 and c_2 ready; better write them out once from Eq. 7.")
    }

    pub(super) fn guess_image(e: Exercise<GuessImage>) -> Exercise<GuessImage> {
        let cosine = || Schedule::cosine(50);
        let jump = |t: usize, x0: f64, eps: f64| {
            let alpha_bar = Schedule::cosine(50).alpha_bar(t);
            alpha_bar.sqrt() * x0 + (1.0 - alpha_bar).sqrt() * eps
        };
        e.case(
            "cosine, T = 50, t = 25: x_0 = 0.4 with the noise ε = -1.3, and ε̂ = ε",
            move |f| f(&cosine(), 25, jump(25, 0.4, -1.3), -1.3),
            0.4,
        )
        .case("t = 49: x_0 = -0.9, ε = ε̂ = 2", move |f| f(&cosine(), 49, jump(49, -0.9, 2.0), 2.0), -0.9)
        .case("t = 10, x_t = 0.5, ε̂ = 0", move |f| f(&cosine(), 10, 0.5, 0.0), image(&cosine(), 10, 0.5, 0.0))
        .trivial(|_, _, x_t, _| x_t)
        .trivial(|_, _, _, eps_hat| eps_hat)
        .mistake("not divided by √ᾱ_t: the image in x_t is fainter than x_0", |s, t, x_t, eps_hat| {
            x_t - root(s, t) * eps_hat
        })
        .mistake(museum::B5, |s, t, x_t, eps_hat| {
            (x_t - (1.0 - s.alpha_bar(t)) * eps_hat) / s.alpha_bar(t).sqrt()
        })
        .mistake("divided by ᾱ_t instead of its root", |s, t, x_t, eps_hat| {
            (x_t - root(s, t) * eps_hat) / s.alpha_bar(t)
        })
        .mistake("α_t for ᾱ_t: x_t is t steps away from x_0, not one", |s, t, x_t, eps_hat| {
            (x_t - s.beta(t).sqrt() * eps_hat) / s.alpha(t).sqrt()
        })
        .hint("What is known here, and what is asked for? It is one equation.")
        .hint("Take the jump of notebook 02, x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, and solve it for x_0.")
        .hint("x̂_0 = (x_t − √(1 − ᾱ_t) ε̂)/√ᾱ_t")
    }

    pub(super) fn reverse_step(e: Exercise<ReverseStep>) -> Exercise<ReverseStep> {
        let line = |s: &Schedule, t, x_t, eps_hat, z: f64| {
            line_4(s, t, x_t, eps_hat, root(s, t), if t > 1 { s.beta(t).sqrt() * z } else { 0.0 })
        };
        let linear = || Schedule::linear(1000);
        e.case(
            "linear, T = 1000, t = 500, x_t = 0.8, ε̂ = 0.6, z = 0",
            move |f| f(&linear(), 500, 0.8, 0.6, 0.0),
            line(&linear(), 500, 0.8, 0.6, 0.0),
        )
        .case(
            "t = 500, x_t = 0.8, ε̂ = 0.6, z = -1.5",
            move |f| f(&linear(), 500, 0.8, 0.6, -1.5),
            line(&linear(), 500, 0.8, 0.6, -1.5),
        )
        .case(
            "t = 2, x_t = -0.3, ε̂ = 1, z = 1",
            move |f| f(&linear(), 2, -0.3, 1.0, 1.0),
            line(&linear(), 2, -0.3, 1.0, 1.0),
        )
        .case(
            "t = 1, x_t = -0.3, ε̂ = 1, z = 1",
            move |f| f(&linear(), 1, -0.3, 1.0, 1.0),
            line(&linear(), 1, -0.3, 1.0, 1.0),
        )
        .trivial(|_, _, x_t, _, _| x_t)
        .trivial(|_, _, _, eps_hat, _| eps_hat)
        .trivial(|_, _, _, _, z| z)
        .mistake(museum::B6, |s, t, x_t, eps_hat, z| {
            line_4(s, t, x_t, eps_hat, root(s, t), s.beta(t).sqrt() * z)
        })
        .mistake(
            "√(1 − α_t) in the denominator, a misprint: it is √(1 − ᾱ_t)",
            |s, t, x_t, eps_hat, z| {
                line_4(s, t, x_t, eps_hat, s.beta(t).sqrt(), if t > 1 { s.beta(t).sqrt() * z } else { 0.0 })
            },
        )
        .mistake("z times σ_t² = β_t: σ_t is its root", |s, t, x_t, eps_hat, z| {
            line_4(s, t, x_t, eps_hat, root(s, t), if t > 1 { s.beta(t) * z } else { 0.0 })
        })
        .mistake("1/√α_t is missing in front", |s, t, x_t, eps_hat, z| {
            x_t - s.beta(t) / root(s, t) * eps_hat + if t > 1 { s.beta(t).sqrt() * z } else { 0.0 }
        })
        .mistake(
            "all of the noise is taken away at once: √(1 − ᾱ_t) instead of β_t/√(1 − ᾱ_t)",
            |s, t, x_t, eps_hat, z| {
                (x_t - root(s, t) * eps_hat) / s.alpha(t).sqrt()
                    + if t > 1 { s.beta(t).sqrt() * z } else { 0.0 }
            },
        )
        .hint("Which root stands under β_t: that of one step, or that of the whole jump?")
        .hint("The mean is (x_t − β_t/√(1 − ᾱ_t) ε̂)/√α_t; `schedule.beta(t)`, `alpha(t)`, `alpha_bar(t)`.")
        .hint("At t = 1 the mean is the result; at any other t add √β_t z.")
    }

    pub(super) fn run_chain(e: Exercise<RunChain>) -> Exercise<RunChain> {
        // α = 1e-4 for 1000 draws is 0.071; the chain itself is off by little
        e.holds(
            "1000 chains of T = 100 for data N(0.3, 0.02²) with its perfect denoiser",
            arrivals,
            "a Kolmogorov–Smirnov distance below 0.08 from N(0.3, 0.02²)",
            |draws| {
                let distance = ks_distance(&draws.numbers, 0.3, 0.02);
                if distance < 0.08 { Ok(()) } else { Err(format!("it is {distance:.3}")) }
            },
        )
        .case(
            "cosine, T = 3, x_T = 1, ε̂(x, t) = x/2, z(t) = t",
            |f| f(&Schedule::cosine(3), 1.0, &|x, _| x / 2.0, &|t| t as f64),
            chain(&Schedule::cosine(3), 1.0, (1..=3).rev(), &|x, _| x / 2.0, &|t| t as f64, |t| t > 1),
        )
        .trivial(|_, start, _, _| start)
        .mistake(museum::B6, |s, start, eps_hat, z| chain(s, start, (1..=s.T()).rev(), eps_hat, z, |_| true))
        .mistake(museum::B7, |s, start, eps_hat, z| chain(s, start, (2..=s.T()).rev(), eps_hat, z, |_| true))
        .mistake(
            "no noise at all: the chain then ends nearer to the mean than the data do",
            |s, start, eps_hat, z| chain(s, start, (1..=s.T()).rev(), eps_hat, z, |_| false),
        )
        .mistake("t runs upwards: the chain starts at T", |s, start, eps_hat, z| {
            chain(s, start, 1..=s.T(), eps_hat, z, |t| t > 1)
        })
        .mistake("the same z in every step", |s, start, eps_hat, z| {
            let one = z(s.T());
            chain(s, start, (1..=s.T()).rev(), eps_hat, &|_| one, |t| t > 1)
        })
        .hint("In which order are the steps taken, and which is the last?")
        .hint("`for t in (1..=schedule.T()).rev()`; a range from T to 1 is empty in Rust.")
        .hint("The body of the loop is the step of Exercise 3.6, with `eps_hat(x, t)` and `z(t)`.")
    }

    pub(super) fn clipped_mean(e: Exercise<ClippedMean>) -> Exercise<ClippedMean> {
        let right =
            |s: &Schedule, t, x_t, eps_hat| mu_tilde(s, t, image(s, t, x_t, eps_hat).clamp(-1.0, 1.0), x_t);
        let linear = || Schedule::linear(1000);
        e.case(
            "linear, T = 1000, t = 300, x_t = 0.5, ε̂ = 0.4, where x̂_0 = 0.29: as line 4",
            move |f| f(&linear(), 300, 0.5, 0.4),
            line_4(&linear(), 300, 0.5, 0.4, root(&linear(), 300), 0.0),
        )
        .case(
            "t = 300, x_t = 1.5, ε̂ = 0.1, where x̂_0 = 2.3",
            move |f| f(&linear(), 300, 1.5, 0.1),
            right(&linear(), 300, 1.5, 0.1),
        )
        .case(
            "t = 900, x_t = -2, ε̂ = -1.5, where x̂_0 = -27",
            move |f| f(&linear(), 900, -2.0, -1.5),
            right(&linear(), 900, -2.0, -1.5),
        )
        .trivial(|_, _, x_t, _| x_t)
        .trivial(|_, _, _, eps_hat| eps_hat)
        .mistake(museum::B15, |s, t, x_t, eps_hat| mu_tilde(s, t, image(s, t, x_t, eps_hat), x_t))
        .mistake("the mean is clipped, not the guess of the image", |s, t, x_t, eps_hat| {
            mu_tilde(s, t, image(s, t, x_t, eps_hat), x_t).clamp(-1.0, 1.0)
        })
        .mistake("x_t is clipped: it may well lie outside [−1, 1]", |s, t, x_t, eps_hat| {
            let x_t = x_t.clamp(-1.0, 1.0);
            mu_tilde(s, t, image(s, t, x_t, eps_hat).clamp(-1.0, 1.0), x_t)
        })
        .mistake("clipped to [0, 1]: pixels lie in [−1, 1]", |s, t, x_t, eps_hat| {
            mu_tilde(s, t, image(s, t, x_t, eps_hat).clamp(0.0, 1.0), x_t)
        })
        .hint("What has to happen between the guess of the image and the mean of the step?")
        .hint("Three steps: x̂_0 as in Exercise 3.4, clip it, then μ̃_t(x_t, x̂_0) as in Exercise 3.2.")
        .hint("`x.clamp(-1.0, 1.0)`; `schedule.posterior_coefs(t)` gives (c_1, c_2).")
    }
}
