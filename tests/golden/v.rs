//! v-prediction and zero terminal SNR against diffusers (`tests/golden/README.md`): schedules, targets, single steps,
//! whole chains.

use crate::common::{Golden, assert_close, image, nchw_to_nhwc, numbers_of, own_golden, recipe_tensor};
use ddpm::diffusion::{
    Ddim, Noise, NoisyBatch, Prediction, Reverse, Schedule, Spacing, Variance, ddim_step, ddim_steps,
    decode_steps, q_sample, simple_loss,
};
use ddpm::tensor::Batch;
use ndarray::{Axis, concatenate};

/// All numbers of the file are f64, made by the same formulas in another order.
const REL: f64 = 1e-9;
const ABS: f64 = 1e-12;

/// The two chains of a file, by name: the scaled linear one, and the same rescaled.
fn processes(file: &Golden) -> Vec<(String, Reverse)> {
    let schedule = Schedule::from_betas(&file.vec("schedules/linear_T40_scaled/betas")).unwrap();
    let rescaled = schedule.rescaled_to_zero_snr().unwrap();
    let process = |(name, schedule): (&str, Schedule)| {
        (name.to_string(), Reverse { prediction: Prediction::V, ..Reverse::new(schedule) })
    };
    [("usual", schedule), ("zero_snr", rescaled)].map(process).to_vec()
}

fn with(reverse: &Reverse, variance: &str, clip: &str) -> Reverse {
    let variance = match variance {
        "fixed_small" => Variance::BetaTilde,
        "fixed_large" => Variance::Beta,
        "learned_range" => Variance::LearnedRange,
        _ => panic!("unknown variance '{variance}'"),
    };
    Reverse { variance, clip: clip != "noclip", ..reverse.clone() }
}

/// The t of the single steps.
fn steps(file: &Golden) -> Vec<usize> {
    file.indices("t_index").iter().map(|i| i + 1).collect()
}

#[test]
fn schedules_rescaled_to_zero_snr() {
    let file = own_golden("v_prediction");
    for name in file.stems("/zero_snr_betas") {
        let ours = Schedule::from_betas(&file.vec(&format!("{name}/betas"))).unwrap();
        let ours = ours.rescaled_to_zero_snr().unwrap();
        let table = |value: fn(&Schedule, usize) -> f64| -> Vec<f64> {
            (1..=ours.T()).map(|t| value(&ours, t)).collect()
        };
        let (betas, alpha_bar) = (table(|s, t| s.beta(t)), table(|s, t| s.alpha_bar(t)));
        assert_close(&name, &betas, &file.vec(&format!("{name}/zero_snr_betas")), 1e-10, 0.0);
        // the last one is 0, and must be just that
        assert_close(&name, &alpha_bar, &file.vec(&format!("{name}/zero_snr_alphas_cumprod")), 1e-10, 0.0);
    }
}

/// x_t, the target, and L_simple with its gradient.
#[test]
fn targets_and_losses() {
    let file = own_golden("v_prediction");
    let (x0, eps, output) = (file.images("x0_u8"), file.batch("eps"), file.batch("output"));
    for (name, reverse) in processes(&file) {
        for (k, t) in steps(&file).into_iter().enumerate() {
            let batch = NoisyBatch::new(&reverse.schedule, x0.clone(), vec![t; x0.dim().0], eps.clone());
            let close = |tensor: &str, ours: &Batch| {
                let golden = &file.batches(&format!("{name}/{tensor}"))[k];
                assert_close(&format!("{name}/{tensor} at {t}"), ours, golden, REL, ABS);
            };
            close("x_t", &batch.x_t);
            let ours = simple_loss(&reverse, &output, &batch);
            close("grad_output", &ours.d_output);
            let losses = file.array(&format!("{name}/loss"));
            assert_close("loss", &ours.loss, losses.index_axis(Axis(0), k).iter(), REL, ABS);
            // the velocity is the answer that costs nothing
            let velocity = &file.batches(&format!("{name}/velocity"))[k];
            let right = simple_loss(&reverse, velocity, &batch);
            assert!(right.loss.iter().all(|loss| *loss < 1e-24), "{name} at {t}: {}", right.loss);
            let p = Reverse { clip: false, ..reverse.clone() }.read(velocity.clone(), &batch.x_t, &batch.t);
            assert_close("x0_hat", &p.x0_hat, &x0, 0.0, ABS);
        }
    }
}

