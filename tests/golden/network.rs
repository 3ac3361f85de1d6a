//! Whole networks against reference data made by diffusers' `UNet2DModel` and PyTorch (`tests/golden/README.md`):
//! outputs, all gradients, ten training steps, sampling.

use crate::common::{
    Golden, assert_close, betas_of, golden_file, golden_files, golden_unets, image, max_error, recipe_shapes,
    recipe_weights,
};
use ddpm::checkpoint;
use ddpm::diffusion::{
    Ddim, Loss, Noise, NoisyBatch, Reverse, Schedule, ScheduleKind, Variance, ddim_steps, decode_steps,
};
use ddpm::optim::{Adam, AdamOptions};
use ddpm::params::Params;
use ddpm::rng::stream;
use ddpm::tensor::Tensor4;
use ddpm::train::{Group, loss_and_gradient};
use ddpm::unet::{Unet, UnetConfig};
use ndarray::ArrayD;
use std::collections::BTreeMap;

fn input(golden: &Golden) -> (Tensor4, Vec<usize>) {
    let t = golden.indices("t").iter().map(|t| t + 1).collect(); // 0-based in the files
    (golden.batch32("x"), t)
}

/// Output, and the gradient of every parameter by name, of whole U-Nets.
#[test]
fn tiny_unets_with_all_gradients() {
    for golden in golden_unets(false) {
        let unet = golden.unet("w/");
        let (x, t) = input(&golden);
        let name = golden.path.display();

        let (y, cache) = unet.forward(x.clone(), &t, &mut []);
        let (error, max) = max_error(&y, &golden.batch("y"));
        assert!(error <= 1e-5 * max, "{name}: y is off by {error:e} of {max}");
        let (error, max) = max_error(&unet.infer(&x, &t), &golden.batch("y"));
        assert!(error <= 1e-5 * max, "{name}: inference is off by {error:e} of {max}");

        let mut grad = unet.zeros_like();
        let dx = unet.backward(cache, &golden.batch32("g"), &mut grad);
        let (error, max) = max_error(&dx, &golden.batch("grad_x"));
        assert!(error <= 1e-5 * max, "{name}: grad_x is off by {error:e} of {max}");

        golden.assert_gradients(&grad);
    }
}

/// The published CIFAR-10 shape (35,746,307 parameters) with recipe weights.
#[test]
fn the_cifar_shape_by_name_and_by_value() {
    for golden in golden_unets(true) {
        let config = UnetConfig::from_json(golden.meta("config")).unwrap();
        let mut unet = Unet::new(&config, &mut stream(0, 0));
        let ours: BTreeMap<String, Vec<usize>> = unet
            .tensors()
            .into_iter()
            .map(|(k, layout, w)| (k, checkpoint::to_pytorch(w, layout).shape().to_vec()))
            .collect();
        assert_eq!(ours, recipe_shapes(&golden));
        if config.block_out_channels == [128, 256, 256, 256] && config.layers_per_block == 2 {
            assert_eq!(unet.count(), 35_746_307);
        }

        let mut weights = recipe_weights(&golden);
        checkpoint::fill(&mut unet, "", &mut weights).unwrap();

        let (x, t) = input(&golden);
        let (error, max) = max_error(&unet.infer(&x, &t), &golden.batch("y"));
        assert!(error <= 2e-5 * max, "{}: y is off by {error:e} of {max}", golden.path.display());
    }
}

/// Ten steps of Adam: without warm-up and clipping (`adam`), and with them (`ddpm`).
#[test]
fn ten_training_steps() {
    for golden in golden_files("train") {
        let kind = golden.meta_json("schedule");
        let name: ScheduleKind = kind["name"].as_str().unwrap().parse().unwrap();
        let reverse = Reverse::new(name.schedule(kind["T"].as_u64().unwrap() as usize).unwrap());
        let noises = golden.batches("noise");
        let images = golden.batches("x0_u8").into_iter().map(|levels| levels / 127.5 - 1.0);
        let t = golden.indices("t");
        let t = t.chunks(t.len() / noises.len()).map(|t| t.iter().map(|t| t + 1).collect());
        let batches =
            images.zip(t).zip(noises).map(|((x0, t), eps)| NoisyBatch::new(&reverse.schedule, x0, t, eps));
        let batches: Vec<NoisyBatch> = batches.collect();

        for (run, options) in golden.meta_json("runs").as_object().unwrap() {
            let number = |key: &str| options[key].as_f64().unwrap();
            let options = AdamOptions {
                lr: number("lr"),
                warmup: number("warmup") as u64,
                clip: number("clip"),
                ema_decay: number("ema"),
                ..AdamOptions::default()
            };
            let mut unet = golden.unet("w0/");
            let mut adam = Adam::new(&unet, options);
            let (mut losses, mut norms, mut rates) = (Vec::new(), Vec::new(), Vec::new());
            for noisy in &batches {
                let mut groups = [Group::new(noisy.clone(), Vec::new())];
                let (loss, grad) = loss_and_gradient(&unet, &reverse, Loss::Simple, &mut groups);
                losses.push(loss);
                norms.push(adam.step(&mut unet, &grad));
                rates.push(options.lr_at(adam.steps));
            }
            let want = |what: &str| golden.vec(&format!("{run}/{what}"));
            assert_close(&format!("{run}: loss"), &losses, &want("loss_f64"), 1e-5, 0.0);
            assert_close(&format!("{run}: gradient"), &norms, &want("grad_norm_f64"), 1e-5, 0.0);
            assert_close(&format!("{run}: lr"), &rates, &want("lr"), 1e-12, 0.0);
            for (prefix, model) in [("w", &unet), ("ema", &adam.ema)] {
                let stored = golden.under(&format!("{run}/{prefix}/"));
                if prefix == "ema" && stored.is_empty() {
                    continue; // only one of the runs stores its averages
                }
                assert_same_weights(&format!("{run}/{prefix}"), model, &stored);
            }
        }
    }
}

