//! Element-wise functions: exp, the logistic function, SiLU, LeakyReLU; and softmax over rows.

use super::lanes::{dot, max, sum};
use crate::matmul::simd::vectorized;

/// `e^x` in `f32`, relative error below 2·10⁻⁷, in a form that vectorises (the library's is one scalar call per
/// number).
///
/// `x = n ln 2 + r` with integer `n` and `|r| ≤ ½ ln 2`; a polynomial of degree 7 gives `e^r`, and `2ⁿ` is built
/// from its exponent bits. `ln 2` is split in two so that `n ln 2` is subtracted without rounding (Cody & Waite).
/// Below −87 the result is `e^−87`, above 88 `e^88`; NaN stays NaN.
///
/// ```
/// assert!((ddpm::nn::activation::exp(1.0) / std::f32::consts::E - 1.0).abs() < 2e-7);
/// ```
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding and subtracting 1.5·2²³ rounds to the nearest integer and leaves it in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    // Minimax coefficients of (e^r − 1 − r) / r² on |r| ≤ ½ ln 2 (Cephes).
    let p = 1.987_569_1e-4 * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let e_r = p * r * r + r + 1.0;
    let power = (shifted.to_bits() as i32).wrapping_shl(23);
    f32::from_bits((e_r.to_bits() as i32).wrapping_add(power) as u32)
}

/// The logistic function `σ(x) = 1 / (1 + e^−x)`.
///
/// ```
/// use ddpm::nn::activation::sigmoid;
/// assert_eq!(sigmoid(0.0), 0.5);
/// assert!((sigmoid(2.0) + sigmoid(-2.0) - 1.0).abs() < 1e-6);
/// ```
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

vectorized! {
    /// `y = x σ(x)`, in place.
    ///
    /// # Shapes
    /// Any number of numbers.
    ///
    /// ```
    /// let mut x = [0.0, 20.0, -20.0];
    /// ddpm::nn::activation::silu(&mut x);
    /// assert!(x[0] == 0.0 && (x[1] - 20.0).abs() < 1e-5 && x[2].abs() < 1e-5); // off on the left, the identity on the right
    /// ```
    pub fn silu(x: &mut [f32]) {
        for x in x {
            *x *= sigmoid(*x);
        }
    }
}

vectorized! {
    /// From `y = x σ(x)`:  `dx = dy σ(x) (1 + x (1 − σ(x)))`; `dy` becomes `dx`.
    ///
    /// # Shapes
    /// As many numbers in `dy` as in `x`.
    ///
    /// ```
    /// use ddpm::nn::activation::{silu_backward, silu_slope};
    /// let mut dy = [2.0];
    /// silu_backward(&[0.7], &mut dy);
    /// assert!((dy[0] - 2.0 * silu_slope(0.7)).abs() < 1e-6);
    /// ```
    pub fn silu_backward(x: &[f32], dy: &mut [f32]) {
        for (dy, &x) in dy.iter_mut().zip(x) {
            *dy *= silu_slope(x);
        }
    }
}

/// The derivative of SiLU: `σ(x) (1 + x (1 − σ(x)))`.
///
/// ```
/// assert_eq!(ddpm::nn::activation::silu_slope(0.0), 0.5);
/// ```
#[inline(always)]
pub fn silu_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    s * (1.0 + x * (1.0 - s))
}

/// The slope of LeakyReLU on the left (Isola et al. 2017).
const LEAK: f32 = 0.2;

vectorized! {
    /// `y = max(x, x/5)`, in place.
    ///
    /// # Shapes
    /// Any number of numbers.
    ///
    /// ```
    /// let mut x = [3.0, -5.0];
    /// ddpm::nn::activation::leaky_relu(&mut x);
    /// assert_eq!(x, [3.0, -1.0]);
    /// ```
    pub fn leaky_relu(x: &mut [f32]) {
        for x in x {
            *x *= if *x < 0.0 { LEAK } else { 1.0 };
        }
    }
}

