//! Tables and numbers as files.

use anyhow::Result;
use ddpm::Error;
use ddpm::files::write_atomically;
use serde::Serialize;
use std::path::Path;

/// A row per value, with a header.
pub(super) fn save_csv(path: &Path, rows: impl IntoIterator<Item = impl Serialize>) -> Result<()> {
    let wrong = |e: String| Error::format(path, "a table", e);
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).map_err(|e| wrong(e.to_string()))?;
    }
    Ok(write_atomically(path, &writer.into_inner().map_err(|e| wrong(e.to_string()))?)?)
}

/// Numbers with their names, for people and programs.
pub(super) fn save_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    Ok(write_atomically(path, format!("{value:#}\n").as_bytes())?)
}
