//! Progressive lossy compression: what has been paid at time t, and what it shows (section 4.3, Fig. 5, Table 4).

use super::{Elbo, Estimate, bits_per_dim};
use ndarray::Array2;

/// One point of the curves of Fig. 5; one row of Table 4.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatePoint {
    /// t of 1..=T: the receiver holds x_t
    pub t: usize,
    /// T − t + 1, the paper's "reverse process time"
    pub reverse_time: usize,
    /// bits per dimension sent so far: L_T + Σ_{s > t} L_{s−1}
    pub rate_bits_per_dim: Estimate,
    /// distortion √(‖x_0 − x̂_0(x_t)‖²/D) in grey levels of 0..=255
    pub rmse: Estimate,
}

/// The rate–distortion curve of a data set, from t = T (nothing sent but L_T) down to t = 1.
///
/// A receiver who holds x_t has paid for L_T and for the steps T, …, t + 1, and shows x̂_0(x_t). L_0 is never
/// rate: it is the cost of the last, lossless step. The root is taken per image and then averaged over the
/// images (the paper's formula reads so; its released code keeps only the squares).
///
/// # Panics
/// Unless the bound was evaluated at all t.
///
/// ```
/// use ddpm::diffusion::{ElboOptions, Noise, Reverse, Schedule, elbo, rate_distortion, oracle::GaussianWorld};
/// use ddpm::tensor::Batch;
/// let schedule = Schedule::cosine(10);
/// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
/// let data = Batch::zeros((3, 2, 2, 1));
/// let (reverse, options) = (Reverse::new(schedule), ElboOptions::default());
/// let bound = elbo(&world, &reverse, &data, &options, &Noise::seed(1));
/// let points = rate_distortion(&bound);
/// assert!(points[0].rate_bits_per_dim.mean < points.last().unwrap().rate_bits_per_dim.mean); // it grows on the way down
/// ```
#[track_caller]
pub fn rate_distortion(bound: &Elbo) -> Vec<RatePoint> {
    let (rate, rmse) = (bound.rate_bits_per_dim(), bound.rmse());
    let point = |t: usize| RatePoint {
        t,
        reverse_time: bound.T - t + 1,
        rate_bits_per_dim: Estimate::of(&rate.column(t - 1).to_owned()),
        rmse: Estimate::of(&rmse.column(t - 1).to_owned()),
    };
    (1..=bound.T).rev().map(point).collect()
}

impl Elbo {
    /// Rate of each image when the receiver holds x_t: L_T + Σ_{s > t} L_{s−1}, bits per dimension, `[N, T]` with
    /// t = 1 in column 0.
    ///
    /// # Panics
    /// Unless all t were evaluated.
    ///
    /// ```
    /// use ddpm::diffusion::{ElboOptions, Noise, Reverse, Schedule, elbo, oracle::GaussianWorld};
    /// use ddpm::tensor::Batch;
    /// let schedule = Schedule::cosine(10);
    /// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
    /// let data = Batch::zeros((3, 2, 2, 1));
    /// let (reverse, options) = (Reverse::new(schedule), ElboOptions::default());
    /// let bound = elbo(&world, &reverse, &data, &options, &Noise::seed(1));
    /// assert_eq!(bound.rate_bits_per_dim().dim(), bound.L.dim());
    /// ```
    #[track_caller]
    pub fn rate_bits_per_dim(&self) -> Array2<f64> {
        assert_eq!(self.t.dim().1, self.T, "rate_distortion: the bound must be evaluated at all t");
        let mut rate = self.L.clone();
        for (mut row, &prior) in rate.outer_iter_mut().zip(&self.L_T) {
            let mut sent = prior;
            for term in row.iter_mut().rev() {
                // x_t arrives before the step t → t − 1 is paid
                sent += std::mem::replace(term, bits_per_dim(sent, self.dims));
            }
        }
        rate
    }

    /// √(‖x_0 − x̂_0(x_t)‖²/D) of each image in grey levels of 0..=255, `[N, K]`.
    ///
    /// ```
    /// use ddpm::diffusion::{ElboOptions, Noise, Reverse, Schedule, elbo, oracle::GaussianWorld};
    /// use ddpm::tensor::Batch;
    /// let schedule = Schedule::cosine(10);
    /// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
    /// let data = Batch::zeros((3, 2, 2, 1));
    /// let (reverse, options) = (Reverse::new(schedule), ElboOptions::default());
    /// let bound = elbo(&world, &reverse, &data, &options, &Noise::seed(1));
    /// assert!(bound.rmse().iter().all(|&levels| (0.0..255.0).contains(&levels)));
    /// ```
    pub fn rmse(&self) -> Array2<f64> {
        self.x0_mse.mapv(|mse| 127.5 * mse.sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, array};

    fn bound() -> Elbo {
        Elbo {
            T: 3,
            dims: 1,
            L_T: array![1.0],
            t: array![[1, 2, 3]],
            L: array![[100.0, 10.0, 5.0]],
            weight: Array1::ones(3),
            eps_mse: Array2::zeros((1, 3)),
            x0_mse: array![[0.0, 1.0, 4.0]],
        }
    }

    #[test]
    fn the_rate_counts_what_was_sent_before() {
        let points = rate_distortion(&bound());
        let rates: Vec<_> = points.iter().map(|p| (p.t, p.rate_bits_per_dim.mean * 2f64.ln())).collect();
        for ((t, rate), (t_is, rate_is)) in rates.iter().zip([(3, 1.0), (2, 6.0), (1, 16.0)]) {
            assert_eq!(*t, t_is);
            assert!((rate - rate_is).abs() < 1e-12);
        }
        assert_eq!(points[0].reverse_time, 1);
        assert_eq!(points[0].rmse.mean, 255.0);
    }

    #[test]
    #[should_panic(expected = "rate_distortion: the bound must be evaluated at all t")]
    fn a_subset_of_t_has_no_curve() {
        rate_distortion(&Elbo { T: 4, ..bound() });
    }
}
