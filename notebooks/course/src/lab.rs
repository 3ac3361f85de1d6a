//! The notebooks in a JupyterLab that is set up on the way, or run without anyone watching.

mod compare;
mod place;
mod process;
mod setup;

pub use place::Place;
pub use setup::{everything as set_up, undo};

use crate::{at, stem, wrong};
use anyhow::{Result, bail};
use process::{Running, output, side_by_side, start};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What browsers run.
const WASM: &str = "wasm32-unknown-unknown";

/// JupyterLab on the table of contents, until it is stopped.
///
/// # Errors
/// It can't be started, or ends by itself.
pub fn open(place: &Place, no_browser: bool) -> Result<()> {
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
    place.course.note("JupyterLab: Ctrl-C twice stops it");
    let status = command.status().map_err(at(&jupyter))?;
    // a server that was stopped by a signal has done its work
    if status.code().is_none_or(|code| code == 0) {
        return Ok(());
    }
    bail!(wrong(jupyter.display(), "JupyterLab to run", status))
}

/// Runs notebooks and rewrites their stored outputs; one that fails keeps its old ones.
///
/// # Errors
/// Of those that failed.
pub fn execute(place: &Place, sources: Vec<PathBuf>, jobs: usize) -> Result<()> {
    let failed = run_all(place, sources, &place.course.notebooks, jobs, &mut |_, _| Ok(()));
    all_well(failed, "every notebook to run to its end")
}

/// Runs notebooks beside the stored ones, and compares.
///
/// # Errors
/// Of those that failed or show something else.
pub fn check(place: &Place, sources: Vec<PathBuf>, jobs: usize) -> Result<()> {
    let scratch = place.lab.join("check");
    std::fs::create_dir_all(&scratch).map_err(at(&scratch))?;
    let failed = run_all(place, sources, &scratch, jobs, &mut compare::notebooks);
    all_well(failed, "every notebook to run and give its stored outputs")
}

fn all_well(failed: Vec<String>, expected: &str) -> Result<()> {
    if failed.is_empty() {
        Ok(())
    } else {
        bail!(wrong("lab", expected, format_args!("{} not", failed.join(", "))))
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
        let (name, stored) = (stem(source), place.course.stored(source));
        let verdict =
            end.and_then(|took| compare(&stored, &folder.join(format!("{name}.ipynb"))).map(|()| took));
        match verdict {
            Ok(took) => place.course.note(&format!("{name:24} {:4} s", took.as_secs())),
            Err(error) => {
                place.course.note(&format!("{name:24} FAILED\n{error:#}"));
                failed.push(name);
            }
        }
    });
    failed
}

/// The site: the model in the browser, the stored notebooks as pages and as slides, the results, the documentation. It needs
/// neither a network nor a server.
///
/// # Errors
/// The folder can't be written to, or a tool that makes a part of it fails.
pub fn html(place: &Place, folder: &Path) -> Result<()> {
    let folder = std::path::absolute(folder).map_err(at(folder))?;
    let root = place.course.notebooks.join("..");
    let mut pages = Command::new(place.python("python"));
    pages.arg(place.course.kernel("pages.py")).arg(&place.course.notebooks).arg(folder.join("course"));
    start(&mut pages, &place.log("pages"), "pages")?.finish()?;

    let target = place.lab.join("site");
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command.current_dir(&root).args(arguments).arg("--target-dir").arg(&target);
        command
    };
    if output("rustup", &["target", "add", WASM]).is_none() {
        place.course.note(&format!("{WASM}: not to be had from rustup; it has to be there"));
    }
    let mut model = cargo(&["build", "--release", "--package", "ddpm-web", "--target", WASM]);
    start(&mut model, &place.log("model"), "the model for browsers")?.finish()?;
    let mut documentation = cargo(&["doc", "--no-deps", "--package", "ddpm"]);
    start(&mut documentation, &place.log("doc"), "documentation")?.finish()?;

    let mut site = Command::new(place.python("python"));
    site.arg(root.join("web/site.py")).arg(&root).arg(target.join(WASM).join("release/ddpm_web.wasm"));
    site.arg(target.join("doc")).arg(&folder);
    start(&mut site, &place.log("site"), "site")?.finish()?;
    place.course.note(&format!("{}: begins here", folder.join("index.html").display()));
    Ok(())
}
