//! Fewer steps than T: DDIM, with and without its noise.

use super::quality::{CONFIDENCE, DISTANCE};
use super::studio::{JUDGED, Judge, Studio};
use crate::cli::sample::{Wish, fast};
use anyhow::Result;
use ddpm::data::to_u8;
use ddpm::figures::{Chart, Figure, Scale};
use ddpm::tensor::Batch;
use serde::Serialize;

/// Steps of the fast samplers.
const FAST: [usize; 4] = [5, 10, 20, 50];

/// A row of fast_sampling.csv.
#[derive(Serialize)]
struct FastRow {
    sampler: String,
    steps: usize,
    frechet: f64,
    confidence: f64,
}

/// DDIM with η = 0 and 1, beside Algorithm 2 with all steps; all begin with the same x_T.
pub(super) fn fast_sampling(studio: &Studio) -> Result<()> {
    let judge = studio.judge()?;
    let row = |sampler: &str, steps, x0: &Batch| {
        let (frechet, judgement) = judge.judge(&to_u8(x0));
        FastRow { sampler: sampler.into(), steps, frechet, confidence: judgement.confidence() }
    };
    let model = &studio.garments.model;
    let mut rows = Vec::new();
    for (name, eta) in [("DDIM, η = 0", 0.0), ("DDIM, η = 1", 1.0)] {
        rows.extend(
            FAST.map(|steps| row(name, steps, &fast(model, &Wish::new(JUDGED, studio.seed), steps, eta))),
        );
    }
    let T = model.reverse.schedule.T();
    rows.push(row("Algorithm 2", T, &studio.garments.chains(studio.seed).x0));
    studio.save("fast_sampling.png", &fast_figure(&rows, judge))?;
    studio.save_csv("fast_sampling.csv", rows)
}

fn fast_figure(rows: &[FastRow], judge: &Judge) -> Figure {
    let most = rows.iter().map(|row| row.steps).max().unwrap_or(1) as f64;
    let [mut distance, mut sure] = judged_panels("steps", Scale::Log, judge, (FAST[0] as f64, most));
    for part in rows.chunk_by(|a, b| a.sampler == b.sampler) {
        let column = |value: fn(&FastRow) -> f64| part.iter().map(value).collect::<Vec<_>>();
        let (steps, frechet) = (column(|r| r.steps as f64), column(|r| r.frechet));
        let confidence = column(|r| 100.0 * r.confidence);
        let name = &part[0].sampler;
        if part.len() == 1 {
            (distance, sure) =
                (distance.points(name, &steps, &frechet), sure.points(name, &steps, &confidence));
        } else {
            distance = distance.line(name, &steps, &frechet).marks(&steps, &frechet);
            sure = sure.line(name, &steps, &confidence).marks(&steps, &confidence);
        }
    }
    Chart::panels(vec![distance, sure], 2, (620, 560))
}

/// Distance and confidence over something, each with the line of real images.
fn judged_panels(x: &str, x_scale: Scale, judge: &Judge, (from, to): (f64, f64)) -> [Chart; 2] {
    let real = format!("{JUDGED} test images");
    let sure = 100.0 * judge.test.confidence();
    [
        Chart::new(x, DISTANCE).scales(x_scale, Scale::Log).reference(&real, &[from, to], &[judge.floor; 2]),
        Chart::new(x, CONFIDENCE).scales(x_scale, Scale::Linear).reference(
            "test images",
            &[from, to],
            &[sure; 2],
        ),
    ]
}
