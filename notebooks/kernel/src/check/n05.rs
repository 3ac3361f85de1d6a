//! 05: tensors and a fast matmul.

use super::exercise::aside;
use super::{class_constant, exercises};
use crate::gflops;
use ddpm::matmul::definition;
use ddpm::prelude::ndarray::{Array2, Array3, Array4};
use ddpm::rng::{normal, stream};
use std::hint::black_box;

type Matmul = fn(&Array2<f32>, &Array2<f32>) -> Array2<f32>;
type Im2col = fn(&Array3<f64>, usize) -> Array2<f64>;
/// Which number of the image a window reads at `[i, j, u, v, c]`, for windows of k × k.
type Reads = fn([usize; 5], &Array3<f64>, usize) -> Option<[usize; 3]>;
type Conv = fn(&Array3<f64>, &Array4<f64>) -> Array3<f64>;

/// Small whole numbers, whose sums are exact in any order.
fn whole(rows: usize, columns: usize, seed: usize) -> Array2<f32> {
    Array2::from_shape_fn((rows, columns), |(i, j)| ((7 * i + 3 * j * j + i * j + seed) % 11) as f32 - 5.0)
}

/// C from the rows `0..m`, the columns `0..n` and the terms `from..to` of A B; elsewhere 0.
fn partial(
    a: &Array2<f32>,
    b: &Array2<f32>,
    (m, n): (usize, usize),
    terms: std::ops::Range<usize>,
) -> Array2<f32> {
    Array2::from_shape_fn((a.nrows(), b.ncols()), |(i, j)| {
        if i < m && j < n { terms.clone().map(|k| a[[i, k]] * b[[k, j]]).sum() } else { 0.0 }
    })
}

/// The same numbers in the order in which they lie in memory, read as rows.
fn misread(x: &Array2<f32>) -> Array2<f32> {
    let numbers: Vec<f32> = x.as_slice_memory_order().map_or_else(Vec::new, <[f32]>::to_vec);
    Array2::from_shape_vec(x.dim(), numbers).unwrap_or_else(|_| x.clone())
}

/// `x[i + u − p, j + v − p, c]` at pixel (i, j), tap (u, v), channel c, where `read` says which; 0 outside.
fn windows(x: &Array3<f64>, k: usize, read: Reads) -> Array2<f64> {
    let (h, w, channels) = x.dim();
    Array2::from_shape_fn((h * w, k * k * channels), |(pixel, column)| {
        let place = [pixel / w, pixel % w, column / channels / k, column / channels % k, column % channels];
        read(place, x, k).and_then(|at| x.get(at)).copied().unwrap_or(0.0)
    })
}

/// Where the window of (i, j) reads for tap (u, v).
fn reads([i, j, u, v, c]: [usize; 5], _: &Array3<f64>, k: usize) -> Option<[usize; 3]> {
    let p = k / 2;
    Some([(i + u).checked_sub(p)?, (j + v).checked_sub(p)?, c])
}

/// The convolution that reads its weights as `tap` says.
fn convolved(x: &Array3<f64>, w: &Array4<f64>, tap: fn(usize, usize, usize) -> [usize; 2]) -> Array3<f64> {
    let ((h, width, ci), (k, _, _, co)) = (x.dim(), w.dim());
    let columns = windows(x, k, reads);
    Array3::from_shape_fn((h, width, co), |(i, j, o)| {
        let row = columns.row(i * width + j);
        let weight = |column: usize| {
            let [u, v] = tap(column / ci / k, column / ci % k, k);
            w[[u, v, column % ci, o]]
        };
        row.iter().enumerate().map(|(column, x)| x * weight(column)).sum()
    })
}

fn image(h: usize, w: usize, c: usize) -> Array3<f64> {
    normal((h, w, c), &mut stream(505, (100 * h + 10 * w + c) as u64))
}

fn weights(k: usize, inputs: usize, outputs: usize) -> Array4<f64> {
    normal((k, k, inputs, outputs), &mut stream(506, (100 * k + 10 * inputs + outputs) as u64))
}

/// Images, their side, channels in and out, of the question.
fn layer() -> [f64; 4] {
    let layers = [[64, 14, 64, 128], [32, 28, 32, 64], [128, 7, 128, 64], [16, 28, 64, 32]];
    class_constant("conv_gflop", &layers).map(f64::from)
}

