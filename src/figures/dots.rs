//! Things compared by several measures: a row for each, a dot with its error for each measure, and perhaps pictures.

use super::Figure;
use super::axis::{Axis, Scale};
use super::grid::enlarged_rgb;
use super::page::{HPos, Page, Rect, Type, VPos};
use super::plot::draw_x_ticks;
use super::{style, text};
use crate::Result;
use ndarray::{Array4, s};

/// Canvas units between columns.
const GAP: f64 = 60.0;

/// A dot plot.
///
/// ```
/// use ddpm::figures::{Dots, Scale};
/// let dots = Dots::new(["ε", "μ"])
///     .column("bits/dim", Scale::Linear, &[(3.7, 0.1), (5.1, 0.3)])
///     .column("distance", Scale::Log, &[(20.0, 2.0), (200.0, 9.0)])
///     .reference("test images", 11.0);
/// assert_eq!(dots.figure().size(), (617, 220));
/// ```
#[derive(Clone, Debug)]
pub struct Dots {
    rows: Vec<String>,
    columns: Vec<Column>,
    images: Option<Array4<u8>>,
}

#[derive(Clone, Debug)]
struct Column {
    title: String,
    scale: Scale,
    /// of each row: the value and its standard error
    values: Vec<(f64, f64)>,
    reference: Option<(String, f64)>,
}

impl Dots {
    /// Rows by their names, top to bottom.
    pub fn new(rows: impl IntoIterator<Item = impl Into<String>>) -> Dots {
        Dots { rows: rows.into_iter().map(Into::into).collect(), columns: Vec::new(), images: None }
    }

    /// A measure: its value and standard error in each row.
    ///
    /// # Panics
    /// If there is not one value per row.
    #[track_caller]
    pub fn column(mut self, title: impl Into<String>, scale: Scale, values: &[(f64, f64)]) -> Dots {
        let (rows, found) = (self.rows.len(), values.len());
        assert_eq!(rows, found, "Dots: {rows} rows, {found} values");
        self.columns.push(Column { title: title.into(), scale, values: values.to_vec(), reference: None });
        self
    }

    /// A line in grey through the last column, with its name.
    ///
    /// # Panics
    /// If there is no column yet.
    #[track_caller]
    pub fn reference(mut self, name: impl Into<String>, value: f64) -> Dots {
        let column = self.columns.last_mut().expect("Dots: a reference before the first column");
        column.reference = Some((name.into(), value));
        self
    }

    /// Pictures `[rows·k, H, W, C]` at the end of the rows, k in each.
    ///
    /// # Panics
    /// If they can't be shared out evenly.
    #[track_caller]
    pub fn images(mut self, images: &Array4<u8>) -> Dots {
        let (rows, n) = (self.rows.len(), images.dim().0);
        assert!(rows > 0 && n % rows == 0, "Dots: {n} images in {rows} rows");
        self.images = Some(images.clone());
        self
    }

    /// The plot as a figure, as large as its rows need.
    pub fn figure(self) -> Figure {
        const ROW: f64 = 92.0;
        const COLUMN: f64 = 520.0;
        let (em, label) = (f64::from(style::TICK), f64::from(style::LABEL));
        let names = self.rows.iter().map(|row| text::width(row, style::TICK)).fold(0.0, f64::max);
        let side = ROW - 8.0; // of a picture
        let pictures = self.images.as_ref().map_or(0.0, |images| {
            let (n, h, w, _) = images.dim();
            (n / self.rows.len()) as f64 * ((side * w as f64 / h as f64).floor() + 4.0) + GAP
        });
        let (above, below) = (style::MARGIN + 3.4 * label, 2.2 * em + style::MARGIN);
        let width = 2.0 * style::MARGIN + names + self.columns.len() as f64 * (COLUMN + GAP) + pictures;
        let height = above + self.rows.len() as f64 * ROW + below;
        Figure::new((width / 2.0) as u32, (height / 2.0) as u32, move |page| {
            let row = |n: usize| above + (n as f64 + 0.5) * ROW;
            let kind = Type::new(style::TICK, style::INK, HPos::Left, VPos::Center);
            for (n, name) in self.rows.iter().enumerate() {
                page.text(name, (style::MARGIN, row(n)), kind)?;
            }
            let mut left = style::MARGIN + names + GAP;
            for column in &self.columns {
                let bottom = above + self.rows.len() as f64 * ROW;
                column.draw(page, Rect { left, top: above, right: left + COLUMN, bottom }, &row)?;
                left += COLUMN + GAP;
            }
            self.draw_images(page, left, side, &row)
        })
    }

