//! A sum over a thousand t from a few of them, and what its error is.

use super::Noise;
use super::noise::image_stream;
use ndarray::{Array1, Array2};
use ndarray_rand::rand::Rng;
use serde::Serialize;
use std::fmt;

/// Which t are evaluated for each image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeSteps {
    /// Every t of 1..=T: T evaluations of the network per image, as in the paper.
    #[default]
    All,
    /// t = 1, and one t from each of `count` strata of 2..=T: `count` + 1 evaluations per image.
    ///
    /// The strata grow geometrically, as L_{t−1} falls like a power of t: the first ones hold a single t. Each
    /// image draws its own t uniformly in each stratum, from the streams of `seed`. A term stands for the whole
    /// stratum, with its size as weight, so the weighted sum is an unbiased estimate of the sum over all t.
    Stratified {
        /// how many strata, 1..=T−1
        count: usize,
        /// of the draws
        seed: u64,
    },
}

impl TimeSteps {
    /// How many t of 1..=T are evaluated for each image.
    ///
    /// ```
    /// use ddpm::diffusion::TimeSteps;
    /// assert_eq!(TimeSteps::All.per_image(1000), 1000);
    /// assert_eq!(TimeSteps::Stratified { count: 9, seed: 1 }.per_image(1000), 10);
    /// ```
    #[allow(non_snake_case)] // T is the paper's name
    pub fn per_image(self, T: usize) -> usize {
        match self {
            TimeSteps::All => T,
            TimeSteps::Stratified { count, .. } => count + 1,
        }
    }
}

/// The t of each image and the number of t each column stands for.
#[allow(non_snake_case)] // T is the paper's name
#[track_caller]
pub(super) fn choose_t(
    steps: TimeSteps,
    T: usize,
    n_images: usize,
    noise: &Noise,
) -> (Array2<usize>, Array1<f64>) {
    let count = steps.per_image(T) - 1;
    assert!((count >= 1 || T == 1) && count < T, "elbo: {count} strata of t = 2..={T}");
    let edges = strata(T, count);
    let mut t = Array2::ones((n_images, count + 1));
    for (n, mut row) in t.outer_iter_mut().enumerate() {
        let mut rng = match steps {
            TimeSteps::Stratified { seed, .. } => Some(image_stream(seed, noise.number(n), 0)),
            TimeSteps::All => None,
        };
        for (t, edge) in row.iter_mut().skip(1).zip(edges.windows(2)) {
            *t = rng.as_mut().map_or(edge[0], |rng| rng.random_range(edge[0]..edge[1]));
        }
    }
    let sizes = edges.windows(2).map(|edge| (edge[1] - edge[0]) as f64);
    (t, std::iter::once(1.0).chain(sizes).collect())
}

/// `count` strata of 2..=T as `count` + 1 edges from 2 to T + 1: as near to a geometric sequence as at least one
/// t in each allows.
#[allow(non_snake_case)] // T is the paper's name
fn strata(T: usize, count: usize) -> Vec<usize> {
    let mut edges = vec![2];
    for left in (1..=count).rev() {
        let from = *edges.last().expect("the first edge is there");
        let ratio = ((T + 1) as f64 / from as f64).powf(1.0 / left as f64);
        let geometric = (from as f64 * ratio).round() as usize;
        edges.push(geometric.clamp(from + 1, T + 2 - left));
    }
    edges
}

/// A mean and its standard error.
///
/// The error is the standard deviation over the images divided by √N. It holds the images' own differences,
/// their noises and, if t is drawn, the choice of t: all that another sample of the same size would change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// the mean
    pub mean: f64,
    /// its standard error; NaN for a single image
    pub std_error: f64,
}

impl Estimate {
    /// Of one value per image.
    ///
    /// ```
    /// use ddpm::diffusion::Estimate;
    /// let Estimate { mean, std_error } = Estimate::of(&ndarray::array![1.0, 3.0]);
    /// assert_eq!((mean, std_error), (2.0, 1.0)); // √2/√2
    /// ```
    pub fn of(values: &Array1<f64>) -> Self {
        let n = values.len() as f64;
        let mean = values.sum() / n;
        let variance = values.mapv(|x| (x - mean).powi(2)).sum() / (n - 1.0);
        Self { mean, std_error: (variance / n).sqrt() }
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(4);
        write!(f, "{:.digits$} ± {:.digits$}", self.mean, self.std_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strata_cover_every_t_once() {
        for (t_max, count) in [(2, 1), (10, 9), (10, 3), (1000, 1), (1000, 20), (1000, 998), (1000, 999)] {
            let edges = strata(t_max, count);
            assert_eq!((edges.len(), edges[0], edges[count]), (count + 1, 2, t_max + 1), "{t_max} {count}");
            assert!(edges.windows(2).all(|e| e[0] < e[1]), "{t_max} {count}: {edges:?}");
        }
    }

    #[test]
    fn all_t_are_strata_of_one() {
        let (t, weight) = choose_t(TimeSteps::All, 5, 2, &Noise::seed(0));
        assert_eq!(t, ndarray::array![[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]);
        assert_eq!(weight, Array1::<f64>::ones(5));
        assert_eq!(choose_t(TimeSteps::All, 1, 1, &Noise::seed(0)).0, ndarray::array![[1]]);
    }

    #[test]
    fn each_image_draws_its_own_t_inside_the_strata() {
        let steps = TimeSteps::Stratified { count: 12, seed: 3 };
        let (t, weight) = choose_t(steps, 1000, 50, &Noise::seed(0));
        assert_eq!(weight.sum(), 1000.0);
        let edges = strata(1000, 12);
        assert!(t.outer_iter().all(|row| row[0] == 1));
        assert!(t.outer_iter().all(|row| (0..12).all(|k| (edges[k]..edges[k + 1]).contains(&row[k + 1]))));
        assert!(t.outer_iter().any(|row| row != t.row(0)));
        let tail = choose_t(steps, 1000, 10, &Noise::seed(0).first_image(40)).0;
        assert_eq!(tail, t.slice(ndarray::s![40.., ..]));
    }

    #[test]
    fn estimate_of_four() {
        let e = Estimate::of(&ndarray::array![1.0, 2.0, 3.0, 6.0]);
        assert_eq!(e.mean, 3.0);
        assert!((e.std_error - (14.0f64 / 3.0 / 4.0).sqrt()).abs() < 1e-15);
        assert_eq!(format!("{e:.2}"), "3.00 ± 1.08");
    }

    #[test]
    #[should_panic(expected = "elbo: 10 strata of t = 2..=10")]
    fn more_strata_than_steps() {
        choose_t(TimeSteps::Stratified { count: 10, seed: 0 }, 10, 1, &Noise::seed(0));
    }
}
