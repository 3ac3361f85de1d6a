//! The Fréchet distance between two clouds of features (Heusel et al. 2017).

use nalgebra::DMatrix;
use ndarray::{Array1, Array2, Axis};

/// Mean and covariance of features.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// μ, `[F]`
    pub mean: Array1<f64>,
    /// Σ, `[F, F]`, over N − 1
    pub covariance: Array2<f64>,
}

impl Moments {
    /// Of features `[N, F]`.
    ///
    /// # Panics
    /// If there are fewer than two rows.
    #[track_caller]
    pub fn of(features: &Array2<f64>) -> Self {
        let n = features.nrows();
        assert!(n >= 2, "Moments: {n} rows have no covariance");
        let mean = features.mean_axis(Axis(0)).expect("at least two rows");
        let centred = features - &mean;
        Self { covariance: centred.t().dot(&centred) / (n as f64 - 1.0), mean }
    }
}

/// ‖μ_a − μ_b‖² + Tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½): the squared 2-Wasserstein distance of two normal distributions with these
/// moments, in squared units of the features.
///
/// Σ_a Σ_b has the eigenvalues of the symmetric Σ_a^½ Σ_b Σ_a^½, so that the trace of its root needs symmetric matrices
/// only. With few rows the estimate is too large, even for two samples of one distribution: compare distances from equally
/// many rows.
///
/// # Panics
/// If the numbers of features differ.
///
/// ```
/// use ddpm::quality::{Moments, frechet_distance};
/// use ndarray::array;
/// let a = Moments { mean: array![0.0], covariance: array![[4.0]] };
/// let b = Moments { mean: array![3.0], covariance: array![[1.0]] };
/// assert!((frechet_distance(&a, &b) - (9.0 + 1.0)).abs() < 1e-12); // 3² + (2 − 1)²
/// ```
#[track_caller]
pub fn frechet_distance(a: &Moments, b: &Moments) -> f64 {
    assert_eq!(
        a.mean.len(),
        b.mean.len(),
        "frechet_distance: {} and {} features",
        a.mean.len(),
        b.mean.len()
    );
    let root_a = symmetric_root(&matrix(&a.covariance));
    let product = &root_a * matrix(&b.covariance) * &root_a;
    // rounding may leave an eigenvalue just below 0
    let trace_of_root: f64 = product.symmetric_eigenvalues().iter().map(|l| l.max(0.0).sqrt()).sum();
    let difference = &a.mean - &b.mean;
    difference.dot(&difference) + a.covariance.diag().sum() + b.covariance.diag().sum() - 2.0 * trace_of_root
}

fn matrix(a: &Array2<f64>) -> DMatrix<f64> {
    DMatrix::from_fn(a.nrows(), a.ncols(), |i, j| a[[i, j]])
}

/// S with S S = A, for a symmetric A without negative eigenvalues.
fn symmetric_root(a: &DMatrix<f64>) -> DMatrix<f64> {
    let eigen = a.clone().symmetric_eigen();
    let roots = eigen.eigenvalues.map(|l| l.max(0.0).sqrt());
    &eigen.eigenvectors * DMatrix::from_diagonal(&roots) * eigen.eigenvectors.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{normal, stream};
    use proptest::prelude::*;

    fn cloud(n: usize, f: usize, seed: u64) -> Moments {
        let z: Array2<f64> = normal((n, f), &mut stream(seed, 0));
        let mix: Array2<f64> = normal((f, f), &mut stream(seed, 1));
        Moments::of(&z.dot(&mix))
    }

    proptest! {
        #[test]
        fn a_distance(seed in 0u64..1000, n in 2usize..40, f in 1usize..12) {
            let (a, b) = (cloud(n, f, seed), cloud(n + 3, f, seed + 5000));
            let (ab, ba) = (frechet_distance(&a, &b), frechet_distance(&b, &a));
            let scale = a.covariance.diag().sum() + b.covariance.diag().sum();
            prop_assert!(ab > -1e-7 * scale && (ab - ba).abs() < 1e-6 * scale, "{ab} {ba}");
            prop_assert!(frechet_distance(&a, &a).abs() < 1e-6 * scale);
        }
    }

    #[test]
    fn a_shift_counts_its_square_and_fewer_rows_than_features_will_do() {
        let a = cloud(4, 9, 1);
        let b = Moments { mean: &a.mean + 2.0, ..a.clone() };
        // six eigenvalues are 0 up to rounding, and the root makes 1e-8 of 1e-16
        let rounding = 1e-6 * a.covariance.diag().sum();
        assert!((frechet_distance(&a, &b) - 36.0).abs() < rounding);
    }

    #[test]
    #[should_panic(expected = "frechet_distance: 2 and 3 features")]
    fn features_must_agree() {
        frechet_distance(&cloud(5, 2, 1), &cloud(5, 3, 1));
    }

    #[test]
    #[should_panic(expected = "Moments: 1 rows have no covariance")]
    fn one_row_is_too_few() {
        Moments::of(&Array2::zeros((1, 3)));
    }
}
