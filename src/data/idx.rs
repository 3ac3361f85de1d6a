//! IDX, the file format of MNIST and Fashion-MNIST.
//!
//! A header of big-endian 32-bit numbers, then one byte per value:
//!
//! ```text
//! images: 0x00000803, N, rows, columns, N·rows·columns grey levels
//! labels: 0x00000801, N, N classes
//! ```
//! Files may be gzipped; that is told from their first bytes, not from their names.

use super::Images;
use crate::files::write_atomically;
use crate::{Error, Result};
use flate2::{Compression, write::GzEncoder};
use ndarray::Array4;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Where Debian's package `dataset-fashion-mnist` puts its files.
pub const DEBIAN_FOLDER: &str = "/usr/share/datasets/fashion-mnist";

/// An unpacked file may have 4 GiB: 85 times Fashion-MNIST, and an end to gzip bombs.
const MAX_BYTES: u64 = 1 << 32;

/// One half of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What a model is trained on.
    Train,
    /// What it is judged by.
    Test,
}

impl Split {
    /// What the names of the files start with.
    fn prefix(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Test => "t10k",
        }
    }
}

/// Fashion-MNIST from `folder`, or from [`DEBIAN_FOLDER`] if that is `None`: 60,000 or 10,000 images `[N, 28, 28, 1]`.
///
/// The files are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same with `t10k`, with or without `.gz`,
/// with `-` or `.` before `idx`. MNIST and its other relatives load too, and are named by their folder.
///
/// # Errors
/// If a file is missing (the error says how to get it), is not IDX or is cut short, if it has no images, or not one label
/// per image.
pub fn fashion_mnist(folder: Option<&Path>, split: Split) -> Result<Images> {
    let name = folder.map_or("Fashion-MNIST".into(), name_of);
    let folder = folder.unwrap_or(Path::new(DEBIAN_FOLDER));
    let image_path = find(folder, split, "images", 3)?;
    let label_path = find(folder, split, "labels", 1)?;
    let (pixels, labels) = (read_images(&image_path)?, read_labels(&label_path)?);
    if labels.len() != pixels.dim().0 {
        return Err(Error::format(label_path, format!("{} labels", pixels.dim().0), labels.len()));
    }
    let part = if split == Split::Train { "training" } else { "test" };
    Ok(Images::new(format!("{name}, {part}"), pixels, Some(labels)))
}

