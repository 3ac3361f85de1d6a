//! Gaussians: log density, KL divergence, CDF, and the discretised decoder (Eq. 13). In nats.

use crate::Error;
use crate::names::{all, unknown};
use libm::{erf, erfc};
use serde::{Deserialize, Serialize};
use std::f64::consts::{FRAC_1_SQRT_2, PI};
use strum::{Display, EnumString, VariantArray};

/// log N(x; μ, σ²) = −½ [log 2π + log σ² + (x − μ)²/σ²], in nats.
///
/// ```
/// use ddpm::diffusion::log_normal;
/// assert!((log_normal(0.0, 0.0, 0.0) + 0.918_938_533_204_672_7).abs() < 1e-15);
/// ```
pub fn log_normal(x: f64, mean: f64, log_variance: f64) -> f64 {
    -0.5 * ((2.0 * PI).ln() + log_variance + (x - mean).powi(2) * (-log_variance).exp())
}

/// KL(N(m₁, v₁) ‖ N(m₂, v₂)) = ½ [log v₂ − log v₁ − 1 + v₁/v₂ + (m₁ − m₂)²/v₂], in nats.
///
/// ```
/// use ddpm::diffusion::kl_normal;
/// assert_eq!(kl_normal(1.0, 0.3, 1.0, 0.3), 0.0);
/// assert_eq!(kl_normal(3.0, 0.0, 1.0, 0.0), 2.0);
/// ```
pub fn kl_normal(mean1: f64, log_var1: f64, mean2: f64, log_var2: f64) -> f64 {
    let d = log_var1 - log_var2;
    0.5 * (d.exp_m1() - d + (mean1 - mean2).powi(2) * (-log_var2).exp()) // eᵈ − 1 − d, exact for small d
}

/// Φ(z), the standard normal CDF.
///
/// ```
/// use ddpm::diffusion::normal_cdf;
/// assert_eq!(normal_cdf(0.0), 0.5);
/// assert!((normal_cdf(1.96) - 0.975).abs() < 1e-5);
/// ```
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * erfc(-z * FRAC_1_SQRT_2)
}

/// log Φ(z), in nats: finite as far down as −z²/2 is, where Φ itself has long been 0.
///
/// ```
/// use ddpm::diffusion::{log_normal_cdf, normal_cdf};
/// assert_eq!(normal_cdf(-40.0), 0.0);
/// assert!((log_normal_cdf(-40.0) + 804.608_442_013_754).abs() < 1e-9);
/// ```
pub fn log_normal_cdf(z: f64) -> f64 {
    if z > 0.0 { (-normal_cdf(-z)).ln_1p() } else { -0.5 * z * z + (0.5 * erfcx(-z * FRAC_1_SQRT_2)).ln() }
}

/// φ(z), the standard normal density.
fn density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / (2.0 * PI).sqrt()
}

/// exp(z²) erfc(z) for z ≥ 0: the part of erfc that neither over- nor underflows.
fn erfcx(z: f64) -> f64 {
    if z < 3.0 {
        return (z * z).exp() * erfc(z);
    }
    // Laplace's continued fraction erfcx(z) = 1/√π · 1/(z + (1/2)/(z + (2/2)/(z + (3/2)/(z + …)))), from the inside
    // out; from z = 3 on, 40 levels are exact to the last bit
    let tail = (1..=40).rev().fold(z, |tail, k| z + 0.5 * k as f64 / tail);
    1.0 / (tail * PI.sqrt())
}

/// How p_θ(x_0 | x_1) turns a Gaussian into probabilities of the 256 grey levels (Eq. 13).
///
/// Level x owns the bin [x − 1/255, x + 1/255]; the first bin starts at −∞ and the last ends at +∞, so the 256
/// probabilities sum to 1.
///
/// ```
/// use ddpm::diffusion::Decoder;
/// let levels = (0..256).map(|k| k as f64 / 127.5 - 1.0);
/// let total: f64 = levels.map(|x| Decoder::Exact.log_prob(x, 0.1, -3.0).exp()).sum();
/// assert!((total - 1.0).abs() < 1e-12);
/// // 300 σ away the official code sees its floor, and no slope
/// assert!((Decoder::Tanh.log_prob(0.0, 0.3, -6.9) - 1e-12f64.ln()).abs() < 1e-12);
/// assert!(Decoder::Exact.log_prob(0.0, 0.3, -6.9) < -40_000.0);
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = Error, parse_err_fn = unknown::<Decoder>)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum), value(rename_all = "snake_case"))]
pub enum Decoder {
    /// The exact integral, as a log of differences of Φ that stays finite, with its gradient, in the far tails.
    #[default]
    Exact,
    /// The official code: Φ(z) ≈ ½ (1 + tanh(√(2/π) (z + 0.044715 z³))), every probability at least 1e-12.
    /// For numbers that are to be compared with published ones.
    Tanh,
}

