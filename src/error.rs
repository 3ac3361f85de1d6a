//! What can go wrong with things that come from outside: files, configurations, checkpoints, arguments.
//!
//! Wrong *shapes* inside a program are bugs and panic; a wrong *file* is an [`Error`] that names the path, what
//! was expected and what was found.

use std::path::{Path, PathBuf};

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One variant per kind of fact about the outside world.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write a file.
    #[error("{path}: {source}")]
    Io {
        /// the file
        path: PathBuf,
        /// the system's reason
        source: std::io::Error,
    },
    /// A file exists but is not what its name or place promises.
    #[error("{path}: expected {expected}, found {found}")]
    Format {
        /// the file
        path: PathBuf,
        /// what a good file would hold
        expected: String,
        /// what this one holds
        found: String,
    },
    /// A checkpoint or configuration lacks a key.
    #[error("{path}: missing key '{key}'")]
    MissingKey {
        /// the file
        path: PathBuf,
        /// the key
        key: String,
    },
    /// A checkpoint or configuration has a key that nothing here uses.
    #[error("{path}: unknown key '{key}'")]
    UnknownKey {
        /// the file
        path: PathBuf,
        /// the key
        key: String,
    },
    /// A tensor of a checkpoint has the wrong shape.
    #[error("{path}: '{key}': expected shape {expected:?}, found {found:?}")]
    WrongShape {
        /// the file
        path: PathBuf,
        /// the tensor's key
        key: String,
        /// the shape the model needs
        expected: Vec<usize>,
        /// the shape in the file
        found: Vec<usize>,
    },
    /// A tensor of a checkpoint has a type of number that can't be used.
    #[error("{path}: '{key}': expected dtype {expected}, found {found}")]
    WrongDtype {
        /// the file
        path: PathBuf,
        /// the tensor's key
        key: String,
        /// the types that can be read
        expected: String,
        /// the type in the file
        found: String,
    },
    /// A configuration's value can't be used.
    #[error("{path}: '{key}': expected {expected}, found {found}")]
    Config {
        /// the file
        path: PathBuf,
        /// the key
        key: String,
        /// what would do
        expected: String,
        /// what stands there
        found: String,
    },
    /// An argument of a command or function can't be used.
    #[error("{name}: expected {expected}, found {found}")]
    Argument {
        /// the argument
        name: String,
        /// what would do
        expected: String,
        /// what was given
        found: String,
    },
    /// The training loss is no longer a finite number.
    #[error("the loss is {loss} at step {step}{}", kept.map_or(String::new(), |k| format!("; the checkpoint of step {k} is kept")))]
    NonFiniteLoss {
        /// the step, counted from 1
        step: u64,
        /// the loss
        loss: f64,
        /// the step of the run's last checkpoint, if it has one
        kept: Option<u64>,
    },
    /// A run's folder belongs to another process.
    #[error("{path}: expected a folder that no other process trains in, found {}", process.map_or("another one".into(), |p| format!("process {p}")))]
    Locked {
        /// the folder
        path: PathBuf,
        /// the number of the process, if it can be read
        process: Option<u32>,
    },
    /// A figure could not be drawn.
    #[error("figure: {0}")]
    Figure(String),
}

impl Error {
    /// An [`Error::Io`] for `path`, for use with `map_err`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { path, source }
    }

    /// An [`Error::Format`].
    pub fn format(path: impl AsRef<Path>, expected: impl ToString, found: impl ToString) -> Error {
        Error::Format {
            path: path.as_ref().to_path_buf(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// The same error, where it is a loss that is not finite, with the step of the checkpoint that remains.
    pub(crate) fn with_kept(self, kept: Option<u64>) -> Error {
        match self {
            Error::NonFiniteLoss { step, loss, .. } => Error::NonFiniteLoss { step, loss, kept },
            other => other,
        }
    }

    /// An [`Error::Argument`].
    pub fn argument(name: impl ToString, expected: impl ToString, found: impl ToString) -> Error {
        Error::Argument { name: name.to_string(), expected: expected.to_string(), found: found.to_string() }
    }
}