/// The last part of a folder's path, which says whose images these are; `.` and links are looked through.
fn name_of(folder: &Path) -> String {
    let real = folder.canonicalize().unwrap_or(folder.to_path_buf());
    real.file_name().map_or(folder.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Whether a folder holds IDX images rather than pictures: whether a file has one of the names that
/// [`fashion_mnist`] looks for.
///
/// # Errors
/// It can't be read; or it has neither, and a folder in it has IDX images: then the error names that.
pub fn is_idx_folder(folder: &Path) -> Result<bool> {
    let has = |folder: &Path| [Split::Train, Split::Test].iter().any(|&split| has_split(folder, split));
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    if has(folder) {
        return Ok(true);
    }
    // where archives are unpacked, the files are often one folder further in
    match entries.flatten().map(|entry| entry.path()).find(|path| path.is_dir() && has(path)) {
        Some(inner) => {
            Err(Error::format(folder, "IDX files or pictures", format!("IDX files in {}", inner.display())))
        }
        None => Ok(false),
    }
}

/// Whether a folder holds the images of that half of a data set.
pub fn has_split(folder: &Path, split: Split) -> bool {
    names(split, "images", 3).any(|name| folder.join(name).is_file())
}

/// The usual names of a file, those without `.gz` first.
fn names(split: Split, what: &str, dimensions: u32) -> impl Iterator<Item = String> {
    let prefix = split.prefix();
    let name = move |dot: &str, gz: &str| format!("{prefix}-{what}{dot}idx{dimensions}-ubyte{gz}");
    [name("-", ""), name("-", ".gz"), name(".", ""), name(".", ".gz")].into_iter()
}

/// The first of the usual names that exists.
fn find(folder: &Path, split: Split, what: &str, dimensions: u32) -> Result<PathBuf> {
    let prefix = split.prefix();
    let mut paths = names(split, what, dimensions).map(|name| folder.join(name));
    paths.find(|path| path.is_file()).ok_or_else(|| {
        Error::format(
            folder,
            format!(
                "{prefix}-{what}-idx{dimensions}-ubyte.gz (`apt-get install dataset-fashion-mnist` puts it into \
                 {DEBIAN_FOLDER}; or get it from https://github.com/zalandoresearch/fashion-mnist)"
            ),
            if folder.is_dir() { "no such file" } else { "no such folder" },
        )
    })
}

/// The grey images of one IDX file, gzipped or plain, `[N, rows, columns, 1]`.
///
/// # Errors
/// If the file can't be read, is not IDX with three dimensions of bytes, or has too few or too many bytes.
pub fn read_images(path: &Path) -> Result<Array4<u8>> {
    parse_images(&std::fs::read(path).map_err(Error::io(path))?, path)
}

/// The labels of one IDX file, gzipped or plain.
///
/// # Errors
/// As [`read_images`], with one dimension.
pub fn read_labels(path: &Path) -> Result<Vec<u8>> {
    parse_labels(&std::fs::read(path).map_err(Error::io(path))?, path)
}

/// Writes grey images `[N, rows, columns, 1]` as a gzipped IDX file; it appears whole or not at all.
///
/// # Errors
/// The file can't be written.
///
/// # Panics
/// If the images are not grey.
#[track_caller]
pub fn write_images(path: &Path, images: &Array4<u8>) -> Result<()> {
    let (n, rows, columns, channels) = images.dim();
    assert_eq!(channels, 1, "write_images: {channels} channels, IDX has one");
    let mut bytes = vec![0, 0, 8, 3];
    [n, rows, columns].iter().for_each(|&size| bytes.extend((size as u32).to_be_bytes()));
    bytes.extend(images);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(&bytes)
        .and_then(|()| encoder.finish())
        .map_err(Error::io(path))
        .and_then(|gz| write_atomically(path, &gz))
}

pub(super) fn parse_images(bytes: &[u8], path: &Path) -> Result<Array4<u8>> {
    let ([n, rows, columns], values) = parse(bytes, path)?;
    if n * rows * columns == 0 {
        let found = format!("{n} images of {rows}x{columns}");
        return Err(Error::format(path, "at least one image of at least one pixel", found));
    }
    let found = values.len();
    Array4::from_shape_vec((n, rows, columns, 1), values)
        .map_err(|_| Error::format(path, format!("{n}x{rows}x{columns} pixels"), found))
}

pub(super) fn parse_labels(bytes: &[u8], path: &Path) -> Result<Vec<u8>> {
    parse::<1>(bytes, path).map(|(_, labels)| labels)
}

/// Header and values of an IDX file of bytes with `D` dimensions; the values are as many as the header says.
fn parse<const D: usize>(bytes: &[u8], path: &Path) -> Result<([usize; D], Vec<u8>)> {
    let mut values = unpack(bytes, path)?;
    let magic = 0x0800 + D as u32; // 08: unsigned bytes
    let number = |i: usize| Some(u32::from_be_bytes(*values.get(4 * i..)?.first_chunk()?));
    match number(0) {
        Some(found) if found == magic => {}
        Some(found) => {
            return Err(Error::format(
                path,
                format!("IDX magic number {magic:#010x}"),
                format!("{found:#010x}"),
            ));
        }
        None => return Err(short(path, 4 * (D + 1), values.len())),
    }
    let mut shape = [0; D];
    for (i, side) in shape.iter_mut().enumerate() {
        *side = number(i + 1).ok_or_else(|| short(path, 4 * (D + 1), values.len()))? as usize;
    }
    let expected = shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
    let expected =
        expected.ok_or_else(|| Error::format(path, "a shape that fits in memory", format!("{shape:?}")))?;
    values.drain(..4 * (D + 1));
    if values.len() != expected {
        return Err(Error::format(path, format!("{expected} bytes after the header"), values.len()));
    }
    Ok((shape, values))
}

fn short(path: &Path, header: usize, found: usize) -> Error {
    Error::format(path, format!("an IDX header of {header} bytes"), format!("{found} bytes"))
}

/// The bytes of a file, gunzipped if it starts as gzip does.
fn unpack(bytes: &[u8], path: &Path) -> Result<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes.to_vec());
    }
    let mut unpacked = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(bytes).take(MAX_BYTES + 1);
    decoder.read_to_end(&mut unpacked).map_err(|e| Error::format(path, "a whole gzip file", e))?;
    if unpacked.len() as u64 > MAX_BYTES {
        return Err(Error::format(path, format!("at most {MAX_BYTES} bytes unpacked"), "more"));
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idx(shape: &[u32], values: &[u8]) -> Vec<u8> {
        let magic = 0x0800 + shape.len() as u32;
        let header = std::iter::once(&magic).chain(shape).flat_map(|number| number.to_be_bytes());
        header.chain(values.iter().copied()).collect()
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
        folder
    }

    const TWO: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    #[test]
    fn plain_and_gzipped_files_under_their_usual_names_load() {
        let (images, labels) = (idx(&[2, 3, 2], &TWO), idx(&[2], &[9, 0]));
        let (packed, packed_labels) = (gz(&images), gz(&labels));
        for names in [
            ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"],
            ["train-images.idx3-ubyte.gz", "train-labels.idx1-ubyte"],
        ] {
            for (i, l) in [(&images, &labels), (&packed, &packed_labels)] {
                let folder = folder(&[(names[0], i), (names[1], l)]);
                let loaded = fashion_mnist(Some(folder.path()), Split::Train).unwrap();
                assert_eq!(loaded.pixels, Array4::from_shape_vec((2, 3, 2, 1), TWO.to_vec()).unwrap());
                assert_eq!(loaded.labels, Some(vec![9, 0]));
            }
        }
    }

    #[test]
    fn images_are_named_by_their_folder() {
        let outer = folder(&[]);
        let mnist = outer.path().join("mnist");
        std::fs::create_dir(&mnist).unwrap();
        std::fs::write(mnist.join("t10k-images-idx3-ubyte"), idx(&[2, 3, 2], &TWO)).unwrap();
        std::fs::write(mnist.join("t10k-labels-idx1-ubyte"), idx(&[2], &[1, 26])).unwrap();
        assert_eq!(fashion_mnist(Some(&mnist), Split::Test).unwrap().name, "mnist, test");
        assert!(is_idx_folder(&mnist).unwrap());
        let text = message(is_idx_folder(outer.path()));
        assert!(
            text.contains("expected IDX files or pictures, found IDX files in ") && text.ends_with("mnist")
        );
    }

    #[test]
    fn a_picture_whose_name_speaks_of_idx_is_a_picture() {
        let folder = folder(&[("my-idx3-holiday.png", b"")]);
        assert!(!is_idx_folder(folder.path()).unwrap());
        assert!(message(is_idx_folder(Path::new("/nowhere"))).starts_with("/nowhere: "));
    }

    #[test]
    fn images_of_nothing_are_refused() {
        for shape in [[0, 28, 28], [3, 0, 28], [3, 28, 0]] {
            let text = message(parse_images(&idx(&shape, &[]), Path::new("x")));
            assert!(
                text.starts_with("x: expected at least one image of at least one pixel, found "),
                "{text}"
            );
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images.gz");
        let images = Array4::from_shape_fn((2, 3, 2, 1), |(n, y, x, _)| (100 * n + 10 * y + x) as u8);
        write_images(&path, &images).unwrap();
        assert_eq!(read_images(&path).unwrap(), images);
    }

    #[test]
    fn a_missing_file_says_how_to_get_it() {
        let folder = folder(&[]);
        let text = message(fashion_mnist(Some(folder.path()), Split::Test));
        assert!(
            text.contains("t10k-images-idx3-ubyte.gz (`apt-get install dataset-fashion-mnist`"),
            "{text}"
        );
        assert!(text.ends_with("found no such file"), "{text}");
        let text = message(fashion_mnist(Some(&folder.path().join("none")), Split::Train));
        assert!(text.ends_with("found no such folder"), "{text}");
    }

    #[test]
    fn images_without_as_many_labels_are_refused() {
        let folder = folder(&[
            ("t10k-images-idx3-ubyte", &idx(&[2, 3, 2], &TWO)),
            ("t10k-labels-idx1-ubyte", &idx(&[3], &[0; 3])),
        ]);
        let text = message(fashion_mnist(Some(folder.path()), Split::Test));
        assert!(text.ends_with("t10k-labels-idx1-ubyte: expected 2 labels, found 3"), "{text}");
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error_and_never_a_panic() {
        let plain = idx(&[2, 3, 2], &TWO);
        let packed = gz(&plain);
        let path = Path::new("cut");
        for end in 0..plain.len() {
            let text = message(parse_images(&plain[..end], path));
            let expected = if end < 16 { "an IDX header of 16 bytes" } else { "12 bytes after the header" };
            assert!(text.starts_with(&format!("cut: expected {expected}")), "{end}: {text}");
        }
        for end in 0..packed.len() {
            message(parse_images(&packed[..end], path));
        }
    }

    #[test]
    fn wrong_headers_are_named() {
        let path = Path::new("x");
        let labels = idx(&[12], &TWO);
        assert_eq!(
            message(parse_images(&labels, path)),
            "x: expected IDX magic number 0x00000803, found 0x00000801"
        );
        let mut long = idx(&[2, 3, 2], &TWO);
        long.push(0);
        assert_eq!(message(parse_images(&long, path)), "x: expected 12 bytes after the header, found 13");
        let huge = idx(&[u32::MAX; 3], &TWO);
        assert!(
            message(parse_images(&huge, path)).contains("a shape that fits in memory, found [4294967295")
        );
        let text = message(parse_labels(&[0x1f, 0x8b, 0, 0], path));
        assert!(text.starts_with("x: expected a whole gzip file, found"), "{text}");
    }

    #[test]
    fn an_unreadable_file_is_an_error_with_its_path() {
        assert!(message(read_images(Path::new("/nowhere/x"))).starts_with("/nowhere/x: "));
        assert!(message(read_labels(Path::new("/nowhere/y"))).starts_with("/nowhere/y: "));
    }
}
