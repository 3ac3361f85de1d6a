//! Element-wise functions: exp, the logistic function, SiLU; and softmax over rows.

use crate::matmul::kernel::vectorized;

/// `e^x` in `f32`, relative error below 2·10⁻⁷, in a form that vectorises (the library's is one scalar call per
/// number).
///
/// `x = n ln 2 + r` with integer `n` and `|r| ≤ ½ ln 2`; a polynomial of degree 7 gives `e^r`, and `2ⁿ` is built
/// from its exponent bits. `ln 2` is split in two so that `n ln 2` is subtracted without rounding (Cody & Waite).
/// Below −87 the result is `e^−87`, above 88 `e^88`; NaN stays NaN.
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
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `y = x σ(x)`, in place.
pub fn silu(x: &mut [f32]) {
    vectorized(|| x.iter_mut().for_each(|x| *x *= sigmoid(*x)));
}

/// From `y = x σ(x)`:  `dx = dy σ(x) (1 + x (1 − σ(x)))`; `dy` becomes `dx`.
pub fn silu_backward(x: &[f32], dy: &mut [f32]) {
    vectorized(|| dy.iter_mut().zip(x).for_each(|(dy, &x)| *dy *= silu_slope(x)));
}

/// The derivative of SiLU: `σ(x) (1 + x (1 − σ(x)))`.
#[inline(always)]
pub fn silu_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    s * (1.0 + x * (1.0 - s))
}

/// Each row of `columns` numbers becomes `p_j = e^{scale·(s_j − max s)} / Σ_j …`, in place: softmax of `scale · s`.
///
/// Subtracting the maximum changes nothing in exact arithmetic and keeps `e^…` from overflowing.
pub fn softmax_rows(s: &mut [f32], columns: usize, scale: f32) {
    vectorized(|| {
        for row in s.chunks_exact_mut(columns) {
            let max = row.iter().fold(f32::NEG_INFINITY, |m, &s| if s > m { s } else { m });
            row.iter_mut().for_each(|s| *s = exp(scale * (*s - max)));
            let inverse = 1.0 / sum(row);
            row.iter_mut().for_each(|s| *s *= inverse);
        }
    });
}

/// From `p = softmax(scale · s)` by rows:  `ds_j = scale · p_j (dp_j − Σ_i dp_i p_i)`; `dp` becomes `ds`.
///
/// (`∂p_j/∂s_i = scale · p_j (δ_ij − p_i)`, summed against `dp`.)
pub fn softmax_rows_backward(p: &[f32], dp: &mut [f32], columns: usize, scale: f32) {
    vectorized(|| {
        for (p, dp) in p.chunks_exact(columns).zip(dp.chunks_exact_mut(columns)) {
            let inner = dot(p, dp);
            dp.iter_mut().zip(p).for_each(|(dp, &p)| *dp = scale * p * (*dp - inner));
        }
    });
}

/// `Σ x`, in sixteen partial sums so that it vectorises in a fixed order.
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    let (blocks, rest) = x.as_chunks::<16>();
    let mut lanes = [0.0f32; 16];
    blocks.iter().for_each(|b| lanes.iter_mut().zip(b).for_each(|(s, x)| *s += x));
    lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// `Σ x y`, in sixteen partial sums.
#[inline(always)]
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 {
    let ((bx, rx), (by, ry)) = (x.as_chunks::<16>(), y.as_chunks::<16>());
    let mut lanes = [0.0f32; 16];
    for (x, y) in bx.iter().zip(by) {
        lanes.iter_mut().zip(x.iter().zip(y)).for_each(|(s, (x, y))| *s += x * y);
    }
    lanes.iter().sum::<f32>() + rx.iter().zip(ry).map(|(x, y)| x * y).sum::<f32>()
}
