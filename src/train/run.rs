//! A run: a folder in which one process at a time trains.

use super::log::LossLog;
use super::{Saved, StepReport, Training};
use crate::checkpoint::Precision;
use crate::error::{Error, Result};
use crate::files;
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// So often the end of a run tries to save, so far apart: a device that is full now may not be in a moment.
const TRIES: (u32, Duration) = (3, Duration::from_secs(5));

/// So long a folder may still be locked by a process that was just killed, in so many glances.
const DYING: (u32, Duration) = (20, Duration::from_millis(100));

/// Where a run keeps its files, and how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunOptions {
    /// the folder
    #[serde(skip)]
    pub out: PathBuf,
    /// stop after this many steps in all
    pub steps: u64,
    /// a checkpoint at least this often
    pub checkpoint_every: Duration,
    /// a row of the loss log every so many steps
    pub log_every: u64,
    /// how the averaged weights are stored
    pub precision: Precision,
}

impl RunOptions {
    /// Where a run's checkpoint lies.
    pub fn checkpoint(&self) -> PathBuf {
        self.out.join("checkpoint.safetensors")
    }

    /// Where the loss log lies.
    pub fn log(&self) -> PathBuf {
        self.out.join("loss.csv")
    }

    /// Where the averaged weights lie, as a diffusers folder.
    pub fn model(&self) -> PathBuf {
        self.out.join("model")
    }
}

/// What a run tells while it lasts.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step was taken.
    Step(&'a StepReport),
    /// Something went wrong that does not end the run.
    Warning(String),
}

/// A folder that belongs to this process as long as the value lives: no other one can train in it.
#[derive(Debug)]
pub struct Run {
    /// where, how long, how often
    pub options: RunOptions,
    /// the system drops the lock with the process, however that ends; `None` where folders can't be locked, and on a rank
    /// that writes nothing
    _lock: Option<File>,
}

impl Run {
    /// Makes the folder if there is none, locks it, tries whether it can be written to, and sweeps away what a killed
    /// save has left.
    ///
    /// # Errors
    /// Another process trains in it ([`Error::Locked`] with its number), or it can't be written to.
    pub fn open(options: RunOptions) -> Result<Run> {
        if options.log_every == 0 {
            return Err(Error::argument("log_every", "at least one step", 0));
        }
        files::check_folder(&options.out)?;
        let lock = lock(&options.out)?;
        [&options.out, &options.model()].into_iter().try_for_each(|folder| files::sweep(folder))?;
        Ok(Run { options, _lock: lock })
    }

    /// The part in a run of a rank that computes its share and writes nothing.
    pub fn follow(options: RunOptions) -> Run {
        Run { options, _lock: None }
    }

    /// Trains until `options.steps`, or until `stop` on any rank. Checkpoint, averaged weights and log are written on the way and at
    /// the end; one that can't be written on the way is a warning, and is tried again at the next turn.
    ///
    /// # Errors
    /// The data don't fit the network; the loss is not finite (the last checkpoint stays), or a file can't be written at the end.
    pub fn train<O: Saved>(
        &self,
        training: &mut Training<O>,
        data: &O::Data,
        stop: &AtomicBool,
        observe: &mut dyn FnMut(Event),
    ) -> Result<()> {
        training.objective.check_data(&training.model, data)?;
        let options = &self.options;
        let (mut log, warning) =
            LossLog::open(&options.log(), training.adam.steps, options.log_every, training.open_row);
        warning.into_iter().for_each(|warning| observe(Event::Warning(warning)));
        let (mut saved, mut kept) =
            (Instant::now(), options.checkpoint().exists().then_some(training.adam.steps));
        while training.adam.steps < options.steps && !training.ranks.any(stop.load(Ordering::Relaxed)) {
            let report = match training.step(data) {
                Ok(report) => report,
                Err(error) => {
                    if training.ranks.is_first() {
                        log.write()?; // how it came to that
                    }
                    return Err(error.with_kept(kept));
                }
            };
            log.add(&report);
            observe(Event::Step(&report));
            if saved.elapsed() >= options.checkpoint_every {
                match self.save(training, &log) {
                    Ok(()) => kept = Some(training.adam.steps),
                    Err(error @ Error::Io { .. }) => {
                        observe(Event::Warning(format!("{error}; the run goes on and tries again later")));
                    }
                    Err(error) => return Err(error),
                }
                saved = Instant::now();
            }
        }
        self.save_at_the_end(training, &log, observe)
    }

    /// Each file on its own: a log that can't be written does not keep the weights from the disk.
    fn save<O: Saved>(&self, training: &mut Training<O>, log: &LossLog) -> Result<()> {
        if !training.ranks.is_first() {
            return Ok(());
        }
        let options = &self.options;
        training.open_row = log.open_row();
        let log = log.write();
        training.save(&options.checkpoint())?;
        training.objective.save_model(&training.adam.ema, &options.model(), options.precision)?;
        log
    }

    fn save_at_the_end<O: Saved>(
        &self,
        training: &mut Training<O>,
        log: &LossLog,
        observe: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let (tries, pause) = TRIES;
        for _ in 1..tries {
            match self.save(training, log) {
                Err(error @ Error::Io { .. }) => {
                    observe(Event::Warning(format!("{error}; trying again in {} s", pause.as_secs())));
                    std::thread::sleep(pause);
                }
                done => return done,
            }
        }
        self.save(training, log)
    }
}

/// Locks a folder by a file in it, which holds the number of the process that has the lock.
fn lock(folder: &Path) -> Result<Option<File>> {
    let path = folder.join(".lock");
    let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open.map_err(Error::io(&path))?;
    match try_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            // where locks also forbid reading, its number remains unknown
            let process = file.read_to_string(&mut process).ok().and_then(|_| process.trim().parse().ok());
            return Err(Error::Locked { path: folder.to_path_buf(), process });
        }
        // some file systems know no locks: better a run without one than none
        Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => return Ok(None),
        Err(TryLockError::Error(e)) => return Err(Error::io(&path)(e)),
    }
    // the number is for people: a full device, which can't hold it, is no reason to stop
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(Some(file))
}

/// Tries for as long as a process that was killed may take to be gone.
fn try_lock(file: &File) -> std::result::Result<(), TryLockError> {
    let (glances, pause) = DYING;
    for _ in 1..glances {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(pause),
            done => return done,
        }
    }
    file.try_lock()
}
