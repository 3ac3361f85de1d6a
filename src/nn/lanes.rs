//! Sums that vectorise: in sixteen lanes, in an order that is the same on every CPU.
//!
//! Rust may not reorder a sum of floats, so a plain loop adds one number after another. Here each lane has its own
//! partial sum, and a compiler turns the lanes into as many vectors as the CPU needs for sixteen numbers.

use crate::matmul::simd::vectorized;

/// Numbers that are added side by side.
pub(super) const LANES: usize = 16;
/// Pixels that are added side by side: an addition takes about four cycles, and each must wait for the one before.
const CHAINS: usize = 4;

/// `max x`, or −∞ of nothing; NaN is passed over.
#[inline(always)]
pub(super) fn max(x: &[f32]) -> f32 {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for block in blocks {
        for i in 0..LANES {
            lanes[i] = if block[i] > lanes[i] { block[i] } else { lanes[i] };
        }
    }
    let mut max = f32::NEG_INFINITY;
    for &x in lanes.iter().chain(rest) {
        max = if x > max { x } else { max };
    }
    max
}

/// `Σ x`.
#[inline(always)]
pub(super) fn sum(x: &[f32]) -> f32 {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for block in blocks {
        for i in 0..LANES {
            lanes[i] += block[i];
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// `Σ x y`.
#[inline(always)]
pub(super) fn dot(x: &[f32], y: &[f32]) -> f32 {
    let ((bx, rx), (by, ry)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    let mut lanes = [0.0f32; LANES];
    for (x, y) in bx.iter().zip(by) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    let mut rest = 0.0;
    for (x, y) in rx.iter().zip(ry) {
        rest += x * y;
    }
    lanes.iter().sum::<f32>() + rest
}

vectorized! {
    /// `sums[c] += Σ_pixels x[pixel, c]`.
    pub(super) fn add_channel_sums(x: &[f32], sums: &mut [f32]) {
        let added = channel_sums(x, &vec![0.0; sums.len()], |x| x);
        for (sum, added) in sums.iter_mut().zip(added) {
            *sum += added;
        }
    }
}

/// `Σ_pixels f(x[pixel, c] − about[c])` for each channel of `x [pixels, C]`; to be called inside of [`vectorized`].
#[inline(always)]
pub(super) fn channel_sums(x: &[f32], about: &[f32], f: impl Fn(f32) -> f32) -> Vec<f32> {
    let c = about.len();
    let mut sums = vec![0.0f32; c];
    let pixels = x.len() / c;
    let whole = c - c % LANES;
    for first in (0..whole).step_by(LANES) {
        let mut chains = [[0.0f32; LANES]; CHAINS];
        let about: &[f32; LANES] = about[first..first + LANES].try_into().expect("a vector");
        let mut pixel = 0;
        while pixel + CHAINS <= pixels {
            for (n, chain) in chains.iter_mut().enumerate() {
                add_lanes(chain, &x[(pixel + n) * c + first..], about, &f);
            }
            pixel += CHAINS;
        }
        while pixel < pixels {
            add_lanes(&mut chains[0], &x[pixel * c + first..], about, &f);
            pixel += 1;
        }
        for i in 0..LANES {
            sums[first + i] = (chains[0][i] + chains[1][i]) + (chains[2][i] + chains[3][i]);
        }
    }
    for x in x.chunks_exact(c) {
        for i in whole..c {
            sums[i] += f(x[i] - about[i]);
        }
    }
    sums
}

/// `chain += f(x − about)` for a vector of channels.
#[inline(always)]
fn add_lanes(chain: &mut [f32; LANES], x: &[f32], about: &[f32; LANES], f: &impl Fn(f32) -> f32) {
    let x = &x[..LANES];
    for i in 0..LANES {
        chain[i] += f(x[i] - about[i]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{normal, stream};
    use crate::tensor::Tensor2;
    use ndarray::{Array1, Axis};

    #[test]
    fn partial_sums_of_any_length() {
        for n in [0, 1, 15, 16, 17, 100] {
            let (x, y): (Array1<f32>, Array1<f32>) =
                (normal(n, &mut stream(1, 0)), normal(n, &mut stream(2, 0)));
            let (x64, y64) = (x.mapv(f64::from), y.mapv(f64::from));
            assert!((sum(x.as_slice().unwrap()) as f64 - x64.sum()).abs() < 1e-5);
            assert!((dot(x.as_slice().unwrap(), y.as_slice().unwrap()) as f64 - x64.dot(&y64)).abs() < 1e-5);
        }
    }

    #[test]
    fn sums_of_channels() {
        for (pixels, c) in [(0, 3), (1, 1), (3, 16), (4, 20), (9, 33), (50, 48)] {
            let x: Tensor2 = normal((pixels, c), &mut stream(1, 0));
            let mut sums = vec![1.0; c];
            add_channel_sums(x.as_slice().unwrap(), &mut sums);
            let want = x.mapv(f64::from).sum_axis(Axis(0)) + 1.0;
            assert!(sums.iter().zip(&want).all(|(&s, w)| (s as f64 - w).abs() < 1e-5), "{pixels} x {c}");
        }
    }

    #[test]
    fn the_maximum_passes_over_nan() {
        let mut x = vec![-3.0; 40];
        assert_eq!(max(&x), -3.0);
        (x[5], x[37], x[20]) = (2.0, 7.0, f32::NAN);
        assert_eq!((max(&x), max(&x[..30]), max(&[])), (7.0, 2.0, f32::NEG_INFINITY));
    }
}
