//! Weights in files: diffusers' folders, and the crate's own training checkpoints.
//!
//! Both are [safetensors](https://github.com/huggingface/safetensors) under the keys of diffusers' state dict,
//! which are the paths of [`Params`]. This is the border where layouts change: a convolution is `[k, k, in, out]`
//! here and `[out, in, k, k]` there, a linear layer `[in, out]` here and `[out, in]` there.

mod scheduler;
mod shipped;

pub(crate) use scheduler::check_channels;
pub use scheduler::{SCHEDULER, reverse_from_json, reverse_to_json};
pub use shipped::{ABLATION, GARMENTS, PAINTINGS, Shipped, shipped};

use crate::diffusion::{Reverse, Schedule};
use crate::error::{Error, Fault, Result};
use crate::files::write_atomically;
use crate::names::{all, unknown};
use crate::params::Params;
use crate::unet::{Unet, UnetConfig};
use half::{bf16, f16};
use ndarray::{ArrayD, ArrayViewD, IxDyn};
use rand_chacha::rand_core::SeedableRng;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// diffusers' name of the configuration file.
pub const CONFIG: &str = "config.json";
/// diffusers' name of the file of weights.
pub const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// Tensors by key, in PyTorch's layout, and the file's remarks.
#[derive(Debug, Default)]
pub struct Tensors {
    /// key → tensor
    pub tensors: BTreeMap<String, ArrayD<f32>>,
    /// the header's free text
    pub metadata: HashMap<String, String>,
}

/// How numbers are stored.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumString,
    strum::VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = Error, parse_err_fn = unknown::<Precision>)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum), value(rename_all = "snake_case"))]
pub enum Precision {
    /// 4 bytes, exactly what is computed with
    F32,
    /// 2 bytes, IEEE half precision: 11 significant bits, up to 65,504
    F16,
    /// 2 bytes, the upper half of an f32: 8 significant bits, and its range
    Bf16,
}

impl Precision {
    /// Every precision, in the order of the help text.
    pub const ALL: [Self; 3] = all();
}

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
    rename_old_keys(&mut file.tensors);
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

/// Puts a model's parameters under `prefix` into `tensors`, in PyTorch's layout.
pub fn add(model: &impl Params, prefix: &str, tensors: &mut BTreeMap<String, ArrayD<f32>>) {
    for (key, tensor) in model.named() {
        tensors.insert(format!("{prefix}{key}"), to_pytorch(tensor));
    }
}

/// Takes a model's parameters out of `tensors`, from under `prefix` and PyTorch's layout.
///
/// # Errors
/// A key is missing, or its shape is wrong.
pub fn fill(
    model: &mut impl Params,
    prefix: &str,
    tensors: &mut BTreeMap<String, ArrayD<f32>>,
) -> Result<(), Fault> {
    for (key, mut tensor) in model.named_mut() {
        let key = format!("{prefix}{key}");
        let Some(found) = tensors.remove(&key) else {
            return Err(Fault::MissingKey { key });
        };
        let expected = pytorch_view(tensor.view()).shape().to_vec();
        if found.shape() != expected {
            return Err(Fault::WrongShape { key, expected, found: found.shape().to_vec() });
        }
        tensor.assign(&from_pytorch(found.view()));
    }
    Ok(())
}

/// Fails if a key was not used.
///
/// # Errors
/// Names the first one.
pub fn nothing_left(tensors: &BTreeMap<String, ArrayD<f32>>) -> Result<(), Fault> {
    match tensors.keys().next() {
        None => Ok(()),
        Some(key) => Err(Fault::UnknownKey { key: key.clone() }),
    }
}

/// `[k, k, in, out]` → `[out, in, k, k]`, `[in, out]` → `[out, in]`; vectors as they are.
pub fn to_pytorch(tensor: ArrayViewD<f32>) -> ArrayD<f32> {
    pytorch_view(tensor).as_standard_layout().into_owned()
}

/// The same numbers with PyTorch's axes, not moved in memory.
fn pytorch_view(tensor: ArrayViewD<f32>) -> ArrayViewD<f32> {
    permuted(tensor, &[3, 2, 0, 1])
}

