//! Two-dimensional toy sets: diffusion one can watch.
//!
//! Each is `[n, 2]`, about within [−1, 1]², so that the schedules made for images fit.

use ndarray::Array2;
use ndarray_rand::rand::{Rng, seq::IndexedRandom};
use ndarray_rand::rand_distr::{Distribution, StandardNormal};
use std::f64::consts::{PI, TAU};

fn points(n: usize, mut point: impl FnMut() -> [f64; 2]) -> Array2<f64> {
    let points: Vec<[f64; 2]> = (0..n).map(|_| point()).collect();
    points.into()
}

/// Isotropic Gaussian noise of standard deviation `sigma` around a point.
fn around([x, y]: [f64; 2], sigma: f64, rng: &mut impl Rng) -> [f64; 2] {
    let [dx, dy]: [f64; 2] = [StandardNormal.sample(rng), StandardNormal.sample(rng)];
    [x + sigma * dx, y + sigma * dy]
}

/// A spiral of one and a half turns, `[n, 2]`, with noise 0.02.
///
/// ```
/// use ddpm::{data::toy, rng::stream};
/// assert_eq!(toy::swirl(100, &mut stream(0, 0)).shape(), [100, 2]);
/// ```
pub fn swirl(n: usize, rng: &mut impl Rng) -> Array2<f64> {
    points(n, || {
        let turn = rng.random::<f64>().sqrt(); // the square root spreads the points evenly along the arm
        let angle = 1.5 * TAU * turn;
        around([turn * angle.cos(), turn * angle.sin()], 0.02, rng)
    })
}

/// Two interlocking half circles, `[n, 2]`, with noise 0.04.
pub fn moons(n: usize, rng: &mut impl Rng) -> Array2<f64> {
    points(n, || {
        let angle = PI * rng.random::<f64>();
        let (x, y) = (0.6 * angle.cos() - 0.3, 0.6 * angle.sin() - 0.15);
        let side = if rng.random::<bool>() { 1.0 } else { -1.0 }; // the second moon is the first, turned by 180°
        around([side * x, side * y], 0.04, rng)
    })
}

/// Two Gaussians of standard deviation `sigma` at (±½, ±½) with equal weights, `[n, 2]`.
///
/// Its exact denoiser is a [`MixtureWorld`](crate::diffusion::oracle::MixtureWorld).
pub fn two_gaussians(n: usize, sigma: f64, rng: &mut impl Rng) -> Array2<f64> {
    points(n, || {
        let mean = if rng.random::<bool>() { 0.5 } else { -0.5 };
        around([mean, mean], sigma, rng)
    })
}

/// The outline of a dinosaur, `[n, 2]`, with noise 0.008.
pub fn dinosaur(n: usize, rng: &mut impl Rng) -> Array2<f64> {
    let sides: Vec<_> = DINOSAUR.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let length = |(a, b): &([f64; 2], [f64; 2])| (a[0] - b[0]).hypot(a[1] - b[1]);
    points(n, || {
        let (a, b) = sides.choose_weighted(rng, length).expect("the outline has sides");
        let along = rng.random::<f64>();
        let on_side = [0, 1].map(|axis| (1.0 - along) * a[axis] + along * b[axis]);
        around(on_side, 0.008, rng)
    })
}

/// A long-necked dinosaur that looks to the left, drawn by hand; closed.
#[rustfmt::skip]
const DINOSAUR: [[f64; 2]; 45] = [
    [-0.95, 0.66], [-0.93, 0.74], [-0.84, 0.80], [-0.76, 0.87], [-0.66, 0.88], [-0.58, 0.82], [-0.53, 0.72],
    [-0.50, 0.58], [-0.47, 0.42], [-0.43, 0.26], [-0.36, 0.14], [-0.24, 0.13], [-0.10, 0.18], [0.06, 0.19],
    [0.22, 0.14], [0.36, 0.05], [0.48, -0.07], [0.60, -0.17], [0.74, -0.23], [0.87, -0.23], [0.97, -0.17],
    [0.90, -0.29], [0.77, -0.35], [0.62, -0.33], [0.50, -0.29], [0.46, -0.42], [0.46, -0.60], [0.48, -0.78],
    [0.28, -0.78], [0.27, -0.62], [0.23, -0.47], [0.08, -0.44], [-0.10, -0.44], [-0.21, -0.47], [-0.23, -0.62],
    [-0.22, -0.78], [-0.42, -0.78], [-0.43, -0.58], [-0.47, -0.36], [-0.56, -0.14], [-0.63, 0.10], [-0.67, 0.34],
    [-0.71, 0.56], [-0.82, 0.60], [-0.95, 0.66],
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;
    use ndarray::Axis;

    #[test]
    fn every_set_is_finite_reproducible_and_of_image_size() {
        let sets: [fn(usize, &mut rand_chacha::ChaCha8Rng) -> Array2<f64>; 4] =
            [swirl, moons, |n, rng| two_gaussians(n, 0.1, rng), dinosaur];
        for set in sets {
            let x = set(2000, &mut stream(5, 0));
            assert_eq!(x, set(2000, &mut stream(5, 0)));
            assert_ne!(x, set(2000, &mut stream(5, 1)));
            assert_eq!(x.dim(), (2000, 2));
            assert!(x.iter().all(|v| v.abs() < 1.2), "a point far outside");
            assert!(
                x.std_axis(Axis(0), 0.0).iter().all(|&s| (0.25..0.65).contains(&s)),
                "{}",
                x.std_axis(Axis(0), 0.0)
            );
        }
    }

    #[test]
    fn the_two_gaussians_have_their_moments() {
        let x = two_gaussians(40_000, 0.1, &mut stream(1, 0));
        for column in x.columns() {
            let mean = column.mean().unwrap();
            let second = column.mapv(|v| v * v).mean().unwrap();
            assert!(mean.abs() < 0.01, "mean {mean}");
            assert!((second - 0.26).abs() < 0.005, "second moment {second}"); // ¼ + 0.1²
        }
    }

    #[test]
    fn an_empty_set_is_empty() {
        assert_eq!(swirl(0, &mut stream(0, 0)).dim(), (0, 2));
    }
}
