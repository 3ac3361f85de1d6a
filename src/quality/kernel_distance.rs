//! The kernel distance between two clouds of features (Bińkowski et al. 2018, "KID").

use ndarray::{Array2, Axis};

/// The squared maximum mean discrepancy with the kernel k(x, y) = (x·y/F + 1)³, by its unbiased estimate
///
/// Σ_{i≠j} k(x_i, x_j)/(n(n − 1)) + Σ_{i≠j} k(y_i, y_j)/(m(m − 1)) − 2 Σ_{ij} k(x_i, y_j)/(nm).
///
/// Unlike the [`frechet_distance`](super::frechet_distance) it does not depend on the number of rows, but for its noise: of two
/// samples of one distribution it is 0 on average, and may be negative. It compares moments up to the third. With Inception's
/// features it is called KID; here the features are those of a small classifier, and the numbers not comparable.
///
/// # Shapes
/// `x` `[n, F]`, `y` `[m, F]`; in units of k.
///
/// # Panics
/// If the numbers of features differ, or there are fewer than two rows.
///
/// ```
/// use ddpm::quality::kernel_distance;
/// use ndarray::array;
/// // k(1, 1) = 8, k(1, −1) = 0: 8 + 8 − 2·0
/// assert_eq!(kernel_distance(&array![[1.0], [1.0]], &array![[-1.0], [-1.0]]), 16.0);
/// ```
#[track_caller]
pub fn kernel_distance(x: &Array2<f64>, y: &Array2<f64>) -> f64 {
    KernelReference::new(y.clone()).distance(x)
}

/// A cloud that others are held against: its own term of the [`kernel_distance`] is computed once.
///
/// ```
/// use ddpm::quality::KernelReference;
/// use ndarray::array;
/// assert_eq!(KernelReference::new(array![[-1.0], [-1.0]]).distance(&array![[1.0], [1.0]]), 16.0);
/// ```
#[derive(Clone, Debug)]
pub struct KernelReference {
    y: Array2<f64>,
    /// the mean of k over its pairs
    within: f64,
}

impl KernelReference {
    /// Of `y` `[m, F]`.
    ///
    /// # Panics
    /// If there are fewer than two rows.
    #[track_caller]
    pub fn new(y: Array2<f64>) -> KernelReference {
        assert!(y.nrows() >= 2, "kernel_distance: {} rows have no pairs", y.nrows());
        let within = within(&y);
        KernelReference { y, within }
    }

    /// The [`kernel_distance`] of `x` `[n, F]`.
    ///
    /// # Panics
    /// As [`kernel_distance`].
    #[track_caller]
    pub fn distance(&self, x: &Array2<f64>) -> f64 {
        let (f, g) = (x.ncols(), self.y.ncols());
        assert_eq!(f, g, "kernel_distance: {f} and {g} features");
        assert!(x.nrows() >= 2, "kernel_distance: {} rows have no pairs", x.nrows());
        within(x) + self.within - 2.0 * sum(x, &self.y) / (x.nrows() * self.y.nrows()) as f64
    }
}

/// (x·y/F + 1)³ from x·y
fn kernel(product: f64, features: usize) -> f64 {
    (product / features as f64 + 1.0).powi(3)
}

/// Σ_{ij} k(a_i, b_j); some rows of a at a time, so that the products need no more than some megabytes.
fn sum(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    const ROWS: usize = 128;
    a.axis_chunks_iter(Axis(0), ROWS).fold(0.0, |sum, rows| {
        rows.dot(&b.t()).iter().fold(sum, |sum, &product| sum + kernel(product, a.ncols()))
    })
}

/// Σ_{i≠j} k(a_i, a_j)/(n(n − 1))
fn within(a: &Array2<f64>) -> f64 {
    let n = a.nrows() as f64;
    let same: f64 = a.map_axis(Axis(1), |row| kernel(row.dot(&row), a.ncols())).sum();
    (sum(a, a) - same) / (n * (n - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{normal, stream};
    use proptest::prelude::*;

    /// In one dimension E k = E (xy + 1)³ is a sum of moments: for N(0, 1) against N(1, 1) the distance is
    /// Σ_k binom(3, k) (m_k − m′_k)² = 3·1 + 3·1 + (3 + 1)² = 22.
    #[test]
    fn of_normal_distributions_it_is_the_difference_of_their_moments() {
        let sets: Vec<f64> = (0..200)
            .map(|seed| {
                let x: Array2<f64> = normal((60, 1), &mut stream(seed, 0));
                let y: Array2<f64> = normal((40, 1), &mut stream(seed, 1));
                kernel_distance(&x, &(y + 1.0))
            })
            .collect();
        let n = sets.len() as f64;
        let mean = sets.iter().sum::<f64>() / n;
        let error = (sets.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n * (n - 1.0))).sqrt();
        assert!((mean - 22.0).abs() < 4.0 * error && error < 2.0, "{mean} ± {error}");
    }

    /// No bias: over many pairs of samples of one distribution the mean is 0 within its error, though every Fréchet distance
    /// of them is positive.
    #[test]
    fn of_equal_distributions_it_is_zero_on_average() {
        let sets: Vec<f64> = (0..300)
            .map(|seed| {
                let x: Array2<f64> = normal((12, 4), &mut stream(seed, 0));
                kernel_distance(&x, &normal((9, 4), &mut stream(seed, 1)))
            })
            .collect();
        let n = sets.len() as f64;
        let mean = sets.iter().sum::<f64>() / n;
        let error = (sets.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n * (n - 1.0))).sqrt();
        assert!(mean.abs() < 4.0 * error && sets.iter().any(|&d| d < 0.0), "{mean} ± {error}");
    }

    proptest! {
        /// The definition, pair by pair; symmetric.
        #[test]
        fn as_defined(seed in 0u64..1000, n in 2usize..9, m in 2usize..9, f in 1usize..6) {
            let x: Array2<f64> = normal((n, f), &mut stream(seed, 0));
            let y: Array2<f64> = normal((m, f), &mut stream(seed, 1));
            let k = |a: ndarray::ArrayView1<f64>, b: ndarray::ArrayView1<f64>| (a.dot(&b) / f as f64 + 1.0).powi(3);
            let mean = |a: &Array2<f64>, b: &Array2<f64>, all: bool| {
                let pairs: Vec<f64> = (0..a.nrows())
                    .flat_map(|i| (0..b.nrows()).map(move |j| (i, j)))
                    .filter(|(i, j)| all || i != j)
                    .map(|(i, j)| k(a.row(i), b.row(j)))
                    .collect();
                pairs.iter().sum::<f64>() / pairs.len() as f64
            };
            let expected = mean(&x, &x, false) + mean(&y, &y, false) - 2.0 * mean(&x, &y, true);
            let (xy, yx) = (kernel_distance(&x, &y), kernel_distance(&y, &x));
            let scale = 1.0 + mean(&x, &x, true) + mean(&y, &y, true);
            prop_assert!((xy - expected).abs() < 1e-12 * scale && (xy - yx).abs() < 1e-12 * scale);
        }
    }

    #[test]
    #[should_panic(expected = "kernel_distance: 2 and 3 features")]
    fn features_must_agree() {
        kernel_distance(&Array2::zeros((5, 2)), &Array2::zeros((5, 3)));
    }

    #[test]
    #[should_panic(expected = "kernel_distance: 1 rows have no pairs")]
    fn one_row_is_too_few() {
        kernel_distance(&Array2::zeros((1, 2)), &Array2::zeros((5, 2)));
    }
}
