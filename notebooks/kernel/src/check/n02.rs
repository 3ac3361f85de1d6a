//! 02: the forward process and its schedules.

use super::{class_constant, exercises, museum};
use ddpm::diffusion::{L_T, Schedule, ScheduleKind, bits_per_dim, normal_cdf};
use ddpm::prelude::{Array1, Estimate, normal, stream};
use ddpm::tensor::Batch;
use std::f64::consts::LN_2;

/// Three steps, each different enough from the others that no slip hides.
const BETAS: [f64; 3] = [0.1, 0.2, 0.5];

/// Mean and variance of where 4,000 walkers of 50 steps end; they start at 1.
fn walkers(walk: fn(f64, &[f64], &[f64]) -> f64) -> [f64; 2] {
    let (betas, mut rng) = ([0.01; 50], stream(2, 0));
    let ends: Array1<f64> = (0..4000)
        .map(|_| {
            let eps: Array1<f64> = normal(50, &mut rng);
            walk(1.0, &betas, &eps.to_vec())
        })
        .collect();
    let mean = Estimate::of(&ends).mean;
    [mean, ends.mapv(|x| (x - mean).powi(2)).sum() / 3999.0]
}

/// One step after the other; `step(x, t, ε)` says how.
fn chain(x0: f64, eps: &[f64], step: impl Fn(f64, usize, f64) -> f64) -> f64 {
    eps.iter().enumerate().fold(x0, |x, (i, &eps)| step(x, i, eps))
}

/// ᾱ_1 … ᾱ_T.
fn products(betas: &[f64]) -> Vec<f64> {
    betas
        .iter()
        .scan(1.0, |product, beta| {
            *product *= 1.0 - beta;
            Some(*product)
        })
        .collect()
}

/// n numbers from `first` to `last`, each squared and times `factor`.
fn squares(first: f64, last: f64, n: usize, factor: f64) -> Vec<f64> {
    (0..n).map(|i| factor * (first + (last - first) * i as f64 / (n - 1) as f64).powi(2)).collect()
}

/// β_1 … β_T of a schedule of the crate; none if there is no such schedule, which no check asks for.
fn betas(kind: ScheduleKind, steps: usize) -> Vec<f64> {
    kind.schedule(steps).map_or_else(|_| Vec::new(), |s| (1..=steps).map(|t| s.beta(t)).collect())
}

/// L_T in nats of one pixel ½, with the β of T = 1000 kept.
fn prior_nats() -> f64 {
    L_T(&Schedule::linear(prior_steps()), &Batch::from_elem((1, 1, 1, 1), 0.5))[0]
}

fn prior_steps() -> usize {
    class_constant("prior_cost", &[50, 60, 80, 100])
}

type Walk = fn(f64, &[f64], &[f64]) -> f64;
type AlphaBars = fn(&[f64]) -> Vec<f64>;
type Noised = fn(f64, f64, f64) -> f64;
type QuadBetas = fn(usize) -> Vec<f64>;
type PriorCost = fn() -> f64;