/// Half the width of a bin: 256 levels in [−1, 1] are 2/255 apart.
const HALF_BIN: f64 = 1.0 / 255.0;
/// The official code's floor under a probability: 39.9 bits.
const FLOOR: f64 = 1e-12;

impl Decoder {
    /// Both, in the order of the help text.
    pub const ALL: [Self; 2] = all();

    /// log p(x) of the grey level x ∈ {−1, …, 1} under N(mean, σ²), in nats.
    ///
    /// `log_sigma` is log σ, half the log variance.
    ///
    /// ```
    /// use ddpm::diffusion::Decoder;
    /// // wide against a bin, it is the density times the width of 2/255
    /// let (bin, density) = (Decoder::Exact.log_prob(0.0, 0.1, 0.0), ddpm::diffusion::log_normal(0.0, 0.1, 0.0));
    /// assert!((bin - density - (2.0f64 / 255.0).ln()).abs() < 1e-4);
    /// ```
    pub fn log_prob(self, x: f64, mean: f64, log_sigma: f64) -> f64 {
        self.log_prob_and_grad(x, mean, log_sigma).0
    }

    /// log p(x) with its derivatives with respect to `mean` and to `log_sigma`.
    ///
    /// ```
    /// use ddpm::diffusion::Decoder;
    /// let (_, d_mean, _) = Decoder::Exact.log_prob_and_grad(0.5, 0.1, -2.0);
    /// assert!(d_mean > 0.0); // the mean should come nearer
    /// ```
    pub fn log_prob_and_grad(self, x: f64, mean: f64, log_sigma: f64) -> (f64, f64, f64) {
        let per_sigma = (-log_sigma).exp();
        let (c, h) = ((x - mean) * per_sigma, 2.0 * HALF_BIN * per_sigma);
        let m = match self {
            Self::Exact if x < -0.999 => LogMass::below(c + 0.5 * h, 0.5),
            Self::Exact if x > 0.999 => LogMass::below(-(c - 0.5 * h), 0.5).mirrored(),
            Self::Exact if c < 0.0 => LogMass::interval(-c, h).mirrored(),
            Self::Exact => LogMass::interval(c, h),
            Self::Tanh => LogMass::tanh(x, c, h),
        };
        // c = (x − mean)/σ and h = width/σ
        (m.value, -m.dc * per_sigma, -m.dc * c - m.dh * h)
    }
}

/// log of the standard normal's mass in [c − h/2, c + h/2], with its derivatives
/// with respect to c and h.
struct LogMass {
    value: f64,
    dc: f64,
    dh: f64,
}

impl LogMass {
    /// The same mass seen from the other side, at −c.
    fn mirrored(self) -> Self {
        Self { dc: -self.dc, ..self }
    }

    /// log Φ(z) where z = c + share · h.
    fn below(z: f64, share: f64) -> Self {
        let value = log_normal_cdf(z);
        // φ(z)/Φ(z), which is ~ −z far to the left
        let slope =
            if z > 0.0 { density(z) / normal_cdf(z) } else { (2.0 / PI).sqrt() / erfcx(-z * FRAC_1_SQRT_2) };
        Self { value, dc: slope, dh: share * slope }
    }

