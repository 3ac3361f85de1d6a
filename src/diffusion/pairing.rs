//! Which noise meets which image: immiscible diffusion (Li et al. 2024, arXiv 2406.12303).
//!
//! Algorithm 1 draws x_0 and ε apart, so every image is scattered over all of the noise. Here the noises of a batch are
//! handed to the images that are near to them:
//!
//! π = argmin over permutations of Σ_i ‖x_i − ε_π(i)‖² = argmax Σ_i x_i · ε_π(i), since the norms are the same for all.
//!
//! A permutation leaves the *set* of noises as it is, so the marginal of ε stays N(0, I); given x_0 it is not any more, and
//! the training loss falls by that alone, as part of ε can be read off x_0. What is to be compared, bounds and validation
//! losses, needs independent noise. [`Nearest`](Pairing::Nearest) draws k noises for each image and keeps the nearest
//! (arXiv 2505.18521): cheaper, but the marginal shrinks, while the sampler still starts at N(0, I).

use crate::error::Error;
use crate::tensor::Batch;
use ndarray::{Array2, ArrayView1, ArrayView3, Axis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::str::FromStr;

/// Which of the noises that a step draws an image is trained with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Pairing {
    /// its own, as in Algorithm 1
    #[default]
    Drawn,
    /// the one that the best permutation of the batch gives it; within its class, where there are classes
    Assigned,
    /// the nearest of so many of its own
    Nearest(usize),
}

/// `drawn`, `assigned`, `nearest:K`.
impl Display for Pairing {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Pairing::Drawn => f.pad("drawn"),
            Pairing::Assigned => f.pad("assigned"),
            Pairing::Nearest(k) => f.pad(&format!("nearest:{k}")),
        }
    }
}

impl FromStr for Pairing {
    type Err = Error;
    fn from_str(text: &str) -> Result<Pairing, Error> {
        let nearest = || text.strip_prefix("nearest:")?.parse().ok().filter(|k| (1..=4096).contains(k));
        match text {
            "drawn" => Ok(Pairing::Drawn),
            "assigned" => Ok(Pairing::Assigned),
            _ => nearest().map(Pairing::Nearest).ok_or_else(|| {
                Error::argument(
                    "Pairing",
                    "drawn, assigned or nearest:K with 1 ≤ K ≤ 4096",
                    format!("'{text}'"),
                )
            }),
        }
    }
}

impl From<Pairing> for String {
    fn from(pairing: Pairing) -> String {
        pairing.to_string()
    }
}

impl TryFrom<String> for Pairing {
    type Error = Error;
    fn try_from(text: String) -> Result<Pairing, Error> {
        text.parse()
    }
}

/// Σ (x_i − ε_j)², without ‖x_i‖² and ‖ε_j‖², which no permutation changes: −2 x_i · ε_j, `[N, N]`.
fn costs(x0: &Batch, eps: &Batch, images: &[usize]) -> Array2<f64> {
    let flat = |x: &Batch| {
        let rows = x.select(Axis(0), images);
        let (n, h, w, c) = rows.dim();
        rows.into_shape_with_order((n, h * w * c)).expect("contiguous")
    };
    flat(x0).dot(&flat(eps).t()) * -2.0
}

/// Hands the noises of a batch to its images so that the sum of squared distances is the smallest.
///
/// With classes only among the images of a class: else noise and class would depend on each other, and a sampler that is
/// asked for a class would start from the wrong law.
///
/// # Shapes
/// `x0` and `eps` `[N, H, W, C]`, `classes` N; returns π, where image i gets the noise that was drawn for image π(i).
///
/// ```
/// use ddpm::diffusion::assign_noise;
/// use ddpm::tensor::Batch;
/// let column = |values: [f64; 3]| Batch::from_shape_vec((3, 1, 1, 1), values.to_vec()).unwrap();
/// let (x0, eps) = (column([-1.0, 0.0, 1.0]), column([0.3, 2.0, -0.7]));
/// assert_eq!(assign_noise(&x0, &eps, None), [2, 0, 1]);
/// assert_eq!(assign_noise(&x0, &eps, Some(&[0, 1, 0])), [2, 1, 0]); // among the outer two
/// ```
pub fn assign_noise(x0: &Batch, eps: &Batch, classes: Option<&[usize]>) -> Vec<usize> {
    let n = x0.len_of(Axis(0));
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    (0..n).for_each(|image| {
        members.entry(classes.map_or(0, |classes| classes[image])).or_default().push(image)
    });
    let mut noise_of = vec![0; n];
    for images in members.into_values() {
        for (i, j) in assignment(&costs(x0, eps, &images)).into_iter().enumerate() {
            noise_of[images[i]] = images[j];
        }
    }
    noise_of
}

