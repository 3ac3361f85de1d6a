//! 11: bits per dimension of a real model.

use super::{class_constant, exercises, museum};
use crate::stored;
use ddpm::diffusion::{L_T, Schedule, bits_per_dim, kl_normal};
use ddpm::prelude::Rng;
use ddpm::rng::stream;
use ddpm::tensor::Batch;
use std::f64::consts::LN_2;

/// `prior_bits(x0, schedule)`.
type PriorBits = fn(&Batch, &Schedule) -> f64;

/// Three images of 4×4 grey levels, dark, grey and bright.
fn images() -> Batch {
    Batch::from_shape_fn((3, 4, 4, 1), |(n, y, x, _)| (80 * n + 20 * y + x) as f64 / 127.5 - 1.0)
}

/// The mean over pixels of a formula of √ᾱ_T x_0 and 1 − ᾱ_T, in bits.
fn mean_bits(x0: &Batch, schedule: &Schedule, nats: fn(f64, f64) -> f64) -> f64 {
    let alpha_bar = schedule.alpha_bar(schedule.T());
    let sum: f64 = x0.iter().map(|x0| nats(alpha_bar.sqrt() * x0, 1.0 - alpha_bar)).sum();
    bits_per_dim(sum, x0.len())
}

/// L_T in bits/dim, the mean over images.
fn prior(x0: &Batch, schedule: &Schedule) -> f64 {
    mean_bits(x0, schedule, |mean, variance| kl_normal(mean, variance.ln(), 0.0, 0.0))
}

/// Terms of a chain of 100 steps that fall like those of a real one, index t − 1.
fn falling() -> Vec<f64> {
    (1..=100).map(|t| 1.5 / f64::from(t).powi(2)).collect()
}

/// The terms of n uniform t.
fn drawn(n: usize) -> Vec<f64> {
    let (terms, mut rng) = (falling(), stream(11, 0));
    (0..n).map(|_| terms[rng.random_range(0..terms.len())]).collect()
}

/// Mean and standard error of the mean.
fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0) / n).sqrt())
}

/// p_t ∝ f(E[L_t²]).
fn proportional(mean_squares: &[f64], f: fn(f64) -> f64) -> Vec<f64> {
    let sum: f64 = mean_squares.iter().map(|&m| f(m)).sum();
    mean_squares.iter().map(|&m| f(m) / sum).collect()
}

/// The variance of L_t/p_t with t drawn from p, where E[L_t] = `mean` and E[L_t²] = `mean_squares`.
fn variance(p: &[f64], mean: &[f64], mean_squares: &[f64]) -> f64 {
    mean_squares.iter().zip(p).map(|(m, p)| m / p).sum::<f64>() - mean.iter().sum::<f64>().powi(2)
}

/// What the stored full run (32 test images, σ² = β) pays before and after x̂_0 is within `rmse` grey levels, and L_0.
fn price(rmse: f64) -> (f64, f64, f64) {
    let curve = stored("rate_distortion.csv").only("variance", "beta");
    let (rate, off) = (curve.column("rate_bits_per_dim"), curve.column("rmse"));
    let first = off.iter().position(|&off| off < rmse).unwrap_or(off.len() - 1);
    let decoder = stored("elbo.csv").only("variance", "beta").only("term", "L_0").column("bits_per_dim")[0];
    (rate[first], rate[rate.len() - 1] - rate[first], decoder)
}

/// The grey levels of the question.
fn threshold() -> f64 {
    class_constant("invisible_bits", &[5.0, 4.0, 3.0, 6.0, 8.0])
}

type OneTEstimate = fn(f64, usize, &[f64]) -> [f64; 2];
type BestTimes = fn(&[f64]) -> Vec<f64>;
type RateCurve = fn(f64, &[f64]) -> Vec<f64>;
type InvisibleBits = fn() -> f64;

