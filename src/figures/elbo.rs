//! The variational bound, taken apart: Eq. 5 as pictures.
//!
//! L = L_T + Σ L_{t−1} + L_0, everything in bits per dimension.

mod stacked;

pub use stacked::stacked;

use super::page::{HPos, Page, Rect, Type, VPos};
use super::style::{self, Rgb};
use super::{Chart, Figure, Scale, axis, text};
use crate::Result;

/// One term of the bound with its standard error over images, in bits per dimension.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Term {
    /// The step t of the paper: 1 for L_0, T for L_T, and t for L_{t−1}.
    pub t: usize,
    /// The mean over images, in bits per dimension.
    pub mean: f64,
    /// Its standard error; 0 if it is exact.
    pub std_error: f64,
}

/// All terms of one model, for one choice of σ_t².
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(non_snake_case, reason = "the paper's names")]
pub struct ElboTerms {
    /// The entry in the legend, such as `σ_{t}^{2} = β_{t}`.
    pub name: String,
    /// What the end of the forward process still tells about x_0.
    pub L_T: Term,
    /// The terms of t = 2..=T, in that order and all of them: figures add them up.
    pub L_t_minus_1: Vec<Term>,
    /// The last step, into pixels.
    pub L_0: Term,
}

impl ElboTerms {
    /// Σ L_{t−1} over t = 2..=T, in bits per dimension.
    pub fn sum(&self) -> f64 {
        self.L_t_minus_1.iter().map(|term| term.mean).sum()
    }

    /// The bound L, in bits per dimension.
    pub fn total(&self) -> f64 {
        self.L_T.mean + self.sum() + self.L_0.mean
    }
}

/// Four panels: the terms over log t, what each costs there, their running sum, and the total taken apart.
///
/// ```
/// use ddpm::figures::elbo::{ElboTerms, Term, decomposition};
/// let terms = ElboTerms {
///     name: "σ_{t}^{2} = β_{t}".into(),
///     L_0: Term { t: 1, mean: 1.9, std_error: 0.1 },
///     L_t_minus_1: (2..=50).map(|t| Term { t, mean: 1.0 / (t * t) as f64, std_error: 0.0 }).collect(),
///     L_T: Term { t: 50, mean: 1e-5, std_error: 0.0 },
/// };
/// assert_eq!(decomposition(&[terms]).size(), (1500, 1180));
/// ```
///
/// # Panics
/// If `models` is empty.
#[track_caller]
pub fn decomposition(models: &[ElboTerms]) -> Figure {
    assert!(!models.is_empty(), "elbo::decomposition: no terms");
    let charts = [terms(models, Scale::Log), costs(models), cumulative(models)];
    let models = models.to_vec();
    Figure::new(1500, 1180, move |page| {
        let inside = page.inside(style::MARGIN);
        let cell = |i: usize| inside.cell((2, 2), (i / 2, i % 2), 2.0 * style::MARGIN);
        charts.iter().enumerate().try_for_each(|(i, chart)| chart.draw(page, cell(i)))?;
        draw_bars(page, cell(3), &models.iter().map(Bar::of).collect::<Vec<_>>())
    })
}

/// Two bars on one scale: the bound of a model of pixels, and that of a model of latents z of the same pixels,
///
/// −log p(x) ≤ −E log p(x|z) + E log q(z|x) + \[L_0 + Σ L_{t−1} + L_T\](z).
///
/// `latents` are the terms of the prior on z with the means of −log p(x|z) and log q(z|x), in bits per dimension of x.
/// log q(z|x) and L_0 are densities of z whose units cancel; with the first steps they are one part of the bar.
///
/// ```
/// use ddpm::figures::elbo::{ElboTerms, Term, side_by_side};
/// let terms = ElboTerms { name: "pixels".into(), L_0: Term { t: 1, mean: 1.9, std_error: 0.1 }, ..Default::default() };
/// assert_eq!(side_by_side(&terms, (&terms, [2.0, 0.3])).size(), (1100, 420));
/// ```
pub fn side_by_side(pixels: &ElboTerms, (latents, ends): (&ElboTerms, [f64; 2])) -> Figure {
    let bars = [Bar::of(pixels), Bar::of_latents(latents, ends)];
    Figure::new(1100, 420, move |page| draw_bars(page, page.inside(style::MARGIN), &bars))
}

