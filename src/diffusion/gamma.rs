//! Noise levels that can be learned: γ(t) = log(σ_t²/α_t²) rises from γ(0) to γ(1), on a path with parameters (Kingma et al.
//! 2021, arXiv 2107.00630; Sahoo et al. 2024, arXiv 2312.13236).
//!
//! A path g̃ that never falls is pinned at both ends,
//!
//! γ(t) = γ_0 + (γ_1 − γ_0) (g̃(t) − g̃(0)) / (g̃(1) − g̃(0)),
//!
//! so that neither the prior's nor the decoder's share of the bound can be bought with it. One path serves all pixels, or each
//! has its own.

use super::level::sigmoid;
use crate::Error;
use crate::names::{all, unknown};
use crate::params::params;
use crate::tensor::Tensor2;
use ndarray::{Array1, Array2, Axis};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantArray};

/// Kinds of paths g̃(t), t ∈ [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = Error, parse_err_fn = unknown::<Path>)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum), value(rename_all = "snake_case"))]
pub enum Path {
    /// t: nothing to be learned
    Linear,
    /// straight lines between knots at equal distances, which rise by softplus(r_i)
    Knots,
    /// VDM's net: |k_1| t + b_1 + 1/n Σ_j |k_3j| (2 sigmoid(2 (t − ½) |k_2j| + b_2j) − 1)
    Monotone,
    /// MuLAN's polynomial: ∫ (a t² + b t + c)², with c = 0.001 + softplus(r)
    Polynomial,
}

/// g̃ at a t, and its derivatives.
#[derive(Clone, Debug, PartialEq)]
pub struct PathPoint {
    /// g̃(t)
    pub value: f64,
    /// dg̃/dt
    pub slope: f64,
    /// dg̃/d(each number)
    pub gradient: Vec<f64>,
}

/// log(1 + eˣ).
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

impl Path {
    /// Every kind.
    pub const ALL: [Path; 4] = all();

    /// g̃(t). `numbers` are r_1 … r_T of the knots; k_1, b_1, all k_2, all b_2, all k_3 of the net; a, b, r of the polynomial.
    ///
    /// # Panics
    /// If there are not as many numbers as the path needs.
    ///
    /// ```
    /// use ddpm::diffusion::Path;
    /// assert_eq!(Path::Knots.at(&[0.0, 0.0], 0.75).value, 1.5 * 2.0f64.ln()); // three quarters of the way
    /// ```
    #[track_caller]
    pub fn at(self, numbers: &[f64], t: f64) -> PathPoint {
        match self {
            Path::Linear => PathPoint { value: t, slope: 1.0, gradient: Vec::new() },
            Path::Knots => knots(numbers, t),
            Path::Monotone => monotone(numbers, t),
            Path::Polynomial => {
                let [a, b, r] = *numbers else {
                    panic!("polynomial: {} numbers, 3 are needed", numbers.len())
                };
                let mut point = polynomial([a, b, 1e-3 + softplus(r)], t);
                point.gradient[2] *= sigmoid(r);
                point
            }
        }
    }

    /// Numbers to begin with: nearly a straight line.
    ///
    /// ```
    /// use ddpm::diffusion::Path;
    /// let line = Path::Polynomial.at(&Path::Polynomial.start(20), 0.5).value * 2.0;
    /// assert!((line - Path::Polynomial.at(&Path::Polynomial.start(20), 1.0).value).abs() < 1e-12);
    /// ```
    pub fn start(self, knots: usize) -> Vec<f64> {
        const HIDDEN: usize = 16;
        match self {
            Path::Linear => Vec::new(),
            Path::Knots => vec![0.0; knots],
            // bends at different t, each of no weight at first
            Path::Monotone => {
                let bend = |j: usize| 8.0 * (1.0 - 2.0 * (j as f64 + 0.5) / HIDDEN as f64);
                [1.0, 0.0]
                    .into_iter()
                    .chain([8.0; HIDDEN])
                    .chain((0..HIDDEN).map(bend))
                    .chain([0.05; HIDDEN])
                    .collect()
            }
            Path::Polynomial => vec![0.0, 0.0, 0.5],
        }
    }
}

/// Knots at i/T; g̃ has risen by softplus(r_1) + … + softplus(r_i) there.
fn knots(rises: &[f64], t: f64) -> PathPoint {
    let steps = rises.len() as f64;
    let mut point = PathPoint { value: 0.0, slope: 0.0, gradient: vec![0.0; rises.len()] };
    for (i, &r) in rises.iter().enumerate() {
        let share = (t * steps - i as f64).clamp(0.0, 1.0);
        point.value += share * softplus(r);
        point.gradient[i] = share * sigmoid(r);
        if share > 0.0 && (share < 1.0 || i + 1 == rises.len()) || t == 0.0 && i == 0 {
            point.slope = steps * softplus(r);
        }
    }
    point
}

