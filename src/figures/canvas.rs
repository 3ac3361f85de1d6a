//! plotters' two backends behind one type, with our text and smooth lines.
//!
//! plotters draws its shapes on this; so a figure is compiled once and not once per file format.

use super::text;
use base64::{Engine, prelude::BASE64_STANDARD};
use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, TextStyle};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontTransform,
};
use std::cell::RefCell;
use std::io;

type Drawn = Result<(), DrawingErrorKind<io::Error>>;

/// Where a figure is drawn.
pub(super) enum Canvas<'a> {
    /// An SVG document; bitmaps are collected beside it and put in at the end.
    Svg(SVGBackend<'a>, &'a RefCell<String>),
    /// Rows of RGB pixels.
    Bitmap(BitMapBackend<'a>),
}

fn unify<E: std::error::Error + Send + Sync + 'static>(
    error: DrawingErrorKind<E>,
) -> DrawingErrorKind<io::Error> {
    DrawingErrorKind::DrawingError(io::Error::other(error.to_string()))
}

/// Calls the same method of whichever backend is there.
macro_rules! both {
    ($canvas:expr, $backend:ident => $call:expr) => {
        match $canvas {
            Canvas::Svg($backend, _) => $call.map_err(unify),
            Canvas::Bitmap($backend) => $call.map_err(unify),
        }
    };
}

