//! The shipped network: what diffusers computes with the same files, and what is inside the program.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use ddpm::checkpoint::{self, WEIGHTS};
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
fn the_program_carries_the_folder() {
    let (inside, outside) = (checkpoint::shipped().unwrap(), checkpoint::load_pretrained(folder()).unwrap());
    assert_eq!(inside.unet.slices(), outside.unet.slices());
    assert_eq!(inside.unet.config, outside.unet.config);
    assert_eq!(inside.reverse.schedule, outside.reverse.schedule);
    let size = std::fs::metadata(folder().join(WEIGHTS)).unwrap().len();
    assert!(size <= 11 << 20, "{size} bytes of weights");
}
