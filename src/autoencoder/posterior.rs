//! q(z|x): what the encoder says of the latent.

use crate::diffusion::Normal;
use crate::tensor::Batch;
use ndarray::Axis;

/// log σ² is clamped to this range, outside of which it has no gradient.
const LOG_VARIANCE: (f64, f64) = (-30.0, 20.0);

/// A Gaussian whose moments a network has made.
#[derive(Clone, Debug)]
pub struct Posterior {
    /// mean and log σ², `[N, h, w, C]`
    pub normal: Normal,
    /// 1 where log σ² is what the network said, 0 where it was clamped
    unclamped: Batch,
}

impl Posterior {
    /// From moments `[N, h, w, 2C]`: C means, and C log variances, which are clamped to [−30, 20].
    ///
    /// # Panics
    /// If the number of channels is odd.
    #[track_caller]
    pub fn new(moments: &Batch) -> Posterior {
        let channels = moments.len_of(Axis(3));
        assert!(
            channels.is_multiple_of(2),
            "posterior: {channels} channels, not two for each of the latent's"
        );
        let (mean, log_variance) = moments.view().split_at(Axis(3), channels / 2);
        let (least, most) = LOG_VARIANCE;
        Posterior {
            normal: Normal {
                mean: mean.to_owned(),
                log_variance: log_variance.mapv(|v| v.clamp(least, most)),
            },
            unclamped: log_variance.mapv(|v| f64::from((least..=most).contains(&v))),
        }
    }

    /// ∂/∂moments of `Σ dz · z`, for `z = mean + σ noise`: `d mean = dz`, `d log σ² = dz σ noise / 2`.
    pub fn backward_sample(&self, noise: &Batch, dz: &Batch) -> Batch {
        let d_log_variance = dz * noise * self.normal.std() * 0.5;
        self.moments(dz, d_log_variance)
    }

    /// ∂/∂moments of `Σ KL(q ‖ N(0, I))`: `d mean = mean`, `d log σ² = (σ² − 1) / 2`.
    pub fn backward_kl(&self) -> Batch {
        self.moments(&self.normal.mean, self.normal.log_variance.mapv(|v| 0.5 * v.exp_m1()))
    }

    /// The gradients of mean and log σ² as one of the moments.
    fn moments(&self, d_mean: &Batch, d_log_variance: Batch) -> Batch {
        let (n, h, w, channels) = d_mean.dim();
        let mut moments = Batch::zeros((n, h, w, 2 * channels));
        let (mut mean, mut log_variance) = moments.view_mut().split_at(Axis(3), channels);
        mean.assign(d_mean);
        log_variance.assign(&(d_log_variance * &self.unclamped));
        moments
    }
}
