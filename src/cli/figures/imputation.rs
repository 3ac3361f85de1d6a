//! Filling in what is missing: series of a Gaussian process, where everything is known; garments; a year of weather.

use super::studio::Studio;
use crate::cli::impute::filled;
use crate::cli::say::show;
use anyhow::Result;
use ddpm::checkpoint::{self, Pretrained};
use ddpm::data::{Scale, Windows, fashion_mnist_test, seattle_weather, to_u8};
use ddpm::diffusion::oracle::GaussianField;
use ddpm::diffusion::{
    Conditioned, Denoiser, Estimate, Given, Jumps, Known, Noise, Reverse, Schedule, Variance, paste, repaint,
    sample,
};
use ddpm::figures::{Chart, Grid};
use ddpm::quality::{coverage, crps, crps_csdi, nearest, quantiles};
use ddpm::rng::{normal, stream};
use ddpm::tensor::Batch;
use nalgebra::DMatrix;
use ndarray::{Array1, Array2, Array3, Axis, concatenate, s};
use serde::Serialize;

/// Of the process: rows of a window, reach, noise of a row alone.
const LENGTH: usize = 24;
const REACH: f64 = 3.0;
const NUGGET: f64 = 0.01;
/// How many series, and how often each is filled in.
const SERIES: usize = 48;
const SAMPLES: usize = 19;
/// RePaint's jumps in the table.
const JUMPS: Jumps = Jumps { jump: 5, resamples: 4 };
const REPLACE: Jumps = Jumps { jump: 1, resamples: 1 };

#[derive(Serialize)]
struct Row {
    network: &'static str,
    method: &'static str,
    crps: f64,
    crps_error: f64,
    /// by how much it is larger than the exact posterior's, series by series
    crps_more: f64,
    crps_more_error: f64,
    crps_csdi: f64,
    coverage_90: f64,
    evaluations: usize,
}

/// A table of methods, with a perfect network and with the trained one.
pub(super) fn gaussian_process(studio: &Studio) -> Result<()> {
    let covariance = Array2::from_shape_fn((LENGTH, LENGTH), |(i, j)| {
        let d = i.abs_diff(j) as f64;
        (-0.5 * (d / REACH).powi(2)).exp() + if i == j { NUGGET } else { 0.0 }
    });
    let field = GaussianField::new(covariance.clone(), Schedule::csdi(50));
    let truth = Truth::new(&covariance, studio.seed);
    let trained = checkpoint::GAUSSIAN_PROCESS.load()?;
    let reverse = Reverse { clip: false, variance: Variance::BetaTilde, ..Reverse::new(Schedule::csdi(50)) };
    let scale = trained.about.series.clone().expect("a network of a series");
    let noise = Noise::seed(studio.seed);

    let exact = truth.posterior(&field, studio.seed);
    let row = |network, method, drawn: &Batch, evaluations| {
        truth.row([network, method], drawn, &exact, evaluations)
    };
    let mut rows = vec![
        row("none", "exact posterior", &exact, 0),
        row("none", "without what is known", &truth.prior(&covariance, studio.seed), 0),
    ];
    let networks = [("perfect", &field as &dyn Denoiser, None), ("trained", &trained.unet, Some(&scale))];
    for (name, network, scale) in networks {
        let known = truth.known(scale);
        let units = |x: Batch| scale.map_or(x.clone(), |scale| x.mapv(|x| scale.quantity(0, x)));
        let given = Given::known(known.clone());
        let shape = known.values.shape().try_into().expect("four axes");
        let told = sample(&Conditioned { model: network, given }, &reverse, shape, &noise);
        rows.push(row(name, "shown what is known (CSDI)", &units(told), 50));
        for (method, jumps) in [("replacement", REPLACE), ("replacement with jumps (RePaint)", JUMPS)] {
            let filled = repaint(network, &reverse, &known, jumps, &noise);
            rows.push(row(name, method, &units(filled), jumps.reverse_steps(50)));
        }
    }
    for r in &rows {
        show!(
            "{:8} {:34} CRPS {:.4} ± {:.4}, {:+.4} ± {:.4}, coverage {:.3}",
            r.network,
            r.method,
            r.crps,
            r.crps_error,
            r.crps_more,
            r.crps_more_error,
            r.coverage_90
        );
    }
    studio.save_csv("imputation.csv", rows)
}

/// Series whose missing rows are known.
struct Truth {
    /// `[SERIES, LENGTH]`
    x: Array2<f64>,
    /// 1 where a row is known
    mask: Array2<f64>,
}

