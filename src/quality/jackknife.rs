//! The error of a statistic that is no mean over images.

use crate::diffusion::Estimate;

/// A statistic of all rows, and its standard error by the jackknife: what it is without each of `parts` parts.
///
/// s² = (P − 1)/P · Σ_p (θ_{−p} − θ̄)²; row i is in part i mod P. For a mean with P = N it is the usual standard error.
/// A bootstrap would draw rows twice, which an unbiased statistic such as the [`kernel_distance`](super::kernel_distance)
/// does not forgive.
///
/// # Panics
/// If there are fewer than two parts, or fewer than two rows in each (one, if there are as many parts as rows).
///
/// ```
/// use ddpm::quality::jackknife;
/// let x = [1.0, 2.0, 4.0, 9.0];
/// let mean = jackknife(4, 4, |rows| rows.iter().map(|&i| x[i]).sum::<f64>() / rows.len() as f64);
/// let variance = x.iter().map(|x| (x - 4.0_f64).powi(2)).sum::<f64>() / 3.0;
/// assert!(mean.mean == 4.0 && (mean.std_error - (variance / 4.0_f64).sqrt()).abs() < 1e-12);
/// ```
#[track_caller]
pub fn jackknife(rows: usize, parts: usize, statistic: impl Fn(&[usize]) -> f64) -> Estimate {
    assert!((2..=rows).contains(&parts), "jackknife: {parts} parts of {rows} rows");
    let of =
        |chosen: &dyn Fn(usize) -> bool| statistic(&(0..rows).filter(|&i| chosen(i)).collect::<Vec<_>>());
    let without: Vec<f64> = (0..parts).map(|part| of(&|i| i % parts != part)).collect();
    let p = parts as f64;
    let mean = without.iter().sum::<f64>() / p;
    let spread: f64 = without.iter().map(|theta| (theta - mean).powi(2)).sum();
    Estimate { mean: of(&|_| true), std_error: ((p - 1.0) / p * spread).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "jackknife: 5 parts of 4 rows")]
    fn no_part_may_be_empty() {
        jackknife(4, 5, |_| 0.0);
    }
}
