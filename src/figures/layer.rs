//! How one layer of a [`Chart`](super::Chart) is drawn.

use super::chart::{Layer, Mark};
use super::page::{HPos, Page, Point, Rect, Type, VPos};
use super::plot::View;
use super::style::{self, Rgb};
use super::text;
use crate::Result;
use ndarray::Array2;

impl Layer {
    pub(super) fn all_points(&self) -> impl Iterator<Item = &Point> {
        // error bars and bands below a log axis' zero do not stretch it: only the upper ends count there
        let upper = match &self.mark {
            Mark::Band { upper } | Mark::Bars { upper } => &upper[..],
            _ => &[],
        };
        let own = if upper.is_empty() { &self.points[..] } else { &[] };
        own.iter().chain(upper)
    }

    /// 0 lies behind everything.
    pub(super) fn depth(&self) -> u8 {
        match self.mark {
            Mark::Band { .. } | Mark::Heat { .. } => 0,
            Mark::Line { strength } if strength < 1.0 => 1,
            Mark::Note { .. } => 3,
            _ => 2,
        }
    }

    fn colour(&self) -> Rgb {
        self.number.map_or(style::GREY, style::series)
    }

    fn dash(&self) -> &'static [f64] {
        self.number.map_or(&[4.0, 8.0], style::dash)
    }

    /// The sample of this series in the legend.
    pub(super) fn swatch(&self, page: &Page<'_>, (x, y): Point, width: f64) -> Result<()> {
        match self.mark {
            Mark::Points { .. } => page.disc((x + width / 2.0, y), 9.0, self.colour()),
            _ => page.dashed(&[(x, y), (x + width, y)], self.dash(), self.colour(), style::STROKE + 1.0),
        }
    }

    pub(super) fn draw(&self, page: &Page<'_>, view: &View) -> Result<()> {
        let ink = self.colour();
        match &self.mark {
            Mark::Line { strength } => self.draw_line(page, view, style::tint(ink, *strength)),
            Mark::Points { radius } => {
                let places = self.points.iter().filter_map(|&point| view.place(point));
                places
                    .filter(|&place| view.contains(place))
                    .try_for_each(|place| page.disc(place, *radius, ink))
            }
            Mark::Band { upper } => {
                let there = self.points.iter().filter_map(|&point| view.place_inside(point));
                let back = upper.iter().rev().filter_map(|&point| view.place_inside(point));
                let outline: Vec<_> = there.chain(back).collect();
                if outline.len() > 2 { page.polygon(&outline, style::tint(ink, 0.22)) } else { Ok(()) }
            }
            Mark::Heat { values } => self.draw_heat(page, view, values),
            Mark::Bars { upper } => self.points.iter().zip(upper).try_for_each(|(&low, &high)| {
                match (view.place_inside(low), view.place_inside(high)) {
                    (Some(low), Some(high)) => page.line(&[low, high], ink, 3.0),
                    _ => Ok(()),
                }
            }),
            Mark::Note { text } => {
                let Some((x, y)) = view.place_inside(self.points[0]) else { return Ok(()) };
                // beside the point or, at the right edge, above it
                let right = x + 24.0 + text::width(text, style::TICK) <= view.plot.right;
                let above = 1.2 * f64::from(style::TICK);
                let (across, x, y) =
                    if right { (HPos::Left, x + 20.0, y) } else { (HPos::Right, x + 12.0, y - above) };
                let (w, h) = (text::width(text, style::TICK) + 8.0, 0.6 * f64::from(style::TICK));
                let left = if right { x - 4.0 } else { x + 4.0 - w };
                page.rect(Rect { left, right: left + w, top: y - h, bottom: y + h }, style::PAPER)?;
                page.text(text, (x, y), Type::new(style::TICK, style::INK, across, VPos::Center))
            }
        }
    }

    /// The line's pieces inside the plot; what has no place leaves a gap.
    fn draw_line(&self, page: &Page<'_>, view: &View, ink: Rgb) -> Result<()> {
        // a crowded or faint line is thinner
        let faint = matches!(self.mark, Mark::Line { strength } if strength < 1.0) || self.number.is_none();
        let width = if faint { 3.0 } else { style::STROKE };
        let mut piece: Vec<Point> = Vec::new();
        for pair in self.points.windows(2) {
            let ends = view.place(pair[0]).zip(view.place(pair[1]));
            let inside = ends.and_then(|(a, b)| view.clip(a, b));
            let goes_on = inside.is_some_and(|(a, _)| piece.last() == Some(&a));
            if !goes_on {
                page.dashed(&std::mem::take(&mut piece), self.dash(), ink, width)?;
            }
            if let Some((a, b)) = inside {
                if !goes_on {
                    piece.push(a);
                }
                piece.push(b);
            }
        }
        page.dashed(&piece, self.dash(), ink, width)
    }

    /// The values as squares of ink, cut at the plot's edge.
    fn draw_heat(&self, page: &Page<'_>, view: &View, values: &Array2<f64>) -> Result<()> {
        let Some((low, high)) = view.place(self.points[0]).zip(view.place(self.points[1])) else {
            return Ok(());
        };
        let plot = view.plot;
        let (left, right) = (low.0.max(plot.left).round(), high.0.min(plot.right).round());
        let (top, bottom) = (high.1.max(plot.top).round(), low.1.min(plot.bottom).round());
        let (rows, columns) = values.dim();
        let darkest = values.iter().copied().filter(|v| v.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
        let mut rgb = Vec::new();
        for y in top as i64..bottom as i64 {
            let row = ((low.1 - y as f64 - 0.5) / (low.1 - high.1) * rows as f64) as usize;
            for x in left as i64..right as i64 {
                let column = ((x as f64 + 0.5 - low.0) / (high.0 - low.0) * columns as f64) as usize;
                let value = values[[row.min(rows - 1), column.min(columns - 1)]];
                let (r, g, b) = style::tint(self.colour(), (value / darkest).clamp(0.0, 1.0));
                rgb.extend([r, g, b]);
            }
        }
        let size = ((right - left).max(0.0) as u32, (bottom - top).max(0.0) as u32);
        if rgb.is_empty() { Ok(()) } else { page.image((left, top), size, &rgb) }
    }
}
