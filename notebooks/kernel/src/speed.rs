//! How fast a piece of work is, for notebooks: the best of several repetitions.

use std::time::{Duration, Instant};

/// A repetition lasts at least so many seconds: a thousand times what reading the clock costs.
const SLICE: f64 = 5e-4;
/// Repetitions are made for this long …
const BUDGET: Duration = Duration::from_millis(100);
/// … and at least so many, however long they are.
const REPETITIONS: usize = 3;

/// The billions of floating-point operations per second (GFLOP/s) of `work`, which does `flops` operations per call.
///
/// The fastest repetition counts: whatever else the machine does can only slow it down.
///
/// ```
/// let mut x = 1.0_f32;
/// let speed = ddpm_notebook::gflops(1000.0, || (0..500).for_each(|_| x = std::hint::black_box(x * 0.5 + 1.0)));
/// assert!(speed > 0.0);
/// ```
pub fn gflops(flops: f64, mut work: impl FnMut()) -> f64 {
    let mut seconds = |calls: usize| {
        let start = Instant::now();
        (0..calls).for_each(|_| work());
        start.elapsed().as_secs_f64() / calls as f64
    };
    seconds(1); // wakes caches and clock
    let calls = (SLICE / seconds(1)).ceil().clamp(1.0, 1e7) as usize;
    let (mut best, mut repetitions, started) = (f64::INFINITY, 0, Instant::now());
    while repetitions < REPETITIONS || started.elapsed() < BUDGET {
        best = best.min(seconds(calls));
        repetitions += 1;
    }
    flops / best / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;

    #[test]
    fn the_fastest_repetition_counts() {
        let mut calls = 0;
        let speed = gflops(1e6, || {
            calls += 1;
            sleep(Duration::from_millis(if calls == 4 { 2 } else { 20 }));
        });
        // a sleep is never too short: 10⁶ operations in 2 ms or more, and one of 20 ms would be 0.05
        assert!(speed <= 0.5, "{speed}");
        assert!(calls >= 2 + REPETITIONS);
    }
}
