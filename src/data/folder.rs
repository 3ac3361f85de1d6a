//! A folder of pictures: JPEG, PNG and WebP of any size, at several scales.
//!
//! A crop of 32 pixels out of a large painting is a patch of paint; the whole painting shrunk to 32 pixels is a
//! composition. So a picture is kept at *octaves*: shrunk until it just covers `size`, 2·`size`, 4·`size`, … pixels,
//! never enlarged. At the first the crop holds nearly the whole picture, at each further one a quarter of the area.
//! That also bounds the memory of a folder of photographs.

use super::dataset::{Dataset, Picture};
use crate::{Error, Result};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, imageops};
use ndarray::Array3;
use std::collections::HashSet;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

/// A picture may have 16,384 pixels on a side and 512 MiB decoded: larger files are taken for decompression bombs.
const MAX_SIDE: u32 = 1 << 14;
const MAX_DECODED: u64 = 512 << 20;
/// And a file may have 256 MiB.
const MAX_FILE: u64 = 256 << 20;

/// How a folder's pictures become examples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderOptions {
    /// Height and width of an example.
    pub size: [usize; 2],
    /// 1: grey, 3: RGB.
    pub channels: usize,
    /// The number of scales: shrunk to cover `size`, 2·`size`, 4·`size`, …, as far as the picture reaches.
    pub octaves: u32,
}

impl FolderOptions {
    /// RGB crops of `size`×`size` at three octaves.
    pub fn new(size: usize) -> Self {
        FolderOptions { size: [size, size], channels: 3, octaves: 3 }
    }
}

/// What became of a folder's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Pictures in the dataset.
    pub loaded: usize,
    /// Pictures and subfolders that could not be used, and why.
    pub skipped: Vec<(PathBuf, String)>,
    /// Files that are no pictures, neither by name nor by content.
    pub other_files: usize,
}

impl std::fmt::Display for LoadReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LoadReport { loaded, skipped, other_files } = self;
        write!(f, "{loaded} pictures loaded, {} skipped, {other_files} other files", skipped.len())?;
        skipped.iter().try_for_each(|(path, reason)| write!(f, "\n  {}: {reason}", path.display()))
    }
}

/// A dataset of all pictures in `folder` and its subfolders, in the order of their paths.
///
/// Grey, 16-bit and transparent pictures (laid on white) become what `options.channels` asks for; EXIF orientation
/// is obeyed. Damaged, truncated, empty and too small files are left out and reported.
///
/// # Errors
/// If the folder can't be read, `options` make no sense, or not one picture is left.
pub fn load_folder(folder: &Path, options: &FolderOptions) -> Result<(Dataset, LoadReport)> {
    let FolderOptions { size, channels, octaves } = *options;
    if let Some(side) = size.iter().find(|side| !(1..=MAX_SIDE as usize).contains(side)) {
        return Err(Error::argument("size", format!("1..={MAX_SIDE}"), side));
    }
    if channels != 1 && channels != 3 {
        return Err(Error::argument("channels", "1 or 3", channels));
    }
    if octaves == 0 {
        return Err(Error::argument("octaves", "at least 1", octaves));
    }
    let mut report = LoadReport::default();
    let mut pictures = Vec::new();
    for path in files(folder, &mut report)? {
        match load(&path, options) {
            Ok(Some(scales)) => pictures.push(Picture { scales, label: None }),
            Ok(None) => report.other_files += 1,
            Err(reason) => report.skipped.push((path, reason)),
        }
    }
    report.loaded = pictures.len();
    if pictures.is_empty() {
        return Err(Error::format(folder, "at least one usable JPEG, PNG or WebP picture", report));
    }
    let [h, w] = size;
    Ok((Dataset::from_pictures(folder.display().to_string(), [h, w, channels], pictures), report))
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
            Ok(paths) => {
                let (subfolders, others): (Vec<_>, Vec<_>) =
                    paths.into_iter().partition(|path| path.is_dir());
                folders.extend(subfolders);
                files.extend(others);
            }
            Err(e) => report.skipped.push((folder, e.to_string())),
        }
    }
    files.sort();
    Ok(files)
}

/// The scales of one file; `None` if it is no picture; or the reason why it can't be used.
fn load(path: &Path, options: &FolderOptions) -> Result<Option<Vec<Array3<u8>>>, String> {
    let named = ImageFormat::from_path(path).is_ok_and(readable);
    // a pipe or a device would block or never end
    let metadata = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if !metadata.is_file() {
        return if named { Err("not a regular file".into()) } else { Ok(None) };
    }
    if metadata.len() > MAX_FILE {
        return Err(format!("{} bytes, more than {MAX_FILE}", metadata.len()));
    }
    let mut file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let mut head = Vec::new();
    file.by_ref().take(32).read_to_end(&mut head).map_err(|e| e.to_string())?;
    if !named && !image::guess_format(&head).is_ok_and(readable) {
        return Ok(None);
    }
    let mut bytes = head;
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    let picture = decode(&bytes, options.channels)?;
    scales(&picture, options).map(Some)
}

fn readable(format: ImageFormat) -> bool {
    matches!(format, ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP)
}

/// Decodes one picture to 8-bit grey or RGB, upright, on white; or says why that can't be.
pub(super) fn decode(bytes: &[u8], channels: usize) -> Result<DynamicImage, String> {
    if bytes.is_empty() {
        return Err("empty file".into());
    }
    let format = image::guess_format(bytes).ok().filter(|&format| readable(format));
    let format = format.ok_or("not a JPEG, PNG or WebP file")?;
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        return Err("truncated JPEG: no end-of-image marker".into());
    }
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let orientation = decoder.orientation().map_err(|e| e.to_string())?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    picture.apply_orientation(orientation);
    let picture = if picture.color().has_alpha() { on_white(&picture) } else { picture };
    Ok(if channels == 1 { picture.into_luma8().into() } else { picture.into_rgb8().into() })
}

/// Whether the last scan of a JPEG is followed by an end-of-image marker.
///
/// The decoder fills what is missing with grey and says nothing. Inside a scan a byte FF is followed by 00, so the
/// markers FF DA (start of scan) and FF D9 (end of image) can't be mistaken.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    last(0xd9) > last(0xda)
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

/// The picture at its octaves, coarsest first, `[H, W, channels]` each.
pub(super) fn scales(picture: &DynamicImage, options: &FolderOptions) -> Result<Vec<Array3<u8>>, String> {
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    let [rows, columns] = options.size;
    if h < rows || w < columns {
        return Err(format!("too small: {w}x{h} pixels, crops are {columns}x{rows}"));
    }
    let sizes = (0..options.octaves.min(usize::BITS)).map(|octave| options.size.map(|side| side << octave));
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
    let (shape, bytes) = match picture {
        DynamicImage::ImageLuma8(grey) => {
            (1, imageops::resize(grey, new_w, new_h, imageops::FilterType::Lanczos3).into_raw())
        }
        other => {
            (3, imageops::resize(&other.to_rgb8(), new_w, new_h, imageops::FilterType::Lanczos3).into_raw())
        }
    };
    Array3::from_shape_vec((new_h as usize, new_w as usize, shape), bytes).expect("one byte per channel")
}

#[cfg(test)]
mod tests;
