//! The ranges of numbers on the command line. Every numeric argument names one of these as its parser, so that what is
//! out of range never reaches a computation; clap's message names the argument.

use clap::builder::{RangedI64ValueParser, RangedU64ValueParser};
use std::ops::RangeBounds;

/// Whole numbers of a range.
pub(super) fn whole(range: impl RangeBounds<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// Whole numbers from 1 on.
pub(super) fn counting() -> RangedU64ValueParser<usize> {
    whole(1..)
}

/// Percent, 1 to 100.
pub(super) fn percent() -> RangedI64ValueParser<u8> {
    RangedI64ValueParser::new().range(1..=100)
}

/// A number that satisfies `holds`, which NaN never does.
fn number(text: &str, expected: &str, holds: impl Fn(f64) -> bool) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && holds(number) => Ok(number),
        _ => Err(format!("expected {expected}")),
    }
}

/// x > 0.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    number(text, "a number above 0", |x| x > 0.0)
}

/// 0 < x ≤ 1000: how many times something is to count.
pub(super) fn factor(text: &str) -> Result<f64, String> {
    number(text, "a number above 0, at most 1000", |x| x > 0.0 && x <= 1000.0)
}

/// x ≥ 0.
pub(super) fn not_negative(text: &str) -> Result<f64, String> {
    number(text, "a number that is not below 0", |x| x >= 0.0)
}

/// x ≥ −1.
pub(super) fn at_least_minus_one(text: &str) -> Result<f64, String> {
    number(text, "a number from -1 on", |x| x >= -1.0)
}

/// 0 ≤ x ≤ 1.
pub(super) fn fraction(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 to 1", |x| (0.0..=1.0).contains(&x))
}

/// 0 ≤ x < 1.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 on and below 1", |x| (0.0..1.0).contains(&x))
}

/// Minutes or seconds, as long as a [`Duration`](std::time::Duration) can be; ten years will do.
pub(super) fn time(text: &str) -> Result<f64, String> {
    number(text, "a time from 0 to 5,000,000", |x| (0.0..=5e6).contains(&x))
}
