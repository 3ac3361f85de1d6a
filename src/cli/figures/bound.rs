//! The bound term by term (Eq. 5), rate and distortion (Fig. 5, Table 4), schedules and losses.

use super::studio::{Studio, garments};
use crate::cli::bound::{evaluate, table, variants, weights, write_all};
use crate::cli::data::as_batch;
use crate::cli::model::variance_name;
use crate::cli::say::show;
use anyhow::Result;
use ddpm::checkpoint::{GARMENTS, PAINTINGS, Shipped};
use ddpm::data::fashion_mnist_test;
use ddpm::diffusion::{Elbo, ElboOptions, Reverse, Schedule, ScheduleKind, rate_distortion};
use ddpm::figures::{self, LossCurve, ScheduleCurve};
use ddpm::quality::LinearDenoiser;
use ddpm::train::shipped_log;
use serde::Serialize;

/// Test images on which every one of the T terms is evaluated.
pub(super) const IMAGES: usize = 32;

/// Table 4 of the paper, on CIFAR10: T − t + 1, rate in bits/dim, RMSE on [0, 255].
const TABLE_4: [(usize, f64, f64); 10] = [
    (1000, 1.77581, 0.95136),
    (900, 0.11994, 12.02277),
    (800, 0.05415, 18.47482),
    (700, 0.02866, 24.43656),
    (600, 0.01507, 30.80948),
    (500, 0.00716, 38.03236),
    (400, 0.00282, 46.12765),
    (300, 0.00081, 54.18826),
    (200, 0.00013, 60.97170),
    (100, 0.00000, 67.60125),
];

#[derive(Serialize)]
struct Table4Row {
    reverse_time: usize,
    rate_bits_per_dim: f64,
    rmse: f64,
    /// of the best linear denoiser, and of the mean garment
    linear_rmse: f64,
    mean_rmse: f64,
    paper_cifar10_rate_bits_per_dim: f64,
    paper_cifar10_rmse: f64,
}

impl Studio {
    /// The bounds of the garments, with each choice of σ².
    pub(super) fn bounds(&self) -> &(Vec<Reverse>, Vec<Elbo>) {
        self.bounds.get_or_init(|| {
            let model = &self.garments.model;
            let (variants, images) = (variants(&model.reverse), as_batch(&garments(IMAGES)));
            let bounds = evaluate(model, &variants, &images, &ElboOptions::default(), self.seed);
            (variants, bounds)
        })
    }
}

/// The bound on test images with σ² = β and β̃, its weights, and the curves of Fig. 5.
pub(super) fn decomposition(studio: &Studio) -> Result<()> {
    let images = garments(IMAGES);
    let (variants, bounds) = studio.bounds();
    show!("{}\n", table(&images.name, variants, bounds));
    let weights: Vec<_> = variants.iter().map(|v| (variance_name(v), weights(v))).collect();
    let weights: Vec<(&str, &[(usize, f64)])> =
        weights.iter().map(|(name, w)| (*name, w.as_slice())).collect();
    studio.save("weights.png", &figures::elbo::weights(&weights))?;
    // what is left to be explained by a network, from the test images that are not evaluated
    let (schedule, x, test) = (&variants[0].schedule, as_batch(&images), fashion_mnist_test());
    let linear = LinearDenoiser::fit(&test.batch(&(IMAGES..test.len()).collect::<Vec<_>>()));
    let T = schedule.T();
    let at = |t: usize, alpha_bar| ((T - t + 1) as f64, linear.rmse_in_grey_levels(&x, alpha_bar).mean);
    let curve: Vec<_> = (1..=T).step_by(9).map(|t| at(t, schedule.alpha_bar(t))).collect();
    let mean = [1, T].map(|t| at(t, 0.0));
    let references: [(&str, &[(f64, f64)]); 2] = [("best linear denoiser", &curve), ("mean garment", &mean)];
    write_all(&studio.out, &images.name, variants, bounds, &references)?;

    let points = rate_distortion(&bounds[0]);
    let row = |(reverse_time, rate, rmse)| {
        let ours = points.iter().find(|p| p.reverse_time == reverse_time)?;
        Some(Table4Row {
            reverse_time,
            rate_bits_per_dim: ours.rate_bits_per_dim.mean,
            rmse: ours.rmse.mean,
            linear_rmse: linear.rmse_in_grey_levels(&x, schedule.alpha_bar(ours.t)).mean,
            mean_rmse: linear.rmse_in_grey_levels(&x, 0.0).mean,
            paper_cifar10_rate_bits_per_dim: rate,
            paper_cifar10_rmse: rmse,
        })
    };
    studio.save_csv("table4.csv", TABLE_4.into_iter().filter_map(row))
}

#[derive(Serialize)]
struct ScheduleRow {
    schedule: String,
    t: usize,
    alpha_bar: f64,
}

/// ᾱ_t and log-SNR of the four schedules.
pub(super) fn schedules(studio: &Studio) -> Result<()> {
    let curve = |kind: ScheduleKind| -> Result<ScheduleCurve> {
        let schedule: Schedule = kind.schedule(1000)?;
        let alpha_bar = (0..=1000).map(|t| schedule.alpha_bar(t)).collect();
        Ok(ScheduleCurve { name: kind.to_string(), alpha_bar })
    };
    let long = [ScheduleKind::Linear, ScheduleKind::Cosine, ScheduleKind::Quad, ScheduleKind::Sigmoid];
    let curves = long.into_iter().map(curve).collect::<Result<Vec<_>>>()?;
    let row = |(name, t, alpha_bar): (&str, usize, f64)| ScheduleRow { schedule: name.into(), t, alpha_bar };
    let rows =
        curves.iter().flat_map(|c| c.alpha_bar.iter().enumerate().map(|(t, &a)| (c.name.as_str(), t, a)));
    studio.save_csv("schedules.csv", rows.map(row))?;
    studio.save("schedules.png", &figures::schedules(&curves))
}

/// L_simple in the trainings of the two networks.
pub(super) fn losses(studio: &Studio) -> Result<()> {
    let curves = [&GARMENTS, &PAINTINGS].map(loss_curve).into_iter().collect::<Result<Vec<_>>>()?;
    studio.save("loss.png", &figures::loss_curves(&curves, 5))
}

/// The training of a shipped network as a curve.
pub(super) fn loss_curve(shipped: &Shipped) -> Result<LossCurve> {
    let log = shipped_log(shipped)?;
    Ok(LossCurve {
        name: shipped.name.into(),
        steps: log.iter().map(|row| row.step as f64).collect(),
        losses: log.iter().map(|row| row.loss).collect(),
    })
}
