//! Tensors: names for ndarray's arrays, and nothing more.
//!
//! Images are `[N, H, W, C]`, channels last: every pixel is a row of channels, so a linear layer, a 1×1
//! convolution and a 3×3 convolution are all "rows times a matrix".
//!
//! The network computes in `f32` ([`Tensor4`]); the mathematics of the paper, where sums of a thousand terms
//! must add up, in `f64` ([`Batch`]). Casts stand where the two meet: where a network becomes a
//! [`Denoiser`](crate::diffusion::Denoiser), and in a step of [training](crate::train).

use ndarray::{Array, Array1, Array2, Array3, Array4, ArrayRef, Dimension, ShapeBuilder};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

/// A vector of `f32`.
pub type Tensor1 = Array1<f32>;
/// A matrix of `f32`.
pub type Tensor2 = Array2<f32>;
/// Three axes of `f32`, such as `[heads, rows, columns]`.
pub type Tensor3 = Array3<f32>;
/// Four axes of `f32`: activations `[N, H, W, C]`, convolution weights `[kh, kw, in, out]`.
pub type Tensor4 = Array4<f32>;
/// A batch of images in `f64`, `[N, H, W, C]`, pixels in [−1, 1]: what [`diffusion`](crate::diffusion) works on.
pub type Batch = Array4<f64>;

/// Arrays below this many numbers are not worth keeping.
const SMALL: usize = 4096;
/// A thread keeps at most so many numbers: 256 MiB.
const KEPT: usize = 64 << 20;

/// Memory of tensors that are no longer needed.
///
/// A network asks for the same sizes at every step. What the system's allocator takes back and hands out again comes
/// as fresh pages, to be mapped and cleared each time; kept here, it stays where it is.
#[derive(Default)]
struct Stock {
    by_len: HashMap<usize, Shelf>,
    /// numbers in all
    kept: usize,
}

/// Memory for tensors of one size.
#[derive(Default)]
struct Shelf {
    free: Vec<Vec<f32>>,
    /// taken and not yet given back: more is never kept than is asked for
    taken: usize,
}

thread_local! {
    static STOCK: RefCell<Stock> = RefCell::default();
}

/// A tensor of arbitrary numbers, every one of which is about to be overwritten. (In debug builds they are NaN.)
pub(crate) fn scratch<D: Dimension>(shape: impl ShapeBuilder<Dim = D>) -> Array<f32, D> {
    let shape = shape.into_shape_with_order();
    let len = shape.size();
    let free = STOCK.with_borrow_mut(|stock| {
        if len < SMALL {
            return None;
        }
        let shelf = stock.by_len.entry(len).or_default();
        shelf.taken += 1;
        let free = shelf.free.pop()?;
        stock.kept -= len;
        Some(free)
    });
    let mut numbers = free.unwrap_or_else(|| vec![0.0; len]);
    if cfg!(debug_assertions) {
        numbers.fill(f32::NAN);
    }
    Array::from_shape_vec(shape, numbers).expect("as many numbers as the shape has")
}

/// The numbers of an array in memory, of which layers are written: they make their own tensors, and `row_major` has seen
/// those that come from outside.
pub trait Contiguous {
    /// The numbers in the order of the axes.
    ///
    /// # Panics
    /// If they don't lie in memory one after another.
    fn numbers(&self) -> &[f32];

    /// The same, to write.
    fn numbers_mut(&mut self) -> &mut [f32];
}

impl<D: Dimension> Contiguous for ArrayRef<f32, D> {
    #[track_caller]
    fn numbers(&self) -> &[f32] {
        self.as_slice().expect("numbers in memory one after another")
    }

    #[track_caller]
    fn numbers_mut(&mut self) -> &mut [f32] {
        self.as_slice_mut().expect("numbers in memory one after another")
    }
}

/// The layers want pixels in memory one after another. What comes from outside may have another layout: a slice, or
/// channels joined by ndarray.
pub(crate) fn row_major(x: &Tensor4) -> Cow<'_, Tensor4> {
    if x.is_standard_layout() { Cow::Borrowed(x) } else { Cow::Owned(x.as_standard_layout().into_owned()) }
}

/// A tensor of zeros.
pub(crate) fn zeros<D: Dimension>(shape: impl ShapeBuilder<Dim = D>) -> Array<f32, D> {
    let mut zeros = scratch(shape);
    zeros.fill(0.0);
    zeros
}

/// A copy in memory that is at hand.
pub(crate) fn copy<D: Dimension>(x: &ArrayRef<f32, D>) -> Array<f32, D> {
    let mut y = scratch(x.raw_dim());
    y.assign(x);
    y
}

/// Gives the memory of a tensor to those to come on this thread. Layers do so with what they have used up.
pub fn recycle<D: Dimension>(x: Array<f32, D>) {
    let (numbers, _) = x.into_raw_vec_and_offset();
    let len = numbers.len();
    STOCK.with_borrow_mut(|stock| {
        let Some(shelf) = stock.by_len.get_mut(&len).filter(|shelf| shelf.taken > 0) else { return };
        shelf.taken -= 1;
        if stock.kept + len <= KEPT {
            stock.kept += len;
            shelf.free.push(numbers);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_never_trusted() {
        let x: Tensor2 = scratch((64, 64));
        let address = x.as_ptr();
        recycle(x);
        let y = scratch((4096,));
        assert_eq!(y.as_ptr(), address);
        assert!(y.iter().all(|v: &f32| v.is_nan()));
        let z: Tensor1 = zeros((4096,));
        assert_ne!(z.as_ptr(), address, "it is taken");
        assert_eq!(z, Tensor1::zeros(4096));
        assert_eq!(copy(&Tensor2::ones((3, 2)).t()), Tensor2::ones((2, 3)));
    }

    #[test]
    fn no_more_is_kept_than_was_taken_or_than_the_limit() {
        let kept = || STOCK.with_borrow(|stock| stock.kept);
        recycle(Tensor1::zeros(5000));
        assert_eq!(kept(), 0, "nobody asked for this size");
        let taken: Vec<Tensor1> = (0..5).map(|_| scratch(KEPT / 4)).collect();
        taken.into_iter().for_each(recycle);
        assert_eq!(kept(), KEPT);
    }
}