/// L_{t−1} of every step, with L_0 and L_T at their places; bands are ±1 standard error.
pub fn terms(models: &[ElboTerms], t_scale: Scale) -> Chart {
    let title = if t_scale == Scale::Log { "Every term, over log t" } else { "Every term, over t" };
    let mut chart = Chart::new("t", "L_{t−1}, bits/dim").title(title).scales(t_scale, Scale::Log);
    for (k, model) in models.iter().enumerate() {
        let (t, mean) = curve(&model.L_t_minus_1, |term| term.mean);
        let (_, lower) = curve(&model.L_t_minus_1, |term| term.mean - term.std_error);
        let (_, upper) = curve(&model.L_t_minus_1, |term| term.mean + term.std_error);
        chart = chart.line(&model.name, &t, &mean);
        chart = if t.len() > 60 { chart.band(&t, &lower, &upper) } else { chart.bars(&t, &lower, &upper) };
        for (name, end) in [("L_{0}", model.L_0), ("L_{T}", model.L_T)] {
            let t = end.t as f64;
            chart = chart
                .bars(&[t], &[end.mean - end.std_error], &[end.mean + end.std_error])
                .marks(&[t], &[end.mean]);
            if k == 0 {
                chart = chart.note(name, t, end.mean);
            }
        }
    }
    chart
}

/// t·L_{t−1} over log t: equal areas are equal bits, since Σ L_{t−1} ≈ ∫ t L_{t−1} d log t. Bands are ±1 standard error.
pub fn costs(models: &[ElboTerms]) -> Chart {
    let mut chart = Chart::new("t", "t · L_{t−1}, bits/dim").title("Equal areas are equal bits");
    chart = chart.scales(Scale::Log, Scale::Linear);
    for model in models {
        let times_t =
            |value: fn(&Term) -> f64| curve(&model.L_t_minus_1, move |term| term.t as f64 * value(term)).1;
        let t = curve(&model.L_t_minus_1, |term| term.mean).0;
        let (lower, upper) =
            (times_t(|term| term.mean - term.std_error), times_t(|term| term.mean + term.std_error));
        chart = chart.line(&model.name, &t, &times_t(|term| term.mean)).band(&t, &lower, &upper);
    }
    chart
}

/// The bound as it grows with t: L_0, then the terms of 2..=t, and at T also L_T.
pub fn cumulative(models: &[ElboTerms]) -> Chart {
    let mut chart = Chart::new("t", "sum of the terms up to t, bits/dim").title("Added up from t = 1");
    let longest = models.iter().map(ElboTerms::total).fold(f64::MIN_POSITIVE, f64::max);
    chart = chart.scales(Scale::Log, Scale::Linear).y_range(0.0, 1.06 * longest);
    for model in models {
        let steps = std::iter::once(&model.L_0).chain(&model.L_t_minus_1).chain([&model.L_T]);
        let (t, sums): (Vec<_>, Vec<_>) = steps
            .scan(0.0, |sum, term| {
                *sum += term.mean;
                Some((term.t as f64, *sum))
            })
            .unzip();
        chart = chart.line(&model.name, &t, &sums);
    }
    chart
}

/// What each step counts: the share of its weight w_t (Eq. 12) among all, beside the equal shares in L_simple (Eq. 14).
///
/// `weights` are the pairs (t, w_t) of each named variant of the bound; t ≥ 2, since L_0 has no such weight. One that
/// is not finite (t = T where ᾱ_T = 0) is left out.
pub fn weights(variants: &[(&str, &[(usize, f64)])]) -> Figure {
    let mut chart = Chart::new("t", "share of the total weight, %").title("What step t counts in the loss");
    chart = chart.scales(Scale::Log, Scale::Log);
    for (name, weights) in variants {
        let total: f64 = weights.iter().map(|(_, w)| w).filter(|w| w.is_finite()).sum();
        let (t, share): (Vec<_>, Vec<_>) =
            weights.iter().map(|&(t, w)| (t as f64, 100.0 * w / total)).unzip();
        chart = chart.line(format!("L with {name}"), &t, &share);
    }
    if let Some((_, [(first, _), .., (last, _)])) = variants.first() {
        let share = 100.0 / (last - first + 1) as f64;
        chart = chart.reference("L_{simple}", &[*first as f64, *last as f64], &[share; 2]);
    }
    chart.figure()
}

