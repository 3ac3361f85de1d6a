//! Sample quality: over the reverse process (Fig. 10), by class, and with fewer steps.

use super::studio::{JUDGED, Judge, Studio};
use crate::cli::sample::{Wish, fast};
use crate::cli::say::show;
use anyhow::Result;
use ddpm::data::{FASHION_MNIST_CLASSES, to_u8};
use ddpm::figures::{Chart, Figure, Scale};
use ddpm::tensor::Batch;
use serde::Serialize;
use serde_json::json;

/// Steps of the fast samplers.
const FAST: [usize; 4] = [5, 10, 20, 50];
/// Names of the axes.
const DISTANCE: &str = "Fréchet distance in the classifier's features";
const CONFIDENCE: &str = "classifier's mean confidence, %";

#[derive(Serialize)]
struct QualityRow {
    t: usize,
    reverse_steps: usize,
    frechet: f64,
    confidence: f64,
}

/// x̂_0 every fifty steps, judged like samples; and what classes the samples are of.
pub(super) fn over_the_reverse_process(studio: &Studio) -> Result<()> {
    let judge = studio.judge()?;
    let chains = studio.garments.chains(studio.seed);
    let T = studio.garments.model.reverse.schedule.T();
    let guesses = chains.steps.iter().map(|step| (step.t, &step.x0_hat)).chain([(0, &chains.x0)]);
    let row = |(t, x0_hat): (usize, &Batch)| {
        let (frechet, judgement) = judge.judge(&to_u8(x0_hat));
        QualityRow { t, reverse_steps: T - t, frechet, confidence: judgement.confidence() }
    };
    let rows: Vec<QualityRow> = guesses.map(row).collect();
    let column = |value: fn(&QualityRow) -> f64| rows.iter().map(value).collect::<Vec<_>>();
    let (steps, frechet) = (column(|r| r.reverse_steps as f64), column(|r| r.frechet));
    let confidence = column(|r| 100.0 * r.confidence);
    let panels = judged_panels("reverse process steps, T − t", Scale::Linear, judge, (0.0, T as f64));
    let [distance, sure] = panels;
    let charts =
        vec![distance.line("x\u{302}_{0}", &steps, &frechet), sure.line("x\u{302}_{0}", &steps, &confidence)];
    studio.save("quality.png", &Chart::panels(charts, 2, (620, 520)))?;
    studio.save_csv("quality.csv", &rows)?;
    classes(studio, judge)
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

/// What the classifier takes the samples for, beside the test set.
fn classes(studio: &Studio, judge: &Judge) -> Result<()> {
    let labels = ddpm::data::fashion_mnist_test().labels.unwrap_or_default();
    let (frechet, samples) = judge.judge(&to_u8(&studio.garments.chains(studio.seed).x0));
    let histogram = |counts: &[usize]| -> serde_json::Map<_, _> {
        FASHION_MNIST_CLASSES.iter().zip(counts).map(|(name, n)| (name.to_string(), json!(n))).collect()
    };
    let (test_histogram, test_confidence) = (judge.test.histogram(), judge.test.confidence());
    show!("{:12}{:>10}{:>12}", "class", "samples", "test images");
    let samples_histogram = samples.histogram();
    for (name, (n, m)) in FASHION_MNIST_CLASSES.iter().zip(samples_histogram.iter().zip(&test_histogram)) {
        show!("{name:12}{n:>10}{m:>12}");
    }
    show!("{:12}{:>10.3}{test_confidence:>12.3}\n", "confidence", samples.confidence());
    let value = json!({
        "classifier_test_accuracy": judge.test.accuracy(&labels),
        "samples": { "images": JUDGED, "classes": histogram(&samples_histogram), "confidence": samples.confidence(), "frechet": frechet },
        "test": { "images": labels.len(), "classes": histogram(&test_histogram), "confidence": test_confidence, "frechet_of_64": judge.floor },
    });
    studio.save_json("classes.json", &value)
}

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
