//! Table 1's trade-off: a network trained for pictures, and the same one trained on for the bound.

use super::studio::{IMAGES, STEPS, Studio, garments, short_chains, stored, subscripts};
use crate::cli::bound::evaluate;
use crate::cli::data::as_batch;
use crate::cli::progress::Progress;
use crate::cli::say::show;
use anyhow::Result;
use ddpm::checkpoint::{LIKELIHOOD, Pretrained};
use ddpm::data::to_u8;
use ddpm::diffusion::{ElboOptions, TimeSteps};
use ddpm::figures::{Dots, Scale};
use ddpm::tensor::Batch;
use ndarray::{Axis, concatenate};
use serde::{Deserialize, Serialize};

/// Strata of t of each image's bound.
const TIMES: usize = 30;
/// How many samples of each are shown.
const SHOWN: usize = 10;

/// A row of tradeoff.csv. Errors are those of the images.
#[derive(Deserialize, Serialize)]
struct Row {
    minimised: String,
    variance: String,
    bits_per_dim: f64,
    std_error: f64,
    rate: f64,
    distortion: f64,
    frechet: f64,
    frechet_error: f64,
    kernel: f64,
    kernel_error: f64,
    confidence: f64,
    confidence_error: f64,
}

pub(super) fn table(studio: &Studio) -> Result<()> {
    let likelihood = LIKELIHOOD.load()?;
    let networks = [(&studio.garments.model, "L_simple"), (&likelihood, "L_vlb")];
    let rows: Vec<Row> = match studio.all {
        true => {
            let drawn = [studio.thousand().x0.clone(), samples(&likelihood, IMAGES, studio.seed)];
            let both = networks.into_iter().zip(&drawn);
            both.map(|(network, drawn)| row(studio, network, drawn)).collect::<Result<_>>()?
        }
        false => stored(include_str!("../../../figures/tradeoff.csv")),
    };
    show!("{:10}{:16}{:>18}{:>18}{:>20}", "minimised", "variance", "bits/dim", "Fréchet", "kernel, ×1000");
    for r in &rows {
        let bits = format!("{:.3} ± {:.3}", r.bits_per_dim, r.std_error);
        let frechet = format!("{:.2} ± {:.2}", r.frechet, r.frechet_error);
        let kernel = format!("{:.2} ± {:.2}", 1e3 * r.kernel, 1e3 * r.kernel_error);
        show!("{:10}{:16}{bits:>18}{frechet:>18}{kernel:>20}", r.minimised, r.variance);
    }
    show!("");
    let shown = networks.map(|(model, _)| samples(model, SHOWN, studio.seed));
    let column = |value: fn(&Row) -> (f64, f64)| rows.iter().map(value).collect::<Vec<_>>();
    let dots = Dots::new(rows.iter().map(|r| subscripts(&r.minimised)))
        .column("bits/dim", Scale::Linear, &column(|r: &Row| (r.bits_per_dim, r.std_error)))
        .column("Fréchet distance", Scale::Linear, &column(|r: &Row| (r.frechet, r.frechet_error)))
        .reference("test images", studio.judge()?.real.floor)
        .images(&to_u8(&concatenate![Axis(0), shown[0], shown[1]]));
    studio.save("tradeoff.png", &dots.figure())?;
    studio.save_csv("tradeoff.csv", rows)
}

/// A network's bound on the first thousand test images, with the noises that both have, and what a classifier makes of its
/// samples.
fn row(studio: &Studio, (model, minimised): (&Pretrained, &str), drawn: &Batch) -> Result<Row> {
    let time_steps = TimeSteps::Stratified { count: TIMES, seed: studio.seed };
    let options = ElboOptions { time_steps, ..ElboOptions::default() };
    let variants = [model.reverse.clone()];
    let bound = evaluate(model, &variants, &as_batch(&garments(IMAGES)), &options, studio.seed).remove(0);
    let judge = studio.judge()?;
    let judged = judge.classifier.judge(&to_u8(drawn));
    let [frechet, kernel, sure] = judge.real.measures(&judged);
    let total = bound.bits_per_dim();
    Ok(Row {
        minimised: minimised.into(),
        variance: model.reverse.variance.to_string(),
        bits_per_dim: total.mean,
        std_error: total.std_error,
        rate: bound.rate().mean,
        distortion: bound.distortion().mean,
        frechet: frechet.mean,
        frechet_error: frechet.std_error,
        kernel: kernel.mean,
        kernel_error: kernel.std_error,
        confidence: sure.mean,
        confidence_error: sure.std_error,
    })
}

/// Both from the same x_T with the same noises.
fn samples(model: &Pretrained, n: usize, seed: u64) -> Batch {
    let progress =
        Progress::new(format!("{n} samples of the network with variance {}", model.reverse.variance), 0);
    let x0 = short_chains(model, STEPS, n, seed);
    progress.finish();
    x0
}