fn curve(terms: &[Term], value: impl Fn(&Term) -> f64) -> (Vec<f64>, Vec<f64>) {
    terms.iter().map(|term| (term.t as f64, value(term))).unzip()
}

/// L_0, the terms of every decade of t, L_T: name, bits per dimension, colour.
///
/// The colours are none of a series; the decades fade with t.
fn parts(model: &ElboTerms) -> Vec<(String, f64, Rgb)> {
    let mut parts = vec![("L_{0}".to_string(), model.L_0.mean, style::SERIES[3])];
    let mut from = 2;
    for (decade, strength) in [(10, 1.0), (100, 0.72), (1000, 0.5), (usize::MAX, 0.3)] {
        let inside = model.L_t_minus_1.iter().filter(|term| (from..=decade).contains(&term.t));
        if let Some(last) = inside.clone().map(|term| term.t).max() {
            let name = if last == from { format!("t = {from}") } else { format!("t = {from}…{last}") };
            parts.push((name, inside.map(|term| term.mean).sum(), style::tint(style::SERIES[2], strength)));
        }
        from = decade.saturating_add(1);
    }
    parts.push(("L_{T}".to_string(), model.L_T.mean, style::INK));
    parts
}

/// A bound taken apart: its name, the sum in words, the parts.
struct Bar {
    name: String,
    sum: String,
    parts: Vec<(String, f64, Rgb)>,
}

impl Bar {
    fn of(model: &ElboTerms) -> Bar {
        Bar { name: model.name.clone(), sum: sum_in_words(model), parts: parts(model) }
    }

    /// With −log p(x|z) and log q(z|x) before the terms of the prior on z.
    ///
    /// log q(z|x) and L_0 are densities in units that cancel, and the first steps are finer than q(z|x) is: what they cost,
    /// L_0 gives back. They are one part, of so many terms that it is not negative.
    fn of_latents(prior: &ElboTerms, [reconstruction, posterior]: [f64; 2]) -> Bar {
        let mut parts = parts(prior);
        let mut density = ("log q(z|x)".to_string(), posterior, style::SERIES[3]);
        loop {
            let (name, value, _) = parts.remove(0);
            density = (format!("{}, {name}", density.0), density.1 + value, density.2);
            if density.1 >= 0.0 || parts.len() == 1 {
                break;
            }
        }
        let all = [("−log p(x|z)".into(), reconstruction, style::SERIES[4]), density];
        parts.splice(0..0, all);
        let total = reconstruction + posterior + prior.total();
        let [x, q, first, sum, last, total] =
            [reconstruction, posterior, prior.L_0.mean, prior.sum(), prior.L_T.mean, total].map(bits);
        let sum = format!(
            "−log p(x|z) {x} + log q(z|x) {q} + L_{{0}} {first} + Σ L_{{t−1}} {sum} + L_{{T}} {last} = {total}"
        );
        Bar { name: prior.name.clone(), sum, parts }
    }

    fn length(&self) -> f64 {
        self.parts.iter().map(|(_, value, _)| value).sum()
    }
}

/// One stacked bar per model: above it the sum, below it how Σ L_{t−1} spreads over the decades of t.
fn draw_bars(page: &Page<'_>, rect: Rect, bars: &[Bar]) -> Result<()> {
    let em = f64::from(style::TICK);
    let kind = Type::new(style::LABEL, style::INK, HPos::Left, VPos::Top);
    page.text("The bound and its parts, bits/dim", (rect.left, rect.top), kind)?;
    let kind = Type { em: style::TICK, ..kind };
    let longest = bars.iter().map(Bar::length).fold(f64::MIN_POSITIVE, f64::max);
    let room = ((rect.height() - 2.5 * em) / bars.len() as f64).min(12.0 * em);
    let widest = bars.iter().map(|bar| text::width(&bar.name, style::TICK)).fold(0.0, f64::max);
    for (row, bar) in bars.iter().enumerate() {
        let top = rect.top + 2.5 * em + row as f64 * room;
        page.text(&bar.name, (rect.left, top), kind)?;
        page.text(&bar.sum, (rect.left + widest + 1.5 * em, top), kind)?;
        let place = Rect { top: top + 1.3 * em, bottom: top + 0.7 * room - 1.3 * em, ..rect };
        draw_parts(page, place, &bar.parts, longest)?;
    }
    Ok(())
}

