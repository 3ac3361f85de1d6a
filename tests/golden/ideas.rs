//! Assignment, guidance, RePaint and imputation against the reference files of the four ideas.

use crate::common::{golden_files, near};
use ddpm::data::{MaskKind, forecast_condition, random_condition};
use ddpm::diffusion::oracle::GaussianField;
use ddpm::diffusion::{
    Conditioned, Ddim, Denoiser, Given, Jumps, Known, Noise, NoisyBatch, Query, Reverse, Schedule, Variance,
    assignment, ddim_step, masked_loss, nearest_noise, paste, repaint_steps,
};
use ddpm::quality::{crps, crps_csdi, crps_normal, csdi_levels};
use ddpm::rng::stream;
use ddpm::tensor::Batch;
use ndarray::{Array1, Array2, Array3, ArrayD, Axis, Ix3, Ix4, s};

#[test]
fn assignments() {
    for file in golden_files("assignment") {
        for name in file.stems("/cost_sq") {
            for (cost, columns, total) in
                [("cost_sq", "col_sq", "total_sq"), ("cost_sq", "col_l2", "total_l2")]
            {
                let cost = file.matrix(&format!("{name}/{cost}"));
                let cost = if total == "total_l2" { cost.mapv(f64::sqrt) } else { cost };
                let got = assignment(&cost);
                assert_eq!(got, file.indices(&format!("{name}/{columns}")), "{name} {columns}");
                let sum: f64 = got.iter().enumerate().map(|(i, &j)| cost[[i, j]]).sum();
                near(name.as_str(), [&sum], &file.array(&format!("{name}/{total}")));
            }
        }
        for name in ["ties", "greedy_fails"] {
            let cost = file.matrix(&format!("{name}/cost"));
            let sum: f64 = assignment(&cost).iter().enumerate().map(|(i, &j)| cost[[i, j]]).sum();
            near(name, [&sum], &file.array(&format!("{name}/total")));
        }
        for name in file.stems("/chosen") {
            let (images, noise) =
                (file.matrix(&format!("{name}/images")), file.array(&format!("{name}/noise")));
            let noise = noise.into_dimensionality::<Ix3>().unwrap();
            let row =
                |x: ndarray::ArrayView1<f64>| x.to_owned().into_shape_with_order((1, x.len(), 1)).unwrap();
            for (n, &index) in file.indices(&format!("{name}/index")).iter().enumerate() {
                let own = noise.index_axis(Axis(0), n).to_owned();
                let (k, d) = own.dim();
                let own = own.into_shape_with_order((k, 1, d, 1)).unwrap();
                assert_eq!(nearest_noise(row(images.row(n)).view(), &own), index, "{name} {n}");
            }
        }
    }
}

#[test]
fn repaint_levels() {
    for file in golden_files("repaint") {
        for name in file.names().into_iter().filter(|name| name.starts_with("times/")) {
            let numbers: Vec<usize> = name
                .trim_start_matches("times/T")
                .split(['_', 'j', 'r'])
                .filter(|part| !part.is_empty())
                .map(|part| part.parse().unwrap())
                .collect();
            let levels = Jumps { jump: numbers[1], resamples: numbers[2] }.levels(numbers[0]);
            let golden: Vec<usize> = file.array(&name).iter().map(|&t| (t + 1.0) as usize).collect();
            assert_eq!(levels, golden, "{name}");
        }
    }
}

fn reverse(betas: &[f64]) -> Reverse {
    let schedule = Schedule::from_betas(betas).unwrap();
    Reverse { clip: false, variance: Variance::BetaTilde, ..Reverse::new(schedule) }
}

fn as_row(values: ArrayD<f64>) -> Array3<f64> {
    let n = values.len();
    values.into_shape_with_order((1, n, 1)).unwrap()
}