impl Truth {
    /// Every second series lacks eight rows in a block, the others each row with probability ½.
    fn new(covariance: &Array2<f64>, seed: u64) -> Truth {
        let white: Array2<f64> = normal((SERIES, LENGTH), &mut stream(seed, 1 << 32));
        let dice: Array2<f64> = normal((SERIES, LENGTH), &mut stream(seed, (1 << 32) + 1));
        let x = white.dot(&root(covariance).t());
        let mask = Array2::from_shape_fn((SERIES, LENGTH), |(n, l)| {
            let known = if n % 2 == 0 { !(8..16).contains(&l) } else { dice[[n, l]] > 0.0 };
            f64::from(u8::from(known))
        });
        Truth { x, mask }
    }

    /// What is known of every sample, in a network's units.
    fn known(&self, scale: Option<&Scale>) -> Known {
        let rows = |x: &Array2<f64>| {
            Batch::from_shape_fn((SERIES * SAMPLES, 1, LENGTH, 1), |(n, _, l, _)| x[[n / SAMPLES, l]])
        };
        let values = rows(&self.x);
        let values = match scale {
            Some(scale) => values.mapv(|x| (x - scale.mean[0]) / scale.std[0]),
            None => values,
        };
        Known { values, mask: rows(&self.mask) }
    }

    fn posterior(&self, field: &GaussianField, seed: u64) -> Batch {
        let mut drawn = self.known(None).values;
        for n in 0..SERIES {
            let law = field.posterior(&self.x.row(n).to_vec(), &self.mask.row(n).to_vec());
            let root = root(&law.covariance);
            for k in 0..SAMPLES {
                let white: Array1<f64> =
                    normal(law.mean.len(), &mut stream(seed, (2 << 32) + (n * SAMPLES + k) as u64));
                let x = &law.mean + &root.dot(&white);
                law.unknown.iter().zip(&x).for_each(|(&l, &x)| drawn[[n * SAMPLES + k, 0, l, 0]] = x);
            }
        }
        drawn
    }

    fn prior(&self, covariance: &Array2<f64>, seed: u64) -> Batch {
        let white: Array2<f64> = normal((SERIES * SAMPLES, LENGTH), &mut stream(seed, 3 << 32));
        let x = white.dot(&root(covariance).t());
        x.into_shape_with_order((SERIES * SAMPLES, 1, LENGTH, 1)).expect("rows")
    }

