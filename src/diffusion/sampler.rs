//! Sampling (Algorithm 2) and what it shows: progressive decoding, shared latents, interpolation (sections 4.3,
//! 4.4).

#![allow(non_snake_case)] // T and x_T are the paper's names

use super::{Denoiser, Noise, PSample, Reverse, q_sample};
use crate::tensor::Batch;
use ndarray::{Array3, ArrayView3, Axis, stack};
use std::mem::replace;

/// What one step of the reverse chain saw and made; each `[N, H, W, C]`.
#[derive(Clone, Debug)]
pub struct Step {
    /// the step, x_t → x_{t−1}
    pub t: usize,
    /// where it started
    pub x_t: Batch,
    /// the model's guess of the image there (Eq. 15)
    pub x0_hat: Batch,
    /// where it arrived
    pub x_prev: Batch,
}

/// A [`Step`]'s beginning, kept: one column of Figs. 6 and 14.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// time
    pub t: usize,
    /// x_t, `[N, H, W, C]`
    pub x_t: Batch,
    /// x̂_0(x_t), `[N, H, W, C]`
    pub x0_hat: Batch,
}

/// Samples images (Algorithm 2): x_T ~ N(0, I), then the reverse chain down to x_0.
///
/// The noise of image n and step t has a stream of its own, so image n does not depend on how many images are
/// sampled beside it. At t = 1 no noise is added: the result is μ_θ(x_1, 1).
///
/// # Shapes
/// Returns `shape` = `[N, H, W, C]`; inside [−1, 1] up to rounding, if x̂_0 is clipped and the network does not
/// predict μ̃.
///
/// # Panics
/// When the model's output has the wrong shape.
///
/// ```
/// use ddpm::diffusion::{Noise, Reverse, Schedule, oracle::GaussianWorld, sample};
/// let schedule = Schedule::cosine(20);
/// let (world, reverse) = (GaussianWorld::new(0.0, 0.1, schedule.clone()), Reverse::new(schedule));
/// let four = sample(&world, &reverse, [4, 2, 2, 1], &Noise::seed(7));
/// let one = sample(&world, &reverse, [1, 2, 2, 1], &Noise::seed(7));
/// assert_eq!(four.slice(ndarray::s![..1, .., .., ..]), one);
/// ```
#[track_caller]
pub fn sample(
    model: &(impl Denoiser + ?Sized),
    reverse: &Reverse,
    shape: [usize; 4],
    noise: &Noise,
) -> Batch {
    let x_T = start(shape, noise);
    decode(model, reverse, x_T, reverse.schedule.T(), noise)
}

/// x_T ~ N(0, I): the noise of step 0, which no step uses.
pub(super) fn start(shape: [usize; 4], noise: &Noise) -> Batch {
    noise.batch(shape, &vec![0; shape[0]])
}

/// Walks the reverse chain from x_t down to x_0 (Algorithm 2, lines 2 to 5), from any t; t = 0 returns x_t.
///
/// # Shapes
/// `x_t` and the result `[N, H, W, C]`.
///
/// # Panics
/// When t > T, or the model's output has the wrong shape.
///
/// ```
/// use ddpm::diffusion::{Noise, Reverse, Schedule, decode, oracle::GaussianWorld};
/// use ddpm::tensor::Batch;
/// let schedule = Schedule::cosine(10);
/// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
/// let x_0 = Batch::zeros((1, 2, 2, 1));
/// assert_eq!(decode(&world, &Reverse::new(schedule), x_0.clone(), 0, &Noise::seed(1)), x_0);
/// ```
#[track_caller]
pub fn decode(
    model: &(impl Denoiser + ?Sized),
    reverse: &Reverse,
    x_t: Batch,
    t: usize,
    noise: &Noise,
) -> Batch {
    decode_steps(model, reverse, x_t.clone(), t, noise).fold(x_t, |_, step| step.x_prev)
}

