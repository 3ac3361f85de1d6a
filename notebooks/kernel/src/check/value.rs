//! What a student's function returns, as numbers with a shape.

use ddpm::prelude::ndarray::{Array, Dimension};
use std::fmt;

/// Numbers with a shape: what is compared, and what is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// empty for a single number
    pub shape: Vec<usize>,
    /// in row-major order
    pub numbers: Vec<f64>,
    /// shown instead of the numbers, for what is not a number
    text: Option<String>,
}

impl Value {
    /// The first index at which two values of one shape differ by more than is `allowed` there; NaN differs from every number.
    pub(super) fn differs(&self, expected: &Value, allowed: impl Fn(f64) -> f64) -> Option<usize> {
        let close = |a: f64, b: f64| (a - b).abs() <= allowed(b) || a == b || (a.is_nan() && b.is_nan());
        self.numbers.iter().zip(&expected.numbers).position(|(&a, &b)| !close(a, b))
    }

    /// The largest |difference| of two values of one shape, of those that are finite.
    pub(super) fn distance(&self, other: &Value) -> f64 {
        let off = self.numbers.iter().zip(&other.numbers).map(|(a, b)| (a - b).abs());
        off.filter(|d| d.is_finite()).fold(0.0, f64::max)
    }

    /// The largest finite |number|.
    pub(super) fn largest(&self) -> f64 {
        self.numbers.iter().map(|x| x.abs()).filter(|x| x.is_finite()).fold(0.0, f64::max)
    }

    /// The single number, or NaN if there are more.
    pub fn number(&self) -> f64 {
        if let [x] = self.numbers[..] { x } else { f64::NAN }
    }
}

/// How many numbers are shown.
pub(super) const SHOWN: usize = 8;

/// The first numbers with six digits each, and the shape if there is more than one.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.text {
            return f.write_str(text);
        }
        if self.shape.is_empty() {
            return f.write_str(&number(self.numbers[0]));
        }
        let shown: Vec<String> = self.numbers.iter().take(SHOWN).map(|&x| number(x)).collect();
        let more = if self.numbers.len() > SHOWN { ", …" } else { "" };
        write!(f, "[{}{more}]  shape {:?}", shown.join(", "), self.shape)
    }
}

/// Six significant digits; very large and very small numbers with an exponent.
pub(super) fn number(x: f64) -> String {
    if x == 0.0 || !x.is_finite() {
        return x.to_string();
    }
    let magnitude = x.abs().log10().floor() as i32;
    if (-4..7).contains(&magnitude) {
        let text = format!("{x:.*}", (5 - magnitude).max(0) as usize);
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        text.to_string()
    } else {
        format!("{x:.5e}")
    }
}

impl From<f64> for Value {
    fn from(x: f64) -> Value {
        Value { shape: Vec::new(), numbers: vec![x], text: None }
    }
}

impl From<usize> for Value {
    fn from(x: usize) -> Value {
        Value::from(x as f64)
    }
}

impl From<bool> for Value {
    fn from(x: bool) -> Value {
        Value { text: Some(x.to_string()), ..Value::from(f64::from(u8::from(x))) }
    }
}

impl From<char> for Value {
    fn from(x: char) -> Value {
        Value { text: Some(format!("'{x}'")), ..Value::from(f64::from(u32::from(x))) }
    }
}

impl From<Vec<f64>> for Value {
    fn from(x: Vec<f64>) -> Value {
        Value { shape: vec![x.len()], numbers: x, text: None }
    }
}

impl From<Vec<usize>> for Value {
    fn from(x: Vec<usize>) -> Value {
        Value::from(x.into_iter().map(|x| x as f64).collect::<Vec<f64>>())
    }
}

impl<const N: usize> From<[f64; N]> for Value {
    fn from(x: [f64; N]) -> Value {
        Value::from(x.to_vec())
    }
}

impl<A: Copy + Into<f64>, D: Dimension> From<Array<A, D>> for Value {
    fn from(x: Array<A, D>) -> Value {
        Value { shape: x.shape().to_vec(), numbers: x.iter().map(|&x| x.into()).collect(), text: None }
    }
}

/// Two values one after the other, with the shape of neither.
impl<A: Into<Value>, B: Into<Value>> From<(A, B)> for Value {
    fn from((a, b): (A, B)) -> Value {
        let (a, b) = (a.into(), b.into());
        let text = Some(format!("({a}; {b})"));
        let shape = [&a.shape[..], &b.shape[..]].concat();
        Value { shape, numbers: [a.numbers, b.numbers].concat(), text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_digits() {
        let shown = [0.5, -1.25e-9, 123456.789, 1e7, 2.0 / 3.0, 0.0, 31.0, 100.0].map(number);
        assert_eq!(shown, ["0.5", "-1.25000e-9", "123457", "1.00000e7", "0.666667", "0", "31", "100"]);
        assert_eq!(Value::from(vec![1.0, 2.5]).to_string(), "[1, 2.5]  shape [2]");
        assert_eq!(Value::from('b').to_string(), "'b'");
    }

    #[test]
    fn nan_is_close_to_nothing_and_infinity_to_itself() {
        let differs = |a: f64, b: f64| Value::from(a).differs(&Value::from(b), |_| 1e9);
        assert_eq!((differs(f64::NAN, 1.0), differs(f64::INFINITY, f64::INFINITY)), (Some(0), None));
    }
}
