//! Figures, drawn from plain data: slices and small structs, never networks.
//!
//! | function | shows | paper |
//! |---|---|---|
//! | [`Grid`] | images in rows and columns: samples, neighbours, interpolations | Figs. 1, 6–9, 13–15 |
//! | [`elbo::decomposition`] | every term of the bound, per t, summed up, in total | Eq. 5 |
//! | [`elbo::stacked`] | the terms as one bar, beside the exact likelihood and the entropy | Eq. 5 |
//! | [`elbo::weights`] | what a step counts in L and in L_simple | Eqs. 12, 14 |
//! | [`rate_distortion`](rate_distortion()) | distortion and rate over the reverse process | Fig. 5 |
//! | [`schedules`] | ᾱ_t and log-SNR | §4 |
//! | [`loss_curves`] | training losses, raw and smoothed | – |
//! | [`graphical_model`](graphical_model()) | the two chains | Fig. 2 |
//! | [`Diagram`] | boxes and arrows: a computation graph | – |
//! | [`Chart`] | any lines, points, bands, heat maps | – |
//! | [`Gif`] | frames in motion | – |
//!
//! All but [`Gif`] end in a [`Figure`], which shows itself as the last expression of a notebook's cell, and saves
//! itself as PNG or SVG.
//!
//! ```
//! use ddpm::figures::{Chart, Scale};
//! let t: Vec<f64> = (1..=100).map(f64::from).collect();
//! let square: Vec<f64> = t.iter().map(|t| t * t).collect();
//! let figure = Chart::new("t", "t^{2}").scales(Scale::Linear, Scale::Log).line("t^{2}", &t, &square).figure();
//! assert!(figure.to_svg()?.starts_with("<svg"));
//! assert!(figure.to_png()?.starts_with(b"\x89PNG"));
//! # Ok::<(), ddpm::Error>(())
//! ```

mod axis;
mod canvas;
mod chart;
mod diagram;
mod dots;
pub mod elbo;
mod gif;
mod graphical_model;
mod grid;
mod layer;
mod loss_curve;
mod page;
mod plot;
mod rate_distortion;
mod schedule;
pub mod style;
mod text;

pub use axis::Scale;
pub use chart::Chart;
pub use diagram::Diagram;
pub use dots::Dots;
pub use gif::Gif;
pub use graphical_model::graphical_model;
pub use grid::{Grid, tile};
pub use loss_curve::{LossCurve, loss_curves};
pub use rate_distortion::{RatePoint, rate_distortion, rate_distortion_beside};
pub use schedule::{ScheduleCurve, schedules};

use crate::files::{check_file, write_atomically};
use crate::{Error, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use canvas::Canvas;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use page::Page;
use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::drawing::IntoDrawingArea;
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

type Paint = dyn Fn(&Page<'_>) -> Result<()> + Send + Sync;

/// A finished figure.
///
/// It is drawn on a canvas of twice its size in pixels: an SVG keeps the fine grid, a PNG averages 2×2 canvas units
/// to a pixel, which smooths every edge. The same data give the same bytes.
#[derive(Clone)]
pub struct Figure {
    width: u32,
    height: u32,
    paint: Arc<Paint>,
}

impl std::fmt::Debug for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Figure({}x{})", self.width, self.height)
    }
}

impl Figure {
    fn new(width: u32, height: u32, paint: impl Fn(&Page<'_>) -> Result<()> + Send + Sync + 'static) -> Self {
        Figure { width, height, paint: Arc::new(paint) }
    }

    /// Width and height of the PNG in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn draw(&self, canvas: Canvas<'_>) -> Result<()> {
        let page = Page(canvas.into_drawing_area());
        page.fill(style::PAPER)?;
        (self.paint)(&page)?;
        page.0.present().map_err(|e| Error::Figure(e.to_string()))
    }

