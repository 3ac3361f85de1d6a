//! Images in rows and columns.

use super::page::{HPos, Page, Type, VPos};
use super::{Figure, style, text};
use crate::Result;
use ndarray::{Array3, Array4, ArrayView3, Axis, s};

/// A grid of images, row by row, each pixel shown as a square of whole pixels.
///
/// ```
/// use ddpm::{data::fashion_mnist_test, figures::Grid};
/// let images = fashion_mnist_test().select(&[0, 1, 2, 3, 4, 5]).pixels;
/// let figure = Grid::new(&images, 3).scale(2).row_labels(["t = 1000", "t = 500"]).figure();
/// figure.to_png()?;
/// # Ok::<(), ddpm::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Grid {
    images: Array4<u8>,
    columns: usize,
    scale: usize,
    gap: usize,
    row_labels: Vec<String>,
    column_labels: Vec<String>,
}

impl Grid {
    /// Images `[N, H, W, C]`, C = 1 or 3, in rows of `columns`; small ones are enlarged to about 64 pixels.
    ///
    /// # Panics
    /// If `columns` is 0, C is neither 1 nor 3, or an image has no pixels.
    #[track_caller]
    pub fn new(images: &Array4<u8>, columns: usize) -> Self {
        let (_, h, w, c) = images.dim();
        assert!(
            columns > 0 && h * w > 0 && (c == 1 || c == 3),
            "Grid: {h}x{w}x{c} images in {columns} columns"
        );
        let scale = (64 / w.max(h)).max(1);
        Grid { images: images.clone(), columns, scale, gap: 2, row_labels: vec![], column_labels: vec![] }
    }

    /// Squares of `scale`×`scale` pixels for each pixel.
    #[track_caller]
    pub fn scale(mut self, scale: usize) -> Self {
        assert!(scale > 0, "Grid: scale 0");
        self.scale = scale;
        self
    }

    /// Pixels between images.
    pub fn gap(mut self, gap: usize) -> Self {
        self.gap = gap;
        self
    }

    /// A label to the left of each row.
    ///
    /// # Panics
    /// If there are not as many labels as rows.
    #[track_caller]
    pub fn row_labels(mut self, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.row_labels = labels.into_iter().map(Into::into).collect();
        let (labels, rows) = (self.row_labels.len(), self.rows());
        assert_eq!(labels, rows, "Grid: {labels} row labels, {rows} rows");
        self
    }

    /// A label above each column.
    ///
    /// # Panics
    /// If there are not as many labels as columns.
    #[track_caller]
    pub fn column_labels(mut self, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.column_labels = labels.into_iter().map(Into::into).collect();
        let (labels, columns) = (self.column_labels.len(), self.columns);
        assert_eq!(labels, columns, "Grid: {labels} column labels, {columns} columns");
        self
    }

    fn rows(&self) -> usize {
        self.images.len_of(Axis(0)).div_ceil(self.columns)
    }

    /// The grid as a figure: as large as its images, gaps and labels.
    pub fn figure(self) -> Figure {
        let (_, h, w, _) = self.images.dim();
        let (left, top) = self.corner();
        let side =
            |count: usize, length: usize| (count * (length * self.scale + self.gap)).saturating_sub(self.gap);
        let width = left + side(self.columns, w) + self.gap;
        let height = top + side(self.rows(), h) + self.gap;
        Figure::new(width as u32, height as u32, move |page| self.draw(page))
    }

    /// Where the first image stands, in pixels: right of the row labels, below the column labels.
    fn corner(&self) -> (usize, usize) {
        let widest = self.row_labels.iter().map(|l| text::width(l, style::TICK)).fold(0.0, f64::max);
        let left = if self.row_labels.is_empty() { self.gap } else { (widest / 2.0).ceil() as usize + 18 };
        let top = if self.column_labels.is_empty() { self.gap } else { style::TICK as usize };
        (left, top)
    }

    fn draw(&self, page: &Page<'_>) -> Result<()> {
        let (_, h, w, _) = self.images.dim();
        let (left, top) = self.corner();
        let x = |column: usize| 2.0 * (left + column * (w * self.scale + self.gap)) as f64;
        let y = |row: usize| 2.0 * (top + row * (h * self.scale + self.gap)) as f64;
        let (half_w, half_h) = ((w * self.scale) as f64, (h * self.scale) as f64);
        for (n, image) in self.images.outer_iter().enumerate() {
            let size = ((2 * w * self.scale) as u32, (2 * h * self.scale) as u32);
            page.image(
                (x(n % self.columns), y(n / self.columns)),
                size,
                &enlarged_rgb(image, 2 * self.scale),
            )?;
        }
        let kind = Type::new(style::TICK, style::INK, HPos::Right, VPos::Center);
        for (row, label) in self.row_labels.iter().enumerate() {
            page.text(label, (x(0) - 20.0, y(row) + half_h), kind)?;
        }
        // narrow columns get smaller labels, down to what can still be read
        let widest = self.column_labels.iter().map(|l| text::width(l, style::TICK)).fold(1.0, f64::max);
        let em = (style::TICK * (2.0 * half_w / widest) as f32).clamp(20.0, style::TICK);
        let kind = Type { em, across: HPos::Center, down: VPos::Bottom, ..kind };
        for (column, label) in self.column_labels.iter().enumerate() {
            page.text(label, (x(column) + half_w, y(0) - 18.0), kind)?;
        }
        Ok(())
    }
}

/// The image's rows as RGB, each pixel a square of `scale`×`scale`.
pub(super) fn enlarged_rgb(image: ArrayView3<'_, u8>, scale: usize) -> Vec<u8> {
    let (h, w, c) = image.dim();
    let mut rgb = Vec::with_capacity(3 * h * w * scale * scale);
    for row in image.outer_iter() {
        let start = rgb.len();
        for pixel in row.outer_iter() {
            let colour = [pixel[0], pixel[1 % c], pixel[2 % c]]; // grey: thrice the same
            (0..scale).for_each(|_| rgb.extend(colour));
        }
        let line = start..rgb.len();
        (1..scale).for_each(|_| rgb.extend_from_within(line.clone()));
    }
    rgb
}

/// Images `[N, H, W, C]` as one image `[rows·(H + gap) − gap, columns·(W + gap) − gap, C]`, white between them; a frame
/// of a [`Gif`](super::Gif), say.
///
/// # Panics
/// If `columns` is 0.
#[track_caller]
pub fn tile(images: &Array4<u8>, columns: usize, gap: usize) -> Array3<u8> {
    assert!(columns > 0, "tile: 0 columns");
    let (n, h, w, c) = images.dim();
    let rows = n.div_ceil(columns);
    let side = |count: usize, length: usize| (count * (length + gap)).saturating_sub(gap);
    let mut tiled = Array3::from_elem((side(rows, h), side(columns, w), c), 255);
    for (i, image) in images.outer_iter().enumerate() {
        let (y, x) = (i / columns * (h + gap), i % columns * (w + gap));
        tiled.slice_mut(s![y..y + h, x..x + w, ..]).assign(&image);
    }
    tiled
}
