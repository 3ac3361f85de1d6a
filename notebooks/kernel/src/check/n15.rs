//! 15: immiscible diffusion.

use super::exercises;
use crate::assign;
use ddpm::diffusion::normal_cdf;
use ddpm::prelude::{Array1, Array2, array, normal, stream};
use std::f64::consts::PI;

/// Distances of n points of the plane from n others; no two pairings cost the same.
fn distances(n: usize, seed: u64) -> Array2<f64> {
    let (a, b): (Array2<f64>, Array2<f64>) =
        (normal((n, 2), &mut stream(seed, 0)), normal((n, 2), &mut stream(seed, 1)));
    Array2::from_shape_fn((n, n), |(i, j)| (a[[i, 0]] - b[[j, 0]]).hypot(a[[i, 1]] - b[[j, 1]]))
}

/// The index of the least number that is still free.
fn least(row: &Array1<f64>, free: impl Fn(usize) -> bool) -> usize {
    (0..row.len()).filter(|&j| free(j)).min_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0)
}

/// φ(ε).
fn bell(eps: f64) -> f64 {
    (-0.5 * eps * eps).exp() / (2.0 * PI).sqrt()
}

/// Mean over rows of f(x, ε).
fn mean_of_rows(x: &Array2<f64>, eps: &Array2<f64>, f: impl Fn(&Array1<f64>, &Array1<f64>) -> f64) -> f64 {
    let rows = x.outer_iter().zip(eps.outer_iter());
    rows.map(|(x, eps)| f(&x.to_owned(), &eps.to_owned())).sum::<f64>() / x.nrows() as f64
}

type Cheapest = fn(&Array2<f64>) -> Vec<usize>;
type AssignedDensity = fn(f64, f64) -> f64;
type Alignment = fn(&Array2<f64>, &Array2<f64>) -> f64;

