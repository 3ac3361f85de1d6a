//! Repetitions of a piece of work, and between them the register-only loop.

use anyhow::Result;
use ddpm::Error;
use ddpm::matmul::peak::multiply_add;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Seconds of a burst of the loop, and the least of a repetition. Short enough that the CPU's clock is the same for
/// both, a thousand times longer than waking a thread takes.
const SLICE: f64 = 5e-3;

/// So many repetitions even when they are longer than the budget.
const REPETITIONS: usize = 3;

/// Which time is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Clock {
    /// that of this process alone, whatever else runs
    Cpu,
    /// that on the wall, which shows whether threads wait for each other
    Wall,
}

impl Clock {
    /// The result of `work`, and the seconds it took.
    fn time<R>(self, work: impl FnOnce() -> R) -> (R, f64) {
        match self {
            Clock::Cpu => {
                let start = cpu_time::ProcessTime::now();
                (work(), start.elapsed().as_secs_f64())
            }
            Clock::Wall => {
                let start = Instant::now();
                (work(), start.elapsed().as_secs_f64())
            }
        }
    }
}

/// Measures one row after another.
pub(super) struct Stopwatch {
    pub(super) clock: Clock,
    budget: Duration,
    /// of a burst
    steps: u64,
    /// GFLOP/s of every burst so far
    bursts: Vec<f64>,
}

/// What the repetitions of a row took.
pub(super) struct Timing {
    /// the median, in milliseconds
    pub(super) ms: f64,
    /// the shortest
    pub(super) ms_min: f64,
    /// the median of the bursts between them, GFLOP/s of all threads
    pub(super) peak: f64,
}

impl Stopwatch {
    /// For rows on so many threads, each with its budget of time.
    pub(super) fn new(threads: usize, budget: Duration) -> Stopwatch {
        // Windows counts CPU time in ticks of 16 ms, longer than a slice
        let clock = if threads == 1 && !cfg!(windows) { Clock::Cpu } else { Clock::Wall };
        let mut stopwatch = Stopwatch { clock, budget, steps: 1 << 12, bursts: vec![] };
        while stopwatch.burst().1 < SLICE {
            stopwatch.steps *= 2;
        }
        stopwatch.bursts = (0..9).map(|_| stopwatch.burst().0).collect();
        stopwatch
    }

    /// For the pool of threads that this is called on; without a look at the peak.
    pub(super) fn on_the_wall(budget: Duration) -> Stopwatch {
        Stopwatch { clock: Clock::Wall, budget, steps: 1, bursts: vec![] }
    }

    /// The median of all bursts, GFLOP/s of all threads.
    pub(super) fn peak(&self) -> f64 {
        median(&self.bursts)
    }

    /// GFLOP/s and seconds of the register-only loop on all threads at once.
    fn burst(&self) -> (f64, f64) {
        let (flops, seconds) = self.clock.time(|| rayon::broadcast(|_| multiply_add(self.steps)));
        (flops.iter().sum::<u64>() as f64 / seconds / 1e9, seconds)
    }

    /// Times `work(calls)`, which does its piece of work so many times.
    ///
    /// # Errors
    /// Those of the work.
    pub(super) fn measure(&mut self, mut work: impl FnMut(usize) -> Result<()>) -> Result<Timing> {
        work(1)?;
        let second = Instant::now();
        work(1)?;
        let calls = (SLICE / second.elapsed().as_secs_f64()).ceil().clamp(1.0, 1e6) as usize;

        let (mut ms, mut bursts) = (vec![], vec![]);
        let started = Instant::now();
        while ms.len() < REPETITIONS || started.elapsed() < self.budget {
            bursts.push(self.burst().0);
            let (done, seconds) = self.clock.time(|| work(calls));
            done?;
            ms.push(1e3 * seconds / calls as f64);
        }
        self.bursts.extend(&bursts);
        let ms_min = ms.iter().copied().fold(f64::INFINITY, f64::min);
        Ok(Timing { ms: median(&ms), ms_min, peak: median(&bursts) })
    }
}

/// So many threads, for what is measured with another number of them than the rest.
pub(super) fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    Ok(pool.map_err(|e| Error::argument("threads", format!("a pool of {threads}"), e))?)
}

/// The number in the middle, or the mean of the two there.
fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    /// Two calls to warm up, then repetitions of as many calls as fill a slice.
    #[test]
    fn short_work_is_repeated_and_counted_once() {
        let mut stopwatch = Stopwatch::new(2, Duration::ZERO);
        let mut asked = vec![];
        let nap = |calls: usize| {
            asked.push(calls);
            std::thread::sleep(Duration::from_millis(2) * calls as u32);
            Ok(())
        };
        let timing = stopwatch.measure(nap).unwrap();
        assert_eq!(asked.len(), 2 + REPETITIONS);
        assert_eq!(asked[..2], [1, 1]);
        assert!(
            (1..=3).contains(&asked[2]) && asked[2..].iter().all(|&calls| calls == asked[2]),
            "{asked:?}"
        );
        assert!(timing.ms_min >= 2.0 && timing.ms >= timing.ms_min && timing.peak > 0.0);
    }
}
