//! Classifier-free guidance: what w does to accuracy, distance and diversity (Ho & Salimans 2022).

use super::studio::Studio;
use crate::cli::sample::{Wish, fast};
use crate::cli::say::show;
use anyhow::Result;
use ddpm::checkpoint;
use ddpm::data::{FASHION_MNIST_CLASSES, to_u8};
use ddpm::diffusion::{Estimate, Given};
use ddpm::figures::{Chart, Grid};
use ddpm::quality::{Judgement, Moments, frechet_distance};
use ddpm::tensor::Batch;
use ndarray::{Array1, Axis, s};
use serde::Serialize;

/// The w that are compared; 0 is the class alone.
const W: [f64; 6] = [-1.0, 0.0, 0.5, 1.0, 2.0, 4.0];
/// Steps of DDIM.
const STEPS: usize = 20;

#[derive(Serialize)]
struct Row {
    w: f64,
    images: usize,
    accuracy: f64,
    accuracy_error: f64,
    frechet: f64,
    frechet_error: f64,
    diversity: f64,
    diversity_error: f64,
}

/// `per_class` samples of each class for every w, from the same noises.
pub(super) fn guidance(studio: &Studio) -> Result<()> {
    let model = checkpoint::TOLD.load()?;
    let judge = studio.judge()?;
    let (n, classes) = (studio.per_class, FASHION_MNIST_CLASSES.len());
    let asked: Vec<usize> = (0..n * classes).map(|i| i % classes).collect();
    let real = Real::new(n * classes, &judge.test);
    show!("{} test images against the others: {:.2}", n * classes, real.floor);
    let (mut rows, mut shown) = (Vec::new(), Vec::new());
    for w in W {
        let given = if w == -1.0 { Given::default() } else { Given::classes(&asked) };
        let x0 = fast(&model, &Wish { given, w, ..Wish::new(asked.len(), studio.seed) }, STEPS, 0.0);
        let images = to_u8(&x0);
        let judgement = judge.classifier.judge(&images);
        rows.push(row(w, &asked, &x0, &judgement, &real));
        shown.push(x0.slice(s![..classes, .., .., ..]).to_owned());
    }
    for r in &rows {
        show!(
            "w = {:4}: accuracy {:.3} ± {:.3}, distance {:.2} ± {:.2}, diversity {:.2} ± {:.2}",
            r.w,
            r.accuracy,
            r.accuracy_error,
            r.frechet,
            r.frechet_error,
            r.diversity,
            r.diversity_error
        );
    }
    let views: Vec<_> = shown.iter().map(|x| x.view()).collect();
    let grid = Grid::new(&to_u8(&ndarray::concatenate(Axis(0), &views).expect("one shape")), classes)
        .scale(2)
        .column_labels(FASHION_MNIST_CLASSES)
        .row_labels(W.map(|w| format!("w = {w}")));
    studio.save("guidance_samples.png", &grid.figure())?;
    studio.save("guidance.png", &curves(&rows, &real))?;
    studio.save_csv("guidance.csv", rows)
}

/// Real images, to be compared with as many samples.
struct Real {
    moments: Moments,
    floor: f64,
}

impl Real {
    /// The distance of the first `n` real images from the others is the floor.
    fn new(n: usize, test: &Judgement) -> Real {
        let (first, others) = test.features.view().split_at(Axis(0), n);
        let moments = Moments::of(&others.to_owned());
        let floor = frechet_distance(&Moments::of(&first.to_owned()), &moments);
        Real { moments, floor }
    }
}

fn row(w: f64, asked: &[usize], x0: &Batch, judgement: &Judgement, real: &Real) -> Row {
    let right =
        judgement.classes().into_iter().zip(asked).map(|(seen, &asked)| f64::from(u8::from(seen == asked)));
    let accuracy = Estimate::of(&right.collect::<Array1<f64>>());
    let distance = |rows: &[usize]| {
        frechet_distance(&Moments::of(&judgement.features.select(Axis(0), rows)), &real.moments)
    };
    let all: Vec<usize> = (0..asked.len()).collect();
    // eight parts, each without an eighth: the jackknife
    let parts: Vec<f64> = (0..8)
        .map(|part| distance(&all.iter().copied().filter(|i| i % 8 != part).collect::<Vec<_>>()))
        .collect();
    let mean = parts.iter().sum::<f64>() / 8.0;
    let frechet_error = (7.0 / 8.0 * parts.iter().map(|p| (p - mean).powi(2)).sum::<f64>()).sqrt();
    let diversity = Estimate::of(&spreads(asked, x0));
    Row {
        w,
        images: asked.len(),
        accuracy: accuracy.mean,
        accuracy_error: accuracy.std_error,
        frechet: distance(&all),
        frechet_error,
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
    let panel = |name: &str, y: fn(&Row) -> f64, error: fn(&Row) -> f64| {
        let (y, error) = (column(y), column(error));
        let [low, high] =
            [-1.0, 1.0].map(|sign| y.iter().zip(&error).map(|(y, e)| y + sign * e).collect::<Vec<_>>());
        Chart::new("w", name).line("samples", &w, &y).marks(&w, &y).bars(&w, &low, &high)
    };
    let charts = vec![
        panel("classifier sees the class asked for, %", |r| 100.0 * r.accuracy, |r| 100.0 * r.accuracy_error)
            .reference("test images", &[0.0, 4.0], &[92.1; 2]),
        panel("Fréchet distance in the classifier's features", |r| r.frechet, |r| r.frechet_error).reference(
            "test images",
            &[0.0, 4.0],
            &[real.floor; 2],
        ),
        panel("mean distance within a class", |r| r.diversity, |r| r.diversity_error),
    ];
    Chart::panels(charts, 3, (480, 440))
}