impl DrawingBackend for Canvas<'_> {
    type ErrorType = io::Error;

    fn get_size(&self) -> (u32, u32) {
        match self {
            Canvas::Svg(backend, _) => backend.get_size(),
            Canvas::Bitmap(backend) => backend.get_size(),
        }
    }

    fn ensure_prepared(&mut self) -> Drawn {
        both!(self, backend => backend.ensure_prepared())
    }

    fn present(&mut self) -> Drawn {
        both!(self, backend => backend.present())
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn {
        both!(self, backend => backend.draw_pixel(point, color))
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        both!(self, backend => backend.draw_rect(from, to, style, fill))
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Drawn {
        both!(self, backend => backend.draw_circle(center, radius, style, fill))
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        both!(self, backend => backend.fill_polygon(path, style))
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        match self {
            Canvas::Svg(backend, _) => backend.draw_path(path, style).map_err(unify),
            Canvas::Bitmap(backend) => {
                let path: Vec<_> = path.into_iter().collect();
                stroke(backend, &path, style.stroke_width(), style.color()).map_err(unify)
            }
        }
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, pos: BackendCoord) -> Drawn {
        let em = style.size() as f32;
        let (runs, width) = text::runs(text, em);
        // from the anchor to the start of the base line
        let dx = width
            * match style.anchor().h_pos {
                HPos::Left => 0.0,
                HPos::Center => -0.5,
                HPos::Right => -1.0,
            };
        let dy = em
            * text::CAP_HEIGHT
            * match style.anchor().v_pos {
                VPos::Top => 1.0,
                VPos::Center => 0.5,
                VPos::Bottom => 0.0,
            };
        for mut run in runs {
            run.x += dx;
            run.y += dy;
            match self {
                Canvas::Svg(backend, _) => svg_run(backend, &run, style, pos),
                Canvas::Bitmap(backend) => bitmap_run(backend, &run, style, pos),
            }?;
        }
        Ok(())
    }

    fn blit_bitmap(&mut self, pos: BackendCoord, (w, h): (u32, u32), rgb: &[u8]) -> Drawn {
        match self {
            Canvas::Bitmap(backend) => backend.blit_bitmap(pos, (w, h), rgb).map_err(unify),
            Canvas::Svg(_, images) => {
                let png =
                    super::png(w, h, rgb).map_err(|e| DrawingErrorKind::DrawingError(io::Error::other(e)))?;
                images.borrow_mut().push_str(&format!(
                    "<image x=\"{}\" y=\"{}\" width=\"{w}\" height=\"{h}\" style=\"image-rendering:pixelated\" \
                     href=\"data:image/png;base64,{}\"/>\n",
                    pos.0,
                    pos.1,
                    BASE64_STANDARD.encode(png)
                ));
                Ok(())
            }
        }
    }
}

/// One run as SVG `<text>`s.
fn svg_run<S: BackendTextStyle>(
    backend: &mut SVGBackend<'_>,
    run: &text::Run<'_>,
    style: &S,
    pos: BackendCoord,
) -> Drawn {
    text::pieces(run).into_iter().try_for_each(|(piece, x, y)| {
        // plotters puts the base line of `VPos::Top` 0.76 em lower, and divides sizes by 1.24
        let (x, y) = (x.round() as i32, (y - 0.76 * run.em).round() as i32);
        let (x, y) = style.transform().transform(x, y);
        let font = FontDesc::new(style.family(), f64::from(run.em) * 1.24, style.style())
            .transform(style.transform());
        let style = TextStyle { font, color: style.color(), pos: Pos::new(HPos::Left, VPos::Top) };
        backend.draw_text(&piece, &style, (pos.0 + x, pos.1 + y)).map_err(unify)
    })
}

/// One run as pixels.
fn bitmap_run<S: BackendTextStyle>(
    backend: &mut BitMapBackend<'_>,
    run: &text::Run<'_>,
    style: &S,
    pos: BackendCoord,
) -> Drawn {
    let (color, transform): (_, FontTransform) = (style.color(), style.transform());
    let mut drawn = Ok(());
    text::rasterize(run, |x, y, coverage| {
        let (x, y) = transform.transform(x, y);
        let color = BackendColor { alpha: color.alpha * f64::from(coverage), ..color };
        if let Err(e) = backend.draw_pixel((pos.0 + x, pos.1 + y), color) {
            drawn = Err(unify(e));
        }
    });
    drawn
}

/// A polyline with round joins, as pixels: a pixel is covered as far as its centre lies within the line's width.
///
/// Each pixel takes the largest coverage over all segments and is painted once, so joins are not darker.
fn stroke(
    backend: &mut BitMapBackend<'_>,
    path: &[BackendCoord],
    width: u32,
    color: BackendColor,
) -> Result<(), DrawingErrorKind<<BitMapBackend<'static> as DrawingBackend>::ErrorType>> {
    let (columns, rows) = backend.get_size();
    let reach = f64::from(width) / 2.0 + 0.5;
    let clamp = |v: f64, size: u32| v.clamp(0.0, f64::from(size)) as usize;
    let bounds = |a: i32, b: i32, size| {
        clamp(f64::from(a.min(b)) - reach, size)..clamp(f64::from(a.max(b)) + reach + 1.0, size)
    };
    let mut covered = std::collections::BTreeMap::new();
    for pair in path.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        for y in bounds(a.1, b.1, rows) {
            for x in bounds(a.0, b.0, columns) {
                let coverage = (reach - distance((x as f64, y as f64), a, b)).min(1.0);
                if coverage > 0.0 {
                    let old = covered.entry((y, x)).or_insert(0.0);
                    *old = coverage.max(*old);
                }
            }
        }
    }
    covered.into_iter().try_for_each(|((y, x), coverage)| {
        backend.draw_pixel((x as i32, y as i32), BackendColor { alpha: color.alpha * coverage, ..color })
    })
}

/// The distance of a point from the segment between `a` and `b`.
fn distance((x, y): (f64, f64), a: BackendCoord, b: BackendCoord) -> f64 {
    let (ax, ay) = (f64::from(a.0), f64::from(a.1));
    let (dx, dy) = (f64::from(b.0) - ax, f64::from(b.1) - ay);
    let length2 = dx * dx + dy * dy;
    let along = if length2 > 0.0 { (((x - ax) * dx + (y - ay) * dy) / length2).clamp(0.0, 1.0) } else { 0.0 };
    (x - ax - along * dx).hypot(y - ay - along * dy)
}
