//! 12: the paper's other figures.

use super::{Value, class_constant, exercises, museum};
use crate::stored;
use ddpm::diffusion::{Schedule, q_sample};
use ddpm::prelude::s;
use ddpm::rng::{normal, stream};
use ddpm::tensor::Batch;

/// `x0_estimate(x_t, eps_hat, alpha_bar)`.
type X0Estimate = fn(&Batch, &Batch, f64) -> Batch;
/// `mixed_latent(x0, x0_prime, lambda, alpha_bar, eps, eps_prime)`.
type MixedLatent = fn(&Batch, &Batch, f64, f64, &Batch, &Batch) -> Batch;
/// `hybrid_gradient(d_simple, d_vlb, lambda)`.
type HybridGradient = fn(&Batch, &Batch, f64) -> Batch;

/// An image of 2×3 pixels for each `n`.
fn image(n: usize) -> Batch {
    Batch::from_shape_fn((1, 2, 3, 1), |(_, y, x, _)| ((37 * n + 90 * y + 40 * x) % 256) as f64 / 127.5 - 1.0)
}

fn noise(n: u64) -> Batch {
    normal((1, 2, 3, 1), &mut stream(12, n))
}

/// x_t of `image(1)` and a guess of its noise that is a share of the noise itself.
fn guess(t: usize, share: f64) -> (Batch, Batch, f64) {
    let schedule = Schedule::linear(1000);
    let eps = noise(0);
    (q_sample(&schedule, &image(1), &[t], &eps), share * eps, schedule.alpha_bar(t))
}

/// (x_t − √(1 − ᾱ_t) ε̂)/√ᾱ_t, not clipped.
fn unclipped(x_t: &Batch, eps_hat: &Batch, alpha_bar: f64) -> Batch {
    (x_t - (1.0 - alpha_bar).sqrt() * eps_hat) / alpha_bar.sqrt()
}

fn clamped(x: Batch) -> Batch {
    x.mapv_into(|x| x.clamp(-1.0, 1.0))
}

/// √ᾱ_t x + √(1 − ᾱ_t) ε
fn diffused(x: &Batch, alpha_bar: f64, eps: &Batch) -> Batch {
    alpha_bar.sqrt() * x + (1.0 - alpha_bar).sqrt() * eps
}

/// (1 − λ) a + λ b
fn between(a: &Batch, b: &Batch, lambda: f64) -> Batch {
    (1.0 - lambda) * a + lambda * b
}

/// Gradients `[1, 2, 3, 2]` with respect to an output of two halves; that of L_simple has nothing in the second.
fn gradients() -> (Batch, Batch) {
    let mut simple: Batch = normal((1, 2, 3, 2), &mut stream(12, 5));
    simple.slice_mut(s![.., .., .., 1..]).fill(0.0);
    (simple, normal((1, 2, 3, 2), &mut stream(12, 6)))
}

/// λ L_vlb's gradient in both halves or only in one.
fn added(d_simple: &Batch, d_vlb: &Batch, lambda: f64, (mean, variance): (f64, f64)) -> Batch {
    let c = d_simple.dim().3 / 2;
    let mut sum = d_simple.clone();
    sum.slice_mut(s![.., .., .., ..c]).scaled_add(mean * lambda, &d_vlb.slice(s![.., .., .., ..c]));
    sum.slice_mut(s![.., .., .., c..]).scaled_add(variance * lambda, &d_vlb.slice(s![.., .., .., c..]));
    sum
}

/// By how much the bound of one run of the ablation lies below that of another, and how much of that is L_0; bits/dim.
fn gain((better, worse): (&str, &str)) -> (f64, f64) {
    let of = |run: &str, column: &str| stored("ablation.csv").only("run", run).column(column)[0];
    let below = |column: &str| of(worse, column) - of(better, column);
    (below("bits_per_dim"), below("distortion"))
}

/// The two runs of the question.
fn runs() -> (&'static str, &'static str) {
    class_constant(
        "share_of_decoder",
        &[("eps_fixed", "eps_simple"), ("eps_hybrid", "eps_simple"), ("eps_fixed", "eps_learned")],
    )
}

type LogVarianceAndSlope = fn(f64, f64, f64) -> [f64; 2];
type ShareOfDecoder = fn() -> f64;

