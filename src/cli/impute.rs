//! `ddpm impute`: what is missing in pictures and in series, drawn many times.

use super::data::as_batch;
use super::model::{ModelArgs, image_shape};
use super::numbers::{counting, whole};
use super::progress::Progress;
use super::sample::few_enough;
use super::together::{ranks, shared};
use crate::cli::say::show;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use ddpm::checkpoint::{Pretrained, TOLD, WEATHER};
use ddpm::data::{Scale, Series, fashion_mnist_test, to_u8};
use ddpm::diffusion::{
    Conditioned, Given, Jumps, Known, Noise, Query, Watched, paste, repaint, respace, sample,
};
use ddpm::figures::{Chart, Figure, Grid};
use ddpm::files::{check_file, write_atomically};
use ddpm::quality::quantiles;
use ddpm::tensor::Batch;
use ddpm::{Error, Fault};
use ndarray::{Array2, Array3, Axis, concatenate, s};
use std::path::{Path, PathBuf};

/// Fill in what is missing: of a picture, or of a series
///
/// A network that was trained for it (`ddpm train --masks`) is shown what is known (CSDI). Any other one is led there by
/// replacing the known pixels at every step, and by climbing the chain again and again (RePaint): slower, and worse.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  ddpm impute --image 7 --half lower --n 8 --out halves.png\n  ddpm impute --model garments --image shoe.png --mask mask.png --steps 100\n  ddpm impute --series gaps.csv --out filled.csv --plot filled.svg"
)]
pub(super) struct Impute {
    #[command(flatten)]
    model: ModelArgs,

    /// A picture as large as the network's, or the number of a shipped test image
    #[arg(long, value_name = "FILE|NUMBER", conflicts_with = "series", required_unless_present = "series")]
    image: Option<String>,

    /// A picture as large as the image, white where it is known and black where it is to be filled in
    #[arg(long, value_name = "FILE", conflicts_with_all = ["half", "series"])]
    mask: Option<PathBuf>,

    /// Which half is to be filled in [default: lower]
    #[arg(long, value_name = "HALF", conflicts_with = "series")]
    half: Option<Half>,

    /// A CSV file with gaps; columns as the network's series has them
    #[arg(long, value_name = "FILE")]
    series: Option<PathBuf>,

    /// How many times
    #[arg(long, default_value_t = 8, value_parser = counting())]
    n: usize,

    /// Steps of the chain [default: 100, or all if it has fewer]
    #[arg(long, value_parser = counting())]
    steps: Option<usize>,

    /// RePaint: how many steps it climbs at a time
    #[arg(long, default_value_t = 10, value_parser = counting())]
    jump: usize,

    /// RePaint: how often each stretch is walked; 1 is replacement alone
    #[arg(long, default_value_t = 10, value_parser = whole(1..=1000))]
    resample: usize,

    /// Of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// What to write: a picture, .png or .svg; of a series its values, medians and 5 % and 95 % quantiles, .csv [default:
    /// imputed.png or imputed.csv]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Also draw the series with its bands
    #[arg(long, value_name = "FILE", requires = "series")]
    plot: Option<PathBuf>,
}

/// A half of a picture.
#[derive(Clone, Copy, ValueEnum)]
enum Half {
    Lower,
    Upper,
    Left,
    Right,
}

impl Impute {
    pub(super) fn run(self) -> Result<()> {
        match &self.series {
            Some(path) => self.series(path),
            None => self.picture(),
        }
    }

    fn picture(&self) -> Result<()> {
        let out = self.out.clone().unwrap_or("imputed.png".into());
        Figure::check_path(&out)?;
        let model = self.model.load_or(&TOLD)?;
        if model.about.series.is_some() {
            bail!(Error::argument("--model", "a network of pictures", "one of series"));
        }
        let [h, w, c] = image_shape(&model);
        let image = self.image([h, w, c])?;
        let mask = self.mask([h, w])?;
        let known = Known { values: image.clone(), mask };
        let drawn = self.fill_in(&model, &known)?;
        if !ranks().is_first() {
            return Ok(());
        }
        let grey = Known { values: Batch::zeros(image.raw_dim()), mask: known.mask.mapv(|m| 1.0 - m) };
        let all = concatenate![Axis(0), image, paste(&image, &grey), drawn];
        let columns = all.len_of(Axis(0)).min(10);
        Grid::new(&to_u8(&all), columns).scale(if h < 64 { 3 } else { 1 }).figure().save(&out)?;
        show!("{}", out.display());
        Ok(())
    }

