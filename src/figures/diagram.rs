//! Boxes and arrows: what feeds what, with a number measured at each box.

use super::page::{HPos, Page, Point, Rect, Type, VPos};
use super::{Figure, style, text};
use crate::Result;

/// The empty border inside a box, left and right, above and below.
const PADDING: (f64, f64) = (20.0, 16.0);
/// The gaps between boxes of neighbouring columns and rows.
const GAP: (f64, f64) = (52.0, 52.0);
/// From one line of a text to the next.
const LEADING: f64 = 1.25 * style::TICK as f64;
/// The full colour would hide the text.
const DARKEST: f64 = 0.5;

/// A diagram of equal boxes on a grid, joined by straight arrows.
///
/// ```
/// use ddpm::figures::Diagram;
/// let figure = Diagram::new()
///     .node("x", (0.0, 0.0), 0.0)
///     .node("conv\n3×3", (1.0, 0.0), 1.0)
///     .node("+", (2.0, 0.0), 0.0)
///     .arrow(0, 1)
///     .arrow(1, 2)
///     .figure();
/// assert!(figure.to_svg()?.contains("conv"));
/// # Ok::<(), ddpm::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Diagram {
    nodes: Vec<Node>,
    arrows: Vec<Arrow>,
}

#[derive(Clone, Debug)]
struct Node {
    lines: Vec<String>,
    /// column and row of its centre
    at: (f64, f64),
    strength: f64,
}

#[derive(Clone, Copy, Debug)]
struct Arrow {
    from: usize,
    to: usize,
    dashed: bool,
}

impl Diagram {
    /// A diagram without boxes.
    pub fn new() -> Self {
        Diagram::default()
    }

    /// A box with its text, of one line or more, at a column and a row; `strength` 0 is white, 1 full colour.
    pub fn node(mut self, text: impl Into<String>, (column, row): (f64, f64), strength: f64) -> Self {
        let lines = text.into().lines().map(String::from).collect();
        self.nodes.push(Node { lines, at: (column, row), strength: strength.clamp(0.0, 1.0) });
        self
    }

    /// An arrow between two boxes, numbered from 0 in the order they came in.
    ///
    /// # Panics
    /// Here and below: if there is no such box yet, or the two are the same.
    #[track_caller]
    pub fn arrow(self, from: usize, to: usize) -> Self {
        self.join(from, to, false)
    }

    /// A dashed arrow, as for a skip connection.
    #[track_caller]
    pub fn dashed(self, from: usize, to: usize) -> Self {
        self.join(from, to, true)
    }

    #[track_caller]
    fn join(mut self, from: usize, to: usize, dashed: bool) -> Self {
        let boxes = self.nodes.len();
        assert!(
            from < boxes && to < boxes && from != to,
            "Diagram: an arrow from {from} to {to} of {boxes} boxes"
        );
        self.arrows.push(Arrow { from, to, dashed });
        self
    }

    /// The diagram as a figure, as large as its boxes need.
    ///
    /// # Panics
    /// If there are no boxes.
    #[track_caller]
    pub fn figure(self) -> Figure {
        assert!(!self.nodes.is_empty(), "Diagram: no boxes");
        let (width, height) = self.size();
        Figure::new((width / 2.0).ceil() as u32, (height / 2.0).ceil() as u32, move |page| self.draw(page))
    }

    /// Width and height of every box: the longest and the tallest text.
    fn box_size(&self) -> (f64, f64) {
        let widest = self.nodes.iter().flat_map(|n| &n.lines).map(|l| text::width(l, style::TICK));
        let tallest = self.nodes.iter().map(|n| n.lines.len()).max().unwrap_or(0);
        (widest.fold(0.0, f64::max) + 2.0 * PADDING.0, LEADING * tallest as f64 + 2.0 * PADDING.1)
    }

    /// The largest column and row.
    fn extent(&self) -> (f64, f64) {
        self.nodes.iter().fold((0.0, 0.0), |(x, y), n| (f64::max(x, n.at.0), f64::max(y, n.at.1)))
    }

    fn size(&self) -> (f64, f64) {
        let ((w, h), (columns, rows)) = (self.box_size(), self.extent());
        (columns * (w + GAP.0) + w + 2.0 * style::MARGIN, rows * (h + GAP.1) + h + 2.0 * style::MARGIN)
    }

    fn centre(&self, node: usize) -> Point {
        let ((w, h), (column, row)) = (self.box_size(), self.nodes[node].at);
        (style::MARGIN + w / 2.0 + column * (w + GAP.0), style::MARGIN + h / 2.0 + row * (h + GAP.1))
    }

    fn draw(&self, page: &Page<'_>) -> Result<()> {
        let (w, h) = self.box_size();
        for &Arrow { from, to, dashed } in &self.arrows {
            let (a, b) = (self.centre(from), self.centre(to));
            let path = [leave(a, b, (w, h)), leave(b, a, (w + 8.0, h + 8.0))];
            let (pattern, ink) =
                if dashed { (&[16.0, 12.0][..], style::series(1)) } else { (&[][..], style::INK) };
            page.arrow(&path, pattern, ink)?;
        }
        for (i, node) in self.nodes.iter().enumerate() {
            let (x, y) = self.centre(i);
            let around = |border: f64| Rect {
                left: x - w / 2.0 + border,
                right: x + w / 2.0 - border,
                top: y - h / 2.0 + border,
                bottom: y + h / 2.0 - border,
            };
            page.rect(around(0.0), style::INK)?;
            page.rect(around(3.0), style::tint(style::series(0), DARKEST * node.strength))?;
            let first = y - LEADING * (node.lines.len() - 1) as f64 / 2.0;
            let kind = Type::new(style::TICK, style::INK, HPos::Center, VPos::Center);
            for (k, line) in node.lines.iter().enumerate() {
                page.text(line, (x, first + LEADING * k as f64), kind)?;
            }
        }
        Ok(())
    }
}

/// Where the way from the centre `a` of a box to `b` leaves the box.
fn leave(a: Point, b: Point, (w, h): (f64, f64)) -> Point {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    // the side that is reached first
    let share = (w / 2.0 / dx.abs()).min(h / 2.0 / dy.abs()).min(1.0);
    (a.0 + share * dx, a.1 + share * dy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_begin_at_the_side_that_faces_the_other_box() {
        assert_eq!(leave((0.0, 0.0), (100.0, 0.0), (20.0, 10.0)), (10.0, 0.0));
        assert_eq!(leave((0.0, 0.0), (0.0, -100.0), (20.0, 10.0)), (0.0, -5.0));
        assert_eq!(leave((0.0, 0.0), (40.0, 40.0), (20.0, 10.0)), (5.0, 5.0));
    }

    #[test]
    #[should_panic(expected = "Diagram: an arrow from 0 to 1 of 1 boxes")]
    fn arrows_need_two_boxes() {
        let _ = Diagram::new().node("x", (0.0, 0.0), 0.0).arrow(0, 1);
    }
}
