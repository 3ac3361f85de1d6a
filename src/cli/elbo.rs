//! `ddpm elbo`: the bound, term by term, and the rate–distortion curve.

use super::bound::{evaluate, table, variants, write_all};
use super::data::{TestArgs, as_batch};
use super::model::ModelArgs;
use super::numbers::counting;
use super::progress::Progress;
use super::tables::save_json;
use super::together::{ranks, shared};
use crate::cli::say::{note, show};
use anyhow::{Result, bail};
use clap::Args;
use ddpm::Error;
use ddpm::autoencoder::{AutoencoderKl, LatentBound, decoder_variance, latent_bound};
use ddpm::checkpoint::Pretrained;
use ddpm::data::Images;
use ddpm::diffusion::{Decoder, ElboOptions, Estimate, Noise, Query, TimeSteps, Watched};
use ddpm::files::check_folder;
use serde_json::{Map, json};
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

    #[command(flatten)]
    data: TestArgs,

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
        let images = self.data.images(&model, self.images)?;
        if self.images > images.len() {
            bail!(Error::argument("--images", format!("1 to {} images", images.len()), self.images));
        }
        if let Some(autoencoder) = &model.autoencoder {
            return self.latent(&model, autoencoder, &images, time_steps);
        }
        let images = images.first(self.images);
        let variants = if self.model.variance.is_some() {
            vec![model.reverse.clone()]
        } else {
            variants(&model.reverse)
        };
        let options = ElboOptions { time_steps, decoder: self.decoder, ..ElboOptions::default() };
        let bounds = evaluate(&model, &variants, &as_batch(&images), &options, self.seed);
        if !ranks().is_first() {
            return Ok(());
        }
        write_all(&self.out, &images.name, &variants, &bounds, &[])?;
        show!("{}", table(&images.name, &variants, &bounds));
        Ok(())
    }

    /// The bound of a latent model on the images, whose decoder's variance comes from images that are not evaluated.
    fn latent(
        &self,
        model: &Pretrained,
        autoencoder: &AutoencoderKl,
        images: &Images,
        time_steps: TimeSteps,
    ) -> Result<()> {
        let (bound, variance) = latent((model, autoencoder), images, self.images, time_steps, self.seed);
        let terms = latent_terms(&images.name, &bound);
        let terms = terms
            .into_iter()
            .map(|(name, e)| (name.to_string(), json!({ "bits_per_dim": e.mean, "std_error": e.std_error })));
        let value = json!({ "images": self.images, "decoder_variance": variance, "terms": terms.collect::<Map<_, _>>() });
        match ranks().is_first() {
            true => save_json(&self.out.join("elbo.json"), &value),
            false => Ok(()),
        }
    }
}

/// The bound of a latent model on the first `n` images, and its decoder's variance, which is measured on others.
pub(super) fn latent(
    (model, autoencoder): (&Pretrained, &AutoencoderKl),
    images: &Images,
    n: usize,
    time_steps: TimeSteps,
    seed: u64,
) -> (LatentBound, f64) {
    let others: Vec<usize> = (n..images.len()).take(256).collect();
    if others.is_empty() {
        note!(
            "warning: {}: no images are left for the decoder's variance; it is that of the images themselves",
            images.name
        );
    }
    let chosen = if others.is_empty() { (0..n).collect() } else { others };
    let noise = Noise::seed(seed);
    let variance = decoder_variance(autoencoder, &images.batch(&chosen), &noise);
    let images = as_batch(&images.first(n));
    let options = ElboOptions { time_steps, ..ElboOptions::default() };
    let progress = Progress::new(
        format!("the bound of {n} images"),
        n * time_steps.per_image(model.reverse.schedule.T()),
    );
    let watched =
        Watched { model: &shared(&model.unet), before: |query: &Query| progress.steps(query.t.len()) };
    let bound = latent_bound(autoencoder, (&watched, &model.reverse), &images, variance, &options, &noise);
    progress.finish();
    (bound, variance)
}

/// The terms of a latent model's bound, in the order of its formula, and their sum; prints them.
pub(super) fn latent_terms(data: &str, bound: &LatentBound) -> [(&'static str, Estimate); 6] {
    let prior = &bound.prior;
    let terms = [
        ("-log p(x|z)", bound.estimate(&bound.reconstruction)),
        ("log q(z|x)", bound.estimate(&bound.posterior)),
        ("L_T of z", bound.estimate(&prior.L_T)),
        ("Σ L_t-1 of z", bound.estimate(&prior.sum_L_t_minus_1())),
        ("L_0 of z", bound.estimate(&prior.L_0().to_owned())),
        ("L", bound.bits_per_dim()),
    ];
    show!("{data}, {} images, bits/dim ± standard error over images", bound.reconstruction.len());
    for (name, Estimate { mean, std_error }) in &terms {
        show!("{name:24}{mean:>10.4} ± {std_error:.1e}");
    }
    terms
}