exercises! {
    solutions: "12_paper_figures.rs";
    /// `x0_estimate(x_t, eps_hat, alpha_bar)`: x̂_0 of Eq. 15, clipped to [−1, 1].
    x0_estimate: X0Estimate;
    /// `mixed_latent(x0, x0_prime, lambda, alpha_bar, eps, eps_prime)`: x̄_t = (1 − λ) x_t + λ x'_t.
    mixed_latent: MixedLatent;
    /// `log_variance_and_slope(v, beta, beta_tilde)`: log σ² of the learned range, and its derivative by v.
    log_variance_and_slope: LogVarianceAndSlope;
    /// `hybrid_gradient(d_simple, d_vlb, lambda)`: the gradient of L_simple + λ L_vlb, where L_vlb can't move the mean.
    hybrid_gradient: HybridGradient;
    /// `read()`: which share of the gain of one run over another is L_0's.
    share_of_decoder: ShareOfDecoder;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn x0_estimate(e: Exercise<X0Estimate>) -> Exercise<X0Estimate> {
        let at = |t: usize, share: f64| {
            move |f: X0Estimate| {
                let (x_t, eps_hat, alpha_bar) = guess(t, share);
                f(&x_t, &eps_hat, alpha_bar)
            }
        };
        let expected = |t: usize, share: f64| {
            let (x_t, eps_hat, alpha_bar) = guess(t, share);
            clamped(unclipped(&x_t, &eps_hat, alpha_bar))
        };
        e.case("t = 300, ε̂ = ε: the image comes back", at(300, 1.0), image(1))
            .case("t = 300, ε̂ = 0.9 ε", at(300, 0.9), expected(300, 0.9))
            .case("t = 1000, ε̂ = 0.99 ε", at(1000, 0.99), expected(1000, 0.99))
            .trivial(|x_t, _, _| x_t.clone())
            .trivial(|_, eps_hat, _| eps_hat.clone())
            .mistake(museum::B5, |x_t, eps_hat, alpha_bar| {
                clamped((x_t - (1.0 - alpha_bar) * eps_hat) / alpha_bar.sqrt())
            })
            .mistake(
                "the noise is taken away, but the image is still √ᾱ_t of its size",
                |x_t, eps_hat, alpha_bar| clamped(unclipped(x_t, eps_hat, alpha_bar) * alpha_bar.sqrt()),
            )
            .mistake("the noise is added, not taken away", |x_t, eps_hat, alpha_bar| {
                clamped(unclipped(x_t, &-eps_hat, alpha_bar))
            })
            .mistake(museum::B15, unclipped)
            .hint("You wrote it for one pixel in notebook 03.")
            .hint("Solve x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε for x_0, with ε̂ in the place of ε.")
            .hint("`.mapv(|x| x.clamp(-1.0, 1.0))` clips.")
    }

    pub(super) fn mixed_latent(e: Exercise<MixedLatent>) -> Exercise<MixedLatent> {
        let at = |lambda: f64, alpha_bar: f64| {
            move |f: MixedLatent| f(&image(0), &image(1), lambda, alpha_bar, &noise(0), &noise(1))
        };
        let (x_t, x_t_prime) = (diffused(&image(0), 0.3, &noise(0)), diffused(&image(1), 0.3, &noise(1)));
        e.case("λ = 0, ᾱ_t = 0.3: x_t itself", at(0.0, 0.3), x_t.clone())
            .case("λ = 1, ᾱ_t = 0.3: x'_t itself", at(1.0, 0.3), x_t_prime.clone())
            .case("λ = 0.25, ᾱ_t = 0.3", at(0.25, 0.3), between(&x_t, &x_t_prime, 0.25))
            .case(
                "λ = 0.25, ᾱ_t = 1, where pixels are mixed",
                at(0.25, 1.0),
                between(&image(0), &image(1), 0.25),
            )
            .trivial(|x0, _, _, _, _, _| x0.clone())
            .trivial(|_, x0_prime, _, _, _, _| x0_prime.clone())
            .trivial(|_, _, _, _, eps, _| eps.clone())
            .trivial(|_, _, _, _, _, eps_prime| eps_prime.clone())
            .mistake(museum::B11, |x0, x0_prime, lambda, alpha_bar, eps, eps_prime| {
                between(&diffused(x0_prime, alpha_bar, eps_prime), &diffused(x0, alpha_bar, eps), lambda)
            })
            .mistake(
                "both latents are made from x_0: the paper's text has lost a prime",
                |x0, _, lambda, alpha_bar, eps, eps_prime| {
                    between(&diffused(x0, alpha_bar, eps), &diffused(x0, alpha_bar, eps_prime), lambda)
                },
            )
            .mistake(
                "pixels are mixed and noised once: each image has a noise of its own",
                |x0, x0_prime, lambda, alpha_bar, eps, _| {
                    diffused(&between(x0, x0_prime, lambda), alpha_bar, eps)
                },
            )
            .mistake("a latent is mixed with an image", |x0, x0_prime, lambda, alpha_bar, eps, _| {
                between(&diffused(x0, alpha_bar, eps), x0_prime, lambda)
            })
            .hint("Where is the mixing done: before the noise or after it?")
            .hint("Three lines: x_t from x_0 and ε, x'_t from x'_0 and ε', then the mixture.")
            .hint("λ = 0 must give x_t, and λ = 1 must give x'_t.")
    }

    pub(super) fn log_variance_and_slope(e: Exercise<LogVarianceAndSlope>) -> Exercise<LogVarianceAndSlope> {
        let range = (0.02_f64 / 0.005).ln();
        e.case(
            "v = 0, β = 0.02, β̃ = 0.005: the geometric mean",
            |f| f(0.0, 0.02, 0.005),
            [0.01_f64.ln(), 0.5 * range],
        )
        .case("v = 1, β = 0.02, β̃ = 0.005: σ² = β", |f| f(1.0, 0.02, 0.005), [0.02_f64.ln(), 0.5 * range])
        .case("v = −1, β = 0.02, β̃ = 0.005: σ² = β̃", |f| f(-1.0, 0.02, 0.005), [0.005_f64.ln(), 0.5 * range])
        .case_within(
            1e-6,
            "v = 0.3: the slope against a central difference",
            |f| {
                let [h, slope] = [1e-4, f(0.3, 0.02, 0.005)[1]];
                (f(0.3 + h, 0.02, 0.005)[0] - f(0.3 - h, 0.02, 0.005)[0]) / (2.0 * h) / slope
            },
            1.0,
        )
        .trivial(|v, _, _| [v, 0.0])
        .trivial(|_, beta, beta_tilde| [beta, beta_tilde])
        .mistake("variances are mixed, not their logarithms", |v, beta, beta_tilde| {
            let f = 0.5 * (v + 1.0);
            let variance = f * beta + (1.0 - f) * beta_tilde;
            [variance.ln(), 0.5 * (beta - beta_tilde) / variance]
        })
        .mistake("v is taken for the share: it runs from −1 to 1", |v, beta, beta_tilde| {
            [v * beta.ln() + (1.0 - v) * beta_tilde.ln(), (beta / beta_tilde).ln()]
        })
        .mistake("the slope by the share, not by v: a factor of ½ is missing", |v, beta, beta_tilde| {
            let f = 0.5 * (v + 1.0);
            [f * beta.ln() + (1.0 - f) * beta_tilde.ln(), (beta / beta_tilde).ln()]
        })
        .mistake("β and β̃ are swapped", |v, beta, beta_tilde| {
            let f = 0.5 * (v + 1.0);
            [f * beta_tilde.ln() + (1.0 - f) * beta.ln(), 0.5 * (beta_tilde / beta).ln()]
        })
        .hint("v says where between two ends. What is the value at v = −1, and at v = 1?")
        .hint("The share of log β is f = (v + 1)/2, that of log β̃ the rest.")
        .hint("log σ² is linear in v: its slope is ½ (log β − log β̃).")
    }

    pub(super) fn hybrid_gradient(e: Exercise<HybridGradient>) -> Exercise<HybridGradient> {
        let (simple, vlb) = gradients();
        let run = |lambda: f64| {
            move |f: HybridGradient| {
                let (simple, vlb) = gradients();
                f(&simple, &vlb, lambda)
            }
        };
        e.case("one image of 2×3 pixels and a channel, λ = 0.5", run(0.5), added(&simple, &vlb, 0.5, (0.0, 1.0)))
            .case("λ = 0.001: the mean's half", move |f| Value::from(run(0.001)(f).slice(s![.., .., .., ..1]).to_owned()),
                simple.slice(s![.., .., .., ..1]).to_owned())
            .trivial(|d_simple, _, _| d_simple.clone())
            .trivial(|_, d_vlb, _| d_vlb.clone())
            .mistake("L_vlb's gradient reaches the mean too: it must be stopped there", |simple, vlb, lambda| {
                added(simple, vlb, lambda, (1.0, 1.0))
            })
            .mistake("L_vlb's gradient reaches the mean, and not the variance", |simple, vlb, lambda| {
                added(simple, vlb, lambda, (1.0, 0.0))
            })
            .mistake("λ is missing", |simple, vlb, _| added(simple, vlb, 1.0, (0.0, 1.0)))
            .mistake("the variance learns nothing", |simple, vlb, lambda| added(simple, vlb, lambda, (0.0, 0.0)))
            .hint("The loss has two parts, and each of them may teach one half of the output only.")
            .hint("The first half of the channels is the mean's: there the answer is d_simple. In the second it is λ d_vlb.")
            .hint("`slice_mut(s![.., .., .., c..]).assign(&…)` with c half the number of channels.")
    }

    pub(super) fn share_of_decoder(e: Exercise<ShareOfDecoder>) -> Exercise<ShareOfDecoder> {
        let (better, worse) = runs();
        let (total, decoder) = gain(runs());
        e.task(format!("`{better}` has a lower bound than `{worse}`. Which share of the gain in bits/dim comes from $L_0$, the column *distortion*? (1 is all of it; within 0.05.)"))
            .holds("the share", |f| f(), "a number within 0.05 of the truth", move |share| {
                let off = share.number() - decoder / total;
                if off.abs() < 0.05 { Ok(()) } else { Err(format!("it is off by {off:.2}")) }
            })
            .mistake("the share of the rate, not of L_0", || 1.0 - gain(runs()).1 / gain(runs()).0)
            .mistake("the difference of L_0 in bits/dim: divide it by that of the bounds", || gain(runs()).1)
            .mistake("how much of the bound is L_0, not how much of the gain", || {
                let run = stored("ablation.csv").only("run", runs().0);
                run.column("distortion")[0] / run.column("bits_per_dim")[0]
            })
            .hint("Which part of the bound does the last step pay, in each of the two?")
            .hint("Two differences, and their ratio. The bound is rate + distortion.")
            .hint("(difference of the distortions) / (difference of the bounds)")
    }
}
