//! 17: learned noise.

use super::exercises;

/// log(1 + eˣ).
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// First and last, and between them sums of increments that are made of `raw` by `positive`.
fn rising(raw: &[f64], first: f64, last: f64, positive: impl Fn(f64) -> f64) -> Vec<f64> {
    let parts: Vec<f64> = raw.iter().map(|&x| positive(x)).collect();
    let total: f64 = parts.iter().sum();
    let sums = parts.iter().scan(0.0, |sum, part| {
        *sum += part;
        Some(first + (last - first) * *sum / total)
    });
    std::iter::once(first).chain(sums).collect()
}

type StepCost = fn(f64, f64, f64) -> f64;
type GaussianMse = fn(f64, f64) -> f64;
type Knots = fn(&[f64], f64, f64) -> Vec<f64>;

exercises! {
    solutions: "17_learned_noise.rs";
    /// `step_cost(gamma_s, gamma_t, mse)`: L of the step from t to s per dimension in nats, γ = −log SNR.
    step_cost: StepCost;
    /// `gaussian_mse(v, gamma)`: the least mean squared error of ε̂ for data N(0, v) at the noise level γ.
    gaussian_mse: GaussianMse;
    /// `knots(raw, first, last)`: γ at the ends of n steps, rising whatever the n numbers are.
    knots: Knots;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn step_cost(e: Exercise<StepCost>) -> Exercise<StepCost> {
        let right = |s: f64, t: f64, mse: f64| 0.5 * (t - s).exp_m1() * mse;
        e.case("γ_s = −1, γ_t = 1, mse = 0.5", |f| f(-1.0, 1.0, 0.5), right(-1.0, 1.0, 0.5))
            .case("γ_s = γ_t: no step, no cost", |f| f(2.0, 2.0, 0.7), 0.0)
            .case("γ_s = −6, γ_t = −5.5, mse = 0.02", |f| f(-6.0, -5.5, 0.02), right(-6.0, -5.5, 0.02))
            .case_within(1e-22, "a step of 10⁻¹⁴: 5·10⁻¹⁵", |f| f(0.0, 1e-14, 1.0), 5e-15)
            .trivial(|_, _, mse| mse)
            .trivial(|s, _, _| s)
            .mistake("e to a small number, minus 1, loses every digit: `exp_m1`", |s, t, mse| 0.5 * ((t - s).exp() - 1.0) * mse)
            .mistake("the ½ is missing", |s, t, mse| (t - s).exp_m1() * mse)
            .mistake("the sign of the step: γ grows with t", |s, t, mse| 0.5 * (s - t).exp_m1() * mse)
            .mistake("SNR_s − SNR_t belongs to the error of x̂_0, not of ε̂", |s, t, mse| 0.5 * ((-s).exp() - (-t).exp()) * mse)
            .mistake("the continuous limit: a step has the weight e^{γ_t − γ_s} − 1, not γ_t − γ_s", |s, t, mse| 0.5 * (t - s) * mse)
            .hint("A step is worth how much the signal-to-noise ratio grows, times what the network still gets wrong.")
            .hint("½ (SNR_s/SNR_t − 1) times the mean squared error of ε̂.")
            .hint("SNR = e^{−γ}, so that SNR_s/SNR_t is e^{γ_t − γ_s}; and `x.exp_m1()` is eˣ − 1 with all digits.")
    }

    pub(super) fn gaussian_mse(e: Exercise<GaussianMse>) -> Exercise<GaussianMse> {
        let right = |v: f64, gamma: f64| v / (v + gamma.exp());
        e.case("v = 1, γ = 0: half of each", |f| f(1.0, 0.0), 0.5)
            .case("v = 0: a single image, and all noise is known", |f| f(0.0, 0.3), 0.0)
            .case("v = 0.25, γ = −2", |f| f(0.25, -2.0), right(0.25, -2.0))
            .case("v = 0.01, γ = 3", |f| f(0.01, 3.0), right(0.01, 3.0))
            .trivial(|v, _| v)
            .mistake("the error of x̂_0: that of ε̂ is e^{−γ} times as large", |v, gamma| {
                v * gamma.exp() / (v + gamma.exp())
            })
            .mistake("what is explained, not what is left", |v, gamma| gamma.exp() / (v + gamma.exp()))
            .mistake("γ is −log SNR: more noise is a larger γ", |v, gamma| v / (v + (-gamma).exp()))
            .mistake("the standard deviation in place of the variance", |v, gamma| {
                v.sqrt() / (v.sqrt() + gamma.exp())
            })
            .hint("Two Gaussians are added. How much of one of them can be told from the sum?")
            .hint("x_t = α x_0 + σ ε is known. Of ε remains the variance 1 − σ²/(α² v + σ²).")
            .hint("That is α² v/(α² v + σ²); divide by α², and σ²/α² is e^γ.")
    }

    pub(super) fn knots(e: Exercise<Knots>) -> Exercise<Knots> {
        let raw = [0.3, -2.0, 1.5, 0.0];
        let equal = vec![-10.0, -5.0, 0.0, 5.0];
        e.case("raw = [0, 0, 0], from −10 to 5: equal steps", |f| f(&[0.0; 3], -10.0, 5.0), equal)
            .case("raw = [0.3, −2, 1.5, 0], from −8 to 4", move |f| f(&raw, -8.0, 4.0), rising(&raw, -8.0, 4.0, softplus))
            .case("raw = [900, −900], from 0 to 1: no overflow", |f| f(&[900.0, -900.0], 0.0, 1.0), vec![0.0, 1.0, 1.0])
            .trivial(|raw, _, _| raw.to_vec())
            .trivial(|_, first, last| vec![first, last])
            .mistake("the increments are not made positive: γ must rise", |raw, first, last| {
                let sums = raw.iter().scan(first, |sum, x| { *sum += x; Some(*sum) });
                let _ = last;
                std::iter::once(first).chain(sums).collect()
            })
            .mistake("e to the numbers: it overflows where softplus does not", |raw, first, last| rising(raw, first, last, f64::exp))
            .mistake("their absolute values: at 0 the gradient has no direction, and a step of 0 stays", |raw, first, last| rising(raw, first, last, f64::abs))
            .mistake("the increments are not scaled: the last γ must be `last`", |raw, first, _| {
                let sums = raw.iter().scan(first, |sum, &x| { *sum += softplus(x); Some(*sum) });
                std::iter::once(first).chain(sums).collect()
            })
            .mistake("the first γ is missing: n steps have n + 1 ends", |raw, first, last| rising(raw, first, last, softplus)[1..].to_vec())
            .hint("Any numbers have to become rising ones. Which function makes a number positive?")
            .hint("softplus(x) = log(1 + eˣ) is positive for every x. For large x compute x + log(1 + e^{−x}).")
            .hint("Add up the softplus of the numbers; divide each sum by the last one; stretch from `first` to `last`.")
    }
}
