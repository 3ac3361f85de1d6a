//! The course's tooling: its files (paired notebooks, their cells, the exercises in them), a [`lab`] that runs and shows the
//! notebooks, and a [`workbook`] of the exercises.
//!
//! It knows nothing of diffusion, and prints and writes through its [`Host`].

pub mod lab;
#[cfg(test)]
mod lints;
pub mod workbook;

use anyhow::{Context, Result, anyhow, bail};
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

/// What the tooling asks of the program that it is part of.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// says a line to the person in front of the screen
    pub note: fn(&str),
    /// writes a file whole or not at all
    pub write: fn(&Path, &str) -> Result<()>,
}

/// The course of a repository.
#[derive(Debug)]
pub struct Course {
    /// the folder `notebooks/`
    pub notebooks: PathBuf,
    /// the program
    pub host: Host,
}

/// A cell of a paired file (jupytext's percent format).
#[derive(Debug, PartialEq)]
pub struct Cell {
    /// or code
    pub markdown: bool,
    /// what its first line is marked with
    pub tags: Vec<String>,
    /// Markdown without the comment signs, or code
    pub source: String,
}

/// An exercise of a notebook.
#[derive(Debug)]
pub struct Exercise {
    /// the name of its check
    pub name: String,
    /// the name of its notebook, `01_gaussians`
    pub notebook: String,
    /// what is asked, in Markdown, beginning with its title
    pub statement: String,
    /// whether the question's constants come from `check::task`
    pub has_task: bool,
    /// the function to be written
    pub stub: String,
}

impl Course {
    /// The course of the repository around the working directory.
    ///
    /// # Errors
    /// There is none.
    pub fn find(host: Host) -> Result<Course> {
        let here = std::env::current_dir().context(".")?;
        let mut folders = here.ancestors().map(|folder| folder.join("notebooks"));
        match folders.find(|notebooks| notebooks.join("kernel/launch.sh").is_file()) {
            Some(notebooks) => Ok(Course { notebooks, host }),
            None => {
                let expected = "a folder of the ddpm repository, which has notebooks/kernel/launch.sh";
                bail!(wrong(here.display(), expected, "none"))
            }
        }
    }

    /// The stored notebook of a paired file.
    pub fn stored(&self, source: &Path) -> PathBuf {
        self.notebooks.join(format!("{}.ipynb", stem(source)))
    }

    fn note(&self, line: &str) {
        (self.host.note)(line);
    }

    /// A file of the notebooks' kernel.
    pub fn kernel(&self, file: &str) -> PathBuf {
        self.notebooks.join("kernel").join(file)
    }

    /// The paired files `sources/NN_name.rs`, in order. (Beside the notebooks a student would open the wrong one of two.)
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn sources(&self) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        let folder = self.notebooks.join("sources");
        for entry in std::fs::read_dir(&folder).map_err(at(&folder))? {
            let path = entry.map_err(at(&folder))?.path();
            let numbered = stem(&path).bytes().take(2).filter(u8::is_ascii_digit).count() == 2;
            if numbered && path.extension().is_some_and(|extension| extension == "rs") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// Those of these numbers; all of them if none is given.
    ///
    /// # Errors
    /// There is no notebook of a number, or the folder can't be read.
    pub fn selected(&self, numbers: &[String]) -> Result<Vec<PathBuf>> {
        let all = self.sources()?;
        for number in numbers {
            if !all.iter().any(|path| number_of(path) == *number) {
                let known: Vec<String> = all.iter().map(|path| number_of(path)).collect();
                bail!(wrong("NN", format_args!("one of {}", known.join(", ")), number));
            }
        }
        Ok(all.into_iter().filter(|path| numbers.is_empty() || numbers.contains(&number_of(path))).collect())
    }

    /// The exercises of all notebooks, in order.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn exercises(&self) -> Result<Vec<Exercise>> {
        let mut all = Vec::new();
        for path in self.sources()? {
            let text = std::fs::read_to_string(&path).map_err(at(&path))?;
            all.extend(exercises(&stem(&path), &cells(&text)));
        }
        Ok(all)
    }

    /// The course's own answer to an exercise, below the comment that gives its reason.
    ///
    /// # Errors
    /// The notebook's solutions can't be read, or there is none of this name.
    pub fn solution(&self, exercise: &Exercise) -> Result<String> {
        let path = self.notebooks.join("solutions").join(format!("{}.rs", exercise.notebook));
        let text = std::fs::read_to_string(&path).map_err(at(&path))?;
        let found = function(&text, &exercise.name);
        found.ok_or_else(|| wrong(path.display(), format_args!("fn {}", exercise.name), "none"))
    }
}

