//! How a [`Chart`] is drawn: header, frame, then its layers inside.

use super::axis::{Axis, Tick};
use super::chart::{Chart, Dimension, Layer, Mark};
use super::page::{HPos, Page, Point, Rect, Type, VPos};
use super::style::{self, Rgb};
use super::text;
use crate::Result;

impl Chart {
    /// Draws everything within `rect`.
    pub(super) fn draw(&self, page: &Page<'_>, rect: Rect) -> Result<()> {
        let xs = self.layers.iter().flat_map(|layer| layer.all_points().map(|p| p.0));
        let ys = self.layers.iter().flat_map(|layer| layer.all_points().map(|p| p.1));
        let x = self.x.axis(xs, if self.square { 0.05 } else { 0.0 });
        let y = self.y.axis(ys, 0.06);
        let top = self.header(page, rect)?;
        let plot = self.frame(page, Rect { top, ..rect }, &x, &y)?;
        let view = View { plot, x, y };
        // bands lie behind faint lines, and these behind all others
        let mut layers: Vec<_> = self.layers.iter().collect();
        layers.sort_by_key(|layer| match layer.mark {
            Mark::Band { .. } => 0,
            Mark::Line { strength } if strength < 1.0 => 1,
            Mark::Note { .. } => 3,
            _ => 2,
        });
        layers.into_iter().try_for_each(|layer| layer.draw(page, &view))
    }

    /// Title and legend; returns where the plot may begin.
    fn header(&self, page: &Page<'_>, rect: Rect) -> Result<f64> {
        let mut top = rect.top;
        let kind = Type {
            em: style::LABEL,
            colour: style::INK,
            across: HPos::Left,
            down: VPos::Top,
            upwards: false,
        };
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
        let widest = y_ticks
            .iter()
            .flat_map(|tick| &tick.label)
            .map(|l| text::width(l, style::TICK))
            .fold(0.0, f64::max);
        let mut plot = Rect {
            left: rect.left + 1.5 * label + widest + 18.0,
            top: rect.top + 0.4 * em,
            right: rect.right - 0.9 * em, // half of the last label
            bottom: rect.bottom - 2.0 * label - em,
        };
        if self.square {
            let side = plot.width().min(plot.height());
            (plot.right, plot.bottom) = (plot.left + side, plot.top + side);
        }
        let kind = Type {
            em: style::TICK,
            colour: style::GREY,
            across: HPos::Center,
            down: VPos::Top,
            upwards: false,
        };
        for tick in y_ticks {
            let at = plot.bottom - y.place(tick.value) * plot.height();
            if tick.label.is_some() {
                page.line(&[(plot.left, at), (plot.right, at)], style::FAINT, style::HAIR)?;
            }
            page.line(&[(plot.left - tick.length(), at), (plot.left, at)], style::INK, style::HAIR)?;
            let kind = Type { across: HPos::Right, down: VPos::Center, ..kind };
            page.text(tick.label.as_deref().unwrap_or(""), (plot.left - 20.0, at), kind)?;
        }
        let room = (plot.width() / (3.4 * em)) as usize;
        for tick in x.ticks(room.clamp(2, 8)) {
            let at = plot.left + x.place(tick.value) * plot.width();
            if self.square {
                page.line(&[(at, plot.top), (at, plot.bottom)], style::FAINT, style::HAIR)?;
            }
            page.line(&[(at, plot.bottom), (at, plot.bottom + tick.length())], style::INK, style::HAIR)?;
            page.text(tick.label.as_deref().unwrap_or(""), (at, plot.bottom + 24.0), kind)?;
        }
        page.line(
            &[(plot.left, plot.top), (plot.left, plot.bottom), (plot.right, plot.bottom)],
            style::INK,
            style::HAIR,
        )?;
        let kind = Type { em: style::LABEL, colour: style::INK, ..kind };
        page.text(&self.x.label, ((plot.left + plot.right) / 2.0, plot.bottom + 24.0 + 1.5 * em), kind)?;
        let middle = (plot.top + plot.bottom) / 2.0;
        page.text(&self.y.label, (rect.left, middle), Type { upwards: true, ..kind })?;
        Ok(plot)
    }
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
struct View {
    plot: Rect,
    x: Axis,
    y: Axis,
}

impl View {
    /// Where a point lies on the page; `None` if it has no place.
    fn place(&self, (x, y): Point) -> Option<Point> {
        let (x, y) = (self.x.place(x), self.y.place(y));
        let on_page = (self.plot.left + x * self.plot.width(), self.plot.bottom - y * self.plot.height());
        (x.is_finite() && y.is_finite()).then_some(on_page)
    }

    /// The same, moved to the plot's edge if outside or, on a log axis, not above 0.
    fn place_inside(&self, (x, y): Point) -> Option<Point> {
        let at_least = |axis: &Axis, v: f64| v.clamp(axis.from, axis.to);
        self.place((at_least(&self.x, x), at_least(&self.y, y)))
    }

    fn contains(&self, (x, y): Point) -> bool {
        let slack = 1.0; // a canvas unit: points on the edge are inside
        (self.plot.left - slack..=self.plot.right + slack).contains(&x)
            && (self.plot.top - slack..=self.plot.bottom + slack).contains(&y)
    }

    /// The part of the segment from `a` to `b` inside the plot (Liang and Barsky).
    fn clip(&self, a: Point, b: Point) -> Option<(Point, Point)> {
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

impl Layer {
    fn all_points(&self) -> impl Iterator<Item = &Point> {
        // error bars and bands below a log axis' zero do not stretch it: only the upper ends count there
        let upper = match &self.mark {
            Mark::Band { upper } | Mark::Bars { upper } => &upper[..],
            _ => &[],
        };
        let own = if upper.is_empty() { &self.points[..] } else { &[] };
        own.iter().chain(upper)
    }

    fn colour(&self) -> Rgb {
        self.number.map_or(style::GREY, style::series)
    }

    fn dash(&self) -> &'static [f64] {
        self.number.map_or(&[4.0, 8.0], style::dash)
    }

    /// The sample of this series in the legend.
    fn swatch(&self, page: &Page<'_>, (x, y): Point, width: f64) -> Result<()> {
        match self.mark {
            Mark::Points { .. } => page.disc((x + width / 2.0, y), 9.0, self.colour()),
            _ => page.dashed(&[(x, y), (x + width, y)], self.dash(), self.colour(), style::STROKE + 1.0),
        }
    }

    fn draw(&self, page: &Page<'_>, view: &View) -> Result<()> {
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
            Mark::Bars { upper } => self.points.iter().zip(upper).try_for_each(|(&low, &high)| {
                match (view.place_inside(low), view.place_inside(high)) {
                    (Some(low), Some(high)) => page.line(&[low, high], ink, 3.0),
                    _ => Ok(()),
                }
            }),
            Mark::Note { text } => {
                let Some((x, y)) = view.place_inside(self.points[0]) else { return Ok(()) };
                // on the side where there is room
                let right = x + 24.0 + text::width(text, style::TICK) <= view.plot.right;
                let (across, x) = if right { (HPos::Left, x + 20.0) } else { (HPos::Right, x - 20.0) };
                let (w, h) = (text::width(text, style::TICK) + 8.0, 0.6 * f64::from(style::TICK));
                let left = if right { x - 4.0 } else { x + 4.0 - w };
                page.rect(Rect { left, right: left + w, top: y - h, bottom: y + h }, style::PAPER)?;
                page.text(
                    text,
                    (x, y),
                    Type { em: style::TICK, colour: style::INK, across, down: VPos::Center, upwards: false },
                )
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
}
