//! Where what the notebooks need is put.

use crate::Course;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// The course, and the folder for all that is installed.
pub struct Place {
    /// the notebooks
    pub course: Course,
    /// `notebooks/.lab`, or the folder that `DDPM_LAB` names
    pub lab: PathBuf,
}

impl Place {
    /// Where `DDPM_LAB` says, else in the course's folder.
    ///
    /// # Errors
    /// The working directory is gone.
    pub fn of(course: Course) -> Result<Place> {
        let lab = match std::env::var_os("DDPM_LAB") {
            Some(lab) => std::path::absolute(lab).context("DDPM_LAB")?,
            None => course.notebooks.join(".lab"),
        };
        Ok(Place { course, lab })
    }

    /// A program of the virtual environment.
    pub(super) fn python(&self, program: &str) -> PathBuf {
        self.lab.join("venv/bin").join(program)
    }

    /// The log of what was done under this name.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.lab.join("log").join(format!("{}.txt", name.replace(' ', "-")))
    }
}