/// The steps of [`decode`], each taken when it is asked for.
///
/// # Shapes
/// `x_t` `[N, H, W, C]`.
///
/// # Panics
/// As [`decode`], when the step is asked for.
///
/// ```
/// use ddpm::diffusion::{Noise, Reverse, Schedule, decode_steps, oracle::GaussianWorld};
/// use ddpm::tensor::Batch;
/// let schedule = Schedule::cosine(10);
/// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
/// let x_4 = Batch::zeros((1, 2, 2, 1));
/// let (reverse, noise) = (Reverse::new(schedule), Noise::seed(1));
/// let seen: Vec<usize> = decode_steps(&world, &reverse, x_4, 4, &noise).map(|step| step.t).collect();
/// assert_eq!(seen, [4, 3, 2, 1]);
/// ```
pub fn decode_steps<'a>(
    model: &'a (impl Denoiser + ?Sized),
    reverse: &'a Reverse,
    x_t: Batch,
    t: usize,
    noise: &'a Noise,
) -> impl Iterator<Item = Step> + 'a {
    let (n, h, w, c) = x_t.dim();
    let mut x = x_t;
    (1..=t).rev().map(move |t| {
        // line 3: z ~ N(0, I) if t > 1, else z = 0
        let each = vec![t; n];
        let z = if t > 1 { noise.batch([n, h, w, c], &each) } else { Batch::zeros(x.dim()) };
        // line 4: x_{t−1} = μ_θ(x_t, t) + σ_t z
        let PSample { x_prev, x0_hat } = reverse.p_sample(model, &x, &each, &z);
        Step { t, x_t: replace(&mut x, x_prev.clone()), x0_hat, x_prev }
    })
}

/// Samples as [`sample`] does and keeps x_t and x̂_0(x_t) at the t in `keep` (Figs. 6, 14), from large t to small.
///
/// # Shapes
/// `shape` = `[N, H, W, C]`; returns x_0 and the snapshots.
///
/// # Panics
/// When the model's output has the wrong shape.
///
/// ```
/// use ddpm::diffusion::{Noise, Reverse, Schedule, progressive, sample, oracle::GaussianWorld};
/// let schedule = Schedule::cosine(10);
/// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
/// let (reverse, noise) = (Reverse::new(schedule), Noise::seed(1));
/// let (x0, kept) = progressive(&world, &reverse, [1, 2, 2, 1], &[2, 9], &noise);
/// assert_eq!((kept[0].t, kept[1].t), (9, 2));
/// assert_eq!(x0, sample(&world, &reverse, [1, 2, 2, 1], &noise));
/// ```
#[track_caller]
pub fn progressive(
    model: &(impl Denoiser + ?Sized),
    reverse: &Reverse,
    shape: [usize; 4],
    keep: &[usize],
    noise: &Noise,
) -> (Batch, Vec<Snapshot>) {
    let x_T = start(shape, noise);
    let mut kept = Vec::new();
    let steps = decode_steps(model, reverse, x_T.clone(), reverse.schedule.T(), noise);
    let x0 = steps.fold(x_T, |_, Step { t, x_t, x0_hat, x_prev }| {
        if keep.contains(&t) {
            kept.push(Snapshot { t, x_t, x0_hat });
        }
        x_prev
    });
    (x0, kept)
}

/// Images that share a latent (Fig. 7): one chain from x_T to x_t, then `shape[0]` chains from that x_t with
/// noises of their own.
///
/// # Shapes
/// `shape` = `[N, H, W, C]`; returns x_t `[H, W, C]` and the N images `[N, H, W, C]`.
///
/// # Panics
/// When N = 0, t > T, or the model's output has the wrong shape.
///
/// ```
/// use ddpm::diffusion::{Noise, Reverse, Schedule, shared_latents, oracle::GaussianWorld};
/// let schedule = Schedule::cosine(10);
/// let world = GaussianWorld::new(0.2, 0.1, schedule.clone());
/// let (latent, images) = shared_latents(&world, &Reverse::new(schedule), [3, 2, 2, 1], 5, &Noise::seed(1));
/// assert_eq!((latent.dim(), images.dim()), ((2, 2, 1), (3, 2, 2, 1)));
/// ```
#[track_caller]
pub fn shared_latents(
    model: &(impl Denoiser + ?Sized),
    reverse: &Reverse,
    shape: [usize; 4],
    t: usize,
    noise: &Noise,
) -> (Array3<f64>, Batch) {
    let [n, h, w, c] = shape;
    assert!(n > 0, "shared_latents: at least one image");
    let T = reverse.schedule.T();
    assert!(t <= T, "shared_latents: t = {t}, but the schedule ends at T = {T}");
    let x_T = start([1, h, w, c], noise);
    let down_to_t = decode_steps(model, reverse, x_T.clone(), T, noise).take(T - t);
    let latent = down_to_t.fold(x_T, |_, step| step.x_prev);
    let copies = latent.broadcast(shape).expect("one image becomes n").to_owned();
    let images = decode(model, reverse, copies, t, noise);
    (latent.index_axis_move(Axis(0), 0), images)
}

/// Two images and where between them, at which depth.
#[derive(Clone, Copy, Debug)]
pub struct Interpolation<'a> {
    /// `[H, W, C]`
    pub x0: ArrayView3<'a, f64>,
    /// `[H, W, C]`
    pub x0_prime: ArrayView3<'a, f64>,
    /// depth; 0 mixes pixels
    pub t: usize,
    /// shares of x'_0
    pub lambdas: &'a [f64],
}

