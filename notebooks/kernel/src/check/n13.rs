//! 13: faster and steered.

use super::{exercises, museum};
use ddpm::diffusion::Schedule;

/// √ᾱ x_0 + √(1 − ᾱ) ε.
fn at(alpha_bar: f64, x0: f64, eps: f64) -> f64 {
    alpha_bar.sqrt() * x0 + (1.0 - alpha_bar).sqrt() * eps
}

/// σ of DDIM.
fn sigma(now: f64, before: f64, eta: f64) -> f64 {
    eta * ((1.0 - before) / (1.0 - now) * (1.0 - now / before)).sqrt()
}

/// `steps` times from `last` down to `first`, both included.
fn spread(last: f64, first: f64, steps: usize) -> Vec<usize> {
    (0..steps).map(|k| (last - (last - first) * k as f64 / (steps - 1) as f64).round() as usize).collect()
}

type DdimSigma = fn(f64, f64, f64) -> f64;
type DdimJump = fn(f64, f64, f64, f64) -> f64;
type Strided = fn(usize, usize) -> Vec<usize>;
type Guided = fn(f64, f64, f64) -> f64;

exercises! {
    solutions: "13_faster_and_steered.rs";
    /// `ddim_sigma(alpha_bar_t, alpha_bar_s, eta)`: σ of a DDIM step from t to s < t.
    ddim_sigma: DdimSigma;
    /// `ddim_jump(x, eps_hat, from, to)`: the deterministic step between two noise levels, given as ᾱ.
    ddim_jump: DdimJump;
    /// `strided(last, steps)`: times to visit, from T down to 1, evenly spread and rounded.
    strided: Strided;
    /// `guided(eps_c, eps_all, w)`: classifier-free guidance.
    guided: Guided;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn ddim_sigma(e: Exercise<DdimSigma>) -> Exercise<DdimSigma> {
        let linear = Schedule::linear(1000);
        e.case("ᾱ_t = 0.3, ᾱ_s = 0.5, η = 0", |f| f(0.3, 0.5, 0.0), 0.0)
            .case("ᾱ_t = 0.3, ᾱ_s = 0.5, η = 1", |f| f(0.3, 0.5, 1.0), sigma(0.3, 0.5, 1.0))
            .case("ᾱ_t = 0.3, ᾱ_s = 0.5, η = 0.5", |f| f(0.3, 0.5, 0.5), sigma(0.3, 0.5, 0.5))
            .case(
                "t = 500, s = 499 of the paper's schedule, η = 1: √β̃_500",
                {
                    let (now, before) = (linear.alpha_bar(500), linear.alpha_bar(499));
                    move |f| f(now, before, 1.0)
                },
                linear.beta_tilde(500).sqrt(),
            )
            .case("the last step, to ᾱ_s = 1, η = 1", |f| f(0.99, 1.0, 1.0), 0.0)
            .trivial(|now, _, _| now)
            .trivial(|_, before, _| before)
            .trivial(|_, _, eta| eta)
            .mistake(museum::B13, |now, before, eta| {
                eta * ((1.0 - now) / (1.0 - before) * (1.0 - now / before)).sqrt()
            })
            .mistake("σ², the variance", |now, before, eta| sigma(now, before, eta).powi(2))
            .mistake("√β_t of DDPM instead of √β̃_t", |now, before, eta| {
                eta * (1.0 - now / before).sqrt()
            })
            .mistake("√η instead of η", |now, before, eta| sigma(now, before, eta.sqrt()))
            .hint("What must it be at η = 0, and what at η = 1 for neighbouring steps?")
            .hint("At η = 1 and s = t − 1 it must be √β̃_t (Eq. 7), and 1 − ᾱ_t/ᾱ_{t−1} is β_t.")
            .hint("η √((1 − ᾱ_s)/(1 − ᾱ_t)) √(1 − ᾱ_t/ᾱ_s)")
    }

    pub(super) fn ddim_jump(e: Exercise<DdimJump>) -> Exercise<DdimJump> {
        e.case("from ᾱ = 0.25 to ᾱ = 1, x = 1, ε̂ = 0: this is x̂_0", |f| f(1.0, 0.0, 0.25, 1.0), 2.0)
            .case(
                "x_0 = 0.4, ε = -0.7, from ᾱ = 0.3 to 0.8",
                |f| f(at(0.3, 0.4, -0.7), -0.7, 0.3, 0.8),
                at(0.8, 0.4, -0.7),
            )
            .case(
                "the same up again, from ᾱ = 0.8 to 0.3",
                |f| f(at(0.8, 0.4, -0.7), -0.7, 0.8, 0.3),
                at(0.3, 0.4, -0.7),
            )
            .case("there and back with one ε̂: x = 0.9", |f| f(f(0.9, 0.2, 0.3, 0.6), 0.2, 0.6, 0.3), 0.9)
            .trivial(|x, _, _, _| x)
            .trivial(|_, eps_hat, _, _| eps_hat)
            .mistake("√ᾱ_t is not divided out of x̂_0", |x, eps, from, to| {
                to.sqrt() * (x - (1.0 - from).sqrt() * eps) + (1.0 - to).sqrt() * eps
            })
            .mistake("ε̂ comes back with √(1 − ᾱ_t): the step arrives at s", |x, eps, from, to| {
                to.sqrt() * (x - (1.0 - from).sqrt() * eps) / from.sqrt() + (1.0 - from).sqrt() * eps
            })
            .mistake("the direction is missing: only √ᾱ_s x̂_0", |x, eps, from, to| {
                to.sqrt() * (x - (1.0 - from).sqrt() * eps) / from.sqrt()
            })
            .hint("Where did it come from, and where does it go? Both are Eq. 4.")
            .hint("First x̂_0: Eq. 4 solved for x_0, with ε̂ for ε. Then Eq. 4 again, at s.")
            .hint("x̂_0 = (x − √(1 − ᾱ_t) ε̂)/√ᾱ_t, and the result is √ᾱ_s x̂_0 + √(1 − ᾱ_s) ε̂.")
    }

    pub(super) fn strided(e: Exercise<Strided>) -> Exercise<Strided> {
        e.case("T = 1000, 4 steps", |f| f(1000, 4), vec![1000_usize, 667, 334, 1])
            .case("T = 50, 8 steps", |f| f(50, 8), vec![50_usize, 43, 36, 29, 22, 15, 8, 1])
            .case("T = 1000, 20 steps", |f| f(1000, 20), spread(1000.0, 1.0, 20))
            .case("T = 12, 12 steps", |f| f(12, 12), (1..=12_usize).rev().collect::<Vec<_>>())
            .mistake(
                "it begins below T, at 1 + (K − 1)⌊T/K⌋, where x is not yet the noise it is drawn as",
                |last, steps| (0..steps).rev().map(|k| 1 + k * (last / steps)).collect(),
            )
            .mistake("the order: from T down to 1", |last, steps| spread(1.0, last as f64, steps))
            .mistake("it ends at T/K, and t = 1 is not visited", |last, steps| {
                spread(last as f64, last as f64 / steps as f64, steps)
            })
            .mistake("cut off, not rounded", |last, steps| {
                (0..steps)
                    .map(|k| {
                        (last as f64 - (last - 1) as f64 * k as f64 / (steps - 1) as f64).floor() as usize
                    })
                    .collect()
            })
            .hint("The first must be T and the last 1. What lies between is in equal steps.")
            .hint("K times have K − 1 gaps between them, and the gaps together are T − 1 long.")
            .hint("The k-th of 0..K is T − k (T − 1)/(K − 1), computed in f64; then `.round() as usize`.")
    }

    pub(super) fn guided(e: Exercise<Guided>) -> Exercise<Guided> {
        e.case("ε_c = 0.3, ε_∅ = -0.2, w = 2", |f| f(0.3, -0.2, 2.0), 1.3)
            .case("ε_c = 0.3, ε_∅ = -0.2, w = 0: the class's own", |f| f(0.3, -0.2, 0.0), 0.3)
            .case("ε_c = 0.3, ε_∅ = -0.2, w = -1: without the class", |f| f(0.3, -0.2, -1.0), -0.2)
            .case("nothing to steer: ε_c = ε_∅ = 0.7, w = 5", |f| f(0.7, 0.7, 5.0), 0.7)
            .trivial(|c, _, _| c)
            .trivial(|_, all, _| all)
            .trivial(|_, _, w| w)
            .mistake(
                "that is the scale s = 1 + w of other libraries, in which 1 is no guidance",
                |c, all, w| all + w * (c - all),
            )
            .mistake("the two are swapped: it steers away from the class", |c, all, w| {
                (1.0 + w) * all - w * c
            })
            .mistake("the weights must sum to 1: (1 + w) and −w", |c, all, w| (1.0 + w) * c + w * all)
            .hint("Draw the two predictions as points, and the line through them.")
            .hint("Go from ε_∅ to ε_c, and then w times as far again.")
            .hint("(1 + w) ε_c − w ε_∅")
    }
}