#[test]
fn repaint_chain() {
    for file in golden_files("repaint") {
        let reverse = reverse(&file.vec("chain/betas"));
        let field = GaussianField::new(file.matrix("chain/covariance"), reverse.schedule.clone());
        let (of_known, of_step) = (file.matrix("chain/noise_known"), file.matrix("chain/noise_step"));
        let given = |_: usize, number: usize| match number {
            0 => as_row(file.array("chain/x_T")),
            n if n % 2 == 1 => as_row(of_known.row(n / 2).to_owned().into_dyn()),
            n => as_row(of_step.row(n / 2 - 1).to_owned().into_dyn()),
        };
        let one = |name: &str| as_row(file.array(name)).insert_axis(Axis(0));
        let known = Known { values: one("chain/x0"), mask: one("chain/keep") };
        let times = file.array("chain/times");
        let (T, x) = (times[0] as usize + 1, file.matrix("chain/x"));
        let jumps = (1..30)
            .flat_map(|jump| (1..30).map(move |resamples| Jumps { jump, resamples }))
            .find(|jumps| jumps.levels(T).iter().map(|&t| t as f64 - 1.0).eq(times.iter().copied()))
            .unwrap();
        let noise = Noise::given(&given);
        let steps: Vec<Batch> = repaint_steps(&field, &reverse, &known, jumps, &noise).collect();
        assert_eq!(steps.len(), x.nrows());
        for (i, (step, x)) in steps.iter().zip(x.outer_iter()).enumerate() {
            near(&format!("x after pair {i}"), step, x);
        }
        near("pasted", &paste(steps.last().unwrap(), &known), &file.array("chain/x_pasted"));
    }
}

/// Which entries are the condition, by each of CSDI's rules.
#[test]
fn masks() {
    for file in golden_files("imputation") {
        let all = |name: &str| file.array(&format!("mask/{name}")).into_dimensionality::<Ix3>().unwrap();
        let one = |name: &str, i: usize| all(name).index_axis_move(Axis(0), i);
        let ratios = file.vec("mask/ratio");
        let horizon = file.indices("mask/forecast_horizon")[0];
        for (i, &ratio) in ratios.iter().enumerate() {
            let before = (i + ratios.len() - 1) % ratios.len();
            let (observed, other) = (one("observed", i), one("observed", before));
            let historical = MaskKind::Historical.condition(&observed, &other, &mut stream(1, 0));
            let conditions = [
                ("random", random_condition(&observed, &one("uniform", i), ratio)),
                ("historical", historical),
                ("forecast", forecast_condition(&observed, horizon)),
            ];
            for (rule, condition) in conditions {
                assert_eq!(condition, one(&format!("{rule}_condition"), i), "{rule}");
                assert_eq!(&observed - &condition, one(&format!("{rule}_target"), i), "{rule}");
            }
        }
    }
}

/// The masked loss, and what the network is shown: CSDI's [M_co x_0, (1 − M_co) x_t].
#[test]
fn masked_losses() {
    for file in golden_files("imputation") {
        let batch = |name: &str| file.array(name).into_dimensionality::<Ix3>().unwrap().insert_axis(Axis(3));
        let (targets, condition) = (batch("mask/random_target"), batch("mask/random_condition"));
        let noisy = NoisyBatch {
            x0: batch("train/x0"),
            t: vec![1; targets.len_of(Axis(0))],
            eps: batch("train/eps"),
            x_t: batch("train/x_t"),
        };
        let result = masked_loss(&batch("train/eps_hat"), &noisy, &targets);
        let count = targets.sum();
        near("loss", [&(result.loss.sum() / count)], &file.array("train/loss"));
        near("∂ε̂", &(&result.d_output / count), &batch("train/grad_eps_hat"));
        let input = file.array("train/input").into_dimensionality::<Ix4>().unwrap();
        near("known", &(&condition * &noisy.x0), input.index_axis(Axis(1), 0));
        near("noisy", &(condition.mapv(|m| 1.0 - m) * &noisy.x_t), input.index_axis(Axis(1), 1));
    }
}

