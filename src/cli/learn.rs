//! `ddpm learn`: the course's exercises as small Rust files, without Jupyter.

use crate::cli::say::{note, show};
use anyhow::Result;
use clap::{Args, Subcommand};
use ddpm_course::workbook::Workbook;
use ddpm_course::{Course, Exercise, Host};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// How often `watch` looks for a saved file.
const GLANCE: Duration = Duration::from_millis(300);

/// Solve the course's exercises in an editor: a file each, checked when it is saved
#[derive(Args)]
#[command(
    after_help = "The files are written into exercises/, once; what you have written there is never overwritten.\n\n\
    Examples:\n  ddpm learn\n  ddpm learn watch\n  ddpm learn run log_pdf\n  ddpm learn hint log_pdf"
)]
pub(super) struct Learn {
    #[command(subcommand)]
    action: Option<Action>,

    /// The folder of the exercises
    #[arg(long, global = true, value_name = "DIR", default_value = "exercises")]
    dir: PathBuf,
}

#[derive(Subcommand)]
enum Action {
    /// All exercises, and which are solved
    List,
    /// Check the first exercise that is not solved yet (the same as no action)
    Next,
    /// Check an exercise
    Run { name: String },
    /// One more hint for an exercise, or for the next one
    Hint { name: Option<String> },
    /// Check an exercise whenever its file is saved
    Watch,
}

/// The course around the working directory, which prints and writes as the commands do.
pub(super) fn course() -> Result<Course> {
    let note = |line: &str| note!("{line}");
    let write =
        |path: &std::path::Path, text: &str| Ok(ddpm::files::write_atomically(path, text.as_bytes())?);
    Course::find(Host { note, write })
}

impl Learn {
    pub(super) fn run(self) -> Result<()> {
        let mut book = Workbook::open(&course()?, &self.dir)?;
        match self.action.unwrap_or(Action::Next) {
            Action::List => list(&book),
            Action::Next => next(&mut book),
            Action::Run { name } => {
                let index = book.find(&name)?;
                book.check(index).map(|_| ())
            }
            Action::Hint { name } => {
                let index = name.map_or(Ok(book.first_open().unwrap_or(0)), |name| book.find(&name))?;
                book.hint(index)
            }
            Action::Watch => watch(&mut book),
        }
    }
}

fn list(book: &Workbook) -> Result<()> {
    for (index, exercise) in book.exercises.iter().enumerate() {
        let mark = if book.solved(index) { "✓" } else { " " };
        show!("{mark} {:24} {}", exercise.name, book.path(index).display());
    }
    show!("{}", standing(book));
    Ok(())
}

fn standing(book: &Workbook) -> String {
    let solved = (0..book.exercises.len()).filter(|&index| book.solved(index)).count();
    format!("{solved} of {} solved", book.exercises.len())
}

/// Checks the first open exercise, and shows it.
fn next(book: &mut Workbook) -> Result<()> {
    while let Some(index) = book.first_open() {
        if !book.check(index)? {
            show!("\n{}\nedit {}", title(&book.exercises[index]), book.path(index).display());
            break;
        }
    }
    show!("{}", standing(book));
    Ok(())
}

fn title(exercise: &Exercise) -> &str {
    exercise.statement.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
}

/// Checks what is saved, until it is interrupted.
fn watch(book: &mut Workbook) -> Result<()> {
    next(book)?;
    show!("waiting for a file to be saved; Ctrl-C ends");
    let saved = |book: &Workbook| -> Vec<Option<SystemTime>> {
        let time = |index| std::fs::metadata(book.path(index)).and_then(|file| file.modified()).ok();
        (0..book.exercises.len()).map(time).collect()
    };
    let mut before = saved(book);
    loop {
        std::thread::sleep(GLANCE);
        let now = saved(book);
        if let Some(index) = (0..now.len()).find(|&index| now[index] != before[index]) {
            show!("\n{}", book.path(index).display());
            if book.check(index)? {
                next(book)?;
            }
        }
        before = now;
    }
}