/// Which of some noises is nearest to an image; the first of several.
///
/// # Shapes
/// `x0` `[H, W, C]`, `eps` `[K, H, W, C]`.
///
/// ```
/// use ddpm::diffusion::nearest_noise;
/// use ddpm::tensor::Batch;
/// let eps = Batch::from_shape_vec((3, 1, 1, 1), vec![2.0, 0.3, -0.7]).unwrap();
/// assert_eq!(nearest_noise(ndarray::Array3::zeros((1, 1, 1)).view(), &eps), 1);
/// ```
pub fn nearest_noise(x0: ArrayView3<f64>, eps: &Batch) -> usize {
    let distance = |eps: ArrayView3<f64>| x0.iter().zip(eps).map(|(x, e)| (x - e).powi(2)).sum::<f64>();
    let distances: Vec<f64> = eps.outer_iter().map(distance).collect();
    (0..distances.len()).min_by(|&a, &b| distances[a].total_cmp(&distances[b])).expect("at least one noise")
}

/// The permutation π with the smallest Σ_i cost[i, π(i)], exactly, in O(n³): shortest augmenting paths (Jonker & Volgenant
/// 1987).
///
/// Prices keep what is left of every cost, cost[i, j] − u_i − v_j, from falling below 0, and at 0 where i has j. So a
/// shortest path from a new row to a free column is found as Dijkstra does, and along it the pairs change hands.
///
/// # Panics
/// If `cost` is not square, or one is not finite.
///
/// ```
/// let cost = ndarray::array![[1.0, 2.0], [1.0, 9.0]];
/// assert_eq!(ddpm::diffusion::assignment(&cost), [1, 0]); // the first row gives way
/// ```
#[track_caller]
pub fn assignment(cost: &Array2<f64>) -> Vec<usize> {
    let n = cost.nrows();
    assert!(cost.is_square() && cost.iter().all(|c| c.is_finite()), "assignment: {n}x{} costs", cost.ncols());
    let mut prices = Prices { rows: vec![0.0; n], columns: vec![0.0; n] };
    let mut row_of: Vec<Option<usize>> = vec![None; n]; // of each column
    for row in 0..n {
        let (mut column, before) = shortest_path(cost, &mut prices, &row_of, row);
        // back along the path: each column goes to the row before it, down to the new one
        loop {
            let previous = before[column];
            row_of[column] = previous.map_or(Some(row), |previous| row_of[previous]);
            match previous {
                Some(previous) => column = previous,
                None => break,
            }
        }
    }
    let mut column_of = vec![0; n];
    row_of.into_iter().enumerate().for_each(|(column, row)| column_of[row.expect("all are taken")] = column);
    column_of
}

/// u and v.
struct Prices {
    rows: Vec<f64>,
    columns: Vec<f64>,
}

