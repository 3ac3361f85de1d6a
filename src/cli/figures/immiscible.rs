//! Immiscible diffusion (Li et al. 2024): what a pairing does to the law of the noise, and what a network learns with it.

use super::studio::{Studio, garments};
use crate::cli::say::show;
use anyhow::Result;
use ddpm::diffusion::{Estimate, Pairing, assign_noise, nearest_noise};
use ddpm::figures::{Chart, Figure};
use ddpm::rng::{normal, stream};
use ddpm::tensor::Batch;
use ndarray::{Array1, Axis, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Images whose noise is measured, and images that are paired with each other.
const MEASURED: usize = 2048;
const BATCHES: [usize; 3] = [16, 64, 256];
const NEAREST: [usize; 4] = [2, 4, 16, 64];

/// What `examples/immiscible.rs` printed: three seeds of each pairing.
const RUNS: &str = include_str!("../../../assets/immiscible/runs.csv");

#[derive(Serialize)]
struct Law {
    pairing: String,
    batch: Option<usize>,
    /// by how much the mean distance between an image and its noise is shorter
    distance_falls_percent: f64,
    /// mean of x · z / |x|: 0 for independent noise
    along_the_image: f64,
    /// mean of z²: 1 for N(0, I)
    mean_square: f64,
}

pub(super) fn immiscible(studio: &Studio) -> Result<()> {
    let laws = laws(studio.seed);
    show!("{:12}{:>8}{:>16}{:>12}{:>10}", "pairing", "batch", "distance falls", "x·z/|x|", "z²");
    for law in &laws {
        let batch = law.batch.map_or(String::new(), |batch| batch.to_string());
        show!(
            "{:12}{batch:>8}{:>14.2} %{:>12.3}{:>10.4}",
            law.pairing,
            law.distance_falls_percent,
            law.along_the_image,
            law.mean_square
        );
    }
    studio.save_csv("immiscible_law.csv", laws)?;
    let runs: Vec<Look> =
        csv::Reader::from_reader(RUNS.as_bytes()).deserialize().collect::<Result<_, _>>()?;
    let ends = ends(&runs);
    for end in &ends {
        show!(
            "{:10} L_simple {:+.5} ± {:.5}, bits/dim {:+.4} ± {:.4}, distance {:+.2} ± {:.2}, steps × {:.2} ± {:.2}",
            end.pairing,
            end.l_simple,
            end.l_simple_error,
            end.bits_per_dim,
            end.bits_per_dim_error,
            end.frechet,
            end.frechet_error,
            end.steps_ratio,
            end.steps_ratio_error
        );
    }
    studio.save_csv("immiscible.csv", ends)?;
    studio.save("immiscible.png", &curves(&runs))
}

/// Independent noise, then the pairings.
fn laws(seed: u64) -> Vec<Law> {
    let x0 = garments(MEASURED).batch(&(0..MEASURED).collect::<Vec<_>>());
    let (_, h, w, c) = x0.dim();
    let draw = |n: usize, at: u64| -> Batch { normal((n, h, w, c), &mut stream(seed, (5 << 32) + at)) };
    let own = draw(MEASURED, 0);
    let before = distance(&x0, &own);
    let law = |pairing: Pairing, batch, eps: &Batch| Law {
        pairing: pairing.to_string(),
        batch,
        distance_falls_percent: 100.0 * (1.0 - distance(&x0, eps) / before),
        along_the_image: along(&x0, eps),
        mean_square: eps.pow2().mean().unwrap_or(0.0),
    };
    let mut laws = vec![law(Pairing::Drawn, None, &own)];
    for batch in BATCHES {
        let part = |from: usize| {
            let [x0, eps] = [&x0, &own].map(|all| all.slice(s![from..from + batch, .., .., ..]).to_owned());
            assign_noise(&x0, &eps, None).into_iter().map(|i| from + i).collect::<Vec<_>>()
        };
        let noise_of: Vec<usize> =
            (0..MEASURED / batch).into_par_iter().flat_map(|k| part(k * batch)).collect();
        laws.push(law(Pairing::Assigned, Some(batch), &own.select(Axis(0), &noise_of)));
    }
    for k in NEAREST {
        let mut eps = own.clone();
        eps.outer_iter_mut().into_par_iter().enumerate().for_each(|(n, mut noise)| {
            let candidates = draw(k, 1 + n as u64);
            noise.assign(
                &candidates.index_axis(Axis(0), nearest_noise(x0.index_axis(Axis(0), n), &candidates)),
            );
        });
        laws.push(law(Pairing::Nearest(k), None, &eps));
    }
    laws
}

/// Mean |x − z|.
fn distance(x0: &Batch, eps: &Batch) -> f64 {
    (x0 - eps).outer_iter().map(|d| d.pow2().sum().sqrt()).sum::<f64>() / MEASURED as f64
}

/// Mean x · z / |x|.
fn along(x0: &Batch, eps: &Batch) -> f64 {
    let each = x0.outer_iter().zip(eps.outer_iter());
    each.map(|(x, z)| (&x * &z).sum() / x.pow2().sum().sqrt()).sum::<f64>() / MEASURED as f64
}

/// One look at one run: with independent noise.
#[derive(Deserialize)]
struct Look {
    pairing: String,
    seed: u64,
    step: u64,
    l_simple: f64,
    bits_per_dim: f64,
    frechet: f64,
}

/// At the end, by how much a pairing's runs differ from those of independent noise with the same seed.
#[derive(Serialize)]
struct End {
    pairing: String,
    l_simple: f64,
    l_simple_error: f64,
    bits_per_dim: f64,
    bits_per_dim_error: f64,
    frechet: f64,
    frechet_error: f64,
    /// steps that independent noise takes to a loss, over those of the pairing: above 1 is faster
    steps_ratio: f64,
    steps_ratio_error: f64,
}

fn of_run<'a>(runs: &'a [Look], pairing: &str, seed: u64) -> Vec<&'a Look> {
    runs.iter().filter(|look| look.pairing == pairing && look.seed == seed).collect()
}

