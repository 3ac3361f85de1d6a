//! A bar where someone watches, now and then a line where nobody does.

use super::together::ranks;
use crate::cli::say::note;
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often a line is printed when there is no terminal.
const QUIET: Duration = Duration::from_secs(15);

/// The progress of one task, which several threads may share.
pub(super) struct Progress {
    bar: ProgressBar,
    what: String,
    started: Instant,
    spoke: Mutex<Instant>,
}

impl Progress {
    /// A task of `total` equal parts.
    pub(super) fn new(what: impl Into<String>, total: usize) -> Progress {
        let what = what.into();
        let bar = match ranks().is_first() {
            true => ProgressBar::new(total as u64),
            false => ProgressBar::hidden(),
        };
        bar.set_style(
            ProgressStyle::with_template("{prefix:32} {bar:30} {pos}/{len} {msg}, {eta} left")
                .expect("a template"),
        );
        bar.set_prefix(what.clone());
        Progress { bar, what, started: Instant::now(), spoke: Mutex::new(Instant::now()) }
    }

    /// `done` of `total` parts are done.
    pub(super) fn of(&self, done: usize, total: usize) {
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        self.speak();
    }

    /// One more part is done; `message` says how it goes.
    pub(super) fn step(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
        self.steps(1);
    }

    /// `n` more parts are done.
    pub(super) fn steps(&self, n: usize) {
        self.bar.inc(n as u64);
        self.speak();
    }

    /// Parts per second.
    pub(super) fn per_second(&self) -> f64 {
        self.bar.position() as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    /// A remark beside the bar.
    pub(super) fn note(&self, remark: std::fmt::Arguments) {
        self.bar.suspend(|| note!("{remark}"));
    }

    fn speak(&self) {
        let mut spoke = self.spoke.lock().expect("no panics while locked");
        if self.bar.is_hidden() && spoke.elapsed() > QUIET {
            *spoke = Instant::now();
            let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
            note!("{}: {done}/{total} {}", self.what, self.bar.message());
        }
    }

    /// Leaves nothing.
    pub(super) fn clear(self) {
        self.bar.finish_and_clear();
    }

    /// Leaves one line: what took how long.
    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
        note!("{:32} {:.1} s", self.what, self.started.elapsed().as_secs_f64());
    }
}