/// The nearest free column to a new `row`, and the column before each on the way to it (none: the new row itself); the
/// prices are changed so that the whole path costs nothing.
fn shortest_path(
    cost: &Array2<f64>,
    prices: &mut Prices,
    row_of: &[Option<usize>],
    row: usize,
) -> (usize, Vec<Option<usize>>) {
    let n = row_of.len();
    let (mut distance, mut before) = (vec![f64::INFINITY; n], vec![None; n]);
    let (mut open, mut done): (Vec<usize>, Vec<usize>) = ((0..n).collect(), Vec::new());
    let (mut from, mut at, mut walked) = (row, None, 0.0);
    let end = loop {
        let costs: ArrayView1<f64> = cost.row(from);
        for &column in &open {
            let reached = walked + costs[column] - prices.rows[from] - prices.columns[column];
            if reached < distance[column] {
                (distance[column], before[column]) = (reached, at);
            }
        }
        let nearest = (0..open.len()).min_by(|&a, &b| distance[open[a]].total_cmp(&distance[open[b]]));
        let column = open.swap_remove(nearest.expect("a column is free"));
        walked = distance[column];
        match row_of[column] {
            None => break column,
            Some(owner) => (from, at) = (owner, Some(column)),
        }
        done.push(column);
    };
    prices.rows[row] += walked;
    for column in done {
        prices.rows[row_of[column].expect("taken")] += walked - distance[column];
        prices.columns[column] -= walked - distance[column];
    }
    (end, before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{normal, stream};
    use ndarray::Array1;
    use proptest::prelude::*;

    fn total(cost: &Array2<f64>, columns: &[usize]) -> f64 {
        columns.iter().enumerate().map(|(i, &j)| cost[[i, j]]).sum()
    }

    /// The smallest total of all n! permutations.
    fn by_hand(cost: &Array2<f64>, row: usize, free: &mut Vec<usize>) -> f64 {
        if free.is_empty() {
            return 0.0;
        }
        let mut best = f64::INFINITY;
        for k in 0..free.len() {
            let column = free.swap_remove(k);
            best = best.min(cost[[row, column]] + by_hand(cost, row + 1, free));
            free.push(column);
            let last = free.len() - 1;
            free.swap(k, last);
        }
        best
    }

    proptest! {
        #[test]
        fn no_permutation_is_cheaper(n in 1usize..7, seed in 0u64..1000, ties in any::<bool>()) {
            let cost: Array2<f64> = normal((n, n), &mut stream(seed, 0));
            let cost = if ties { cost.mapv(f64::round) } else { cost };
            let columns = assignment(&cost);
            let mut sorted = columns.clone();
            sorted.sort();
            prop_assert_eq!(sorted, (0..n).collect::<Vec<_>>());
            let best = by_hand(&cost, 0, &mut (0..n).collect());
            prop_assert!((total(&cost, &columns) - best).abs() < 1e-12);
        }
    }

    /// Prices of rows and columns do not change who gets what.
    #[test]
    fn norms_cancel() {
        let cost: Array2<f64> = normal((20, 20), &mut stream(1, 0));
        let (u, v): (Array1<f64>, Array1<f64>) =
            (normal(20, &mut stream(1, 1)), normal(20, &mut stream(1, 2)));
        let priced = &cost + &u.insert_axis(Axis(1)) + &v.insert_axis(Axis(0));
        assert_eq!(assignment(&cost), assignment(&priced));
    }

    #[test]
    fn classes_keep_their_noise() {
        let x0: Batch = normal((12, 2, 2, 1), &mut stream(1, 0));
        let eps: Batch = normal((12, 2, 2, 1), &mut stream(1, 1));
        let classes: Vec<usize> = (0..12).map(|n| n % 3).collect();
        let noise_of = assign_noise(&x0, &eps, Some(&classes));
        assert!((0..12).all(|n| classes[noise_of[n]] == classes[n]));
        assert_ne!(noise_of, assign_noise(&x0, &eps, None));
    }

    #[test]
    fn names() {
        for pairing in [Pairing::Drawn, Pairing::Assigned, Pairing::Nearest(4)] {
            assert_eq!(pairing.to_string().parse::<Pairing>().unwrap(), pairing);
        }
        for wrong in ["", "nearest", "nearest:0", "nearest:-1", "nearest:x", "Assigned"] {
            let expected =
                format!("Pairing: expected drawn, assigned or nearest:K with 1 ≤ K ≤ 4096, found '{wrong}'");
            assert_eq!(wrong.parse::<Pairing>().unwrap_err().to_string(), expected);
        }
    }

    #[test]
    #[should_panic(expected = "assignment: 2x3 costs")]
    fn as_many_noises_as_images() {
        assignment(&Array2::zeros((2, 3)));
    }
}
