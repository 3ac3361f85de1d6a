//! Nearest neighbours, by comparing all pairs: whether a model makes new images or repeats its training set.

use ndarray::{Array2, Array4};
use rayon::prelude::*;

/// A candidate and how far it lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// the candidate's row
    pub index: usize,
    /// Euclidean distance
    pub distance: f64,
}

/// The pixels of each image as a row of grey levels, `[N, H, W, C]` → `[N, H·W·C]`: what [`nearest`] compares.
pub fn pixels(images: &Array4<u8>) -> Array2<f32> {
    let (n, h, w, c) = images.dim();
    images.to_shape((n, h * w * c)).expect("as many numbers").mapv(f32::from)
}

/// The `k` nearest rows of `candidates` to each row of `queries`, nearest first; of equals the first one.
///
/// # Shapes
/// `queries` `[Q, F]`, `candidates` `[M, F]`; Q lists of min(k, M).
///
/// # Panics
/// If the rows differ in length.
///
/// ```
/// use ddpm::quality::nearest;
/// use ndarray::array;
/// let found = nearest(&array![[0.0, 0.0]], &array![[5.0, 0.0], [0.0, 1.0], [3.0, 4.0]], 2);
/// assert_eq!((found[0][0].index, found[0][0].distance), (1, 1.0));
/// assert_eq!(found[0][1].index, 0); // as far as the third, and before it
/// ```
#[track_caller]
pub fn nearest(queries: &Array2<f32>, candidates: &Array2<f32>, k: usize) -> Vec<Vec<Neighbour>> {
    let (q, m) = (queries.ncols(), candidates.ncols());
    assert_eq!(q, m, "nearest: rows of {q} and of {m} numbers");
    let rows: Vec<_> = queries.outer_iter().collect();
    let of_row = |query: &ndarray::ArrayView1<f32>| {
        let square = |row: ndarray::ArrayView1<f32>| {
            row.iter().zip(query).map(|(&a, &b)| f64::from(a - b).powi(2)).sum::<f64>()
        };
        let found = candidates.outer_iter().map(square).enumerate();
        let mut found: Vec<_> =
            found.map(|(index, square)| Neighbour { index, distance: square.sqrt() }).collect();
        found.sort_by(|a, b| a.distance.total_cmp(&b.distance));
        found.truncate(k);
        found
    };
    rows.par_iter().map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{normal, stream};

    #[test]
    fn every_row_is_its_own_nearest_neighbour() {
        let rows: Array2<f32> = normal((30, 7), &mut stream(1, 0));
        for (i, found) in nearest(&rows, &rows, 3).iter().enumerate() {
            assert_eq!((found[0].index, found[0].distance), (i, 0.0));
            assert!(found.len() == 3 && found.windows(2).all(|n| n[0].distance <= n[1].distance));
        }
        assert_eq!(nearest(&rows, &rows, 99)[0].len(), 30);
    }

    #[test]
    #[should_panic(expected = "nearest: rows of 2 and of 3 numbers")]
    fn rows_must_agree() {
        nearest(&Array2::zeros((1, 2)), &Array2::zeros((1, 3)), 1);
    }
}
