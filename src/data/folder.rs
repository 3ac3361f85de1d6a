//! A folder of pictures: JPEG, PNG and WebP of any size, at several scales.
//!
//! A crop of 32 pixels out of a large painting is a patch of paint; the whole painting shrunk to 32 pixels is a
//! composition. So a picture is kept at *octaves*: shrunk until it just covers `size`, 2·`size`, 4·`size`, … pixels,
//! never enlarged. At the first the crop holds nearly the whole picture, at each further one a quarter of the area.
//! That also bounds the memory of a folder of photographs. Or, for compositions alone, pictures are *whole*: shrunk to
//! `size` and to each size a little above it, of which the crop still holds a given part.

mod cache;
mod jpeg;

use super::dataset::{Dataset, Picture};
use crate::{Error, Result};
use cache::Cache;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, imageops};
use ndarray::Array3;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A picture may have 16,384 pixels on a side and 512 MiB decoded: larger files are taken for decompression bombs.
const MAX_SIDE: u32 = 1 << 14;
const MAX_DECODED: u64 = 512 << 20;
/// And a file may have 256 MiB.
const MAX_FILE: u64 = 256 << 20;
/// Pictures of so many bytes are decoded one at a time, or the memory they take would grow with the number of cores.
const ALONE: u64 = 64 << 20;
/// A JPEG of more pixels is decoded at reduced size, if it is still twice as large as the largest scale that is kept.
const LARGE: u64 = 4_000_000;
/// A file of more bytes takes so long to decode that the result is worth keeping.
const SLOW: u64 = 512 << 10;

/// At which scales a picture is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many: shrunk to cover the example's size, twice that, four times, …, as far as the picture reaches.
    Octaves(u32),
    /// Shrunk to the example's size and pixel by pixel to larger ones, as long as the example holds so many percent of the
    /// picture's shorter side (or of the longer one, if the example is the flatter of the two).
    Whole(u8),
}

impl Framing {
    /// The sizes that a picture is shrunk to cover, smallest first, for examples of `[rows, columns]`.
    fn sizes(self, [rows, columns]: [usize; 2]) -> Vec<[usize; 2]> {
        match self {
            Framing::Octaves(count) => {
                (0..count.min(16)).map(|octave| [rows << octave, columns << octave]).collect()
            }
            Framing::Whole(percent) => {
                let largest = rows * 100 / usize::from(percent);
                (rows..=largest).map(|side| [side, (columns * side).div_ceil(rows)]).collect()
            }
        }
    }
}

/// How a folder's pictures become examples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderOptions {
    /// Height and width of an example.
    pub size: [usize; 2],
    /// 1: grey, 3: RGB.
    pub channels: usize,
    /// The scales a picture is kept at.
    pub framing: Framing,
    /// Whether the name of the sub-folder a picture is in is its class.
    pub labels: bool,
    /// A folder for pictures that took long to decode: the next time they come from there, if they have not changed.
    pub cache: Option<PathBuf>,
}

impl FolderOptions {
    /// RGB crops of `size`×`size` at three octaves, without a cache.
    pub fn new(size: usize) -> Self {
        let framing = Framing::Octaves(3);
        FolderOptions { size: [size, size], channels: 3, framing, labels: false, cache: None }
    }

    /// Whole RGB pictures of `size`×`size`, of which an example holds at least 85 % of the shorter side.
    pub fn whole(size: usize) -> Self {
        FolderOptions { framing: Framing::Whole(85), ..FolderOptions::new(size) }
    }

    fn check(&self) -> Result<()> {
        let FolderOptions { size, channels, framing, .. } = self;
        if let Some(side) = size.iter().find(|side| !(1..=MAX_SIDE as usize).contains(side)) {
            return Err(Error::argument("size", format!("1..={MAX_SIDE}"), side));
        }
        if ![1, 3].contains(channels) {
            return Err(Error::argument("channels", "1 or 3", channels));
        }
        match framing {
            Framing::Octaves(0) => Err(Error::argument("octaves", "at least 1", 0)),
            Framing::Whole(percent) if !(1..=100).contains(percent) => {
                Err(Error::argument("whole", "1 to 100 percent", percent))
            }
            _ => Ok(()),
        }
    }
}

