//! A Gaussian with one mean and one variance per pixel: what each step of both chains is, and an autoencoder's posterior.

use super::batch::sum_per_image;
use super::gaussian::{kl_normal, log_normal};
use crate::tensor::Batch;
use ndarray::{Array1, Zip};

/// N(mean, exp(log_variance)), pixel by pixel.
#[derive(Clone, Debug, PartialEq)]
pub struct Normal {
    /// `[N, H, W, C]`
    pub mean: Batch,
    /// log σ², `[N, H, W, C]`
    pub log_variance: Batch,
}

impl Normal {
    /// N(0, I) in the shape of `like`.
    ///
    /// ```
    /// use ddpm::diffusion::Normal;
    /// use ndarray::Array4;
    /// let standard = Normal::standard(&Array4::zeros((1, 2, 2, 1)));
    /// assert_eq!(standard.kl(&standard)[0], 0.0);
    /// ```
    pub fn standard(like: &Batch) -> Normal {
        Normal { mean: Batch::zeros(like.raw_dim()), log_variance: Batch::zeros(like.raw_dim()) }
    }

    /// σ, `[N, H, W, C]`.
    ///
    /// ```
    /// use ddpm::{diffusion::Normal, tensor::Batch};
    /// let ones = Batch::ones((1, 2, 2, 1));
    /// let p = Normal { mean: ones.clone(), log_variance: 2.0 * &ones };
    /// assert_eq!(p.std()[[0, 0, 0, 0]], 1f64.exp());
    /// ```
    pub fn std(&self) -> Batch {
        self.log_variance.mapv(|v| (0.5 * v).exp())
    }

    /// `mean + σ noise`: a draw, if the noise is one of N(0, I). Shapes `[N, H, W, C]`.
    ///
    /// ```
    /// use ddpm::{diffusion::Normal, tensor::Batch};
    /// let (zeros, ones) = (Batch::zeros((1, 2, 2, 1)), Batch::ones((1, 2, 2, 1)));
    /// let p = Normal { mean: zeros.clone(), log_variance: 2.0 * &ones };
    /// assert_eq!(p.sample(&ones), p.std()); // one σ from a mean of 0
    /// assert_eq!(p.sample(&zeros), p.mean);
    /// ```
    pub fn sample(&self, noise: &Batch) -> Batch {
        &self.mean + &(self.std() * noise)
    }

    /// KL(self ‖ other) in nats, summed over each image: `[N]`.
    ///
    /// ```
    /// use ddpm::{diffusion::Normal, tensor::Batch};
    /// let (zeros, ones) = (Batch::zeros((1, 2, 2, 1)), Batch::ones((1, 2, 2, 1)));
    /// let p = Normal { mean: zeros.clone(), log_variance: 2.0 * &ones };
    /// let q = Normal::standard(&zeros);
    /// assert!(p.kl(&p)[0] == 0.0 && p.kl(&q)[0] > q.kl(&p)[0] && ones.sum() == 4.0); // it is not symmetric
    /// ```
    pub fn kl(&self, other: &Normal) -> Array1<f64> {
        let mut kl = Batch::zeros(self.mean.raw_dim());
        Zip::from(&mut kl)
            .and(&self.mean)
            .and(&self.log_variance)
            .and(&other.mean)
            .and(&other.log_variance)
            .for_each(|kl, &m1, &v1, &m2, &v2| *kl = kl_normal(m1, v1, m2, v2));
        sum_per_image(&kl)
    }

    /// log N(x; mean, σ²) in nats, summed over each image: `[N]`.
    ///
    /// ```
    /// use ddpm::{diffusion::Normal, tensor::Batch};
    /// let (zeros, ones) = (Batch::zeros((1, 2, 2, 1)), Batch::ones((1, 2, 2, 1)));
    /// let p = Normal { mean: zeros.clone(), log_variance: 2.0 * &ones };
    /// assert!(p.log_prob(&zeros)[0] > p.log_prob(&ones)[0]); // the mean is the likeliest
    /// ```
    pub fn log_prob(&self, x: &Batch) -> Array1<f64> {
        let mut log_prob = Batch::zeros(x.raw_dim());
        Zip::from(&mut log_prob)
            .and(x)
            .and(&self.mean)
            .and(&self.log_variance)
            .for_each(|log_prob, &x, &m, &v| *log_prob = log_normal(x, m, v));
        sum_per_image(&log_prob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{normal, stream};

    fn random(seed: u64) -> Normal {
        let draw = |n| normal((3, 4, 2, 2), &mut stream(seed, n));
        Normal { mean: draw(0), log_variance: draw(1) }
    }

    /// KL(p ‖ q) = E_p[log p − log q], by 20,000 draws of each pixel.
    #[test]
    fn kl_is_the_mean_of_a_log_ratio() {
        let (p, q) = (random(1), random(2));
        let draws = 20_000;
        let ratios = (0..draws).map(|n| {
            let x = p.sample(&normal(p.mean.raw_dim(), &mut stream(3, n)));
            p.log_prob(&x) - q.log_prob(&x)
        });
        let ratios: Vec<Array1<f64>> = ratios.collect();
        let kl = p.kl(&q);
        for image in 0..3 {
            let mean = ratios.iter().map(|r| r[image]).sum::<f64>() / draws as f64;
            let variance = ratios.iter().map(|r| (r[image] - mean).powi(2)).sum::<f64>() / draws as f64;
            let error = (variance / draws as f64).sqrt();
            assert!((mean - kl[image]).abs() < 4.0 * error, "{mean} ± {error}, not {}", kl[image]);
            assert!(kl[image] > 100.0 * error, "the draws say something");
        }
    }

    #[test]
    fn the_standard_one_by_hand() {
        let p = random(4);
        let by_hand = 0.5 * (&p.mean * &p.mean + p.log_variance.mapv(|v| v.exp() - 1.0 - v));
        let kl = p.kl(&Normal::standard(&p.mean));
        assert!((kl - sum_per_image(&by_hand)).iter().all(|d| d.abs() < 1e-12));
    }
}