    fn draw_images(&self, page: &Page<'_>, left: f64, side: f64, row: &dyn Fn(usize) -> f64) -> Result<()> {
        let Some(images) = &self.images else { return Ok(()) };
        let (n, h, w, _) = images.dim();
        let (per_row, scale) = (n / self.rows.len(), ((side / h as f64) as usize).max(1));
        for (i, image) in images.outer_iter().enumerate() {
            let size = ((w * scale) as u32, (h * scale) as u32);
            let x = left + (i % per_row * (w * scale + 4)) as f64;
            let y = row(i / per_row) - (h * scale) as f64 / 2.0;
            page.image((x, y), size, &enlarged_rgb(image.slice(s![.., .., ..]), scale))?;
        }
        Ok(())
    }
}

impl Column {
    fn draw(&self, page: &Page<'_>, plot: Rect, row: &dyn Fn(usize) -> f64) -> Result<()> {
        let (em, label) = (f64::from(style::TICK), f64::from(style::LABEL));
        let ends = self.values.iter().flat_map(|&(v, e)| [v - e, v, v + e]);
        let axis = Axis::over(ends.chain(self.reference.iter().map(|r| r.1)), self.scale, 0.06);
        let at = |value: f64| plot.left + axis.place(value).clamp(0.0, 1.0) * plot.width();
        let kind = Type::new(style::LABEL, style::INK, HPos::Left, VPos::Top);
        page.text(&self.title, (plot.left, plot.top - 3.2 * label), kind)?;
        draw_x_ticks(page, plot, &axis, axis.ticks(((plot.width() / (3.4 * em)) as usize).max(2)), true)?;
        page.line(&[(plot.left, plot.bottom), (plot.right, plot.bottom)], style::INK, style::HAIR)?;
        if let Some((name, value)) = &self.reference {
            let line = [(at(*value), plot.top - 0.3 * em), (at(*value), plot.bottom)];
            page.dashed(&line, &[4.0, 8.0], style::GREY, style::STROKE)?;
            let across = if axis.place(*value) < 0.5 { HPos::Left } else { HPos::Right };
            let kind =
                Type { em: style::TICK, colour: style::GREY, across, down: VPos::Bottom, upwards: false };
            page.text(name, (at(*value), plot.top - 0.4 * em), kind)?;
        }
        for (n, &(value, error)) in self.values.iter().enumerate().filter(|(_, v)| v.0.is_finite()) {
            page.line(&[(at(value - error), row(n)), (at(value + error), row(n))], style::series(0), 4.0)?;
            page.disc((at(value), row(n)), 11.0, style::series(0))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many pictures' worth wider; a value that can't be shown is left out, with its row kept.
    #[test]
    fn pictures_stand_at_the_end_of_their_rows() {
        let dots = Dots::new(["a", "b"]).column("x", Scale::Log, &[(1.0, 0.1), (f64::NAN, 0.0)]);
        let (width, height) = dots.clone().figure().size();
        let with = dots.images(&Array4::zeros((6, 28, 28, 1))).figure();
        assert_eq!(with.size(), (width + (3 * 88 + 60) / 2, height));
        assert!(with.to_svg().unwrap().contains("<image"));
    }

    #[test]
    #[should_panic(expected = "Dots: 2 rows, 1 values")]
    fn every_row_has_a_value() {
        let _ = Dots::new(["a", "b"]).column("x", Scale::Log, &[(1.0, 0.1)]);
    }
}
