//! Files that are whole or not there.

use crate::{Error, Result};
use std::fs;
#[cfg(unix)]
use std::fs::Permissions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// What the names of unfinished files begin with.
const UNFINISHED: &str = ".tmp";

/// Writes a file beside its place, flushes it to the disk, and renames it: readers see the old one or the new one.
///
/// A link stays a link, to the new file; a file that was there hands on its permissions, a new one has those that the umask
/// allows. What is no file, a pipe or a device, is written to as it is.
///
/// # Errors
/// The file can't be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write(&followed(path), bytes).map_err(Error::io(path))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let before = fs::metadata(path).ok();
    let special = before.as_ref().is_some_and(|before| !before.is_file() && !before.is_dir());
    if special || path.is_symlink() {
        return fs::write(path, bytes); // which says what is wrong with links in a circle
    }
    let mut file = unfinished_in(folder_of(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    if let Some(before) = before.filter(fs::Metadata::is_file) {
        file.as_file().set_permissions(before.permissions())?;
    }
    file.persist(path).map(drop).map_err(|e| e.error)
}

/// A file that is removed unless it is renamed.
fn unfinished_in(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    #[cfg(unix)]
    {
        // a temporary file is private; what it becomes is an ordinary one, as far as the umask lets it
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(Permissions::from_mode(0o666));
    }
    fs::read_dir(folder)?; // whose error, unlike the next one's, does not speak of a temporary file
    builder.tempfile_in(folder)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where a path leads if it is a link, also to a file that is yet to be made.
fn followed(path: &Path) -> PathBuf {
    const MOST: usize = 40; // as many as Linux follows
    let mut path = path.to_path_buf();
    for _ in 0..MOST {
        match fs::read_link(&path) {
            Ok(target) => path = folder_of(&path).join(target),
            Err(_) => break,
        }
    }
    path
}

/// Removes what saves that were killed have left in a folder. To be called where nobody else can be saving.
///
/// # Errors
/// The folder can't be read, or a file not be removed.
pub fn sweep(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io(folder))?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::io(folder))?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            fs::remove_file(entry.path()).map_err(Error::io(entry.path()))?;
        }
    }
    Ok(())
}

/// Tries whether a file can be written, without changing it: so that hours of work don't end without a place to go.
///
/// # Errors
/// It can't: its folder is missing or closed, or a folder stands in its place.
pub fn check_file(path: &Path) -> Result<()> {
    let path = followed(path);
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => Err(Error::format(path, "a file to write", "a folder")),
        Ok(found) if !found.is_file() => Ok(()), // a pipe or a device
        _ => unfinished_in(folder_of(&path)).map(drop).map_err(Error::io(&path)),
    }
}

/// Makes a folder, if it is not there, and tries whether files can be written to it.
///
/// # Errors
/// It can't be made, or they can't be written.
pub fn check_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).and_then(|()| unfinished_in(folder).map(drop)).map_err(Error::io(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for bytes in [&b"first"[..], b"2"] {
            write_atomically(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        assert_eq!(names(dir.path()), ["x"]);
    }

    #[test]
    fn what_cannot_be_written_is_found_out_before_and_after() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let missing = at("none/x");
        for error in [check_file(&missing), write_atomically(&missing, b"")] {
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}: No such file", missing.display())), "{error}");
        }
        fs::create_dir(at("folder")).unwrap();
        let error = check_file(&at("folder")).unwrap_err().to_string();
        assert!(error.ends_with("folder: expected a file to write, found a folder"), "{error}");
        write_atomically(&at("folder"), b"").unwrap_err();
        fs::write(at("file"), "").unwrap();
        check_folder(&at("file")).unwrap_err();
        check_folder(&at("new/inner")).unwrap();
        check_file(&at("new/inner/x")).unwrap();
        assert_eq!(names(dir.path()), ["file", "folder", "new"]);
        assert!(names(&at("new/inner")).is_empty(), "nothing is left of the tries");
    }

    #[test]
    fn leftovers_are_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let leftover = unfinished_in(dir.path()).unwrap();
        leftover.keep().unwrap(); // as if the process had been killed
        fs::write(dir.path().join("mine.tmp"), "").unwrap();
        assert_eq!(names(dir.path()).len(), 2);
        sweep(dir.path()).unwrap();
        assert_eq!(names(dir.path()), ["mine.tmp"]);
        sweep(&dir.path().join("nowhere")).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_permissions_and_devices_stay_what_they_are() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("elsewhere")).unwrap();
        symlink("elsewhere/real", at("link")).unwrap();
        for bytes in [&b"made through the link"[..], b"replaced through it"] {
            write_atomically(&at("link"), bytes).unwrap();
            assert!(at("link").is_symlink());
            assert_eq!(fs::read(at("elsewhere/real")).unwrap(), bytes);
        }
        symlink("circle", at("circle")).unwrap();
        write_atomically(&at("circle"), b"").unwrap_err();

        let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
        fs::write(at("plain"), "").unwrap(); // as any program makes one
        assert_eq!(mode("elsewhere/real"), mode("plain"));
        fs::set_permissions(at("plain"), Permissions::from_mode(0o640)).unwrap();
        write_atomically(&at("plain"), b"again").unwrap();
        assert_eq!(mode("plain"), 0o640);

        let null = Path::new("/dev/null");
        check_file(null).unwrap();
        write_atomically(null, b"gone").unwrap();
        assert!(!fs::metadata(null).unwrap().is_file(), "still a device");
    }
}
