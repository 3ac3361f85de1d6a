//! The shipped networks: what diffusers computes with the same files, and what is inside the program.
#![cfg(feature = "weights")]
#![allow(clippy::unwrap_used)] // a test fails by panicking

use ddpm::checkpoint::{self, ABLATION, Shipped, WEIGHTS};
use ddpm::params::Params;
use ndarray::Ix4;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/fashion-mnist-ddpm")
}

/// reference.safetensors holds outputs of `UNet2DModel.from_pretrained` on this folder.
#[test]
fn diffusers_computes_the_same() {
    let model = checkpoint::load_pretrained(folder()).unwrap();
    let reference = checkpoint::read(&folder().join("reference.safetensors")).unwrap().tensors;
    let images = |key: &str| {
        let nchw = reference[key].clone().into_dimensionality::<Ix4>().unwrap();
        nchw.permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned()
    };
    let t: Vec<usize> = reference["t"].iter().map(|&t| t as usize + 1).collect(); // 0-based in the file
    let (y, want) = (model.unet.infer(&images("x"), &t), images("y"));
    let max = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let error = (&y - &want).iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(max > 1.0 && error <= 1e-5 * max, "off by {error:e} of {max}");
}

#[test]
fn the_program_carries_the_folders() {
    let (mut total, mut ideas, mut larger) = (0, 0, 0);
    for shipped in Shipped::all() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(shipped.folder);
        let (inside, outside) = (shipped.load().unwrap(), checkpoint::load_pretrained(&folder).unwrap());
        assert_eq!(inside.unet.slices(), outside.unet.slices(), "{}", shipped.name);
        assert_eq!(inside.unet.config, outside.unet.config);
        assert_eq!(inside.reverse, outside.reverse);
        let [a, b] = [&inside, &outside].map(|model| model.autoencoder.as_ref().map(|model| model.slices()));
        assert_eq!(a, b, "{}", shipped.name);
        assert_eq!(shipped.log(), std::fs::read(folder.join("loss.csv")).unwrap());
        let parts = [WEIGHTS.to_string(), format!("unet/{WEIGHTS}"), format!("vae/{WEIGHTS}")];
        let bytes: u64 =
            parts.iter().filter_map(|part| Some(std::fs::metadata(folder.join(part)).ok()?.len())).sum();
        match shipped.name {
            "told" | "latents" | "gaussian" | "weather" => ideas += bytes,
            "paintings-latents" => larger += bytes,
            _ => total += bytes,
        }
    }
    let classifier = include_bytes!("../assets/fashion-mnist-classifier/classifier.safetensors").len() as u64;
    assert!(total + classifier <= 25_000_000, "{total} + {classifier} bytes of weights");
    assert!(ideas <= 8_000_000, "{ideas} bytes of weights for what goes beyond the paper");
    assert!(larger <= 5_000_000, "{larger} bytes of weights for larger paintings");
}

/// Networks that an ablation compares differ in nothing else.
#[test]
fn the_ablation_is_fair() {
    let runs: Vec<_> = ABLATION.iter().map(|run| run.load().unwrap()).collect();
    for run in &runs {
        let (c, first) = (&run.unet.config, &runs[0].unet.config);
        assert_eq!(c.block_out_channels, first.block_out_channels);
        assert_eq!(c.layers_per_block, first.layers_per_block);
        assert_eq!(run.reverse.schedule, runs[0].reverse.schedule);
    }
    let steps = |run: &Shipped| {
        String::from_utf8_lossy(run.log()).lines().last().unwrap().split(',').next().unwrap().to_string()
    };
    assert!(ABLATION.iter().all(|run| steps(run) == steps(&ABLATION[0])));
}
