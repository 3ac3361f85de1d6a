//! Other programs: what they say goes to a log, how long they take to the screen.

use crate::{at, wrong};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often a running program is looked at.
const GLANCE: Duration = Duration::from_millis(100);

/// How many of a log's last lines an error shows.
const LAST_LINES: usize = 12;

/// A program that is running, and the log it writes.
pub(super) struct Running {
    child: Child,
    log: PathBuf,
    what: String,
    started: Instant,
}

/// Starts a program with its output in `log`; `what` names it on the screen.
pub(super) fn start(command: &mut Command, log: &Path, what: impl Into<String>) -> Result<Running> {
    let program = command.get_program().to_string_lossy().into_owned();
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder).map_err(at(folder))?;
    }
    let out = File::create(log).map_err(at(log))?;
    let err = out.try_clone().map_err(at(log))?;
    let child =
        command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().map_err(at(Path::new(&program)))?;
    Ok(Running { child, log: log.to_path_buf(), what: what.into(), started: Instant::now() })
}

impl Running {
    /// Whether it has ended: `None` while it runs, then its success or the end of its log as an error.
    pub(super) fn ended(&mut self) -> Option<Result<Duration>> {
        let status = match self.child.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => status,
            Err(error) => return Some(Err(at(&self.log)(error))),
        };
        if status.success() {
            return Some(Ok(self.started.elapsed()));
        }
        let text = std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
        Some(Err(wrong(
            self.log.display(),
            format_args!("{} to succeed", self.what),
            format_args!("{status}:\n{end}"),
        )))
    }

    /// Waits for the end, with a line on the screen that moves.
    pub(super) fn finish(mut self) -> Result<Duration> {
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}").expect("a template"),
        );
        bar.set_prefix(self.what.clone());
        loop {
            if let Some(end) = self.ended() {
                bar.finish_and_clear();
                return end;
            }
            bar.set_message(last_line(&self.log));
            bar.tick();
            std::thread::sleep(GLANCE);
        }
    }
}

/// A program that is not needed any more is stopped, when an error or the user ends the command.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}

/// The last line of a log that says something.
fn last_line(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(400)..]).into_owned();
    let line = text.split(['\n', '\r']).rev().find(|line| !line.trim().is_empty());
    line.unwrap_or_default().trim().to_string()
}

/// What a short command prints on success, or `None`.
pub(super) fn output(program: impl AsRef<Path>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program.as_ref()).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// Runs many programs, at most `jobs` at a time; calls `done` with each end.
pub(super) fn side_by_side<T>(
    jobs: usize,
    tasks: Vec<T>,
    start: impl Fn(&T) -> Result<Running>,
    mut done: impl FnMut(&T, Result<Duration>),
) {
    let mut waiting = tasks.into_iter();
    let mut running: Vec<(T, Running)> = Vec::new();
    loop {
        while running.len() < jobs {
            let Some(task) = waiting.next() else { break };
            match start(&task) {
                Ok(child) => running.push((task, child)),
                Err(error) => done(&task, Err(error)),
            }
        }
        if running.is_empty() {
            return;
        }
        running.retain_mut(|(task, child)| match child.ended() {
            None => true,
            Some(end) => {
                done(task, end);
                false
            }
        });
        std::thread::sleep(GLANCE);
    }
}
