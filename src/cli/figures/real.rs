//! What many samples are held against: as many real images.

use ddpm::diffusion::Estimate;
use ddpm::quality::{Judgement, KernelReference, Moments, frechet_distance, jackknife};
use ndarray::{Array2, Axis};
use std::cell::OnceCell;

/// Parts of the jackknife.
pub(in crate::cli) const PARTS: usize = 8;

/// Test images, and how far as many of them as there are samples lie from the others.
pub(in crate::cli) struct Real {
    moments: Moments,
    features: Array2<f64>,
    /// of them, when it is first asked for: 81 million pairs
    kernel: OnceCell<KernelReference>,
    /// what a perfect sampler would have
    pub(in crate::cli) floor: f64,
}

impl Real {
    /// The first `n` are held against the others, and so are samples.
    pub(in crate::cli) fn new(n: usize, test: &Judgement) -> Real {
        let (first, others) = test.features.view().split_at(Axis(0), n);
        let (first, features) = (first.to_owned(), others.to_owned());
        let moments = Moments::of(&features);
        let floor = frechet_distance(&Moments::of(&first), &moments);
        Real { moments, features, kernel: OnceCell::new(), floor }
    }

    /// The Fréchet distance of samples and its standard error.
    pub(in crate::cli) fn distance(&self, features: &Array2<f64>) -> Estimate {
        jackknife(features.nrows(), PARTS, |rows| {
            frechet_distance(&Moments::of(&features.select(Axis(0), rows)), &self.moments)
        })
    }

    /// Fréchet distance, kernel distance, and how sure the classifier is.
    pub(super) fn measures(&self, judged: &Judgement) -> [Estimate; 3] {
        let sure = Estimate::of(&judged.confidences());
        [self.distance(&judged.features), self.kernel_distance(&judged.features), sure]
    }

    /// Their kernel distance and its standard error.
    pub(in crate::cli) fn kernel_distance(&self, features: &Array2<f64>) -> Estimate {
        let real = self.kernel.get_or_init(|| KernelReference::new(self.features.clone()));
        jackknife(features.nrows(), PARTS, |rows| real.distance(&features.select(Axis(0), rows)))
    }
}