/// |k_1| t + b_1 + 1/n Σ_j |k_3j| (2 s_j − 1), s_j = sigmoid(2 (t − ½) |k_2j| + b_2j).
#[track_caller]
fn monotone(numbers: &[f64], t: f64) -> PathPoint {
    let n = numbers.len().saturating_sub(2) / 3;
    assert!(
        n > 0 && numbers.len() == 3 * n + 2,
        "monotone net: {} numbers, 2 + 3 n are needed",
        numbers.len()
    );
    let (k1, b1, x) = (numbers[0], numbers[1], 2.0 * (t - 0.5));
    let (k2, b2, k3) = (&numbers[2..2 + n], &numbers[2 + n..2 + 2 * n], &numbers[2 + 2 * n..]);
    let mut gradient = vec![0.0; numbers.len()];
    let (mut value, mut slope) = (k1.abs() * t + b1, k1.abs());
    (gradient[0], gradient[1]) = (k1.signum() * t, 1.0);
    for j in 0..n {
        let s = sigmoid(x * k2[j].abs() + b2[j]);
        let (weight, bend) = (k3[j].abs() / n as f64, 2.0 * s * (1.0 - s));
        value += weight * (2.0 * s - 1.0);
        slope += weight * bend * 2.0 * k2[j].abs();
        gradient[2 + j] = weight * bend * x * k2[j].signum();
        gradient[2 + n + j] = weight * bend;
        gradient[2 + 2 * n + j] = k3[j].signum() * (2.0 * s - 1.0) / n as f64;
    }
    PathPoint { value, slope, gradient }
}

/// f(t) = a² t⁵/5 + a b t⁴/2 + (b² + 2 a c) t³/3 + b c t² + c² t, whose slope (a t² + b t + c)² is never negative; where it
/// is 0 the path rests and a step costs nothing.
pub(crate) fn polynomial([a, b, c]: [f64; 3], t: f64) -> PathPoint {
    let [t2, t3, t4, t5] = [2, 3, 4, 5].map(|power| t.powi(power));
    PathPoint {
        value: a * a * t5 / 5.0
            + a * b * t4 / 2.0
            + (b * b + 2.0 * a * c) * t3 / 3.0
            + b * c * t2
            + c * c * t,
        slope: (a * t2 + b * t + c).powi(2),
        gradient: vec![
            2.0 * a * t5 / 5.0 + b * t4 / 2.0 + 2.0 * c * t3 / 3.0,
            a * t4 / 2.0 + 2.0 * b * t3 / 3.0 + c * t2,
            2.0 * a * t3 / 3.0 + b * t2 + 2.0 * c * t,
        ],
    }
}

/// γ at a t, and its derivatives.
#[derive(Clone, Debug, PartialEq)]
pub struct GammaPoint {
    /// γ(t)
    pub gamma: f64,
    /// dγ/dt
    pub slope: f64,
    /// dγ/d(each number of the path)
    pub gradient: Vec<f64>,
}

/// γ(t) on a path pinned at γ(0) and γ(1).
///
/// With Δ = γ_1 − γ_0 and p(t) = (g̃(t) − g̃(0))/(g̃(1) − g̃(0)): dγ = Δ (dg̃(t) − dg̃(0) − p (dg̃(1) − dg̃(0)))/(g̃(1) − g̃(0)).
///
/// ```
/// use ddpm::diffusion::{Path, pinned};
/// let middle = pinned(Path::Linear, &[], [-13.3, 5.0], 0.5);
/// assert!((middle.gamma + 4.15).abs() < 1e-12 && middle.slope == 18.3);
/// ```
pub fn pinned(path: Path, numbers: &[f64], [first, last]: [f64; 2], t: f64) -> GammaPoint {
    pin([path.at(numbers, 0.0), path.at(numbers, t), path.at(numbers, 1.0)], [first, last])
}

pub(crate) fn pin([start, at, end]: [PathPoint; 3], [first, last]: [f64; 2]) -> GammaPoint {
    let (delta, length) = (last - first, end.value - start.value);
    let p = (at.value - start.value) / length;
    let gradient = |i: usize| {
        let (whole, part) = (end.gradient[i] - start.gradient[i], at.gradient[i] - start.gradient[i]);
        delta * (part - p * whole) / length
    };
    GammaPoint {
        gamma: first + delta * p,
        slope: delta * at.slope / length,
        gradient: (0..at.gradient.len()).map(gradient).collect(),
    }
}

/// A γ to be trained: the numbers of one path for all pixels, or of one for each.
#[derive(Clone, Debug)]
pub struct Gamma {
    /// its kind
    pub path: Path,
    /// γ(0) and γ(1)
    pub ends: [f64; 2],
    /// how many times as far as a weight of a network its numbers are to move at a step of Adam
    pub rate: f64,
    /// `[D or 1, numbers]`, divided by `rate`
    pub numbers: Tensor2,
}

params!(Gamma { numbers });