/// Why a file or folder was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::Display)]
#[non_exhaustive]
pub enum Reason {
    /// It has no bytes.
    #[strum(to_string = "empty")]
    Empty,
    /// Its end is missing.
    #[strum(to_string = "truncated")]
    Truncated,
    /// It can't be decoded.
    #[strum(to_string = "damaged")]
    Damaged,
    /// A crop does not fit in.
    #[strum(to_string = "too small")]
    TooSmall,
    /// More bytes or pixels than a picture may have.
    #[strum(to_string = "too large")]
    TooLarge,
    /// It is called a picture and is none.
    #[strum(to_string = "not a JPEG, PNG or WebP file")]
    OtherFormat,
    /// A pipe or a device.
    #[strum(to_string = "not a regular file")]
    NotAFile,
    /// The system does not let it be read.
    #[strum(to_string = "unreadable")]
    Unreadable,
}

/// A file or folder that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// where it is
    pub path: PathBuf,
    /// why
    pub reason: Reason,
    /// what there is to say beside the reason, or nothing
    pub detail: String,
}

/// What became of a folder's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Pictures in the dataset.
    pub loaded: usize,
    /// Pictures and subfolders that could not be used, in the order of their paths.
    pub skipped: Vec<Skipped>,
    /// Files that are no pictures, neither by name nor by content.
    pub other_files: usize,
    /// Files and folders that were passed over, since they are hidden or hold what a system keeps for itself.
    pub hidden: usize,
}

/// The numbers, and for each reason the first few paths.
impl std::fmt::Display for LoadReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 3;
        let LoadReport { loaded, skipped, other_files, hidden } = self;
        write!(f, "{loaded} pictures loaded, {} skipped, {other_files} other files", skipped.len())?;
        if *hidden > 0 {
            write!(f, ", {hidden} hidden")?;
        }
        let mut reasons = BTreeMap::<Reason, Vec<&Skipped>>::new();
        skipped.iter().for_each(|one| reasons.entry(one.reason).or_default().push(one));
        for (reason, all) in reasons {
            write!(f, "\n  {} {reason}:", all.len())?;
            for (i, Skipped { path, detail, .. }) in all.iter().take(SHOWN).enumerate() {
                write!(f, "{} {}", if i == 0 { "" } else { "," }, path.display())?;
                if !detail.is_empty() {
                    write!(f, " ({detail})")?;
                }
            }
            if all.len() > SHOWN {
                write!(f, " and {} more", all.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}

/// A dataset of all pictures in `folder` and its subfolders, in the order of their paths.
///
/// Grey, 16-bit and transparent pictures (laid on white) become what `options.channels` asks for; EXIF orientation
/// is obeyed. Photographs of more than four megapixels in JPEG are decoded at reduced size. Damaged, truncated, empty and
/// too small files are left out and reported; hidden ones are passed over.
///
/// # Errors
/// If the folder can't be read, `options` make no sense, or not one picture is left.
pub fn load_folder(folder: &Path, options: &FolderOptions) -> Result<(Dataset, LoadReport)> {
    load_folder_watched(folder, options, &|_, _| ())
}

/// As [`load_folder`], on all threads, telling `watch` how many files of how many are done.
///
/// # Errors
/// As [`load_folder`].
pub fn load_folder_watched(
    folder: &Path,
    options: &FolderOptions,
    watch: &(dyn Fn(usize, usize) + Sync),
) -> Result<(Dataset, LoadReport)> {
    options.check()?;
    let mut report = LoadReport::default();
    let files = files(folder, &mut report)?;
    let (cache, done) = (options.cache.as_deref().map(Cache::open), AtomicUsize::new(0));
    let loaded: Vec<_> = files
        .par_iter()
        .map(|path| {
            let loaded = load(path, options, cache.as_ref());
            watch(done.fetch_add(1, Ordering::Relaxed) + 1, files.len());
            loaded
        })
        .collect();
    let names = if options.labels { sub_folders(folder, &files)? } else { Vec::new() };
    let mut pictures = Vec::new();
    for (path, loaded) in files.into_iter().zip(loaded) {
        match loaded {
            Ok(Some(scales)) => {
                let label = sub_folder(folder, &path).and_then(|name| names.binary_search(&name).ok());
                pictures.push(Picture { scales, label: label.map(|label| label as u8) });
            }
            Ok(None) => report.other_files += 1,
            Err(fault) => report.skipped.push(fault.of(path)),
        }
    }
    report.loaded = pictures.len();
    report.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    if pictures.is_empty() {
        return Err(Error::format(folder, "at least one usable JPEG, PNG or WebP picture", report));
    }
    let shape = [options.size[0], options.size[1], options.channels];
    let mut data = Dataset::from_pictures(folder.display().to_string(), shape, pictures);
    data.class_names = options.labels.then_some(names);
    Ok((data, report))
}

/// The part of a path that comes first inside `folder`, if the file is not in `folder` itself.
fn sub_folder(folder: &Path, path: &Path) -> Option<String> {
    let mut inside = path.strip_prefix(folder).ok()?.components();
    let first = inside.next()?;
    inside.next().map(|_| first.as_os_str().to_string_lossy().into_owned())
}

/// The sub-folders that files are in, in the order of their names: 2 to 255, as many as a label can tell apart.
fn sub_folders(folder: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    const MOST: usize = 255;
    if let Some(file) = files.iter().find(|file| sub_folder(folder, file).is_none()) {
        let found = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(Error::format(folder, "pictures in sub-folders alone, one for each class", found));
    }
    let names: BTreeSet<String> = files.iter().filter_map(|file| sub_folder(folder, file)).collect();
    if (2..=MOST).contains(&names.len()) {
        return Ok(names.into_iter().collect());
    }
    Err(Error::format(folder, format!("2 to {MOST} sub-folders, one for each class"), names.len()))
}

/// A reason, and what there is to say beside it.
#[derive(Debug, PartialEq)]
pub(super) struct Unusable(Reason, String);

impl Unusable {
    fn of(self, path: PathBuf) -> Skipped {
        Skipped { path, reason: self.0, detail: self.1 }
    }
}

fn unreadable(error: std::io::Error) -> Unusable {
    Unusable(Reason::Unreadable, error.to_string())
}

fn undecodable(error: image::ImageError) -> Unusable {
    let reason = match &error {
        image::ImageError::Limits(_) => Reason::TooLarge,
        _ => Reason::Damaged,
    };
    Unusable(reason, error.to_string())
}

/// What a system, a program or a camera keeps beside the pictures for itself: previews, caches, what was thrown away.
fn is_hidden(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.')
        || ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"].contains(&&*name)
}

/// All files below `folder`, sorted; subfolders that can't be read are reported, links in a circle followed once.
fn files(folder: &Path, report: &mut LoadReport) -> Result<Vec<PathBuf>> {
    std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut seen = HashSet::new();
    let mut folders = vec![folder.to_path_buf()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries = folder.canonicalize().and_then(|real| {
            let new = seen.insert(real);
            let entries = std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.path()));
            if new { entries.collect::<std::io::Result<Vec<_>>>() } else { Ok(vec![]) }
        });
        match entries {
            Ok(mut paths) => {
                let all = paths.len();
                paths.retain(|path| !path.file_name().is_some_and(is_hidden));
                report.hidden += all - paths.len();
                let (subfolders, others): (Vec<_>, Vec<_>) =
                    paths.into_iter().partition(|path| path.is_dir());
                folders.extend(subfolders);
                files.extend(others);
            }
            Err(e) => report.skipped.push(unreadable(e).of(folder)),
        }
    }
    files.sort();
    Ok(files)
}

