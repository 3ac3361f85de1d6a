//! What a training asks of its data, whatever they are: pictures, latents of pictures, series with gaps.

use super::Dataset;
use crate::tensor::Batch;
use rand_chacha::ChaCha8Rng;

/// Data from which a training draws.
pub trait Examples: Sync {
    /// Where they come from, for logs and errors.
    fn name(&self) -> &str;

    /// Height, width and channels of an example.
    fn shape(&self) -> [usize; 3];

    /// How many examples each class has, from label 0 to the largest one; `None` unless every example has a label.
    fn classes(&self) -> Option<Vec<usize>> {
        None
    }

    /// A batch, example `n` drawn from `rngs[n]` alone: so it does not depend on how it is split over threads.
    fn draw_batch(&self, rngs: &mut [ChaCha8Rng]) -> Drawn;
}

/// A batch as it is drawn.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// `[N, H, W, C]`
    pub x0: Batch,
    /// the class of each, if all have one
    pub labels: Option<Vec<usize>>,
    /// 1 where there is a value, 0 in gaps, `[N, H, W, 1]`; `None` if there are no gaps
    pub observed: Option<Batch>,
}

impl Examples for Dataset {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> [usize; 3] {
        Dataset::shape(self)
    }

    fn classes(&self) -> Option<Vec<usize>> {
        Dataset::classes(self)
    }

    fn draw_batch(&self, rngs: &mut [ChaCha8Rng]) -> Drawn {
        let (x0, labels) = self.labelled_batch(rngs);
        Drawn { x0, labels, observed: None }
    }
}
