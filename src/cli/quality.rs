//! `ddpm quality`: how good a network's samples are, in numbers with errors.

use super::data::{Cut, WHOLE, pictures};
use super::figures::{PARTS, Real};
use super::model::{ModelArgs, image_shape};
use super::numbers::{counting, fraction, percent, whole};
use super::sample::{Wish, fast, few_enough};
use super::tables;
use crate::cli::say::show;
use anyhow::{Result, bail};
use clap::Args;
use ddpm::Error;
use ddpm::data::{self, Dataset, Images, to_u8};
use ddpm::diffusion::Estimate;
use ddpm::files::check_file;
use ddpm::quality::{Classifier, Moments, copies, frechet_distance, jackknife, roughness, thumbnails};
use ndarray::{Axis, concatenate};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Blocks a side of a picture's composition.
const BLOCKS: usize = 4;
/// Places that pictures are compared at lie so many pixels apart.
const STRIDE: usize = 2;

/// Judge a network's samples
///
/// Garments by a classifier, beside the test set: Fréchet and kernel distance in its features, and how sure it is. Pictures
/// beside those the network was trained on (--training) and others (--held-out): how rough they are, how they are composed,
/// and whether they are copies. Errors are those of the samples, by the jackknife.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  ddpm quality --n 1000 --ddim 50\n  ddpm quality --model runs/paintings --training ~/paintings --held-out assets/paintings --whole"
)]
pub(super) struct Quality {
    #[command(flatten)]
    model: ModelArgs,

    /// How many samples
    #[arg(long, default_value_t = 1000, value_parser = whole(16..))]
    n: usize,

    /// Steps of DDIM that draw them
    #[arg(long, value_name = "STEPS", default_value_t = 50, value_parser = counting())]
    ddim: usize,

    /// DDIM's noise: 0 is none, 1 as much as Algorithm 2
    #[arg(long, default_value_t = 0.0, value_parser = fraction)]
    eta: f64,

    /// Of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// The folder of pictures that the network was trained on
    #[arg(long, value_name = "DIR", requires = "held_out")]
    training: Option<PathBuf>,

    /// A folder of pictures that it was not
    #[arg(long, value_name = "DIR", requires = "training")]
    held_out: Option<PathBuf>,

    /// Whole pictures instead of crops at three scales: each example holds at least so many percent of the shorter side
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, default_missing_value = WHOLE, value_parser = percent(), requires = "training")]
    whole: Option<u8>,

    /// Write the numbers as a table, too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A number with its error.
#[derive(Serialize)]
pub(super) struct Measure {
    pub images: &'static str,
    pub measure: &'static str,
    pub value: f64,
    pub std_error: f64,
}

impl Measure {
    fn new(images: &'static str, measure: &'static str, value: Estimate) -> Measure {
        Measure { images, measure, value: value.mean, std_error: value.std_error }
    }
}

impl Quality {
    pub(super) fn run(self) -> Result<()> {
        self.out.as_deref().map_or(Ok(()), check_file)?;
        let model = self.model.load()?;
        few_enough(self.n, image_shape(&model))?;
        let T = model.reverse.schedule.T();
        if self.ddim > T {
            bail!(Error::argument("--ddim", format!("1 to {T} steps"), self.ddim));
        }
        let shape @ [h, w, c] = model.picture_shape();
        let draw = || {
            let x0 = fast(&model, &Wish::new(self.n, self.seed), self.ddim, self.eta);
            Images::new("samples", to_u8(&x0), None)
        };
        let measures = match (&self.training, &self.held_out) {
            (Some(training), Some(held_out)) => {
                let cut = Cut { size: [h, w], whole: self.whole, holdout: None };
                if h % BLOCKS != 0 || w % BLOCKS != 0 {
                    let found = format!("{h}x{w}");
                    bail!(Error::argument(
                        "--model",
                        format!("a network of pictures whose sides are multiples of {BLOCKS}"),
                        found
                    ));
                }
                let (training, held_out) =
                    (several(training, "--training", &cut, c)?, several(held_out, "--held-out", &cut, c)?);
                of_pictures(&draw(), &training, &held_out)
            }
            _ if shape == [28, 28, 1] => of_garments(&draw())?,
            _ => {
                let found = format!("one of {h}x{w}x{c}");
                bail!(Error::argument(
                    "--model",
                    "a network of garments, or --training and --held-out",
                    found
                ))
            }
        };
        for m in &measures {
            show!("{:16}{:52}{:>10.4} ± {:.4}", m.images, m.measure, m.value, m.std_error);
        }
        self.out.map_or(Ok(()), |out| tables::save_csv(&out, &measures))
    }
}

