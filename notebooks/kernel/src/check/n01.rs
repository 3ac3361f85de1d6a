//! 01: Gaussians, KL, bits.

use super::{class_constant, exercises};
use ddpm::diffusion::{Decoder, bits_per_dim, kl_normal, log_normal};
use ddpm::prelude::{Array2, array};
use std::f64::consts::{LN_2, PI};

/// `bin_probability(k, mean, sigma, cdf)`.
type BinProbability = fn(usize, f64, f64, fn(f64) -> f64) -> f64;

/// `updated(prior, likelihood)`.
type Updated = fn(&[f64], &[f64]) -> Vec<f64>;
/// `after_steps(p, step, n)`.
type AfterSteps = fn(&[f64], &Array2<f64>, usize) -> Vec<f64>;
/// `mean_square(m1, v1, m2)`.
type MeanSquare = fn(f64, f64, f64) -> f64;
type LogPdf = fn(f64, f64, f64) -> f64;
type Kl = fn(f64, f64, f64, f64) -> f64;
type ToBitsPerDim = fn(f64, usize) -> f64;
type TanhError = fn() -> f64;

exercises! {
    solutions: "01_gaussians.rs";
    /// `updated(prior, likelihood)`: Bayes' rule for a list of hypotheses.
    updated: Updated;
    /// `after_steps(p, step, n)`: the distribution of a Markov chain after n steps; row i of `step` says where state i goes.
    after_steps: AfterSteps;
    /// `mean_square(m1, v1, m2)`: E (x − m_2)² of x ~ N(m_1, v_1).
    mean_square: MeanSquare;
    /// `log_pdf(x, mean, variance)`, log N(x; m, v) in nats.
    log_pdf: LogPdf;
    /// `kl(m1, v1, m2, v2)`, KL(N(m_1, v_1) ‖ N(m_2, v_2)) in nats.
    kl: Kl;
    /// `to_bits_per_dim(nats, dims)`.
    to_bits_per_dim: ToBitsPerDim;
    /// `bin_probability(k, mean, sigma, cdf)`: what N(m, σ²) gives to grey level k of 0..=255 (Eq. 13).
    bin_probability: BinProbability;
    /// `guess()`: how many nats the tanh formula for the CDF is off in the logarithm, at four standard deviations.
    tanh_error: TanhError;
}

/// prior × likelihood, divided by its sum.
fn bayes(prior: &[f64], likelihood: &[f64]) -> Vec<f64> {
    shares(prior.iter().zip(likelihood).map(|(p, l)| p * l))
}

/// Numbers divided by their sum.
fn shares(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let numbers: Vec<f64> = numbers.collect();
    let sum: f64 = numbers.iter().sum();
    numbers.iter().map(|x| x / sum).collect()
}

/// p ↦ Σ_i p_i step_ij, n times.
fn walked(p: &[f64], step: &Array2<f64>, n: usize) -> Vec<f64> {
    (0..n).fold(p.to_vec(), |p, _| {
        (0..p.len()).map(|j| (0..p.len()).map(|i| p[i] * step[[i, j]]).sum()).collect()
    })
}

/// Three states, none like another.
fn three() -> Array2<f64> {
    array![[0.7, 0.2, 0.1], [0.0, 0.5, 0.5], [0.3, 0.3, 0.4]]
}

