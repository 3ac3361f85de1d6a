//! What many samples are held against: as many real images.

use ddpm::diffusion::Estimate;
use ddpm::quality::{Judgement, Moments, frechet_distance};
use ndarray::{Array2, Axis};

/// Parts of the jackknife.
const PARTS: usize = 8;

/// Test images, and how far as many of them as there are samples lie from the others.
pub(super) struct Real {
    moments: Moments,
    /// what a perfect sampler would have
    pub(super) floor: f64,
}

impl Real {
    /// The first `n` are held against the others, and so are samples.
    pub(super) fn new(n: usize, test: &Judgement) -> Real {
        let (first, others) = test.features.view().split_at(Axis(0), n);
        let moments = Moments::of(&others.to_owned());
        let floor = frechet_distance(&Moments::of(&first.to_owned()), &moments);
        Real { moments, floor }
    }

    /// The Fréchet distance of samples, its standard error by the jackknife: how it changes without an eighth of them.
    pub(super) fn distance(&self, features: &Array2<f64>) -> Estimate {
        let distance = |chosen: &dyn Fn(usize) -> bool| {
            let rows: Vec<usize> = (0..features.nrows()).filter(|&i| chosen(i)).collect();
            frechet_distance(&Moments::of(&features.select(Axis(0), &rows)), &self.moments)
        };
        let parts: Vec<f64> = (0..PARTS).map(|part| distance(&|i| i % PARTS != part)).collect();
        let k = PARTS as f64;
        let mean = parts.iter().sum::<f64>() / k;
        let spread: f64 = parts.iter().map(|part| (part - mean).powi(2)).sum();
        Estimate { mean: distance(&|_| true), std_error: ((k - 1.0) / k * spread).sqrt() }
    }
}
