//! The checksum that our files carry in their metadata. A CRC notices every change of one byte, and of any four in a row.
//! Others pass it over: diffusers and PyTorch read no more of the metadata than `format`.

use crate::error::Fault;
use safetensors::tensor::TensorView;
use std::collections::BTreeMap;

/// Its key, and how its value begins: either is enough to know it by, so that damage to the other is noticed too.
const KEY: &str = "ddpm_checksum";
const PREFIX: &str = "crc32:";

/// Adds the checksum of tensors and metadata to the metadata.
pub(super) fn seal(
    tensors: &BTreeMap<String, TensorView>,
    mut metadata: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    metadata.insert(KEY.into(), checksum(tensors, &metadata));
    metadata
}

/// Takes the checksum out of the metadata, if the file has one: it must be that of all the rest.
pub(super) fn verify(
    header: &[u8],
    tensors: &BTreeMap<String, TensorView>,
    metadata: &mut BTreeMap<String, String>,
) -> Result<(), Fault> {
    let entry = metadata.iter().find(|(key, value)| *key == KEY || value.starts_with(PREFIX));
    let Some((key, stored)) = entry.map(|(key, value)| (key.clone(), value.clone())) else {
        return Ok(()); // an old file, or another program's
    };
    metadata.remove(&key);
    let found = checksum(tensors, metadata);
    // a blank behind the header may become another one that JSON passes over
    let blanks = header.iter().all(|&byte| byte >= b' ');
    if key == KEY && stored == found && blanks {
        return Ok(());
    }
    Err(Fault::Damaged { stored: format!("{key} {stored}"), found: format!("{KEY} {found}") })
}

/// CRC-32 of each key and value, and of each tensor's key, type, shape and bytes as stored; all sorted by key, and every part
/// behind its length, so that none can pass for two.
fn checksum(tensors: &BTreeMap<String, TensorView>, metadata: &BTreeMap<String, String>) -> String {
    let mut crc = crc32fast::Hasher::new();
    let mut add = |part: &[u8]| {
        crc.update(&(part.len() as u64).to_le_bytes());
        crc.update(part);
    };
    for (key, value) in metadata {
        add(key.as_bytes());
        add(value.as_bytes());
    }
    for (key, tensor) in tensors {
        add(key.as_bytes());
        add(format!("{:?} {:?}", tensor.dtype(), tensor.shape()).as_bytes());
        add(tensor.data());
    }
    format!("{PREFIX}{:08x}", crc.finalize())
}

/// The checksum of a text.
pub(super) fn of_text(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}