#[test]
fn scores() {
    for file in golden_files("imputation") {
        let samples = file.array("crps/samples").into_dimensionality::<Ix4>().unwrap();
        let (y, eval) = (file.array("crps/target"), file.array("crps/eval"));
        let (scaler, shift) = (file.vec("crps/scaler"), file.vec("crps/mean_scaler"));
        let (b, n, l, k) = samples.dim();
        let (mut columns, mut targets) = (Vec::new(), Vec::new());
        for (i, j, f) in (0..b).flat_map(|i| (0..l).flat_map(move |j| (0..k).map(move |f| (i, j, f)))) {
            if eval[[i, j, f]] > 0.0 {
                columns.push(samples.slice(s![i, .., j, f]).mapv(|x| x * scaler[f] + shift[f]));
                targets.push(y[[i, j, f]] * scaler[f] + shift[f]);
            }
        }
        let entries = Array2::from_shape_fn((n, columns.len()), |(s, e)| columns[e][s]);
        let by_level = crps_csdi(entries.view(), ndarray::aview1(&targets));
        near("levels", &csdi_levels(), &file.array("crps/levels"));
        near("by level", &by_level, &file.array("crps/by_level"));
        near("value", [&by_level.mean().unwrap()], &file.array("crps/value"));

        let (samples, y) = (file.matrix("crps_exact/samples"), file.vec("crps_exact/y"));
        let exact: Vec<f64> = samples.outer_iter().zip(y).map(|(samples, y)| crps(samples, y)).collect();
        near("exact", &exact, &file.array("crps_exact/value"));
        let numbers = ["mean", "std", "y"].map(|name| file.vec(&format!("crps_gauss/{name}")));
        let normal: Vec<f64> =
            (0..numbers[0].len()).map(|i| crps_normal(numbers[0][i], numbers[1][i], numbers[2][i])).collect();
        near("normal", &normal, &file.array("crps_gauss/value"));
    }
}

/// Posterior, and both oracles, of Gaussian-process series.
#[test]
fn gaussian_series() {
    for file in golden_files("imputation") {
        let reverse = reverse(&file.vec("gp/betas"));
        let field = GaussianField::new(file.matrix("gp/kernel"), reverse.schedule.clone());
        let (x, observed, eps) = (file.matrix("gp/x"), file.matrix("gp/observed"), file.matrix("gp/eps"));
        let (n, l) = x.dim();
        for i in 0..n {
            let posterior = field.posterior(&x.row(i).to_vec(), &observed.row(i).to_vec());
            near("covariance", &posterior.covariance, &file.array(&format!("gp/posterior_cov/{i}")));
            let mean = file.matrix("gp/posterior_mean");
            near("mean", &posterior.mean, posterior.unknown.iter().map(|&u| &mean[[i, u]]));
        }
        let rows = |x: &Array2<f64>| x.clone().into_shape_with_order((n, 1, l, 1)).unwrap();
        let given = Given { class: None, known: Some(Known { values: rows(&x), mask: rows(&observed) }) };
        for (k, t) in file.indices("gp/t").into_iter().enumerate() {
            let each = vec![t + 1; n];
            let noisy = NoisyBatch::new(&reverse.schedule, rows(&x), each.clone(), rows(&eps));
            let of = |name: &str| {
                let all = file.array(name).into_dimensionality::<Ix3>().unwrap();
                all.index_axis(Axis(1), k).to_owned()
            };
            let query = Query::new(&noisy.x_t, &each);
            near("ε̂", &field.answer(&query), &of("gp/eps_unconditional"));
            near("ε̂ given", &field.answer(&Query { given: &given, ..query }), &of("gp/eps_conditional"));
        }
    }
}

/// N(mean, covariance) of x, as a chain of affine steps makes it.
struct Law {
    mean: Array1<f64>,
    covariance: Array2<f64>,
}