exercises! {
    solutions: "02_forward.rs";
    /// `walk(x0, betas, eps)`, where one pixel is after all steps of Eq. 2, each with its β_t and its ε.
    walk: Walk;
    /// `alpha_bars(betas)`: ᾱ_0 … ᾱ_T, T + 1 numbers.
    alpha_bars: AlphaBars;
    /// `noised(x0, alpha_bar, eps)`: x_t in one jump (Eq. 4).
    noised: Noised;
    /// `quad_betas(steps)`: β_1 … β_T whose roots rise linearly from √1e-4 to √0.02, times 1000/T.
    quad_betas: QuadBetas;
    /// `guess()`: L_T in bits/dim of a short chain with the β of T = 1000.
    prior_cost: PriorCost;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn walk(e: Exercise<Walk>) -> Exercise<Walk> {
        e
        .case("x_0 = 0.8, β = [0.19], ε = [1]", |f| f(0.8, &[0.19], &[1.0]), 0.72 + 0.19_f64.sqrt())
        .case("x_0 = 0.8, β = [0.1, 0.2, 0.5], ε = [0, 0, 0]", |f| f(0.8, &BETAS, &[0.0; 3]), 0.8 * 0.6)
        .case("x_0 = 0.8, β = [0.1, 0.2, 0.5], ε = [1, -2, 0.5]", |f| f(0.8, &BETAS, &[1.0, -2.0, 0.5]),
            chain(0.8, &[1.0, -2.0, 0.5], |x, i, eps| (1.0 - BETAS[i]).sqrt() * x + BETAS[i].sqrt() * eps))
        .case_within(0.06, "mean and variance of 4,000 walks of 50 steps from 1, β = 0.01", |f| walkers(f).to_vec(),
            vec![0.99_f64.powi(25), 1.0 - 0.99_f64.powi(50)])
        .trivial(|x0, _, _| x0)
            .trivial(|_, betas, _| betas[0])
            .trivial(|_, _, eps| eps[0])
            .mistake("the noise is scaled by β instead of √β", |x0, betas, eps| {
            chain(x0, eps, |x, i, eps| (1.0 - betas[i]).sqrt() * x + betas[i] * eps)
        })
        // Φ(ε) is uniform on [0, 1) when ε is normal
        .mistake(museum::B3, |x0, betas, eps| {
            chain(x0, eps, |x, i, eps| (1.0 - betas[i]).sqrt() * x + betas[i] * normal_cdf(eps))
        })
        .mistake(museum::B4, |x0, betas, eps| {
            let bar = products(betas);
            chain(x0, eps, |x, i, eps| bar[i].sqrt() * x + (1.0 - bar[i]).sqrt() * eps)
        })
        .mistake("x_{t−1} is not scaled down, so that the variance grows without end", |x0, betas, eps| {
            chain(x0, eps, |x, i, eps| x + betas[i].sqrt() * eps)
        })
        .mistake("x_{t−1} is scaled by 1 − β instead of its root", |x0, betas, eps| {
            chain(x0, eps, |x, i, eps| (1.0 - betas[i]) * x + betas[i].sqrt() * eps)
        })
        .hint("One pass over the steps; each step needs the x of the step before, one β and one ε.")
            .hint("N(x; m, v) has the variance v. To draw from it: m + √v ε.")
        .hint("for (beta, eps) in betas.iter().zip(eps) { x = (1.0 - beta).sqrt() * x + beta.sqrt() * eps; }")
    }

    pub(super) fn alpha_bars(e: Exercise<AlphaBars>) -> Exercise<AlphaBars> {
        e
        .case("β = [0.1, 0.2, 0.5]", |f| f(&BETAS), vec![1.0, 0.9, 0.72, 0.36])
        .case("β = [0.3]", |f| f(&[0.3]), vec![1.0, 0.7])
        .case("the paper's 1,000 β", |f| f(&betas(ScheduleKind::Linear, 1000)),
            (0..=1000).map(|t| Schedule::linear(1000).alpha_bar(t)).collect::<Vec<f64>>())
        .trivial(<[f64]>::to_vec)
            .mistake(museum::B8, |betas| {
            std::iter::once(1.0).chain(products(betas)).map(|a| a * (1.0 - betas[0])).collect()
        })
        .mistake(museum::B9, |betas| {
            let mut bars = vec![1.0, 1.0];
            bars.extend(products(&betas[..betas.len() - 1]));
            bars
        })
        .mistake("ᾱ_0 = 1 is missing: the table must have T + 1 entries", products)
        .mistake("the product of the β; it is the α = 1 − β that are multiplied", |betas| {
            products(&std::iter::once(0.0).chain(betas.iter().map(|b| 1.0 - b)).collect::<Vec<f64>>())
        })
        .hint("How many numbers are there before the first step? What is left of the image then?")
            .hint("ᾱ_0 is the empty product. Each entry is the one before, times 1 − β_t.")
        .hint("let mut bars = vec![1.0]; for (i, beta) in betas.iter().enumerate() { bars.push(bars[i] * (1.0 - beta)); }")
    }

    pub(super) fn noised(e: Exercise<Noised>) -> Exercise<Noised> {
        e.case("x_0 = 0.5, ᾱ = 1, ε = 3: no noise yet", |f| f(0.5, 1.0, 3.0), 0.5)
            .case("x_0 = 0.5, ᾱ = 0, ε = -1.5: only noise", |f| f(0.5, 0.0, -1.5), -1.5)
            .case("x_0 = 1, ᾱ = 0.36, ε = 0", |f| f(1.0, 0.36, 0.0), 0.6)
            .case("x_0 = 0.5, ᾱ = 0.36, ε = 1", |f| f(0.5, 0.36, 1.0), 1.1)
            .case(
                "x_0 = 0.3, ᾱ = 0.8, ε = -2",
                |f| f(0.3, 0.8, -2.0),
                0.8_f64.sqrt() * 0.3 - 2.0 * 0.2_f64.sqrt(),
            )
            .trivial(|x0, _, _| x0)
            .trivial(|_, bar, _| bar)
            .trivial(|_, _, eps| eps)
            .mistake(museum::B5, |x0, bar, eps| bar.sqrt() * x0 + (1.0 - bar) * eps)
            .mistake(museum::B10, |x0, bar, eps| bar * x0 + (1.0 - bar) * eps)
            .mistake("1 − √ᾱ instead of √(1 − ᾱ)", |x0, bar, eps| {
                bar.sqrt() * x0 + (1.0 - bar.sqrt()) * eps
            })
            .mistake("the coefficients are swapped", |x0, bar, eps| {
                (1.0 - bar).sqrt() * x0 + bar.sqrt() * eps
            })
            .hint("It is the same sentence as in notebook 01: to draw from a Gaussian, scale and shift.")
            .hint("Eq. 4 gives mean and variance. To draw from N(m, v): m + √v ε.")
            .hint("√ᾱ x_0 + √(1 − ᾱ) ε, a root on both.")
    }

    pub(super) fn quad_betas(e: Exercise<QuadBetas>) -> Exercise<QuadBetas> {
        e
        .case_within(1e-12, "T = 1000", |f| f(1000), betas(ScheduleKind::Quad, 1000))
        .case_within(1e-12, "T = 50", |f| f(50), betas(ScheduleKind::Quad, 50))
        .case_within(1e-12, "T = 200", |f| f(200), betas(ScheduleKind::Quad, 200))
        .mistake(museum::B1, |steps| squares(1e-2, 0.02_f64.sqrt(), steps, 1.0))
        .mistake(museum::B2, |steps| squares(1e-8, 4e-4, steps, 1000.0 / steps as f64))
        .mistake("the β rise linearly, not their roots", |steps| betas(ScheduleKind::Linear, steps))
        .mistake("T steps have T − 1 gaps: the last β must be reached", |steps| {
            let mut betas = squares(1e-2, 0.02_f64.sqrt(), steps + 1, 1000.0 / steps as f64);
            betas.truncate(steps);
            betas
        })
        .hint("What rises in equal steps: β or its root? And what has to stay the same if the chain is shorter?")
            .hint("T equal steps from √β_1 to √β_T, both included; then square each; then multiply by 1000/T.")
        .hint("For i in 0..steps the root is r_1 + (r_T − r_1) · i/(steps − 1), with r_1 = √1e-4 = 0.01 and r_T = √0.02.")
    }

    pub(super) fn prior_cost(e: Exercise<PriorCost>) -> Exercise<PriorCost> {
        let (steps, bits) = (prior_steps(), bits_per_dim(prior_nats(), 1));
        e.task(format!("A chain of $T = {steps}$ steps whose $\\beta_t$ rise from $10^{{-4}}$ to $0.02$, as the paper's do in its 1000. How large is $L_T$ for pixels with $x_0^2 = 0.25$, in **bits/dim**? Within 30 %."))
            .holds("L_T in bits/dim", |f| f(), "a number within 30 % of the truth", move |guess| {
                let factor = guess.number() / bits;
                if (0.7..=1.3).contains(&factor) { Ok(()) } else { Err(format!("the guess is {factor:.2e} times the truth")) }
            })
            .mistake("nats, not bits", prior_nats)
            .mistake("what it would be with β · 1000/T, or with T = 1000", || {
                L_T(&Schedule::linear(1000), &Batch::from_elem((1, 1, 1, 1), 0.5))[0] / LN_2
            })
            .mistake("ᾱ_T itself, not the divergence", || Schedule::linear(prior_steps()).alpha_bar(prior_steps()))
            .hint("No network is needed. How much of the image is left at T, and how far is that from nothing?")
            .hint("ᾱ_T is about exp(−Σ β_t), and the mean β is 0.01. Then put it into the formula for L_T.")
            .hint("`L_T(&Schedule::linear(T), &Batch::from_elem((1, 1, 1, 1), 0.5))[0]` is in nats; one bit is ln 2 nats.")
    }
}
