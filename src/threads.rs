//! Threads that would have nothing to do: whoever computes with fewer groups of images than there are threads shares the
//! rows of its layers with the others.
//!
//! In training and in sampling the groups of a batch are the tasks, and on a small machine there are enough of them. A batch
//! of 64 is eight groups, though, and one image is one: where sixteen cores wait, convolutions and matrix products are cut
//! into parts along their outputs. Every output is the same sum in the same order whoever computes it, so the number of parts
//! changes no bit, and may depend on what else is going on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Groups that are being computed now.
static WORKING: AtomicUsize = AtomicUsize::new(0);

/// Floating-point operations that are worth another thread: some 20 µs of one core.
const WORTH: u64 = 2_000_000;

/// A group that is being computed, for as long as the value lives.
pub(crate) struct Working;

impl Working {
    pub(crate) fn begin() -> Working {
        WORKING.fetch_add(1, Ordering::Relaxed);
        Working
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        WORKING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Into how many parts a computation of so many operations should be cut: one, if all threads have groups of their own.
pub(crate) fn parts(flops: u64) -> usize {
    let each = rayon::current_num_threads() / WORKING.load(Ordering::Relaxed).max(1);
    each.min((flops / WORTH) as usize).max(1)
}

/// More threads than these would find nothing to do most of the time: Winograd's convolution has four parts.
const ATTENDANTS: usize = 3;

/// Computes `f` on one thread, while `parts − 1` others, three at most, stay awake for the parts of its layers.
///
/// A layer of one image takes 50 to 100 µs, and a thread that has gone to sleep in between needs about as long to wake up:
/// without attendants one image of 28×28 takes as long on two threads as on one, with them 0.79 of it.
pub(crate) fn attended<T: Send>(parts: usize, f: impl FnOnce() -> T + Send) -> T {
    static ATTENDED: AtomicUsize = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    // Rayon may give an attendant to any thread that waits. One that waits for `f` itself must not attend to it; and of two
    // that are attended to at once neither may wait for the other.
    let attend = |owner: Option<usize>| {
        let waits = || !done.load(Ordering::Relaxed) && ATTENDED.load(Ordering::Relaxed) == 1;
        while rayon::current_thread_index() != owner && waits() {
            if rayon::yield_now() != Some(rayon::Yield::Executed) {
                std::thread::yield_now(); // whoever else wants the core has it
            }
        }
    };
    rayon::scope(|scope| {
        let _end = AtTheEnd(|| {
            done.store(true, Ordering::Relaxed);
            ATTENDED.fetch_sub(1, Ordering::Relaxed);
        });
        ATTENDED.fetch_add(1, Ordering::Relaxed);
        let owner = rayon::current_thread_index();
        (1..parts.min(ATTENDANTS + 1)).for_each(|_| scope.spawn(move |_| attend(owner)));
        f()
    })
}

/// Does something at its end, also if that is a panic.
struct AtTheEnd<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtTheEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::diffusion::Denoiser;
    use crate::matmul::{matmul, matmul_nt, matmul_tn};
    use crate::nn::{Conv2d, GroupNorm};
    use crate::params::Params;
    use crate::rng::{normal, stream};
    use crate::tensor::{Batch, Tensor2, Tensor4};
    use crate::unet::{Unet, UnetConfig};
    use rayon::prelude::*;
    use std::fmt::Debug;

    fn in_threads(n: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap()
    }

    /// One thread, some that share the work evenly, and more than there are parts.
    fn the_same<T: PartialEq + Debug + Send>(what: &str, work: impl Fn() -> T + Sync) {
        let alone = in_threads(1).install(&work);
        for threads in [2, 3, 16] {
            assert!(in_threads(threads).install(&work) == alone, "{what} on {threads} threads");
        }
    }

    fn images(n: usize, side: usize, c: usize) -> Tensor4 {
        normal((n, side, side, c), &mut stream(1, (n * side * c) as u64))
    }

    #[test]
    fn matrix_products_are_the_same_on_any_number_of_threads() {
        let matrix = |m, n| -> Tensor2 { normal((m, n), &mut stream(2, (m * n) as u64)) };
        // one where B is used where it lies and one where it is packed
        for (m, k, n) in [(3001, 64, 96), (1001, 700, 130)] {
            let (a, b) = (matrix(m, k), matrix(k, n));
            the_same("A B", || matmul(&a, &b));
            the_same("A Bᵀ", || matmul_nt(&a, &b.t()));
            the_same("Aᵀ B", || matmul_tn(&a.t(), &b));
        }
    }

    #[test]
    fn convolutions_are_the_same_on_any_number_of_threads() {
        let layer =
            |inputs, outputs, size| Conv2d::new(inputs, outputs, size, 1.0, &mut stream(3, size as u64));
        for (what, conv, side) in [
            ("Winograd", layer(32, 48, 3), 45),
            ("3x3, stride 2", layer(32, 40, 3).strided(2, [0, 1]), 66),
            ("5x5", layer(20, 24, 5), 37),
            ("1x1", layer(64, 96, 1), 40),
        ] {
            for n in [1, 5] {
                let x = images(n, side, conv.weight.dim().2);
                the_same(what, || {
                    let (y, cache) = conv.forward(x.clone());
                    let mut grad = conv.zeros_like();
                    let dx = conv.backward(cache, &y, &mut grad);
                    (y, dx, grad.weight, grad.bias)
                });
            }
        }
    }

    #[test]
    fn one_image_is_the_same_on_any_number_of_threads() {
        let norm = GroupNorm::new(32, 8, 1e-6);
        let x = images(1, 90, 32);
        the_same("group norm", || norm.infer_silu(&x));
        let unet = Unet::new(&UnetConfig::paper(32, 3, &[32, 64], 1, 8), &mut stream(4, 0));
        let x: Batch = normal((1, 32, 32, 3), &mut stream(4, 1));
        the_same("U-Net", || unet.predict(&x, &[7]));
    }

    /// Many networks at once in one small pool, each with attendants that any of the others may have to be.
    #[test]
    fn many_at_once_end() {
        let sum = |n: usize| {
            attended(4, || matmul(&Tensor2::eye(200), &Tensor2::from_elem((200, 300), n as f32)).sum())
        };
        for threads in [1, 2, 3] {
            let sums: Vec<f32> = in_threads(threads).install(|| (0..200).into_par_iter().map(sum).collect());
            assert!((0..200).all(|n| sums[n] == 60_000.0 * n as f32));
        }
    }

    #[test]
    fn small_work_and_one_thread_are_not_cut() {
        assert_eq!(in_threads(16).install(|| parts(WORTH - 1)), 1);
        assert_eq!(in_threads(1).install(|| parts(100 * WORTH)), 1);
        // other tests may be working at the same time
        assert!((1..=16).contains(&in_threads(16).install(|| parts(100 * WORTH))));
    }
}