exercises! {
    solutions: "15_immiscible.rs";
    /// `cheapest(cost)`: which column each row gets, all different, with the least sum.
    cheapest: Cheapest;
    /// `assigned_density(eps, x)`: the density of ε given x = ±1, if the batch is {−1, 1} and its two noises are assigned.
    assigned_density: AssignedDensity;
    /// `alignment(x, eps)`: the mean of ε·x/|x| over the pairs.
    alignment: Alignment;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn cheapest(e: Exercise<Cheapest>) -> Exercise<Cheapest> {
        e
        .case("cost [[1, 2], [1, 4]]", |f| f(&array![[1.0, 2.0], [1.0, 4.0]]), vec![1_usize, 0])
        .case("cost [[9, 1, 9], [9, 9, 1], [1, 9, 9]]", |f| f(&array![[9.0, 1.0, 9.0], [9.0, 9.0, 1.0], [1.0, 9.0, 9.0]]), vec![1_usize, 2, 0])
        .case("the distances of 5 points and 5 others", |f| f(&distances(5, 13)), assign(&distances(5, 13)))
        .case("the distances of 6 points and 6 others", |f| f(&distances(6, 14)), assign(&distances(6, 14)))
        .trivial(|cost| (0..cost.nrows()).collect())
            .trivial(|cost| (0..cost.nrows()).rev().collect())
            .mistake("greedy: each row takes the best column that is left, whatever that costs the later ones", |cost| {
            let mut taken = Vec::new();
            cost.outer_iter().for_each(|row| taken.push(least(&row.to_owned(), |j| !taken.contains(&j))));
            taken
        })
        .mistake("each row its nearest column: two rows may not share one", |cost| {
            cost.outer_iter().map(|row| least(&row.to_owned(), |_| true)).collect()
        })
        .mistake("the row of each column; asked for is the column of each row", |cost| assign(&cost.t().to_owned()))
        .hint("How many ways are there to hand out six noises to six images?")
            .hint("6 rows have 720 permutations: try them all. A recursive function that gives the first free row each free column in turn will do.")
        .hint("fn best(cost, row, used) -> (f64, Vec<usize>): for each unused column j, take cost[[row, j]] plus best(cost, row + 1, used + j), and keep the least.")
    }

    pub(super) fn assigned_density(e: Exercise<AssignedDensity>) -> Exercise<AssignedDensity> {
        let right = |eps: f64, x: f64| 2.0 * bell(eps) * normal_cdf(eps * x);
        e.case("ε = 0, x = 1: either is the larger one", |f| f(0.0, 1.0), bell(0.0))
            .case("ε = 1.5, x = 1", |f| f(1.5, 1.0), right(1.5, 1.0))
            .case("ε = 1.5, x = −1", |f| f(1.5, -1.0), right(1.5, -1.0))
            .case("ε = −0.7, x = −1", |f| f(-0.7, -1.0), right(-0.7, -1.0))
            .trivial(|eps, _| eps)
            .mistake(
                "the law of a single draw: but the image gets the larger or the smaller of two",
                |eps, _| bell(eps),
            )
            .mistake(
                "two noises could be it: twice φ(ε) times the chance that the other is smaller",
                |eps, x| bell(eps) * normal_cdf(eps * x),
            )
            .mistake("the two images are exchanged: x = 1 gets the larger noise", |eps, x| {
                2.0 * bell(eps) * normal_cdf(-eps * x)
            })
            .mistake("the distribution function of the larger one; asked for is its density", |eps, x| {
                normal_cdf(eps * x).powi(2)
            })
            .hint(
                "Two noises, two images, −1 and 1: which pairing has the shorter lines? Draw them on paper.",
            )
            .hint("x = 1 gets the larger one. It is ε if one of the two is ε and the other one is smaller.")
            .hint("2 φ(ε) Φ(ε) for x = 1, and 2 φ(ε) Φ(−ε) for x = −1.")
    }

    pub(super) fn alignment(e: Exercise<Alignment>) -> Exercise<Alignment> {
        let pairs =
            || (normal::<f64, _>((5, 3), &mut stream(15, 0)), normal::<f64, _>((5, 3), &mut stream(15, 1)));
        let length = |x: &Array1<f64>| x.dot(x).sqrt();
        let right = mean_of_rows(&pairs().0, &pairs().1, |x, eps| eps.dot(x) / length(x));
        e.case("x = [[3, 4]], ε = [[1, 2]]", |f| f(&array![[3.0, 4.0]], &array![[1.0, 2.0]]), 2.2)
            .case(
                "x = [[2, 0], [0, 5]], ε = [[1, 9], [9, −3]]",
                |f| f(&array![[2.0, 0.0], [0.0, 5.0]], &array![[1.0, 9.0], [9.0, -3.0]]),
                -1.0,
            )
            .case("five random pairs of three numbers", move |f| f(&pairs().0, &pairs().1), right)
            .trivial(|x, _| x[[0, 0]])
            .trivial(|_, eps| eps[[0, 0]])
            .mistake("not divided by |x|", |x, eps| mean_of_rows(x, eps, |x, eps| eps.dot(x)))
            .mistake("the cosine: ε keeps its length", |x, eps| {
                mean_of_rows(x, eps, |x, eps| eps.dot(x) / (x.dot(x) * eps.dot(eps)).sqrt())
            })
            .mistake("divided by |x|²", |x, eps| mean_of_rows(x, eps, |x, eps| eps.dot(x) / x.dot(x)))
            .mistake("the sum over the pairs, not their mean", |x, eps| {
                x.nrows() as f64 * mean_of_rows(x, eps, |x, eps| eps.dot(x) / x.dot(x).sqrt())
            })
            .mistake("each x with every ε: only the pairs count", |x, eps| {
                let all = x
                    .outer_iter()
                    .flat_map(|x| eps.outer_iter().map(move |eps| eps.dot(&x) / x.dot(&x).sqrt()));
                all.sum::<f64>() / (x.nrows() * eps.nrows()) as f64
            })
            .hint("A direction has the length 1. What does that do to the images?")
            .hint("Row by row: how far does ε reach in the direction of x?")
            .hint("Σ_d ε_d x_d / √(Σ_d x_d²), and the mean of that over the rows.")
    }
}
