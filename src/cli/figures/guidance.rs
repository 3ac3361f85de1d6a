//! Classifier-free guidance: what w does to accuracy, distance and diversity (Ho & Salimans 2022).

use super::real::Real;
use super::studio::{Studio, stored};
use crate::cli::sample::{Wish, fast};
use crate::cli::say::show;
use anyhow::Result;
use ddpm::checkpoint::{self, Pretrained};
use ddpm::data::{FASHION_MNIST_CLASSES, to_u8};
use ddpm::diffusion::{Estimate, Given};
use ddpm::figures::{Chart, Grid};
use ddpm::quality::Judgement;
use ddpm::tensor::Batch;
use ndarray::{Array1, Axis};
use serde::{Deserialize, Serialize};

/// The w that are compared; 0 is the class alone, −1 none.
const W: [f64; 6] = [-1.0, 0.0, 0.5, 1.0, 2.0, 4.0];
/// Classes, and samples of each.
const CLASSES: usize = FASHION_MNIST_CLASSES.len();
const PER_CLASS: usize = 100;
/// Steps of DDIM.
const STEPS: usize = 20;

#[derive(Deserialize, Serialize)]
struct Row {
    network: String,
    w: f64,
    images: usize,
    accuracy: f64,
    accuracy_error: f64,
    frechet: f64,
    frechet_error: f64,
    diversity: f64,
    diversity_error: f64,
}

#[derive(Deserialize, Serialize)]
struct ClassRow {
    class: String,
    w: f64,
    images: usize,
    accuracy: f64,
}

/// What w does, to a thousand samples; and one of each class to look at, from the same noises for every w.
pub(super) fn guidance(studio: &Studio) -> Result<()> {
    let (rows, of_classes): (Vec<Row>, Vec<ClassRow>) = match studio.all {
        true => tables(studio)?,
        false => (
            stored(include_str!("../../../figures/guidance.csv")),
            stored(include_str!("../../../figures/guidance_classes.csv")),
        ),
    };
    let real = Real::new(PER_CLASS * CLASSES, &studio.judge()?.test);
    show!("{} test images against the others: {:.2}", PER_CLASS * CLASSES, real.floor);
    for r in &rows {
        show!(
            "{:8} w = {:4}: accuracy {:.3} ± {:.3}, distance {:.2} ± {:.2}, diversity {:.2} ± {:.2}",
            r.network,
            r.w,
            r.accuracy,
            r.accuracy_error,
            r.frechet,
            r.frechet_error,
            r.diversity,
            r.diversity_error
        );
    }
    for name in FASHION_MNIST_CLASSES {
        let of_class = of_classes.iter().filter(|row| row.class == name);
        show!("{name:12}{}", of_class.map(|row| format!("{:7.2}", row.accuracy)).collect::<String>());
    }
    let model = checkpoint::TOLD.load()?;
    let shown = W.map(|w| asked(studio, &model, &(0..CLASSES).collect::<Vec<_>>(), w));
    let views: Vec<_> = shown.iter().map(|x| x.view()).collect();
    let grid = Grid::new(&to_u8(&ndarray::concatenate(Axis(0), &views)?), CLASSES)
        .scale(2)
        .column_labels(FASHION_MNIST_CLASSES)
        .row_labels(W.map(|w| format!("w = {w}")));
    studio.save("guidance_samples.png", &grid.figure())?;
    studio.save("guidance.png", &curves(&rows, &real))?;
    studio.save_csv("guidance_classes.csv", of_classes)?;
    studio.save_csv("guidance.csv", rows)
}

/// A sample of each class in `classes`; of any, if w = −1.
fn asked(studio: &Studio, model: &Pretrained, classes: &[usize], w: f64) -> Batch {
    let given = if w == -1.0 { Given::default() } else { Given::classes(classes) };
    fast(model, &Wish { given, w, ..Wish::new(classes.len(), studio.seed) }, STEPS, 0.0)
}

