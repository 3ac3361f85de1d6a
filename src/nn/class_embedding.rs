//! How the network is told a class: a table with a row for each.

use crate::params::params;
use crate::rng::normal;
use crate::tensor::Tensor2;
use ndarray::Zip;
use ndarray_rand::rand::Rng;

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
    /// A table of draws from N(0, 1), as PyTorch begins, but for ∅, the last row: it is zero, so that a network that gets
    /// such a table is without a class what it was before.
    ///
    /// From a table of zeros the classes part too slowly: what little a class changes in the loss drowns in the noise of
    /// the gradient, and Adam's steps cancel.
    ///
    /// ```
    /// use ddpm::{nn::ClassEmbedding, rng::stream};
    /// let table = ClassEmbedding::new(11, 64, &mut stream(1, 0));
    /// assert_eq!((table.weight.dim(), table.infer(&[None]).sum()), ((11, 64), 0.0));
    /// ```
    pub fn new(classes: usize, width: usize, rng: &mut impl Rng) -> ClassEmbedding {
        let mut weight: Tensor2 = normal((classes, width), rng);
        weight.row_mut(classes - 1).fill(0.0);
        ClassEmbedding { weight }
    }

    /// # Shapes
    /// N classes, `None` for the last row → `[N, width]`.
    ///
    /// # Panics
    /// If a class has no row.
    ///
    /// ```
    /// use ddpm::nn::ClassEmbedding;
    /// let table = ClassEmbedding { weight: ndarray::array![[1.0, 2.0], [3.0, 4.0], [5.0, 5.0]] };
    /// assert_eq!(table.infer(&[Some(0), None]), ndarray::array![[1.0, 2.0], [5.0, 5.0]]); // the last row is no class
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
    /// use ddpm::{nn::ClassEmbedding, params::Params, rng::stream, tensor::Tensor2};
    /// let table = ClassEmbedding::new(3, 1, &mut stream(1, 0));
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
        ClassEmbedding::new(4, 2, &mut stream(1, 0)).infer(&[Some(4)]);
    }
}
