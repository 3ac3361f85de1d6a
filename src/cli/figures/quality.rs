//! Sample quality: over the reverse process (Fig. 10), by class, and with fewer steps. Each point is a thousand images.

use super::real::Real;
use super::studio::{IMAGES, STEPS, Studio, stored};
use crate::cli::sample::{Wish, fast};
use crate::cli::say::show;
use anyhow::Result;
use ddpm::data::{FASHION_MNIST_CLASSES, to_u8};
use ddpm::figures::{Chart, Scale};
use ddpm::quality::Judgement;
use ddpm::tensor::Batch;
use serde::{Deserialize, Serialize};

/// Steps of the fast samplers.
const FAST: [usize; 4] = [5, 10, 20, 50];
/// Names of the axes.
const DISTANCE: &str = "Fréchet distance in the classifier's features";
const KERNEL: &str = "kernel distance in the same features";
const CONFIDENCE: &str = "classifier's mean confidence, %";
/// What the test set is called.
const TEST: &str = "test images";

/// Images of one kind, judged.
#[derive(Deserialize, Serialize)]
struct Row {
    images: String,
    /// that were taken
    steps: usize,
    frechet: f64,
    frechet_error: f64,
    kernel: f64,
    kernel_error: f64,
    confidence: f64,
    confidence_error: f64,
}

impl Row {
    fn new(images: &str, steps: usize, real: &Real, judged: &Judgement) -> Row {
        let [frechet, kernel, sure] = real.measures(judged);
        Row {
            images: images.into(),
            steps,
            frechet: frechet.mean,
            frechet_error: frechet.std_error,
            kernel: kernel.mean,
            kernel_error: kernel.std_error,
            confidence: sure.mean,
            confidence_error: sure.std_error,
        }
    }

    /// What the three panels show, each with its error.
    fn shown(&self) -> [(f64, f64); 3] {
        [
            (self.frechet, self.frechet_error),
            (self.kernel, self.kernel_error),
            (100.0 * self.confidence, 100.0 * self.confidence_error),
        ]
    }
}

/// How many samples and test images are of a class.
#[derive(Deserialize, Serialize)]
struct ClassRow {
    class: String,
    samples: usize,
    test_images: usize,
}

/// x̂_0 every fifty steps, judged like samples; and what classes the samples are of.
pub(super) fn over_the_reverse_process(studio: &Studio) -> Result<()> {
    let (rows, classes) = match studio.all {
        true => (reverse_process(studio)?, classes(studio)?),
        false => (
            stored(include_str!("../../../figures/quality.csv")),
            stored(include_str!("../../../figures/classes.csv")),
        ),
    };
    show!("{:12}{:>10}{:>14}", "class", "samples", TEST);
    classes.iter().for_each(|r| show!("{:12}{:>10}{:>14}", r.class, r.samples, r.test_images));
    show!("");
    let mut charts = panels("reverse process steps, T − t", Scale::Linear, &rows);
    charts[1] = charts[1].clone().y_range(80.0, 1700.0); // two decades, so that 2 and 5 are labelled
    studio.save("quality.png", &Chart::panels(charts.to_vec(), 3, (560, 480)))?;
    studio.save_csv("classes.csv", classes)?;
    studio.save_csv("quality.csv", rows)
}

fn reverse_process(studio: &Studio) -> Result<Vec<Row>> {
    let chains = studio.thousand();
    let T = studio.garments.model.reverse.schedule.T();
    let guesses = chains.steps.iter().map(|step| (step.t, &step.x0_hat)).chain([(0, &chains.x0)]);
    let name = |(t, x): (usize, &Batch)| ("x\u{302}_0".to_string(), (STEPS - t) * T / STEPS, x.clone());
    judged(studio, guesses.map(name).collect())
}

fn classes(studio: &Studio) -> Result<Vec<ClassRow>> {
    let judge = studio.judge()?;
    let samples = judge.classifier.judge(&to_u8(&studio.thousand().x0)).histogram();
    let counts = samples.into_iter().zip(judge.test.histogram());
    let row = |(class, (samples, test_images)): (&&str, _)| ClassRow {
        class: class.to_string(),
        samples,
        test_images,
    };
    Ok(FASHION_MNIST_CLASSES.iter().zip(counts).map(row).collect())
}

/// DDIM with η = 0 and 1, beside Algorithm 2 on every tenth step; all begin with the same x_T.
pub(super) fn fast_sampling(studio: &Studio) -> Result<()> {
    let rows = match studio.all {
        true => samplers(studio)?,
        false => stored(include_str!("../../../figures/fast_sampling.csv")),
    };
    let mut charts = panels("steps", Scale::Log, &rows);
    charts[1] = charts[1].clone().y_range(80.0, 300.0);
    studio.save("fast_sampling.png", &Chart::panels(charts.to_vec(), 3, (560, 480)))?;
    studio.save_csv("fast_sampling.csv", rows)
}

fn samplers(studio: &Studio) -> Result<Vec<Row>> {
    let model = &studio.garments.model;
    let mut images = Vec::new();
    for (name, eta) in [("DDIM, η = 0", 0.0), ("DDIM, η = 1", 1.0)] {
        let draw = |steps| fast(model, &Wish::new(IMAGES, studio.seed), steps, eta);
        images.extend(FAST.map(|steps| (name.to_string(), steps, draw(steps))));
    }
    images.push(("Algorithm 2".to_string(), STEPS, studio.thousand().x0.clone()));
    judged(studio, images)
}

/// Rows of all kinds of images, and of the first test images in the last one.
fn judged(studio: &Studio, images: Vec<(String, usize, Batch)>) -> Result<Vec<Row>> {
    let judge = studio.judge()?;
    let test = judge.classifier.judge(&ddpm::data::fashion_mnist_test().first(IMAGES).pixels);
    let rows = images
        .iter()
        .map(|(name, steps, x)| Row::new(name, *steps, &judge.real, &judge.classifier.judge(&to_u8(x))));
    Ok(rows.chain([Row::new(TEST, 0, &judge.real, &test)]).collect())
}

/// Fréchet distance, kernel distance and confidence over the steps, with error bars and the line of real images.
fn panels(x: &str, scale: Scale, rows: &[Row]) -> [Chart; 3] {
    let (test, samples) = rows.split_last().expect("a row of test images");
    let steps = |part: &[Row]| part.iter().map(|row| row.steps as f64).collect::<Vec<_>>();
    let ends = [f64::min, f64::max].map(|end| steps(samples).into_iter().reduce(end).unwrap_or(1.0));
    std::array::from_fn(|k| {
        let (label, y) = [(DISTANCE, Scale::Log), (KERNEL, Scale::Log), (CONFIDENCE, Scale::Linear)][k];
        let mut chart = Chart::new(x, label).scales(scale, y);
        let (real, error) = test.shown()[k];
        if real > error {
            chart = chart.reference(TEST, &ends, &[real; 2]); // a distance that is 0 within its error has no place
        }
        for part in samples.chunk_by(|a, b| a.images == b.images) {
            let steps = steps(part);
            let column = |side: f64| -> Vec<f64> {
                part.iter().map(|row| row.shown()[k]).map(|(value, error)| value + side * error).collect()
            };
            let name = part[0].images.replace("x\u{302}_0", "x\u{302}_{0}");
            chart = match part {
                [_] => chart.points(&name, &steps, &column(0.0)),
                _ => chart.line(&name, &steps, &column(0.0)),
            };
            chart = chart.bars(&steps, &column(-1.0), &column(1.0));
        }
        chart
    })
}