/// Interpolates two images in the latent space of depth t (Figs. 8, 9): x̄_t = (1 − λ) x_t + λ x'_t, decoded.
///
/// x_t ~ q(x_t|x_0) and x'_t ~ q(x_t|x'_0), where the paper's text has lost a prime. All λ share every noise, of
/// the encoding and of the decoding, so that only λ differs.
///
/// # Shapes
/// Returns `[lambdas.len(), H, W, C]`.
///
/// # Panics
/// When the images' shapes differ, t > T, or the model's output has the wrong shape.
///
/// ```
/// use ddpm::diffusion::{Interpolation, Noise, Reverse, Schedule, interpolate, oracle::GaussianWorld};
/// use ndarray::Array3;
/// let schedule = Schedule::cosine(20);
/// let (world, reverse) = (GaussianWorld::new(0.0, 0.1, schedule.clone()), Reverse::new(schedule));
/// let (a, b) = (Array3::zeros((2, 2, 1)), Array3::ones((2, 2, 1)));
/// let between = Interpolation { x0: a.view(), x0_prime: b.view(), t: 0, lambdas: &[0.0, 0.25] };
/// let pixels = interpolate(&world, &reverse, &between, &Noise::seed(1));
/// assert_eq!(pixels[[1, 0, 0, 0]], 0.25);
/// ```
#[track_caller]
pub fn interpolate(
    model: &(impl Denoiser + ?Sized),
    reverse: &Reverse,
    between: &Interpolation,
    noise: &Noise,
) -> Batch {
    let mixed = interpolate_latents(reverse, between, noise);
    let one_for_all = |_: usize, t: usize| {
        let (_, h, w, c) = mixed.dim();
        noise.image(0, t, [h, w, c])
    };
    decode(model, reverse, mixed.clone(), between.t, &Noise::given(&one_for_all))
}