    /// The figure as an SVG document.
    ///
    /// # Errors
    /// If plotters can't draw it.
    pub fn to_svg(&self) -> Result<String> {
        let mut svg = String::new();
        let images = RefCell::new(String::new());
        let (w, h) = (2 * self.width, 2 * self.height);
        self.draw(Canvas::Svg(SVGBackend::with_string(&mut svg, (w, h)), &images))?;
        // the canvas is finer than the page
        let page = format!("width=\"{}\" height=\"{}\"", self.width, self.height);
        let mut svg = svg.replacen(&format!("width=\"{w}\" height=\"{h}\""), &page, 1);
        // bitmaps lie on the paper, which is the first shape, and below everything else
        let paper = svg.find("/>\n").map_or(svg.len(), |end| end + 3);
        svg.insert_str(paper, &images.into_inner());
        Ok(svg)
    }

    /// The figure as a PNG file.
    ///
    /// # Errors
    /// If plotters can't draw it.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let (w, h) = (2 * self.width, 2 * self.height);
        let mut rgb = vec![0; 3 * w as usize * h as usize];
        self.draw(Canvas::Bitmap(BitMapBackend::with_buffer(&mut rgb, (w, h))))?;
        png(self.width, self.height, &halved(&rgb, 3 * w as usize))
    }

    /// Writes the figure; `.png` or `.svg` says how.
    ///
    /// # Errors
    /// If the extension is another one, or the file can't be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = match Format::of(path)? {
            Format::Png => self.to_png()?,
            Format::Svg => self.to_svg()?.into_bytes(),
        };
        write_atomically(path, &bytes)
    }

    /// Tries whether [`save`](Figure::save) could write a figure there: before hours of work for it.
    ///
    /// # Errors
    /// As [`save`](Figure::save).
    pub fn check_path(path: impl AsRef<Path>) -> Result<()> {
        Format::of(path.as_ref())?;
        check_file(path.as_ref())
    }

    /// Shows the figure in a Rust notebook: evcxr calls this for the last expression of a cell.
    pub fn evcxr_display(&self) {
        match self.to_png() {
            Ok(png) => show("image/png", &png),
            Err(e) => print(&e.to_string()),
        }
    }
}

/// How a figure is stored.
enum Format {
    Png,
    Svg,
}

impl Format {
    /// The extension says it.
    fn of(path: &Path) -> Result<Format> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
        match extension.as_str() {
            "png" => Ok(Format::Png),
            "svg" => Ok(Format::Svg),
            _ => Err(Error::format(path, "a file name that ends in .png or .svg", format!("'.{extension}'"))),
        }
    }
}

/// Prints binary content for the notebook.
fn show(mime: &str, bytes: &[u8]) {
    print(&notebook_block(mime, bytes));
}

/// A cell's output is what it prints.
#[expect(clippy::print_stdout, reason = "evcxr reads it, and is there as long as the cell")]
fn print(text: &str) {
    println!("{text}");
}

/// The lines that evcxr takes for rich output.
fn notebook_block(mime: &str, bytes: &[u8]) -> String {
    format!("EVCXR_BEGIN_CONTENT {mime}\n{}\nEVCXR_END_CONTENT", BASE64_STANDARD.encode(bytes))
}

/// RGB rows as a PNG file.
fn png(width: u32, height: u32, rgb: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let written = PngEncoder::new(&mut bytes).write_image(rgb, width, height, ExtendedColorType::Rgb8);
    written.map_err(|e| Error::Figure(e.to_string()))?;
    Ok(bytes)
}

/// The mean of each 2×2 pixels of an image whose rows have `stride` bytes.
fn halved(rgb: &[u8], stride: usize) -> Vec<u8> {
    let mut half = Vec::with_capacity(rgb.len() / 4);
    for rows in rgb.chunks_exact(2 * stride) {
        let (upper, lower) = rows.split_at(stride);
        for (a, b) in upper.chunks_exact(6).zip(lower.chunks_exact(6)) {
            let mean =
                |c: usize| [a[c], a[c + 3], b[c], b[c + 3]].iter().map(|&v| u16::from(v)).sum::<u16>() + 2;
            half.extend([0, 1, 2].map(|c| (mean(c) / 4) as u8));
        }
    }
    half
}

#[cfg(test)]
mod tests;
