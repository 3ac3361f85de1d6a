//! Animated GIF: sampling, training, anything in motion.

use super::grid::enlarged_rgb;
use crate::files::write_atomically;
use crate::{Error, Result};
use gif::{Encoder, EncodingError, Frame, Repeat};
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

    /// The animation as a GIF file. Grey frames keep every level, with one palette for all, black first (there are readers that
    /// take any grey palette for this one); of RGB each frame has the 256 colours that suit it best.
    ///
    /// # Errors
    /// If a frame is larger than the 65,535 pixels a side that the format allows.
    pub fn to_gif(&self) -> Result<Vec<u8>> {
        let failed = |e: EncodingError| Error::Figure(e.to_string());
        let (h, w, channels) = self.frames[0].dim();
        let [w, h] = [w, h].map(|side| u16::try_from(side * self.scale));
        let (Ok(w), Ok(h)) = (w, h) else {
            return Err(Error::Figure(format!("a GIF of more than {} pixels a side", u16::MAX)));
        };
        let greys: Vec<u8> = (0..=255).flat_map(|level| [level; 3]).collect();
        let palette = if channels == 1 { &greys[..] } else { &[] };
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, w, h, palette).map_err(failed)?;
        encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
        for (i, frame) in self.frames.iter().enumerate() {
            let rgb = enlarged_rgb(frame.view(), self.scale);
            let mut frame = match channels {
                1 => Frame {
                    width: w,
                    height: h,
                    buffer: rgb.into_iter().step_by(3).collect(),
                    ..Frame::default()
                },
                _ => Frame::from_rgb_speed(w, h, &rgb, 1),
            };
            let last = i + 1 == self.frames.len();
            let delay = self.delay + Duration::from_secs(if last { 2 } else { 0 });
            frame.delay = u16::try_from(delay.as_millis() / 10).unwrap_or(u16::MAX);
            encoder.write_frame(&frame).map_err(failed)?;
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
