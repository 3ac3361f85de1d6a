//! What a reverse step costs as one thing at a time grows, drawn on logarithmic axes: a straight line where the cost is a
//! power, and a bend where something else begins to count.

use super::stopwatch::{Stopwatch, pool};
use super::work::SEED;
use crate::cli::say::show;
use anyhow::Result;
use ddpm::diffusion::{Noise, Reverse, Schedule, sample};
use ddpm::figures::{Chart, Figure, Scale};
use ddpm::rng::stream;
use ddpm::unet::{Unet, UnetConfig};
use std::hint::black_box;
use std::time::Duration;

/// A network and what it is asked: what one of the panels varies.
#[derive(Clone, Copy)]
struct Work {
    batch: usize,
    side: usize,
    /// channels of the finest level; the others have twice and four times as many
    width: usize,
    /// reverse steps
    steps: usize,
    threads: usize,
}

/// `m28h1`, eight images, one step.
const BASE: Work = Work { batch: 8, side: 28, width: 32, steps: 1, threads: 1 };

/// One panel.
struct Panel {
    /// of the axis
    name: &'static str,
    values: Vec<usize>,
    /// the power that the number of operations grows with
    power: f64,
    change: fn(&mut Work, usize),
}

fn panels() -> Vec<Panel> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = (0..).map(|i| 1 << i).take_while(|&n| n < cores).chain([cores]).collect();
    let panel =
        |name, values: &[usize], power, change| Panel { name, values: values.to_vec(), power, change };
    vec![
        panel("images at once", &[1, 2, 4, 8, 16, 32, 64], 1.0, |work, n| work.batch = n),
        panel("side of an image, pixels", &[8, 16, 24, 32, 48, 64], 2.0, |work, n| work.side = n),
        panel("channels of the finest level", &[8, 16, 32, 64, 96], 2.0, |work, n| work.width = n),
        panel("steps T", &[1, 2, 5, 10, 20], 1.0, |work, n| work.steps = n),
        Panel { name: "threads", values: threads, power: -1.0, change: |work, n| work.threads = n },
    ]
}

/// Measures all panels, prints the numbers and draws them.
pub(super) fn scaling(budget: Duration) -> Result<Figure> {
    let mut charts = Vec::new();
    for panel in panels() {
        show!("{}", panel.name);
        let mut times = Vec::new();
        for &value in &panel.values {
            let mut work = BASE;
            (panel.change)(&mut work, value);
            let ms = time(work, budget)?;
            show!("{value:>8} {ms:>10.3} ms");
            times.push(ms);
        }
        charts.push(chart(&panel, &times));
    }
    Ok(Chart::panels(charts, 3, (1500, 900)))
}

/// Milliseconds of one chain, wall time.
fn time(work: Work, budget: Duration) -> Result<f64> {
    let Work { batch, side, width, steps, threads } = work;
    let config = UnetConfig::paper(side, 1, &[width, 2 * width, 4 * width], 1, 8);
    let unet = Unet::new(&config, &mut stream(SEED, 0));
    let reverse = Reverse::new(Schedule::linear(steps));
    let noise = Noise::seed(SEED);
    pool(threads)?.install(|| {
        let chain = || drop(black_box(sample(&unet, &reverse, [batch, side, side, 1], &noise)));
        Ok(Stopwatch::on_the_wall(budget)
            .measure(|calls| {
                (0..calls).for_each(|_| chain());
                Ok(())
            })?
            .ms_min)
    })
}

/// Points, and the line of the power through the largest of them: what the operations alone would cost.
fn chart(panel: &Panel, times: &[f64]) -> Chart {
    let x: Vec<f64> = panel.values.iter().map(|&value| value as f64).collect();
    // of threads the first one is what the others are held against
    let anchor = if panel.power < 0.0 { 0 } else { x.len() - 1 };
    let line: Vec<f64> = x.iter().map(|x_i| times[anchor] * (x_i / x[anchor]).powf(panel.power)).collect();
    Chart::new(panel.name, "ms")
        .scales(Scale::Log, Scale::Log)
        .line("measured", &x, times)
        .marks(&x, times)
        .reference(format!("slope {}", panel.power), &x, &line)
}
