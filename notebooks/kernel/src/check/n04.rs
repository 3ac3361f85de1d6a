//! 04: the ELBO, term by term, exactly.

use super::{class_constant, exercises, museum};
use ddpm::diffusion::{Schedule, Variance, kl_normal, log_normal, oracle::OnePixelWorld};
use std::f64::consts::LN_2;

/// `step_kl(schedule, t, x0, x_t, x0_hat, sigma2)`.
type StepKl = fn(&Schedule, usize, f64, f64, f64, f64) -> f64;
/// `bound_from_draws(steps, l_prior, draws, l_0)`.
type BoundFromDraws = fn(usize, f64, &[f64], f64) -> f64;

/// −Σ p log₂ q.
fn bits(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| -p * q.log2()).sum()
}

/// A schedule of the exercises, by its number of steps.
fn schedule(steps: usize) -> Schedule {
    if steps == 1000 { Schedule::linear(1000) } else { Schedule::cosine(steps) }
}

/// The mean of the draws.
fn mean(draws: &[f64]) -> f64 {
    draws.iter().sum::<f64>() / draws.len() as f64
}

/// KL of two Gaussians with means c_1 x_0 + c_2 x_t and c_1 x̂_0 + c_2 x_t.
fn step(schedule: &Schedule, t: usize, x0: f64, x_t: f64, x0_hat: f64, variances: (f64, f64)) -> f64 {
    let (c1, c2) = schedule.posterior_coefs(t);
    let (v1, v2) = variances;
    kl_normal(c1 * x0 + c2 * x_t, v1.ln(), c1 * x0_hat + c2 * x_t, v2.ln())
}

/// Σ_{t = first}^{n} weight(t) / Σ_{t = first}^{T} weight(t).
fn share(schedule: &Schedule, first: usize, n: usize, weight: impl Fn(usize) -> f64) -> f64 {
    let sum = |last: usize| (first..=last).map(&weight).sum::<f64>();
    sum(n) / sum(schedule.T())
}

/// `bayes_step(log_posterior, log_q_t, log_q_before)`.
type BayesStep = fn(f64, f64, f64) -> f64;
/// `eps_weight(schedule, t, sigma2)`.
type EpsWeight = fn(&Schedule, usize, f64) -> f64;

/// log q(x_{t−1}|x_t, x_0), log q(x_t|x_0), log q(x_{t−1}|x_0), and log q(x_t|x_{t−1}), at one place.
fn four_logs(t: usize, x0: f64, x_before: f64, x_t: f64) -> ([f64; 3], f64) {
    let s = schedule(1000);
    let (c1, c2) = s.posterior_coefs(t);
    let q = |x: f64, t: usize| log_normal(x, s.alpha_bar(t).sqrt() * x0, (1.0 - s.alpha_bar(t)).ln());
    let posterior = log_normal(x_before, c1 * x0 + c2 * x_t, s.beta_tilde(t).ln());
    let step = log_normal(x_t, s.alpha(t).sqrt() * x_before, s.beta(t).ln());
    ([posterior, q(x_t, t), q(x_before, t - 1)], step)
}

/// The squared distance of the two means over 2σ², for a noise ε that the model takes for ε̂.
fn wrong_guess(t: usize, eps: f64, eps_hat: f64, sigma2: f64) -> f64 {
    let s = schedule(1000);
    let (x0, (c1, c2)) = (0.3, s.posterior_coefs(t));
    let x_t = s.alpha_bar(t).sqrt() * x0 + (1.0 - s.alpha_bar(t)).sqrt() * eps;
    let image = |eps: f64| (x_t - (1.0 - s.alpha_bar(t)).sqrt() * eps) / s.alpha_bar(t).sqrt();
    let mean = |x0: f64| c1 * x0 + c2 * x_t;
    (mean(x0) - mean(image(eps_hat))).powi(2) / (2.0 * sigma2)
}

type CrossEntropy = fn(&[f64], &[f64]) -> f64;
type LooserBy = fn() -> f64;
type WeightShare = fn(&Schedule, usize) -> f64;

