//! What a training is made of: pictures or a series, from where, and how a checkpoint remembers them.

use super::data::training_data;
use anyhow::{Context, Result, bail};
use ddpm::Error;
use ddpm::data::{Dataset, Examples, Scale, Series, Windows};
use ddpm::train::{DataKind, DataRecord, RunOptions, RunRecord};
use std::path::PathBuf;

/// What `--series` calls the process that imputation is judged with exactly.
const GAUSSIAN: &str = "gaussian";

/// Where examples come from, and how they are cut.
pub(super) struct Origin {
    pub kind: DataKind,
    /// a folder, or the file of a series; none is Fashion-MNIST
    pub path: Option<PathBuf>,
    /// of an example: of a series, its columns and rows
    pub size: [usize; 2],
    pub holdout: Option<usize>,
    pub flip: bool,
    pub classes: bool,
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
    pub(super) fn load(&self, channels: usize) -> Result<Material> {
        match self.kind {
            DataKind::Pictures => self.pictures(channels),
            DataKind::Series => self.series(),
        }
    }

    fn pictures(&self, channels: usize) -> Result<Material> {
        let mut data: Dataset =
            training_data(self.path.as_deref(), self.size, channels, self.holdout, self.classes)?;
        data.flip = self.flip;
        Ok(Material {
            count: data.len(),
            fingerprint: data.fingerprint(),
            class_names: data.class_names.clone(),
            scale: None,
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
        let series = series.rows(0..rows - self.holdout.map_or(0, |every| rows / every));
        let scale = series.scale();
        let windows = Windows::new(&series, &scale, self.size[1]).map_err(|_| {
            Error::argument("--length", format!("at most {} rows", series.values.nrows()), self.size[1])
        })?;
        Ok(Material {
            count: windows.count(),
            fingerprint: windows.fingerprint(),
            class_names: None,
            scale: Some(scale),
            examples: Box::new(windows),
        })
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
            shape: material.examples.shape(),
            holdout: self.holdout,
            flip: self.flip,
            pictures: material.count,
            fingerprint: material.fingerprint.clone(),
        };
        RunRecord { data, options: options.clone() }
    }
}