/// What stands in a column without repetition, in the order of the file.
fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    values.for_each(|value| {
        if !found.contains(&value) {
            found.push(value);
        }
    });
    found
}

fn ends(runs: &[Look]) -> Vec<End> {
    let seeds = distinct(runs.iter().map(|look| look.seed));
    let drawn = Pairing::Drawn.to_string();
    let others = distinct(runs.iter().map(|look| look.pairing.as_str())).into_iter().filter(|p| *p != drawn);
    let end = |pairing: &str| {
        let of_seeds = |value: &dyn Fn(&[&Look], &[&Look]) -> f64| {
            let pairs = seeds.iter().map(|&seed| (of_run(runs, pairing, seed), of_run(runs, &drawn, seed)));
            Estimate::of(&pairs.map(|(ours, theirs)| value(&ours, &theirs)).collect::<Array1<f64>>())
        };
        let last = |column: fn(&Look) -> f64| {
            of_seeds(&|ours, theirs| column(ours[ours.len() - 1]) - column(theirs[theirs.len() - 1]))
        };
        let (l_simple, bits, frechet) = (last(|l| l.l_simple), last(|l| l.bits_per_dim), last(|l| l.frechet));
        let ratio = of_seeds(&|ours, theirs| {
            let middle = theirs[theirs.len() / 2];
            middle.step as f64 / steps_to(ours, middle.l_simple)
        });
        End {
            pairing: pairing.into(),
            l_simple: l_simple.mean,
            l_simple_error: l_simple.std_error,
            bits_per_dim: bits.mean,
            bits_per_dim_error: bits.std_error,
            frechet: frechet.mean,
            frechet_error: frechet.std_error,
            steps_ratio: ratio.mean,
            steps_ratio_error: ratio.std_error,
        }
    };
    others.map(end).collect()
}

/// Where a run's loss reaches a value, by a straight line between two looks; its end if it never does.
fn steps_to(run: &[&Look], loss: f64) -> f64 {
    let end = run[run.len() - 1].step as f64;
    run.windows(2).find(|pair| pair[1].l_simple <= loss).map_or(end, |pair| {
        let share = (pair[0].l_simple - loss).max(0.0) / (pair[0].l_simple - pair[1].l_simple);
        pair[0].step as f64 + share * (pair[1].step - pair[0].step) as f64
    })
}

