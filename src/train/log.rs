//! The loss log, loss.csv.

use super::StepReport;
#[cfg(feature = "weights")]
use crate::checkpoint::Shipped;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A row of the loss log: means over the steps since the row before. The last row of a run that was stopped may
/// stand for fewer steps than the others; when the run goes on, it is continued.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRow {
    /// steps taken
    pub step: u64,
    /// mean loss
    pub loss: f64,
    /// mean norm of the gradient before clipping
    pub grad_norm: f64,
    /// step size
    pub lr: f64,
    /// wall time of training so far
    pub seconds: f64,
}

/// The log of a shipped network's training.
///
/// ```
/// # fn main() -> ddpm::Result<()> {
/// let log = ddpm::train::shipped_log(&ddpm::checkpoint::GARMENTS)?;
/// assert_eq!(log[0].step, 50);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// It is damaged.
#[cfg(feature = "weights")]
pub fn shipped_log(shipped: &Shipped) -> Result<Vec<LogRow>> {
    read_log(&Path::new(shipped.folder).join("loss.csv"), shipped.log())
}

/// The contents of a loss.csv; `path` stands in errors.
///
/// # Errors
/// A row is none, or out of order.
pub fn read_log(path: &Path, csv: &[u8]) -> Result<Vec<LogRow>> {
    match rows(csv) {
        (rows, None) => Ok(rows),
        (_, Some(wrong)) => Err(Error::format(path, "a loss log", wrong)),
    }
}

/// The rows of a log up to the first one that is none, and what is wrong with that.
///
/// A spreadsheet may have put a byte order mark before it or a column behind it; neither matters.
fn rows(csv: &[u8]) -> (Vec<LogRow>, Option<String>) {
    let csv = csv.strip_prefix(b"\xef\xbb\xbf").unwrap_or(csv);
    let mut rows: Vec<LogRow> = Vec::new();
    for row in csv::Reader::from_reader(csv).into_deserialize::<LogRow>() {
        match row {
            Ok(row) if rows.last().is_none_or(|before| before.step < row.step) => rows.push(row),
            Ok(row) => return (rows, Some(format!("step {} again or out of order", row.step))),
            Err(e) => return (rows, Some(e.to_string())),
        }
    }
    (rows, None)
}

/// The row of the log that a checkpoint stands in the middle of. The checkpoint keeps it, since the log may have been
/// written without the checkpoint that belongs to it, or edited.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct OpenRow {
    /// how many steps it stands for so far
    steps: u64,
    loss: f64,
    grad_norm: f64,
    lr: f64,
}

/// The loss log in memory; written whole, like everything that is saved.
pub(super) struct LossLog {
    path: PathBuf,
    rows: Vec<LogRow>,
    every: u64,
    /// steps in the last row if more are to be added to it, else 0
    open_steps: u64,
    started: Instant,
    seconds_before: f64,
}

impl LossLog {
    /// Continues the log of a run up to step `steps`; what was logged after its checkpoint is computed again.
    ///
    /// A log never keeps a run from going on: what can't be read of it is put aside, and the warning says where.
    pub(super) fn open(
        path: &Path,
        steps: u64,
        every: u64,
        open: Option<OpenRow>,
    ) -> (LossLog, Option<String>) {
        let (mut rows, wrong) = match std::fs::read(path) {
            _ if steps == 0 => (Vec::new(), None),
            Ok(csv) => rows(&csv),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => (Vec::new(), None),
            Err(e) => (Vec::new(), Some(e.to_string())),
        };
        rows.retain(|row| row.step <= steps);
        let seconds_before = rows.last().map_or(0.0, |row| row.seconds);
        if let Some(OpenRow { steps: n, loss, grad_norm, lr }) = open {
            rows.retain(|row| row.step + n <= steps);
            rows.push(LogRow { step: steps, loss, grad_norm, lr, seconds: seconds_before });
        }
        let open_steps = match rows[..] {
            [.., before, last] if !last.step.is_multiple_of(every) => last.step - before.step,
            [last] if !last.step.is_multiple_of(every) => last.step,
            _ => 0,
        };
        let open_steps = open.map_or(open_steps, |open| open.steps);
        let warning = wrong.map(|wrong| {
            let kept =
                rows.last().map_or("nothing".into(), |row| format!("what it says up to step {}", row.step));
            format!(
                "{}: expected a loss log, found {wrong}; {}, {kept} is kept",
                path.display(),
                put_aside(path)
            )
        });
        let path = path.to_path_buf();
        (LossLog { path, rows, every, open_steps, started: Instant::now(), seconds_before }, warning)
    }

    pub(super) fn add(&mut self, report: &StepReport) {
        let n = self.open_steps + 1;
        let before = if n == 1 { None } else { self.rows.pop() };
        let (loss, grad_norm) = before.map_or((0.0, 0.0), |row| (row.loss, row.grad_norm));
        self.rows.push(LogRow {
            step: report.step,
            // running means: what is in the file is all there is to know
            loss: loss + (report.loss - loss) / n as f64,
            grad_norm: grad_norm + (report.grad_norm - grad_norm) / n as f64,
            lr: report.lr,
            seconds: self.seconds_before + self.started.elapsed().as_secs_f64(),
        });
        self.open_steps = if report.step.is_multiple_of(self.every) { 0 } else { n };
    }

    /// What the checkpoint of this moment has to keep.
    pub(super) fn open_row(&self) -> Option<OpenRow> {
        let row = self.rows.last().filter(|_| self.open_steps > 0);
        row.map(|row| OpenRow {
            steps: self.open_steps,
            loss: row.loss,
            grad_norm: row.grad_norm,
            lr: row.lr,
        })
    }

    pub(super) fn write(&self) -> Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in &self.rows {
            writer.serialize(row).map_err(|e| Error::format(&self.path, "a loss log", e))?;
        }
        let bytes = writer.into_inner().map_err(|e| Error::format(&self.path, "a loss log", e))?;
        crate::files::write_atomically(&self.path, &bytes)
    }
}

/// Renames a file to the first free of loss.csv.1, loss.csv.2, …, and says so.
fn put_aside(path: &Path) -> String {
    let names = (1..).map(|n| path.with_extension(format!("csv.{n}")));
    let aside = names.into_iter().find(|name| !name.exists()).expect("one of infinitely many names is free");
    match std::fs::rename(path, &aside) {
        Ok(()) => format!("it is now {}", aside.display()),
        Err(e) => format!("it can't be put aside ({e})"),
    }
}
