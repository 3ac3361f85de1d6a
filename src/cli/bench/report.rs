//! Rows as a table and as JSON.

use super::machine;
use super::stopwatch::{Clock, Stopwatch};
use crate::cli::say::show;
use anyhow::{Result, bail};
use ddpm::Error;
use ddpm::matmul::simd::simd;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The line above the rows, as wide as they.
pub(super) const COLUMNS: &str =
    "work        shape                    batch         ms     ms min   images/s  GFLOP/s  % peak  RSS MiB";

/// The least share of the peak that the best `A B` and the best `Aᵀ B` must have: below it, the compiler has lost the
/// kernel's accumulators to memory.
const LEAST: [(bool, f64); 2] = [(false, 0.8), (true, 0.65)];
/// The most: above it, it has lost those of the loop that measures the peak.
const MOST: f64 = 1.1;

/// What a row is about.
pub(super) struct What {
    pub(super) work: &'static str,
    pub(super) shape: String,
    /// images, or products side by side
    pub(super) batch: usize,
    /// floating-point operations of the whole batch
    pub(super) flops: f64,
}

/// One row of the table.
#[derive(Serialize)]
struct Row {
    work: &'static str,
    shape: String,
    batch: usize,
    threads: usize,
    clock: Clock,
    ms: f64,
    ms_min: f64,
    images_per_s: Option<f64>,
    gflops: f64,
    peak_share: f64,
    rss_mib: Option<f64>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { work, shape, batch, ms, ms_min, gflops, .. } = self;
        let or_dash = |x: Option<f64>| x.map_or("-".into(), |x| format!("{x:.1}"));
        let (images, rss, percent) =
            (or_dash(self.images_per_s), or_dash(self.rss_mib), 100.0 * self.peak_share);
        write!(f, "{work:11} {shape:24} {batch:>5} {ms:>10.4} {ms_min:>10.4} {images:>10} {gflops:>8.1}")?;
        write!(f, " {percent:>7.1} {rss:>8}")
    }
}

/// All that is known: the JSON file.
#[derive(Serialize)]
pub(super) struct Report {
    cpu: Option<String>,
    simd: String,
    threads: usize,
    model: String,
    peak_gflops: f64,
    version: &'static str,
    rows: Vec<Row>,
    #[serde(skip)]
    stopwatch: Stopwatch,
}

impl Report {
    /// Measures the peak, and prints where.
    pub(super) fn begin(model: &str, budget: Duration) -> Report {
        let threads = rayon::current_num_threads();
        let stopwatch = Stopwatch::new(threads, budget);
        let report = Report {
            cpu: machine::cpu(),
            simd: format!("{:?}", simd()).to_lowercase(),
            threads,
            model: model.to_string(),
            peak_gflops: stopwatch.peak(),
            version: env!("CARGO_PKG_VERSION"),
            rows: vec![],
            stopwatch,
        };
        let clock = if report.stopwatch.clock == Clock::Cpu { "CPU" } else { "wall" };
        let cpu = report.cpu.as_deref().unwrap_or("unknown CPU");
        show!("{cpu}, --threads {threads}, {clock} time, kernel {}; {}", report.simd, report.peak());
        report
    }

    /// Measures a row, and prints it.
    ///
    /// # Errors
    /// Those of the work.
    pub(super) fn row(&mut self, what: What, work: impl FnMut(usize) -> Result<()>) -> Result<()> {
        machine::forget_peak_memory();
        let timing = self.stopwatch.measure(work)?;
        self.peak_gflops = self.stopwatch.peak();
        let What { work, shape, batch, flops } = what;
        let gflops = flops / timing.ms / 1e6;
        let row = Row {
            work,
            shape,
            batch,
            threads: self.threads,
            clock: self.stopwatch.clock,
            ms: timing.ms,
            ms_min: timing.ms_min,
            images_per_s: (work != "matmul").then_some(1e3 * batch as f64 / timing.ms),
            gflops,
            peak_share: gflops / timing.peak,
            rss_mib: machine::peak_memory(),
        };
        show!("{row}");
        self.rows.push(row);
        Ok(())
    }

    /// The peak so far, in words.
    pub(super) fn peak(&self) -> String {
        format!("multiply-add peak {:.1} GFLOP/s per thread", self.peak_gflops / self.threads as f64)
    }

    /// Everything, for a file.
    pub(super) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain values") + "\n"
    }

    /// Whether both kernels, `A B` and `Aᵀ B`, are as fast as they should be in their best product.
    ///
    /// # Errors
    /// One is not: the row and its share of the peak.
    pub(super) fn check(&self) -> Result<()> {
        for (transposed, least) in LEAST {
            let kernel = |row: &&Row| row.work == "matmul" && row.shape.starts_with("x^T") == transposed;
            let rows = self.rows.iter().filter(kernel);
            let best = rows.max_by(|a, b| a.peak_share.total_cmp(&b.peak_share));
            if let Some(row) = best.filter(|row| !(least..=MOST).contains(&row.peak_share)) {
                let expected = format!("{:.0} to {:.0} % of the peak", 100.0 * least, 100.0 * MOST);
                let found = format!("{:.1} % at best, matmul {}", 100.0 * row.peak_share, row.shape);
                bail!(Error::argument("--check", expected, found));
            }
        }
        Ok(())
    }
}
