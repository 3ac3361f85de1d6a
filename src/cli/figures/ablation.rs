//! Table 2: what is predicted, which variance, which loss; six small networks of equal size and training, and a seventh
//! with Nichol and Dhariwal's L_hybrid.

use super::bound::loss_curve;
use super::studio::{JUDGED, Studio, garments};
use crate::cli::data::as_batch;
use crate::cli::model::image_shape;
use crate::cli::progress::Progress;
use crate::cli::say::show;
use anyhow::Result;
use ddpm::checkpoint::{ABLATION, Pretrained, Shipped};
use ddpm::data::to_u8;
use ddpm::diffusion::{ElboOptions, Noise, TimeSteps, elbo, respace, sample};
use ddpm::figures::{Chart, LossCurve, Scale};
use ddpm::tensor::Batch;
use serde::Serialize;

/// Test images of each bound, and strata of t for each; the same for every network.
const BOUND: (usize, usize) = (128, 20);
/// Steps of the samplers.
const STEPS: usize = 100;
/// What the raw pixels need. A network whose bound is above it has not learned the distribution.
const RAW: f64 = 8.0;

/// A row of ablation.csv.
#[derive(Serialize)]
struct Row {
    run: &'static str,
    predicts: String,
    objective: &'static str,
    bits_per_dim: f64,
    std_error: f64,
    rate: f64,
    distortion: f64,
    frechet: f64,
    confidence: f64,
    /// the largest factor by which the logged loss rose above its lowest value so far: how unsteady the training was
    loss_rise: f64,
    /// IS and FID of the paper on CIFAR10; absent where it has none
    paper_is: Option<f64>,
    paper_fid: Option<f64>,
}

/// The objective of a run, the unit of its loss, and the paper's IS and FID for it.
fn objective(run: &str) -> (&'static str, &'static str, Option<(f64, f64)>) {
    let (bits, mse) = ("L, bits/dim", "mean squared error");
    match run {
        "mu_learned" => ("L, learned diagonal Σ", bits, Some((7.28, 23.69))),
        "mu_fixed" => ("L, fixed isotropic Σ", bits, Some((8.06, 13.22))),
        "mu_mse" => ("mean squared error", mse, None),
        "eps_learned" => ("L, learned diagonal Σ", bits, None),
        "eps_fixed" => ("L, fixed isotropic Σ", bits, Some((7.67, 13.51))),
        "eps_simple" => ("mean squared error (L_simple)", mse, Some((9.46, 3.17))),
        _ => ("L_hybrid, learned range of Σ, t by importance", "L_{hybrid}", None),
    }
}

pub(super) fn table(studio: &Studio) -> Result<()> {
    let progress = Progress::new("ablation", ABLATION.len());
    let curves = ABLATION.iter().map(loss_curve).collect::<Result<Vec<_>>>()?;
    let images = as_batch(&garments(BOUND.0));
    let watched = |(run, curve): (&Shipped, &LossCurve)| {
        let row = row(studio, run, curve, &images);
        progress.step(run.name);
        row
    };
    let rows = ABLATION.iter().zip(&curves).map(watched).collect::<Result<Vec<_>>>()?;
    progress.finish();
    show!("{:5}{:48}{:>18}{:>10}{:>12}", "", "objective", "bits/dim", "Fréchet", "confidence");
    for r in &rows {
        let bits = format!("{:.3} ± {:.3}", r.bits_per_dim, r.std_error);
        let note = if r.bits_per_dim < RAW { "" } else { "  worse than raw pixels" };
        show!(
            "{:5}{:48}{bits:>18}{:>10.2}{:>12.3}{note}",
            symbol(&r.predicts),
            r.objective,
            r.frechet,
            r.confidence
        );
    }
    show!("");
    let charts = curves.iter().zip(&rows).map(|(curve, row)| panel(curve, row)).collect();
    studio.save("ablation.png", &Chart::panels(charts, 3, (560, 440)))?;
    studio.save_csv("ablation.csv", rows)
}

/// The bound and the samples of one network, with the noises that all have.
fn row(studio: &Studio, run: &Shipped, curve: &LossCurve, images: &Batch) -> Result<Row> {
    let model = run.load()?;
    let time_steps = TimeSteps::Stratified { count: BOUND.1, seed: studio.seed };
    let options = ElboOptions { time_steps, ..ElboOptions::default() };
    let noise = Noise::seed(studio.seed);
    let bound = elbo(&model.unet, &model.reverse, images, &options, &noise);
    let (frechet, judgement) = studio.judge()?.judge(&to_u8(&samples(&model, studio.seed)));
    let total = bound.bits_per_dim();
    let (objective, _, paper) = objective(run.name);
    Ok(Row {
        run: run.name,
        predicts: model.reverse.prediction.to_string(),
        objective,
        bits_per_dim: total.mean,
        std_error: total.std_error,
        rate: bound.rate().mean,
        distortion: bound.distortion().mean,
        frechet,
        confidence: judgement.confidence(),
        loss_rise: largest_rise(&curve.losses),
        paper_is: paper.map(|p| p.0),
        paper_fid: paper.map(|p| p.1),
    })
}

fn samples(model: &Pretrained, seed: u64) -> Batch {
    let [h, w, c] = image_shape(model);
    let (short, reverse) = respace(&model.unet, &model.reverse, STEPS);
    sample(&short, &reverse, [JUDGED, h, w, c], &Noise::seed(seed))
}

/// max over j > i of loss_j / loss_i; 1 if the losses only fall.
fn largest_rise(losses: &[f64]) -> f64 {
    let (_, rise) = losses.iter().fold((f64::INFINITY, 1.0), |(lowest, rise), &loss| {
        let lowest = loss.min(lowest);
        (lowest, f64::max(rise, loss / lowest))
    });
    rise
}

/// How figures and tables write a prediction.
fn symbol(predicts: &str) -> &'static str {
    match predicts {
        "mu_tilde" => "μ\u{303}",
        "eps" => "ε",
        _ => "x_0",
    }
}

/// A training's loss; losses of different objectives can't share an axis.
fn panel(curve: &LossCurve, row: &Row) -> Chart {
    let subscripts = |text: &str| text.replace("L_simple", "L_{simple}").replace("L_hybrid", "L_{hybrid}");
    let (_, unit, _) = objective(row.run);
    Chart::new("training step", unit)
        .title(format!("{}: {}", symbol(&row.predicts), subscripts(row.objective)))
        .scales(Scale::Linear, Scale::Log)
        .line("", &curve.steps, &curve.losses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_rise_is_counted_from_the_lowest_loss_before_it() {
        assert_eq!(largest_rise(&[8.0, 4.0, 2.0]), 1.0);
        assert_eq!(largest_rise(&[8.0, 2.0, 3.0, 1.0, 1.25]), 1.5);
        assert!(largest_rise(&[1.0, f64::INFINITY]).is_infinite());
    }
}
