//! `ddpm sample`: uncurated samples, and every step on the way.

use super::model::{ModelArgs, image_shape};
use super::numbers::{at_least_minus_one, counting, fraction};
use super::progress::Progress;
use super::together::{ranks, shared};
use crate::cli::say::show;
use anyhow::{Context, Result, bail};
use clap::Args;
use ddpm::Error;
use ddpm::checkpoint::{Classes, Pretrained};
use ddpm::data::to_u8;
use ddpm::diffusion::{
    Conditioned, Ddim, Given, Guided, Noise, Query, Snapshot, Spacing, Watched, ddim_sample, progressive,
};
use ddpm::figures::{Figure, Grid};
use ddpm::tensor::Batch;
use ndarray::{Axis, concatenate, s};
use std::path::PathBuf;

/// Draw samples (Algorithm 2, or DDIM)
#[derive(Args)]
#[command(
    after_help = "Examples:\n  ddpm sample --n 16 --out samples.png\n  ddpm sample --ddim 50 --eta 0\n  ddpm sample --n 8 --steps-out denoising.png\n  ddpm sample --model told --class sneaker --guidance 1"
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

    /// What is drawn, by name or number; of several classes in turn (for networks that know classes)
    #[arg(long, value_name = "CLASS", value_delimiter = ',')]
    class: Vec<String>,

    /// How far beyond the class: w of Ho & Salimans, ε̃ = (1 + w) ε̂(x, class) − w ε̂(x). 0 asks for the class alone, −1 for
    /// none. Others count s = 1 + w, as diffusers' guidance_scale does
    #[arg(long, value_name = "W", default_value_t = 0.0, requires = "class", allow_hyphen_values = true, value_parser = at_least_minus_one)]
    guidance: f64,
}

impl Sample {
    pub(super) fn run(self) -> Result<()> {
        [Some(&self.out), self.steps_out.as_ref()].into_iter().flatten().try_for_each(Figure::check_path)?;
        let model = self.model.load()?;
        let T = model.reverse.schedule.T();
        few_enough(self.n, image_shape(&model))?;
        let wish = Wish { given: self.given(&model)?, w: self.guidance, ..Wish::new(self.n, self.seed) };
        let (x0, steps) = match self.ddim {
            Some(steps) if !(1..=T).contains(&steps) => {
                bail!(Error::argument("--ddim", format!("1 to {T} steps"), steps));
            }
            Some(steps) => (fast(&model, &wish, steps, self.eta), vec![]),
            None => draw(&model, &wish, &every_fifty(T)),
        };
        if !ranks().is_first() {
            return Ok(());
        }
        samples(&x0).save(&self.out)?;
        show!("{}", self.out.display());
        if let Some(path) = self.steps_out {
            denoising(&steps, &x0, self.n.min(8)).save(&path)?;
            show!("{}", path.display());
        }
        Ok(())
    }
}

impl Sample {
    /// The class of each sample.
    fn given(&self, model: &Pretrained) -> Result<Given> {
        if self.class.is_empty() {
            return Ok(Given::default());
        }
        let Some(rows) = model.unet.config.num_class_embeds else {
            bail!(Error::argument("--class", "a network that knows classes", "one that knows none"));
        };
        let unnamed = || Classes { names: (0..rows).map(|n| n.to_string()).collect(), drop_label: 0.0 };
        let classes = model.about.classes.clone().unwrap_or_else(unnamed);
        let numbers = self.class.iter().map(|name| classes.number(name)).collect::<Result<Vec<_>, _>>();
        let numbers = numbers.context("--class")?;
        if self.guidance != 0.0 && classes.drop_label == 0.0 {
            let found = "a network that never learned to do without a class";
            bail!(Error::argument("--guidance", "0 for a network trained without --drop-label", found));
        }
        Ok(Given::classes(&numbers.into_iter().cycle().take(self.n).collect::<Vec<_>>()))
    }
}

/// What is asked of a network.
pub(super) struct Wish {
    /// how many
    pub n: usize,
    /// of everything random
    pub seed: u64,
    /// what is given of each
    pub given: Given,
    /// how far beyond the class
    pub w: f64,
}

impl Wish {
    /// Anything.
    pub(super) fn new(n: usize, seed: u64) -> Wish {
        Wish { n, seed, given: Given::default(), w: 0.0 }
    }
}

/// What is drawn at once must fit into memory, several times over.
pub(super) fn few_enough(n: usize, [h, w, c]: [usize; 3]) -> Result<()> {
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

/// Samples by Algorithm 2, and what stood at the steps `keep`.
pub(super) fn draw(model: &Pretrained, wish: &Wish, keep: &[usize]) -> (Batch, Vec<Snapshot>) {
    let ([h, w, c], n) = (image_shape(model), wish.n);
    let progress = Progress::new(format!("{n} samples"), model.reverse.schedule.T());
    let before = |query: &Query| progress.step(format!("t = {}", query.t[0]));
    let watched = Watched { model: &shared(&model.unet), before };
    let asked = Conditioned { model: &Guided { model: &watched, w: wish.w }, given: wish.given.clone() };
    let drawn = progressive(&asked, &model.reverse, [n, h, w, c], keep, &Noise::seed(wish.seed));
    progress.finish();
    let (x0, mut steps) = drawn;
    for step in &mut steps {
        for x in [&mut step.x_t, &mut step.x0_hat] {
            *x = model.pictures(std::mem::take(x));
        }
    }
    (model.pictures(x0), steps)
}

/// Samples by DDIM.
pub(super) fn fast(model: &Pretrained, wish: &Wish, steps: usize, eta: f64) -> Batch {
    let ([h, w, c], n) = (image_shape(model), wish.n);
    let progress = Progress::new(format!("{n} samples, DDIM"), steps);
    let watched = Watched { model: &shared(&model.unet), before: |_: &Query| progress.step("") };
    // for a guided network; without guidance too, so that w alone makes a difference
    let rederive_eps = model.unet.config.num_class_embeds.is_some();
    let ddim = Ddim { eta, spacing: Spacing::of(&model.reverse.schedule), rederive_eps, ..Ddim::new(steps) };
    let asked = Conditioned { model: &Guided { model: &watched, w: wish.w }, given: wish.given.clone() };
    let x0 = ddim_sample(&asked, &model.reverse, &ddim, [n, h, w, c], &Noise::seed(wish.seed));
    progress.finish();
    model.pictures(x0)
}

/// Samples in rows as long as columns are high.
pub(super) fn samples(x0: &Batch) -> Figure {
    let columns = (x0.len_of(Axis(0)) as f64).sqrt().ceil() as usize;
    Grid::new(&to_u8(x0), columns).figure()
}

/// So many times for images of up to 32 pixels a side, and once less for larger ones.
pub(super) fn magnified(images: &Batch, times: usize) -> usize {
    if images.len_of(Axis(1)) > 32 { times - 1 } else { times }
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
        .scale(magnified(x0, 2))
        .column_labels(columns.map(|t| if t == steps[0].t { format!("t = {t}") } else { t.to_string() }))
        .row_labels(labels)
        .figure()
}
