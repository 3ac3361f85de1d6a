//! What x_t holds: images that share it (Fig. 7), and images mixed in it (Figs. 8, 9).
//!
//! Both decode hundreds of times from various t, so they walk a chain of every fifth step.

use super::studio::{Studio, Subject, garments, paintings};
use crate::cli::interpolate::{PAIR, coarse_to_fine};
use crate::cli::progress::Progress;
use anyhow::Result;
use ddpm::data::to_u8;
use ddpm::diffusion::{Noise, respace, shared_latents};
use ddpm::figures::{Figure, Grid};
use ddpm::tensor::Batch;
use ndarray::{Axis, concatenate};
use rayon::prelude::*;

/// Steps of the shorter chain, in which the paper's t, eighths of 1000, are still steps.
const STEPS: usize = 200;
/// Images that are decoded from one x_t.
const DECODED: usize = 8;

pub(super) fn shared(studio: &Studio) -> Result<()> {
    for subject in studio.subjects() {
        let figure = shared_figure(subject, studio.seed);
        studio.save(format!("{}shared_latents.png", subject.prefix), &figure)?;
    }
    Ok(())
}

/// One row per depth, T and three quarters, a half and a quarter of it: x_t, then what becomes of it.
fn shared_figure(subject: &Subject, seed: u64) -> Figure {
    let (model, reverse) = respace(&subject.model.unet, &subject.model.reverse, STEPS);
    let [h, w, c] = crate::cli::model::image_shape(&subject.model);
    let progress = Progress::new("shared latents", 0);
    let depths = [4, 3, 2, 1].map(|quarter| quarter * STEPS / 4);
    let row = |&depth: &usize| {
        let (x_t, images) = shared_latents(&model, &reverse, [DECODED, h, w, c], depth, &Noise::seed(seed));
        concatenate![Axis(0), x_t.insert_axis(Axis(0)), images]
    };
    let rows: Vec<Batch> = depths.par_iter().map(row).collect();
    progress.finish();
    let views: Vec<_> = rows.iter().map(|row| row.view()).collect();
    let images = concatenate(Axis(0), &views).expect("rows of one shape");
    let columns = std::iter::once("x_{t}".to_string()).chain((1..=DECODED).map(|n| format!("x_{{0}}, {n}")));
    Grid::new(&to_u8(&subject.model.pictures(images)), DECODED + 1)
        .column_labels(columns)
        .row_labels(depths.map(|depth| format!("t = {}", model.times()[depth - 1])))
        .figure()
}

/// Two garments of the test set, and two paintings that were held out, at nine depths.
pub(super) fn interpolation(studio: &Studio) -> Result<()> {
    let held_out = |subject: &Subject| paintings(&subject.model).overview().batch(&[0, 1]);
    let two_garments = garments(PAIR.1 + 1).batch(&[PAIR.0, PAIR.1]);
    let pairs = [two_garments, held_out(&studio.paintings), held_out(&studio.large)];
    for (subject, pair) in studio.subjects().into_iter().zip(pairs) {
        let trained = &subject.model;
        let pair = trained.latents(pair);
        let (model, reverse) = respace(&trained.unet, &trained.reverse, STEPS);
        let label = |depth: usize| if depth == 0 { 0 } else { model.times()[depth - 1] };
        let depths = (0..=8).rev().map(|eighth| eighth * STEPS / 8).map(|depth| (depth, label(depth)));
        let depths: Vec<(usize, usize)> = depths.collect();
        let (a, b) = (pair.index_axis(Axis(0), 0), pair.index_axis(Axis(0), 1));
        let figure = coarse_to_fine(&model, &reverse, [a, b], &depths, &|x| trained.pictures(x), studio.seed);
        studio.save(format!("{}interpolation.png", subject.prefix), &figure)?;
    }
    Ok(())
}
