//! Filling in what is missing: the loss of a network that is shown what is known (CSDI, Tashiro et al. 2021,
//! arXiv 2107.03502), and the way without such a network (RePaint, Lugmayr et al. 2022, arXiv 2201.09865).
//!
//! CSDI trains p_θ(x^ta | x^co): of an example that is known, some entries are the *condition*, M_co, and some the *target*,
//! M_ta. The network sees [`Known`] beside x_t, and only the target counts:
//!
//! L = Σ M_ta (ε − ε̂)² / Σ M_ta
//!
//! with one denominator for the whole batch. Sampling is that of any [`Conditioned`](super::Conditioned) model.
//!
//! RePaint asks a network that knows nothing of conditions. Before each step down, the known pixels are replaced by a draw
//! from q(x_t|x_0). What is known and what is invented then fit together only as far as one step can make them; so the chain
//! climbs `jump` levels again and comes down anew, `resamples` times in all, at every `jump`-th level.

use super::{Denoiser, Known, LossGrad, Noise, NoisyBatch, PSample, Reverse, q_sample, q_step};
use crate::tensor::Batch;
use ndarray::Zip;

/// Σ M_ta (ε − ε̂)² of each image, and d_output = 2 M_ta (ε̂ − ε): divide both by Σ M_ta of the whole batch.
///
/// # Shapes
/// `output`, ε̂, and the batch `[N, H, W, C]`, `targets` = M_ta `[N, H, W, 1]`, of 0 and 1.
///
/// # Panics
/// When the shapes differ.
///
/// ```
/// use ddpm::diffusion::{NoisyBatch, Schedule, masked_loss};
/// use ddpm::tensor::Batch;
/// let (x0, eps) = (Batch::zeros((1, 1, 2, 1)), Batch::ones((1, 1, 2, 1)));
/// let batch = NoisyBatch::new(&Schedule::cosine(10), x0, vec![2], eps);
/// let targets = ndarray::array![[[[0.0], [1.0]]]];
/// let result = masked_loss(&Batch::zeros((1, 1, 2, 1)), &batch, &targets);
/// assert_eq!(result.loss[0], 1.0); // of the second pixel
/// assert_eq!(result.d_output, ndarray::array![[[[0.0], [-2.0]]]]);
/// ```
#[track_caller]
pub fn masked_loss(output: &Batch, batch: &NoisyBatch, targets: &Batch) -> LossGrad {
    let mut d_output = output.clone();
    let targets = targets.broadcast(output.raw_dim()).expect("masked_loss: one mask per image");
    Zip::from(&mut d_output).and(&batch.eps).and(targets).for_each(|d, eps, m| *d = 2.0 * m * (*d - eps));
    let loss = d_output.outer_iter().map(|d| d.iter().map(|d| d * d / 4.0).sum()).collect();
    LossGrad { loss, d_output }
}

/// x where nothing is known, and what is known elsewhere.
///
/// # Shapes
/// `x` and `known` of one shape.
///
/// ```
/// use ddpm::diffusion::{Known, paste};
/// let known = Known { values: ndarray::array![[[[7.0], [7.0]]]], mask: ndarray::array![[[[0.0], [1.0]]]] };
/// assert_eq!(paste(&ndarray::array![[[[1.0], [2.0]]]], &known), ndarray::array![[[[1.0], [7.0]]]]);
/// ```
#[track_caller]
pub fn paste(x: &Batch, known: &Known) -> Batch {
    let mut pasted = x.clone();
    let mask = known.mask.broadcast(x.raw_dim()).expect("paste: one mask per image");
    Zip::from(&mut pasted).and(&known.values).and(mask).for_each(|x, &known, &m| {
        if m > 0.0 {
            *x = known;
        }
    });
    pasted
}

/// How often and how far RePaint climbs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jumps {
    /// levels per climb, j
    pub jump: usize,
    /// how often each stretch is walked down, r; 1 is plain replacement
    pub resamples: usize,
}

impl Jumps {
    /// The levels that a chain of T visits, from T down to 0: each falling pair is a reverse step at its first number, each
    /// rising pair a forward step to its second.
    ///
    /// Down to each level that is a multiple of j (counted from t = 1) and at least j below the top, then r − 1 times up j
    /// levels and down again: T + B j reverse and B j forward steps, B = ⌈(T − j)/j⌉ (r − 1).
    ///
    /// # Panics
    /// If `jump` or `resamples` is 0.
    ///
    /// ```
    /// use ddpm::diffusion::Jumps;
    /// assert_eq!(Jumps { jump: 2, resamples: 2 }.levels(4), [4, 3, 2, 1, 2, 3, 2, 1, 0]);
    /// assert_eq!(Jumps { jump: 10, resamples: 10 }.levels(250).len(), 4571); // the paper's setting
    /// ```
    #[allow(non_snake_case)] // T is the paper's name
    #[track_caller]
    pub fn levels(&self, T: usize) -> Vec<usize> {
        let Jumps { jump, resamples } = *self;
        assert!(jump > 0 && resamples > 0, "Jumps: {jump} levels, {resamples} times");
        let mut levels = vec![T];
        for t in (0..T).rev() {
            levels.push(t);
            // the level t is number t − 1 of 0..T
            if t >= 1 && (t - 1).is_multiple_of(jump) && jump <= T - t {
                for _ in 1..resamples {
                    levels.extend((t + 1..=t + jump).chain((t..t + jump).rev()));
                }
            }
        }
        levels
    }

