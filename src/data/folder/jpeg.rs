//! What the format of JPEG allows beside decoding: to see whether a file is whole, and to decode it at reduced size.

use image::{DynamicImage, GrayImage, RgbImage};
use jpeg_decoder::{Decoder, PixelFormat};

/// Where the picture ends: behind its end-of-image marker, whatever a camera or a chat program has put behind that. `None` if
/// the file is cut short, which decoders fill with grey and say nothing.
///
/// A file is a row of segments `FF marker length …`; a picture of its own inside one of them (a preview) is jumped over. A
/// start of scan (`DA`) is followed by data in which each `FF` is `FF 00`, or a restart marker (`D0` to `D7`).
pub(super) fn end(bytes: &[u8]) -> Option<usize> {
    let mut at = 2; // behind the start of image
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        at += bytes.get(at..)?.iter().position(|&byte| byte != 0xff)?; // filling
        let marker = bytes[at];
        at += 1;
        match marker {
            0xd9 => return Some(at),
            0x00 | 0x01 | 0xd0..=0xd8 => {} // data, and markers without a length
            _ => at += usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])),
        }
    }
}

/// The largest of the factors 8, 4 and 2 by which both sides can be divided and are still `least` pixels long.
pub(super) fn reduction(sides: (u32, u32), least: u32) -> Option<u32> {
    [8, 4, 2].into_iter().find(|&factor| sides.0 / factor >= least && sides.1 / factor >= least)
}

/// The picture with sides divided by `factor`, which costs a fraction of the time and memory: of each block of 8×8
/// coefficients only the lowest are transformed. `None` for colours other than grey and RGB, and for a damaged file.
pub(super) fn reduced(bytes: &[u8], (w, h): (u32, u32), factor: u32) -> Option<DynamicImage> {
    let side = |side: u32| side.div_ceil(factor) as u16;
    let mut decoder = Decoder::new(bytes);
    decoder.scale(side(w), side(h)).ok()?;
    let pixels = decoder.decode().ok()?;
    let info = decoder.info()?;
    let (w, h) = (u32::from(info.width), u32::from(info.height));
    match info.pixel_format {
        PixelFormat::L8 => GrayImage::from_raw(w, h, pixels).map(DynamicImage::from),
        PixelFormat::RGB24 => RgbImage::from_raw(w, h, pixels).map(DynamicImage::from),
        _ => None,
    }
}