    /// log [Φ(b) − Φ(a)] for a = c − h/2, b = c + h/2 and c ≥ 0, in three cases, each free of cancellation.
    fn interval(c: f64, h: f64) -> Self {
        let (a, b) = (c - 0.5 * h, c + 0.5 * h);
        if h * c.max(1.0) < 1e-3 {
            // a narrow bin: density times width, with the first term of Taylor's series (the next is < 1e-15)
            return Self {
                value: h.ln() - 0.5 * c * c - 0.5 * (2.0 * PI).ln() + h * h * (c * c - 1.0) / 24.0,
                dc: -c + h * h * c / 12.0,
                dh: 1.0 / h + h * (c * c - 1.0) / 12.0,
            };
        }
        let (value, at_a, at_b); // log mass, φ(a)/mass, φ(b)/mass
        if a <= 0.0 {
            // around the middle: the two erf have opposite signs, so nothing cancels
            let mass = 0.5 * (erf(b * FRAC_1_SQRT_2) - erf(a * FRAC_1_SQRT_2));
            value = if mass < 0.5 { mass.ln() } else { (-normal_cdf(a) - normal_cdf(-b)).ln_1p() };
            (at_a, at_b) = (density(a) / mass, density(b) / mass);
        } else {
            // in the tail: Φ(−a) − Φ(−b) = exp(−a²/2) · ½ erfcx(a/√2) · (1 − exp(−δ))
            let (tail_a, tail_b) = (0.5 * erfcx(a * FRAC_1_SQRT_2), 0.5 * erfcx(b * FRAC_1_SQRT_2));
            let squares = c * h; // (b² − a²)/2
            let delta = squares + (tail_a / tail_b).ln();
            let rest = tail_a * -(-delta).exp_m1();
            value = -0.5 * a * a + rest.ln();
            at_a = 1.0 / ((2.0 * PI).sqrt() * rest);
            at_b = at_a * (-squares).exp();
        }
        Self { value, dc: at_b - at_a, dh: 0.5 * (at_a + at_b) }
    }

    /// As the official code has it, floor and all; below the floor the gradient is 0.
    fn tanh(x: f64, c: f64, h: f64) -> Self {
        let (a, b) = (c - 0.5 * h, c + 0.5 * h);
        let (cdf_a, slope_a) = if x < -0.999 { (0.0, 0.0) } else { tanh_cdf(a) };
        let (cdf_b, slope_b) = if x > 0.999 { (1.0, 0.0) } else { tanh_cdf(b) };
        let mass = cdf_b - cdf_a;
        if mass < FLOOR {
            return Self { value: FLOOR.ln(), dc: 0.0, dh: 0.0 };
        }
        Self { value: mass.ln(), dc: (slope_b - slope_a) / mass, dh: 0.5 * (slope_a + slope_b) / mass }
    }
}