    /// `[1, H, W, C]`.
    fn image(&self, shape: [usize; 3]) -> Result<Batch> {
        let name = self.image.as_deref().expect("clap asks for it");
        if let Ok(number) = name.parse::<usize>() {
            let images = fashion_mnist_test();
            if number >= images.len() {
                bail!(Error::argument("--image", format!("a file, or 0 to {}", images.len() - 1), number));
            }
            let image = images.select(&[number]);
            return if image.shape() == shape {
                Ok(as_batch(&image))
            } else {
                self.other_size("--image", shape, image.shape())
            };
        }
        let pixels = pixels(Path::new(name), shape[2]).context("--image")?;
        let (h, w, c) = pixels.dim();
        if [h, w, c] != shape {
            return self.other_size("--image", shape, [h, w, c]);
        }
        Ok(ddpm::data::to_unit(&pixels.insert_axis(Axis(0))))
    }

    /// 1 where a pixel is known, `[1, H, W, 1]`.
    fn mask(&self, [h, w]: [usize; 2]) -> Result<Batch> {
        let Some(path) = &self.mask else {
            let known = |y: usize, x: usize| match self.half.unwrap_or(Half::Lower) {
                Half::Lower => y < h / 2,
                Half::Upper => y >= h / 2,
                Half::Left => x >= w / 2,
                Half::Right => x < w / 2,
            };
            return Ok(Batch::from_shape_fn((1, h, w, 1), |(_, y, x, _)| f64::from(u8::from(known(y, x)))));
        };
        let pixels = pixels(path, 1).context("--mask")?;
        let (mh, mw, _) = pixels.dim();
        if [mh, mw] != [h, w] {
            return self.other_size("--mask", [h, w, 1], [mh, mw, 1]);
        }
        Ok(pixels.mapv(|level| f64::from(u8::from(level >= 128))).insert_axis(Axis(0)))
    }

    fn other_size<T>(&self, argument: &str, [h, w, c]: [usize; 3], [fh, fw, fc]: [usize; 3]) -> Result<T> {
        bail!(Error::argument(
            argument,
            format!("{h}x{w} pixels of {c} channels"),
            format!("{fh}x{fw} of {fc}")
        ))
    }

    /// `n` times what is missing in one example, `[n, H, W, C]`.
    fn fill_in(&self, model: &Pretrained, known: &Known) -> Result<Batch> {
        few_enough(self.n, image_shape(model))?;
        let T = model.reverse.schedule.T();
        let steps = self.steps.unwrap_or(100.min(T));
        if steps > T {
            bail!(Error::argument("--steps", format!("1 to {T}"), steps));
        }
        let jumps = Jumps { jump: self.jump, resamples: self.resample };
        Ok(filled(model, &known.rows(&vec![0; self.n]), (steps, jumps), self.seed))
    }

    fn series(&self, path: &Path) -> Result<()> {
        let out = self.out.clone().unwrap_or("imputed.csv".into());
        check_file(&out)?;
        self.plot.iter().try_for_each(Figure::check_path)?;
        let model = self.model.load_or(&WEATHER)?;
        let Some(scale) = &model.about.series else {
            bail!(Error::argument(
                "--model",
                "a network of series, as `ddpm train --series` makes",
                "one of pictures"
            ));
        };
        let series = Series::read_csv(path).context("--series")?;
        if series.columns != scale.columns {
            let found = series.columns.join(", ");
            bail!(Error::argument("--series", format!("the columns {}", scale.columns.join(", ")), found));
        }
        let filled = self.fill_series(&model, &series, scale)?;
        if !ranks().is_first() {
            return Ok(());
        }
        write_atomically(&out, &filled.csv(&series)?)?;
        show!("{}: {} gaps", out.display(), series.values.iter().filter(|v| v.is_nan()).count());
        if let Some(plot) = &self.plot {
            filled.figure(&series).save(plot)?;
            show!("{}", plot.display());
        }
        Ok(())
    }