/// The configurations `<prefix>…<suffix>` of a file.
fn stems(file: &Golden, prefix: String, suffix: &str) -> Vec<String> {
    let mut stems = file.stems(suffix);
    stems.retain(|stem| stem.starts_with(&prefix));
    assert!(!stems.is_empty(), "{}: no {prefix}*{suffix}", file.path.display());
    stems
}

/// One step of Algorithm 2 from several t, T among them.
#[test]
fn single_steps() {
    let file = own_golden("v_prediction");
    let (output, v, z) = (file.batch("output"), file.batch("output_variance"), file.batch("z"));
    for (name, reverse) in processes(&file) {
        for stem in stems(&file, format!("{name}/ddpm/"), "/x_prev") {
            let parts: Vec<&str> = stem.split('/').collect();
            let reverse = with(&reverse, parts[2], parts[3]);
            let answer = match reverse.variance.is_learned() {
                true => concatenate![Axis(3), output, v],
                false => output.clone(),
            };
            for (k, t) in steps(&file).into_iter().enumerate() {
                let x_t = &file.batches(&format!("{name}/x_t"))[k];
                let model = |_: &Batch, _: &[usize]| answer.clone();
                let step = reverse.p_sample(&model, x_t, &vec![t; x_t.dim().0], &z);
                let golden = &file.batches(&format!("{stem}/x_prev"))[k];
                assert_close(&format!("{stem} at {t}"), &step.x_prev, golden, REL, ABS);
                let stem = format!("{name}/ddpm/fixed_small/{}", parts[3]);
                let golden = &file.batches(&format!("{stem}/pred_x0"))[k];
                assert_close(&format!("{stem}: x0_hat at {t}"), &step.x0_hat, golden, REL, ABS);
            }
        }
    }
}

/// One step of DDIM from several t, T among them.
#[test]
fn single_ddim_steps() {
    let file = own_golden("v_prediction");
    let (output, z, stride) = (file.batch("output"), file.batch("z"), file.indices("ddim_stride")[0]);
    let model = |_: &Batch, _: &[usize]| output.clone();
    for (name, reverse) in processes(&file) {
        for stem in stems(&file, format!("{name}/ddim/"), "/x_prev") {
            let parts: Vec<&str> = stem.split('/').collect();
            let eta = parts[2].strip_prefix("eta").unwrap().parse().unwrap();
            let ddim = Ddim { eta, rederive_eps: parts[3] == "clip_rederive", ..Ddim::new(1) };
            let reverse = Reverse { clip: parts[3] != "noclip", ..reverse.clone() };
            for (k, t) in steps(&file).into_iter().enumerate() {
                let x_t = &file.batches(&format!("{name}/x_t"))[k];
                let step = ddim_step(&model, &reverse, &ddim, x_t, t, t.saturating_sub(stride), &z);
                let golden = &file.batches(&format!("{stem}/x_prev"))[k];
                assert_close(&format!("{stem} at {t}"), &step.x_prev, golden, REL, ABS);
            }
        }
    }
}

/// The file's analytic model, in the words of its metadata. It is told the file's t − 1.
fn analytic(file: &Golden, schedule: &Schedule) -> impl Fn(&Batch, &[usize]) -> Batch + use<> {
    const MODEL: &str = "kind v: 0.6*sqrt(abar_t)*x - 1.3*sqrt(1-abar_t)*tanh(x) + 0.1*sin(t)";
    let (words, numbers) = numbers_of(file.meta("model"));
    assert_eq!(words, numbers_of(MODEL).0, "another analytic model");
    let [straight, bent, _, shift] = numbers[..] else { panic!("the model has other numbers: {numbers:?}") };
    let schedule = schedule.clone();
    move |x_t: &Batch, t: &[usize]| {
        let mut v = x_t.clone();
        for (mut image, &t) in v.outer_iter_mut().zip(t) {
            let (signal, noise) = (schedule.alpha_bar(t).sqrt(), (1.0 - schedule.alpha_bar(t)).sqrt());
            let i = (t - 1) as f64;
            image.mapv_inplace(|x| straight * signal * x - bent * noise * x.tanh() + shift * i.sin());
        }
        v
    }
}