exercises! {
    solutions: "11_bits_per_dim.rs";
    /// `prior_bits(x0, schedule)`: L_T in bits per dimension, the mean over the images.
    prior_bits: PriorBits;
    /// `one_t_estimate(prior, steps, drawn)`: L_T + T · mean, and its standard error.
    one_t_estimate: OneTEstimate;
    /// `best_times(mean_squares)`: p_t ∝ √(E L_t²).
    best_times: BestTimes;
    /// `rate_curve(prior, terms)`: what has been sent when the receiver holds x_t.
    rate_curve: RateCurve;
    /// `guess()`: the bits per dimension that are paid after x̂_0 is within some grey levels.
    invisible_bits: InvisibleBits;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn prior_bits(e: Exercise<PriorBits>) -> Exercise<PriorBits> {
        let on = |schedule: fn() -> Schedule| move |f: PriorBits| f(&images(), &schedule());
        let expected = |schedule: Schedule| bits_per_dim(L_T(&schedule, &images()).sum() / 3.0, 16);
        e.case("T = 50 with the β range of T = 1000", on(|| Schedule::linear(50)), expected(Schedule::linear(50)))
            .case_within(1e-12, "T = 1000", on(|| Schedule::linear(1000)), expected(Schedule::linear(1000)))
            .mistake("in nats, not bits", |x0, schedule| prior(x0, schedule) * LN_2)
            .mistake("of all images together: the mean is missing", |x0, schedule| 3.0 * prior(x0, schedule))
            .mistake("of an image, not of a dimension: divide by D", |x0, schedule| 16.0 * prior(x0, schedule))
            .mistake("the two distributions are swapped", |x0, schedule| {
                mean_bits(x0, schedule, |mean, variance| kl_normal(0.0, 0.0, mean, variance.ln()))
            })
            .mistake("the mean of q(x_T|x_0) is √ᾱ_T x_0, not ᾱ_T x_0", |x0, schedule| {
                let root = schedule.alpha_bar(schedule.T()).sqrt();
                prior(&(x0 * root), schedule)
            })
            .mistake("the variance of q(x_T|x_0) is left out: only the means are compared", |x0, schedule| {
                mean_bits(x0, schedule, |mean, _| 0.5 * mean * mean)
            })
            .hint("It is L_T again, of real images and in bits. No network takes part.")
            .hint("q(x_T|x_0) = N(√ᾱ_T x_0, 1 − ᾱ_T) for each pixel, and p(x_T) = N(0, 1). `kl_normal` takes log variances.")
            .hint("The sum over pixels and images, divided by N · D · ln 2, where N · D is `x0.len()`.")
    }

    pub(super) fn one_t_estimate(e: Exercise<OneTEstimate>) -> Exercise<OneTEstimate> {
        e
        .case("L_T = 0.1, T = 4, drawn 1.5, 0.5", |f| f(0.1, 4, &[1.5, 0.5]), [4.1, 2.0])
        .case("L_T = 0.1, T = 1000, drawn 0.003 five times", |f| f(0.1, 1000, &[0.003; 5]), [3.1, 0.0])
        .holds("10,000 uniform t of a chain of 100 steps", |f| f(0.0, 100, &drawn(10_000)), "the truth within 3.9 standard errors",
            |value| {
                let truth: f64 = falling().iter().sum();
                let [estimate, error] = value.numbers[..] else { return Err("not two numbers".into()) };
                let off = (estimate - truth).abs();
                if off < 3.9 * error && error < 0.3 * truth { Ok(()) } else { Err(format!("off by {off:.3}, the truth is {truth:.3}")) }
            })
        .trivial(|prior, _, _| [prior, 0.0])
            .mistake(museum::B16, |prior, _, drawn| {
            let (mean, error) = mean_and_error(drawn);
            [prior + mean, error]
        })
        .mistake("L_T is multiplied by T too: it is one term, not T of them", |prior, steps, drawn| {
            let (mean, error) = mean_and_error(drawn);
            [steps as f64 * (prior + mean), steps as f64 * error]
        })
        .mistake("the spread of single draws, not the error of their mean: divide by √n", |prior, steps, drawn| {
            let (mean, error) = mean_and_error(drawn);
            [prior + steps as f64 * mean, steps as f64 * error * (drawn.len() as f64).sqrt()]
        })
        .mistake("the estimate is multiplied by T, its error is not", |prior, steps, drawn| {
            let (mean, error) = mean_and_error(drawn);
            [prior + steps as f64 * mean, error]
        })
        .mistake("the draws are added up: take their mean", |prior, steps, drawn| {
            let (mean, error) = mean_and_error(drawn);
            let n = drawn.len() as f64;
            [prior + steps as f64 * n * mean, steps as f64 * n * error]
        })
        .hint("What does one uniform draw estimate: the sum, or the mean of its terms?")
            .hint("The mean of the draws estimates the mean of the T terms. The bound needs their sum.")
        .hint("Standard error of a mean: the standard deviation (with n − 1) divided by √n. What multiplies the mean multiplies its error.")
    }

    pub(super) fn best_times(e: Exercise<BestTimes>) -> Exercise<BestTimes> {
        e.case("E[L_t²] = 9, 1", |f| f(&[9.0, 1.0]), [0.75, 0.25])
            .case("E[L_t²] = 4, 4, 4, 4", |f| f(&[4.0; 4]), [0.25; 4])
            .holds(
                "terms of 100 steps that fall like 1/t²",
                |f| {
                    let mean = falling();
                    let squares: Vec<f64> = mean.iter().map(|l| 1.2 * l * l).collect();
                    variance(&f(&squares), &mean, &squares) / variance(&[0.01; 100], &mean, &squares)
                },
                "a variance below a tenth of that of uniform t",
                |value| {
                    let ratio = value.number();
                    if ratio < 0.1 { Ok(()) } else { Err(format!("it is {ratio:.3} of it")) }
                },
            )
            .trivial(<[f64]>::to_vec)
            .mistake("the root is missing", |mean_squares| proportional(mean_squares, |m| m))
            .mistake("the probabilities don't sum to 1", |mean_squares| {
                mean_squares.iter().map(|m| m.sqrt()).collect()
            })
            .mistake("small terms most often: it is the large ones that must be seen", |mean_squares| {
                proportional(mean_squares, |m| 1.0 / m.sqrt())
            })
            .mistake("every t alike", |mean_squares| proportional(mean_squares, |_| 1.0))
            .hint(
                "If one term is always ten times as large as another, should it be drawn ten times as often?",
            )
            .hint("The root of each, divided by the sum of the roots.")
            .hint("They must sum to 1.")
    }

    pub(super) fn rate_curve(e: Exercise<RateCurve>) -> Exercise<RateCurve> {
        e.case("L_T = 0.5, terms 4, 2, 1", |f| f(0.5, &[4.0, 2.0, 1.0]), [3.5, 1.5, 0.5])
            .case("L_T = 0.1, one term: L_0 = 7", |f| f(0.1, &[7.0]), [0.1])
            .case(
                "L_T = 0.01, 100 terms: what is sent at t = 1, and L_0, make the bound",
                |f| f(0.01, &falling()).first().map_or(f64::NAN, |rate| rate + falling()[0]),
                0.01 + falling().iter().sum::<f64>(),
            )
            .trivial(|prior, terms| vec![prior; terms.len()])
            .trivial(|_, terms| terms.to_vec())
            .mistake("the step t → t − 1 is counted before it is taken", |prior, terms| {
                (0..terms.len()).map(|i| prior + terms[i..].iter().sum::<f64>()).collect()
            })
            .mistake("L_T is left out", |_, terms| {
                (0..terms.len()).map(|i| terms[i + 1..].iter().sum()).collect()
            })
            .mistake("summed from t = 1 up: the chain is sent from x_T down", |prior, terms| {
                (0..terms.len()).map(|i| prior + terms[..=i].iter().sum::<f64>()).collect()
            })
            .hint("Who pays what? Begin with the receiver who holds x_T.")
            .hint("Who holds x_T has paid L_T and nothing else: the last entry is `prior`.")
            .hint("Entry t − 1 is L_T + Σ over s > t of L_{s−1}, which is `terms[s − 1]`: so `terms[t..]`.")
    }

    pub(super) fn invisible_bits(e: Exercise<InvisibleBits>) -> Exercise<InvisibleBits> {
        let rmse = threshold();
        let (before, after, decoder) = price(rmse);
        e.task(format!("The receiver's guess $\\hat x_0(x_t)$ comes within **{rmse} grey levels** (RMSE) of the image. How many bits/dim of the whole bound, $L_0$ included, are still to be paid? The check compares with the full run (32 images, σ² = β, the bound is {:.2} bits/dim); 15 % off is near enough.", before + after + decoder))
            .holds("bits/dim still to be paid", |f| f(), "a number within 15 % of the truth", move |guess| {
                let ratio = guess.number() / (after + decoder);
                if (1.0 / 1.15..=1.15).contains(&ratio) { Ok(()) } else { Err(format!("the guess is {ratio:.2} times the truth")) }
            })
            .mistake("what has been paid before, not what comes after", || price(threshold()).0)
            .mistake("only the rate: the last step, L_0, is part of the bound", || price(threshold()).1)
            .mistake("only L_0: some of the rate is paid after it too", || price(threshold()).2)
            .hint("Which point of the curve is the first at which the picture looks finished?")
            .hint("Walk down `rate_distortion(&bounds[0])` to the first point whose `rmse.mean` is small enough, and see what its rate is.")
            .hint("The whole bound minus the rate at that point.")
    }
}