/// ½ (1 + tanh(√(2/π) (z + 0.044715 z³))) and its derivative.
fn tanh_cdf(z: f64) -> (f64, f64) {
    let scale = (2.0 / PI).sqrt();
    let tanh = (scale * (z + 0.044715 * z.powi(3))).tanh();
    (0.5 * (1.0 + tanh), 0.5 * (1.0 - tanh * tanh) * scale * (1.0 + 3.0 * 0.044715 * z * z))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels() -> impl Iterator<Item = f64> {
        (0..256).map(|k| k as f64 / 127.5 - 1.0)
    }

    #[track_caller]
    fn close(a: f64, b: f64, rel: f64) {
        assert!((a - b).abs() <= rel * b.abs().max(1.0), "{a} and {b}");
    }

    #[test]
    fn the_two_branches_of_erfcx_meet() {
        for z in [3.0, 3.5, 4.0, 5.0] {
            close(erfcx(z) / ((z * z).exp() * erfc(z)), 1.0, 1e-14);
        }
        // 1/(z√π) (1 − 1/(2z²)) far out
        close(erfcx(1e6) * 1e6 * PI.sqrt(), 1.0, 1e-12);
    }

    /// Reference values from mpmath at 30 digits.
    #[test]
    fn log_cdf_in_both_tails() {
        close(log_normal_cdf(-1.0), -1.841_021_645_009_263_7, 1e-15);
        close(log_normal_cdf(-10.0), -53.231_285_150_512_47, 1e-15);
        close(log_normal_cdf(0.0), 0.5f64.ln(), 1e-15);
        assert!((log_normal_cdf(9.0) / -normal_cdf(-9.0) - 1.0).abs() < 1e-14);
        assert_eq!(log_normal_cdf(-1e10), -0.5e20 - (1e10 * (2.0 * PI).sqrt()).ln());
    }

    #[test]
    fn probabilities_sum_to_one() {
        for decoder in Decoder::ALL {
            for mean in [-3.0, -1.0, -0.2, 0.0, 0.5, 1.0, 1.7] {
                for log_sigma in [-6.0, -4.9, -3.0, -1.0, 0.0, 3.0] {
                    let total: f64 = levels().map(|x| decoder.log_prob(x, mean, log_sigma).exp()).sum();
                    assert!((total - 1.0).abs() < 3e-10, "{decoder} {mean} {log_sigma}: {total}");
                }
            }
        }
    }

    /// Bins of one Gaussian add up to its CDF, in every one of the three cases and across their borders.
    #[test]
    fn intervals_telescope() {
        for h in [1e-6, 9e-4, 1.1e-3, 0.1, 3.0] {
            for c in [0.0, 0.3 * h, 0.6 * h, 1.0, 5.0, 9.0] {
                let whole = LogMass::interval(c, h).value.exp();
                let halves = LogMass::interval(c + h / 4.0, h / 2.0).value.exp()
                    + LogMass::interval((c - h / 4.0).abs(), h / 2.0).value.exp();
                assert!((whole / halves - 1.0).abs() < 1e-10, "c = {c}, h = {h}: {whole} and {halves}");
            }
        }
    }

    #[test]
    fn finite_everywhere() {
        for x in [-1.0, 1.0 / 127.5 - 1.0, 127.0 / 127.5 - 1.0, 1.0] {
            for mean in [-1e6, -2.0, 0.0, 0.9, 1e6] {
                for log_sigma in [-100.0, -20.0, -5.0, 0.0, 20.0, 100.0] {
                    let (value, dm, ds) = Decoder::Exact.log_prob_and_grad(x, mean, log_sigma);
                    assert!(value.is_finite() && value <= 0.0, "{x} {mean} {log_sigma}: {value}");
                    assert!(dm.is_finite() && ds.is_finite(), "{x} {mean} {log_sigma}: {dm} {ds}");
                }
            }
        }
    }

    /// Gradients against central differences, with a negative control.
    #[test]
    fn gradients() {
        for decoder in Decoder::ALL {
            for x in [-1.0, 40.0 / 127.5 - 1.0, 200.0 / 127.5 - 1.0, 1.0] {
                for mean in [-1.1, -0.68, 0.0, 0.55, 0.99] {
                    for log_sigma in [-4.5, -3.0, -1.0, 1.0] {
                        let f = |m: f64, s: f64| decoder.log_prob(x, m, s);
                        let (_, dm, ds) = decoder.log_prob_and_grad(x, mean, log_sigma);
                        // below 3e-7 the rounding of 1 − tanh, 1e-16, drowns the difference (not the gradient)
                        if decoder == Decoder::Tanh && f(mean, log_sigma) < -15.0 {
                            continue;
                        }
                        let e = 1e-5;
                        let fm = (f(mean + e, log_sigma) - f(mean - e, log_sigma)) / (2.0 * e);
                        let fs = (f(mean, log_sigma + e) - f(mean, log_sigma - e)) / (2.0 * e);
                        close(dm, fm, 1e-5);
                        close(ds, fs, 1e-5);
                        assert!((1.01 * ds - fs).abs() > 1e-5 * fs.abs() || fs.abs() < 1e-3);
                    }
                }
            }
        }
    }

    #[test]
    fn kl_is_the_mean_log_ratio() {
        // by quadrature on N(0.3, e^-1) against N(-0.2, e^0.4)
        let (m1, v1, m2, v2) = (0.3, -1.0, -0.2, 0.4);
        let step = 1e-3;
        let kl: f64 = (-8000..8000)
            .map(|i| i as f64 * step)
            .map(|x| {
                let (p, q) = (log_normal(x, m1, v1), log_normal(x, m2, v2));
                step * p.exp() * (p - q)
            })
            .sum();
        close(kl_normal(m1, v1, m2, v2), kl, 1e-12);
    }
}
