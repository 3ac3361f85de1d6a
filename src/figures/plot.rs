//! How a [`Chart`] is drawn: header, frame, then its layers inside.

use super::axis::{Axis, Tick};
use super::chart::{Chart, Dimension, Mark};
use super::page::{HPos, Page, Point, Rect, Type, VPos};
use super::style;
use super::text;
use crate::Result;

impl Chart {
    /// Draws everything within `rect`.
    pub(super) fn draw(&self, page: &Page<'_>, rect: Rect) -> Result<()> {
        let xs = self.layers.iter().flat_map(|layer| layer.all_points().map(|p| p.0));
        let ys = self.layers.iter().flat_map(|layer| layer.all_points().map(|p| p.1));
        let x = self.x.axis(xs, if self.square && !self.has_heat() { 0.05 } else { 0.0 });
        let y = self.y.axis(ys, if self.has_heat() { 0.0 } else { 0.06 });
        let top = self.header(page, rect)?;
        let plot = self.frame(page, Rect { top, ..rect }, &x, &y)?;
        let view = View { plot, x, y };
        // from back to front: areas, the axes' lines, faint lines, all others, words
        let mut layers: Vec<_> = self.layers.iter().collect();
        layers.sort_by_key(|layer| layer.depth());
        let (areas, others) = layers.split_at(layers.partition_point(|layer| layer.depth() == 0));
        areas.iter().try_for_each(|layer| layer.draw(page, &view))?;
        let corner = [(plot.left, plot.top), (plot.left, plot.bottom), (plot.right, plot.bottom)];
        page.line(&corner, style::INK, style::HAIR)?;
        others.iter().try_for_each(|layer| layer.draw(page, &view))
    }

    fn has_heat(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer.mark, Mark::Heat { .. }))
    }

    /// Title and legend; returns where the plot may begin.
    fn header(&self, page: &Page<'_>, rect: Rect) -> Result<f64> {
        let mut top = rect.top;
        let kind = Type::new(style::LABEL, style::INK, HPos::Left, VPos::Top);
        if !self.title.is_empty() {
            page.text(&self.title, (rect.left, top), kind)?;
            top += 1.75 * f64::from(style::LABEL);
        }
        let (swatch, em) = (64.0, f64::from(style::TICK));
        let mut x = rect.left;
        let named: Vec<_> = self.layers.iter().filter(|layer| !layer.name.is_empty()).collect();
        for layer in &named {
            let width = swatch + 14.0 + text::width(&layer.name, style::TICK);
            if x > rect.left && x + width > rect.right {
                (x, top) = (rect.left, top + 1.5 * em);
            }
            layer.swatch(page, (x, top + 0.36 * em), swatch)?;
            page.text(&layer.name, (x + swatch + 14.0, top), Type { em: style::TICK, ..kind })?;
            x += width + 44.0;
        }
        Ok(if named.is_empty() { top } else { top + 1.75 * em })
    }

    /// Axes, ticks, grid and labels within `rect`; returns the rectangle left for the data.
    fn frame(&self, page: &Page<'_>, rect: Rect, x: &Axis, y: &Axis) -> Result<Rect> {
        let (em, label) = (f64::from(style::TICK), f64::from(style::LABEL));
        let y_ticks = y.ticks(6);
        let widths = y_ticks.iter().flat_map(|tick| &tick.label).map(|label| text::width(label, style::TICK));
        let mut plot = Rect {
            left: rect.left + 1.5 * label + widths.fold(0.0, f64::max) + 18.0,
            top: rect.top + 0.4 * em,
            right: rect.right - 0.9 * em, // half of the last label
            bottom: rect.bottom - 2.0 * label - em,
        };
        if self.square {
            let side = plot.width().min(plot.height());
            (plot.right, plot.bottom) = (plot.left + side, plot.top + side);
        }
        let grid = !self.has_heat();
        let room = (plot.width() / (3.4 * em)) as usize; // labels that fit
        draw_y_ticks(page, plot, y, y_ticks, grid)?;
        draw_x_ticks(page, plot, x, x.ticks(room.clamp(2, 8)), grid && self.square)?;
        let (across, down) = ((plot.left + plot.right) / 2.0, (plot.top + plot.bottom) / 2.0);
        let kind = Type::new(style::LABEL, style::INK, HPos::Center, VPos::Top);
        page.text(&self.x.label, (across, plot.bottom + 24.0 + 1.5 * em), kind)?;
        page.text(&self.y.label, (rect.left, down), Type { upwards: true, ..kind })?;
        Ok(plot)
    }
}

