//! Training checkpoints: all that a run needs to go on as if nothing had happened.

use super::log::OpenRow;
use super::{RunOptions, TrainOptions, Trainer};
use crate::checkpoint::{self, Precision, Tensors};
use crate::diffusion::ImportanceSampler;
use crate::error::{Error, Fault, Result};
use crate::rng::Domain;
use crate::unet::{Unet, UnetConfig};
use ndarray::{Array, Dimension};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a run was told beside its [`TrainOptions`]: with it, `--resume` alone goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// the pictures
    pub data: DataRecord,
    /// how long, how often, how precisely; not where
    pub options: RunOptions,
}

/// The pictures of a run. With other ones a resumed run would compute something else, or see what was held out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    /// their folder; `None` is Fashion-MNIST, where Debian puts it
    pub folder: Option<String>,
    /// height, width and channels of an example
    pub shape: [usize; 3],
    /// every so manyth picture is held out
    pub holdout: Option<usize>,
    /// whether draws are mirrored
    pub flip: bool,
    /// how many pictures are trained on
    pub pictures: usize,
    /// of the list of files, those held out included
    pub fingerprint: String,
}

/// The header of a checkpoint; network and process as diffusers' JSON.
#[derive(Serialize, Deserialize)]
struct Header {
    steps: u64,
    options: TrainOptions,
    scheduler: String,
    unet: String,
    /// the first edition did not keep it
    #[serde(default)]
    record: Option<RunRecord>,
    #[serde(default)]
    domain: Domain,
    #[serde(default)]
    open_row: Option<OpenRow>,
}

/// The key of the header in a checkpoint's metadata.
pub(super) const HEADER: &str = "ddpm_training";
/// The keys of the importance sampler's history.
pub(super) const LOSSES: &str = "importance.losses";
const SEEN: &str = "importance.seen";

impl Trainer {
    /// Writes everything that [`load`](Trainer::load) needs to go on; the file appears whole or not at all.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let header = Header {
            steps: self.adam.steps,
            options: self.options.clone(),
            scheduler: checkpoint::reverse_to_json(&self.reverse),
            unet: self.unet.config.to_json(),
            record: self.record.clone(),
            domain: self.domain,
            open_row: self.open_row,
        };
        let mut file = Tensors::default();
        let header = serde_json::to_string(&header).map_err(|e| Error::format(path, "a header", e))?;
        file.metadata.insert(HEADER.into(), header);
        for (prefix, model) in self.models() {
            checkpoint::add(model, prefix, &mut file.tensors);
        }
        if let Some(ImportanceSampler { losses, seen }) = &self.importance {
            file.tensors.insert(LOSSES.into(), losses.clone().into_dyn());
            file.tensors.insert(SEEN.into(), seen.clone().into_dyn());
        }
        checkpoint::write(path, &file, Precision::F32)
    }

    fn models(&self) -> [(&'static str, &Unet); 4] {
        [
            ("model.", &self.unet),
            ("ema.", &self.adam.ema),
            ("adam_m.", &self.adam.m),
            ("adam_v.", &self.adam.v),
        ]
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// The file can't be read, is damaged or cut short, is not a training checkpoint, or lacks a tensor.
    pub fn load(path: &Path) -> Result<Trainer> {
        Trainer::from_tensors(checkpoint::read(path)?).map_err(Fault::at(path))
    }

    /// From what [`save`](Trainer::save) wrote.
    fn from_tensors(mut file: Tensors) -> Result<Trainer, Fault> {
        let header = file.metadata.get(HEADER);
        let header = header.ok_or_else(|| Fault::format("a training checkpoint", "other tensors"))?;
        let header: Header =
            serde_json::from_str(header).map_err(|e| Fault::format("a training header", e))?;
        let config = UnetConfig::from_json(&header.unet)?;
        let reverse = checkpoint::reverse_from_json(&header.scheduler)?;
        checkpoint::check_channels(&config, &reverse)?;
        header.options.check(&reverse).map_err(|e| Fault::format("options that can be used", e))?;
        checkpoint::enough(&config, &file)?;
        let mut trainer = Trainer::new(&config, reverse, header.options);
        trainer.adam.steps = header.steps;
        (trainer.record, trainer.domain, trainer.open_row) = (header.record, header.domain, header.open_row);
        checkpoint::fill(&mut trainer.unet, "model.", &mut file.tensors)?;
        checkpoint::fill(&mut trainer.adam.ema, "ema.", &mut file.tensors)?;
        checkpoint::fill(&mut trainer.adam.m, "adam_m.", &mut file.tensors)?;
        checkpoint::fill(&mut trainer.adam.v, "adam_v.", &mut file.tensors)?;
        if let Some(ImportanceSampler { losses, seen }) = &mut trainer.importance {
            restore(losses, LOSSES, &mut file)?;
            restore(seen, SEEN, &mut file)?;
        }
        checkpoint::nothing_left(&file.tensors)?;
        Ok(trainer)
    }
}

/// Fills an array, of the shape it has, with the tensor of that key as it is.
fn restore<D: Dimension>(array: &mut Array<f32, D>, key: &str, file: &mut Tensors) -> Result<(), Fault> {
    let found = checkpoint::take(&mut file.tensors, key, array.shape())?;
    array.assign(&found.into_dimensionality::<D>().expect("as many axes"));
    Ok(())
}