/// Each pairing's mean over the seeds, with its standard error.
fn curves(runs: &[Look]) -> Figure {
    let seeds = distinct(runs.iter().map(|look| look.seed));
    let panel = |name: &str, column: fn(&Look) -> f64| {
        let mut chart = Chart::new("steps of training", name);
        for pairing in distinct(runs.iter().map(|look| look.pairing.as_str())) {
            let of_seeds: Vec<Vec<&Look>> = seeds.iter().map(|&seed| of_run(runs, pairing, seed)).collect();
            let steps: Vec<f64> = of_seeds[0].iter().map(|look| look.step as f64).collect();
            let at =
                |k: usize| Estimate::of(&of_seeds.iter().map(|run| column(run[k])).collect::<Array1<f64>>());
            let found: Vec<Estimate> = (0..steps.len()).map(at).collect();
            let [low, mean, high] = [-1.0, 0.0, 1.0]
                .map(|sign| found.iter().map(|e| e.mean + sign * e.std_error).collect::<Vec<f64>>());
            chart = chart.line(pairing, &steps, &mean).marks(&steps, &mean).bars(&steps, &low, &high);
        }
        chart
    };
    let charts = vec![
        panel("L_{simple} of test images", |look| look.l_simple),
        panel("bits/dim of test images", |look| look.bits_per_dim),
        panel("Fréchet distance", |look| look.frechet),
    ];
    Chart::panels(charts, 3, (480, 440))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(pairing: &str, seed: u64, step: u64, l_simple: f64) -> Look {
        Look { pairing: pairing.into(), seed, step, l_simple, bits_per_dim: 4.0 + l_simple, frechet: 10.0 }
    }

    /// Twice as fast for one seed, as fast for the other.
    #[test]
    fn ends_compare_runs_of_one_seed() {
        let mut runs = Vec::new();
        for (seed, quick) in [(1, 2), (2, 1)] {
            for k in 1..=5 {
                runs.push(look("drawn", seed, 100 * k, 1.0 / k as f64));
                runs.push(look("assigned", seed, 100 * k, 1.0 / (quick * k) as f64));
            }
        }
        let [end] = &ends(&runs)[..] else { panic!("one pairing beside independent noise") };
        assert_eq!(end.pairing, "assigned");
        assert!((end.l_simple + 0.05).abs() < 1e-12 && (end.bits_per_dim + 0.05).abs() < 1e-12); // −0.1 and 0
        // the loss at 300 steps, 1/3, is reached at 200 by the quick run: half of it at 100, a quarter at 200
        let expected = (300.0 / (100.0 + 100.0 * (0.5 - 1.0 / 3.0) / 0.25) + 1.0) / 2.0;
        assert!((end.steps_ratio - expected).abs() < 1e-12, "{}", end.steps_ratio);
        assert_eq!(end.frechet, 0.0);
    }

    /// Assignment keeps the noises, the nearest of several are smaller; each comes nearer to its image.
    #[test]
    fn laws_of_the_noise() {
        let laws = laws(1);
        let of = |pairing: &str| laws.iter().find(|law| law.pairing == pairing).unwrap();
        assert_eq!(of("drawn").distance_falls_percent, 0.0);
        assert!((of("assigned").mean_square - of("drawn").mean_square).abs() < 1e-12);
        // measured with scipy: 2.4 % and 1.34 at 64, 2.3 % and 0.78 for the nearest of four, which are 3.2 % smaller
        let assigned = laws.iter().find(|law| law.batch == Some(64)).unwrap();
        assert!((assigned.distance_falls_percent / 2.4 - 1.0).abs() < 0.05);
        assert!((assigned.along_the_image / 1.34 - 1.0).abs() < 0.05);
        assert!((of("nearest:4").distance_falls_percent / 2.3 - 1.0).abs() < 0.05);
        assert!((of("nearest:4").along_the_image / 0.78 - 1.0).abs() < 0.05);
        assert!((of("nearest:4").mean_square - 0.968).abs() < 0.003);
    }
}