    /// Every gap in the window in whose middle it is nearest to be.
    fn fill_series(&self, model: &Pretrained, series: &Series, scale: &Scale) -> Result<Filled> {
        let [k, length, _] = image_shape(model);
        let rows = series.values.nrows();
        let (values, observed) = scale.standardise(series.values.view());
        let starts: Vec<usize> = match rows.checked_sub(length) {
            None => vec![0],
            Some(last) => (0..last).step_by(length / 2).chain([last]).collect(),
        };
        let home = |row: usize| {
            let off = |start: usize| (start + length / 2).abs_diff(row);
            (0..starts.len()).min_by_key(|&i| off(starts[i])).expect("at least one window")
        };
        let mut filled = Filled { levels: [0; 3].map(|_| series.values.clone()) };
        for (i, &start) in starts.iter().enumerate() {
            let end = rows.min(start + length);
            let gaps: Vec<(usize, usize)> = (start..end)
                .flat_map(|row| (0..k).map(move |column| (row, column)))
                .filter(|&(row, column)| observed[[column, row]] == 0.0 && home(row) == i)
                .collect();
            if gaps.is_empty() {
                continue;
            }
            // beyond the end of a short series nothing is known
            let (mut x, mut m) = (Batch::zeros((1, k, length, 1)), Batch::zeros((1, k, length, 1)));
            x.slice_mut(s![0, .., ..end - start, 0]).assign(&values.slice(s![.., start..end]));
            m.slice_mut(s![0, .., ..end - start, 0]).assign(&observed.slice(s![.., start..end]));
            let drawn = self.fill_in(model, &Known { values: x, mask: m })?;
            for (row, column) in gaps {
                let found = quantiles(drawn.slice(s![.., column, row - start, 0]), LEVELS);
                for (level, x) in filled.levels.iter_mut().zip(found) {
                    level[[row, column]] = scale.quantity(column, x);
                }
            }
        }
        Ok(filled)
    }
}

/// What is missing, in so many steps: shown what is known if the network has learned to see it, else by RePaint.
pub(super) fn filled(model: &Pretrained, known: &Known, (steps, jumps): (usize, Jumps), seed: u64) -> Batch {
    let (n, h, w, c) = known.values.dim();
    let sees = model.unet.config.sees_known();
    let total = if sees { steps } else { jumps.reverse_steps(steps) };
    let progress = Progress::new(format!("{n} imputations"), total);
    let watched = Watched { model: &shared(&model.unet), before: |_: &Query| progress.step("") };
    let (short, reverse) = respace(&watched, &model.reverse, steps);
    let noise = Noise::seed(seed);
    let filled = if sees {
        let asked = Conditioned { model: &short, given: Given::known(known.clone()) };
        paste(&sample(&asked, &reverse, [n, h, w, c], &noise), known)
    } else {
        repaint(&short, &reverse, known, jumps, &noise)
    };
    progress.finish();
    filled
}

/// A file's pixels, `[H, W, channels]`.
fn pixels(path: &Path, channels: usize) -> Result<Array3<u8>> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let wrong = |e: image::ImageError| Fault::at(path)(Fault::format("a picture", e));
    let picture = image::load_from_memory(&bytes).map_err(wrong)?;
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    let raw = if channels == 1 { picture.into_luma8().into_raw() } else { picture.into_rgb8().into_raw() };
    Ok(Array3::from_shape_vec((h, w, channels), raw).expect("as many pixels"))
}

/// What is written of the samples of a missing value.
const LEVELS: [f64; 3] = [0.5, 0.05, 0.95];

/// Medians, and the 5 % and 95 % quantiles; where there was a value, that value.
struct Filled {
    levels: [Array2<f64>; 3],
}

impl Filled {
    fn csv(&self, series: &Series) -> Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let names = |column: &String| [column.clone(), format!("{column}_q05"), format!("{column}_q95")];
        writer.write_record(["time".to_string()].into_iter().chain(series.columns.iter().flat_map(names)))?;
        for (row, time) in series.times.iter().enumerate() {
            let cells = (0..series.columns.len())
                .flat_map(|column| self.levels.each_ref().map(|level| level[[row, column]]));
            writer.write_record([time.clone()].into_iter().chain(cells.map(|v| format!("{v:.4}"))))?;
        }
        Ok(writer.into_inner().map_err(|e| e.into_error())?)
    }

    /// A panel for each column: what was known, the median, and the band in which nine of ten samples lie.
    fn figure(&self, series: &Series) -> Figure {
        let rows: Vec<f64> = (1..=series.times.len()).map(|row| row as f64).collect();
        let panel = |(column, name): (usize, &String)| {
            let [median, low, high] = self.levels.each_ref().map(|level| level.column(column).to_vec());
            let known = series.values.column(column);
            let (x, y): (Vec<f64>, Vec<f64>) = rows.iter().zip(known).filter(|(_, v)| v.is_finite()).unzip();
            Chart::new("row", name.as_str())
                .line("median", &rows, &median)
                .band(&rows, &low, &high)
                .points("known", &x, &y)
        };
        Chart::panels(series.columns.iter().enumerate().map(panel).collect(), 1, (900, 220))
    }
}
