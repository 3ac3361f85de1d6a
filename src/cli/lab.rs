//! `ddpm lab`: the arguments; what is done is in `ddpm_course`.

use crate::cli::learn::course;
use crate::cli::numbers::whole;
use anyhow::Result;
use clap::Args;
use ddpm::Error;
use ddpm_course::lab::{self, Place};
use std::path::PathBuf;

/// Open the course's notebooks in JupyterLab; the first time, set up what they need
#[derive(Args)]
#[command(
    after_help = "Everything that is installed goes into notebooks/.lab, or the folder that DDPM_LAB names.\n\n\
    Examples:\n  ddpm lab\n  ddpm lab --execute 04 11\n  ddpm lab --check\n  ddpm lab --html site"
)]
pub(super) struct Lab {
    #[command(flatten)]
    task: Task,

    /// Notebooks to run at the same time [default: half of the cores, since each uses several]
    #[arg(long, value_name = "N", value_parser = whole(1..=1024))]
    jobs: Option<usize>,

    /// Don't open a browser; print the address
    #[arg(long)]
    no_browser: bool,
}

#[derive(Args)]
#[group(multiple = false)]
struct Task {
    /// Set up, and open nothing
    #[arg(long)]
    setup: bool,

    /// Run these notebooks (all without a number) and store their outputs
    #[arg(long, value_name = "NN", num_args = 0..)]
    execute: Option<Vec<String>>,

    /// Run these notebooks (all without a number) and compare with the stored outputs
    #[arg(long, value_name = "NN", num_args = 0..)]
    check: Option<Vec<String>>,

    /// Write the site into a folder: the model in the browser, the stored notebooks as pages and slides, results, documentation
    #[arg(long, value_name = "DIR")]
    html: Option<PathBuf>,

    /// Remove everything that this command has installed
    #[arg(long)]
    uninstall: bool,
}

impl Lab {
    pub(super) fn run(self) -> Result<()> {
        let place = Place::of(course()?)?;
        if self.task.uninstall {
            return lab::undo(&place);
        }
        let numbers = self.task.execute.as_ref().or(self.task.check.as_ref());
        let sources = place.course.selected(numbers.map_or(&[], Vec::as_slice))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.jobs.unwrap_or(cores / 2).max(1);
        lab::set_up(&place)?;
        match self.task {
            Task { execute: Some(_), .. } => lab::execute(&place, sources, jobs),
            Task { check: Some(_), .. } => lab::check(&place, sources, jobs),
            Task { html: Some(folder), .. } => lab::html(&place, &folder),
            Task { setup: true, .. } => Ok(()),
            _ => {
                // without this the first Ctrl-C, at which JupyterLab asks whether it is meant, would end this process alone
                ctrlc::set_handler(|| ()).map_err(|e| Error::argument("Ctrl-C", "a handler", e))?;
                lab::open(&place, self.no_browser)
            }
        }
    }
}
