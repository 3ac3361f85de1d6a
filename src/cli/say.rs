//! What the commands print. Nobody may be there to read it: a pipe is closed, a terminal is gone, a device is full. That
//! never ends a command, for what it computes is worth more than what it says about it.

use super::together::ranks;
use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

/// A line of a result, on standard output.
macro_rules! show {
    ($($text:tt)*) => { $crate::cli::say::on_stdout(format_args!($($text)*)) };
}

/// A remark for the person in front of the screen, on standard error.
macro_rules! note {
    ($($text:tt)*) => { $crate::cli::say::on_stderr(format_args!($($text)*)) };
}

pub(crate) use {note, show};

/// The first line that could not be written, unless its reader had simply seen enough.
static LOST: OnceLock<io::Error> = OnceLock::new();

pub(crate) fn on_stdout(line: Arguments) {
    if ranks().is_first() {
        remember(writeln!(io::stdout(), "{line}"));
    }
}

pub(crate) fn on_stderr(line: Arguments) {
    if ranks().is_first() {
        on_any_rank(line);
    }
}

/// Of several processes that share a command's work the first one speaks; of an error, whoever has it.
pub(crate) fn on_any_rank(line: Arguments) {
    let _ = writeln!(io::stderr(), "{line}"); // there is no place left to complain
}

fn remember(written: io::Result<()>) {
    if let Err(e) = written
        && e.kind() != ErrorKind::BrokenPipe
    {
        let _ = LOST.set(e); // the first one says it
    }
}

/// At the end of a command: what could not be printed of its results.
pub(crate) fn lost() -> Option<&'static io::Error> {
    remember(io::stdout().flush());
    LOST.get()
}
