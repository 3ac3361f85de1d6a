//! The best denoiser that is linear in x_t: what second moments alone know of an image.

use super::Moments;
use crate::diffusion::Estimate;
use crate::tensor::Batch;
use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::{Array1, Array2, Axis};

/// x̂_0 = m + √ᾱ C (ᾱ C + (1 − ᾱ) I)⁻¹ (x_t − √ᾱ m), for data of mean m and covariance C.
///
/// No denoiser that is linear in x_t has a smaller squared error, and of normally distributed data none at all: it is E\[x_0|x_t\]
/// there. What a network is better by, it knows of the images beyond their covariance.
#[derive(Clone, Debug)]
pub struct LinearDenoiser {
    mean: Array1<f64>,
    /// eigenvalues of C
    variances: Array1<f64>,
    /// its eigenvectors, one in each column
    directions: Array2<f64>,
}

impl LinearDenoiser {
    /// Mean and covariance of images `[N, H, W, C]`.
    ///
    /// # Panics
    /// If there are fewer than two.
    #[track_caller]
    pub fn fit(x: &Batch) -> LinearDenoiser {
        let n = x.dim().0;
        assert!(n >= 2, "LinearDenoiser: {n} images have no covariance");
        let Moments { mean, covariance } = Moments::of(&rows(x));
        let dims = mean.len();
        let SymmetricEigen { eigenvalues, eigenvectors } =
            DMatrix::from_fn(dims, dims, |i, j| covariance[[i, j]]).symmetric_eigen();
        LinearDenoiser {
            mean,
            variances: eigenvalues.iter().map(|v| v.max(0.0)).collect(), // rounding may leave one just below 0
            directions: Array2::from_shape_fn((dims, dims), |(i, j)| eigenvectors[(i, j)]),
        }
    }

    /// √(E ‖x_0 − x̂_0‖²/D) of each image, in its own units: exactly, over all noises.
    ///
    /// With r the image's deviation from m along the directions, v the variances there and k = √ᾱ v/(ᾱ v + 1 − ᾱ),
    /// E ‖x_0 − x̂_0‖² = Σ (1 − √ᾱ k)² r² + (1 − ᾱ) k².
    ///
    /// ```
    /// use ddpm::quality::LinearDenoiser;
    /// use ddpm::{rng::{normal, stream}, tensor::Batch};
    /// let x: Batch = normal((50, 2, 2, 1), &mut stream(1, 0));
    /// let linear = LinearDenoiser::fit(&x);
    /// let [all, nothing] = [1.0, 0.0].map(|alpha_bar| linear.rmse(&x, alpha_bar).sum());
    /// assert!(all < 1e-12 && nothing > 10.0);
    /// ```
    pub fn rmse(&self, x: &Batch, alpha_bar: f64) -> Array1<f64> {
        let along = (rows(x) - &self.mean).dot(&self.directions);
        let k = self
            .variances
            .mapv(|v| alpha_bar.sqrt() * v / (alpha_bar * v + 1.0 - alpha_bar).max(f64::MIN_POSITIVE));
        let bias = k.mapv(|k| (1.0 - alpha_bar.sqrt() * k).powi(2));
        let noise: f64 = k.mapv(|k| (1.0 - alpha_bar) * k * k).sum();
        let dims = self.mean.len() as f64;
        along.map_axis(Axis(1), |r| ((&r * &r).dot(&bias) + noise).max(0.0) / dims).mapv(f64::sqrt)
    }

    /// The same in grey levels of 0..=255, mean over images and its standard error.
    pub fn rmse_in_grey_levels(&self, x: &Batch, alpha_bar: f64) -> Estimate {
        Estimate::of(&self.rmse(x, alpha_bar).mapv(|rmse| 127.5 * rmse))
    }
}

/// `[N, D]`.
fn rows(x: &Batch) -> Array2<f64> {
    let n = x.dim().0;
    x.to_shape((n, x.len() / n.max(1))).expect("as many numbers").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::oracle::GaussianField;
    use crate::diffusion::{Denoiser, Schedule, q_sample};
    use crate::rng::{normal, stream};

    /// The formula against noises that are drawn and an oracle that solves for ε*: the mean square over many noises.
    #[test]
    fn the_error_is_that_of_the_exact_denoiser_of_normal_data() {
        let mix: Array2<f64> = normal((6, 6), &mut stream(3, 0));
        let z: Array2<f64> = normal((400, 6), &mut stream(3, 1));
        let data = z.dot(&mix).into_shape_with_order((400, 2, 3, 1)).unwrap();
        let data = &data - &data.mean_axis(Axis(0)).unwrap();
        let linear = LinearDenoiser::fit(&data);
        let rows = rows(&data);
        let schedule = Schedule::cosine(10);
        let field = GaussianField::new(rows.t().dot(&rows) / 399.0, schedule.clone());
        let one = data.index_axis(Axis(0), 5).insert_axis(Axis(0)).to_owned();
        for t in [2, 5, 9] {
            let alpha_bar = schedule.alpha_bar(t);
            let many = 4000;
            let x_0 = one.broadcast((many, 2, 3, 1)).unwrap().to_owned();
            let eps: Batch = normal((many, 2, 3, 1), &mut stream(3, t as u64));
            let x_t = q_sample(&schedule, &x_0, &vec![t; many], &eps);
            let eps_hat = field.predict(&x_t, &vec![t; many]);
            let x_hat = (&x_t - &(eps_hat * (1.0 - alpha_bar).sqrt())) / alpha_bar.sqrt();
            let squares = (x_hat - &x_0).mapv(|d| d * d).into_shape_with_order((many, 6)).unwrap();
            let drawn = Estimate::of(&squares.mean_axis(Axis(1)).unwrap());
            let exact = linear.rmse(&one, alpha_bar)[0].powi(2);
            assert!((drawn.mean - exact).abs() < 4.0 * drawn.std_error, "t = {t}: {drawn} for {exact}");
        }
    }

    /// Where nothing is left of the image it is the mean's error.
    #[test]
    fn of_noise_alone_it_says_the_mean() {
        let x: Batch = normal((30, 2, 2, 1), &mut stream(1, 0));
        let from_mean = &x - &x.mean_axis(Axis(0)).unwrap();
        let expected = rows(&from_mean).map_axis(Axis(1), |r| (r.dot(&r) / 4.0).sqrt());
        let found = LinearDenoiser::fit(&x).rmse(&x, 0.0);
        assert!((found - expected).iter().all(|d| d.abs() < 1e-12));
    }

    #[test]
    #[should_panic(expected = "LinearDenoiser: 1 images have no covariance")]
    fn one_image_is_too_few() {
        LinearDenoiser::fit(&Batch::zeros((1, 2, 2, 1)));
    }
}