/// [`PER_CLASS`] samples of each class for every w; before them those of the network that knows no classes.
fn tables(studio: &Studio) -> Result<(Vec<Row>, Vec<ClassRow>)> {
    let (model, judge) = (checkpoint::TOLD.load()?, studio.judge()?);
    let classes: Vec<usize> = (0..PER_CLASS * CLASSES).map(|i| i % CLASSES).collect();
    let real = Real::new(classes.len(), &judge.test);
    let before = asked(studio, &studio.garments.model, &classes, -1.0);
    let judgement = judge.classifier.judge(&to_u8(&before));
    let mut rows = vec![row((checkpoint::GARMENTS.name, -1.0), &classes, &before, &judgement, &real)];
    let mut of_classes = Vec::new();
    for w in W {
        let x0 = asked(studio, &model, &classes, w);
        let judgement = judge.classifier.judge(&to_u8(&x0));
        rows.push(row((checkpoint::TOLD.name, w), &classes, &x0, &judgement, &real));
        of_classes.extend(FASHION_MNIST_CLASSES.iter().enumerate().map(|(class, name)| {
            let members = judgement.classes().into_iter().skip(class).step_by(CLASSES);
            let right = members.filter(|&seen| seen == class).count();
            let accuracy = right as f64 / PER_CLASS as f64;
            ClassRow { class: name.to_string(), w, images: PER_CLASS, accuracy }
        }));
    }
    Ok((rows, of_classes))
}

fn row((network, w): (&str, f64), asked: &[usize], x0: &Batch, judgement: &Judgement, real: &Real) -> Row {
    let right =
        judgement.classes().into_iter().zip(asked).map(|(seen, &asked)| f64::from(u8::from(seen == asked)));
    let accuracy = Estimate::of(&right.collect::<Array1<f64>>());
    let frechet = real.distance(&judgement.features);
    let diversity = Estimate::of(&spreads(asked, x0));
    Row {
        network: network.into(),
        w,
        images: asked.len(),
        accuracy: accuracy.mean,
        accuracy_error: accuracy.std_error,
        frechet: frechet.mean,
        frechet_error: frechet.std_error,
        diversity: diversity.mean,
        diversity_error: diversity.std_error,
    }
}

/// The mean distance between two samples of each class, |x − x'|.
fn spreads(asked: &[usize], x0: &Batch) -> Array1<f64> {
    let classes = 1 + asked.iter().max().expect("at least one image");
    let of_class = |class: usize| {
        let members: Vec<usize> = (0..asked.len()).filter(|&i| asked[i] == class).collect();
        let pairs: Vec<f64> = members
            .iter()
            .enumerate()
            .flat_map(|(k, &i)| members[..k].iter().map(move |&j| (i, j)))
            .map(|(i, j)| {
                let (a, b) = (x0.index_axis(Axis(0), i), x0.index_axis(Axis(0), j));
                a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
            })
            .collect();
        pairs.iter().sum::<f64>() / pairs.len() as f64
    };
    (0..classes).map(of_class).collect()
}

/// Against w; without a class (w = −1) is left out.
fn curves(rows: &[Row], real: &Real) -> ddpm::figures::Figure {
    let told: Vec<&Row> = rows.iter().filter(|row| row.w >= 0.0).collect();
    let column = |value: fn(&Row) -> f64| told.iter().map(|row| value(row)).collect::<Vec<f64>>();
    let w = column(|row| row.w);
    let panel = |name: &str, y: fn(&Row) -> f64, error: fn(&Row) -> f64, of_test_images: Option<f64>| {
        let (y, error) = (column(y), column(error));
        let [low, high] =
            [-1.0, 1.0].map(|sign| y.iter().zip(&error).map(|(y, e)| y + sign * e).collect::<Vec<_>>());
        let ends = low.iter().chain(&high).chain(&of_test_images);
        let [least, most] =
            [f64::min, f64::max].map(|pick| ends.clone().copied().reduce(pick).expect("rows"));
        let room = 0.05 * (most - least);
        let mut chart = Chart::new("w", name).y_range(least - room, most + room);
        chart = chart.line("samples", &w, &y).marks(&w, &y).bars(&w, &low, &high);
        match of_test_images {
            Some(value) => chart.reference("test images", &[0.0, 4.0], &[value; 2]),
            None => chart,
        }
    };
    let charts = vec![
        panel(
            "classifier sees the class asked for, %",
            |r| 100.0 * r.accuracy,
            |r| 100.0 * r.accuracy_error,
            Some(92.1),
        ),
        panel("Fréchet distance", |r| r.frechet, |r| r.frechet_error, Some(real.floor)),
        panel("mean distance within a class", |r| r.diversity, |r| r.diversity_error, None),
    ];
    Chart::panels(charts, 3, (480, 440))
}