/// ∫ N(x; m_1, v_1) (x − m_2)² dx over twelve deviations on both sides.
fn integral(m1: f64, v1: f64, m2: f64) -> f64 {
    let (sd, n) = (v1.sqrt(), 10_000);
    let x = (-n..=n).map(|i| m1 + 12.0 * sd * f64::from(i) / f64::from(n));
    x.map(|x| log_normal(x, m1, v1.ln()).exp() * (x - m2).powi(2)).sum::<f64>() * 12.0 * sd / f64::from(n)
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn updated(e: Exercise<Updated>) -> Exercise<Updated> {
        e.case("prior [½, ½], likelihood [0.9, 0.1]", |f| f(&[0.5, 0.5], &[0.9, 0.1]), vec![0.9, 0.1])
            .case("prior [0.01, 0.99], likelihood [0.95, 0.05]", |f| f(&[0.01, 0.99], &[0.95, 0.05]), bayes(&[0.01, 0.99], &[0.95, 0.05]))
            .case("prior [0.2, 0.5, 0.3], likelihood [3, 0.5, 1], densities", |f| f(&[0.2, 0.5, 0.3], &[3.0, 0.5, 1.0]), bayes(&[0.2, 0.5, 0.3], &[3.0, 0.5, 1.0]))
            .trivial(|prior, _| prior.to_vec())
            .trivial(|_, likelihood| likelihood.to_vec())
            .mistake("it is not divided by the sum: these are not probabilities yet", |p, l| p.iter().zip(l).map(|(p, l)| p * l).collect())
            .mistake("the prior is left out", |_, l| shares(l.iter().copied()))
            .mistake("prior and likelihood are added instead of multiplied", |p, l| shares(p.iter().zip(l).map(|(p, l)| p + l)))
            .hint("Bayes: P(hypothesis | seen) is proportional to P(hypothesis) · P(seen | hypothesis).")
            .hint("Proportional: what all hypotheses share as a factor drops out when the results are made to sum to 1.")
            .hint("First all products prior · likelihood, then each divided by their sum.")
    }

    pub(super) fn after_steps(e: Exercise<AfterSteps>) -> Exercise<AfterSteps> {
        let start = [0.6, 0.3, 0.1];
        e.case("two states that change places with 0.1 and 0.3, one step from the first", |f| f(&[1.0, 0.0], &array![[0.9, 0.1], [0.3, 0.7]], 1), vec![0.9, 0.1])
            .case("three states, two steps", move |f| f(&start, &three(), 2), walked(&start, &three(), 2))
            .case("three states, five steps", move |f| f(&start, &three(), 5), walked(&start, &three(), 5))
            .case("no step", move |f| f(&start, &three(), 0), start.to_vec())
            .trivial(|p, _, _| p.to_vec())
            .mistake("rows and columns are exchanged: row i says where i goes, so the sum runs over i", |p, step, n| walked(p, &step.t().to_owned(), n))
            .mistake("one step, whatever n is", |p, step, _| walked(p, step, 1))
            .mistake("one step too many", |p, step, n| walked(p, step, n + 1))
            .mistake("one step too few", |p, step, n| walked(p, step, n.saturating_sub(1)))
            .hint("To be in j after a step one was in some i before: add up over all i.")
            .hint("P(j after) = Σ_i P(i before) · step[[i, j]]. The chain has no memory, so each step looks only at the one before.")
            .hint("Keep a list; n times, replace it by the list of those sums, one for each j.")
    }

    pub(super) fn mean_square(e: Exercise<MeanSquare>) -> Exercise<MeanSquare> {
        let case = |m1: f64, v1: f64, m2: f64| {
            (
                format!("N({m1}, {v1}) about {m2}, by adding up over a grid"),
                move |f: MeanSquare| f(m1, v1, m2),
                integral(m1, v1, m2),
            )
        };
        [case(0.0, 1.0, 0.0), case(1.0, 0.25, -0.5), case(-0.3, 4.0, 0.8), case(2.0, 0.01, 2.5)]
            .into_iter()
            .fold(e, |e, (input, run, expected)| e.case_within(1e-6, input, run, expected))
            .trivial(|m1, _, _| m1)
            .trivial(|_, v1, _| v1)
            .trivial(|_, _, m2| m2)
            .mistake("the distance of the means is missing", |_, v1, _| v1)
            .mistake("the spread v_1 is missing", |m1, _, m2| (m1 - m2).powi(2))
            .mistake("the distance of the means has to be squared", |m1, v1, m2| v1 + (m1 - m2))
            .mistake("v_1 is the variance already: it is not squared", |m1, v1, m2| {
                v1 * v1 + (m1 - m2).powi(2)
            })
            .hint("Write x − m_2 as (x − m_1) + (m_1 − m_2) and square.")
            .hint("The mean of (x − m_1)² is v_1, by definition; that of the mixed term is 0.")
            .hint("What is left: v_1 and the square of a number that does not depend on x.")
    }

    pub(super) fn log_pdf(e: Exercise<LogPdf>) -> Exercise<LogPdf> {
        e
        .case("x = 0, m = 0, v = 1", |f| f(0.0, 0.0, 1.0), log_normal(0.0, 0.0, 0.0))
        .case("x = 1, m = 0, v = 1", |f| f(1.0, 0.0, 1.0), log_normal(1.0, 0.0, 0.0))
        .case("x = 0.3, m = -0.5, v = 0.04", |f| f(0.3, -0.5, 0.04), log_normal(0.3, -0.5, 0.04_f64.ln()))
        .case("x = 40, m = 0, v = 1, where the density itself is 0 in f64", |f| f(40.0, 0.0, 1.0), log_normal(40.0, 0.0, 0.0))
        .trivial(|x, _, _| x)
            .trivial(|_, m, _| m)
            .trivial(|_, _, v| v)
            .mistake("the density, not its logarithm", |x, m, v| (-(x - m) * (x - m) / (2.0 * v)).exp() / (2.0 * PI * v).sqrt())
        .mistake("v used as a standard deviation", |x, m, v| -0.5 * (2.0 * PI).ln() - v.ln() - 0.5 * ((x - m) / v).powi(2))
        .mistake("the 2π is missing", |x, m, v| -0.5 * v.ln() - (x - m) * (x - m) / (2.0 * v))
        .mistake("the logarithm of a density that has become 0", |x, m, v| ((-(x - m) * (x - m) / (2.0 * v)).exp() / (2.0 * PI * v).sqrt()).ln())
        .hint("What is log(a · e^b)?")
            .hint("The logarithm of a product is a sum: one term for the factor in front, one for the exponent.")
        .hint("log N = −½ log(2πv) − (x − m)²/(2v). Don't compute the density first: at x = 40 it is 0, and log 0 = −∞.")
    }

    pub(super) fn kl(e: Exercise<Kl>) -> Exercise<Kl> {
        e.case("N(0.3, 2) and itself", |f| f(0.3, 2.0, 0.3, 2.0), 0.0)
            .case("N(1, 1) from N(0, 1)", |f| f(1.0, 1.0, 0.0, 1.0), 0.5)
            .case("N(0, 4) from N(0, 1)", |f| f(0.0, 4.0, 0.0, 1.0), kl_normal(0.0, 4.0_f64.ln(), 0.0, 0.0))
            .case("N(0, 1) from N(0, 4)", |f| f(0.0, 1.0, 0.0, 4.0), kl_normal(0.0, 0.0, 0.0, 4.0_f64.ln()))
            .case(
                "N(0.1, 0.02) from N(0.3, 0.05)",
                |f| f(0.1, 0.02, 0.3, 0.05),
                kl_normal(0.1, 0.02_f64.ln(), 0.3, 0.05_f64.ln()),
            )
            .trivial(|m1, _, _, _| m1)
            .trivial(|_, v1, _, _| v1)
            .trivial(|_, _, m2, _| m2)
            .trivial(|_, _, _, v2| v2)
            .mistake("the two distributions are swapped", |m1, v1, m2, v2| {
                kl_normal(m2, v2.ln(), m1, v1.ln())
            })
            .mistake("the −1 is missing, so that KL(p‖p) is not 0", |m1, v1, m2, v2| {
                0.5 + kl_normal(m1, v1.ln(), m2, v2.ln())
            })
            .mistake("the ½ in front is missing", |m1, v1, m2, v2| 2.0 * kl_normal(m1, v1.ln(), m2, v2.ln()))
            .mistake("the variances of the mean's term: it is divided by v_2, not v_1", |m1, v1, m2, v2| {
                0.5 * ((v2 / v1).ln() - 1.0 + v1 / v2 + (m1 - m2) * (m1 - m2) / v1)
            })
            .hint("You have its mean square from the exercise before: put it into the three-term line.")
            .hint("It must be 0 when the two are the same, and it is not symmetric.")
            .hint("½ (log(v_2/v_1) − 1 + v_1/v_2 + (m_1 − m_2)²/v_2)")
    }

    pub(super) fn to_bits_per_dim(e: Exercise<ToBitsPerDim>) -> Exercise<ToBitsPerDim> {
        e.case("ln 2 nats, 1 dimension", |f| f(LN_2, 1), 1.0)
            .case("1000 nats, 28×28 pixels", |f| f(1000.0, 784), bits_per_dim(1000.0, 784))
            .case("5000 nats, 32×32 pixels of 3 colours", |f| f(5000.0, 3072), bits_per_dim(5000.0, 3072))
            .trivial(|nats, _| nats)
            .trivial(|_, dims| dims as f64)
            .mistake("multiplied by ln 2: one nat is more than one bit", |nats, dims| {
                nats * LN_2 / dims as f64
            })
            .mistake("bits, not bits per dimension", |nats, _| nats / LN_2)
            .mistake("still in nats", |nats, dims| nats / dims as f64)
            .hint("Is a number of bits larger or smaller than the same amount in nats?")
            .hint("A bit is ln 2 = 0.693 nats, so there are more bits than nats.")
            .hint("nats / ln 2 / D")
    }

    pub(super) fn bin_probability(e: Exercise<BinProbability>) -> Exercise<BinProbability> {
        let exact = |k: usize, mean: f64, sigma: f64| {
            Decoder::Exact.log_prob(k as f64 / 127.5 - 1.0, mean, sigma.ln()).exp()
        };
        let sum = |f: BinProbability, mean, sigma| -> f64 {
            (0..256).map(|k| f(k, mean, sigma, ddpm::diffusion::normal_cdf)).sum()
        };
        e.case(
            "k = 128, m = 0, σ = 0.1",
            |f| f(128, 0.0, 0.1, ddpm::diffusion::normal_cdf),
            exact(128, 0.0, 0.1),
        )
        .case(
            "k = 0, m = -0.95, σ = 0.1",
            |f| f(0, -0.95, 0.1, ddpm::diffusion::normal_cdf),
            exact(0, -0.95, 0.1),
        )
        .case(
            "k = 255, m = 0.9, σ = 0.3",
            |f| f(255, 0.9, 0.3, ddpm::diffusion::normal_cdf),
            exact(255, 0.9, 0.3),
        )
        .case("the sum over k, m = 0.99, σ = 0.5", move |f| sum(f, 0.99, 0.5), 1.0)
        .trivial(|k, _, _, _| k as f64)
        .trivial(|_, m, _, _| m)
        .trivial(|_, _, s, _| s)
        .mistake(
            "the edge bins are not open: below level 0 and above level 255 something is lost",
            |k, m, s, cdf| {
                let x = k as f64 / 127.5 - 1.0;
                cdf((x + 1.0 / 255.0 - m) / s) - cdf((x - 1.0 / 255.0 - m) / s)
            },
        )
        .mistake("bins of half the width: from x − 1/510 to x + 1/510", |k, m, s, cdf| {
            let x = k as f64 / 127.5 - 1.0;
            let (low, high) = (cdf((x - 1.0 / 510.0 - m) / s), cdf((x + 1.0 / 510.0 - m) / s));
            (if k == 255 { 1.0 } else { high }) - (if k == 0 { 0.0 } else { low })
        })
        .mistake("divided by the variance instead of σ", |k, m, s, cdf| {
            let (x, v) = (k as f64 / 127.5 - 1.0, s * s);
            let (low, high) = (cdf((x - 1.0 / 255.0 - m) / v), cdf((x + 1.0 / 255.0 - m) / v));
            (if k == 255 { 1.0 } else { high }) - (if k == 0 { 0.0 } else { low })
        })
        .hint("A probability is an area under a density. Between which two edges?")
        .hint("Level k sits at x = k/127.5 − 1; its bin reaches from x − 1/255 to x + 1/255.")
        .hint("The bin of 0 reaches down to −∞ and that of 255 up to +∞: there the CDF is 0 and 1.")
    }

    pub(super) fn tanh_error(e: Exercise<TanhError>) -> Exercise<TanhError> {
        let z = class_constant("tanh_error", &[-4.0_f64, -3.5, -4.5, -5.0]);
        let tanh = 0.5 * (1.0 + ((2.0 / PI).sqrt() * (z + 0.044715 * z.powi(3))).tanh());
        let error = (tanh.ln() - ddpm::diffusion::log_normal_cdf(z)).abs();
        e.task(format!("By how many nats does $\\log\\tilde\\Phi(z)$ differ from $\\log\\Phi(z)$ at $z = {z}$? Without a sign; a factor of 1.5 is near enough."))
        .holds("|log Φ̃(z) − log Φ(z)|", |f| f(), "a number within a factor of 1.5 of the truth", move |guess| {
            let factor = guess.number() / error;
            if (1.0 / 1.5..=1.5).contains(&factor) { Ok(()) } else { Err(format!("the guess is {factor:.2e} times the truth")) }
        })
        .mistake("the difference of the CDFs, not of their logarithms", || 1e-5)
        .mistake("the sign: say how far it is off, without a direction", || -0.4)
        .hint("Guess first: near the middle the two agree to 0.0002. What becomes of a small difference if both numbers are tiny?")
            .hint("Compute both: `normal_cdf(z)` and the tanh formula, then their logarithms.")
            .hint("At z = −4 both are about 3·10⁻⁵, and the formula's is a good third too small.")
    }
}