fn draw_y_ticks(page: &Page<'_>, plot: Rect, axis: &Axis, ticks: Vec<Tick>, grid: bool) -> Result<()> {
    for tick in ticks {
        let at = plot.bottom - axis.place(tick.value) * plot.height();
        if grid && tick.label.is_some() {
            page.line(&[(plot.left, at), (plot.right, at)], style::FAINT, style::HAIR)?;
        }
        page.line(&[(plot.left - tick.length(), at), (plot.left, at)], style::INK, style::HAIR)?;
        let kind = Type::new(style::TICK, style::GREY, HPos::Right, VPos::Center);
        page.text(tick.label.as_deref().unwrap_or(""), (plot.left - 20.0, at), kind)?;
    }
    Ok(())
}

pub(super) fn draw_x_ticks(
    page: &Page<'_>,
    plot: Rect,
    axis: &Axis,
    ticks: Vec<Tick>,
    grid: bool,
) -> Result<()> {
    for tick in ticks {
        let at = plot.left + axis.place(tick.value) * plot.width();
        if grid && tick.label.is_some() {
            page.line(&[(at, plot.top), (at, plot.bottom)], style::FAINT, style::HAIR)?;
        }
        page.line(&[(at, plot.bottom), (at, plot.bottom + tick.length())], style::INK, style::HAIR)?;
        let kind = Type::new(style::TICK, style::GREY, HPos::Center, VPos::Top);
        page.text(tick.label.as_deref().unwrap_or(""), (at, plot.bottom + 24.0), kind)?;
    }
    Ok(())
}

impl Dimension {
    fn axis(&self, values: impl Iterator<Item = f64>, pad: f64) -> Axis {
        match self.range {
            Some((from, to)) => Axis { scale: self.scale, from, to },
            None => Axis::over(values, self.scale, pad),
        }
    }
}

impl Tick {
    fn length(&self) -> f64 {
        if self.label.is_some() { 12.0 } else { 6.0 }
    }
}

/// The plot's rectangle and its axes.
pub(super) struct View {
    pub(super) plot: Rect,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

impl View {
    /// Where a point lies on the page; `None` if it has no place.
    pub(super) fn place(&self, (x, y): Point) -> Option<Point> {
        let (x, y) = (self.x.place(x), self.y.place(y));
        let on_page = (self.plot.left + x * self.plot.width(), self.plot.bottom - y * self.plot.height());
        (x.is_finite() && y.is_finite()).then_some(on_page)
    }

    /// The same, moved to the plot's edge if outside or, on a log axis, not above 0.
    pub(super) fn place_inside(&self, (x, y): Point) -> Option<Point> {
        let at_least = |axis: &Axis, v: f64| v.clamp(axis.from, axis.to);
        self.place((at_least(&self.x, x), at_least(&self.y, y)))
    }

    pub(super) fn contains(&self, (x, y): Point) -> bool {
        let slack = 1.0; // a canvas unit: points on the edge are inside
        (self.plot.left - slack..=self.plot.right + slack).contains(&x)
            && (self.plot.top - slack..=self.plot.bottom + slack).contains(&y)
    }

    /// The part of the segment from `a` to `b` inside the plot (Liang and Barsky).
    pub(super) fn clip(&self, a: Point, b: Point) -> Option<(Point, Point)> {
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
        let Rect { left, top, right, bottom } = self.plot;
        for (step, room) in [(-dx, a.0 - left), (dx, right - a.0), (-dy, a.1 - top), (dy, bottom - a.1)] {
            match step {
                _ if step == 0.0 && room < 0.0 => return None,
                _ if step < 0.0 => enter = enter.max(room / step),
                _ if step > 0.0 => leave = leave.min(room / step),
                _ => {}
            }
        }
        let at = |s: f64| (a.0 + s * dx, a.1 + s * dy);
        (enter <= leave).then(|| (at(enter), at(leave)))
    }
}