    /// How often a chain of T asks the model: T + B j.
    ///
    /// ```
    /// use ddpm::diffusion::Jumps;
    /// assert_eq!(Jumps { jump: 10, resamples: 10 }.reverse_steps(250), 2410); // the paper's setting
    /// ```
    #[allow(non_snake_case)] // T is the paper's name
    #[track_caller]
    pub fn reverse_steps(&self, T: usize) -> usize {
        self.levels(T).windows(2).filter(|pair| pair[1] < pair[0]).count()
    }
}

/// Fills in images with a model that knows no conditions: see the module's text.
///
/// The replacement and the step of pair i of the [levels](Jumps::levels) have the noises of steps 2i + 1 and 2i + 2 of
/// [`Noise`], x_T that of step 0.
///
/// # Shapes
/// `known` `[N, H, W, C]`, which is the result's; known pixels are as they were given.
///
/// # Panics
/// When the model's output has the wrong shape.
///
/// ```
/// use ddpm::diffusion::{Jumps, Known, Noise, Reverse, Schedule, oracle::GaussianWorld, repaint};
/// use ddpm::tensor::Batch;
/// let schedule = Schedule::cosine(20);
/// let world = GaussianWorld::new(0.5, 0.0, schedule.clone()); // all pixels of the data are 0.5
/// let known = Known { values: Batch::zeros((1, 1, 2, 1)), mask: ndarray::array![[[[0.0], [1.0]]]] };
/// let jumps = Jumps { jump: 5, resamples: 2 };
/// let x0 = repaint(&world, &Reverse::new(schedule), &known, jumps, &Noise::seed(1));
/// assert!((x0[[0, 0, 0, 0]] - 0.5).abs() < 1e-9 && x0[[0, 0, 1, 0]] == 0.0);
/// ```
#[track_caller]
pub fn repaint(
    model: &(impl Denoiser + ?Sized),
    reverse: &Reverse,
    known: &Known,
    jumps: Jumps,
    noise: &Noise,
) -> Batch {
    let x = repaint_steps(model, reverse, known, jumps, noise).last().expect("a chain has a step");
    paste(&x, known)
}

/// x after each pair of levels of [`repaint`], as it is before the known pixels are pasted.
///
/// # Shapes, panics
/// As [`repaint`].
///
/// ```
/// use ddpm::diffusion::{Jumps, Known, Noise, Reverse, Schedule, oracle::GaussianWorld, repaint_steps};
/// use ddpm::tensor::Batch;
/// let schedule = Schedule::cosine(4);
/// let world = GaussianWorld::new(0.5, 0.0, schedule.clone());
/// let known = Known { values: Batch::zeros((1, 1, 2, 1)), mask: Batch::zeros((1, 1, 2, 1)) };
/// let (reverse, jumps, noise) = (Reverse::new(schedule), Jumps { jump: 2, resamples: 2 }, Noise::seed(1));
/// assert_eq!(repaint_steps(&world, &reverse, &known, jumps, &noise).count(), 8);
/// ```
pub fn repaint_steps<'a>(
    model: &'a (impl Denoiser + ?Sized),
    reverse: &'a Reverse,
    known: &'a Known,
    jumps: Jumps,
    noise: &'a Noise,
) -> impl Iterator<Item = Batch> + 'a {
    let (n, h, w, c) = known.values.dim();
    let draw = move |number: usize| noise.batch([n, h, w, c], &vec![number; n]);
    let levels = jumps.levels(reverse.schedule.T());
    let mut x = draw(0);
    (0..levels.len() - 1).map(move |i| {
        let ([from, to], z) = ([levels[i], levels[i + 1]], draw(2 * i + 2));
        let each = vec![from.max(to); n];
        x = if to > from {
            // x_t = √(1 − β_t) x_{t−1} + √β_t z
            q_step(&reverse.schedule, &x, &each, &z)
        } else {
            // x_t of what is known, and the step down
            let noisy = q_sample(&reverse.schedule, &known.values, &each, &draw(2 * i + 1));
            let replaced = paste(&x, &Known { values: noisy, mask: known.mask.clone() });
            let PSample { x_prev, .. } = reverse.p_sample(model, &replaced, &each, &z);
            x_prev
        };
        x.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every jump goes one level at a time, and the counts are those of the formula.
        #[test]
        fn levels_have_no_gaps(top in 1usize..60, jump in 1usize..12, resamples in 1usize..5) {
            let levels = Jumps { jump, resamples }.levels(top);
            prop_assert_eq!((levels[0], levels[levels.len() - 1]), (top, 0));
            prop_assert!(levels.windows(2).all(|pair| pair[0].abs_diff(pair[1]) == 1));
            let up = levels.windows(2).filter(|pair| pair[1] > pair[0]).count();
            let bends = top.saturating_sub(jump).div_ceil(jump) * (resamples - 1);
            prop_assert_eq!((up, levels.len() - 1 - up), (bends * jump, top + bends * jump));
        }
    }
}
