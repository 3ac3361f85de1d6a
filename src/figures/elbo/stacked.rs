//! The bound as a bar: each term a segment, the exact likelihood and the entropy as marks.

use super::{ElboTerms, bits};
use crate::Result;
use crate::figures::axis::{Axis, Scale};
use crate::figures::page::{HPos, Page, Rect, Type, VPos};
use crate::figures::{Figure, style, text};

/// L_0, the terms of t ≥ 2, L_T; and the marks.
const DECODER: style::Rgb = style::SERIES[3];
const STEP: style::Rgb = style::SERIES[2];
const PRIOR: style::Rgb = style::INK;
const EXACT: style::Rgb = style::SERIES[1];

/// One bar per model, from L_0 over the terms of t = 2, 3, …, T to L_T, all in bits per dimension; across it the model's
/// exact −log₂ p_θ(x_0), which the bar must reach, and through all bars the entropy of the data.
///
/// `models` are terms with their exact negative log-likelihood, averaged over the data.
///
/// ```
/// use ddpm::figures::elbo::{ElboTerms, Term, stacked};
/// let terms = ElboTerms {
///     name: "T = 3".into(),
///     L_0: Term { t: 1, mean: 4.0, std_error: 0.0 },
///     L_t_minus_1: (2..=3).map(|t| Term { t, mean: 2.0, std_error: 0.0 }).collect(),
///     L_T: Term { t: 3, mean: 0.1, std_error: 0.0 },
/// };
/// assert_eq!(stacked(&[(terms, 7.5)], 7.0).size(), (1100, 228));
/// ```
///
/// # Panics
/// If `models` is empty.
#[track_caller]
pub fn stacked(models: &[(ElboTerms, f64)], entropy: f64) -> Figure {
    assert!(!models.is_empty(), "elbo::stacked: no terms");
    let models = models.to_vec();
    Figure::new(1100, 118 + 110 * models.len() as u32, move |page| draw(page, &models, entropy))
}

fn draw(page: &Page<'_>, models: &[(ElboTerms, f64)], entropy: f64) -> Result<()> {
    let em = f64::from(style::TICK);
    let inside = page.inside(style::MARGIN);
    let ends = models.iter().flat_map(|(terms, exact)| [terms.total(), *exact]);
    let axis = Axis { scale: Scale::Linear, from: 0.0, to: 1.02 * ends.fold(entropy, f64::max) };
    let plot = Rect {
        top: inside.top + 1.7 * em,
        right: inside.right - em,
        bottom: inside.bottom - 3.0 * em,
        ..inside
    };
    legend(page, inside)?;
    for (row, (terms, exact)) in models.iter().enumerate() {
        let cell = plot.cell((models.len(), 1), (row, 0), 0.0);
        let kind = Type::new(style::TICK, style::INK, HPos::Left, VPos::Top);
        page.text(&in_words(terms, *exact), (cell.left, cell.top + 0.6 * em), kind)?;
        let bar = Rect { top: cell.top + 2.1 * em, bottom: cell.bottom - 0.7 * em, ..cell };
        draw_bar(page, bar, terms, &axis, [*exact, entropy])?;
        let at = bar.left + axis.place(*exact) * bar.width();
        page.line(&[(at, bar.top - 10.0), (at, bar.bottom + 10.0)], EXACT, 7.0)?;
    }
    let at = plot.left + axis.place(entropy) * plot.width();
    page.dashed(&[(at, plot.top + 0.3 * em), (at, plot.bottom)], &[10.0, 8.0], style::INK, 3.0)?;
    draw_axis(page, plot, &axis)
}

/// The sum, and what it bounds.
fn in_words(terms: &ElboTerms, exact: f64) -> String {
    let [first, sum, last, total] = [terms.L_0.mean, terms.sum(), terms.L_T.mean, terms.total()].map(bits);
    let sum = format!("L_{{0}} {first} + Σ L_{{t−1}} {sum} + L_{{T}} {last} = {total}");
    format!("{}:   {sum},  exact {}", terms.name, bits(exact))
}