/// The mixed latents x̄_t that [`interpolate`] decodes.
///
/// Mixing is linear, so the noise in x̄_t has only (1 − λ)² + λ² of its variance: half at λ = ½, which is part of
/// why decoded mixtures look smooth.
///
/// # Shapes, panics
/// As [`interpolate`].
///
/// ```
/// use ddpm::diffusion::{Interpolation, Noise, Reverse, Schedule, interpolate_latents};
/// use ndarray::Array3;
/// let (a, b) = (Array3::zeros((2, 2, 1)), Array3::ones((2, 2, 1)));
/// let between = Interpolation { x0: a.view(), x0_prime: b.view(), t: 0, lambdas: &[0.25] };
/// let mixed = interpolate_latents(&Reverse::new(Schedule::cosine(10)), &between, &Noise::seed(1));
/// assert_eq!(mixed[[0, 0, 0, 0]], 0.25); // without noise it is a mixture of pixels
/// ```
#[track_caller]
pub fn interpolate_latents(reverse: &Reverse, between: &Interpolation, noise: &Noise) -> Batch {
    let Interpolation { x0, x0_prime, t, lambdas } = *between;
    assert_eq!(x0.shape(), x0_prime.shape(), "interpolate: the shapes of x0 and x0_prime must be equal");
    let ends = stack![Axis(0), x0, x0_prime];
    let (h, w, c) = x0.dim();
    // the streams of step 0: the decoding uses those of 1..=t
    let eps = noise.batch([2, h, w, c], &[0, 0]);
    let x_t = q_sample(&reverse.schedule, &ends, &[t, t], &eps);
    let (x, x_prime) = (x_t.index_axis(Axis(0), 0), x_t.index_axis(Axis(0), 1));
    let mut mixed = Batch::zeros((lambdas.len(), h, w, c));
    for (mut mixed, &lambda) in mixed.outer_iter_mut().zip(lambdas) {
        mixed.assign(&((1.0 - lambda) * &x + lambda * &x_prime));
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Schedule, oracle::GaussianWorld};
    use crate::rng::{normal, stream};
    use ndarray::s;

    fn world() -> (GaussianWorld, Reverse) {
        let schedule = Schedule::cosine(30);
        (GaussianWorld::new(0.1, 0.2, schedule.clone()), Reverse::new(schedule))
    }

    #[test]
    fn an_image_does_not_know_its_neighbours() {
        let (model, reverse) = world();
        let many = sample(&model, &reverse, [5, 2, 2, 1], &Noise::seed(1));
        let last = sample(&model, &reverse, [1, 2, 2, 1], &Noise::seed(1).first_image(4));
        assert_eq!(many.slice(s![4.., .., .., ..]), last);
    }

    #[test]
    fn samples_have_the_moments_of_the_data() {
        let (model, reverse) = world();
        let reverse = Reverse { clip: false, ..reverse };
        let x0 = sample(&model, &reverse, [500, 2, 2, 1], &Noise::seed(1));
        let mean = x0.mean().unwrap();
        let variance = x0.mapv(|x| (x - mean).powi(2)).mean().unwrap();
        assert!((mean - 0.1).abs() < 0.04 && (variance - 0.2).abs() < 0.03, "{mean} {variance}");
    }

    #[test]
    fn progressive_keeps_what_the_chain_saw() {
        let (model, reverse) = world();
        let (x0, kept) = progressive(&model, &reverse, [2, 2, 2, 1], &[1, 10, 30], &Noise::seed(1));
        assert_eq!(kept.iter().map(|s| s.t).collect::<Vec<_>>(), [30, 10, 1]);
        assert_eq!(x0, sample(&model, &reverse, [2, 2, 2, 1], &Noise::seed(1)));
        assert_eq!(kept[0].x_t, start([2, 2, 2, 1], &Noise::seed(1)));
        // the last step shows its guess: μ_θ(x_1, 1) = x̂_0
        assert!((&kept[2].x0_hat - &x0).iter().all(|d| d.abs() < 1e-12));
        // a chain can be taken up again where it was left
        let again = decode(&model, &reverse, kept[1].x_t.clone(), 10, &Noise::seed(1));
        assert_eq!(again, x0);
    }

    #[test]
    fn shared_latents_split_at_t() {
        let (model, reverse) = world();
        let (_, end) = shared_latents(&model, &reverse, [3, 2, 2, 1], 0, &Noise::seed(1));
        assert_eq!(end.index_axis(Axis(0), 0), end.index_axis(Axis(0), 2));
        let (latent, images) = shared_latents(&model, &reverse, [3, 2, 2, 1], 20, &Noise::seed(1));
        assert_eq!(latent.shape(), [2, 2, 1]);
        assert_ne!(images.index_axis(Axis(0), 0), images.index_axis(Axis(0), 2));
        // the later the split, the closer the images
        let spread = |t| {
            let (_, x) = shared_latents(&model, &reverse, [3, 2, 2, 1], t, &Noise::seed(1));
            let (a, b) = (x.index_axis(Axis(0), 0), x.index_axis(Axis(0), 1));
            (&a - &b).mapv(f64::abs).sum()
        };
        assert!(spread(3) < spread(28));
    }

    #[test]
    fn the_ends_of_an_interpolation_are_the_sources() {
        let (model, reverse) = world();
        let ends: Batch = normal((2, 2, 2, 1), &mut stream(1, 0));
        let (a, b) = (ends.index_axis(Axis(0), 0), ends.index_axis(Axis(0), 1));
        let noise = Noise::seed(1);
        let between = |x0_prime, t, lambdas| Interpolation { x0: a, x0_prime, t, lambdas };
        let mixed = interpolate(&model, &reverse, &between(b, 0, &[0.0, 1.0]), &noise);
        assert_eq!(mixed, ends);
        // λ = 0 does not depend on the second image; the middle latent is the mean of the outer ones
        let x = interpolate(&model, &reverse, &between(b, 15, &[0.0, 0.5]), &noise);
        let y = interpolate(&model, &reverse, &between(a, 15, &[0.0]), &noise);
        assert_eq!(x.index_axis(Axis(0), 0), y.index_axis(Axis(0), 0));
        let latents = interpolate_latents(&reverse, &between(b, 15, &[0.0, 0.5, 1.0]), &noise);
        let middle = 0.5 * (&latents.index_axis(Axis(0), 0) + &latents.index_axis(Axis(0), 2));
        assert!((&latents.index_axis(Axis(0), 1) - &middle).iter().all(|d| d.abs() < 1e-15));
    }

    #[test]
    #[should_panic(expected = "shared_latents: t = 31, but the schedule ends at T = 30")]
    fn no_split_before_the_start() {
        let (model, reverse) = world();
        shared_latents(&model, &reverse, [1, 2, 2, 1], 31, &Noise::seed(1));
    }

    #[test]
    #[should_panic(expected = "interpolate: the shapes of x0 and x0_prime must be equal")]
    fn interpolation_needs_equal_shapes() {
        let (model, reverse) = world();
        let (a, b) = (Array3::zeros((2, 2, 1)), Array3::zeros((2, 2, 3)));
        let between = Interpolation { x0: a.view(), x0_prime: b.view(), t: 3, lambdas: &[0.5] };
        interpolate(&model, &reverse, &between, &Noise::seed(1));
    }
}
