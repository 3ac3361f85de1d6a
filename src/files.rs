//! Files that are whole or not there.

use crate::{Error, Result};
use std::io::Write;
use std::path::Path;

/// Writes a file beside its place, flushes it to the disk, and renames it: readers see the old one or the new one.
///
/// # Errors
/// The file can't be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(Error::io(path))?;
    file.write_all(bytes).map_err(Error::io(path))?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    #[cfg(unix)]
    {
        // a temporary file is private; what it becomes is an ordinary one
        use std::os::unix::fs::PermissionsExt;
        let readable = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(readable).map_err(Error::io(path))?;
    }
    file.persist(path).map_err(|e| Error::io(path)(e.error))?;
    Ok(())
}

/// Removes what saves that were killed have left in a folder. To be called where nobody else can be saving.
///
/// # Errors
/// The folder can't be read, or a file not be removed.
pub fn sweep(dir: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io(dir))?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::io(dir))?;
        if entry.file_name().to_string_lossy().starts_with(".tmp") {
            std::fs::remove_file(entry.path()).map_err(Error::io(entry.path()))?;
        }
    }
    Ok(())
}

/// Tries whether files can be written to a folder.
///
/// # Errors
/// They can't.
pub fn check_dir(dir: &Path) -> Result<()> {
    tempfile::NamedTempFile::new_in(dir).map(drop).map_err(Error::io(dir))
}