/// To 1e-4, but for `to_k.bias`: its exact gradient is 0, and Adam makes whole steps of what rounding leaves.
#[track_caller]
fn assert_same_weights(name: &str, model: &Unet, want: &BTreeMap<String, ArrayD<f32>>) {
    assert_eq!(model.named().len(), want.len(), "{name}: number of parameters");
    for (key, layout, got) in model.tensors().into_iter().filter(|(key, ..)| !key.ends_with("to_k.bias")) {
        let (error, _) = max_error(&checkpoint::to_pytorch(got, layout), &want[&key].mapv(f64::from));
        assert!(error <= 1e-4, "{name}/{key} is off by {error:e}");
    }
}

/// The network of another file, that a file of trajectories names in its metadata.
fn sampled_unet(golden: &Golden) -> Unet {
    let text = golden.meta("unet_weights");
    let name = text.split(' ').find_map(|word| word.strip_suffix(".safetensors")).unwrap();
    golden_file(name).unet("w/")
}

#[allow(non_snake_case)] // x_T is the paper's name
#[test]
fn sampling_trajectories() {
    for golden in golden_files("sampling") {
        let unet = sampled_unet(&golden);
        let schedule = Schedule::from_betas(&golden.vec("ddpm/betas")).unwrap();
        let noises = golden.batches("ddpm/noise");
        let given = |n: usize, t: usize| image(&noises[t - 1], n);
        let recorded = golden.indices("ddpm/t_index");
        for name in golden.stems("/x_f64").iter().filter(|name| name.starts_with("ddpm/")) {
            let variance = if name.contains("fixed_small") { Variance::BetaTilde } else { Variance::Beta };
            let clip = !name.ends_with("noclip");
            let reverse = Reverse { variance, clip, ..Reverse::new(schedule.clone()) };
            let x = golden.batches(&format!("{name}/x_f64"));
            let last = golden.batch(&format!("{name}/pred_x0_diffusers_f32_last"));
            let (x_T, noise) = (golden.batch("ddpm/x_T"), Noise::given(&given));
            let mut seen = 0;
            for step in decode_steps(&unet, &reverse, x_T, schedule.T(), &noise) {
                let close = |got, want: &ndarray::Array4<f64>| {
                    let max = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                    assert_close(&format!("{name} at {}", step.t), got, want, 0.0, 1e-4 * max);
                };
                if let Some(k) = recorded.iter().position(|&i| i == step.t - 1) {
                    close(&step.x_prev, &x[k]);
                    seen += 1;
                }
                if step.t == 1 {
                    close(&step.x0_hat, &last);
                }
            }
            assert_eq!(seen, recorded.len(), "{name}");
        }
    }
}

#[allow(non_snake_case)] // x_T is the paper's name
#[test]
fn ddim_trajectories() {
    for golden in golden_files("sampling") {
        let unet = sampled_unet(&golden);
        let schedule = Schedule::from_betas(&betas_of(&golden, "ddim")).unwrap();
        let (x_T, noises) = (golden.batch("ddpm/x_T"), golden.batches("ddim/noise_unet"));
        let [n, h, w, c] = *x_T.shape() else { unreachable!("a batch has four axes") };
        let timesteps: Vec<usize> = golden.indices("ddim/timesteps").iter().map(|i| i + 1).collect();
        let at = |t: usize| timesteps.iter().position(|&s| s == t).unwrap();
        let given = |n: usize, t: usize| if t == 0 { image(&x_T, n) } else { image(&noises[at(t)], n) };
        let recorded = golden.indices("ddim/step_index");
        for name in golden.stems("/x_f64").iter().filter(|name| name.starts_with("ddim/unet/")) {
            let parts: Vec<&str> = name.split('/').collect();
            let eta = parts[2].strip_prefix("eta").unwrap().parse().unwrap();
            let ddim = Ddim { eta, ..Ddim::new(timesteps.len()) };
            let reverse = Reverse { clip: parts[3] == "clip", ..Reverse::new(schedule.clone()) };
            let x = golden.batches(&format!("{name}/x_f64"));
            let (mut step_index, mut seen) = (0, 0);
            for step in ddim_steps(&unet, &reverse, &ddim, [n, h, w, c], &Noise::given(&given)) {
                if let Some(k) = recorded.iter().position(|&i| i == step_index) {
                    assert_close(&format!("{name} at {}", step.t), &step.x_prev, &x[k], 0.0, 5e-3);
                    seen += 1;
                }
                step_index += 1;
            }
            assert_eq!(seen, recorded.len(), "{name}");
        }
    }
}
