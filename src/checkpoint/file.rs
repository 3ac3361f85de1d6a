//! Tensors in a safetensors file, which says when it is damaged.

use super::checksum;
use super::layout::all_numbers;
use crate::error::{Error, Fault, Result};
use crate::files::write_atomically;
use crate::names::{all, unknown};
use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Tensors by key, in PyTorch's layout, and the file's remarks.
#[derive(Debug, Default)]
pub struct Tensors {
    /// key → tensor
    pub tensors: BTreeMap<String, ArrayD<f32>>,
    /// the header's free text, without the checksum
    pub metadata: BTreeMap<String, String>,
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

    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    /// Whether a number can be stored: none becomes infinite.
    pub(super) fn holds(self, x: f32) -> bool {
        match self {
            Self::F32 => x.is_finite(),
            Self::F16 => f16::from_f32(x).is_finite(),
            Self::Bf16 => bf16::from_f32(x).is_finite(),
        }
    }

    fn encode(self, tensor: &ArrayD<f32>) -> Vec<u8> {
        match self {
            Self::F32 => tensor.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F16 => tensor.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            Self::Bf16 => tensor.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
        }
    }
}

/// Reads a safetensors file of f32, bf16, f16 or f64 numbers.
///
/// # Errors
/// The file can't be read, is not safetensors (or cut short), holds another dtype, or is not what its checksum says.
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
    let (length, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let views: BTreeMap<String, TensorView> =
        SafeTensors::deserialize(bytes).map_err(damaged)?.tensors().into_iter().collect();
    let mut metadata: BTreeMap<String, String> =
        header.metadata().clone().unwrap_or_default().into_iter().collect();
    checksum::verify(&bytes[8..8 + length], &views, &mut metadata)?;
    let mut tensors = BTreeMap::new();
    for (key, view) in views {
        let numbers = numbers(&view).ok_or_else(|| Fault::WrongDtype {
            key: key.clone(),
            expected: "F32, BF16, F16 or F64".into(),
            found: format!("{:?}", view.dtype()),
        })?;
        let tensor =
            ArrayD::from_shape_vec(IxDyn(view.shape()), numbers).map_err(|e| Fault::format("a tensor", e))?;
        tensors.insert(key, tensor);
    }
    Ok(Tensors { tensors, metadata })
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

/// Writes a safetensors file with a checksum; it appears whole or not at all.
///
/// # Errors
/// A number is not finite, or too large for the precision; or the file can't be written.
pub fn write(path: &Path, file: &Tensors, precision: Precision) -> Result<()> {
    let bytes = encode(file, precision).map_err(Fault::at(path))?;
    write_atomically(path, &bytes)
}

fn encode(file: &Tensors, precision: Precision) -> Result<Vec<u8>, Fault> {
    let wrong = |e| Fault::format("tensors that can be written", e);
    let mut encoded = BTreeMap::new();
    for (key, tensor) in &file.tensors {
        all_numbers(key, tensor, precision)?;
        encoded.insert(key, (tensor.shape().to_vec(), precision.encode(tensor)));
    }
    let mut views = BTreeMap::new();
    for (key, (shape, bytes)) in &encoded {
        views.insert(
            key.to_string(),
            TensorView::new(precision.dtype(), shape.clone(), bytes).map_err(wrong)?,
        );
    }
    let metadata = checksum::seal(&views, file.metadata.clone());
    let mut bytes = safetensors::serialize(&views, Some(metadata.into_iter().collect())).map_err(wrong)?;
    sort_header(&mut bytes);
    Ok(bytes)
}

/// Puts the header's keys in order: safetensors writes metadata as a `HashMap` has them, each time in another one, and the
/// same tensors should make the same file.
fn sort_header(bytes: &mut [u8]) {
    let (length, rest) = bytes.split_first_chunk().expect("a file begins with the length of its header");
    let length = u64::from_le_bytes(*length) as usize;
    let header: Value = serde_json::from_slice(&rest[..length]).expect("a header just written");
    let sorted = header.to_string(); // as long as it was
    bytes[8..][..sorted.len()].copy_from_slice(sorted.as_bytes());
}