/// Billions of operations if each of `taps` taps costs `operations`.
fn layer_gflop(images: f64, taps: f64, operations: f64) -> f64 {
    let [_, side, inputs, outputs] = layer();
    operations * images * side * side * taps * inputs * outputs / 1e9
}

/// How fast a student's product of two 256 × 256 matrices is, beside three plain loops a moment before.
///
/// Says so in words if it is not written yet.
pub fn times_faster(student: Matmul) -> String {
    const N: usize = 256;
    let race = move || {
        let (a, b) = (whole(N, N, 1), whole(N, N, 2));
        let speed = |product: Matmul| {
            gflops(2.0 * (N * N * N) as f64, || {
                black_box(product(black_box(&a), black_box(&b)));
            })
        };
        let loops = speed(|a, b| definition(a, b));
        let yours = speed(student);
        format!(
            "yours: {yours:.1} GFLOP/s, three loops: {loops:.1} GFLOP/s: {:.0} times faster",
            yours / loops
        )
    };
    aside(race).recv().unwrap_or_else(|_| "not written yet, or it panics".into())
}

type Strides = fn(&[usize]) -> Vec<usize>;
type ConvGflop = fn() -> f64;

exercises! {
    solutions: "05_matmul.rs";
    /// `strides(shape)`: how far apart neighbours lie along each axis of a row-major tensor.
    strides: Strides;
    /// `fast_matmul(a, b)`: C = A B, for any sizes and any layout in memory.
    fast_matmul: Matmul;
    /// `im2col(x, k)`: one row per pixel, the k × k window around it with all channels, zeros outside the image.
    im2col: Im2col;
    /// `conv_by_matmul(x, w)`: y[i, j, o] = Σ_{u,v,c} x[i + u − p, j + v − p, c] w[u, v, c, o].
    conv_by_matmul: Conv;
    /// `guess()`: the billions of floating-point operations of a 3×3 convolution.
    conv_gflop: ConvGflop;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn strides(e: Exercise<Strides>) -> Exercise<Strides> {
        e.case("[2, 3, 4]", |f| f(&[2, 3, 4]), vec![12_usize, 4, 1])
            .case("[64, 28, 28, 3], a batch of images", |f| f(&[64, 28, 28, 3]), vec![2352_usize, 84, 3, 1])
            .case("[5]", |f| f(&[5]), vec![1_usize])
            .trivial(<[usize]>::to_vec)
            .trivial(|shape| vec![1; shape.len()])
            .mistake("column-major: the first axis runs fastest", |shape| {
                (0..shape.len()).map(|axis| shape[..axis].iter().product()).collect()
            })
            .mistake(
                "the axis itself is counted too: a step along it passes over what lies behind it only",
                |shape| (0..shape.len()).map(|axis| shape[axis..].iter().product()).collect(),
            )
            .mistake("in bytes, not in numbers", |shape| {
                (0..shape.len()).map(|axis| 4 * shape[axis + 1..].iter().product::<usize>()).collect()
            })
            .mistake("the next axis only; a step passes over all axes behind it", |shape| {
                (0..shape.len()).map(|axis| shape.get(axis + 1).copied().unwrap_or(1)).collect()
            })
            .hint("How far apart in memory are two neighbours along the last axis? And along the one before?")
            .hint("The last stride is 1. The one before it is the length of the last axis.")
            .hint("Each stride is the product of all lengths behind its axis; go backwards, `(0..n).rev()`.")
    }

    pub(super) fn fast_matmul(e: Exercise<Matmul>) -> Exercise<Matmul> {
        let exact = |a: &Array2<f32>, b: &Array2<f32>| partial(a, b, (a.nrows(), b.ncols()), 0..a.ncols());
        let case = move |a: Array2<f32>, b: Array2<f32>| {
            let expected = exact(&a, &b);
            (move |f: Matmul| f(&a, &b), expected)
        };
        let (square, square_expected) = case(whole(3, 3, 1), whole(3, 3, 2));
        let (odd, odd_expected) = case(whole(37, 70, 3), whole(70, 35, 4));
        let (left, left_expected) = case(whole(4, 9, 5).reversed_axes(), whole(4, 5, 6));
        let (right, right_expected) = case(whole(9, 4, 7), whole(5, 4, 8).reversed_axes());
        let (row, row_expected) = case(whole(1, 5, 9), whole(5, 1, 10));
        e.case("[3, 3] times [3, 3]", square, square_expected)
            .case("[37, 70] times [70, 35]: no multiple of anything", odd, odd_expected)
            .case("[9, 4] times [4, 5], where A lies transposed in memory", left, left_expected)
            .case("[9, 4] times [4, 5], where B lies transposed in memory", right, right_expected)
            .case("[1, 5] times [5, 1]", row, row_expected)
            .trivial(|a, _| a.clone())
            .trivial(|_, b| b.clone())
            .mistake("A Bᵀ: columns of B are needed, not its rows", |a, b| {
                let b = b.t().to_owned();
                if a.ncols() == b.nrows() { partial(a, &b, (a.nrows(), b.ncols()), 0..a.ncols()) } else { Array2::zeros((0, 0)) }
            })
            .mistake("the last, smaller block of rows and columns is left out", |a, b| {
                let whole = |size: usize| if size < 8 { size } else { size - size % 8 };
                partial(a, b, (whole(a.nrows()), whole(b.ncols())), 0..a.ncols())
            })
            .mistake("the last, smaller block of terms is left out", |a, b| {
                let terms = a.ncols();
                partial(a, b, (a.nrows(), b.ncols()), 0..if terms < 8 { terms } else { terms - terms % 8 })
            })
            .mistake("each block of terms overwrites C; it must add to it", |a, b| {
                let last = a.ncols().saturating_sub(1) / 8 * 8;
                partial(a, b, (a.nrows(), b.ncols()), last..a.ncols())
            })
            .mistake("the numbers are taken as they lie in memory, but the rows of a transposed array don't lie there one after another", |a, b| {
                let (a, b) = (misread(a), misread(b));
                partial(&a, &b, (a.nrows(), b.ncols()), 0..a.ncols())
            })
            .hint("Which loop is the inner one? It should run along a row of B and of C, where the numbers lie side by side.")
            .hint("For each row i and each k: add A[i, k] times the whole row k of B to row i of C.")
            .hint("`b.as_standard_layout()` copies only if the rows of B don't lie one after another; then `row.to_slice()` is never None.")
    }

    pub(super) fn im2col(e: Exercise<Im2col>) -> Exercise<Im2col> {
        let case = |x: Array3<f64>, k: usize| {
            let expected = windows(&x, k, reads);
            (move |f: Im2col| f(&x, k), expected)
        };
        let digits = Array3::from_shape_fn((3, 3, 1), |(i, j, _)| (3 * i + j + 1) as f64);
        let (digits, digits_expected) = case(digits, 3);
        let (colours, colours_expected) = case(image(4, 5, 2), 3);
        let (points, points_expected) = case(image(3, 4, 3), 1);
        let (wide, wide_expected) = case(image(3, 6, 1), 5);
        e.case("[[1, 2, 3], [4, 5, 6], [7, 8, 9]], one channel, k = 3", digits, digits_expected)
            .case("4×5 pixels, two channels, k = 3", colours, colours_expected)
            .case("3×4 pixels, three channels, k = 1", points, points_expected)
            .case("3×6 pixels, one channel, k = 5", wide, wide_expected)
            .mistake("the window begins at its pixel; the pixel should be its middle", |x, k| {
                windows(x, k, |[i, j, u, v, c], _, _| Some([i + u, j + v, c]))
            })
            .mistake("at the border it goes on at the other side, or in the next line; outside there are zeros", |x, k| {
                windows(x, k, |[i, j, u, v, c], x, k| {
                    let ((h, w, _), p) = (x.dim(), k / 2);
                    Some([(i + u + h * k - p) % h, (j + v + w * k - p) % w, c])
                })
            })
            .mistake("rows and columns of the window are exchanged", |x, k| {
                windows(x, k, |[i, j, u, v, c], x, k| reads([i, j, v, u, c], x, k))
            })
            .mistake("the window is mirrored", |x, k| {
                windows(x, k, |[i, j, u, v, c], x, k| reads([i, j, k - 1 - u, k - 1 - v, c], x, k))
            })
            .mistake("channels come first in a row; they should run fastest", |x, k| {
                let (_, _, channels) = x.dim();
                let right = windows(x, k, reads);
                Array2::from_shape_fn(right.dim(), |(pixel, column)| {
                    right[[pixel, column % (k * k) * channels + column / (k * k)]]
                })
            })
            .hint("Each output pixel sees a window. Write out the window of pixel (0, 0) of a 3×3 kernel by hand first.")
            .hint("Row i·W + j belongs to pixel (i, j), column (u·k + v)·C + c to tap (u, v) and channel c.")
            .hint("The entry is x[i + u − p, j + v − p, c] with p = k/2, or 0 where that is outside. A usize can't be negative: compare i + u with p first.")
    }

    pub(super) fn conv_by_matmul(e: Exercise<Conv>) -> Exercise<Conv> {
        let case = |x: Array3<f64>, w: Array4<f64>| {
            let expected = convolved(&x, &w, |u, v, _| [u, v]);
            (move |f: Conv| f(&x, &w), expected)
        };
        let (one, one_expected) = case(image(4, 4, 1), weights(3, 1, 1));
        let (many, many_expected) = case(image(5, 4, 3), weights(3, 3, 2));
        let (points, points_expected) = case(image(3, 4, 2), weights(1, 2, 5));
        e.case("4×4 pixels, one channel in, one out, k = 3", one, one_expected)
            .case("5×4 pixels, three channels in, two out, k = 3", many, many_expected)
            .case("3×4 pixels, two channels in, five out, k = 1", points, points_expected)
            .mistake("the kernel is flipped: that is what mathematics calls a convolution, and networks don't", |x, w| {
                convolved(x, w, |u, v, k| [k - 1 - u, k - 1 - v])
            })
            .mistake("rows and columns of the kernel are exchanged", |x, w| convolved(x, w, |u, v, _| [v, u]))
            .mistake("the image has shrunk: zeros around it keep its size", |x, w| {
                let ((h, width, _), p) = (x.dim(), w.dim().0 / 2);
                convolved(x, w, |u, v, _| [u, v]).slice(ddpm::prelude::s![p..h - p, p..width - p, ..]).to_owned()
            })
            .mistake("the weights are cut into rows per output; they lie as [k·k·in, out]", |x, w| {
                let (k, _, inputs, _) = w.dim();
                let numbers: Vec<f64> = w.iter().copied().collect();
                let mixed = Array4::from_shape_fn(w.dim(), |(u, v, c, o)| numbers[(o * k + u) * k * inputs + v * inputs + c]);
                convolved(x, &mixed, |u, v, _| [u, v])
            })
            .hint("Rows of windows times columns of weights: what is the inner length?")
            .hint("Your `im2col(x, k)` is [H·W, k·k·in]. What shape must the weights have to be multiplied with it?")
            .hint("`w.to_shape((k * k * inputs, outputs))`, one product, and `into_shape_with_order((h, w, outputs))`.")
    }

    pub(super) fn conv_gflop(e: Exercise<ConvGflop>) -> Exercise<ConvGflop> {
        let [images, side, inputs, outputs] = layer();
        let truth = layer_gflop(images, 9.0, 2.0);
        e.task(format!("How many GFLOP ($10^9$ floating-point operations) are a 3×3 convolution from {inputs} to {outputs} channels on {images} images of {side}×{side} pixels, with zeros at the border counted like all others? To a percent."))
            .holds("GFLOP of the layer", |f| f(), "a number within a percent of the truth", move |guess| {
                let ratio = guess.number() / truth;
                if (0.99..=1.01).contains(&ratio) { Ok(()) } else { Err(format!("the answer is {ratio:.3} times the truth")) }
            })
            .mistake("a multiplication and an addition are two operations", || layer_gflop(layer()[0], 9.0, 1.0))
            .mistake("3×3 are nine taps, each a product of its own", || layer_gflop(layer()[0], 1.0, 2.0))
            .mistake("one image only", || layer_gflop(1.0, 9.0, 2.0))
            .mistake("operations, not billions of them", || 1e9 * layer_gflop(layer()[0], 9.0, 2.0))
            .hint("Which sizes has the product that im2col makes of this layer?")
            .hint("As a product, the layer is [images·pixels, 9·in] times [9·in, out]; a product of m, k, n is 2 m k n operations.")
            .hint("Two operations for each multiply-add; G is 10⁹.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_timed_and_a_missing_one_is_named() {
        let text = times_faster(|a, b| definition(a, b));
        assert!(text.contains("GFLOP/s") && text.ends_with("times faster"), "{text}");
        assert_eq!(times_faster(|_, _| panic!("nothing yet")), "not written yet, or it panics");
    }
}