/// A function at the top level of a file, with the lines that belong to it above.
fn function(text: &str, name: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let head = format!("fn {name}");
    let of_it = |line: &&str| line.strip_prefix(&head).is_some_and(|rest| rest.starts_with(['(', '<']));
    let at = lines.iter().position(of_it)?;
    let above =
        lines[..at].iter().rev().take_while(|line| line.starts_with("///") || line.starts_with("#[")).count();
    let end = at + lines[at..].iter().position(|line| *line == "}")?;
    Some(lines[at - above..=end].join("\n"))
}

/// What was expected somewhere, and what was found.
fn wrong(place: impl Display, expected: impl Display, found: impl Display) -> anyhow::Error {
    anyhow!("{place}: expected {expected}, found {found}")
}

/// The path that an error of the system is about.
fn at(path: &Path) -> impl FnOnce(io::Error) -> anyhow::Error {
    let path = path.display().to_string();
    |error| anyhow::Error::new(error).context(path)
}

/// A path's name without its extension.
pub fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The two digits that a notebook's name begins with.
pub fn number_of(path: &Path) -> String {
    stem(path).chars().take(2).collect()
}

/// The cells of a paired file.
pub fn cells(text: &str) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("// %%") {
            let markdown = head.trim_start().starts_with("[markdown]");
            let tags = head.split_once("tags=[").and_then(|(_, list)| list.split_once(']'));
            let tags = tags.map_or("", |(list, _)| list).split(',').map(|tag| tag.trim().trim_matches('"'));
            let tags = tags.filter(|tag| !tag.is_empty()).map(String::from).collect();
            cells.push(Cell { markdown, tags, source: String::new() });
        } else if let Some(cell) = cells.last_mut() {
            let line = if cell.markdown { line.strip_prefix("//").unwrap_or(line) } else { line };
            let line = if cell.markdown { line.strip_prefix(' ').unwrap_or(line) } else { line };
            cell.source += line;
            cell.source.push('\n');
        }
    }
    cells.iter_mut().for_each(|cell| cell.source.truncate(cell.source.trim_end().len()));
    cells
}

/// The exercises among a notebook's cells: a cell tagged `exercise`, the text before it, and the check after it.
pub fn exercises(notebook: &str, cells: &[Cell]) -> Vec<Exercise> {
    let tagged = |cell: &Cell, tag: &str| cell.tags.iter().any(|t| t == tag);
    let places = (0..cells.len()).filter(|&i| tagged(&cells[i], "exercise"));
    let read = |i: usize| {
        let check = cells[i + 1..].iter().find(|cell| tagged(cell, "check"))?;
        let name = check.source.split_once("check::")?.1.split_once('(')?.0;
        let text = cells[..i].iter().rev().find(|cell| cell.markdown)?;
        let title = text.source.find("### Exercise").unwrap_or(0);
        Some(Exercise {
            name: name.to_string(),
            notebook: notebook.to_string(),
            statement: text.source[title..].to_string(),
            has_task: cells[..i].iter().any(|cell| cell.source.contains(&format!("check::task(\"{name}\")"))),
            stub: cells[i].source.clone(),
        })
    };
    places.filter_map(read).collect()
}

/// A host for tests.
#[cfg(test)]
fn silent() -> Host {
    Host { note: |_| (), write: |path, text| Ok(std::fs::write(path, text)?) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTEBOOK: &str = "\
// %% [markdown]
// Before.
//
// ### Exercise 1.1: twice
//
// Double $x$.

// %%
check::task(\"double\")

// %% tags=[\"exercise\"]
/// 2x.
fn double(x: f64) -> f64 {
    todo!()
}

// %% tags=[\"check\", \"timing\"]
check::double(double)
";

    #[test]
    fn cells_have_a_kind_tags_and_a_source() {
        let cells = cells(NOTEBOOK);
        assert_eq!(cells.iter().map(|cell| cell.markdown).collect::<Vec<_>>(), [true, false, false, false]);
        assert_eq!(cells[0].source, "Before.\n\n### Exercise 1.1: twice\n\nDouble $x$.");
        assert_eq!(cells[3].tags, ["check", "timing"]);
        assert_eq!(cells[3].source, "check::double(double)");
    }

    #[test]
    fn an_exercise_is_a_text_a_stub_and_a_check() {
        let all = exercises("01_test", &cells(NOTEBOOK));
        let [only] = &all[..] else { panic!("{all:?}") };
        assert_eq!((only.name.as_str(), only.has_task), ("double", true));
        assert!(only.statement.starts_with("### Exercise 1.1: twice"), "{}", only.statement);
        assert!(only.stub.contains("fn double"), "{}", only.stub);
    }
}