/// The scales of one file; `None` if it is no picture; or the reason why it can't be used.
fn load(
    path: &Path,
    options: &FolderOptions,
    cache: Option<&Cache>,
) -> Result<Option<Vec<Array3<u8>>>, Unusable> {
    let named = ImageFormat::from_path(path).is_ok_and(readable);
    // a pipe or a device would block or never end
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return if named { Err(Unusable(Reason::NotAFile, String::new())) } else { Ok(None) };
    }
    if metadata.len() > MAX_FILE {
        return Err(Unusable(Reason::TooLarge, format!("{} bytes, more than {MAX_FILE}", metadata.len())));
    }
    let asked = format!("{:?} {} {:?}", options.size, options.channels, options.framing);
    let cache = cache.filter(|_| metadata.len() > SLOW);
    let cache = cache.and_then(|cache| Some((cache, Cache::key(path, &metadata, &asked)?)));
    if let Some(scales) = cache.as_ref().and_then(|(cache, key)| cache.get(key)) {
        return Ok(Some(scales));
    }
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let mut head = Vec::new();
    file.by_ref().take(32).read_to_end(&mut head).map_err(unreadable)?;
    if !named && !image::guess_format(&head).is_ok_and(readable) {
        return Ok(None);
    }
    let mut bytes = head;
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
    let picture = decode(&bytes, options)?;
    let scales = scales(&picture, options)?;
    if let Some((cache, key)) = cache {
        cache.put(&key, &scales);
    }
    Ok(Some(scales))
}

fn readable(format: ImageFormat) -> bool {
    matches!(format, ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP)
}

