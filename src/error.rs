//! What can go wrong with things that come from outside: files, configurations, checkpoints, arguments.
//!
//! Wrong *shapes* inside a program are bugs and panic; a wrong *file* is an [`Error`] that names the path, what
//! was expected and what was found. What reads a text or bytes does not know where they come from: it returns a
//! [`Fault`], and whoever opened the file adds its path.

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
    /// A file is not what its name or place promises, or holds what can't be used.
    #[error("{path}: {fault}")]
    File {
        /// the file
        path: PathBuf,
        /// what is wrong with it
        fault: Fault,
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
    /// Something went wrong on another rank, or is not the same there.
    #[error("rank {rank}: {reason}")]
    Rank {
        /// its number, from 0
        rank: usize,
        /// what it says
        reason: String,
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

    /// An [`Error::File`] whose fault is [`Fault::Format`].
    pub fn format(path: impl AsRef<Path>, expected: impl ToString, found: impl ToString) -> Error {
        Fault::at(path)(Fault::format(expected, found))
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

/// What is wrong with contents from outside. Where they come from is added by who opened them, with [`Fault::at`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It is another kind of thing, or damaged.
    #[error("expected {expected}, found {found}")]
    Format {
        /// what good contents would be
        expected: String,
        /// what these are
        found: String,
    },
    /// A checkpoint or configuration lacks a key.
    #[error("missing key '{key}'")]
    MissingKey {
        /// the key
        key: String,
    },
    /// A checkpoint or configuration has a key that nothing here uses.
    #[error("unknown key '{key}'{}", nearest.as_ref().map_or(String::new(), |name| format!("; is it '{name}'?")))]
    UnknownKey {
        /// the key
        key: String,
        /// the known key that is most like it
        nearest: Option<String>,
    },
    /// A tensor has the wrong shape.
    #[error("'{key}': expected shape {expected:?}, found {found:?}")]
    WrongShape {
        /// the tensor's key
        key: String,
        /// the shape the model needs
        expected: Vec<usize>,
        /// the shape it has
        found: Vec<usize>,
    },
    /// A tensor has a type of number that can't be used.
    #[error("'{key}': expected dtype {expected}, found {found}")]
    WrongDtype {
        /// the tensor's key
        key: String,
        /// the types that can be read
        expected: String,
        /// the type it has
        found: String,
    },
    /// A number of a tensor can't be used, or can't be stored.
    #[error("'{key}' at {place:?}: expected {expected}, found {found}")]
    Number {
        /// the tensor's key
        key: String,
        /// the number's place in the tensor
        place: Vec<usize>,
        /// what would do
        expected: String,
        /// the number
        found: f32,
    },
    /// A file's contents are not what its checksum says.
    #[error("damaged: it says {stored}, its contents give {found}")]
    Damaged {
        /// the checksum in the file
        stored: String,
        /// the one of its contents
        found: String,
    },
    /// A configuration's value can't be used.
    #[error("'{key}': expected {expected}, found {found}")]
    Value {
        /// the key
        key: String,
        /// what would do
        expected: String,
        /// what stands there
        found: String,
    },
}

impl Fault {
    /// Makes of a fault an [`Error::File`], for use with `map_err`.
    ///
    /// ```
    /// use ddpm::{Fault, unet::UnetConfig};
    /// let error = UnetConfig::from_json(r#"{"in_chanels": 3}"#).map_err(Fault::at("model/config.json")).unwrap_err();
    /// assert_eq!(error.to_string(), "model/config.json: unknown key 'in_chanels'; is it 'in_channels'?");
    /// ```
    pub fn at(path: impl AsRef<Path>) -> impl FnOnce(Fault) -> Error {
        let path = path.as_ref().to_path_buf();
        move |fault| Error::File { path, fault }
    }

    /// A [`Fault::Format`].
    pub fn format(expected: impl ToString, found: impl ToString) -> Fault {
        Fault::Format { expected: expected.to_string(), found: found.to_string() }
    }

    /// A [`Fault::Value`].
    pub fn value(key: impl ToString, expected: impl ToString, found: impl ToString) -> Fault {
        Fault::Value { key: key.to_string(), expected: expected.to_string(), found: found.to_string() }
    }
}
