//! The side of the workers that `compare.py` talks to.
//!
//! A worker warms up and prints one line about itself. From then on it answers every line of its input, a number of
//! steps, with the mean time of that many steps:
//!
//! ```text
//! > {"peer": "ddpm", "parameters": 2592193}
//! < 10
//! > {"cpu_ms": 8.1, "wall_ms": 8.2, "rss_mib": 40.2}
//! ```
//!
//! Between its answers it sleeps, so that the workers measured in turn don't disturb one another.

use cpu_time::ProcessTime;
use std::io::{BufRead, stdin};
use std::time::Instant;

/// The steps before the first measurement: caches, the allocator and the threads are warm after that.
const WARM_UP: usize = 3;

/// Starts the pool of `threads` threads that all Rust peers share.
///
/// # Panics
/// If `RAYON_NUM_THREADS` says otherwise: candle reads only that.
pub fn use_threads(threads: usize) {
    let variable = std::env::var("RAYON_NUM_THREADS").unwrap_or_default();
    assert_eq!(variable, threads.to_string(), "RAYON_NUM_THREADS, and the argument of the worker");
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the first pool");
}

/// Warms up, introduces itself with the JSON object `about`, and measures until the input ends.
pub fn serve(about: &str, mut step: impl FnMut()) {
    (0..WARM_UP).for_each(|_| step());
    println!("{about}");
    for line in stdin().lock().lines() {
        let steps: usize = line.expect("a line").trim().parse().expect("a number of steps");
        let (cpu, wall) = (ProcessTime::now(), Instant::now());
        (0..steps).for_each(|_| step());
        let [cpu, wall] = [cpu.elapsed(), wall.elapsed()].map(|d| d.as_secs_f64() * 1e3 / steps as f64);
        println!(r#"{{"cpu_ms": {cpu}, "wall_ms": {wall}, "rss_mib": {}}}"#, peak_memory());
    }
}

/// Peak resident memory in MiB, or `null` where the system doesn't say.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.map_or("null".into(), |kib| (kib / 1024.0).to_string())
}
