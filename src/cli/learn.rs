//! `ddpm learn`: the course's exercises as small Rust files, without Jupyter.

use crate::cli::say::{note, show};
use anyhow::Result;
use clap::{Args, Subcommand};
use ddpm_course::workbook::Workbook;
use ddpm_course::{Course, Exercise, Host};
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, SystemTime};

/// How often `watch` looks for a saved file.
const GLANCE: Duration = Duration::from_millis(300);
/// Characters of the bar that shows how much is solved.
const BAR: usize = 40;

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
    /// The course's solution of an exercise, with its reason
    Solution { name: String },
    /// Begin an exercise again; what was written is kept beside it
    Reset { name: String },
    /// Check an exercise whenever its file is saved; answers h (hint), l (list), n (next) and q (quit)
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
        let course = course()?;
        let begun = self.dir.exists();
        let mut book = Workbook::open(&course, &self.dir)?;
        if !begun {
            welcome(&book);
        }
        match self.action.unwrap_or(Action::Next) {
            Action::List => list(&book),
            Action::Next => next(&mut book),
            Action::Run { name } => {
                let index = book.find(&name)?;
                check(&mut book, index).map(|_| ())
            }
            Action::Hint { name } => {
                let index = name.map_or(Ok(book.first_open().unwrap_or(0)), |name| book.find(&name))?;
                book.hint(index)
            }
            Action::Solution { name } => {
                let index = book.find(&name)?;
                show!("{}", course.solution(&book.exercises[index])?);
                Ok(())
            }
            Action::Reset { name } => {
                let index = book.find(&name)?;
                let kept = book.reset(index)?;
                show!("{} is as it was; yours is {}", book.path(index).display(), kept.display());
                Ok(())
            }
            Action::Watch => watch(&mut book),
        }
    }
}

fn welcome(book: &Workbook) {
    show!(
        "Welcome. {} exercises now lie in {}, a file each, in the order of the course.\n\
         Each says what to write in place of todo!(), and names its notebook, which explains the rest.\n\
         `ddpm learn watch` checks a file whenever you save it; `ddpm learn hint` helps.\n",
        book.exercises.len(),
        book.folder().display()
    );
}

fn list(book: &Workbook) -> Result<()> {
    let numbered: Vec<(usize, &Exercise)> = book.exercises.iter().enumerate().collect();
    for of_notebook in numbered.chunk_by(|(_, a), (_, b)| a.notebook == b.notebook) {
        show!("{}", of_notebook[0].1.notebook.replace('_', " "));
        for &(index, exercise) in of_notebook {
            let mark = if book.solved(index) { "✓" } else { "·" };
            show!("  {mark} {:24} {}", exercise.name, title(exercise));
        }
    }
    show!("{}", standing(book));
    Ok(())
}

fn standing(book: &Workbook) -> String {
    let (solved, all) =
        ((0..book.exercises.len()).filter(|&index| book.solved(index)).count(), book.exercises.len());
    let full = BAR * solved / all.max(1);
    format!("[{}{}] {solved} of {all} solved", "█".repeat(full), "·".repeat(BAR - full))
}

/// Checks one; if it is right, says where the course's own answer is.
fn check(book: &mut Workbook, index: usize) -> Result<bool> {
    let right = book.check(index)?;
    if right {
        let name = &book.exercises[index].name;
        show!("Another way to write it, and why: ddpm learn solution {name}");
    }
    Ok(right)
}

/// Checks the first open exercise, and shows it.
fn next(book: &mut Workbook) -> Result<()> {
    while let Some(index) = book.first_open() {
        if !check(book, index)? {
            show!("\n{}\nedit {}", title(&book.exercises[index]), book.path(index).display());
            break;
        }
    }
    show!("{}", standing(book));
    if book.first_open().is_none() {
        show!("That was the last one: the course is yours.");
    }
    Ok(())
}

fn title(exercise: &Exercise) -> &str {
    exercise.statement.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
}

/// Checks what is saved and answers what is typed, until it is interrupted or told to stop.
fn watch(book: &mut Workbook) -> Result<()> {
    next(book)?;
    show!("save a file to have it checked; or type h for a hint, l for the list, n for the next, q to end");
    let saved = |book: &Workbook| -> Vec<Option<SystemTime>> {
        let time = |index| std::fs::metadata(book.path(index)).and_then(|file| file.modified()).ok();
        (0..book.exercises.len()).map(time).collect()
    };
    let (typed, mut before) = (typed(), saved(book));
    let mut current = book.first_open();
    loop {
        match typed.try_recv().as_deref().map(str::trim) {
            Ok("h") => current.map_or(Ok(()), |index| book.hint(index))?,
            Ok("l") => list(book)?,
            Ok("n") => {
                next(book)?;
                current = book.first_open();
            }
            Ok("q") => return Ok(()),
            Ok(_) => show!("h: hint, l: list, n: next, q: end"),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => std::thread::sleep(GLANCE),
        }
        let now = saved(book);
        if let Some(index) = (0..now.len()).find(|&index| now[index] != before[index]) {
            show!("\n{}", book.path(index).display());
            current = Some(index);
            if check(book, index)? {
                next(book)?;
                current = book.first_open();
            }
        }
        before = now;
    }
}

/// Lines from the keyboard; none, if there is no keyboard.
fn typed() -> Receiver<String> {
    let (send, lines) = channel();
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock().lines();
        while input.next().is_some_and(|line| line.is_ok_and(|line| send.send(line).is_ok())) {}
    });
    lines
}
