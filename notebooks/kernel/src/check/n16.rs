//! 16: latent diffusion.

use super::exercises;
use std::f64::consts::PI;

/// log 2π.
fn log_two_pi() -> f64 {
    (2.0 * PI).ln()
}

/// E −log N(x; a z, v), E log q(z) and E −log N(z; 0, 1) for z ~ q = N(m, s²).
fn parts(x: f64, a: f64, v: f64, m: f64, s2: f64) -> [f64; 3] {
    let off = (x - a * m).powi(2) + a * a * s2;
    [
        0.5 * (log_two_pi() + v.ln() + off / v),
        -0.5 * (log_two_pi() + s2.ln() + 1.0),
        0.5 * (log_two_pi() + m * m + s2),
    ]
}

type LeftOver = fn(&[f64], usize) -> f64;
type ThroughSample = fn(f64, f64, f64) -> [f64; 2];
type BoundParts = fn(f64, f64, f64, f64, f64) -> [f64; 3];

exercises! {
    solutions: "16_latents.rs";
    /// `left_over(variances, k)`: the mean squared error per dimension of the best linear code of k numbers.
    left_over: LeftOver;
    /// `through_sample(dz, log_var, eps)`: the gradients of m and log s², if z = m + s ε.
    through_sample: ThroughSample;
    /// `bound_parts(x, a, v, m, s2)`: E −log p(x|z), E log q(z|x), E −log p(z) in nats, for z ~ N(m, s²), p(x|z) = N(a z, v).
    bound_parts: BoundParts;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn left_over(e: Exercise<LeftOver>) -> Exercise<LeftOver> {
        fn sorted(variances: &[f64]) -> Vec<f64> {
            let mut all = variances.to_vec();
            all.sort_by(|a, b| b.total_cmp(a));
            all
        }
        e.case("variances [4, 1, 1], k = 1", |f| f(&[4.0, 1.0, 1.0], 1), 2.0 / 3.0)
            .case("variances [1, 9, 2, 4], k = 2: they are not sorted", |f| f(&[1.0, 9.0, 2.0, 4.0], 2), 0.75)
            .case("k = 0: nothing is kept", |f| f(&[3.0, 1.0], 0), 2.0)
            .case("k = 3 of 3: nothing is lost", |f| f(&[3.0, 1.0, 2.0], 3), 0.0)
            .trivial(|variances, _| variances[0])
            .mistake("the first k as they stand: keep the directions of the largest variances", |variances, k| {
                variances[k..].iter().sum::<f64>() / variances.len() as f64
            })
            .mistake("what is kept, not what is lost", |variances, k| sorted(variances)[..k].iter().sum::<f64>() / variances.len() as f64)
            .mistake("divided by the numbers that are lost: the error is one of all dimensions", |variances, k| {
                sorted(variances)[k..].iter().sum::<f64>() / (variances.len() - k).max(1) as f64
            })
            .mistake("the sum, not per dimension", |variances, k| sorted(variances)[k..].iter().sum())
            .mistake("the share of the variance that is lost", |variances, k| {
                sorted(variances)[k..].iter().sum::<f64>() / variances.iter().sum::<f64>()
            })
            .hint("What is lost with a direction that is kept? And with one that is dropped?")
            .hint("A direction that is kept has no error. One that is dropped has its variance as squared error.")
            .hint("Sort, drop the k largest, sum the rest, divide by the number of dimensions.")
    }

    pub(super) fn through_sample(e: Exercise<ThroughSample>) -> Exercise<ThroughSample> {
        e.case("dz = 1, log s² = 0, ε = 2", |f| f(1.0, 0.0, 2.0), [1.0, 1.0])
            .case("dz = −3, log s² = log 4, ε = 0.5", |f| f(-3.0, 4.0_f64.ln(), 0.5), [-3.0, -1.5])
            .case("dz = 0.7, log s² = −2, ε = −1.2", |f| f(0.7, -2.0, -1.2), [0.7, 0.7 * 0.5 * (-1.0_f64).exp() * -1.2])
            .trivial(|dz, _, _| [dz, dz])
            .trivial(|dz, _, _| [dz, 0.0])
            .mistake("the ½ is missing: s is e to half of log s²", |dz, log_var, eps| [dz, dz * (0.5 * log_var).exp() * eps])
            .mistake("s² in place of s", |dz, log_var, eps| [dz, 0.5 * dz * log_var.exp() * eps])
            .mistake("the gradient of s, not of log s²", |dz, _, eps| [dz, dz * eps])
            .mistake("m has the gradient of z itself", |dz, log_var, eps| [dz * (0.5 * log_var).exp(), 0.5 * dz * (0.5 * log_var).exp() * eps])
            .hint("Write z as a formula of m and log s². What is random in it, and does that depend on the weights?")
            .hint("z = m + e^{ℓ/2} ε with ℓ = log s². Differentiate for m and for ℓ; ε is a number like any other.")
            .hint("[dz, dz · ½ e^{ℓ/2} ε]")
    }

    pub(super) fn bound_parts(e: Exercise<BoundParts>) -> Exercise<BoundParts> {
        e.case("x = 0, a = 1, v = 1, q = N(0, 1)", |f| f(0.0, 1.0, 1.0, 0.0, 1.0), parts(0.0, 1.0, 1.0, 0.0, 1.0))
            .case("x = 1.5, a = 0.8, v = 0.1, q = N(1.2, 0.05)", |f| f(1.5, 0.8, 0.1, 1.2, 0.05), parts(1.5, 0.8, 0.1, 1.2, 0.05))
            .case("x = −0.3, a = 2, v = 0.5, q = N(0.4, 0.6)", |f| f(-0.3, 2.0, 0.5, 0.4, 0.6), parts(-0.3, 2.0, 0.5, 0.4, 0.6))
            .mistake("the decoder at the mean of q only: z has a spread, and a² s² is its part of the error", |x, a, v, m, s2| {
                let mut all = parts(x, a, v, m, s2);
                all[0] -= 0.5 * a * a * s2 / v;
                all
            })
            .mistake("the prior at the mean of q only: E z² is m² + s²", |x, a, v, m, s2| {
                let mut all = parts(x, a, v, m, s2);
                all[2] -= 0.5 * s2;
                all
            })
            .mistake("the sign of E log q: it is minus the entropy", |x, a, v, m, s2| {
                let [rec, q, prior] = parts(x, a, v, m, s2);
                [rec, -q, prior]
            })
            .mistake("the 2π are missing: in the sum they do not cancel", |x, a, v, m, s2| {
                let [rec, q, prior] = parts(x, a, v, m, s2);
                [rec - 0.5 * log_two_pi(), q + 0.5 * log_two_pi(), prior - 0.5 * log_two_pi()]
            })
            .mistake("the prior's spread counted a second time with the KL", |x, a, v, m, s2| {
                let [rec, q, prior] = parts(x, a, v, m, s2);
                [rec, q, prior + q]
            })
            .hint("Three means under z ~ N(m, s²), each of a logarithm of a Gaussian: only E z = m and E z² = m² + s² are needed.")
            .hint("E (x − a z)² = (x − a m)² + a² s²; E log q = −½ (log 2π s² + 1).")
            .hint("½ (log 2πv + ((x − a m)² + a² s²)/v), −½ (log 2πs² + 1), ½ (log 2π + m² + s²)")
    }
}