exercises! {
    solutions: "04_elbo.rs";
    /// `cross_entropy(p, model)`: how many bits a value costs on average if it is drawn from p and coded by `model`.
    cross_entropy: CrossEntropy;
    /// `bayes_step(log_posterior, log_q_t, log_q_before)`: log q(x_t|x_{t−1}) from the three others of Bayes' rule.
    bayes_step: BayesStep;
    /// `step_kl(schedule, t, x0, x_t, x0_hat, sigma2)`: L_{t−1} of one pixel in nats (Eqs. 5, 8).
    step_kl: StepKl;
    /// `bound_from_draws(steps, l_prior, draws, l_0)`: the bound, from L_{t−1} at some random t of 2..=T.
    bound_from_draws: BoundFromDraws;
    /// `guess()`: how many bits the bound grows by if σ² = β̃ replaces σ² = β.
    looser_by: LooserBy;
    /// `eps_weight(schedule, t, sigma2)`: w of w (ε − ε̂)², the wrong guess of Eq. 8 in terms of the noise (Eq. 12).
    eps_weight: EpsWeight;
    /// `weight_share(schedule, n)`: the share of the weights of t = 1, …, n among all, for σ_t² = β_t.
    weight_share: WeightShare;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn bayes_step(e: Exercise<BayesStep>) -> Exercise<BayesStep> {
        let case = |t: usize, x0: f64, x_before: f64, x_t: f64| {
            let ([posterior, now, before], expected) = four_logs(t, x0, x_before, x_t);
            (
                format!("T = 1000, t = {t}, x_0 = {x0}, x_{{t−1}} = {x_before}, x_t = {x_t}"),
                move |f: BayesStep| f(posterior, now, before),
                expected,
            )
        };
        [case(2, 0.5, 0.49, 0.51), case(300, 0.5, -0.4, -0.3), case(700, -1.0, 1.2, 1.0), case(1000, 0.2, -0.7, -0.9)]
            .into_iter()
            .fold(e, |e, (input, run, expected)| e.case(input, run, expected))
            .trivial(|posterior, _, _| posterior)
            .trivial(|_, now, _| now)
            .trivial(|_, _, before| before)
            .mistake("q(x_t|x_0) and q(x_{t−1}|x_0) have changed places", |p, now, before| p - now + before)
            .mistake("all three are multiplied: one of them divides", |p, now, before| p + now + before)
            .mistake("logarithms are added and subtracted where densities are multiplied and divided", |p, now, before| p * now / before)
            .mistake("q(x_t|x_0) is missing", |p, _, before| p - before)
            .hint("Bayes' rule, with x_0 as a condition everywhere: q(x_{t−1}|x_t, x_0) = q(x_t|x_{t−1}) q(x_{t−1}|x_0) / q(x_t|x_0).")
            .hint("Solve it for q(x_t|x_{t−1}), then take logarithms.")
            .hint("Two of the three are added, one is subtracted: the one that stands under the fraction.")
    }

    pub(super) fn eps_weight(e: Exercise<EpsWeight>) -> Exercise<EpsWeight> {
        let case = |t: usize, sigma2: f64, eps: f64, eps_hat: f64| {
            let s = schedule(1000);
            (
                format!("T = 1000, t = {t}, σ² = {sigma2:.5}, ε = {eps}, ε̂ = {eps_hat}: both sides"),
                move |f: EpsWeight| f(&s, t, sigma2) * (eps - eps_hat).powi(2),
                wrong_guess(t, eps, eps_hat, sigma2),
            )
        };
        let (beta, tilde) = (|t: usize| schedule(1000).beta(t), |t: usize| schedule(1000).beta_tilde(t));
        [
            case(2, beta(2), 1.0, 0.4),
            case(2, tilde(2), 1.0, 0.4),
            case(300, beta(300), -0.5, -0.6),
            case(1000, beta(1000), 1.3, 0.2),
        ]
        .into_iter()
        .fold(e, |e, (input, run, expected)| e.case_within(1e-7, input, run, expected))
        .trivial(|_, _, sigma2| sigma2)
        .trivial(|s, t, _| s.beta(t))
        .mistake("the ½ is missing", |s, t, sigma2| 2.0 * s.weight(t, sigma2))
        .mistake("α_t is missing under the fraction", |s, t, sigma2| s.weight(t, sigma2) * s.alpha(t))
        .mistake("ᾱ_t stands where α_t should: √ᾱ_{t−1}/√ᾱ_t is 1/√α_t", |s, t, sigma2| {
            s.weight(t, sigma2) * s.alpha(t) / s.alpha_bar(t)
        })
        .mistake("β_t has to be squared", |s, t, sigma2| s.weight(t, sigma2) / s.beta(t))
        .hint("Both means have c_2 x_t, so that they differ by c_1 (x_0 − x̂_0).")
        .hint(
            "x_0 − x̂_0 = −√(1 − ᾱ_t)/√ᾱ_t · (ε − ε̂), and c_1 = √ᾱ_{t−1} β_t/(1 − ᾱ_t). Multiply and square.",
        )
        .hint("ᾱ_{t−1}/ᾱ_t = 1/α_t, and one of the two 1 − ᾱ_t under the fraction cancels.")
    }

    pub(super) fn cross_entropy(e: Exercise<CrossEntropy>) -> Exercise<CrossEntropy> {
        e.case(
            "p = [0.5, 0.25, 0.25], the model is uniform",
            |f| f(&[0.5, 0.25, 0.25], &[1.0 / 3.0; 3]),
            3.0_f64.log2(),
        )
        .case("p = [0.9, 0.1], the model is [0.5, 0.5]", |f| f(&[0.9, 0.1], &[0.5, 0.5]), 1.0)
        .case(
            "p = [0.9, 0.1], the model is [0.6, 0.4]",
            |f| f(&[0.9, 0.1], &[0.6, 0.4]),
            bits(&[0.9, 0.1], &[0.6, 0.4]),
        )
        .case(
            "p = [0.9, 0.1], the model is p",
            |f| f(&[0.9, 0.1], &[0.9, 0.1]),
            bits(&[0.9, 0.1], &[0.9, 0.1]),
        )
        .holds(
            "p = [0.9, 0.1], models [q, 1 − q] for q = 0.01, 0.02, …, 0.99",
            |f| {
                (1..100)
                    .map(|q| f(&[0.9, 0.1], &[f64::from(q) / 100.0, 1.0 - f64::from(q) / 100.0]))
                    .collect::<Vec<f64>>()
            },
            "no model below the entropy, 0.468996 bits",
            |all| {
                let least = all.numbers.iter().copied().fold(f64::INFINITY, f64::min);
                if least >= 0.468_995 { Ok(()) } else { Err(format!("one has {least:.4}")) }
            },
        )
        .trivial(|p, _| p[0])
        .trivial(|_, model| model[0])
        .mistake("the two are swapped: the mean is over the data, not over the model", |p, model| {
            bits(model, p)
        })
        .mistake("the entropy of p: the model does not occur in it", |p, _| bits(p, p))
        .mistake("the entropy of the model: the data do not occur in it", |_, model| bits(model, model))
        .mistake("in nats: a bit is ln 2 of them", |p, model| bits(p, model) * LN_2)
        .mistake("every value counts alike: each must count as often as it occurs", |_, model| {
            -model.iter().map(|q| q.log2()).sum::<f64>() / model.len() as f64
        })
        .hint("How often does value k occur, and what does it cost each time?")
        .hint("A value k costs −log₂ model(k) bits, and it occurs with probability p(k).")
        .hint("−Σ p(k) log₂ model(k): `p.iter().zip(model).map(|(p, q)| -p * q.log2()).sum()`")
    }

    pub(super) fn step_kl(e: Exercise<StepKl>) -> Exercise<StepKl> {
        let case = |t: usize, x0: f64, x_t: f64, x0_hat: f64, small: bool| {
            let s = schedule(1000);
            let sigma2 = if small { s.beta_tilde(t) } else { s.beta(t) };
            (move |f: StepKl| f(&s, t, x0, x_t, x0_hat, sigma2), {
                let s = schedule(1000);
                step(&s, t, x0, x_t, x0_hat, (s.beta_tilde(t), sigma2))
            })
        };
        let (a, b, c, d) = (
            case(500, 0.3, -0.7, 0.3, true),
            case(2, 0.3, 0.31, 0.3, false),
            case(2, 0.3, 0.31, 0.29, true),
            case(300, -0.5, 0.4, 0.1, false),
        );
        e.case("T = 1000, t = 500, x_0 = x̂_0 = 0.3, x_t = -0.7, σ² = β̃", a.0, a.1)
            .case("T = 1000, t = 2, x_0 = x̂_0 = 0.3, x_t = 0.31, σ² = β", b.0, b.1)
            .case("T = 1000, t = 2, x_0 = 0.3, x̂_0 = 0.29, x_t = 0.31, σ² = β̃", c.0, c.1)
            .case("T = 1000, t = 300, x_0 = -0.5, x̂_0 = 0.1, x_t = 0.4, σ² = β", d.0, d.1)
            .trivial(|_, _, x0, _, _, _| x0)
            .trivial(|_, _, _, x_t, _, _| x_t)
            .trivial(|_, _, _, _, x0_hat, _| x0_hat)
            .trivial(|_, _, _, _, _, sigma2| sigma2)
            .mistake("only the distance of the means: two variances that differ cost something too", |s, t, x0, _, x0_hat, sigma2| {
                (s.posterior_coefs(t).0 * (x0 - x0_hat)).powi(2) / (2.0 * sigma2)
            })
            .mistake("the two distributions are swapped: q comes first, p_θ second", |s, t, x0, x_t, x0_hat, sigma2| {
                step(s, t, x0_hat, x_t, x0, (sigma2, s.beta_tilde(t)))
            })
            .mistake("the posterior q(x_{t−1}|x_t, x_0) has the variance β̃_t, not β_t", |s, t, x0, x_t, x0_hat, sigma2| {
                step(s, t, x0, x_t, x0_hat, (s.beta(t), sigma2))
            })
            .mistake("sigma2 squared: it is a variance already", |s, t, x0, x_t, x0_hat, sigma2| {
                step(s, t, x0, x_t, x0_hat, (s.beta_tilde(t), sigma2 * sigma2))
            })
            .mistake("x_0 and x̂_0 compared themselves: the means differ by c_1 times that", |s, t, x0, _, x0_hat, sigma2| {
                kl_normal(x0, s.beta_tilde(t).ln(), x0_hat, sigma2.ln())
            })
            .mistake("in bits: this one is asked for in nats", |s, t, x0, x_t, x0_hat, sigma2| {
                step(s, t, x0, x_t, x0_hat, (s.beta_tilde(t), sigma2)) / LN_2
            })
            .hint("It is a divergence of two Gaussians, and you have that from notebook 01. Which two?")
            .hint("Both are Gaussians: `schedule.posterior_coefs(t)` gives (c_1, c_2) for their means, x_0 in one and x̂_0 in the other.")
            .hint("`kl_normal(mean1, log_var1, mean2, log_var2)`, first q with `schedule.beta_tilde(t).ln()`, then p_θ with `sigma2.ln()`.")
    }

    pub(super) fn bound_from_draws(e: Exercise<BoundFromDraws>) -> Exercise<BoundFromDraws> {
        e.case("T = 2, L_T = 0.5, L_1 = 3, L_0 = 2", |f| f(2, 0.5, &[3.0], 2.0), 5.5)
            .case(
                "T = 1000, L_T = 0, draws [0.001, 0.003], L_0 = 2",
                |f| f(1000, 0.0, &[0.001, 0.003], 2.0),
                999.0 * 0.002 + 2.0,
            )
            .case(
                "T = 50, L_T = 0.1, draws [0.01, 0.2, 0.03, 0.06], L_0 = 4",
                |f| f(50, 0.1, &[0.01, 0.2, 0.03, 0.06], 4.0),
                0.1 + 49.0 * 0.075 + 4.0,
            )
            .trivial(|_, l_prior, _, _| l_prior)
            .trivial(|_, _, draws, _| draws[0])
            .trivial(|_, _, _, l_0| l_0)
            .mistake(museum::B16, |_, l_prior, draws, l_0| l_prior + mean(draws) + l_0)
            .mistake(
                "T terms: t = 2, …, T are T − 1, since that of t = 1 is L_0",
                |steps, l_prior, draws, l_0| l_prior + steps as f64 * mean(draws) + l_0,
            )
            .mistake(
                "L_0 is subtracted: its minus stands inside, L_0 = −log p_θ(x_0|x_1)",
                |steps, l_prior, draws, l_0| l_prior + (steps - 1) as f64 * mean(draws) - l_0,
            )
            .mistake(
                "the draws' sum, not their mean: more draws must not make the bound larger",
                |steps, l_prior, draws, l_0| l_prior + (steps - 1) as f64 * draws.iter().sum::<f64>() + l_0,
            )
            .hint("You know some terms of a long sum. What does their mean stand for?")
            .hint("A sum of n terms is n times their mean, and random draws give an estimate of the mean.")
            .hint("How many t are there in 2..=T?")
    }

    pub(super) fn looser_by(e: Exercise<LooserBy>) -> Exercise<LooserBy> {
        let steps = class_constant("looser_by", &[200_usize, 150, 250, 100]);
        let truth = move || {
            let schedule = Schedule::linear_scaled(steps)?;
            let bound = |variance| OnePixelWorld::two_humps().exact(&schedule, variance).bound();
            Ok::<f64, ddpm::Error>(bound(Variance::BetaTilde) - bound(Variance::Beta))
        };
        e.task(format!("The same pixel, a longer chain: $T = {steps}$, `Schedule::linear_scaled({steps})`. How many bits is the bound with $\\sigma_t^2 = \\tilde\\beta_t$ above the one with $\\sigma_t^2 = \\beta_t$? Negative if below; a factor of 1.25 is near enough."))
        .holds("bound with β̃ − bound with β, in bits", |f| f(), "a number within a factor of 1.25 of the truth", move |guess| {
            let factor = guess.number() / truth().map_err(|e| e.to_string())?;
            if (0.8..=1.25).contains(&factor) { Ok(()) } else { Err(format!("the guess is {factor:.2} times the truth")) }
        })
        .mistake("that of T = 50: with more steps β̃_t comes nearer to β_t", || 1.324)
        .mistake("the sign: here β̃ is the looser one", || -0.85)
        .hint("At T = 50 it was 1.3 bits. Does a longer chain make the choice of σ² more important or less?")
            .hint("For one more step t ≥ 2 the ratio β̃_t/β_t = (1 − ᾱ_{t−1})/(1 − ᾱ_t) is nearer to 1. So the gap shrinks as T grows, but not fast: at t = 2 the ratio is about ½ whatever T is.")
        .hint("`OnePixelWorld::two_humps().exact(&schedule, Variance::BetaTilde).bound()`, and the same with `Variance::Beta`.")
    }

    pub(super) fn weight_share(e: Exercise<WeightShare>) -> Exercise<WeightShare> {
        let beta = |s: &Schedule, n: usize| share(s, 1, n, |t| s.weight(t, s.beta(t)));
        let (paper, short) = (schedule(1000), schedule(20));
        let (ten, half, five) = (beta(&paper, 10), beta(&paper, 500), beta(&short, 5));
        let again = (schedule(1000), schedule(20));
        e.case("linear, T = 1000, n = 10", move |f| f(&paper, 10), ten)
            .case("linear, T = 1000, n = 500", move |f| f(&again.0, 500), half)
            .case("cosine, T = 20, n = 5", move |f| f(&short, 5), five)
            .case("cosine, T = 20, n = 20", move |f| f(&again.1, 20), 1.0)
            .trivial(|_, n| n as f64)
            .mistake("n/T, the share in L_simple, where all weigh the same", |s, n| n as f64 / s.T() as f64)
            .mistake("t = 1 is left out", |s, n| share(s, 2, n, |t| s.weight(t, s.beta(t))))
            .mistake("the sum of the weights, not their share", |s, n| {
                (1..=n).map(|t| s.weight(t, s.beta(t))).sum()
            })
            .mistake("1 − α_t in place of 1 − ᾱ_t", |s, n| {
                share(s, 1, n, |t| s.beta(t).powi(2) / (2.0 * s.beta(t) * s.alpha(t) * s.beta(t)))
            })
            .mistake("σ_t² is missing in the denominator", |s, n| share(s, 1, n, |t| s.weight(t, 1.0)))
            .hint("One weight is a number of the schedule; you have just derived it.")
            .hint("`schedule.weight(t, sigma2)` is w_t; here σ_t² = `schedule.beta(t)`.")
            .hint("Two sums over t, from 1 to n and from 1 to T, and their ratio.")
    }
}