/// The segments, each with its name if there is room and no mark runs through it.
fn draw_bar(page: &Page<'_>, bar: Rect, terms: &ElboTerms, axis: &Axis, marks: [f64; 2]) -> Result<()> {
    let place = |bits: f64| bar.left + axis.place(bits) * bar.width();
    let steps = terms.L_t_minus_1.iter().enumerate().map(|(i, term)| {
        // neighbours differ, so that each term is seen
        (term.t.to_string(), term.mean, style::tint(STEP, if i % 2 == 0 { 0.75 } else { 0.5 }))
    });
    let ends = [("L_{0}".to_string(), terms.L_0.mean, DECODER), ("L_{T}".to_string(), terms.L_T.mean, PRIOR)];
    let [first, last] = ends;
    let mut sum = 0.0;
    for (name, value, ink) in std::iter::once(first).chain(steps).chain([last]) {
        let left = place(sum);
        sum += value.max(0.0);
        let right = place(sum);
        page.rect(Rect { left, right, ..bar }, ink)?;
        let (middle, width) = ((left + right) / 2.0, text::width(&name, style::TICK) + 8.0);
        let crossed = marks.iter().any(|&mark| (place(mark) - middle).abs() < width / 2.0 + 6.0);
        if width < right - left && !crossed {
            let colour = if ink == PRIOR { style::PAPER } else { style::INK };
            let kind = Type::new(style::TICK, colour, HPos::Center, VPos::Center);
            page.text(&name, (middle, (bar.top + bar.bottom) / 2.0), kind)?;
        }
    }
    Ok(())
}

fn legend(page: &Page<'_>, rect: Rect) -> Result<()> {
    let em = f64::from(style::TICK);
    let kind = Type::new(style::TICK, style::INK, HPos::Left, VPos::Top);
    let mut x = rect.left;
    let areas = [("L_{0}", DECODER), ("L_{t−1}, t = 2, 3, …, T", style::tint(STEP, 0.75)), ("L_{T}", PRIOR)];
    for (name, ink) in areas {
        page.rect(Rect { left: x, right: x + 0.75 * em, top: rect.top, bottom: rect.top + 0.75 * em }, ink)?;
        page.text(name, (x + 1.1 * em, rect.top), kind)?;
        x += 2.4 * em + text::width(name, style::TICK);
    }
    let (top, bottom) = (rect.top - 0.1 * em, rect.top + 0.9 * em);
    page.line(&[(x + 8.0, top), (x + 8.0, bottom)], EXACT, 7.0)?;
    page.text("exact −log_{2} p_{θ}(x_{0})", (x + 0.8 * em, rect.top), kind)?;
    x += 2.1 * em + text::width("exact −log_{2} p_{θ}(x_{0})", style::TICK);
    page.dashed(&[(x + 8.0, top), (x + 8.0, bottom)], &[10.0, 8.0], style::INK, 3.0)?;
    page.text("entropy of the data", (x + 0.8 * em, rect.top), kind)
}

fn draw_axis(page: &Page<'_>, plot: Rect, axis: &Axis) -> Result<()> {
    let em = f64::from(style::TICK);
    page.line(&[(plot.left, plot.bottom), (plot.right, plot.bottom)], style::INK, style::HAIR)?;
    for tick in axis.ticks(8) {
        let at = plot.left + axis.place(tick.value) * plot.width();
        page.line(&[(at, plot.bottom), (at, plot.bottom + 12.0)], style::INK, style::HAIR)?;
        let kind = Type::new(style::TICK, style::GREY, HPos::Center, VPos::Top);
        page.text(tick.label.as_deref().unwrap_or(""), (at, plot.bottom + 24.0), kind)?;
    }
    let kind = Type::new(style::LABEL, style::INK, HPos::Center, VPos::Top);
    page.text("bits/dim", ((plot.left + plot.right) / 2.0, plot.bottom + 24.0 + 1.2 * em), kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "elbo::stacked: no terms")]
    fn nothing_to_show_panics() {
        stacked(&[], 1.0);
    }
}