vectorized! {
    /// From `y = max(x, x/5)`:  `dx = dy` where `x ≥ 0`, else `dy/5`; `dy` becomes `dx`.
    ///
    /// # Shapes
    /// As many numbers in `dy` as in `x`.
    ///
    /// ```
    /// let mut dy = [2.0, 2.0];
    /// ddpm::nn::activation::leaky_relu_backward(&[3.0, -5.0], &mut dy);
    /// assert_eq!(dy, [2.0, 0.4]);
    /// ```
    pub fn leaky_relu_backward(x: &[f32], dy: &mut [f32]) {
        for (dy, &x) in dy.iter_mut().zip(x) {
            *dy *= if x < 0.0 { LEAK } else { 1.0 };
        }
    }
}

vectorized! {
    /// Each row of `columns` numbers becomes `p_j = e^{scale·(s_j − max s)} / Σ_j …`, in place: softmax of `scale · s`.
    ///
    /// Subtracting the maximum changes nothing in exact arithmetic and keeps `e^…` from overflowing.
    ///
    /// # Shapes
    /// `s` `[rows, columns]`, row after row.
    ///
    /// ```
    /// let mut s = [1.0, 1.0, 0.0, 1e4];
    /// ddpm::nn::activation::softmax_rows(&mut s, 2, 1.0);
    /// assert_eq!((s[0], s[1], s[3]), (0.5, 0.5, 1.0)); // two rows, and no overflow
    /// ```
    pub fn softmax_rows(s: &mut [f32], columns: usize, scale: f32) {
        for row in s.chunks_exact_mut(columns) {
            let max = max(row);
            for s in &mut *row {
                *s = exp(scale * (*s - max));
            }
            let inverse = 1.0 / sum(row);
            for s in row {
                *s *= inverse;
            }
        }
    }
}

