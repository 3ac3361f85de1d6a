//! Table 2: what is predicted, which variance, which loss; six small networks of equal size and training, and a seventh
//! with Nichol and Dhariwal's L_hybrid.

use super::bound::loss_curve;
use super::studio::{IMAGES, Studio, garments, short_chains, stored, subscripts};
use crate::cli::data::as_batch;
use crate::cli::progress::Progress;
use crate::cli::say::show;
use anyhow::Result;
use ddpm::checkpoint::{ABLATION, Pretrained, Shipped};
use ddpm::data::to_u8;
use ddpm::diffusion::{ElboOptions, Noise, TimeSteps, elbo};
use ddpm::figures::{Dots, Scale};
use ndarray::{Axis, concatenate};
use serde::{Deserialize, Serialize};

/// Test images of each bound, and strata of t for each; the same for every network.
const BOUND: (usize, usize) = (500, 20);
/// How many samples of each are shown.
const SHOWN: usize = 10;
/// Steps of the samplers.
const STEPS: usize = 50;
/// What the raw pixels need. A network whose bound is above it has not learned the distribution.
const RAW: f64 = 8.0;

/// A row of ablation.csv.
#[derive(Deserialize, Serialize)]
struct Row {
    run: String,
    predicts: String,
    objective: String,
    /// of the training
    steps: u64,
    bits_per_dim: f64,
    std_error: f64,
    rate: f64,
    distortion: f64,
    frechet: f64,
    frechet_error: f64,
    kernel: f64,
    kernel_error: f64,
    confidence: f64,
    /// the largest factor by which the logged loss rose above its lowest value so far: how unsteady the training was
    loss_rise: f64,
    /// IS and FID of the paper on CIFAR10; absent where it has none
    paper_is: Option<f64>,
    paper_fid: Option<f64>,
}

/// The objective of a run, and the paper's IS and FID for it.
fn objective(run: &str) -> (&'static str, Option<(f64, f64)>) {
    match run {
        "mu_learned" => ("L, learned diagonal Σ", Some((7.28, 23.69))),
        "mu_fixed" => ("L, fixed isotropic Σ", Some((8.06, 13.22))),
        "mu_mse" => ("mean squared error", None),
        "eps_learned" => ("L, learned diagonal Σ", None),
        "eps_fixed" => ("L, fixed isotropic Σ", Some((7.67, 13.51))),
        "eps_simple" => ("mean squared error (L_simple)", Some((9.46, 3.17))),
        _ => ("L_hybrid, learned range of Σ, t by importance", None),
    }
}

pub(super) fn table(studio: &Studio) -> Result<()> {
    let progress = Progress::new("ablation", ABLATION.len());
    let (mut rows, mut shown) = (Vec::new(), Vec::new());
    for run in &ABLATION {
        let model = run.load()?;
        if studio.all {
            rows.push(row(studio, run, &model)?);
        }
        shown.push(short_chains(&model, STEPS, SHOWN, studio.seed));
        progress.step(run.name);
    }
    progress.finish();
    if !studio.all {
        rows = stored(include_str!("../../../figures/ablation.csv"));
    }
    show!("{:5}{:48}{:>18}{:>18}", "", "objective", "bits/dim", "Fréchet");
    for r in &rows {
        let bits = format!("{:.3} ± {:.3}", r.bits_per_dim, r.std_error);
        let frechet = format!("{:.1} ± {:.1}", r.frechet, r.frechet_error);
        let note = if r.bits_per_dim < RAW { "" } else { "  worse than raw pixels" };
        show!("{:5}{:48}{bits:>18}{frechet:>18}{note}", symbol(&r.predicts), r.objective);
    }
    show!("");
    let column = |value: fn(&Row) -> (f64, f64)| rows.iter().map(value).collect::<Vec<_>>();
    let names = rows.iter().map(|r| format!("{}: {}", symbol(&r.predicts), subscripts(&r.objective)));
    let views: Vec<_> = shown.iter().map(|x| x.view()).collect();
    let dots = Dots::new(names)
        .column("bits/dim", Scale::Log, &column(|r: &Row| (r.bits_per_dim, r.std_error)))
        .column("Fréchet distance", Scale::Log, &column(|r: &Row| (r.frechet, r.frechet_error)))
        .reference("test images", studio.judge()?.real.floor)
        .images(&to_u8(&concatenate(Axis(0), &views)?));
    studio.save("ablation.png", &dots.figure())?;
    studio.save_csv("ablation.csv", rows)
}

/// The bound and the samples of one network, with the noises that all have.
fn row(studio: &Studio, run: &Shipped, model: &Pretrained) -> Result<Row> {
    let curve = loss_curve(run)?;
    let time_steps = TimeSteps::Stratified { count: BOUND.1, seed: studio.seed };
    let options = ElboOptions { time_steps, ..ElboOptions::default() };
    let images = as_batch(&garments(BOUND.0));
    let bound = elbo(&model.unet, &model.reverse, &images, &options, &Noise::seed(studio.seed));
    let judge = studio.judge()?;
    let judged = judge.classifier.judge(&to_u8(&short_chains(model, STEPS, IMAGES, studio.seed)));
    let [frechet, kernel, sure] = judge.real.measures(&judged);
    let total = bound.bits_per_dim();
    let (objective, paper) = objective(run.name);
    Ok(Row {
        run: run.name.into(),
        predicts: model.reverse.prediction.to_string(),
        objective: objective.into(),
        steps: curve.steps.last().map_or(0, |&steps| steps as u64),
        bits_per_dim: total.mean,
        std_error: total.std_error,
        rate: bound.rate().mean,
        distortion: bound.distortion().mean,
        frechet: frechet.mean,
        frechet_error: frechet.std_error,
        kernel: kernel.mean,
        kernel_error: kernel.std_error,
        confidence: sure.mean,
        loss_rise: largest_rise(&curve.losses),
        paper_is: paper.map(|p| p.0),
        paper_fid: paper.map(|p| p.1),
    })
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
