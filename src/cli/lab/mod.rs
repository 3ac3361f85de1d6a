//! `ddpm lab`: the notebooks, in a JupyterLab that it sets up, or run without anyone watching.

mod compare;
mod place;
mod process;
mod setup;

use crate::cli::course::stem;
use crate::cli::numbers::whole;
use crate::cli::say::note;
use anyhow::{Result, bail};
use clap::Args;
use ddpm::Error;
use place::Place;
use process::{Running, output, side_by_side, start};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Open the course's notebooks in JupyterLab; the first time, set up what they need
#[derive(Args)]
#[command(
    after_help = "Everything that is installed goes into notebooks/.lab, or the folder that DDPM_LAB names.\n\n\
    Examples:\n  ddpm lab\n  ddpm lab --execute 04 11\n  ddpm lab --check\n  ddpm lab --html course"
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

    /// Write the stored notebooks as web pages into a folder
    #[arg(long, value_name = "DIR")]
    html: Option<PathBuf>,

    /// Remove everything that this command has installed
    #[arg(long)]
    uninstall: bool,
}

impl Lab {
    pub(super) fn run(self) -> Result<()> {
        let place = Place::find()?;
        if self.task.uninstall {
            return setup::undo(&place);
        }
        let numbers = self.task.execute.as_ref().or(self.task.check.as_ref());
        let sources = place.course.selected(numbers.map_or(&[], Vec::as_slice))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.jobs.unwrap_or(cores / 2).max(1);
        setup::everything(&place)?;
        match self.task {
            Task { execute: Some(_), .. } => execute(&place, sources, jobs),
            Task { check: Some(_), .. } => check(&place, sources, jobs),
            Task { html: Some(folder), .. } => html(&place, &folder),
            Task { setup: true, .. } => Ok(()),
            _ => open(&place, self.no_browser),
        }
    }
}

/// JupyterLab on the table of contents, until it is stopped.
fn open(place: &Place, no_browser: bool) -> Result<()> {
    let jupyter = place.python("jupyter");
    let mut command = Command::new(&jupyter);
    command
        .args(["lab", "--LabApp.default_url=/lab/tree/README.md"])
        .arg(&place.course.notebooks)
        .env("DDPM_LAB", &place.lab);
    if no_browser {
        command.arg("--no-browser");
    }
    if output("id", &["-u"]).is_some_and(|user| user == "0") {
        command.arg("--allow-root"); // a container's only user, mostly
    }
    // without this the first Ctrl-C, at which JupyterLab asks whether it is meant, would end this process alone
    ctrlc::set_handler(|| ()).map_err(|e| Error::argument("Ctrl-C", "a handler", e))?;
    note!("JupyterLab: Ctrl-C twice stops it");
    let status = command.status().map_err(Error::io(&jupyter))?;
    // a server that was stopped by a signal has done its work
    if status.code().is_none_or(|code| code == 0) {
        return Ok(());
    }
    bail!(Error::format(&jupyter, "JupyterLab to run", status))
}

/// Runs notebooks and rewrites their stored outputs; one that fails keeps its old ones.
fn execute(place: &Place, sources: Vec<PathBuf>, jobs: usize) -> Result<()> {
    let failed = run_all(place, sources, &place.course.notebooks, jobs, &mut |_, _| Ok(()));
    all_well(failed, "every notebook to run to its end")
}

/// Runs notebooks beside the stored ones, and compares.
fn check(place: &Place, sources: Vec<PathBuf>, jobs: usize) -> Result<()> {
    let scratch = place.lab.join("check");
    std::fs::create_dir_all(&scratch).map_err(Error::io(&scratch))?;
    let failed = run_all(place, sources, &scratch, jobs, &mut compare::notebooks);
    all_well(failed, "every notebook to run and give its stored outputs")
}

fn all_well(failed: Vec<String>, expected: &str) -> Result<()> {
    if failed.is_empty() {
        Ok(())
    } else {
        bail!(Error::argument("lab", expected, format!("{} not", failed.join(", "))))
    }
}

/// Compares a stored notebook with a fresh one.
type Compare<'a> = &'a mut dyn FnMut(&Path, &Path) -> Result<()>;

/// Runs notebooks strictly, writes them into `folder`, and returns the names of those that failed.
fn run_all(
    place: &Place,
    sources: Vec<PathBuf>,
    folder: &Path,
    jobs: usize,
    compare: Compare,
) -> Vec<String> {
    let begin = |source: &PathBuf| -> Result<Running> {
        let name = stem(source);
        let mut command = Command::new(place.python("python"));
        command
            .arg(place.course.kernel("run.py"))
            .arg("execute")
            .arg(source)
            .arg(folder.join(format!("{name}.ipynb")));
        command.env("NB_STRICT", "1").env("DDPM_LAB", &place.lab);
        start(&mut command, &place.log(&name), name)
    };
    let mut failed = Vec::new();
    side_by_side(jobs, sources, begin, |source, end| {
        let (name, stored) = (stem(source), source.with_extension("ipynb"));
        let verdict =
            end.and_then(|took| compare(&stored, &folder.join(format!("{name}.ipynb"))).map(|()| took));
        match verdict {
            Ok(took) => note!("{name:24} {:4} s", took.as_secs()),
            Err(error) => {
                note!("{name:24} FAILED\n{error}");
                failed.push(name);
            }
        }
    });
    failed
}

/// The stored notebooks as pages that need no network.
fn html(place: &Place, folder: &Path) -> Result<()> {
    let folder = std::path::absolute(folder).map_err(Error::io(folder))?;
    let mut command = Command::new(place.python("python"));
    command.arg(place.course.kernel("pages.py")).arg(&place.course.notebooks).arg(&folder);
    start(&mut command, &place.log("html"), "html")?.finish()?;
    note!("{}: begins here", folder.join("index.html").display());
    Ok(())
}
