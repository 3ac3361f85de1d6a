//! Learned noise levels on garments, T = 20: what `ddpm noise` wrote for runs that differ in γ alone.

use super::studio::Studio;
use crate::cli::say::show;
use anyhow::{Context, Result};
use ddpm::diffusion::{Estimate, Gamma, Path};
use ddpm::figures::{Chart, Grid};
use ddpm::quality::quantiles;
use ddpm::variational::Variational;
use ndarray::{Array1, Array2, Array4};
use serde::{Deserialize, Serialize};

/// The steps of every run, and those whose γ is shown as a picture.
const STEPS: usize = 20;
const SHOWN: [usize; 4] = [4, 8, 12, 16];

/// `bound.csv` of each run, below each other.
const BOUNDS: &str = include_str!("../../../assets/noise/bounds.csv");

/// What the others are measured against.
const LINEAR: &str = "linear";

/// The runs whose γ is one for all images: name, path and gamma.csv.
const LEARNED: [(&str, Path, &str); 3] = [
    ("knots", Path::Knots, include_str!("../../../assets/noise/knots.csv")),
    ("polynomial", Path::Polynomial, include_str!("../../../assets/noise/polynomial.csv")),
    (PER_PIXEL, Path::Polynomial, include_str!("../../../assets/noise/polynomial-per-pixel.csv")),
];
const PER_PIXEL: &str = "polynomial per pixel";

/// One image of one run.
#[derive(Deserialize)]
struct Image {
    run: String,
    seed: u64,
    image: usize,
    reconstruction: f64,
    diffusion: f64,
    prior: f64,
    context: f64,
}

impl Image {
    fn total(&self) -> f64 {
        self.reconstruction + self.diffusion + self.prior + self.context
    }
}

/// A way of having γ: means over images and seeds, bits per dimension.
#[derive(Serialize)]
struct Row {
    run: String,
    seeds: usize,
    reconstruction: f64,
    diffusion: f64,
    prior: f64,
    context: f64,
    bits_per_dim: f64,
    std_error: f64,
    /// by how much it is lower than with the linear γ, image by image, of the same seeds
    below_linear: f64,
    below_linear_error: f64,
    /// the largest mean of a seed minus the smallest
    seeds_apart: f64,
}

/// The table, γ of every kind, and the map of a γ for each pixel.
pub(super) fn garments(studio: &Studio) -> Result<()> {
    let images: Vec<Image> =
        csv::Reader::from_reader(BOUNDS.as_bytes()).deserialize().collect::<Result<_, _>>()?;
    let mut names: Vec<&str> = images.iter().map(|image| image.run.as_str()).collect();
    names.dedup();
    let rows: Vec<Row> = names.iter().map(|name| row(&images, name)).collect();
    show!("{:36}{:>16}{:>24}{:>14}", "γ, T = 20", "bits/dim", "below linear", "seeds apart");
    for r in &rows {
        let [total, below] = [(r.bits_per_dim, r.std_error), (r.below_linear, r.below_linear_error)]
            .map(|(m, e)| format!("{m:.3} ± {e:.3}"));
        show!("{:36}{total:>16}{below:>24}{:>14.3}", r.run, r.seeds_apart);
    }
    studio.save_csv("noise_garments.csv", rows)?;

    let share: Array1<f64> = (0..=STEPS).map(|i| i as f64 / STEPS as f64).collect();
    let line = Gamma::new(Path::Linear, Variational::ENDS, STEPS, 1).table(STEPS);
    let mut chart = Chart::new("i/T", "γ_{i}").line(LINEAR, &share.to_vec(), &line.column(0).to_vec());
    for (name, path, text) in LEARNED {
        let table = gamma(path, text).with_context(|| format!("γ of {name}"))?.table(STEPS);
        let mean = table.mean_axis(ndarray::Axis(1)).expect("at least one path");
        chart = chart.line(name, &share.to_vec(), &mean.to_vec());
        if name == PER_PIXEL {
            studio.save("noise_map.png", &map(&table)?.figure())?;
        }
    }
    studio.save("noise_garments.png", &chart.figure())
}

fn row(images: &[Image], run: &str) -> Row {
    let of = |run: &str, seed: Option<u64>| -> Vec<&Image> {
        images.iter().filter(|i| i.run == run && seed.is_none_or(|seed| i.seed == seed)).collect()
    };
    let all = of(run, None);
    let mut seeds: Vec<u64> = all.iter().map(|image| image.seed).collect();
    seeds.dedup();
    let count = all.len() / seeds.len();
    // of each image, over the seeds
    let mean = |run: &str, value: &dyn Fn(&Image) -> f64| -> Array1<f64> {
        let mut sums = Array1::zeros(count);
        for &seed in &seeds {
            of(run, Some(seed)).iter().for_each(|image| sums[image.image] += value(image));
        }
        sums / seeds.len() as f64
    };
    let part = |value: &dyn Fn(&Image) -> f64| Estimate::of(&mean(run, value)).mean;
    let total = Estimate::of(&mean(run, &Image::total));
    let below = Estimate::of(&(mean(LINEAR, &Image::total) - mean(run, &Image::total)));
    let of_seed =
        |&seed: &u64| of(run, Some(seed)).iter().map(|image| image.total()).sum::<f64>() / count as f64;
    let means: Vec<f64> = seeds.iter().map(of_seed).collect();
    let [least, most] = [f64::min, f64::max].map(|pick| means.iter().copied().reduce(pick).expect("a seed"));
    Row {
        run: run.into(),
        seeds: seeds.len(),
        reconstruction: part(&|i| i.reconstruction),
        diffusion: part(&|i| i.diffusion),
        prior: part(&|i| i.prior),
        context: part(&|i| i.context),
        bits_per_dim: total.mean,
        std_error: total.std_error,
        below_linear: below.mean,
        below_linear_error: below.std_error,
        seeds_apart: most - least,
    }
}

/// γ from the numbers of its paths.
fn gamma(path: Path, text: &str) -> Result<Gamma> {
    let rows = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let rows: Vec<Vec<f32>> = rows.into_deserialize().collect::<Result<_, _>>()?;
    let (paths, numbers) = (rows.len(), rows.first().map_or(0, Vec::len));
    let numbers = Array2::from_shape_vec((paths, numbers), rows.concat())?;
    Ok(Gamma { numbers, ..Gamma::new(path, Variational::ENDS, STEPS, paths) })
}

/// γ of each pixel at some steps: grey is the mean over the image; white and black deviate by as much as the 95th of a hundred
/// pixels, or more.
fn map(table: &Array2<f64>) -> Result<Grid> {
    let side = (table.ncols() as f64).sqrt() as usize;
    let deviations: Vec<Array1<f64>> = SHOWN
        .iter()
        .map(|&i| {
            let gamma = table.row(i);
            &gamma - gamma.mean().unwrap_or(0.0)
        })
        .collect();
    let sizes: Array1<f64> = deviations.iter().flatten().map(|d| d.abs()).collect();
    let [most] = quantiles(sizes.view(), [0.95]);
    let pixels =
        deviations.iter().flatten().map(|d| (127.5 + 127.5 * (d / most).clamp(-1.0, 1.0)).round() as u8);
    let images = Array4::from_shape_vec((SHOWN.len(), side, side, 1), pixels.collect())?;
    Ok(Grid::new(&images, SHOWN.len())
        .scale(4)
        .row_labels([format!("γ_{{i}} − mean, ±{most:.2}")])
        .column_labels(SHOWN.map(|i| format!("i = {i}"))))
}