/// The noises of a file's chains: x_T, and one for each step.
fn noises(file: &Golden) -> Vec<Batch> {
    let (x_T, seed) = (file.array("chain/x_T"), file.meta("seed").parse().unwrap());
    let steps = file.meta_json("cfg")["T"].as_u64().unwrap();
    let step = |i| nchw_to_nhwc(recipe_tensor(&format!("v/chain/noise/{i}"), seed, x_T.shape()));
    let noises: Vec<Batch> = [file.batch("chain/x_T")].into_iter().chain((0..steps).map(step)).collect();
    assert_close("the recipe", noises.last().unwrap(), &file.batch("chain/noise_last"), 1e-12, 1e-12);
    noises
}

#[test]
fn chains() {
    let file = own_golden("v_prediction");
    let noises = noises(&file);
    let given = |n: usize, t: usize| image(&noises[t], n);
    let indices = file.indices("chain/t_index");
    for (name, reverse) in processes(&file) {
        for (variance, clip) in [
            ("fixed_small", "clip"),
            ("fixed_small", "noclip"),
            ("fixed_large", "clip"),
            ("fixed_large", "noclip"),
        ] {
            let (stem, reverse) =
                (format!("{name}/chain/{variance}/{clip}/x"), with(&reverse, variance, clip));
            let (golden, mut seen) = (file.batches(&stem), 0);
            let (model, last) = (analytic(&file, &reverse.schedule), reverse.schedule.T());
            for step in decode_steps(&model, &reverse, noises[0].clone(), last, &Noise::given(&given)) {
                if let Some(k) = indices.iter().position(|&i| i == step.t - 1) {
                    assert_close(&format!("{stem} at {}", step.t), &step.x_prev, &golden[k], REL, ABS);
                    seen += 1;
                }
            }
            assert_eq!(seen, indices.len(), "{stem}");
        }
    }
}

/// DDIM in ten steps with either spacing; "trailing" starts at T.
#[test]
fn ddim_chains() {
    let file = own_golden("v_prediction");
    let noises = noises(&file);
    let given = |n: usize, t: usize| image(&noises[t], n);
    let [n, h, w, c] = *noises[0].shape() else { unreachable!("a batch has four axes") };
    let recorded = file.indices("chain/ddim_step_index");
    for (name, reverse) in processes(&file) {
        for stem in stems(&file, format!("{name}/chain/ddim/"), "/x") {
            let parts: Vec<&str> = stem.split('/').collect();
            let spacing = match parts[3] {
                "leading" => Spacing::Leading,
                "trailing" => Spacing::Trailing,
                other => panic!("unknown spacing '{other}'"),
            };
            let timesteps: Vec<usize> =
                file.indices(&format!("chain/{}", parts[3])).iter().map(|i| i + 1).collect();
            let eta = parts[4].strip_prefix("eta").unwrap().parse().unwrap();
            let ddim = Ddim { eta, spacing, ..Ddim::new(timesteps.len()) };
            assert_eq!(ddim.timesteps(reverse.schedule.T()), timesteps);
            let reverse = Reverse { clip: false, ..reverse.clone() };
            let (golden, mut states) = (file.batches(&format!("{stem}/x")), Vec::new());
            let (model, noise) = (analytic(&file, &reverse.schedule), Noise::given(&given));
            for step in ddim_steps(&model, &reverse, &ddim, [n, h, w, c], &noise) {
                states.push(step.x_prev);
            }
            for (golden, &k) in golden.iter().zip(&recorded) {
                assert_close(&format!("{stem} after step {k}"), &states[k], golden, REL, ABS);
            }
        }
    }
}

/// What a slip would cost: with the two roots of v exchanged, or its sign turned, every step is far off.
#[test]
fn a_slip_is_seen() {
    let file = own_golden("v_prediction");
    let (_, reverse) = processes(&file).remove(0);
    let (x0, eps) = (file.images("x0_u8"), file.batch("eps"));
    for (k, t) in steps(&file).into_iter().enumerate() {
        let (root, noise) =
            (reverse.schedule.alpha_bar(t).sqrt(), (1.0 - reverse.schedule.alpha_bar(t)).sqrt());
        let velocity = &file.batches("usual/velocity")[k];
        let x_t = q_sample(&reverse.schedule, &x0, &vec![t; x0.dim().0], &eps);
        let slips = [noise * &eps - root * &x0, root * &x0 - noise * &eps, root * &eps - noise * &x_t];
        for slip in slips {
            let off = (slip - velocity).iter().fold(0.0f64, |worst, d| worst.max(d.abs()));
            assert!(off > 1e3 * (REL + ABS), "t = {t}: {off}");
        }
    }
}
