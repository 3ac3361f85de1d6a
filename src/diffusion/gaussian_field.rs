//! Correlated Gaussian data, of which some entries may be known: the world in which imputation can be judged exactly.

use super::{Denoiser, Known, Query, Schedule};
use crate::tensor::Batch;
use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use ndarray::{Array1, Array2, ArrayView3, Axis};

/// Data x_0 ~ N(0, S), S over all D entries of an image, in their order.
///
/// Asked without known entries, ε* = √(1 − ᾱ_t) (ᾱ_t S + (1 − ᾱ_t) I)⁻¹ x_t. Where some are known, the others u are
/// N(μ, Σ) = N(S_uk S_kk⁻¹ x_k, S_uu − S_uk S_kk⁻¹ S_ku), and ε*_u = √(1 − ᾱ_t) (ᾱ_t Σ + (1 − ᾱ_t) I)⁻¹ (x_u − √ᾱ_t μ),
/// with ε* = 0 at the known ones.
///
/// ```
/// use ddpm::diffusion::{Denoiser, Schedule, oracle::GaussianField};
/// use ddpm::tensor::Batch;
/// let field = GaussianField::new(ndarray::Array2::eye(2), Schedule::cosine(10));
/// let x_t = Batch::ones((1, 1, 2, 1));
/// let sigma = (1.0 - Schedule::cosine(10).alpha_bar(5)).sqrt();
/// assert!((field.predict(&x_t, &[5])[[0, 0, 1, 0]] - sigma).abs() < 1e-12); // x_t is N(0, I) at every t
/// ```
#[derive(Clone, Debug)]
pub struct GaussianField {
    covariance: Array2<f64>,
    schedule: Schedule,
}

/// What is left to be known of the unknown entries: N(mean, covariance), over them in their order.
#[derive(Clone, Debug)]
pub struct FieldPosterior {
    /// which entries are unknown
    pub unknown: Vec<usize>,
    /// μ
    pub mean: Array1<f64>,
    /// Σ
    pub covariance: Array2<f64>,
}

impl GaussianField {
    /// Data of this covariance, `[D, D]`.
    ///
    /// # Panics
    /// When it is not square.
    ///
    /// ```
    /// use ddpm::diffusion::{Schedule, oracle::GaussianField};
    /// let S = ndarray::array![[1.0, 0.5], [0.5, 1.0]];
    /// let posterior = GaussianField::new(S, Schedule::cosine(10)).posterior(&[2.0, 0.0], &[1.0, 0.0]);
    /// assert_eq!((posterior.mean[0], posterior.covariance[[0, 0]]), (1.0, 0.75));
    /// ```
    #[track_caller]
    pub fn new(covariance: Array2<f64>, schedule: Schedule) -> Self {
        assert!(covariance.is_square(), "GaussianField: a covariance of {:?}", covariance.shape());
        Self { covariance, schedule }
    }

    /// The law of the entries whose mask is 0, given the others.
    ///
    /// # Shapes
    /// `values` and `mask` D numbers.
    ///
    /// # Panics
    /// When the covariance of the known ones is singular.
    ///
    /// ```
    /// use ddpm::diffusion::{Schedule, oracle::GaussianField};
    /// let alone = GaussianField::new(ndarray::Array2::eye(3), Schedule::cosine(10));
    /// assert_eq!(alone.posterior(&[5.0, 0.0, 5.0], &[1.0, 0.0, 1.0]).mean[0], 0.0); // neighbours say nothing
    /// ```
    #[track_caller]
    pub fn posterior(&self, values: &[f64], mask: &[f64]) -> FieldPosterior {
        let (known, unknown): (Vec<usize>, Vec<usize>) = (0..mask.len()).partition(|&i| mask[i] > 0.0);
        let part = |rows: &[usize], columns: &[usize]| {
            DMatrix::from_fn(rows.len(), columns.len(), |i, j| self.covariance[[rows[i], columns[j]]])
        };
        let x_k = DVector::from_iterator(known.len(), known.iter().map(|&i| values[i]));
        let s_ku = part(&known, &unknown);
        let kk = cholesky(part(&known, &known));
        let mean = s_ku.transpose() * kk.solve(&x_k);
        let covariance = part(&unknown, &unknown) - s_ku.transpose() * kk.solve(&s_ku);
        let m = unknown.len();
        FieldPosterior {
            unknown,
            mean: mean.iter().copied().collect(),
            covariance: Array2::from_shape_fn((m, m), |(i, j)| covariance[(i, j)]),
        }
    }

    /// ε* of one image whose law is N(μ, Σ) at these entries.
    fn eps(&self, x_t: ArrayView3<f64>, t: usize, law: &FieldPosterior) -> Array1<f64> {
        let alpha_bar = self.schedule.alpha_bar(t);
        let x_t: Vec<f64> = x_t.iter().copied().collect();
        let n = law.unknown.len();
        let off = law.unknown.iter().zip(&law.mean).map(|(&i, mean)| x_t[i] - alpha_bar.sqrt() * mean);
        let noise = |i, j| if i == j { 1.0 - alpha_bar } else { 0.0 };
        let v = DMatrix::from_fn(n, n, |i, j| alpha_bar * law.covariance[[i, j]] + noise(i, j));
        let solved = cholesky(v).solve(&DVector::from_iterator(n, off)) * (1.0 - alpha_bar).sqrt();
        let mut eps = Array1::zeros(x_t.len());
        law.unknown.iter().zip(solved.iter()).for_each(|(&i, &e)| eps[i] = e);
        eps
    }
}

fn cholesky(matrix: DMatrix<f64>) -> Cholesky<f64, Dyn> {
    matrix.cholesky().expect("GaussianField: a covariance is positive definite")
}

impl Denoiser for GaussianField {
    fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
        self.answer(&Query::new(x_t, t))
    }

    fn answer(&self, query: &Query) -> Batch {
        let mut eps_hat = query.x_t.clone();
        let all = self.covariance.nrows();
        let prior = FieldPosterior {
            unknown: (0..all).collect(),
            mean: Array1::zeros(all),
            covariance: self.covariance.clone(),
        };
        let known = query.rows().known;
        for (n, (mut image, &t)) in eps_hat.outer_iter_mut().zip(query.t).enumerate() {
            let eps = match &known {
                None => self.eps(image.view(), t, &prior),
                Some(Known { values, mask }) => {
                    let row = |x: &Batch| x.index_axis(Axis(0), n).iter().copied().collect::<Vec<_>>();
                    self.eps(image.view(), t, &self.posterior(&row(values), &row(mask)))
                }
            };
            image.iter_mut().zip(eps).for_each(|(image, eps)| *image = eps);
        }
        eps_hat
    }
}