/// The inverse of [`to_pytorch`].
pub fn from_pytorch(tensor: ArrayViewD<f32>) -> ArrayD<f32> {
    permuted(tensor, &[2, 3, 1, 0]).as_standard_layout().into_owned()
}

/// Convolutions with their axes in the order `four`, matrices transposed, vectors as they are.
fn permuted<'a>(tensor: ArrayViewD<'a, f32>, four: &[usize; 4]) -> ArrayViewD<'a, f32> {
    match tensor.ndim() {
        4 => tensor.permuted_axes(IxDyn(four)),
        2 => tensor.reversed_axes(),
        _ => tensor,
    }
}

/// Files saved before diffusers 0.15 call attention's layers `query`, `key`, `value` and `proj_attn`.
fn rename_old_keys(tensors: &mut BTreeMap<String, ArrayD<f32>>) {
    const OLD: [(&str, &str); 4] =
        [(".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0.")];
    let old: Vec<String> = tensors.keys().filter(|k| k.contains(".attentions.")).cloned().collect();
    for key in old {
        if let Some((from, to)) = OLD.iter().find(|(from, _)| key.contains(from))
            && let Some(tensor) = tensors.remove(&key)
        {
            tensors.insert(key.replace(from, to), tensor);
        }
    }
}

/// Reads a safetensors file of f32, bf16, f16 or f64 numbers.
///
/// # Errors
/// The file can't be read, is not safetensors (or cut short), or holds another dtype.
pub fn read(path: &Path) -> Result<Tensors> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    parse(&bytes).map_err(Fault::at(path))
}

/// As [`read`], from bytes.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8]) -> Result<Tensors, Fault> {
    let damaged = |e| Fault::format("a whole safetensors file", e);
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut tensors = BTreeMap::new();
    for (key, view) in file.tensors() {
        let numbers = numbers(&view).ok_or_else(|| Fault::WrongDtype {
            key: key.clone(),
            expected: "F32, BF16, F16 or F64".into(),
            found: format!("{:?}", view.dtype()),
        })?;
        let tensor =
            ArrayD::from_shape_vec(IxDyn(view.shape()), numbers).map_err(|e| Fault::format("a tensor", e))?;
        tensors.insert(key, tensor);
    }
    Ok(Tensors { tensors, metadata: header.metadata().clone().unwrap_or_default() })
}

/// The numbers of a tensor as f32, or `None` for a dtype that is not a real number.
fn numbers(view: &TensorView) -> Option<Vec<f32>> {
    let (pairs, _) = view.data().as_chunks::<2>();
    let (quads, _) = view.data().as_chunks::<4>();
    let (octets, _) = view.data().as_chunks::<8>();
    Some(match view.dtype() {
        Dtype::F32 => quads.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F64 => octets.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        Dtype::BF16 => pairs.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::F16 => pairs.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        _ => return None,
    })
}

/// Writes a safetensors file; it appears whole or not at all.
///
/// # Errors
/// The file can't be written.
pub fn write(path: &Path, file: &Tensors, precision: Precision) -> Result<()> {
    let dtype = match precision {
        Precision::F32 => Dtype::F32,
        Precision::F16 => Dtype::F16,
        Precision::Bf16 => Dtype::BF16,
    };
    let encoded: Vec<(&String, Vec<usize>, Vec<u8>)> = file
        .tensors
        .iter()
        .map(|(key, tensor)| {
            let bytes = match precision {
                Precision::F32 => tensor.iter().flat_map(|x| x.to_le_bytes()).collect(),
                Precision::F16 => tensor.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
                Precision::Bf16 => tensor.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
            };
            (key, tensor.shape().to_vec(), bytes)
        })
        .collect();
    let wrong = |e| Error::format(path, "tensors that can be written", e);
    let views =
        encoded.iter().map(|(key, shape, bytes)| Ok((key, TensorView::new(dtype, shape.clone(), bytes)?)));
    let views: Vec<_> = views.collect::<std::result::Result<_, _>>().map_err(wrong)?;
    let metadata = (!file.metadata.is_empty()).then(|| file.metadata.clone());
    let bytes = safetensors::serialize(views, metadata).map_err(wrong)?;
    write_atomically(path, &bytes)
}

#[cfg(test)]
mod tests;