vectorized! {
    /// From `p = softmax(scale · s)` by rows:  `ds_j = scale · p_j (dp_j − Σ_i dp_i p_i)`; `dp` becomes `ds`.
    ///
    /// (`∂p_j/∂s_i = scale · p_j (δ_ij − p_i)`, summed against `dp`.)
    ///
    /// # Shapes
    /// `p` and `dp` `[rows, columns]`, row after row.
    ///
    /// ```
    /// let mut dp = [3.0, 3.0];
    /// ddpm::nn::activation::softmax_rows_backward(&[0.25, 0.75], &mut dp, 2, 1.0);
    /// assert_eq!(dp, [0.0, 0.0]); // what all p share moves none: they sum to 1
    /// ```
    pub fn softmax_rows_backward(p: &[f32], dp: &mut [f32], columns: usize, scale: f32) {
        for (p, dp) in p.chunks_exact(columns).zip(dp.chunks_exact_mut(columns)) {
            let inner = dot(p, dp);
            for (dp, &p) in dp.iter_mut().zip(p) {
                *dp = scale * p * (*dp - inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gradient_check::{check, inner};
    use super::*;
    use crate::rng::{normal, stream};
    use crate::tensor::Tensor2;
    use ndarray::Array1;

    #[test]
    fn exp_is_exact_to_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for i in 0..=1_000_000 {
            let x = -87.0 + 175.0 * i as f32 / 1_000_000.0;
            worst = worst.max((exp(x) as f64 / (x as f64).exp() - 1.0).abs());
        }
        assert!(worst < 2e-7, "{worst:e}");
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn exp_saturates_and_lets_nan_through() {
        assert_eq!((exp(88.5), exp(f32::INFINITY), exp(f32::MAX)), (exp(88.0), exp(88.0), exp(88.0)));
        assert_eq!((exp(-87.5), exp(f32::NEG_INFINITY), exp(f32::MIN)), (exp(-87.0), exp(-87.0), exp(-87.0)));
        assert!(exp(88.0).is_finite() && exp(-87.0).is_normal() && exp(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoid_and_silu_at_the_ends() {
        assert_eq!((sigmoid(0.0), sigmoid(100.0)), (0.5, 1.0));
        assert!(sigmoid(-100.0) < 1e-37);
        let mut x = [0.0, 1e30, -1e30, -100.0, 20.0, f32::NAN];
        silu(&mut x);
        assert_eq!((x[0], x[1]), (0.0, 1e30));
        assert!(x[3].abs() < 1e-35 && (x[4] - 20.0).abs() < 1e-5 && x[5].is_nan(), "{x:?}");
    }

    #[test]
    fn silu_is_x_times_sigmoid_and_so_is_its_slope() {
        let x: Array1<f32> = normal(1000, &mut stream(1, 0)) * 4.0;
        let mut y = x.clone();
        silu(y.as_slice_mut().unwrap());
        for (&x, &y) in x.iter().zip(&y) {
            let want = x as f64 / (1.0 + (-x as f64).exp());
            assert!((y as f64 - want).abs() <= 4e-7 * want.abs());
        }
        let g: Array1<f32> = normal(1000, &mut stream(2, 0));
        let mut dx = g.clone();
        silu_backward(x.as_slice().unwrap(), dx.as_slice_mut().unwrap());
        check("silu", &x, &dx, |x| {
            let mut y = x.clone();
            silu(y.as_slice_mut().unwrap());
            inner(&y, &g)
        });
    }

    /// Away from the corner it is linear, and NaN stays NaN.
    #[test]
    fn leaky_relu_and_its_slope() {
        let x: Array1<f32> = normal(1000, &mut stream(1, 0));
        let x = x.mapv(|x: f32| x + x.signum());
        let g: Array1<f32> = normal(1000, &mut stream(2, 0));
        let mut dx = g.clone();
        leaky_relu_backward(x.as_slice().unwrap(), dx.as_slice_mut().unwrap());
        check("leaky_relu", &x, &dx, |x| {
            let mut y = x.clone();
            leaky_relu(y.as_slice_mut().unwrap());
            inner(&y, &g)
        });
        let mut x = [f32::NAN, 0.0, -0.0, -1e30];
        leaky_relu(&mut x);
        assert!(x[0].is_nan() && x[1..] == [0.0, 0.0, -0.2e30], "{x:?}");
    }

    fn softmax(x: &Tensor2, scale: f32) -> Tensor2 {
        let mut p = x.clone();
        softmax_rows(p.as_slice_mut().unwrap(), x.ncols(), scale);
        p
    }

    #[test]
    fn softmax_rows_are_distributions() {
        for columns in [1, 5, 16, 49] {
            let x: Tensor2 = normal((7, columns), &mut stream(1, 0));
            for (row, p) in x.outer_iter().zip(softmax(&x, 0.7).outer_iter()) {
                let e = row.mapv(|s| (0.7 * s as f64).exp());
                assert!((p.mapv(f64::from) - &e / e.sum()).iter().all(|d| d.abs() < 3e-7));
            }
        }
    }

    #[test]
    fn softmax_of_huge_scores_picks_the_largest() {
        let p = softmax(
            &ndarray::array![[1e30, 3e38, -3e38], [-3e38, -3e38, -3e38], [500.0, 500.0, -500.0]],
            1.0,
        );
        assert!((p[[0, 1]] - 1.0).abs() < 1e-6 && p[[0, 0]] < 1e-30 && p[[0, 2]] < 1e-30, "{p}");
        assert!((p[[1, 0]] - 1.0 / 3.0).abs() < 1e-6 && (p[[2, 0]] - 0.5).abs() < 1e-6, "{p}");
        let shifted = ndarray::array![[1.0, 2.0, 4.0], [1001.0, 1002.0, 1004.0]];
        let p = softmax(&shifted, 1.0);
        assert_eq!(p.row(0), p.row(1), "a common shift changes nothing");
    }

    #[test]
    fn gradient_of_softmax() {
        let (x, g): (Tensor2, Tensor2) =
            (normal((4, 20), &mut stream(1, 0)), normal((4, 20), &mut stream(2, 0)));
        let mut dx = g.clone();
        let p = softmax(&x, 0.7);
        softmax_rows_backward(p.as_slice().unwrap(), dx.as_slice_mut().unwrap(), 20, 0.7);
        check("softmax", &x, &dx, |x| inner(&softmax(x, 0.7), &g));
    }
}
