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
    let last = placed(text, em).into_iter().rfind(|glyph| !glyph.accent);
    last.map_or(0.0, |last| last.x + FONT.as_scaled(scale(em)).h_advance(last.id))
}

/// A glyph and where it stands, y downwards.
struct Placed {
    id: GlyphId,
    x: f32,
    y: f32,
    accent: bool,
}

fn placed(text: &str, em: f32) -> Vec<Placed> {
    let font = FONT.as_scaled(scale(em));
    let mut glyphs: Vec<Placed> = Vec::new();
    let mut base: Option<(GlyphId, f32)> = None; // the last glyph that is no accent
    for c in text.chars() {
        let accent = spacing_accent(c).is_some();
        let id = font.glyph_id(spacing_accent(c).unwrap_or(c));
        let (x, y) = match base {
            None => (0.0, 0.0),
            Some((base, x)) if accent => {
                let (dx, dy) = accent_shift(base, id, em);
                (x + dx, dy)
            }
            Some((base, x)) => (x + font.h_advance(base) + font.kern(base, id), 0.0),
        };
        if !accent {
            base = Some((id, x));
        }
        glyphs.push(Placed { id, x, y, accent });
    }
    glyphs
}

/// The sign that stands alone for a combining hat, tilde or bar; `None` for any other character.
///
/// Renderers disagree about where a combining accent goes, so each is set as a sign of its own, where we want it.
fn spacing_accent(c: char) -> Option<char> {
    match c {
        '\u{302}' => Some('ˆ'),
        '\u{303}' => Some('˜'),
        '\u{304}' => Some('¯'),
        _ => None,
    }
}

/// A run as texts that any renderer sets alike, each with its place: letters without accents, then each accent.
pub(super) fn pieces(run: &Run<'_>) -> Vec<(String, f32, f32)> {
    let letters: String = run.text.chars().filter(|&c| spacing_accent(c).is_none()).collect();
    // XML drops spaces at the ends
    let indent = &letters[..letters.len() - letters.trim_start().len()];
    let mut pieces = vec![(letters.trim().to_string(), run.x + advance(indent, run.em), run.y)];
    for (c, glyph) in run.text.chars().zip(placed(run.text, run.em)) {
        if let Some(accent) = spacing_accent(c) {
            pieces.push((accent.to_string(), run.x + glyph.x, run.y + glyph.y));
        }
    }
    pieces
}

/// Moves an accent to the middle of its letter, and above it: accents are drawn for letters like x.
fn accent_shift(base: GlyphId, accent: GlyphId, em: f32) -> (f32, f32) {
    const X_HEIGHT: f32 = 0.53; // of Liberation Sans, in em
    let unit = em / FONT.units_per_em().expect("a TrueType font states its em");
    let (Some(base), Some(accent)) = (FONT.outline(base), FONT.outline(accent)) else { return (0.0, 0.0) };
    // y grows upwards in outlines
    let top = base.bounds.min.y.max(base.bounds.max.y) * unit;
    let centre = |outline: &ab_glyph::Outline| (outline.bounds.min.x + outline.bounds.max.x) / 2.0 * unit;
    (centre(&base) - centre(&accent), -(top - X_HEIGHT * em).max(0.0))
}

/// Calls `pixel(x, y, coverage)` for the pixels of a run, relative to the start of its text's base line.
pub(super) fn rasterize(run: &Run<'_>, mut pixel: impl FnMut(i32, i32, f32)) {
    for Placed { id, x, y, .. } in placed(run.text, run.em) {
        let glyph = id.with_scale_and_position(scale(run.em), point(run.x + x, run.y + y));
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
        let texts: Vec<_> =
            runs.iter().map(|run| (run.text, run.em, run.y.signum() * run.y.abs().ceil())).collect();
        assert_eq!(texts, [("L", 10.0, 0.0), ("t−1", 7.0, 3.0), (": 10", 10.0, 0.0), ("3", 7.0, -4.0)]);
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
    fn pieces_hold_no_accent_and_no_space_at_their_ends() {
        let run = Run { text: " β̃ = x̂ ", x: 1.0, y: 2.0, em: 50.0 };
        let pieces = pieces(&run);
        assert_eq!(pieces.iter().map(|piece| piece.0.as_str()).collect::<Vec<_>>(), ["β = x", "˜", "ˆ"]);
        assert!((pieces[0].1 - 1.0 - advance(" ", 50.0)).abs() < 1e-3);
        assert!(pieces[1].1 < pieces[2].1 && pieces[1].2 < pieces[2].2, "the tilde is higher than the hat");
    }

    #[test]
    fn widths_follow_the_font() {
        assert!((width("0", 100.0) - 55.6).abs() < 0.1, "{}", width("0", 100.0)); // a digit of Arial
        assert!((width("σ^{2}", 100.0) - width("σ", 100.0) - width("2", 70.0)).abs() < 1e-3);
    }

    #[test]
    fn an_accent_takes_no_room_and_stands_over_its_letter() {
        assert_eq!(width("α\u{304}", 50.0), width("α", 50.0));
        let ink = |text| {
            let (mut left, mut right, mut top) = (i32::MAX, i32::MIN, i32::MAX);
            rasterize(&runs(text, 100.0).0[0], |x, y, coverage| {
                if coverage > 0.5 {
                    (left, right, top) = (left.min(x), right.max(x), top.min(y));
                }
            });
            (left, right, top)
        };
        let ((left, right, top), (l, r, t)) = (ink("β"), ink("β\u{303}"));
        assert!(l >= left - 3 && r <= right + 3 && t < top - 5, "β {left}..{right}, β̃ {l}..{r}");
    }
}
