//! Learned noise levels where everything is known: sixteen Gaussians, and three that depend on each other.

use super::studio::Studio;
use crate::cli::say::show;
use anyhow::Result;
use ddpm::diffusion::{Gamma, Path};
use ddpm::figures::{Chart, Scale};
use ddpm::optim::{AdamOptions, Cooldown};
use ddpm::train::{Gaussians, NoiseLevels};
use ddpm::variational::Variational;
use ndarray::{Array2, array};
use rayon::prelude::*;
use serde::Serialize;

/// Lengths of the chain.
const STEPS: [usize; 4] = [5, 10, 20, 50];
/// Steps of Adam on the exact bound.
const TRAINING: u64 = 1000;

/// v = 1e-4 … 1, evenly in the logarithm.
fn world() -> Gaussians {
    Gaussians { variance: (0..16).map(|d| 10f64.powf(-4.0 + 4.0 * f64::from(d) / 15.0)).collect() }
}

/// γ_0 … γ_T as good as Adam finds them on the exact bound, `[T + 1, D]`.
fn learned(path: Path, paths: usize, steps: usize) -> Result<Array2<f64>> {
    let gamma = Gamma::new(path, Variational::ENDS, steps, paths);
    let cooldown = Some(Cooldown { from: TRAINING / 2, to: TRAINING });
    let adam = AdamOptions { lr: 0.1, warmup: 0, clip: 0.0, cooldown, ..AdamOptions::default() };
    let objective = NoiseLevels { world: world(), steps, batch: 0, seed: 1, weight_only: false };
    let mut training = objective.training(gamma, adam);
    for _ in 0..TRAINING {
        training.step(&())?;
    }
    let table = training.model.table(steps);
    Ok(table.broadcast((steps + 1, world().variance.len())).expect("one path, or one for each").to_owned())
}

#[derive(Serialize)]
struct Excess {
    path: &'static str,
    steps: usize,
    excess_bits_per_dim: f64,
}

/// What a schedule alone gains, at which length of the chain; and where it puts its steps.
pub(super) fn schedules(studio: &Studio) -> Result<()> {
    let families = [
        ("linear, shared", Path::Linear, 1),
        ("polynomial, shared", Path::Polynomial, 1),
        ("polynomial per dimension", Path::Polynomial, 16),
        ("VDM's net, shared", Path::Monotone, 1),
        ("knots, shared", Path::Knots, 1),
        ("knots per dimension", Path::Knots, 16),
    ];
    let (mut rows, lengths) = (Vec::new(), STEPS.map(|steps| steps as f64));
    let all: Vec<(usize, usize)> =
        (0..families.len()).flat_map(|f| (0..STEPS.len()).map(move |s| (f, s))).collect();
    let learn = |&(f, s): &(usize, usize)| learned(families[f].1, families[f].2, STEPS[s]);
    let tables: Vec<Array2<f64>> = all.par_iter().map(learn).collect::<Result<_>>()?;
    let mut tables = tables.into_iter();
    let mut gains = Chart::new("steps T", "excess over the entropy, bits/dim").scales(Scale::Log, Scale::Log);
    let mut places = Chart::new("i/T, T = 20", "γ_{i}").y_range(-14.0, 6.0);
    let share: Vec<f64> = (0..=20).map(|i| f64::from(i) / 20.0).collect();
    for (name, _, paths) in families {
        let mut excess = Vec::new();
        for steps in STEPS {
            let gamma = tables.next().expect("one for each family and length");
            excess.push(world().excess(&gamma));
            rows.push(Excess { path: name, steps, excess_bits_per_dim: excess[excess.len() - 1] });
            if steps == 20 && paths == 1 {
                places = places.line(name, &share, &gamma.column(0).to_vec());
            }
        }
        let cells: Vec<String> = excess.iter().map(|e| format!("{e:8.3}")).collect();
        show!("{name:28}{}", cells.concat());
        gains = gains.line(name, &lengths, &excess);
    }
    studio.save("noise_schedules.png", &Chart::panels(vec![gains, places], 2, (620, 520)))?;
    studio.save_csv("noise_schedules.csv", rows)
}

/// ½ Σ_d ∫ γ_d'(t) mmse_d dt for three correlated Gaussians on three paths: in continuous time, with a perfect network, no path
/// is better than another.
pub(super) fn path_independence(studio: &Studio) -> Result<()> {
    let paths = [
        ("all at once", [1.0, 1.0, 1.0]),
        ("the first soon, the last late", [0.5, 1.0, 2.0]),
        ("the last soon, the first late", [3.0, 1.0, 0.4]),
    ];
    const PIECES: usize = 4000;
    // t = u³: evenly in u, since some γ rise infinitely fast at t = 0
    let t: Vec<f64> = (0..=PIECES).map(|i| (i as f64 / PIECES as f64).powi(3)).collect();
    let mut chart =
        Chart::new("t", "½ Σ_{d} ∫_{0}^{t} γ'_{d} E(ε − ε\u{302})_{d}^{2}, nats").x_range(0.0, 1.0);
    let mut ends = Vec::new();
    for (name, powers) in paths {
        let (mut sum, mut sums) = (0.0, vec![0.0]);
        for i in 0..PIECES {
            let u = (i as f64 + 0.5) / PIECES as f64; // the midpoint of each piece
            sum += rate(powers, u.powi(3)) * 3.0 * u * u / PIECES as f64;
            sums.push(sum);
        }
        show!("{name:32}{sum:.6} nats");
        ends.push(sum);
        chart = chart.line(name, &t, &sums);
    }
    let spread = ends.iter().copied().fold(f64::NEG_INFINITY, f64::max)
        - ends.iter().copied().fold(f64::INFINITY, f64::min);
    let note = format!("all end at {:.3} nats, within {spread:.0e}", ends[0]);
    studio.save("noise_paths.png", &chart.note(note, 0.03, 0.95 * ends[0]).figure())
}

/// ½ Σ_d γ_d'(t) mmse_d(t) with γ_d = −6 + 10 t^{p_d}; mmse of ε from z = α x + σ ε, x ~ N(0, S).
fn rate(powers: [f64; 3], t: f64) -> f64 {
    let s = array![[1.0, 0.6, 0.2], [0.6, 1.0, 0.5], [0.2, 0.5, 1.0]];
    let gamma = powers.map(|p| -6.0 + 10.0 * t.powf(p));
    let [alpha, sigma] = [1.0, -1.0].map(|sign: f64| gamma.map(|g| (1.0 / (1.0 + (sign * g).exp())).sqrt()));
    // Var(ε|z) = I − σ (α S α + σ²)⁻¹ σ
    let spread = nalgebra::Matrix3::from_fn(|i, j| {
        alpha[i] * s[[i, j]] * alpha[j] + if i == j { sigma[i] * sigma[i] } else { 0.0 }
    });
    let inverse = spread.try_inverse().expect("positive definite");
    (0..3)
        .map(|d| {
            let slope = 10.0 * powers[d] * t.powf(powers[d] - 1.0);
            0.5 * slope * (1.0 - sigma[d] * sigma[d] * inverse[(d, d)])
        })
        .sum()
}
