//! The few strokes every figure is made of, over plotters' drawing area.

use super::canvas::Canvas;
use super::style::Rgb;
use super::text::FAMILY;
use crate::{Error, Result};
use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::element::{Circle, PathElement, Polygon, Rectangle};
use plotters::style::text_anchor::Pos;
use plotters::style::{
    Color, FontDesc, FontFamily, FontStyle, FontTransform, RGBColor, ShapeStyle, TextStyle,
};

pub(super) use plotters::style::text_anchor::{HPos, VPos};

/// A point in canvas units, x to the right, y downwards.
pub(super) type Point = (f64, f64);

/// A rectangle in canvas units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rect {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Rect {
    pub(super) fn width(&self) -> f64 {
        self.right - self.left
    }

    pub(super) fn height(&self) -> f64 {
        self.bottom - self.top
    }

    /// The cell at (`row`, `column`) of a grid of equal cells with `gap` between them.
    pub(super) fn cell(
        &self,
        (rows, columns): (usize, usize),
        (row, column): (usize, usize),
        gap: f64,
    ) -> Rect {
        let w = (self.width() - gap * (columns - 1) as f64) / columns as f64;
        let h = (self.height() - gap * (rows - 1) as f64) / rows as f64;
        let (left, top) = (self.left + (w + gap) * column as f64, self.top + (h + gap) * row as f64);
        Rect { left, top, right: left + w, bottom: top + h }
    }
}

/// How a text stands.
#[derive(Clone, Copy)]
pub(super) struct Type {
    pub(super) em: f32,
    pub(super) colour: Rgb,
    pub(super) across: HPos,
    pub(super) down: VPos,
    /// Read from below, as the label of a y axis.
    pub(super) upwards: bool,
}

impl Type {
    pub(super) fn new(em: f32, colour: Rgb, across: HPos, down: VPos) -> Self {
        Type { em, colour, across, down, upwards: false }
    }
}

/// A plotters drawing area, drawn on in canvas units.
pub(super) struct Page<'a>(pub(super) DrawingArea<Canvas<'a>, Shift>);

fn pixel((x, y): Point) -> (i32, i32) {
    (x.round() as i32, y.round() as i32)
}

fn colour((r, g, b): Rgb) -> RGBColor {
    RGBColor(r, g, b)
}

fn line_style(ink: Rgb, width: f64) -> ShapeStyle {
    colour(ink).stroke_width(width.round().max(1.0) as u32)
}

/// A figure that can't be drawn, whatever plotters' reason.
fn failed(error: impl std::fmt::Display) -> Error {
    Error::Figure(error.to_string())
}

impl Page<'_> {
    /// The whole page without its margin.
    pub(super) fn inside(&self, margin: f64) -> Rect {
        let (w, h) = self.0.dim_in_pixel();
        Rect { left: margin, top: margin, right: f64::from(w) - margin, bottom: f64::from(h) - margin }
    }

    pub(super) fn fill(&self, ink: Rgb) -> Result<()> {
        self.0.fill(&colour(ink)).map_err(failed)
    }

    pub(super) fn line(&self, path: &[Point], ink: Rgb, width: f64) -> Result<()> {
        if path.len() < 2 {
            return Ok(());
        }
        let path: Vec<_> = path.iter().copied().map(pixel).collect();
        self.0.draw(&PathElement::new(path, line_style(ink, width))).map_err(failed)
    }

    /// A line in dashes; `pattern` alternates their lengths with those of the gaps, and is solid if empty.
    pub(super) fn dashed(&self, path: &[Point], pattern: &[f64], ink: Rgb, width: f64) -> Result<()> {
        if pattern.is_empty() {
            return self.line(path, ink, width);
        }
        let mut dash: Vec<Point> = path.first().copied().into_iter().collect();
        let (mut phase, mut left) = (0, pattern[0]);
        for pair in path.windows(2) {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            let length = (x1 - x0).hypot(y1 - y0);
            let mut done = 0.0;
            while length - done > left {
                done += left;
                let point = (x0 + (x1 - x0) * done / length, y0 + (y1 - y0) * done / length);
                if phase % 2 == 0 {
                    dash.push(point);
                    self.line(&dash, ink, width)?;
                }
                dash = vec![point];
                phase = (phase + 1) % pattern.len();
                left = pattern[phase];
            }
            left -= length - done;
            if phase % 2 == 0 {
                dash.push((x1, y1));
            }
        }
        if phase % 2 == 0 { self.line(&dash, ink, width) } else { Ok(()) }
    }

    /// A line, solid or in dashes, that ends in an arrow head.
    pub(super) fn arrow(&self, path: &[Point], pattern: &[f64], ink: Rgb) -> Result<()> {
        let [.., (x0, y0), (x, y)] = *path else { return Ok(()) };
        let length = (x - x0).hypot(y - y0);
        let (ux, uy) = ((x - x0) / length, (y - y0) / length);
        let corner = |back: f64, aside: f64| (x - back * ux - aside * uy, y - back * uy + aside * ux);
        self.dashed(&[&path[..path.len() - 1], &[corner(24.0, 0.0)]].concat(), pattern, ink, 4.0)?;
        self.polygon(&[(x, y), corner(30.0, 13.0), corner(30.0, -13.0)], ink)
    }

    pub(super) fn polygon(&self, path: &[Point], ink: Rgb) -> Result<()> {
        let path: Vec<_> = path.iter().copied().map(pixel).collect();
        self.0.draw(&Polygon::new(path, colour(ink).filled())).map_err(failed)
    }

    pub(super) fn rect(&self, rect: Rect, ink: Rgb) -> Result<()> {
        let corners = [pixel((rect.left, rect.top)), pixel((rect.right, rect.bottom))];
        self.0.draw(&Rectangle::new(corners, colour(ink).filled())).map_err(failed)
    }

    pub(super) fn disc(&self, centre: Point, radius: f64, ink: Rgb) -> Result<()> {
        self.0.draw(&Circle::new(pixel(centre), radius.round() as i32, colour(ink).filled())).map_err(failed)
    }

    pub(super) fn image(&self, at: Point, size: (u32, u32), rgb: &[u8]) -> Result<()> {
        let element = plotters::element::BitMapElement::with_ref(pixel(at), size, rgb);
        self.0.draw(&element.ok_or_else(|| failed("image of the wrong size"))?).map_err(failed)
    }

    pub(super) fn text(&self, text: &str, at: Point, kind: Type) -> Result<()> {
        let turn = if kind.upwards { FontTransform::Rotate270 } else { FontTransform::None };
        let font =
            FontDesc::new(FontFamily::Name(FAMILY), f64::from(kind.em), FontStyle::Normal).transform(turn);
        let style = TextStyle {
            font,
            color: colour(kind.colour).to_backend_color(),
            pos: Pos::new(kind.across, kind.down),
        };
        self.0.draw_text(text, &style, pixel(at)).map_err(failed)
    }
}
