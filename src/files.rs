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
