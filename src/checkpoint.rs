//! Weights in files: diffusers' folders, and the crate's own training checkpoints.
//!
//! Both are [safetensors](https://github.com/huggingface/safetensors) under the keys of diffusers' state dict,
//! which are the paths of [`Params`]. This is the border where layouts change: a convolution is `[k, k, in, out]`
//! here and `[out, in, k, k]` there, a linear layer `[in, out]` here and `[out, in]` there.

mod checksum;
mod file;
mod layout;
mod scheduler;
mod shipped;

pub use file::{Precision, Tensors, parse, read, write};
pub use layout::{add, fill, from_pytorch, nothing_left, take, to_pytorch};
pub(crate) use scheduler::check_channels;
pub use scheduler::{SCHEDULER, reverse_from_json, reverse_to_json};
pub use shipped::{ABLATION, GARMENTS, PAINTINGS, Shipped, shipped};

use crate::diffusion::{Reverse, Schedule};
use crate::error::{Error, Fault, Result};
use crate::files::write_atomically;
use crate::unet::{Unet, UnetConfig};
use rand_chacha::rand_core::SeedableRng;
use std::path::Path;

/// diffusers' name of the configuration file.
pub const CONFIG: &str = "config.json";
/// diffusers' name of the file of weights.
pub const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// A network, and the process it was trained for.
#[derive(Clone, Debug)]
pub struct Pretrained {
    /// the weights
    pub unet: Unet,
    /// schedule, parametrisation, variance
    pub reverse: Reverse,
}

/// Reads a folder as diffusers' `save_pretrained` writes it.
///
/// Without a `scheduler_config.json` the process is the paper's: linear, T = 1000, ε, σ² = β.
///
/// # Errors
/// A file is missing or damaged; a key is missing or unknown; a tensor has the wrong shape or dtype.
pub fn load_pretrained(dir: impl AsRef<Path>) -> Result<Pretrained> {
    let dir = dir.as_ref();
    let text = |name: &str| {
        let path = dir.join(name);
        std::fs::read_to_string(&path).map_err(Error::io(&path))
    };
    let config = text(CONFIG)?;
    let scheduler = if dir.join(SCHEDULER).exists() { Some(text(SCHEDULER)?) } else { None };
    let weights = std::fs::read(dir.join(WEIGHTS)).map_err(Error::io(dir.join(WEIGHTS)))?;
    assemble(dir, &config, scheduler.as_deref(), &weights)
}

/// As [`load_pretrained`], from the contents of the files.
///
/// # Errors
/// As [`load_pretrained`]; the files are named as in a folder.
pub fn parse_pretrained(config: &str, scheduler: Option<&str>, weights: &[u8]) -> Result<Pretrained> {
    assemble(Path::new(""), config, scheduler, weights)
}

fn assemble(dir: &Path, config: &str, scheduler: Option<&str>, weights: &[u8]) -> Result<Pretrained> {
    let at = |name: &str| Fault::at(dir.join(name));
    let config = UnetConfig::from_json(config).map_err(at(CONFIG))?;
    let reverse = match scheduler {
        Some(text) => reverse_from_json(text).map_err(at(SCHEDULER))?,
        None => Reverse::new(Schedule::linear(1000)),
    };
    check_channels(&config, &reverse).map_err(at(CONFIG))?;
    let unet = parse(weights).and_then(|file| network(&config, file)).map_err(at(WEIGHTS))?;
    Ok(Pretrained { unet, reverse })
}

/// Writes a folder that diffusers' `UNet2DModel.from_pretrained` opens.
///
/// # Errors
/// The folder can't be made or a file can't be written.
pub fn save_pretrained(
    unet: &Unet,
    reverse: &Reverse,
    dir: impl AsRef<Path>,
    precision: Precision,
) -> Result<()> {
    let dir = dir.as_ref();
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    write_atomically(&dir.join(CONFIG), unet.config.to_json().as_bytes())?;
    write_atomically(&dir.join(SCHEDULER), reverse_to_json(reverse).as_bytes())?;
    let mut file = Tensors::default();
    file.metadata.insert("format".into(), "pt".into()); // diffusers asks for it
    add(unet, "", &mut file.tensors);
    write(&dir.join(WEIGHTS), &file, precision)
}

/// The network of the given shape whose weights the file holds.
fn network(config: &UnetConfig, mut file: Tensors) -> Result<Unet, Fault> {
    enough(config, &file)?;
    let mut unet = Unet::new(config, &mut rand_chacha::ChaCha8Rng::seed_from_u64(0));
    layout::rename_old_keys(&mut file.tensors);
    fill(&mut unet, "", &mut file.tensors)?;
    nothing_left(&file.tensors)?;
    Ok(unet)
}

/// Fails if the file can't hold a network of this shape: before a damaged configuration asks for all the memory there
/// is. Counted are only the 3×3 convolutions that every network has.
pub(crate) fn enough(config: &UnetConfig, file: &Tensors) -> Result<(), Fault> {
    let widths = config.block_out_channels.iter().map(|&w| w as f64); // f64: the product may overflow
    let blocks: f64 = widths.map(|w| config.layers_per_block as f64 * w * w).sum();
    let ends = (config.in_channels + config.out_channels) as f64 * config.block_out_channels[0] as f64;
    let (needed, found) = (9.0 * (blocks + ends), file.tensors.values().map(|t| t.len()).sum::<usize>());
    if found as f64 >= needed {
        return Ok(());
    }
    Err(Fault::format(format!("more than {needed} numbers, as configured"), found))
}

#[cfg(test)]
mod tests;
