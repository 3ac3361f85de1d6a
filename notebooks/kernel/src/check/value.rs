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
    /// Whether shapes agree, and numbers differ by no more than `tolerance` × max(1, |expected|).
    pub fn is_close(&self, expected: &Value, tolerance: f64) -> bool {
        self.shape == expected.shape && self.first_difference(expected, tolerance).is_none()
    }

    /// The first index at which two values of one shape differ by more than `tolerance` × max(1, |expected|).
    pub(super) fn first_difference(&self, expected: &Value, tolerance: f64) -> Option<usize> {
        let close = |a: f64, b: f64| (a - b).abs() <= tolerance * b.abs().max(1.0) || a == b;
        self.numbers.iter().zip(&expected.numbers).position(|(&a, &b)| !close(a, b))
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
    fn shapes_count_and_nan_is_close_to_nothing() {
        assert!(!Value::from([1.0]).is_close(&Value::from(1.0), 1.0));
        assert!(!Value::from(f64::NAN).is_close(&Value::from(1.0), 1e9));
        assert!(Value::from(f64::INFINITY).is_close(&Value::from(f64::INFINITY), 1e-9));
    }
}