fn sum_in_words(model: &ElboTerms) -> String {
    let [last, sum, first, total] = [model.L_0.mean, model.sum(), model.L_T.mean, model.total()].map(bits);
    format!("L_{{0}} {last} + Σ L_{{t−1}} {sum} + L_{{T}} {first} = {total}")
}

/// The parts side by side in `bar`, whose whole length is `longest`, and the legend below it.
fn draw_parts(page: &Page<'_>, bar: Rect, parts: &[(String, f64, Rgb)], longest: f64) -> Result<()> {
    let em = f64::from(style::TICK);
    let kind = Type::new(style::TICK, style::INK, HPos::Left, VPos::Top);
    let (mut left, mut x, mut y) = (bar.left, bar.left, bar.bottom + 0.6 * em);
    for (name, value, ink) in parts {
        let right = left + bar.width() * value.max(0.0) / longest;
        page.rect(Rect { left, right, ..bar }, *ink)?;
        left = right;
        let entry = format!("{name}: {}", bits(*value));
        let width = 1.1 * em + text::width(&entry, style::TICK);
        if x + width > bar.right {
            (x, y) = (bar.left, y + 1.4 * em);
        }
        page.rect(Rect { left: x, top: y, right: x + 0.75 * em, bottom: y + 0.75 * em }, *ink)?;
        page.text(&entry, (x + 1.1 * em, y), kind)?;
        x += width + 0.8 * em;
    }
    Ok(())
}

/// A number of bits: three decimals, or a power of ten if that would show nothing.
fn bits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if v >= 0.0095 => axis::number(value, 3),
        _ => {
            let exponent = value.abs().log10().floor();
            format!("{}·10^{{{}}}", axis::number(value / 10_f64.powf(exponent), 1), axis::number(exponent, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_written_with_what_they_need() {
        let written = [1.97, 0.0, 0.01, 0.00123, 1.02e-5, 3.1e-9, -0.25].map(bits);
        assert_eq!(written, ["1.970", "0", "0.010", "1.2·10^{−3}", "1.0·10^{−5}", "3.1·10^{−9}", "−0.250"]);
    }

    #[test]
    fn the_total_is_the_sum_of_its_parts() {
        let term = |t, mean| Term { t, mean, std_error: 0.0 };
        let terms = ElboTerms {
            L_0: term(1, 2.0),
            L_t_minus_1: vec![term(2, 0.5), term(3, 0.25)],
            L_T: term(3, 0.125),
            ..Default::default()
        };
        assert_eq!((terms.sum(), terms.total()), (0.75, 2.875));
    }

    /// The parts of a model of latents add up to its bound, and none is negative though L_0 is.
    #[test]
    fn the_parts_of_latents() {
        let term = |t, mean| Term { t, mean, std_error: 0.0 };
        let prior = ElboTerms {
            L_0: term(1, -1.0),
            L_t_minus_1: (2..=20).map(|t| term(t, 0.125)).collect(),
            L_T: term(20, 0.5),
            ..Default::default()
        };
        let bar = Bar::of_latents(&prior, [2.0, 0.25]);
        let names: Vec<&str> = bar.parts.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["−log p(x|z)", "log q(z|x), L_{0}, t = 2…10", "t = 11…20", "L_{T}"]);
        assert_eq!(bar.parts.iter().map(|part| part.1).collect::<Vec<_>>(), [2.0, 0.375, 1.25, 0.5]);
        assert_eq!(bar.length(), 2.25 + prior.total());
    }

    #[test]
    #[should_panic(expected = "elbo::decomposition: no terms")]
    fn nothing_to_show_panics() {
        decomposition(&[]);
    }
}
