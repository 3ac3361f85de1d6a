//! The bound of a data set as `ddpm elbo` and the figures show it: evaluated, as a table, as files, as figures.

use super::model::variance_name;
use super::progress::Progress;
use super::tables;
use super::together::shared;
use anyhow::Result;
use ddpm::checkpoint::Pretrained;
use ddpm::diffusion::{
    Decomposition, Elbo, ElboOptions, Estimate, Noise, Query, Reverse, Variance, Watched, bits_per_dim,
    elbo_variants, rate_distortion,
};
use ddpm::figures::elbo::{ElboTerms, Term};
use ddpm::figures::{self, Figure};
use ddpm::tensor::Batch;
use ndarray::Array1;
use serde::Serialize;
use std::path::Path;

/// The process as given and, if its variance is fixed, the same with the other choice of section 3.2.
pub(super) fn variants(reverse: &Reverse) -> Vec<Reverse> {
    let with = |variance| Reverse { variance, ..reverse.clone() };
    if reverse.variance.is_learned() {
        vec![reverse.clone()]
    } else {
        vec![with(Variance::Beta), with(Variance::BetaTilde)]
    }
}

/// The bounds of all variants.
pub(super) fn evaluate(
    model: &Pretrained,
    variants: &[Reverse],
    data: &Batch,
    options: &ElboOptions,
    seed: u64,
) -> Vec<Elbo> {
    let n = data.dim().0;
    let pairs = n * options.time_steps.per_image(model.reverse.schedule.T());
    let progress = Progress::new(format!("the bound of {n} images"), pairs);
    let watched =
        Watched { model: &shared(&model.unet), before: |query: &Query| progress.steps(query.t.len()) };
    let bounds = elbo_variants(&watched, variants, data, options, &Noise::seed(seed));
    progress.finish();
    bounds
}

/// The terms of Eq. 5, one column per variant.
pub(super) fn table(data: &str, variants: &[Reverse], bounds: &[Elbo]) -> String {
    let images = bounds[0].L_T.len();
    let mut lines = vec![format!("{data}, {images} images, bits/dim ± standard error over images")];
    let header = variants.iter().map(|v| format!("{:>22}", format!("σ² = {}", v.variance)));
    lines.push(format!("{:12}{}", "", header.collect::<String>()));
    let decompositions: Vec<Decomposition> = bounds.iter().map(Elbo::decomposition).collect();
    for (row, (name, _)) in decompositions[0].named().into_iter().enumerate() {
        let cells = decompositions.iter().map(|d| {
            let Estimate { mean, std_error } = d.named()[row].1;
            let digits = if mean.abs() < 1e-3 { format!("{mean:.2e}") } else { format!("{mean:.4}") };
            format!("{:>22}", format!("{digits} ± {std_error:.1e}"))
        });
        lines.push(format!("{name:12}{}", cells.collect::<String>()));
    }
    lines.join("\n")
}

/// CSV, JSON and figures into a folder; `references` are lines of distortion over T − t + 1 that the network is to be seen
/// against.
pub(super) fn write_all(
    out: &Path,
    data: &str,
    variants: &[Reverse],
    bounds: &[Elbo],
    references: &[(&str, &[(f64, f64)])],
) -> Result<()> {
    tables::save_csv(&out.join("elbo.csv"), variants.iter().zip(bounds).flat_map(|(v, b)| term_rows(v, b)))?;
    save_json(&out.join("elbo.json"), data, variants, bounds)?;
    let all_t = bounds[0].t.ncols() == bounds[0].T;
    if !all_t {
        return Ok(());
    }
    decomposition(variants, bounds).save(out.join("elbo.png"))?;
    let rows = variants.iter().zip(bounds).flat_map(|(v, b)| rate_rows(v, b));
    tables::save_csv(&out.join("rate_distortion.csv"), rows)?;
    // one curve: the choices of σ² differ by less than a line's width
    Ok(rate_figure(&bounds[0], references).save(out.join("rate_distortion.png"))?)
}

/// The four panels of the decomposition.
pub(super) fn decomposition(variants: &[Reverse], bounds: &[Elbo]) -> Figure {
    let terms: Vec<ElboTerms> =
        variants.iter().zip(bounds).map(|(v, b)| figure_terms(variance_name(v), b, b.dims)).collect();
    figures::elbo::decomposition(&terms)
}

/// The terms under a name, in bits for each of `dims` numbers, if those are others than the bound's own.
pub(super) fn figure_terms(name: &str, bound: &Elbo, dims: usize) -> ElboTerms {
    let term = |t: usize, nats: Array1<f64>| {
        let Estimate { mean, std_error } = Estimate::of(&nats.mapv(|nats| bits_per_dim(nats, dims)));
        Term { t, mean, std_error }
    };
    ElboTerms {
        name: name.into(),
        L_T: term(bound.T, bound.L_T.clone()),
        L_t_minus_1: (2..=bound.T).map(|t| term(t, bound.L.column(t - 1).to_owned())).collect(),
        L_0: term(1, bound.L_0().to_owned()),
    }
}

