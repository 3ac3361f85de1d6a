// Solutions of notebook 15: immiscible diffusion.

use ddpm_notebook::prelude::*;

/// All permutations: the first row takes each column in turn, and the rest is a smaller problem.
fn cheapest(cost: &Array2<f64>) -> Vec<usize> {
    fn best(cost: &Array2<f64>, taken: &[usize]) -> (f64, Vec<usize>) {
        let row = taken.len();
        if row == cost.nrows() {
            return (0.0, taken.to_vec());
        }
        let free = (0..cost.ncols()).filter(|j| !taken.contains(j));
        let all = free.map(|j| {
            let (rest, columns) = best(cost, &[taken, &[j]].concat());
            (cost[[row, j]] + rest, columns)
        });
        all.min_by(|a, b| a.0.total_cmp(&b.0)).expect("a column is left for each row")
    }
    best(cost, &[]).1
}

/// One of the two noises is ε, and the other one is smaller (for x = 1) or larger (for x = −1).
fn assigned_density(eps: f64, x: f64) -> f64 {
    let bell = (-0.5 * eps * eps).exp() / (2.0 * std::f64::consts::PI).sqrt();
    2.0 * bell * normal_cdf(eps * x)
}

/// How far ε reaches in the direction of x, on average.
fn alignment(x: &Array2<f64>, eps: &Array2<f64>) -> f64 {
    let pairs = x.outer_iter().zip(eps.outer_iter());
    pairs.map(|(x, eps)| eps.dot(&x) / x.dot(&x).sqrt()).sum::<f64>() / x.nrows() as f64
}