impl Law {
    /// x ↦ √ᾱ_t x_0 + √(1 − ᾱ_t) z at the known entries.
    fn replace(&mut self, reverse: &Reverse, x0: &[f64], known: &[f64], t: usize) {
        let alpha_bar = reverse.schedule.alpha_bar(t);
        for k in (0..x0.len()).filter(|&k| known[k] > 0.0) {
            self.mean[k] = alpha_bar.sqrt() * x0[k];
            self.covariance.row_mut(k).fill(0.0);
            self.covariance.column_mut(k).fill(0.0);
            self.covariance[[k, k]] = 1.0 - alpha_bar;
        }
    }

    /// One reverse step, whose matrix is read off its answers to the unit vectors.
    fn down(&mut self, reverse: &Reverse, model: &dyn Denoiser, t: usize) {
        let d = self.mean.len();
        let units = Array2::from_shape_fn((d + 1, d), |(i, j)| f64::from(u8::from(i == j)));
        let rows = units.into_shape_with_order((d + 1, 1, d, 1)).unwrap();
        let step = |z: f64| {
            let z = Batch::from_elem(rows.raw_dim(), z);
            let x = reverse.p_sample(model, &rows, &vec![t; d + 1], &z).x_prev;
            x.into_shape_with_order((d + 1, d)).unwrap()
        };
        let (still, moved) = (step(0.0), step(1.0));
        let offset = still.row(d).to_owned();
        let matrix = (&still.slice(s![..d, ..]) - &offset).reversed_axes();
        let sigma = moved[[d, 0]] - still[[d, 0]];
        self.mean = matrix.dot(&self.mean) + offset;
        self.covariance =
            matrix.dot(&self.covariance).dot(&matrix.t()) + Array2::<f64>::eye(d) * sigma * sigma;
    }

    /// x ↦ √(1 − β_t) x + √β_t z.
    fn up(&mut self, reverse: &Reverse, t: usize) {
        let beta = reverse.schedule.beta(t);
        self.mean *= (1.0 - beta).sqrt();
        self.covariance = &self.covariance * (1.0 - beta) + Array2::<f64>::eye(self.mean.len()) * beta;
    }
}

/// With a perfect network a chain's samples have an exact law: that of the conditional chain, of replacement, and of
/// replacement with jumps.
#[test]
fn laws_of_three_samplers() {
    for file in golden_files("imputation") {
        let reverse = reverse(&file.vec("gp/betas"));
        let T = reverse.schedule.T();
        let field = GaussianField::new(file.matrix("gp/kernel"), reverse.schedule.clone());
        let (x, observed) = (file.matrix("gp/x"), file.matrix("gp/observed"));
        let times: Vec<usize> = file.array("gp/jump_times").iter().map(|&t| (t + 1.0) as usize).collect();
        let plain: Vec<usize> = (0..=T).rev().collect();
        for i in 0..x.nrows() {
            let (x0, known) = (x.row(i).to_vec(), observed.row(i).to_vec());
            let l = x0.len();
            let row = |x: &[f64]| ndarray::Array4::from_shape_vec((1, 1, l, 1), x.to_vec()).unwrap();
            let (values, mask) = (row(&x0), row(&known));
            let again = |x: &Batch| ndarray::concatenate(Axis(0), &vec![x.view(); l + 1]).unwrap();
            let given =
                Given { class: None, known: Some(Known { values: again(&values), mask: again(&mask) }) };
            let told = Conditioned { model: &field, given };
            for (name, replaces, levels) in [
                ("conditional_chain", false, &plain),
                ("replacement", true, &plain),
                ("replacement_jumps", true, &times),
            ] {
                let mut law = Law { mean: Array1::zeros(l), covariance: Array2::eye(l) };
                for pair in levels.windows(2) {
                    match (pair[1] > pair[0], replaces) {
                        (true, _) => law.up(&reverse, pair[1]),
                        (false, false) => law.down(&reverse, &told, pair[0]),
                        (false, true) => {
                            law.replace(&reverse, &x0, &known, pair[0]);
                            law.down(&reverse, &field, pair[0]);
                        }
                    }
                }
                let unknown: Vec<usize> = (0..l).filter(|&k| known[k] == 0.0).collect();
                near(
                    name,
                    unknown.iter().map(|&u| &law.mean[u]),
                    &file.array(&format!("gp/{name}/mean/{i}")),
                );
                let covariance = law.covariance.select(Axis(0), &unknown).select(Axis(1), &unknown);
                near(name, &covariance, &file.array(&format!("gp/{name}/cov/{i}")));
            }
        }
    }
}

