//! Training checkpoints: all that a run needs to go on as if nothing had happened.

use super::denoising::is_default;
use super::log::OpenRow;
use super::{RunOptions, Saved, Training};
use crate::checkpoint::{self, Precision, Tensors};
use crate::error::{Error, Fault, Result};
use crate::matmul::simd::{Simd, simd};
use crate::optim::Adam;
use crate::params::{Params, join_key};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// What a run was told beside its [`TrainOptions`](super::TrainOptions): with it, `--resume` alone goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// the pictures
    pub data: DataRecord,
    /// how long, how often, how precisely; not where
    pub options: RunOptions,
}

/// What kind of data a run is trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataKind {
    /// a folder of pictures or IDX files
    #[default]
    Pictures,
    /// windows of a CSV file
    Series,
}

/// The pictures of a run. With other ones a resumed run would compute something else, or see what was held out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    /// what they are
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: DataKind,
    /// their folder; `None` is Fashion-MNIST, where Debian puts it
    pub folder: Option<String>,
    /// height, width and channels of an example
    pub shape: [usize; 3],
    /// every so manyth picture is held out
    pub holdout: Option<usize>,
    /// an example holds at least so many percent of its picture's shorter side; `None` is crops at three octaves
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<u8>,
    /// of latents: the folder of their autoencoder
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoencoder: Option<String>,
    /// whether draws are mirrored
    pub flip: bool,
    /// how many pictures are trained on
    pub pictures: usize,
    /// of the list of files, those held out included
    pub fingerprint: String,
}

/// The header of a checkpoint.
#[derive(Serialize, Deserialize)]
struct Header<H> {
    steps: u64,
    #[serde(flatten)]
    objective: H,
    /// the first edition did not keep it
    #[serde(default)]
    record: Option<RunRecord>,
    #[serde(default)]
    open_row: Option<OpenRow>,
}

/// The key of the header in a checkpoint's metadata.
pub(super) const HEADER: &str = "ddpm_training";

impl<O: Saved> Training<O> {
    /// Writes everything that [`load`](Training::load) needs to go on; the file appears whole or not at all.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let header = self.header();
        let mut file = Tensors::default();
        let header = serde_json::to_string(&header).map_err(|e| Error::format(path, "a header", e))?;
        file.metadata.insert(HEADER.into(), header);
        let Adam { m, v, ema, .. } = &self.adam;
        for (prefix, model) in PREFIXES.into_iter().zip([&self.model, ema, m, v]) {
            checkpoint::add(model, prefix, &mut file.tensors);
        }
        file.tensors.extend(self.objective.state().into_iter().map(|(key, array)| (key.into(), array)));
        checkpoint::write(path, &file, Precision::F32)
    }

    fn header(&self) -> Header<O::Header> {
        Header {
            steps: self.adam.steps,
            objective: self.objective.header(&self.model),
            record: self.record.clone(),
            open_row: self.open_row,
        }
    }

    /// What must be the same on all [ranks](crate::ranks) that share this training: version and kernel, everything that it was
    /// told, and the weights, by a checksum.
    pub fn facts(&self) -> Vec<String> {
        let header = serde_json::to_value(self.header()).expect("a header that is written into checkpoints");
        let mut weights = crc32fast::Hasher::new();
        self.model.slices().into_iter().flatten().for_each(|w| weights.update(&w.to_le_bytes()));
        let kernel = if simd() == Simd::Portable { "portable" } else { "with fused multiply-add" };
        let mut facts = vec![format!("version: {}", env!("CARGO_PKG_VERSION")), format!("kernel: {kernel}")];
        leaves("", &header, &mut facts);
        facts.push(format!("checksum of the weights: {:08x}", weights.finalize()));
        facts
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// The file can't be read, is damaged or cut short, is not a training checkpoint, or lacks a tensor.
    pub fn load(path: &Path) -> Result<Training<O>> {
        Training::from_tensors(checkpoint::read(path)?).map_err(Fault::at(path))
    }

    /// From what [`save`](Training::save) wrote.
    fn from_tensors(mut file: Tensors) -> Result<Training<O>, Fault> {
        let header = file.metadata.get(HEADER);
        let header = header.ok_or_else(|| Fault::format("a training checkpoint", "other tensors"))?;
        let header: Header<O::Header> =
            serde_json::from_str(header).map_err(|e| Fault::format("a training header", e))?;
        let (model, objective) = O::restored(header.objective, &file)?;
        let adam = objective.adam_options();
        let mut training = Training::of(model, objective, adam);
        training.adam.steps = header.steps;
        (training.record, training.open_row) = (header.record, header.open_row);
        let Adam { m, v, ema, .. } = &mut training.adam;
        for (prefix, model) in PREFIXES.into_iter().zip([&mut training.model, ema, m, v]) {
            checkpoint::fill(model, prefix, &mut file.tensors)?;
        }
        training.objective.restore(&mut file.tensors)?;
        checkpoint::nothing_left(&file.tensors)?;
        Ok(training)
    }
}

/// Each number and text of a JSON value with its path.
fn leaves(path: &str, value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| leaves(&join_key(path, key), value, out)),
        value => out.push(format!("{path}: {value}")),
    }
}

/// Of the weights, their average and Adam's moments.
const PREFIXES: [&str; 4] = ["model.", "ema.", "adam_m.", "adam_v."];
