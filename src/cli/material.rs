//! What a training is made of: pictures or a series, from where, and how a checkpoint remembers them.

use super::data::{Cut, training_data};
use crate::cli::say::note;
use anyhow::{Context, Result, bail};
use ddpm::Error;
use ddpm::autoencoder::{AutoencoderKl, Encoded};
use ddpm::checkpoint::{CONFIG, load_autoencoder};
use ddpm::data::{Dataset, Examples, Scale, Series, Windows};
use ddpm::train::{DataKind, DataRecord, RunOptions, RunRecord};
use std::path::{Path, PathBuf};

/// What `--series` calls the process that imputation is judged with exactly.
const GAUSSIAN: &str = "gaussian";

/// Where examples come from, and how they are cut.
pub(super) struct Origin {
    pub kind: DataKind,
    /// a folder, or the file of a series; none is Fashion-MNIST
    pub path: Option<PathBuf>,
    /// of a series, the size is its columns and rows
    pub cut: Cut,
    pub flip: bool,
    pub classes: bool,
    /// of latents: the folder of their autoencoder
    pub autoencoder: Option<PathBuf>,
}

/// Examples, and what is known of them.
pub(super) struct Material {
    pub examples: Box<dyn Examples>,
    /// how many pictures or windows
    pub count: usize,
    pub fingerprint: String,
    /// what their labels are called
    pub class_names: Option<Vec<String>>,
    /// of a series
    pub scale: Option<Scale>,
    /// of latents
    pub autoencoder: Option<AutoencoderKl>,
}

/// The autoencoder of a run, or of a folder in diffusers' layout.
pub(super) fn autoencoder_of(folder: &Path) -> Result<AutoencoderKl> {
    let candidates = [folder.to_path_buf(), folder.join("model"), folder.join("vae")];
    let found = candidates.iter().find(|folder| folder.join(CONFIG).exists()).unwrap_or(&candidates[0]);
    let (model, warnings) = load_autoencoder(found)?;
    warnings.iter().for_each(|warning| note!("warning: {warning}"));
    Ok(model)
}

impl Material {
    /// The rows of a table of classes: one for each label, and that of no class.
    pub(super) fn rows(&self) -> Result<usize> {
        match self.examples.classes() {
            Some(classes) => Ok(classes.len() + 1),
            None => bail!(Error::argument(
                "--classes",
                "a label for every picture",
                format!("none in {}", self.examples.name())
            )),
        }
    }
}

impl Origin {
    /// As a checkpoint remembers it.
    pub(super) fn of(record: &DataRecord, classes: bool) -> Origin {
        let [h, w, _] = record.shape;
        Origin {
            kind: record.kind,
            path: record.folder.as_ref().map(PathBuf::from),
            cut: Cut { size: [h, w], whole: record.whole, holdout: record.holdout },
            flip: record.flip,
            classes,
            autoencoder: record.autoencoder.as_ref().map(PathBuf::from),
        }
    }

    /// `channels` are those of pictures from a folder, or of what an autoencoder makes latents of.
    pub(super) fn load(&self, channels: usize) -> Result<Material> {
        match (self.kind, &self.autoencoder) {
            (DataKind::Series, _) => self.series(),
            (DataKind::Pictures, None) => self.pictures(channels),
            (DataKind::Pictures, Some(folder)) => self.latents(folder),
        }
    }

    /// Latents of pictures, made anew for each step.
    fn latents(&self, folder: &Path) -> Result<Material> {
        let model = autoencoder_of(folder).context("--latents")?;
        let material = self.pictures(model.config.in_channels)?;
        let ([h, w, _], factor) = (material.examples.shape(), model.config.reduction());
        if h % factor != 0 || w % factor != 0 {
            bail!(Error::argument(
                "--size",
                format!("multiples of {factor}, for this autoencoder"),
                format!("{h}x{w}")
            ));
        }
        let examples = Encoded { model: model.clone(), examples: material.examples };
        Ok(Material { examples: Box::new(examples), autoencoder: Some(model), ..material })
    }

    fn pictures(&self, channels: usize) -> Result<Material> {
        let mut data: Dataset = training_data(self.path.as_deref(), &self.cut, channels, self.classes)?;
        data.flip = self.flip;
        Ok(Material {
            count: data.len(),
            fingerprint: data.fingerprint(),
            class_names: data.class_names.clone(),
            scale: None,
            autoencoder: None,
            examples: Box::new(data),
        })
    }

    /// All windows of the rows that are not held out.
    fn series(&self) -> Result<Material> {
        let path = self.path.as_ref().expect("a series has a file");
        let series = match path.to_str() {
            Some(GAUSSIAN) => Series::gaussian(20_000, 3.0, 0.01, 1),
            _ => Series::read_csv(path).context("--series")?,
        };
        let rows = series.values.nrows();
        let series = series.rows(0..rows - self.cut.holdout.map_or(0, |every| rows / every));
        let scale = series.scale();
        let windows = Windows::new(&series, &scale, self.cut.size[1]).map_err(|_| {
            Error::argument("--length", format!("at most {} rows", series.values.nrows()), self.cut.size[1])
        })?;
        Ok(Material {
            count: windows.count(),
            fingerprint: windows.fingerprint(),
            class_names: None,
            scale: Some(scale),
            autoencoder: None,
            examples: Box::new(windows),
        })
    }

    /// Of an example as it is before an autoencoder.
    fn shape(&self, material: &Material) -> [usize; 3] {
        let shape @ [h, w, _] = material.examples.shape();
        match &material.autoencoder {
            None => shape,
            Some(model) => {
                let factor = model.config.reduction();
                [h * factor, w * factor, model.config.in_channels]
            }
        }
    }

    /// What a checkpoint keeps of them.
    pub(super) fn record(&self, material: &Material, options: &RunOptions) -> RunRecord {
        // so that the run can be resumed from another folder
        let absolute = |path: &PathBuf| match path.to_str() {
            Some(GAUSSIAN) => path.clone(),
            _ => std::path::absolute(path).unwrap_or(path.clone()),
        };
        let data = DataRecord {
            kind: self.kind,
            folder: self.path.as_ref().map(|path| absolute(path).to_string_lossy().into_owned()),
            shape: self.shape(material),
            holdout: self.cut.holdout,
            whole: self.cut.whole,
            autoencoder: self.autoencoder.as_ref().map(|path| absolute(path).to_string_lossy().into_owned()),
            flip: self.flip,
            pictures: material.count,
            fingerprint: material.fingerprint.clone(),
        };
        RunRecord { data, options: options.clone() }
    }
}
