//! A folder in the form of the published google/ddpm-cifar10-32, as a user has it who downloaded the real one: its samples,
//! its bits per dimension, its rate–distortion curve. The weights are the recipe's, under the names that diffusers used
//! when that network was published.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use common::{own_golden, recipe_weights};
use ddpm::checkpoint::{self, CONFIG, Precision, SCHEDULER, Tensors, WEIGHTS};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// What the published scheduler_config.json says, for a chain of `steps`.
fn scheduler(steps: usize) -> String {
    let config = serde_json::json!({
        "_class_name": "DDPMScheduler", "_diffusers_version": "0.0.4", "beta_end": 0.02, "beta_schedule": "linear",
        "beta_start": 0.0001, "clip_sample": true, "num_train_timesteps": steps, "trained_betas": null,
        "variance_type": "fixed_large",
    });
    config.to_string()
}

fn write_folder(dir: &Path) {
    let golden = own_golden("unet_cifar");
    let new_to_old =
        [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")];
    let old = |key: String| new_to_old.iter().fold(key, |key, (new, old)| key.replace(new, old));
    let tensors: BTreeMap<_, _> =
        recipe_weights(&golden).into_iter().map(|(key, tensor)| (old(key), tensor)).collect();
    assert!(tensors.contains_key("mid_block.attentions.0.proj_attn.weight"));
    std::fs::create_dir(dir).unwrap();
    checkpoint::write(&dir.join(WEIGHTS), &Tensors { tensors, ..Tensors::default() }, Precision::Bf16)
        .unwrap();
    std::fs::write(dir.join(CONFIG), golden.meta("config")).unwrap();
    std::fs::write(dir.join(SCHEDULER), scheduler(1000)).unwrap();
}

#[track_caller]
fn ddpm(dir: &Path, arguments: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ddpm"))
        .current_dir(dir)
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "ddpm {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_published_folder_is_sampled_and_evaluated() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    write_folder(&at.join("cifar"));
    std::fs::create_dir(at.join("pictures")).unwrap();
    let picture = image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([8 * x as u8, 8 * y as u8, 90]));
    picture.save(at.join("pictures/0.png")).unwrap();

    let info = ddpm(at, "info --model cifar");
    assert!(info.contains("35746307  parameters in 328 tensors"), "{info}");
    assert!(info.contains("variance beta, clip true"), "{info}");

    ddpm(at, "sample --model cifar --n 1 --ddim 2 --out sample.png");
    let sample = image::open(at.join("sample.png")).unwrap().into_rgb8();
    assert!(sample.pixels().any(|p| p.0[0] != p.0[1]), "a picture in colour");

    let table = ddpm(at, "elbo --pretrained cifar --data pictures --images 1 --times 2 --out bits");
    assert!(table.contains("pictures, 1 images, bits/dim"), "{table}");
    let json = std::fs::read_to_string(at.join("bits/elbo.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let bits = &json["bounds"][0]["bits_per_dim"];
    let mean = |name: &str| bits[name]["mean"].as_f64().unwrap();
    assert!((1e-6..3e-5).contains(&mean("L_T")), "{bits}");
    assert!((mean("L_T") + mean("Σ L_t-1") + mean("L_0") - mean("L")).abs() < 1e-9, "{bits}");
    assert!(mean("L") > 1.0, "the recipe's weights know nothing of pictures: {bits}");

    // the curve needs every t: on a chain of five steps
    std::fs::write(at.join("cifar").join(SCHEDULER), scheduler(5)).unwrap();
    ddpm(at, "elbo --pretrained cifar --data pictures --images 1 --out curve");
    let curve = std::fs::read_to_string(at.join("curve/rate_distortion.csv")).unwrap();
    assert_eq!(curve.lines().count(), 1 + 2 * 5, "{curve}");
    image::open(at.join("curve/rate_distortion.png")).unwrap();
}
