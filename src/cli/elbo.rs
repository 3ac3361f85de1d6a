//! `ddpm elbo`: the bound, term by term, and the rate–distortion curve.

use super::bound::{evaluate, table, variants, write_all};
use super::data::{as_batch, test_data};
use super::model::ModelArgs;
use super::numbers::{counting, whole};
use crate::cli::say::show;
use anyhow::{Result, bail};
use clap::Args;
use ddpm::Error;
use ddpm::diffusion::{Decoder, ElboOptions, TimeSteps};
use ddpm::files::check_folder;
use std::path::PathBuf;

/// Evaluate the bound on the negative log-likelihood, term by term (Eq. 5), in bits per dimension
///
/// Writes elbo.csv (every term), elbo.json (the totals), and elbo.png; at all t also rate_distortion.csv and .png.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  ddpm elbo --images 64\n  ddpm elbo --images 2000 --times 50\n  ddpm elbo --pretrained ~/ddpm-cifar10-32 --data ~/cifar-test --images 16"
)]
pub(super) struct ElboCommand {
    #[command(flatten)]
    model: ModelArgs,

    /// IDX files or pictures to evaluate [default: the shipped Fashion-MNIST test set]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Of a folder of pictures, only those that `ddpm train --holdout` leaves out
    #[arg(long, value_name = "EVERY", requires = "data", value_parser = whole(2..))]
    holdout: Option<usize>,

    /// How many images, from the first on
    #[arg(long, default_value_t = 64, value_parser = counting())]
    images: usize,

    /// Evaluate so many t per image, chosen at random in strata, instead of all
    #[arg(long, value_name = "COUNT", value_parser = counting())]
    times: Option<usize>,

    /// How the last step's likelihood is computed
    #[arg(long, default_value = "exact")]
    decoder: Decoder,

    /// Of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Where the files go
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

impl ElboCommand {
    pub(super) fn run(self) -> Result<()> {
        check_folder(&self.out)?;
        let model = self.model.load()?;
        let T = model.reverse.schedule.T();
        let time_steps = match self.times {
            None => TimeSteps::All,
            Some(count) if (1..T).contains(&count) => TimeSteps::Stratified { count, seed: self.seed },
            Some(count) => {
                bail!(Error::argument("--times", format!("1 to {} of the steps 2..={T}", T - 1), count,));
            }
        };
        let images = test_data(self.data.as_deref(), self.holdout, &model, self.images)?;
        if self.images > images.len() {
            bail!(Error::argument("--images", format!("1 to {} images", images.len()), self.images));
        }
        let images = images.first(self.images);
        let variants = if self.model.variance.is_some() {
            vec![model.reverse.clone()]
        } else {
            variants(&model.reverse)
        };
        let options = ElboOptions { time_steps, decoder: self.decoder, ..ElboOptions::default() };
        let bounds = evaluate(&model, &variants, &as_batch(&images), &options, self.seed);
        write_all(&self.out, &images.name, &variants, &bounds)?;
        show!("{}", table(&images.name, &variants, &bounds));
        Ok(())
    }
}
