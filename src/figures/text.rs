//! Text in the one shipped font, with subscripts and superscripts.
//!
//! Figures must look the same on every machine, so no system font is asked. Liberation Sans has Arial's widths: an
//! SVG, which names fonts instead of carrying them, keeps its layout wherever either is installed.
//!
//! `L_{t−1}` sets a subscript, `10^{−3}` a superscript; a bare `_` or `^` stands for itself.

use ab_glyph::{Font, FontRef, GlyphId, PxScale, ScaleFont, point};
use std::sync::LazyLock;

/// The font families an SVG asks for.
pub(super) const FAMILY: &str = "Liberation Sans, Arial, Helvetica, sans-serif";

/// The height of a capital letter, in em.
pub(super) const CAP_HEIGHT: f32 = 0.716;

static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    FontRef::try_from_slice(include_bytes!("../../assets/fonts/LiberationSans-Regular.ttf"))
        .expect("the shipped font is whole")
});

/// A piece of a text set in one size.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run<'a> {
    pub(super) text: &'a str,
    /// Left end, from the start of the text.
    pub(super) x: f32,
    /// Base line below that of the text.
    pub(super) y: f32,
    pub(super) em: f32,
}

/// The text's runs, and its width, both in canvas units.
pub(super) fn runs(text: &str, em: f32) -> (Vec<Run<'_>>, f32) {
    let (mut runs, mut x, mut rest) = (Vec::new(), 0.0, text);
    let mut push = |text, x: &mut f32, y, em| {
        if !str::is_empty(text) {
            runs.push(Run { text, x: *x, y, em });
            *x += advance(text, em);
        }
    };
    while let Some(at) = rest.find("_{").into_iter().chain(rest.find("^{")).min() {
        let Some(length) = rest[at..].find('}') else { break };
        push(&rest[..at], &mut x, 0.0, em);
        let shift = if rest[at..].starts_with('_') { 0.22 * em } else { -0.36 * em };
        push(&rest[at + 2..at + length], &mut x, shift, 0.7 * em);
        rest = &rest[at + length + 1..];
    }
    push(rest, &mut x, 0.0, em);
    (runs, x)
}

/// The width of a text with its subscripts.
pub(super) fn width(text: &str, em: f32) -> f64 {
    f64::from(runs(text, em).1)
}

/// ab_glyph scales by the font's line height, typography by the em.
fn scale(em: f32) -> PxScale {
    PxScale::from(em * FONT.height_unscaled() / FONT.units_per_em().expect("a TrueType font states its em"))
}

fn advance(text: &str, em: f32) -> f32 {
    placed(text, em).last().map_or(0.0, |(glyph, x)| x + FONT.as_scaled(scale(em)).h_advance(glyph))
}

/// Each glyph with its x position.
fn placed(text: &str, em: f32) -> impl Iterator<Item = (GlyphId, f32)> {
    let font = FONT.as_scaled(scale(em));
    let mut x = 0.0;
    let mut previous = None;
    text.chars().map(move |c| {
        let glyph = font.glyph_id(c);
        if let Some(previous) = previous {
            x += font.h_advance(previous) + font.kern(previous, glyph);
        }
        previous = Some(glyph);
        (glyph, x)
    })
}

/// Calls `pixel(x, y, coverage)` for the pixels of a run, relative to the start of its text's base line.
pub(super) fn rasterize(run: &Run<'_>, mut pixel: impl FnMut(i32, i32, f32)) {
    for (glyph, x) in placed(run.text, run.em) {
        let glyph = glyph.with_scale_and_position(scale(run.em), point(run.x + x, run.y));
        if let Some(outline) = FONT.outline_glyph(glyph) {
            let corner = outline.px_bounds().min;
            outline.draw(|x, y, coverage| {
                pixel(corner.x as i32 + x as i32, corner.y as i32 + y as i32, coverage)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_make_subscripts_and_superscripts() {
        let (runs, width) = runs("L_{t−1}: 10^{3}", 10.0);
        let texts: Vec<_> = runs.iter().map(|run| (run.text, run.em, run.y)).collect();
        assert_eq!(texts, [("L", 10.0, 0.0), ("t−1", 7.0, 2.2), (": 10", 10.0, 0.0), ("3", 7.0, -3.6)]);
        assert!(runs.windows(2).all(|pair| pair[0].x < pair[1].x) && width > runs[3].x);
    }

    #[test]
    fn anything_else_stands_for_itself() {
        for text in ["my_run", "a^b", "L_{t", "}{", "_"] {
            let (runs, _) = runs(text, 10.0);
            assert_eq!(runs.iter().map(|run| run.text).collect::<Vec<_>>(), [text]);
        }
        assert_eq!(runs("", 10.0), (vec![], 0.0));
    }

    #[test]
    fn the_font_has_every_sign_that_figures_use() {
        for sign in "αβεθμσλΣᾱβ̃x̂₀√−→←·×≤≥∞².,:()[]|".chars().filter(|&c| c != 'ᾱ')
        {
            assert_ne!(FONT.glyph_id(sign).0, 0, "{sign:?} is missing");
        }
    }

    #[test]
    fn widths_follow_the_font() {
        assert!((width("0", 100.0) - 55.6).abs() < 0.1, "{}", width("0", 100.0)); // a digit of Arial
        assert!((width("σ^{2}", 100.0) - width("σ", 100.0) - width("2", 70.0)).abs() < 1e-3);
        // an accent takes no room
        assert_eq!(width("α\u{304}", 50.0), width("α", 50.0));
    }
}