impl Gamma {
    /// A nearly straight path for each of `paths` pixels (1: one for all), with a knot for each of `steps` steps.
    ///
    /// ```
    /// use ddpm::diffusion::{Gamma, Path};
    /// let gamma = Gamma::new(Path::Knots, [-13.3, 5.0], 20, 1).at(0.5);
    /// assert!((gamma[0] + 4.15).abs() < 1e-6);
    /// ```
    pub fn new(path: Path, ends: [f64; 2], steps: usize, paths: usize) -> Gamma {
        let start = path.start(steps);
        let numbers = Tensor2::from_shape_fn((paths, start.len()), |(_, i)| start[i] as f32);
        Gamma { path, ends, rate: 1.0, numbers }
    }

    fn points(&self, t: f64) -> Vec<GammaPoint> {
        let point = |numbers: ndarray::ArrayView1<f32>| {
            let numbers: Vec<f64> = numbers.iter().map(|&v| self.rate * f64::from(v)).collect();
            pinned(self.path, &numbers, self.ends, t)
        };
        self.numbers.axis_iter(Axis(0)).map(point).collect()
    }

    /// γ(t) of each path.
    ///
    /// ```
    /// use ddpm::diffusion::{Gamma, Path};
    /// assert_eq!(Gamma::new(Path::Polynomial, [-13.3, 5.0], 20, 4).at(1.0).to_vec(), [5.0; 4]);
    /// ```
    pub fn at(&self, t: f64) -> Array1<f64> {
        self.points(t).into_iter().map(|point| point.gamma).collect()
    }

    /// dγ/dt of each path.
    ///
    /// ```
    /// use ddpm::diffusion::{Gamma, Path};
    /// assert_eq!(Gamma::new(Path::Linear, [-13.3, 5.0], 20, 1).slope(0.3)[0], 18.3);
    /// ```
    pub fn slope(&self, t: f64) -> Array1<f64> {
        self.points(t).into_iter().map(|point| point.slope).collect()
    }

    /// Adds Σ_d `d_gamma`_d dγ_d(t)/d(numbers) to `grad`.
    ///
    /// # Shapes
    /// `d_gamma` one number for each path.
    ///
    /// ```
    /// use ddpm::{diffusion::{Gamma, Path}, params::Params};
    /// let gamma = Gamma::new(Path::Knots, [-13.3, 5.0], 4, 1);
    /// let mut grad = gamma.zeros_like();
    /// gamma.backward(0.5, &ndarray::array![1.0], &mut grad);
    /// assert!(grad.numbers[[0, 0]] > 0.0 && grad.numbers[[0, 3]] < 0.0); // it rises sooner, or later
    /// ```
    pub fn backward(&self, t: f64, d_gamma: &Array1<f64>, grad: &mut Gamma) {
        for ((point, d), mut grad) in self.points(t).iter().zip(d_gamma).zip(grad.numbers.outer_iter_mut()) {
            grad.iter_mut().zip(&point.gradient).for_each(|(grad, g)| *grad += (self.rate * d * g) as f32);
        }
    }

    /// γ_0, …, γ_T of each path, at t = i/T: `[T + 1, D or 1]`.
    ///
    /// ```
    /// use ddpm::diffusion::{Gamma, Path};
    /// assert_eq!(Gamma::new(Path::Linear, [-13.3, 5.0], 20, 1).table(20).dim(), (21, 1));
    /// ```
    pub fn table(&self, steps: usize) -> Array2<f64> {
        let rows: Vec<Array1<f64>> = (0..=steps).map(|i| self.at(i as f64 / steps as f64)).collect();
        Array2::from_shape_fn((steps + 1, self.numbers.nrows()), |(i, d)| rows[i][d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slope and gradient of every path against differences, at t inside a straight piece of the knots.
    #[test]
    fn derivatives() {
        for path in Path::ALL {
            let mut numbers = path.start(5);
            numbers.iter_mut().enumerate().for_each(|(i, v)| *v += 0.3 * (i as f64 * 1.7).sin());
            let gamma = |numbers: &[f64], t: f64| pinned(path, numbers, [-13.3, 5.0], t);
            for t in [0.1, 0.5, 0.93] {
                let (h, point) = (1e-6, gamma(&numbers, t));
                let slope = (gamma(&numbers, t + h).gamma - gamma(&numbers, t - h).gamma) / (2.0 * h);
                assert!(
                    (slope - point.slope).abs() < 1e-6 * slope.abs(),
                    "{path} {t}: {slope} {}",
                    point.slope
                );
                for i in 0..numbers.len() {
                    let moved = |by: f64| {
                        let mut numbers = numbers.clone();
                        numbers[i] += by;
                        gamma(&numbers, t).gamma
                    };
                    let difference = (moved(h) - moved(-h)) / (2.0 * h);
                    let error = (difference - point.gradient[i]).abs();
                    assert!(error < 1e-7 * (1.0 + difference.abs()), "{path} {t} number {i}: {error}");
                }
            }
            assert_eq!((gamma(&numbers, 0.0).gamma, gamma(&numbers, 1.0).gamma), (-13.3, 5.0), "{path}");
        }
    }

    #[test]
    #[should_panic(expected = "polynomial: 2 numbers, 3 are needed")]
    fn a_number_too_few() {
        Path::Polynomial.at(&[1.0, 2.0], 0.5);
    }
}