    /// Scores over the unknown rows; the error is over series.
    fn row(
        &self,
        [network, method]: [&'static str; 2],
        drawn: &Batch,
        exact: &Batch,
        evaluations: usize,
    ) -> Row {
        let missing: Vec<(usize, usize)> =
            self.mask.indexed_iter().filter(|(_, m)| **m == 0.0).map(|(at, _)| at).collect();
        let samples = |(n, l): (usize, usize)| drawn.slice(s![n * SAMPLES..(n + 1) * SAMPLES, 0, l, 0]);
        let entries = Array2::from_shape_fn((SAMPLES, missing.len()), |(k, e)| samples(missing[e])[k]);
        let targets: Array1<f64> = missing.iter().map(|&at| self.x[at]).collect();
        let scores = self.scores(drawn);
        let (score, more) = (Estimate::of(&scores), Estimate::of(&(&scores - &self.scores(exact))));
        Row {
            network,
            method,
            crps: score.mean,
            crps_error: score.std_error,
            crps_more: more.mean,
            crps_more_error: more.std_error,
            crps_csdi: crps_csdi(entries.view(), targets.view()).mean().expect("19 levels"),
            coverage_90: coverage(entries.view(), targets.view(), 0.9),
            evaluations,
        }
    }

    /// The mean CRPS of the unknown rows of each series.
    fn scores(&self, drawn: &Batch) -> Array1<f64> {
        let of_series = |n: usize| {
            let missing: Vec<usize> = (0..LENGTH).filter(|&l| self.mask[[n, l]] == 0.0).collect();
            let samples = |l: usize| drawn.slice(s![n * SAMPLES..(n + 1) * SAMPLES, 0, l, 0]);
            let sum: f64 = missing.iter().map(|&l| crps(samples(l), self.x[[n, l]])).sum();
            sum / missing.len() as f64
        };
        (0..SERIES).map(of_series).collect()
    }
}

/// L with L Lᵀ = S.
fn root(covariance: &Array2<f64>) -> Array2<f64> {
    let n = covariance.nrows();
    let matrix = DMatrix::from_fn(n, n, |i, j| covariance[[i, j]]);
    let l = matrix.cholesky().expect("a covariance is positive definite").unpack();
    Array2::from_shape_fn((n, n), |(i, j)| l[(i, j)])
}

/// Test images of the picture: a pullover, a shirt, a sneaker, a dress.
const HALVED: [usize; 4] = [1, 7, 12, 13];

/// One half of a garment, many other halves: by the network that is shown the known half, and by RePaint.
pub(super) fn garments(studio: &Studio) -> Result<()> {
    let told = checkpoint::TOLD.load()?;
    let images = fashion_mnist_test().batch(&HALVED);
    let mask = upper(1);
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    for image in images.outer_iter() {
        let image = image.insert_axis(Axis(0)).to_owned();
        let known = Known { values: image.clone(), mask: mask.clone() }.rows(&[0; 8]);
        let way = (50, Jumps { jump: 5, resamples: 2 });
        for (name, model) in [("shown", &told), ("RePaint", &studio.garments.model)] {
            let drawn = filled(model, &known, way, studio.seed);
            rows.push(concatenate![Axis(0), image, half(&image), drawn]);
            labels.push(name);
        }
    }
    let views: Vec<_> = rows.iter().map(|row| row.view()).collect();
    let all = concatenate(Axis(0), &views).expect("images of one shape");
    let columns = ["image", "known"].into_iter().map(String::from).chain((1..=8).map(|n| n.to_string()));
    let grid = Grid::new(&to_u8(&all), 10).scale(2).column_labels(columns).row_labels(labels);
    studio.save("imputation_garments.png", &grid.figure())
}

/// Test images of the table of halves, how often each half is drawn, and in how many steps.
const MEASURED: usize = 12;
const TIMES: usize = 12;
const SHORT: usize = 25;

#[derive(Serialize)]
struct HalfRow {
    method: &'static str,
    /// of the hidden half's grey levels, 0 to 255: of the median of what was drawn
    rmse: f64,
    rmse_error: f64,
    /// mean |difference| of the two rows that meet, over that of the images themselves
    seam: f64,
    seam_error: f64,
}

/// How near the drawn halves are to the true ones, and how well they fit the known ones.
pub(super) fn halves(studio: &Studio) -> Result<()> {
    let told = checkpoint::TOLD.load()?;
    let test = fashion_mnist_test();
    let images = test.batch(&(0..MEASURED).collect::<Vec<_>>());
    let each: Vec<usize> = (0..MEASURED * TIMES).map(|n| n / TIMES).collect();
    let known = Known { values: images.clone(), mask: upper(MEASURED) }.rows(&each);
    let drawn = |model| filled(model, &known, (SHORT, REPLACE), studio.seed);
    let others = test.batch(&(MEASURED..test.len()).collect::<Vec<_>>());
    let rows = vec![
        half_row("shown what is known (CSDI)", &images, &drawn(&told)),
        half_row("replacement", &images, &drawn(&studio.garments.model)),
        half_row(
            "mean of the ten images with the nearest upper half",
            &images,
            &neighbours(&images, &others),
        ),
    ];
    for r in &rows {
        show!(
            "{:52} RMSE {:.1} ± {:.1}, seam {:.2} ± {:.2}",
            r.method,
            r.rmse,
            r.rmse_error,
            r.seam,
            r.seam_error
        );
    }
    studio.save_csv("imputation_garments.csv", rows)
}

/// 1 in the upper half.
fn upper(n: usize) -> Batch {
    Batch::from_shape_fn((n, 28, 28, 1), |(_, y, _, _)| f64::from(u8::from(y < 14)))
}

/// The errors are over images; `drawn` has as many for each image.
fn half_row(method: &'static str, images: &Batch, drawn: &Batch) -> HalfRow {
    let times = drawn.len_of(Axis(0)) / MEASURED;
    let of_image = |n: usize| {
        let (x, own) =
            (images.index_axis(Axis(0), n), drawn.slice(s![n * times..(n + 1) * times, .., .., 0]));
        let squared = |(y, x_at): (usize, usize)| {
            let [median] = quantiles(own.slice(s![.., y, x_at]), [0.5]);
            (127.5 * (median - x[[y, x_at, 0]])).powi(2)
        };
        let hidden = (14..28).flat_map(|y| (0..28).map(move |x| (y, x)));
        let step = |image: ndarray::ArrayView2<f64>| (&image.row(13) - &image.row(14)).mapv(f64::abs).sum();
        let seam = own.outer_iter().map(step).sum::<f64>() / times as f64;
        [(hidden.map(squared).sum::<f64>() / 392.0).sqrt(), seam, step(x.index_axis(Axis(2), 0))]
    };
    let found: Vec<[f64; 3]> = (0..MEASURED).map(of_image).collect();
    let rmse = Estimate::of(&found.iter().map(|f| f[0]).collect::<Array1<f64>>());
    let true_step = found.iter().map(|f| f[2]).sum::<f64>() / MEASURED as f64;
    let seam = Estimate::of(&found.iter().map(|f| f[1] / true_step).collect::<Array1<f64>>());
    HalfRow {
        method,
        rmse: rmse.mean,
        rmse_error: rmse.std_error,
        seam: seam.mean,
        seam_error: seam.std_error,
    }
}

/// What a look into a book of pictures would say.
fn neighbours(images: &Batch, others: &Batch) -> Batch {
    let upper_half = |x: &Batch| {
        let rows = x.slice(s![.., ..14, .., 0]).mapv(|x| x as f32);
        let n = rows.len_of(Axis(0));
        rows.to_shape((n, 14 * 28)).expect("images of one size").into_owned()
    };
    let mut means = images.clone();
    for (mut mean, found) in means.outer_iter_mut().zip(nearest(&upper_half(images), &upper_half(others), 10))
    {
        let rows: Vec<usize> = found.iter().map(|neighbour| neighbour.index).collect();
        let average = others.select(Axis(0), &rows).mean_axis(Axis(0)).expect("ten");
        mean.slice_mut(s![14.., .., ..]).assign(&average.slice(s![14.., .., ..]));
    }
    means
}

/// The lower half grey.
fn half(image: &Batch) -> Batch {
    let mut half = image.clone();
    half.slice_mut(s![.., 14.., .., ..]).fill(0.0);
    half
}

#[derive(Serialize)]
struct WeatherRow {
    column: String,
    network: f64,
    line_between_neighbours: f64,
    climatology: f64,
    coverage_90: f64,
}

/// Windows of 2015, which the network has not seen, and how often each is filled in.
const WINDOWS: usize = 5;
const FILLED: usize = 24;

/// A quarter of all values, and ten days in the middle of two columns, are taken out of the year that was held out.
pub(super) fn weather(studio: &Studio) -> Result<()> {
    let model = checkpoint::WEATHER.load()?;
    let scale = model.about.series.clone().expect("a network of a series");
    let series = seattle_weather();
    let year = series.rows(series.values.nrows() - 365..series.values.nrows());
    let (k, length) = (series.columns.len(), model.unet.config.image_size().1);
    let windows = Windows::new(&year, &scale, length)?;
    let mut scored: Vec<Scored> = (0..k).map(|_| Scored::default()).collect();
    let mut picture = None;
    for window in 0..WINDOWS {
        let start = window * (windows.count() - 1) / (WINDOWS - 1);
        let (x, _) = windows.at(start);
        let dice: Array2<f64> = normal((k, length), &mut stream(studio.seed, (4 << 32) + window as u64));
        let mask = Array2::from_shape_fn((k, length), |(j, l)| {
            let block = (j == 1 || j == 2) && (27..37).contains(&l);
            f64::from(u8::from(!block && dice[[j, l]] > -0.6745))
        });
        let drawn = fill(&model, &x.to_owned(), &mask, studio.seed + window as u64);
        for (j, l) in (0..k).flat_map(|j| (0..length).map(move |l| (j, l))).filter(|&at| mask[at] == 0.0) {
            let samples: Array1<f64> = drawn.slice(s![.., j, l]).mapv(|x| scale.quantity(j, x));
            scored[j].add(
                samples,
                scale.quantity(j, x[[j, l]]),
                scale.quantity(j, between(&x.row(j).to_vec(), &mask.row(j).to_vec(), l)),
            );
        }
        if window == 2 {
            picture = Some(bands(&series.columns, &scale, &x.to_owned(), &mask, &drawn));
        }
    }
    let rows: Vec<WeatherRow> =
        scored.iter().enumerate().map(|(j, scored)| scored.row(&series.columns[j], &scale, j)).collect();
    for r in &rows {
        show!(
            "{:14} CRPS {:.3}, line {:.3}, climatology {:.3}; coverage {:.3}",
            r.column,
            r.network,
            r.line_between_neighbours,
            r.climatology,
            r.coverage_90
        );
    }
    studio.save_csv("imputation_weather.csv", rows)?;
    studio.save("imputation_weather.png", &picture.expect("the middle window"))
}

/// `[FILLED, K, L]`, in the network's units.
fn fill(model: &Pretrained, x: &Array2<f64>, mask: &Array2<f64>, seed: u64) -> Array3<f64> {
    let (k, l) = x.dim();
    let rows = |x: &Array2<f64>| Batch::from_shape_fn((FILLED, k, l, 1), |(_, j, l, _)| x[[j, l]]);
    let known = Known { values: rows(x), mask: rows(mask) };
    let given = Given::known(known.clone());
    let drawn = sample(
        &Conditioned { model: &model.unet, given },
        &model.reverse,
        [FILLED, k, l, 1],
        &Noise::seed(seed),
    );
    paste(&drawn, &known).index_axis_move(Axis(3), 0)
}

/// The straight line between the known neighbours, at the ends the only one, without any 0.
fn between(x: &[f64], mask: &[f64], at: usize) -> f64 {
    let before = (0..at).rev().find(|&l| mask[l] > 0.0);
    let after = (at + 1..x.len()).find(|&l| mask[l] > 0.0);
    match (before, after) {
        (Some(a), Some(b)) => x[a] + (x[b] - x[a]) * (at - a) as f64 / (b - a) as f64,
        (Some(l), None) | (None, Some(l)) => x[l],
        (None, None) => 0.0,
    }
}

/// What was drawn for a column's missing values, what is true, and what a line says.
#[derive(Default)]
struct Scored {
    samples: Vec<Array1<f64>>,
    truth: Vec<f64>,
    line: Vec<f64>,
}

impl Scored {
    fn add(&mut self, samples: Array1<f64>, truth: f64, line: f64) {
        self.samples.push(samples);
        self.truth.push(truth);
        self.line.push(line);
    }

