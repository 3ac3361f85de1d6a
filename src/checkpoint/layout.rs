//! Between a model and tensors by key: diffusers' keys, PyTorch's layout.

use super::Precision;
use crate::error::Fault;
use crate::params::{Layout, Params};
use ndarray::{ArrayD, ArrayViewD, Dimension, IxDyn};
use std::collections::BTreeMap;

/// Puts a model's parameters under `prefix` into `tensors`, in PyTorch's layout.
pub fn add(model: &impl Params, prefix: &str, tensors: &mut BTreeMap<String, ArrayD<f32>>) {
    for (key, layout, tensor) in model.tensors() {
        tensors.insert(format!("{prefix}{key}"), to_pytorch(tensor, layout));
    }
}

/// Takes a model's parameters out of `tensors`, from under `prefix` and PyTorch's layout.
///
/// # Errors
/// A key is missing, its shape is wrong, or one of its numbers is not finite.
pub fn fill(
    model: &mut impl Params,
    prefix: &str,
    tensors: &mut BTreeMap<String, ArrayD<f32>>,
) -> Result<(), Fault> {
    for (key, layout, mut tensor) in model.tensors_mut() {
        let shape = pytorch_view(tensor.view(), layout).shape().to_vec();
        let found = take(tensors, &format!("{prefix}{key}"), &shape)?;
        tensor.assign(&from_pytorch(found.view(), layout));
    }
    Ok(())
}

/// Takes one tensor out, as it is: of this shape, and of finite numbers.
///
/// # Errors
/// As [`fill`].
pub fn take(
    tensors: &mut BTreeMap<String, ArrayD<f32>>,
    key: &str,
    shape: &[usize],
) -> Result<ArrayD<f32>, Fault> {
    let found = tensors.remove(key).ok_or_else(|| Fault::MissingKey { key: key.into() })?;
    if found.shape() != shape {
        let (expected, found) = (shape.to_vec(), found.shape().to_vec());
        return Err(Fault::WrongShape { key: key.into(), expected, found });
    }
    all_numbers(key, &found, Precision::F32)?;
    Ok(found)
}

/// Fails at the first number that is not finite, or would not be in this precision.
pub(super) fn all_numbers(key: &str, tensor: &ArrayD<f32>, precision: Precision) -> Result<(), Fault> {
    match tensor.indexed_iter().find(|(_, x)| !precision.holds(**x)) {
        None => Ok(()),
        Some((place, &found)) => Err(Fault::Number {
            key: key.into(),
            place: place.slice().to_vec(),
            expected: if found.is_finite() {
                format!("a number that {precision} can hold")
            } else {
                "a finite number".into()
            },
            found,
        }),
    }
}

/// Fails if a key was not used.
///
/// # Errors
/// Names the first one.
pub fn nothing_left(tensors: &BTreeMap<String, ArrayD<f32>>) -> Result<(), Fault> {
    match tensors.keys().next() {
        None => Ok(()),
        Some(key) => Err(Fault::UnknownKey { key: key.clone(), nearest: None }),
    }
}

/// `[k, k, in, out]` → `[out, in, k, k]`, `[in, out]` → `[out, in]`; what is plain as it is.
pub fn to_pytorch(tensor: ArrayViewD<f32>, layout: Layout) -> ArrayD<f32> {
    pytorch_view(tensor, layout).as_standard_layout().into_owned()
}

/// The same numbers with PyTorch's axes, not moved in memory.
fn pytorch_view(tensor: ArrayViewD<f32>, layout: Layout) -> ArrayViewD<f32> {
    permuted(tensor, layout, &[3, 2, 0, 1])
}

/// The inverse of [`to_pytorch`].
pub fn from_pytorch(tensor: ArrayViewD<f32>, layout: Layout) -> ArrayD<f32> {
    permuted(tensor, layout, &[2, 3, 1, 0]).as_standard_layout().into_owned()
}

/// Convolutions with their axes in the order `four`, matrices transposed, what is plain as it is.
fn permuted<'a>(tensor: ArrayViewD<'a, f32>, layout: Layout, four: &[usize; 4]) -> ArrayViewD<'a, f32> {
    match layout {
        Layout::Conv => tensor.permuted_axes(IxDyn(four)),
        Layout::Linear => tensor.reversed_axes(),
        Layout::Plain => tensor,
    }
}

/// Files saved before diffusers 0.15 call attention's layers `query`, `key`, `value` and `proj_attn`.
pub(super) fn rename_old_keys(tensors: &mut BTreeMap<String, ArrayD<f32>>) {
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
