//! `ddpm figures`: the main job. Everything from shipped weights, shipped data and fixed seeds.

use super::elbo::{evaluate, save_csv, table, variants, weights, write_all};
use super::interpolate::{PAIR, coarse_to_fine, paper_depths};
use super::model::{as_batch, test_images, variance_name};
use super::sample::{denoising, draw, every_fifty, samples};
use clap::Args;
use ddpm::checkpoint::{self, Pretrained};
use ddpm::data::to_u8;
use ddpm::diffusion::{ElboOptions, Schedule, ScheduleKind};
use ddpm::figures::{self, ScheduleCurve, graphical_model};
use ddpm::train::LogRow;
use ddpm::{Error, Result};
use ndarray::{Axis, concatenate, s};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Render every figure and print the terms of the bound, from shipped weights and data
///
/// Minutes on two cores. The committed files in figures/ were made by this command with its defaults.
#[derive(Args)]
#[command(after_help = "Examples:\n  ddpm figures\n  ddpm figures --only samples,denoising --out preview")]
pub(super) struct Figures {
    /// Where the files go
    #[arg(long, value_name = "DIR", default_value = "figures")]
    out: PathBuf,

    /// Only these: schedules, chains, samples, denoising, interpolation, elbo, loss
    #[arg(long, value_delimiter = ',')]
    only: Option<Vec<Name>>,

    /// Of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Test images for the bound
    #[arg(long, default_value_t = 64)]
    images: usize,
}

/// A row of schedules.csv.
#[derive(serde::Serialize)]
struct ScheduleRow {
    schedule: String,
    t: usize,
    alpha_bar: f64,
}

/// A figure by its name.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    Schedules,
    Chains,
    Samples,
    Denoising,
    Interpolation,
    Elbo,
    Loss,
}

impl Figures {
    pub(super) fn run(self) -> Result<()> {
        let started = Instant::now();
        let model = checkpoint::shipped()?;
        std::fs::create_dir_all(&self.out).map_err(Error::io(&self.out))?;
        let wanted =
            |names: &[Name]| self.only.as_ref().is_none_or(|only| names.iter().any(|n| only.contains(n)));
        if wanted(&[Name::Schedules]) {
            self.schedules()?;
        }
        if wanted(&[Name::Loss]) {
            self.loss()?;
        }
        if wanted(&[Name::Samples, Name::Denoising, Name::Chains]) {
            self.chains(&model)?;
        }
        if wanted(&[Name::Interpolation]) {
            let images = as_batch(&test_images(None, &model, PAIR.0.max(PAIR.1) + 1)?);
            let (a, b) = (images.index_axis(Axis(0), PAIR.0), images.index_axis(Axis(0), PAIR.1));
            let depths = paper_depths(model.reverse.schedule.T());
            self.save("interpolation.png", &coarse_to_fine(&model, a, b, &depths, self.seed))?;
        }
        if wanted(&[Name::Elbo]) {
            self.elbo(&model)?;
        }
        println!("\nfigures in {}, {:.0} s", self.out.display(), started.elapsed().as_secs_f64());
        Ok(())
    }

    fn save(&self, name: &str, figure: &figures::Figure) -> Result<()> {
        figure.save(self.out.join(name))
    }

    /// ᾱ_t and log-SNR of the four schedules.
    fn schedules(&self) -> Result<()> {
        let curve = |kind: ScheduleKind| -> Result<ScheduleCurve> {
            let schedule: Schedule = kind.schedule(1000)?;
            let alpha_bar = (0..=1000).map(|t| schedule.alpha_bar(t)).collect();
            Ok(ScheduleCurve { name: kind.to_string(), alpha_bar })
        };
        let curves = ScheduleKind::ALL.into_iter().map(curve).collect::<Result<Vec<_>>>()?;
        let row =
            |(name, t, alpha_bar): (&str, usize, f64)| ScheduleRow { schedule: name.into(), t, alpha_bar };
        let rows =
            curves.iter().flat_map(|c| c.alpha_bar.iter().enumerate().map(|(t, &a)| (c.name.as_str(), t, a)));
        save_csv(&self.out.join("schedules.csv"), rows.map(row))?;
        self.save("schedules.png", &figures::schedules(&curves))
    }

    /// The loss log of the shipped network.
    fn loss(&self) -> Result<()> {
        let damaged = |e| Error::format(Path::new("assets/fashion-mnist-ddpm/loss.csv"), "a loss log", e);
        let rows: Vec<LogRow> = csv::Reader::from_reader(checkpoint::SHIPPED_LOG)
            .deserialize()
            .collect::<Result<_, _>>()
            .map_err(damaged)?;
        let curve = figures::LossCurve {
            name: String::new(),
            steps: rows.iter().map(|r| r.step as f64).collect(),
            losses: rows.iter().map(|r| r.loss).collect(),
        };
        self.save("loss.png", &figures::loss_curves(&[curve], 5))
    }

    /// Samples, all steps of denoising, and the two chains drawn with a sample's own x_t: one run of Algorithm 2.
    fn chains(&self, model: &Pretrained) -> Result<()> {
        let T = model.reverse.schedule.T();
        let (x0, steps) = draw(model, 64, &every_fifty(T), self.seed);
        self.save("samples.png", &samples(&x0))?;
        self.save("denoising.png", &denoising(&steps, &x0, 4))?;
        let first = |x: &ddpm::tensor::Batch| x.slice(s![..1, .., .., ..]).to_owned();
        let at = |t: usize| steps.iter().find(|s| s.t == t).map_or(first(&x0), |s| first(&s.x_t));
        let images = [at(T), at(T * 3 / 10), at(T / 4), first(&x0)];
        let views: Vec<_> = images.iter().map(|image| image.view()).collect();
        let images = concatenate(Axis(0), &views).expect("images of one shape");
        self.save("graphical_model.png", &graphical_model(Some(&to_u8(&images))))
    }

    /// The bound on test images, with σ² = β and β̃.
    fn elbo(&self, model: &Pretrained) -> Result<()> {
        let images = test_images(None, model, self.images)?;
        let variants = variants(&model.reverse);
        let bounds = evaluate(model, &variants, &as_batch(&images), &ElboOptions::default(), self.seed);
        println!("\n{}", table(&images.name, &variants, &bounds));
        let weights: Vec<_> = variants.iter().map(|v| (variance_name(v), weights(v))).collect();
        let weights: Vec<(&str, &[(usize, f64)])> =
            weights.iter().map(|(name, w)| (*name, w.as_slice())).collect();
        self.save("weights.png", &figures::elbo::weights(&weights))?;
        write_all(&self.out, &images.name, &variants, &bounds)
    }
}
