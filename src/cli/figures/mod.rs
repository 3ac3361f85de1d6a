//! `ddpm figures`: the main job. Every figure and table from shipped weights, shipped data and fixed seeds.

mod ablation;
mod bound;
mod chains;
mod guidance;
mod immiscible;
mod imputation;
mod latent;
mod latents;
mod likelihood;
mod neighbours;
mod noise;
mod noise_garments;
mod quality;
mod real;
mod studio;
mod tradeoff;

pub(super) use neighbours::Excerpt;
pub(super) use real::{PARTS, Real};

use crate::cli::say::{note, show};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use ddpm::data::{Dataset, FolderOptions, load_folder};
use ddpm::files::check_folder;
use std::path::{Path, PathBuf};
use std::time::Instant;
use studio::Studio;

/// Render every figure and table of the results, from shipped weights and data
///
/// Minutes on two cores. The committed files in figures/ were made by this command with its defaults.
#[derive(Args)]
#[command(after_help = "Examples:\n  ddpm figures\n  ddpm figures --only samples,elbo --out preview")]
pub(super) struct Figures {
    /// Where the files go
    #[arg(long, value_name = "DIR", default_value = "figures")]
    out: PathBuf,

    /// Only these
    #[arg(long, value_delimiter = ',')]
    only: Vec<Name>,

    /// Compute also what takes long, thousands of samples; else it comes from the tables that this wrote the last time
    #[arg(long)]
    all: bool,

    /// The training paintings, as assets/paintings-ddpm/collect.py fetches them: compute what is said of them, too
    #[arg(long, value_name = "DIR")]
    paintings: Option<PathBuf>,

    /// Of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A folder of paintings as the network was trained on them.
fn whole(folder: &Path) -> Result<Dataset> {
    let (pictures, report) = load_folder(folder, &FolderOptions::whole(32)).context("--paintings")?;
    note!("{report}");
    Ok(pictures)
}

/// A figure or table by its name, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// ᾱ_t and log-SNR of four schedules
    Schedules,
    /// losses of the trainings
    Loss,
    /// uncurated samples (Figs. 1, 13)
    Samples,
    /// x_t and x̂_0 on the way, also as animations (Figs. 6, 14)
    Denoising,
    /// the two chains, with a sample's own x_t (Fig. 2)
    GraphicalModel,
    /// what a classifier makes of the samples, and of x̂_0 on the way (Fig. 10)
    Quality,
    /// the training images nearest to samples (Figs. 12, 15)
    Neighbours,
    /// images that share x_t (Fig. 7)
    SharedLatents,
    /// two images mixed at nine depths (Figs. 8, 9)
    Interpolation,
    /// every term of the bound, rate and distortion, weights (Eq. 5, Fig. 5, Table 4)
    Elbo,
    /// bits per dimension on test and training images, beside PNG and WebP (Table 1)
    Likelihood,
    /// a network trained for pictures and one for the bound (Table 1)
    Tradeoff,
    /// predictions, variances and losses compared (Table 2)
    Ablation,
    /// fewer steps (DDIM)
    FastSampling,
    /// samples of a class, and what guidance does to them
    Guidance,
    /// what is missing in series and garments, filled in (CSDI, RePaint)
    Imputation,
    /// which noise meets which image, and what it does (immiscible diffusion)
    Immiscible,
    /// a diffusion model behind an autoencoder: samples, cost, and its bound term by term
    Latent,
    /// noise levels that are learned, in worlds of Gaussians and on garments (VDM, MuLAN)
    Noise,
}

impl Name {
    fn make(self, studio: &Studio) -> Result<()> {
        match self {
            Name::Schedules => bound::schedules(studio),
            Name::Loss => bound::losses(studio),
            Name::Samples => chains::samples(studio),
            Name::Denoising => chains::denoising(studio),
            Name::GraphicalModel => chains::graphical_model(studio),
            Name::Quality => quality::over_the_reverse_process(studio),
            Name::Neighbours => neighbours::neighbours(studio),
            Name::SharedLatents => latents::shared(studio),
            Name::Interpolation => latents::interpolation(studio),
            Name::Elbo => bound::decomposition(studio),
            Name::Likelihood => likelihood::table(studio),
            Name::Tradeoff => tradeoff::table(studio),
            Name::Ablation => ablation::table(studio),
            Name::FastSampling => quality::fast_sampling(studio),
            Name::Guidance => guidance::guidance(studio),
            Name::Imputation => imputation::gaussian_process(studio)
                .and_then(|()| imputation::garments(studio))
                .and_then(|()| imputation::halves(studio))
                .and_then(|()| imputation::weather(studio)),
            Name::Immiscible => immiscible::immiscible(studio),
            Name::Latent => latent::samples(studio).and_then(|()| latent::bound(studio)),
            Name::Noise => noise::schedules(studio)
                .and_then(|()| noise::path_independence(studio))
                .and_then(|()| noise_garments::garments(studio)),
        }
    }
}

impl Figures {
    pub(super) fn run(self) -> Result<()> {
        check_folder(&self.out)?;
        let started = Instant::now();
        let trained_on = self.paintings.as_deref().map(whole).transpose()?;
        let studio = Studio::new(self.out, self.seed, self.all, trained_on)?;
        for name in Name::value_variants() {
            if self.only.is_empty() || self.only.contains(name) {
                let started = Instant::now();
                name.make(&studio)?;
                let shown = name.to_possible_value().expect("every name can be written");
                note!("{:32} {:.1} s\n", format!("= {}", shown.get_name()), started.elapsed().as_secs_f64());
            }
        }
        show!("figures in {}, {:.0} s", studio.out.display(), started.elapsed().as_secs_f64());
        Ok(())
    }
}
