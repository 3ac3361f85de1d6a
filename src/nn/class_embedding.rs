//! How the network is told a class: a table with a row for each.

use crate::params::params;
use crate::tensor::Tensor2;
use ndarray::Zip;

/// `y_n = E[c_n]`, rows of a table.
///
/// The last row is that of no class, ∅, in networks that can be asked without one (classifier-free guidance).
///
/// ```
/// use ddpm::nn::ClassEmbedding;
/// let table = ClassEmbedding { weight: ndarray::array![[1.0, 2.0], [3.0, 4.0], [0.5, 0.5]] };
/// assert_eq!(table.infer(&[Some(1), None]), ndarray::array![[3.0, 4.0], [0.5, 0.5]]);
/// ```
#[derive(Clone, Debug)]
pub struct ClassEmbedding {
    /// E, `[classes, width]`, as PyTorch has it
    pub weight: Tensor2,
}

params!(ClassEmbedding { weight });

impl ClassEmbedding {
    /// A table of zeros: every class begins as no news, and gets its own gradient.
    ///
    /// ```
    /// use ddpm::nn::ClassEmbedding;
    /// assert_eq!(ClassEmbedding::new(11, 64).weight.dim(), (11, 64));
    /// ```
    pub fn new(classes: usize, width: usize) -> ClassEmbedding {
        ClassEmbedding { weight: Tensor2::zeros((classes, width)) }
    }

    /// # Shapes
    /// N classes, `None` for the last row → `[N, width]`.
    ///
    /// # Panics
    /// If a class has no row.
    ///
    /// ```
    /// use ddpm::nn::ClassEmbedding;
    /// let mut table = ClassEmbedding::new(3, 2);
    /// table.weight.row_mut(2).fill(5.0); // the last row is no class
    /// assert_eq!(table.infer(&[Some(0), None]), ndarray::array![[0.0, 0.0], [5.0, 5.0]]);
    /// ```
    #[track_caller]
    pub fn infer(&self, classes: &[Option<usize>]) -> Tensor2 {
        let mut y = Tensor2::zeros((classes.len(), self.weight.ncols()));
        y.outer_iter_mut()
            .zip(classes)
            .for_each(|(mut y, &class)| y.assign(&self.weight.row(self.row(class))));
        y
    }

    /// `dE[c_n] += dy_n`: what occurs twice adds up, what does not occur gets nothing.
    ///
    /// # Shapes
    /// N classes as in [`infer`](ClassEmbedding::infer), `dy` `[N, width]`.
    ///
    /// ```
    /// use ddpm::{nn::ClassEmbedding, params::Params, tensor::Tensor2};
    /// let table = ClassEmbedding::new(3, 1);
    /// let mut grad = table.zeros_like();
    /// table.backward(&[Some(0), Some(0)], &Tensor2::ones((2, 1)), &mut grad);
    /// assert_eq!(grad.weight, ndarray::array![[2.0], [0.0], [0.0]]);
    /// ```
    #[track_caller]
    pub fn backward(&self, classes: &[Option<usize>], dy: &Tensor2, grad: &mut ClassEmbedding) {
        for (dy, &class) in dy.outer_iter().zip(classes) {
            Zip::from(grad.weight.row_mut(self.row(class))).and(dy).for_each(|grad, dy| *grad += dy);
        }
    }

    #[track_caller]
    fn row(&self, class: Option<usize>) -> usize {
        let rows = self.weight.nrows();
        let row = class.unwrap_or(rows - 1);
        assert!(row < rows, "class embedding: class {row} of a table of {rows}");
        row
    }
}

#[cfg(test)]
mod tests {
    use super::super::gradient_check::{check_params, inner};
    use super::*;
    use crate::params::Params;
    use crate::rng::{normal, stream};

    #[test]
    fn gradients_of_the_table() {
        let table = ClassEmbedding { weight: normal((4, 3), &mut stream(1, 0)) };
        let classes = [Some(2), Some(0), Some(2), None];
        let g: Tensor2 = normal((4, 3), &mut stream(2, 0));
        let mut grad = table.zeros_like();
        table.backward(&classes, &g, &mut grad);
        check_params("class embedding", &table, &grad, &[], |table| inner(&table.infer(&classes), &g));
        assert!(grad.weight.row(1).iter().all(|&g| g == 0.0), "class 1 does not occur");
    }

    #[test]
    #[should_panic(expected = "class embedding: class 4 of a table of 4")]
    fn a_class_without_a_row() {
        ClassEmbedding::new(4, 2).infer(&[Some(4)]);
    }
}