    fn row(&self, column: &str, scale: &Scale, j: usize) -> WeatherRow {
        let n = self.truth.len() as f64;
        let mean = |scores: &mut dyn Iterator<Item = f64>| scores.sum::<f64>() / n;
        let entries = Array2::from_shape_fn((FILLED, self.truth.len()), |(k, e)| self.samples[e][k]);
        WeatherRow {
            column: column.into(),
            network: mean(&mut self.samples.iter().zip(&self.truth).map(|(x, y)| crps(x.view(), *y))),
            line_between_neighbours: mean(&mut self.line.iter().zip(&self.truth).map(|(x, y)| (x - y).abs())),
            climatology: mean(
                &mut self.truth.iter().map(|&y| ddpm::quality::crps_normal(scale.mean[j], scale.std[j], y)),
            ),
            coverage_90: coverage(entries.view(), Array1::from(self.truth.clone()).view(), 0.9),
        }
    }
}

/// A panel for each column: known values, what is true of the missing ones, the median and the band of nine in ten.
fn bands(
    columns: &[String],
    scale: &Scale,
    x: &Array2<f64>,
    mask: &Array2<f64>,
    drawn: &Array3<f64>,
) -> ddpm::figures::Figure {
    let days: Vec<f64> = (1..=x.ncols()).map(|l| l as f64).collect();
    let panel = |j: usize| {
        let of_day = |l: usize| quantiles(drawn.slice(s![.., j, l]), [0.5, 0.05, 0.95]);
        let found: Vec<[f64; 3]> = (0..x.ncols()).map(of_day).collect();
        let at = |k: usize| found.iter().map(|day| scale.quantity(j, day[k])).collect::<Vec<f64>>();
        let values = |known: f64| -> (Vec<f64>, Vec<f64>) {
            let chosen = days.iter().zip(x.row(j)).zip(mask.row(j)).filter(|(_, m)| **m == known);
            chosen.map(|((day, x), _)| (*day, scale.quantity(j, *x))).unzip()
        };
        let ((known_x, known_y), (hidden_x, hidden_y)) = (values(1.0), values(0.0));
        Chart::new("day", columns[j].as_str())
            .line("median, and the middle nine in ten", &days, &at(0))
            .band(&days, &at(1), &at(2))
            .points("known", &known_x, &known_y)
            .points("hidden", &hidden_x, &hidden_y)
    };
    Chart::panels((0..columns.len()).map(panel).collect(), 1, (1000, 260))
}
