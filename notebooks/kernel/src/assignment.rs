//! Who goes with whom: the pairing of rows and columns that costs least.

use ddpm::prelude::Array2;

/// The linear assignment problem: which column each row gets, all different, so that Σ_i `cost[[i, column_i]]` is as
/// small as possible.
///
/// The Hungarian method with shortest augmenting paths, O(n³): rows are added one by one, and each addition moves
/// along the cheapest path of reassignments. Prices u_i and v_j keep every reduced cost c_ij − u_i − v_j ≥ 0, and
/// those of assigned pairs at 0, which proves that the result is optimal (Kuhn 1955; Jonker and Volgenant 1987).
///
/// # Panics
/// If the matrix is not square or a cost is not finite.
///
/// ```
/// use ddpm_notebook::{assign, prelude::array};
/// assert_eq!(assign(&array![[4.0, 1.0], [2.0, 3.0]]), [1, 0]);
/// ```
#[track_caller]
pub fn assign(cost: &Array2<f64>) -> Vec<usize> {
    let n = cost.nrows();
    assert_eq!(n, cost.ncols(), "assign: {n} rows, {} columns", cost.ncols());
    assert!(cost.iter().all(|c| c.is_finite()), "assign: a cost is not finite");
    // column n stands for "no column yet"
    let (mut u, mut v, mut row_of) = (vec![0.0; n], vec![0.0; n + 1], vec![n; n + 1]);
    for row in 0..n {
        row_of[n] = row;
        let (mut distance, mut before) = (vec![f64::INFINITY; n], vec![n; n]);
        let mut reached = vec![false; n + 1];
        let mut column = n;
        while row_of[column] < n {
            reached[column] = true;
            let (from, mut next, mut step) = (row_of[column], n, f64::INFINITY);
            for j in (0..n).filter(|&j| !reached[j]) {
                let reduced = cost[[from, j]] - u[from] - v[j];
                if reduced < distance[j] {
                    (distance[j], before[j]) = (reduced, column);
                }
                if distance[j] < step {
                    (step, next) = (distance[j], j);
                }
            }
            for j in 0..=n {
                if reached[j] {
                    u[row_of[j]] += step;
                    v[j] -= step;
                } else {
                    distance[j] -= step; // column n is always reached, so j < n
                }
            }
            column = next;
        }
        while column < n {
            row_of[column] = row_of[before[column]];
            column = before[column];
        }
    }
    let mut column_of = vec![0; n];
    (0..n).for_each(|j| column_of[row_of[j]] = j);
    column_of
}

#[cfg(test)]
mod tests {
    use super::*;
    use ddpm::prelude::{Rng, stream};

    /// The least sum over all permutations.
    fn least(cost: &Array2<f64>, row: usize, used: &mut Vec<bool>) -> f64 {
        if row == cost.nrows() {
            return 0.0;
        }
        let mut best = f64::INFINITY;
        for j in 0..cost.ncols() {
            if !used[j] {
                used[j] = true;
                best = best.min(cost[[row, j]] + least(cost, row + 1, used));
                used[j] = false;
            }
        }
        best
    }

    #[test]
    fn nothing_is_cheaper() {
        for seed in 0..60 {
            let n = seed as usize % 8;
            let mut rng = stream(seed, 0);
            // small integers too, so that there are ties
            let draw = |_| if seed < 30 { rng.random_range(0..4) as f64 } else { rng.random::<f64>() - 0.5 };
            let cost = Array2::from_shape_fn((n, n), draw);
            let columns = assign(&cost);
            let mut sorted = columns.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..n).collect::<Vec<_>>());
            let total: f64 = columns.iter().enumerate().map(|(i, &j)| cost[[i, j]]).sum();
            assert!((total - least(&cost, 0, &mut vec![false; n])).abs() < 1e-12, "{cost}");
        }
    }

    #[test]
    #[should_panic(expected = "assign: 2 rows, 3 columns")]
    fn a_column_too_many() {
        assign(&Array2::zeros((2, 3)));
    }
}