/// Decodes one picture to 8-bit grey or RGB, upright, on white; or says why that can't be.
pub(super) fn decode(bytes: &[u8], options: &FolderOptions) -> Result<DynamicImage, Unusable> {
    static TURN: Mutex<()> = Mutex::new(());
    if bytes.is_empty() {
        return Err(Unusable(Reason::Empty, String::new()));
    }
    let format = image::guess_format(bytes).ok().filter(|&format| readable(format));
    let format = format.ok_or(Unusable(Reason::OtherFormat, String::new()))?;
    let is_jpeg = format == ImageFormat::Jpeg;
    let end = if is_jpeg { jpeg::end(bytes) } else { Some(bytes.len()) };
    let end = end.ok_or_else(|| Unusable(Reason::Truncated, "no end-of-image marker".into()))?;
    let bytes = &bytes[..end];
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(MAX_DECODED);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(undecodable)?;
    let orientation = decoder.orientation().map_err(undecodable)?;
    let sides = decoder.dimensions();
    let is_large = u64::from(sides.0) * u64::from(sides.1) > LARGE;
    let factor = jpeg::reduction(sides, twice_the_largest(options)).filter(|_| is_jpeg && is_large);
    if decoder.total_bytes() > MAX_DECODED || (factor.is_none() && sides.0.max(sides.1) > MAX_SIDE) {
        let limit = format!("{}x{} pixels", sides.0, sides.1);
        return Err(Unusable(Reason::TooLarge, limit));
    }
    let mut picture = match factor.and_then(|factor| jpeg::reduced(bytes, sides, factor)) {
        Some(reduced) => reduced,
        None => {
            let _turn = (decoder.total_bytes() > ALONE).then(|| TURN.lock());
            DynamicImage::from_decoder(decoder).map_err(undecodable)?
        }
    };
    picture.apply_orientation(orientation);
    let picture = if picture.color().has_alpha() { on_white(&picture) } else { picture };
    Ok(if options.channels == 1 { picture.into_luma8().into() } else { picture.into_rgb8().into() })
}

/// Twice the longer side of the largest scale that is kept.
fn twice_the_largest(options: &FolderOptions) -> u32 {
    let largest = options.framing.sizes(options.size).into_iter().flatten().max().unwrap_or(0);
    u32::try_from(2 * largest).unwrap_or(u32::MAX)
}

fn on_white(picture: &DynamicImage) -> DynamicImage {
    let mut rgba = picture.to_rgba8();
    for pixel in rgba.pixels_mut() {
        let alpha = u32::from(pixel[3]);
        for level in &mut pixel.0[..3] {
            *level = ((u32::from(*level) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        }
        pixel[3] = 255;
    }
    rgba.into()
}

/// The picture at its scales, coarsest first, `[H, W, channels]` each.
pub(super) fn scales(picture: &DynamicImage, options: &FolderOptions) -> Result<Vec<Array3<u8>>, Unusable> {
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    let [rows, columns] = options.size;
    if h < rows || w < columns {
        return Err(Unusable(Reason::TooSmall, format!("{w}x{h} pixels, crops are {columns}x{rows}")));
    }
    let sizes = options.framing.sizes(options.size).into_iter();
    let covered = sizes.take_while(|&[rows, columns]| rows <= h && columns <= w);
    Ok(covered.map(|size| shrink(picture, size)).collect())
}

/// The picture shrunk until it just covers so many rows and columns, by Lanczos' filter.
fn shrink(picture: &DynamicImage, [rows, columns]: [usize; 2]) -> Array3<u8> {
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    // the side that is covered exactly, and its length in the picture
    let (side, length) = if rows * w >= columns * h { (rows, h) } else { (columns, w) };
    let shrunk = |old: usize| ((old * side) as f64 / length as f64).round() as u32;
    let (new_w, new_h) = (shrunk(w), shrunk(h));
    let filter = imageops::FilterType::Lanczos3;
    let (shape, bytes) = match picture {
        DynamicImage::ImageLuma8(grey) => (1, imageops::resize(grey, new_w, new_h, filter).into_raw()),
        DynamicImage::ImageRgb8(rgb) => (3, imageops::resize(rgb, new_w, new_h, filter).into_raw()),
        other => (3, imageops::resize(&other.to_rgb8(), new_w, new_h, filter).into_raw()),
    };
    Array3::from_shape_vec((new_h as usize, new_w as usize, shape), bytes).expect("one byte per channel")
}

#[cfg(test)]
mod tests;
