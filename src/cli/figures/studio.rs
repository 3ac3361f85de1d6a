//! What several figures are made from, each computed when it is first asked for.

use super::real::Real;
use crate::cli::model::image_shape;
use crate::cli::progress::Progress;
use crate::cli::sample::{Wish, draw, every_fifty};
use crate::cli::tables;
use anyhow::Result;
use ddpm::checkpoint::{self, Pretrained, Shipped};
use ddpm::data::{self, Dataset, Images};
use ddpm::diffusion::{Elbo, Noise, Query, Reverse, Snapshot, Watched, progressive, respace, sample};
use ddpm::figures::{Figure, Gif};
use ddpm::quality::{Classifier, Judgement};
use ddpm::tensor::Batch;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::OnceCell;
use std::path::PathBuf;

/// Samples of T steps to look at.
const GARMENTS: usize = 64;
/// Samples that numbers are taken from, and the steps of their chain: every tenth (σ² = β̃′).
pub(super) const IMAGES: usize = 1000;
pub(super) const STEPS: usize = 100;

/// Models, samples and a place for files.
pub(super) struct Studio {
    pub(super) out: PathBuf,
    pub(super) seed: u64,
    /// whether also what takes long is computed
    pub(super) all: bool,
    /// the paintings that the shipped network was trained on, if they are at hand
    pub(super) trained_on: Option<Dataset>,
    pub(super) garments: Subject,
    pub(super) paintings: Subject,
    /// at twice the size, behind an autoencoder
    pub(super) large: Subject,
    /// of the garments: as many as numbers are taken from
    thousand: OnceCell<Chains>,
    judge: OnceCell<Judge>,
    /// of the garments: variants of the reverse process, and their bounds
    pub(super) bounds: OnceCell<(Vec<Reverse>, Vec<Elbo>)>,
}

/// A data set's network and its samples.
pub(super) struct Subject {
    /// what the names of its files begin with
    pub(super) prefix: &'static str,
    pub(super) model: Pretrained,
    /// how many samples are drawn
    count: usize,
    chains: OnceCell<Chains>,
}

/// Samples by Algorithm 2 over all T steps, and what stood at every fiftieth.
pub(super) struct Chains {
    pub(super) x0: Batch,
    pub(super) steps: Vec<Snapshot>,
}

/// The classifier, and what it makes of real images.
pub(super) struct Judge {
    pub(super) classifier: Classifier,
    /// the test set
    pub(super) test: Judgement,
    /// what [`IMAGES`] samples are held against
    pub(super) real: Real,
}

impl Subject {
    fn new(prefix: &'static str, shipped: &Shipped, count: usize) -> Result<Subject> {
        Ok(Subject { prefix, model: shipped.load()?, count, chains: OnceCell::new() })
    }

    pub(super) fn chains(&self, seed: u64) -> &Chains {
        self.chains.get_or_init(|| {
            let keep = every_fifty(self.model.reverse.schedule.T());
            let (x0, steps) = draw(&self.model, &Wish::new(self.count, seed), &keep);
            Chains { x0, steps }
        })
    }
}

impl Judge {
    fn new() -> Result<Judge> {
        let classifier = Classifier::shipped()?;
        let test = classifier.judge(&data::fashion_mnist_test().pixels);
        let real = Real::new(IMAGES, &test);
        Ok(Judge { classifier, test, real })
    }
}

impl Studio {
    pub(super) fn new(out: PathBuf, seed: u64, all: bool, trained_on: Option<Dataset>) -> Result<Studio> {
        Ok(Studio {
            out,
            seed,
            all,
            trained_on,
            garments: Subject::new("", &checkpoint::GARMENTS, GARMENTS)?,
            paintings: Subject::new("paintings_", &checkpoint::PAINTINGS, 25)?,
            large: Subject::new("paintings_latent_", &checkpoint::PAINTING_LATENTS, 25)?,
            thousand: OnceCell::new(),
            judge: OnceCell::new(),
            bounds: OnceCell::new(),
        })
    }

    pub(super) fn subjects(&self) -> [&Subject; 3] {
        [&self.garments, &self.paintings, &self.large]
    }

    /// Garments by the shorter chain, with its own t: minutes, so only with `all`.
    pub(super) fn thousand(&self) -> &Chains {
        self.thousand.get_or_init(|| {
            let model = &self.garments.model;
            let (unet, reverse) = respace(&model.unet, &model.reverse, STEPS);
            let [h, w, c] = image_shape(model);
            let progress = Progress::new(format!("{IMAGES} samples"), STEPS);
            let watched = Watched { model: &unet, before: |_: &Query| progress.step("") };
            let noise = Noise::seed(self.seed);
            let (x0, steps) = progressive(&watched, &reverse, [IMAGES, h, w, c], &every_fifty(STEPS), &noise);
            progress.finish();
            Chains { x0, steps }
        })
    }

    pub(super) fn judge(&self) -> Result<&Judge> {
        if self.judge.get().is_none() {
            let _ = self.judge.set(Judge::new()?);
        }
        Ok(self.judge.get().expect("just set"))
    }

    pub(super) fn save(&self, name: impl AsRef<str>, figure: &Figure) -> Result<()> {
        Ok(figure.save(self.out.join(name.as_ref()))?)
    }

    pub(super) fn save_gif(&self, name: impl AsRef<str>, gif: &Gif) -> Result<()> {
        Ok(gif.save(self.out.join(name.as_ref()))?)
    }

    pub(super) fn save_csv(
        &self,
        name: impl AsRef<str>,
        rows: impl IntoIterator<Item = impl Serialize>,
    ) -> Result<()> {
        tables::save_csv(&self.out.join(name.as_ref()), rows)
    }
}

/// The rows of a committed table: what takes too long for the main job is as `ddpm figures --all` last computed it.
pub(super) fn stored<R: DeserializeOwned>(table: &str) -> Vec<R> {
    let rows = csv::Reader::from_reader(table.as_bytes()).into_deserialize().collect::<Result<_, _>>();
    rows.expect("what `ddpm figures --all` wrote")
}

/// `n` samples of a chain of `steps` steps; from the same x_T with the same noises for every model.
pub(super) fn short_chains(model: &Pretrained, steps: usize, n: usize, seed: u64) -> Batch {
    let [h, w, c] = image_shape(model);
    let (short, reverse) = respace(&model.unet, &model.reverse, steps);
    sample(&short, &reverse, [n, h, w, c], &Noise::seed(seed))
}

/// The name of an objective, as figures write it.
pub(super) fn subscripts(objective: &str) -> String {
    ["simple", "vlb", "hybrid"].iter().fold(objective.to_string(), |text, name| {
        text.replace(&format!("L_{name}"), &format!("L_{{{name}}}"))
    })
}

/// Every so manyth shipped painting was never trained on.
const HOLD_OUT: usize = 7;

/// The shipped paintings that were held out, whole, in the size of a model's.
pub(super) fn paintings(model: &Pretrained) -> Dataset {
    data::whole_paintings(model.picture_shape()[0]).split(HOLD_OUT).1
}

/// The first `n` garments of the test set.
pub(super) fn garments(n: usize) -> Images {
    data::fashion_mnist_test().first(n)
}
