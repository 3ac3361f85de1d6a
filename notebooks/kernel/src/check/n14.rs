//! 14: conditions.

use super::{exercises, museum};
use ddpm::prelude::ndarray::ArrayView1;
use ddpm::quality;

type WithoutClass = fn(&[f64], &[f64], &[f64]) -> f64;
type Tilted = fn(f64, f64, f64, f64, f64) -> [f64; 2];
type GivenOne = fn(f64, f64, f64, f64) -> [f64; 2];
type Crps = fn(&[f64], f64) -> f64;
type Shown = fn(f64, f64, f64) -> [f64; 3];

/// Σ p_c d_c ε_c / Σ p_c d_c.
fn weighted(eps: &[f64], weights: impl Iterator<Item = f64> + Clone) -> f64 {
    let sum: f64 = weights.clone().sum();
    eps.iter().zip(weights).map(|(eps, w)| eps * w / sum).sum()
}

/// Mean and variance of the density proportional to N(m, v)^a N(M, V)^b.
fn product(m: f64, v: f64, a: f64, m_all: f64, v_all: f64, b: f64) -> [f64; 2] {
    let precision = a / v + b / v_all;
    [(a * m / v + b * m_all / v_all) / precision, 1.0 / precision]
}

/// Mean |x − y| over all pairs of samples.
fn spread(samples: &[f64]) -> f64 {
    let all = samples.iter().flat_map(|a| samples.iter().map(move |b| (a - b).abs()));
    all.sum::<f64>() / (samples.len() * samples.len()) as f64
}

/// Mean |x − y| over the samples.
fn off(samples: &[f64], y: f64) -> f64 {
    samples.iter().map(|x| (x - y).abs()).sum::<f64>() / samples.len() as f64
}

