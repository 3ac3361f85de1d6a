//! The yardstick: how fast this CPU multiplies and adds when nothing leaves the registers.
//!
//! No product can be faster than this loop on the same instruction set, so a product's speed is told as a share of
//! it, measured in the same minute on the same machine. (A kernel whose accumulators the compiler has moved to memory
//! falls to a tenth, and nothing else would show it.)

use super::simd::{Simd, simd};
use std::hint::black_box;

/// `acc ← acc · b + a`, `steps` times in every one of as many accumulators as saturate the arithmetic units, on the
/// instruction set [in use](simd). Returns the number of floating-point operations; the caller has the clock.
///
/// ```
/// let flops = ddpm::matmul::peak::multiply_add(10);
/// assert_eq!(flops, 10 * ddpm::matmul::peak::multiply_add(1));
/// ```
pub fn multiply_add(steps: u64) -> u64 {
    on(simd(), steps).0
}

/// [`multiply_add`] on a given instruction set: the operations, and where the first accumulator has arrived.
///
/// # Panics
/// If this CPU lacks it.
pub(super) fn on(simd: Simd, steps: u64) -> (u64, f32) {
    assert!(simd.available(), "multiply-add: this CPU has no {simd:?}");
    match simd {
        // as in the kernel: SSE2 multiplies and adds apart, NEON has both in one and 32 registers
        Simd::Portable if cfg!(target_arch = "aarch64") => chains::<12, 4, true>(steps),
        Simd::Portable => chains::<7, 4, false>(steps),
        // SAFETY: the assertion above: `Simd::available` has seen AVX2 and FMA on this CPU.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => unsafe { chains_avx2(steps) },
        // SAFETY: the assertion above: `Simd::available` has seen the AVX-512 features.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => unsafe { chains_avx512(steps) },
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("only x86-64 has more than the portable loop"),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn chains_avx2(steps: u64) -> (u64, f32) {
    chains::<7, 8, true>(steps)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
fn chains_avx512(steps: u64) -> (u64, f32) {
    chains::<6, 16, true>(steps)
}

/// Twice `N` accumulators of `L` lanes. Each waits for itself, so there must be as many as operations are under way:
/// about 12 where x86 multiplies and adds apart (14 leave two of 16 registers for a and b), 16 on Apple's four units.
///
/// All numbers tend to a / (1 − b) = 1: none is ever denormal, infinite or known to the compiler.
#[inline(always)]
fn chains<const N: usize, const L: usize, const FMA: bool>(steps: u64) -> (u64, f32) {
    let (a, b) = (black_box(0.001), black_box(0.999));
    // two small arrays: the compiler unrolls a step over 96 numbers, but leaves one over 112 in memory
    let [mut x, mut y] = black_box([[[0.5; L]; N]; 2]);
    for _ in 0..steps {
        step::<N, L, FMA>(&mut x, a, b);
        step::<N, L, FMA>(&mut y, a, b);
    }
    let [x, _] = black_box([x, y]);
    (steps * (2 * 2 * N * L) as u64, x[0][0])
}

#[inline(always)]
#[allow(clippy::needless_range_loop)] // indices on purpose: constant ones keep `acc` in registers
fn step<const N: usize, const L: usize, const FMA: bool>(acc: &mut [[f32; L]; N], a: f32, b: f32) {
    for i in 0..N {
        for l in 0..L {
            acc[i][l] = if FMA { acc[i][l].mul_add(b, a) } else { acc[i][l] * b + a };
        }
    }
}
