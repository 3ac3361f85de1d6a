//! `ddpm sample`: uncurated samples, and every step on the way.

use super::model::{ModelArgs, image_shape};
use super::numbers::{counting, fraction};
use super::progress::Progress;
use crate::cli::say::show;
use anyhow::{Result, bail};
use clap::Args;
use ddpm::Error;
use ddpm::checkpoint::Pretrained;
use ddpm::data::to_u8;
use ddpm::diffusion::{Ddim, Noise, Query, Snapshot, Spacing, Watched, ddim_sample, progressive};
use ddpm::figures::{Figure, Grid};
use ddpm::tensor::Batch;
use ndarray::{Axis, concatenate, s};
use std::path::PathBuf;

/// Draw samples (Algorithm 2, or DDIM)
#[derive(Args)]
#[command(
    after_help = "Examples:\n  ddpm sample --n 16 --out samples.png\n  ddpm sample --ddim 50 --eta 0\n  ddpm sample --n 8 --steps-out denoising.png"
)]
pub(super) struct Sample {
    #[command(flatten)]
    model: ModelArgs,

    /// How many
    #[arg(long, default_value_t = 64, value_parser = counting())]
    n: usize,

    /// Of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// The picture to write, .png or .svg
    #[arg(long, value_name = "FILE", default_value = "samples.png")]
    out: PathBuf,

    /// Also draw x_t and x̂_0 on the way, for the first samples (Algorithm 2 only)
    #[arg(long, value_name = "FILE", conflicts_with = "ddim")]
    steps_out: Option<PathBuf>,

    /// Use DDIM with so many steps instead of all T: down to t = 1, or down from T where nothing is left of the image in x_T
    #[arg(long, value_name = "STEPS", value_parser = counting())]
    ddim: Option<usize>,

    /// DDIM's noise: 0 is none, 1 as much as Algorithm 2
    #[arg(long, default_value_t = 0.0, requires = "ddim", value_parser = fraction)]
    eta: f64,
}

impl Sample {
    pub(super) fn run(self) -> Result<()> {
        [Some(&self.out), self.steps_out.as_ref()].into_iter().flatten().try_for_each(Figure::check_path)?;
        let model = self.model.load()?;
        let T = model.reverse.schedule.T();
        few_enough(self.n, image_shape(&model))?;
        let (x0, steps) = match self.ddim {
            Some(steps) if !(1..=T).contains(&steps) => {
                bail!(Error::argument("--ddim", format!("1 to {T} steps"), steps));
            }
            Some(steps) => (fast(&model, self.n, steps, self.eta, self.seed), vec![]),
            None => draw(&model, self.n, &every_fifty(T), self.seed),
        };
        samples(&x0).save(&self.out)?;
        show!("{}", self.out.display());
        if let Some(path) = self.steps_out {
            denoising(&steps, &x0, self.n.min(8)).save(&path)?;
            show!("{}", path.display());
        }
        Ok(())
    }
}

/// What is drawn at once must fit into memory, several times over.
fn few_enough(n: usize, [h, w, c]: [usize; 3]) -> Result<()> {
    const NUMBERS: usize = 1 << 26; // half a GiB each for x_t, z, ε̂ and x̂_0
    let most = NUMBERS / (h * w * c);
    if n <= most {
        return Ok(());
    }
    bail!(Error::argument("--n", format!("at most {most} samples of {h}x{w}x{c} at once"), n))
}

/// The t of the paper's Figs. 6 and 14: T, and every fiftieth part of a thousand below it.
pub(super) fn every_fifty(T: usize) -> Vec<usize> {
    let step = (T / 20).max(1);
    (1..=T).filter(|t| t % step == 0).collect()
}

/// `n` samples by Algorithm 2, and what stood at the steps `keep`.
pub(super) fn draw(model: &Pretrained, n: usize, keep: &[usize], seed: u64) -> (Batch, Vec<Snapshot>) {
    let [h, w, c] = image_shape(model);
    let progress = Progress::new(format!("{n} samples"), model.reverse.schedule.T());
    let before = |query: &Query| progress.step(format!("t = {}", query.t[0]));
    let watched = Watched { model: &model.unet, before };
    let drawn = progressive(&watched, &model.reverse, [n, h, w, c], keep, &Noise::seed(seed));
    progress.finish();
    drawn
}

/// `n` samples by DDIM.
pub(super) fn fast(model: &Pretrained, n: usize, steps: usize, eta: f64, seed: u64) -> Batch {
    let [h, w, c] = image_shape(model);
    let progress = Progress::new(format!("{n} samples, DDIM"), steps);
    let watched = Watched { model: &model.unet, before: |_: &Query| progress.step("") };
    let ddim = Ddim { eta, spacing: Spacing::of(&model.reverse.schedule), ..Ddim::new(steps) };
    let x0 = ddim_sample(&watched, &model.reverse, &ddim, [n, h, w, c], &Noise::seed(seed));
    progress.finish();
    x0
}

/// Samples in rows as long as columns are high.
pub(super) fn samples(x0: &Batch) -> Figure {
    let columns = (x0.len_of(Axis(0)) as f64).sqrt().ceil() as usize;
    Grid::new(&to_u8(x0), columns).figure()
}

/// Two rows per sample, x_t and x̂_0, over the steps that were kept; the last column is the sample.
pub(super) fn denoising(steps: &[Snapshot], x0: &Batch, n: usize) -> Figure {
    let mut rows = Vec::new();
    for i in 0..n {
        let one = |x: &Batch| x.slice(s![i..i + 1, .., .., ..]).to_owned();
        rows.extend(steps.iter().map(|step| one(&step.x_t)).chain([one(x0)]));
        rows.extend(steps.iter().map(|step| one(&step.x0_hat)).chain([one(x0)]));
    }
    let views: Vec<_> = rows.iter().map(|row| row.view()).collect();
    let images = concatenate(Axis(0), &views).expect("images of one shape");
    let columns = steps.iter().map(|step| step.t).chain([0]);
    let labels = (0..n).flat_map(|_| ["x_{t}", "x\u{302}_{0}"]);
    Grid::new(&to_u8(&images), steps.len() + 1)
        .scale(2)
        .column_labels(columns.map(|t| if t == steps[0].t { format!("t = {t}") } else { t.to_string() }))
        .row_labels(labels)
        .figure()
}