exercises! {
    solutions: "14_conditions.rs";
    /// `without_class(eps, prior, density)`: ε̂ without a class, from those of all classes, p(c) and q(x_t|c).
    without_class: WithoutClass;
    /// `tilted(m, v, m_all, v_all, w)`: mean and variance of p(x|c)^{1+w}/p(x)^w, for p(x|c) = N(m, v) and p(x) = N(m_all, v_all).
    tilted: Tilted;
    /// `given_one(s11, s12, s22, x1)`: mean and variance of x_2 if x_1 is known, of a Gaussian with mean 0.
    given_one: GivenOne;
    /// `crps(samples, y)`: E|X − y| − E|X − X′|/2.
    crps: Crps;
    /// `shown(x0, x_t, mask)`: what CSDI's network sees of a pixel.
    shown: Shown;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn without_class(e: Exercise<WithoutClass>) -> Exercise<WithoutClass> {
        let right = |eps: &[f64], p: &[f64], d: &[f64]| weighted(eps, p.iter().zip(d).map(|(p, d)| p * d));
        let (a, b) = ([0.9, -0.4, 0.1], [0.2, 0.5, 0.3]);
        e.case(
            "ε_c = [1, −1], p(c) = [½, ½], q(x_t|c) = [0.3, 0.3]: right between",
            |f| f(&[1.0, -1.0], &[0.5; 2], &[0.3; 2]),
            0.0,
        )
        .case(
            "ε_c = [1, −1], p(c) = [½, ½], q(x_t|c) = [0.6, 0.2]",
            |f| f(&[1.0, -1.0], &[0.5; 2], &[0.6, 0.2]),
            0.5,
        )
        .case(
            "ε_c = [1, −1], p(c) = [0.9, 0.1], q(x_t|c) = [0.2, 0.6]",
            |f| f(&[1.0, -1.0], &[0.9, 0.1], &[0.2, 0.6]),
            0.5,
        )
        .case("three classes", move |f| f(&a, &b, &[0.01, 0.4, 1.3]), right(&a, &b, &[0.01, 0.4, 1.3]))
        .trivial(|eps, _, _| eps[0])
        .mistake("the plain mean: a class that x_t can't come from must not count", |eps, _, _| {
            weighted(eps, eps.iter().map(|_| 1.0))
        })
        .mistake("weighted with p(c) alone: x_t says which class it is", |eps, p, _| {
            weighted(eps, p.iter().copied())
        })
        .mistake("weighted with q(x_t|c) alone: some classes are more frequent", |eps, _, d| {
            weighted(eps, d.iter().copied())
        })
        .mistake("the weights must sum to 1: divide by Σ p(c) q(x_t|c)", |eps, p, d| {
            eps.iter().zip(p).zip(d).map(|((e, p), d)| e * p * d).sum()
        })
        .mistake("the answer of the likeliest class: a mean is asked for", |eps, p, d| {
            let best = (0..eps.len()).max_by(|&i, &j| (p[i] * d[i]).total_cmp(&(p[j] * d[j])));
            best.map_or(f64::NAN, |best| eps[best])
        })
        .hint("E[ε|x_t] is the mean over the classes of E[ε|x_t, c], each with its probability p(c|x_t).")
        .hint("By Bayes p(c|x_t) is p(c) q(x_t|c), divided by the sum of these over all classes.")
        .hint("Σ p_c d_c ε_c / Σ p_c d_c")
    }

    pub(super) fn tilted(e: Exercise<Tilted>) -> Exercise<Tilted> {
        let right = |m: f64, v: f64, a: f64, b: f64, w: f64| product(m, v, 1.0 + w, a, b, -w);
        e.case("N(0.4, 0.05), N(0, 0.3), w = 0: the class itself", |f| f(0.4, 0.05, 0.0, 0.3, 0.0), [0.4, 0.05])
            .case("w = −1: everything", |f| f(0.4, 0.05, 0.1, 0.3, -1.0), [0.1, 0.3])
            .case("w = 1", |f| f(0.4, 0.05, 0.0, 0.3, 1.0), right(0.4, 0.05, 0.0, 0.3, 1.0))
            .case("N(−0.3, 0.02), N(0.2, 0.5), w = 3", |f| f(-0.3, 0.02, 0.2, 0.5, 3.0), right(-0.3, 0.02, 0.2, 0.5, 3.0))
            .trivial(|m, v, _, _, _| [m, v])
            .trivial(|_, _, m, v, _| [m, v])
            .mistake("the sign: p(x) is divided by, so that its precision is subtracted", |m, v, a, b, w| product(m, v, 1.0 + w, a, b, w))
            .mistake("that is s = 1 + w: with s = 1 nothing changes", |m, v, a, b, w| product(m, v, w, a, b, 1.0 - w))
            .mistake("variances are mixed; it is their inverses that add", |m, v, a, b, w| [(1.0 + w) * m - w * a, (1.0 + w) * v - w * b])
            .mistake("the means are mixed without their precisions", |m, v, a, b, w| {
                [(1.0 + w) * m - w * a, product(m, v, 1.0 + w, a, b, -w)[1]]
            })
            .mistake("the precision, not the variance", |m, v, a, b, w| {
                let [mean, variance] = product(m, v, 1.0 + w, a, b, -w);
                [mean, 1.0 / variance]
            })
            .hint("log N(x; m, v) is −(x − m)²/(2v): a power of a Gaussian multiplies its precision 1/v, a product adds precisions.")
            .hint("The precision is (1 + w)/v − w/V. The mean times the precision is (1 + w) m/v − w M/V.")
            .hint("let p = (1.0 + w) / v - w / v_all; [((1.0 + w) * m / v - w * m_all / v_all) / p, 1.0 / p]")
    }

    pub(super) fn given_one(e: Exercise<GivenOne>) -> Exercise<GivenOne> {
        e.case("S = [[1, 0.5], [0.5, 1]], x_1 = 2", |f| f(1.0, 0.5, 1.0, 2.0), [1.0, 0.75])
            .case("S = [[1, 0], [0, 0.3]]: x_1 says nothing", |f| f(1.0, 0.0, 0.3, 2.0), [0.0, 0.3])
            .case("S = [[4, 2], [2, 1]], x_1 = −3: x_1 says all", |f| f(4.0, 2.0, 1.0, -3.0), [-1.5, 0.0])
            .case("S = [[0.5, −0.2], [−0.2, 0.9]], x_1 = 0.7", |f| f(0.5, -0.2, 0.9, 0.7), [-0.28, 0.82])
            .trivial(|_, _, s22, x1| [x1, s22])
            .trivial(|_, _, s22, _| [0.0, s22])
            .mistake("the variance is still that without x_1", |s11, s12, s22, x1| [s12 / s11 * x1, s22])
            .mistake("divided by the variance of x_2: the slope is s_12/s_11", |_, s12, s22, x1| {
                [s12 / s22 * x1, s22 - s12 * s12 / s22]
            })
            .mistake("the covariance is not divided by the variance of x_1", |s11, s12, s22, x1| {
                [s12 * x1, s22 - s12 * s12 / s11]
            })
            .mistake("the covariance is not squared", |s11, s12, s22, x1| [s12 / s11 * x1, s22 - s12 / s11])
            .mistake("the standard deviation, not the variance", |s11, s12, s22, x1| {
                [s12 / s11 * x1, (s22 - s12 * s12 / s11).sqrt()]
            })
            .hint("x_2 − b x_1 is independent of x_1 for one b: the one with covariance 0.")
            .hint("b = s_12/s_11. The mean is b x_1, and the variance that of x_2 − b x_1.")
            .hint("[s12 / s11 * x1, s22 - s12 * s12 / s11]")
    }

    pub(super) fn crps(e: Exercise<Crps>) -> Exercise<Crps> {
        let samples = [0.3, -1.2, 0.8, 0.1, 2.4];
        let right = quality::crps(ArrayView1::from(&samples), 0.5);
        e.case("samples [1, 3], y = 2", |f| f(&[1.0, 3.0], 2.0), 0.5)
            .case("one sample 1, y = 4: the absolute error", |f| f(&[1.0], 4.0), 3.0)
            .case("samples [2, 2, 2], y = 2: a sure and right forecast", |f| f(&[2.0; 3], 2.0), 0.0)
            .case("samples [0.3, −1.2, 0.8, 0.1, 2.4], y = 0.5", move |f| f(&samples, 0.5), right)
            .trivial(|samples, _| samples[0])
            .trivial(|_, y| y)
            .mistake("the mean absolute error: whoever is honest about what he does not know must not pay for it twice", off)
            .mistake("the whole spread, not half of it", |x, y| off(x, y) - spread(x))
            .mistake("the error of the mean: the score is of all samples", |x, y| (x.iter().sum::<f64>() / x.len() as f64 - y).abs())
            .mistake("the spread over different samples only: here i = j counts, too", |x, y| {
                let n = x.len() as f64;
                off(x, y) - if n > 1.0 { 0.5 * spread(x) * n / (n - 1.0) } else { 0.0 }
            })
            .mistake("squares in place of absolute values", |x, y| {
                let n = x.len() as f64;
                let pairs = x.iter().flat_map(|a| x.iter().map(move |b| (a - b).powi(2))).sum::<f64>();
                x.iter().map(|x| (x - y).powi(2)).sum::<f64>() / n - 0.5 * pairs / (n * n)
            })
            .hint("Near the truth *and* not too narrow: which mean rewards each?")
            .hint("Two means: of |x − y| over the samples, and of |x − x′| over all n² pairs of them.")
            .hint("The first minus half of the second.")
    }

    pub(super) fn shown(e: Exercise<Shown>) -> Exercise<Shown> {
        e.case("known: x_0 = 0.7, x_t = −1.3, mask 1", |f| f(0.7, -1.3, 1.0), [0.7, 0.0, 1.0])
            .case("unknown: x_0 = 0.7, x_t = −1.3, mask 0", |f| f(0.7, -1.3, 0.0), [0.0, -1.3, 0.0])
            .case("known, and 0: x_0 = 0, x_t = 0.4, mask 1", |f| f(0.0, 0.4, 1.0), [0.0, 0.0, 1.0])
            .trivial(|x0, x_t, mask| [x0, x_t, mask])
            .mistake(museum::B17, |x0, x_t, mask| [x0, (1.0 - mask) * x_t, mask])
            .mistake("the mask is upside down: 1 is what is known", |x0, x_t, mask| [(1.0 - mask) * x0, mask * x_t, 1.0 - mask])
            .mistake("x_t stands there for the known pixels, too: they are clean, and need no denoising", |x0, x_t, mask| [mask * x0, x_t, mask])
            .mistake("the third channel says what is unknown", |x0, x_t, mask| [mask * x0, (1.0 - mask) * x_t, 1.0 - mask])
            .hint("What would the network need to be told, if you were the network?")
            .hint("Three channels: what is known, the noise where nothing is, and which of the two it is.")
            .hint("[m x_0, (1 − m) x_t, m]. Without the third a known 0 could not be told from an unknown pixel.")
    }
}
