//! The blocked product: a large B is packed block by block so that what the kernel reads stays in cache.

use super::kernel::{Initial, Product, Rows};
use super::simd::Simd;
use crate::tensor::{Contiguous, Tensor1, recycle, scratch};

/// Depth of a block of B: `KC × 64` numbers are 128 KiB, a panel that streams from L2.
const KC: usize = 512;
/// Rows of A per block: `MC × KC` numbers are 512 KiB, half an L2.
const MC: usize = 256;
/// A B of at most this many numbers (256 KiB) is used where it lies, if its rows are whole vectors …
const SMALL: usize = 64 * 1024;
/// … of the widest kind, whatever this CPU has: packed or not decides where the sums over `k` are cut, and that must
/// be the same for every instruction set.
const VECTOR: usize = 16;
/// Vectors of a panel: what the widest tile of the kernel takes.
const PANEL: usize = 4;

/// `C = init + A B` for row-major `A [m, k]`, `B [k, n]`, `C [m, n]` without gaps.
pub(super) fn product(
    simd: Simd,
    (m, k, n): (usize, usize, usize),
    a: &[f32],
    b: &[f32],
    init: Initial,
    c: &mut [f32],
) {
    if m == 0 || n == 0 {
        return;
    }
    if n.is_multiple_of(VECTOR) && k * n <= SMALL {
        let rows = Rows::matrix(m, k, n);
        return Product { a, rows, taps: &[0], k, b, ldb: n, n, init }.run_on(simd, c);
    }
    let panel = n.next_multiple_of(simd.lanes()).min(PANEL * simd.lanes());
    let ldb = n.next_multiple_of(panel);
    let mut memory: Tensor1 = scratch(KC.min(k.max(1)) * ldb + VECTOR);
    let line = memory.as_ptr().align_offset(64).min(VECTOR); // a vector should not lie across two cache lines
    let packed = &mut memory.numbers_mut()[line..];
    // LOOP 3: blocks of depth. The first one starts C, the others add to it.
    for k0 in (0..k.max(1)).step_by(KC) {
        let kc = KC.min(k - k0);
        pack(&b[k0 * n..(k0 + kc) * n], n, panel, kc, packed);
        let init = if k0 == 0 { init } else { Initial::ACCUMULATE };
        // LOOP 2: blocks of rows, whose slice of A stays in L2 …
        for i0 in (0..m).step_by(MC) {
            let rows = Rows::matrix(MC.min(m - i0), k, n);
            // LOOP 1: … while the panels of B pass by; the kernel's own loops follow.
            for j0 in (0..n).step_by(panel) {
                let columns = panel.min(n - j0);
                let b = &packed[j0 * kc..][..kc * panel];
                let (a, init) = (&a[i0 * k + k0..], init.from(j0));
                Product { a, rows, taps: &[0], k: kc, b, ldb: panel, n: columns, init }
                    .run_on(simd, &mut c[i0 * n + j0..]);
            }
        }
    }
    recycle(memory);
}

/// Rearranges `kc` rows of B into panels `[n / panel][kc][panel]`, padded with zeros at the right.
fn pack(b: &[f32], n: usize, panel: usize, kc: usize, packed: &mut [f32]) {
    for (p, out) in packed.chunks_mut(kc.max(1) * panel).take(n.div_ceil(panel)).enumerate() {
        let columns = panel.min(n - p * panel);
        for (row, out) in b.chunks(n).zip(out.chunks_mut(panel)) {
            out[..columns].copy_from_slice(&row[p * panel..][..columns]);
            out[columns..].fill(0.0);
        }
    }
}
