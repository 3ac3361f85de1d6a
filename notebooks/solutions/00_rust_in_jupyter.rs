// Solutions of notebook 00: Rust in Jupyter.

use ddpm_notebook::prelude::{Array1, Array2};

/// The last expression of a function is its result.
fn twice(x: f64) -> f64 {
    2.0 * x
}

/// Each level becomes an f64 before it is added.
fn average(levels: &[u8]) -> f64 {
    levels.iter().map(|&level| level as f64).sum::<f64>() / levels.len() as f64
}

/// Ranges count up; `rev` turns them round.
fn countdown(steps: usize) -> Vec<usize> {
    (1..=steps).rev().collect()
}

/// A view would borrow from the image; the copy is the caller's own.
fn brightest_row(image: &Array2<f64>) -> Array1<f64> {
    let mut best = 0;
    for i in 0..image.nrows() {
        if image.row(i).sum() > image.row(best).sum() {
            best = i;
        }
    }
    image.row(best).to_owned()
}