/// One-dimensional Gaussians side by side: both denoisers are affine, so is the guided chain.
#[test]
fn guidance_of_gaussians() {
    for file in golden_files("guidance") {
        let schedule = Schedule::from_betas(&file.vec("betas")).unwrap();
        let [mean, var, mean_c, var_c] = ["mean", "var", "mean_c", "var_c"].map(|name| file.vec(name));
        let (x, w) = (file.matrix("x"), file.vec("w"));
        let eps = |x: f64, t: usize, m: f64, v: f64| {
            let alpha_bar = schedule.alpha_bar(t);
            (1.0 - alpha_bar).sqrt() * (x - alpha_bar.sqrt() * m) / (alpha_bar * v + 1.0 - alpha_bar)
        };
        for (k, t) in file.indices("t").into_iter().map(|t| t + 1).enumerate() {
            for d in 0..x.ncols() {
                let conditional = eps(x[[k, d]], t, mean_c[d], var_c[d]);
                let without = eps(x[[k, d]], t, mean[d], var[d]);
                near("conditional", [&conditional], [&file.matrix("eps_cond")[[k, d]]]);
                near("without", [&without], [&file.matrix("eps_null")[[k, d]]]);
                for &w in &w {
                    let guided = (1.0 + w) * conditional - w * without;
                    near("guided", [&guided], [&file.matrix(&format!("guided/w{w}"))[[k, d]]]);
                }
            }
        }
        // moments of both chains
        let (reverse, ddim) = (reverse(&file.vec("betas")), Ddim::new(10));
        let mut times: Vec<usize> =
            file.indices("ddim/times").into_iter().map(|t| t + 1).chain([0]).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        for (k, &w) in w.iter().enumerate() {
            for d in 0..mean.len() {
                let guided = |x: &Batch, t: &[usize]| {
                    x.mapv(|x| {
                        (1.0 + w) * eps(x, t[0], mean_c[d], var_c[d]) - w * eps(x, t[0], mean[d], var[d])
                    })
                };
                let steps = (1..=schedule.T()).rev();
                let law = moments(steps.map(|t| affine(|x, z| reverse.p_sample(&guided, x, &[t], z).x_prev)));
                near(
                    "mean, variance",
                    &law,
                    [&file.matrix("ddpm/mean")[[k, d]], &file.matrix("ddpm/var")[[k, d]]],
                );
                let jumps = times.windows(2).map(|pair| {
                    affine(|x, z| ddim_step(&guided, &reverse, &ddim, x, pair[0], pair[1], z).x_prev)
                });
                let law = moments(jumps);
                near("of DDIM", &law, [&file.matrix("ddim/mean")[[k, d]], &file.matrix("ddim/var")[[k, d]]]);
            }
        }
    }
}

/// a, b, σ of a step x ↦ a x + b + σ z of one number.
fn affine(step: impl Fn(&Batch, &Batch) -> Batch) -> [f64; 3] {
    let one = |x| Batch::from_elem((1, 1, 1, 1), x);
    let at = |x, z| step(&one(x), &one(z))[[0, 0, 0, 0]];
    let b = at(0.0, 0.0);
    [at(1.0, 0.0) - b, b, at(0.0, 1.0) - b]
}

/// Mean and variance after such steps from N(0, 1).
fn moments(steps: impl Iterator<Item = [f64; 3]>) -> [f64; 2] {
    steps.fold([0.0, 1.0], |[mean, variance], [a, b, sigma]| [a * mean + b, a * a * variance + sigma * sigma])
}