/// A folder of at least three pictures: fewer have no spread to speak of.
fn several(folder: &Path, name: &str, cut: &Cut, channels: usize) -> Result<Dataset> {
    let data = pictures(folder, cut, channels, false)?;
    if data.len() < 3 {
        bail!(Error::argument(name, "a folder of at least 3 pictures", data.len()));
    }
    Ok(data)
}

/// What a classifier makes of them, beside as many test images.
fn of_garments(samples: &Images) -> Result<Vec<Measure>> {
    let n = samples.len();
    let test = data::fashion_mnist_test();
    if n + 1000 > test.len() {
        bail!(Error::argument(
            "--n",
            format!("at most {}, so that real images are left", test.len() - 1000),
            n
        ));
    }
    let classifier = Classifier::shipped()?;
    let (all, drawn) = (classifier.judge(&test.pixels), classifier.judge(&samples.pixels));
    let real = Real::new(n, &all);
    let rows = (0..n).collect::<Vec<_>>();
    let first = all.features.select(Axis(0), &rows);
    Ok([("samples", &drawn.features), ("test images", &first)]
        .into_iter()
        .flat_map(|(name, features)| {
            [
                Measure::new(name, "Fréchet distance to the other test images", real.distance(features)),
                Measure::new(name, "kernel distance to them", real.kernel_distance(features)),
            ]
        })
        .chain([Measure::new("samples", "the classifier's confidence", Estimate::of(&drawn.confidences()))])
        .collect())
}

/// How rough, how composed, and how new.
pub(super) fn of_pictures(samples: &Images, training: &Dataset, held_out: &Dataset) -> Vec<Measure> {
    const MANY: usize = 1000;
    let (known, others) = (training.fixed(MANY), held_out.fixed(MANY));
    let sets = [("samples", samples), ("training", &known), ("held out", &others)];
    let rough = sets.map(|(name, images)| {
        let each = |rows: &[usize]| roughness(&images.select(rows));
        Measure::new(
            name,
            "difference of neighbouring pixels, grey levels",
            jackknife(images.len(), PARTS.min(images.len()), each),
        )
    });
    let target = Moments::of(&thumbnails(&others, BLOCKS));
    let composed = sets[..2].iter().map(|&(name, images)| {
        let small = thumbnails(images, BLOCKS);
        let each = |rows: &[usize]| frechet_distance(&Moments::of(&small.select(Axis(0), rows)), &target);
        Measure::new(
            name,
            "Fréchet distance of 4x4 thumbnails to held-out ones",
            jackknife(images.len(), PARTS.min(images.len()), each),
        )
    });
    let ratios = novelty(samples, training, held_out);
    let at = |rows: &[usize]| median(rows.iter().map(|&i| ratios[i]).collect());
    let new = Measure::new(
        "samples",
        "distance to the nearest training picture, ratio",
        jackknife(ratios.len(), PARTS, at),
    );
    rough.into_iter().chain(composed).chain([new]).collect()
}

/// For each sample the distance to the nearest training picture (at any place, scale and in a mirror), over the median of that
/// distance for pictures that are held out.
pub(super) fn novelty(samples: &Images, training: &Dataset, held_out: &Dataset) -> Vec<f64> {
    let others = held_out.overview();
    let both = concatenate![Axis(0), others.pixels.view(), samples.pixels.view()];
    let found = copies(&Images::new("", both, None), training.crops_by_picture(STRIDE));
    let mut others: Vec<f64> = found.into_iter().map(|(_, distance)| distance).collect();
    let samples = others.split_off(held_out.len());
    let usual = median(others);
    samples.into_iter().map(|d| d / usual).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Training images are no news: their distance is 0, in a mirror too. Those held out have a ratio of about 1.
    #[test]
    fn a_copy_is_no_news() {
        let images = data::fashion_mnist_test();
        let of = |from: usize, to: usize| images.select(&(from..to).collect::<Vec<_>>());
        let [training, held_out] = [of(0, 60), of(60, 100)].map(|images| Dataset::from_images(&images));
        let mirrored = Images::new("", data::flip_horizontal(&of(0, 16).pixels), None);
        assert_eq!(novelty(&mirrored, &training, &held_out), [0.0; 16]);
        assert_eq!(median(novelty(&of(60, 100), &training, &held_out)), 1.0);
        let rows = of_pictures(&of(0, 60), &training, &held_out);
        let value = |n: usize| (rows[n].value, rows[n].std_error);
        assert!(value(0) == value(1) && value(0) != value(2) && value(3) == value(4));
        assert_eq!(value(5), (0.0, 0.0));
    }
}
