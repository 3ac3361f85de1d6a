//! Animated GIF: sampling, training, anything in motion.

use super::grid::enlarged_rgb;
use crate::files::write_atomically;
use crate::{Error, Result};
use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, DynamicImage, Frame, RgbImage};
use ndarray::{Array3, Array4};
use std::path::Path;
use std::time::Duration;

/// Frames that repeat for ever.
///
/// ```
/// use ddpm::figures::Gif;
/// let frames = ndarray::Array4::from_shape_fn((8, 16, 16, 1), |(n, y, x, _)| (32 * n + y + x) as u8);
/// assert!(Gif::new(&frames, 100).scale(4).to_gif()?.starts_with(b"GIF89a"));
/// # Ok::<(), ddpm::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gif {
    frames: Vec<Array3<u8>>,
    delay: Duration,
    scale: usize,
}

impl Gif {
    /// Frames `[N, H, W, C]`, C = 1 or 3, each shown for `milliseconds` and the last one for two seconds more.
    ///
    /// # Panics
    /// If there is no frame, a frame has no pixels, or C is neither 1 nor 3.
    #[track_caller]
    pub fn new(frames: &Array4<u8>, milliseconds: u64) -> Self {
        let (n, h, w, c) = frames.dim();
        assert!(n * h * w > 0 && (c == 1 || c == 3), "Gif: {n} frames of {h}x{w}x{c}");
        let frames = frames.outer_iter().map(|frame| frame.to_owned()).collect();
        Gif { frames, delay: Duration::from_millis(milliseconds), scale: 1 }
    }

    /// Squares of `scale`×`scale` pixels for each pixel.
    #[track_caller]
    pub fn scale(mut self, scale: usize) -> Self {
        assert!(scale > 0, "Gif: scale 0");
        self.scale = scale;
        self
    }

    /// The animation as a GIF file.
    ///
    /// # Errors
    /// If a frame is larger than the 65,535 pixels a side that the format allows.
    pub fn to_gif(&self) -> Result<Vec<u8>> {
        let failed = |e: image::ImageError| Error::Figure(e.to_string());
        let mut bytes = Vec::new();
        let mut encoder = GifEncoder::new(&mut bytes);
        encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
        for (i, frame) in self.frames.iter().enumerate() {
            let (h, w, _) = frame.dim();
            let (w, h) = ((w * self.scale) as u32, (h * self.scale) as u32);
            let rgb = RgbImage::from_raw(w, h, enlarged_rgb(frame.view(), self.scale))
                .expect("three bytes a pixel");
            let last = i + 1 == self.frames.len();
            let delay = self.delay + Duration::from_secs(if last { 2 } else { 0 });
            let rgba = DynamicImage::ImageRgb8(rgb).into_rgba8();
            let frame = Frame::from_parts(rgba, 0, 0, Delay::from_saturating_duration(delay));
            encoder.encode_frame(frame).map_err(failed)?;
        }
        drop(encoder);
        Ok(bytes)
    }

    /// Writes the animation to a `.gif` file.
    ///
    /// # Errors
    /// If the extension is another one, or the file can't be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        if !extension.eq_ignore_ascii_case("gif") {
            return Err(Error::format(path, "a file name that ends in .gif", format!("'.{extension}'")));
        }
        write_atomically(path, &self.to_gif()?)
    }

    /// Shows the animation in a Rust notebook.
    pub fn evcxr_display(&self) {
        match self.to_gif() {
            Ok(gif) => super::show("image/gif", &gif),
            Err(e) => super::print(&e.to_string()),
        }
    }
}