/// Fig. 5.
fn rate_figure(bound: &Elbo, references: &[(&str, &[(f64, f64)])]) -> Figure {
    figures::rate_distortion_beside(&[("the network", &rate_points(bound))], references)
}

fn rate_points(bound: &Elbo) -> Vec<figures::RatePoint> {
    let point = |p: ddpm::diffusion::RatePoint| figures::RatePoint {
        reverse_steps: p.reverse_time,
        rate: p.rate_bits_per_dim.mean,
        rmse: p.rmse.mean,
    };
    rate_distortion(bound).into_iter().map(point).collect()
}

/// A row of elbo.csv. At random t, `images` counts how many were evaluated there.
///
/// `weight` is w_t of Eq. 12, what the squared error of ε counts in L_{t−1} (in nats); L_0 and L_T have none.
#[derive(Serialize)]
struct TermRow {
    variance: String,
    term: &'static str,
    t: usize,
    images: usize,
    bits_per_dim: f64,
    std_error: f64,
    eps_mse: Option<f64>,
    weight: Option<f64>,
}

/// w_t of Eq. 12 for t = 2..=T, if the variance is fixed; without t = T where ᾱ_T = 0, since there it is infinite.
pub(super) fn weights(reverse: &Reverse) -> Vec<(usize, f64)> {
    let schedule = &reverse.schedule;
    let log_sigma2 = |t| match reverse.variance {
        Variance::Beta => Some(schedule.log_beta_clipped(t)),
        Variance::BetaTilde => Some(schedule.log_beta_tilde_clipped(t)),
        Variance::Learned | Variance::LearnedRange => None,
    };
    let weight = |t: usize| Some((t, schedule.weight(t, log_sigma2(t)?.exp())));
    (2..=schedule.T()).filter_map(weight).filter(|(_, weight)| weight.is_finite()).collect()
}

/// Every term of the bound, by t.
fn term_rows(reverse: &Reverse, bound: &Elbo) -> Vec<TermRow> {
    let mut by_t = std::collections::BTreeMap::<usize, Vec<(f64, f64)>>::new();
    for ((&t, &nats), &mse) in bound.t.iter().zip(&bound.L).zip(&bound.eps_mse) {
        by_t.entry(t).or_default().push((nats, mse));
    }
    let weights: std::collections::BTreeMap<usize, f64> = weights(reverse).into_iter().collect();
    let row = |term, t, nats: Array1<f64>, eps_mse| {
        let Estimate { mean, std_error } = bound.mean_bits_per_dim(nats.clone());
        let variance = reverse.variance.to_string();
        let weight = if term == "L_t-1" { weights.get(&t).copied() } else { None };
        TermRow { variance, term, t, images: nats.len(), bits_per_dim: mean, std_error, eps_mse, weight }
    };
    let steps = by_t.into_iter().map(|(t, values)| {
        let mse = values.iter().map(|v| v.1).sum::<f64>() / values.len() as f64;
        let nats = values.iter().map(|v| v.0).collect();
        row(if t == 1 { "L_0" } else { "L_t-1" }, t, nats, Some(mse))
    });
    steps.chain([row("L_T", bound.T, bound.L_T.clone(), None)]).collect()
}

/// A row of rate_distortion.csv.
#[derive(Serialize)]
struct RateRow {
    variance: String,
    t: usize,
    reverse_time: usize,
    rate_bits_per_dim: f64,
    rate_std_error: f64,
    rmse: f64,
    rmse_std_error: f64,
}

fn rate_rows(reverse: &Reverse, bound: &Elbo) -> Vec<RateRow> {
    let row = |p: ddpm::diffusion::RatePoint| RateRow {
        variance: reverse.variance.to_string(),
        t: p.t,
        reverse_time: p.reverse_time,
        rate_bits_per_dim: p.rate_bits_per_dim.mean,
        rate_std_error: p.rate_bits_per_dim.std_error,
        rmse: p.rmse.mean,
        rmse_std_error: p.rmse.std_error,
    };
    rate_distortion(bound).into_iter().map(row).collect()
}

/// The totals, as numbers.
fn save_json(path: &Path, data: &str, variants: &[Reverse], bounds: &[Elbo]) -> Result<()> {
    let entries = variants.iter().zip(bounds).map(|(v, b)| {
        serde_json::json!({
            "variance": v.variance.to_string(),
            "clip": v.clip,
            "bits_per_dim": b.decomposition(),
            // L_simple, if x̂_0 is not clipped
            "eps_mse": b.L_simple(),
        })
    });
    let entries: Vec<_> = entries.collect();
    let images = bounds[0].L_T.len();
    let value = serde_json::json!({ "data": data, "images": images, "T": bounds[0].T, "bounds": entries });
    tables::save_json(path, &value)
}
