//! Diffusion of points in the plane: a small network, a distance between two clouds, and pictures of both.
//!
//! A point is an image of one pixel with two channels, `[n, 1, 1, 2]`, so that all of the crate works on it.

use ddpm::diffusion::{Denoiser, NoisyBatch, Reverse, simple_loss};
use ddpm::nn::{Linear, LinearCache, NEARLY_ZERO, activation, sinusoidal_embedding};
use ddpm::optim::Adam;
use ddpm::params::{Params, Visitor, VisitorMut};
use ddpm::prelude::ndarray::{Array2, Array3, ArrayView1, Axis, NewAxis, concatenate, s};
use ddpm::prelude::{Batch, Rng, Tensor2};
use ddpm::train::descend;
use std::f64::consts::PI;

/// How many numbers tell the network the time.
const TIME: usize = 32;
/// The network sees sin(ωx) and cos(ωx) of both coordinates, for ω = π/2 times each of these.
const FREQUENCIES: [f64; 5] = [1.0, 2.0, 4.0, 8.0, 16.0];
/// What the network sees: the coordinates, their sines and cosines, the time.
const FEATURES: usize = 2 + 4 * FREQUENCIES.len() + TIME;

/// Points `[n, 2]` as images `[n, 1, 1, 2]`.
pub fn as_batch(points: &Array2<f64>) -> Batch {
    points.slice(s![.., NewAxis, NewAxis, ..]).to_owned()
}

/// Images `[n, 1, 1, 2]` as points `[n, 2]`.
pub fn as_points(batch: &Batch) -> Array2<f64> {
    batch.slice(s![.., 0, 0, ..]).to_owned()
}

/// A network for points: three hidden layers with SiLU between them.
///
/// ```text
/// h = silu(W₁ [x, sin ωx, cos ωx, sinusoids(t)] + b₁)     h ← silu(W₂ h + b₂)     h ← silu(W₃ h + b₃)
/// ε̂ = W₄ h + b₄
/// ```
///
/// The last layer begins as nothing, as that of the U-Net.
#[derive(Clone, Debug)]
pub struct PointNet {
    /// the four layers
    pub layers: Vec<Linear>,
}

impl Params for PointNet {
    fn visit<'a>(&'a self, path: &str, f: &mut Visitor<'_, 'a>) {
        self.layers.visit(path, f);
    }
    fn visit_mut<'a>(&'a mut self, path: &str, f: &mut VisitorMut<'_, 'a>) {
        self.layers.visit_mut(path, f);
    }
}

/// What [`PointNet::backward`] needs: each layer's, and what went into each SiLU.
#[derive(Debug)]
pub struct PointNetCache {
    layers: Vec<LinearCache>,
    before_silu: Vec<Tensor2>,
}

impl PointNet {
    /// A network whose hidden layers have `width` numbers.
    pub fn new(width: usize, rng: &mut impl Rng) -> PointNet {
        let sizes =
            [(FEATURES, width, 1.0), (width, width, 1.0), (width, width, 1.0), (width, 2, NEARLY_ZERO)];
        let layer = |(inputs, outputs, scale)| Linear::new(inputs, outputs, scale, rng);
        PointNet { layers: sizes.map(layer).into() }
    }

    /// ε̂ for `x_t` `[n, 1, 1, 2]` at n times, in the shape of `x_t`; and what backward needs.
    ///
    /// # Panics
    /// If `x_t` is not a batch of points, or has not one time for each.
    #[track_caller]
    pub fn forward(&self, x_t: &Batch, t: &[usize]) -> (Batch, PointNetCache) {
        let mut h = features(x_t, t);
        let mut cache = PointNetCache { layers: Vec::new(), before_silu: Vec::new() };
        for (i, layer) in self.layers.iter().enumerate() {
            let (y, layer) = layer.forward(h);
            cache.layers.push(layer);
            h = y;
            if i + 1 < self.layers.len() {
                cache.before_silu.push(h.clone());
                activation::silu(h.as_slice_mut().expect("contiguous"));
            }
        }
        (as_batch(&h.mapv(f64::from)), cache)
    }

    /// Given `d_output` = ∂L/∂ε̂, adds every parameter's gradient to `grad`.
    pub fn backward(&self, cache: PointNetCache, d_output: &Batch, grad: &mut PointNet) {
        let mut dy = as_points(d_output).mapv(|d| d as f32);
        let PointNetCache { layers, mut before_silu } = cache;
        for (i, cache) in layers.into_iter().enumerate().rev() {
            dy = self.layers[i].backward(cache, &dy, &mut grad.layers[i]);
            if let Some(x) = before_silu.pop() {
                let x = x.as_slice().expect("contiguous");
                activation::silu_backward(x, dy.as_slice_mut().expect("contiguous"));
            }
        }
    }

    /// Algorithm 1, line 5, for a batch that is drawn: one step of Adam down the slope of the mean L_simple, which is
    /// returned. Where that is not finite the weights stay, and the answer is NaN.
    pub fn train_step(&mut self, adam: &mut Adam<PointNet>, reverse: &Reverse, batch: &NoisyBatch) -> f64 {
        let n = batch.t.len();
        let report = descend(self, adam, &mut [batch], n, &|net, batch, grad| {
            let (eps_hat, cache) = net.forward(&batch.x_t, &batch.t);
            let result = simple_loss(reverse, &eps_hat, batch);
            net.backward(cache, &(result.d_output / n as f64), grad);
            result.loss.sum()
        });
        report.map_or(f64::NAN, |report| report.loss)
    }
}

impl Denoiser for PointNet {
    #[track_caller]
    fn predict(&self, x_t: &Batch, t: &[usize]) -> Batch {
        self.forward(x_t, t).0
    }
}

/// What the network sees of each point, `[n, FEATURES]`.
#[track_caller]
fn features(x_t: &Batch, t: &[usize]) -> Tensor2 {
    let (n, h, w, c) = x_t.dim();
    assert!(h == 1 && w == 1 && c == 2 && t.len() == n, "PointNet: {} times for {:?}", t.len(), x_t.shape());
    let x = as_points(x_t);
    let waves = FREQUENCIES.iter().flat_map(|omega| {
        let angle = &x * (omega * PI / 2.0);
        [angle.mapv(f64::sin), angle.mapv(f64::cos)]
    });
    let seen: Vec<Array2<f64>> = std::iter::once(x.clone()).chain(waves).collect();
    let views: Vec<_> = seen.iter().map(|part| part.view()).collect();
    let seen = concatenate(Axis(1), &views).expect("as many rows").mapv(|v| v as f32);
    let time = sinusoidal_embedding(t, TIME, false, 1.0);
    // in row-major order, which `concatenate` does not promise for two columns
    concatenate(Axis(1), &[seen.view(), time.view()]).expect("as many rows").as_standard_layout().into_owned()
}

/// The energy distance of two clouds `[n, d]` and `[m, d]`: 2 E‖X − Y‖ − E‖X − X′‖ − E‖Y − Y′‖, means over all pairs.
///
/// Never negative, and 0 only for equal clouds (Székely & Rizzo 2013).
///
/// ```
/// use ddpm_notebook::prelude::*;
/// let (a, b) = (array![[0.0, 0.0]], array![[3.0, 4.0]]);
/// assert_eq!((energy_distance(&a, &b), energy_distance(&a, &a)), (10.0, 0.0));
/// ```
pub fn energy_distance(x: &Array2<f64>, y: &Array2<f64>) -> f64 {
    2.0 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)
}

fn mean_distance(x: &Array2<f64>, y: &Array2<f64>) -> f64 {
    let distance = |(a, b): (ArrayView1<f64>, ArrayView1<f64>)| {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    };
    let pairs = x.outer_iter().flat_map(|a| y.outer_iter().map(move |b| (a, b)));
    pairs.map(distance).sum::<f64>() / (x.nrows() * y.nrows()) as f64
}

/// Vectors `[n, 2]` at `points` `[n, 2]` as one line with gaps: `chart.line(name, &x, &y)` draws arrows of `scale` times
/// the vectors' length.
pub fn arrows(points: &Array2<f64>, vectors: &Array2<f64>, scale: f64) -> (Vec<f64>, Vec<f64>) {
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for (from, vector) in points.outer_iter().zip(vectors.outer_iter()) {
        let (dx, dy) = (scale * vector[0], scale * vector[1]);
        let (tip_x, tip_y) = (from[0] + dx, from[1] + dy);
        // the head's two sides: a third of the length, 25° off
        let side = |sign: f64| {
            let (sin, cos) = (25.0_f64.to_radians() * sign).sin_cos();
            (tip_x - (dx * cos - dy * sin) / 3.0, tip_y - (dx * sin + dy * cos) / 3.0)
        };
        let (left, right) = (side(1.0), side(-1.0));
        x.extend([from[0], tip_x, left.0, tip_x, right.0, f64::NAN]);
        y.extend([from[1], tip_y, left.1, tip_y, right.1, f64::NAN]);
    }
    (x, y)
}

/// A picture of points `[n, 2]`: the square from −`reach` to `reach` as `side`×`side` grey pixels, a dot of 2×2 for each.
pub fn dots(points: &Array2<f64>, reach: f64, side: usize) -> Array3<u8> {
    let mut picture = Array3::from_elem((side, side, 1), 255_u8);
    for point in points.outer_iter() {
        let place = |v: f64| ((v / reach + 1.0) / 2.0 * side as f64).floor();
        let (column, row) = (place(point[0]), place(-point[1]));
        for (dy, dx) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)] {
            let inside = 0.0..side as f64;
            if inside.contains(&(row + dy)) && inside.contains(&(column + dx)) {
                let pixel = &mut picture[[(row + dy) as usize, (column + dx) as usize, 0]];
                *pixel = (f64::from(*pixel) * 0.45) as u8; // dots that lie on each other are darker
            }
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;
    use ddpm::diffusion::Schedule;
    use ddpm::nn::gradient_check::{check_params, shaken};
    use ddpm::optim::AdamOptions;
    use ddpm::prelude::{array, normal, stream, toy};

    fn batch(seed: u64) -> NoisyBatch {
        let x0 = as_batch(&toy::swirl(64, &mut stream(seed, 0)));
        let t = (0..64).map(|n| 1 + n % 50).collect();
        NoisyBatch::new(&Schedule::cosine(50), x0, t, normal((64, 1, 1, 2), &mut stream(seed, 1)))
    }

    #[test]
    fn points_are_images_of_one_pixel() {
        let points = array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
        assert_eq!(as_batch(&points).dim(), (3, 1, 1, 2));
        assert_eq!(as_points(&as_batch(&points)), points);
    }

    #[test]
    fn the_gradient_of_the_points_network() {
        let (net, batch) = (shaken(PointNet::new(16, &mut stream(1, 0)), 0.2), batch(3));
        let g: Batch = normal((64, 1, 1, 2), &mut stream(4, 0));
        let mut grad = net.zeros_like();
        net.backward(net.forward(&batch.x_t, &batch.t).1, &g, &mut grad);
        check_params("PointNet", &net, &grad, &[], |net| (net.predict(&batch.x_t, &batch.t) * &g).sum());
    }

    #[test]
    fn a_fresh_network_has_a_loss_of_one_and_learns() {
        let reverse = Reverse::new(Schedule::cosine(50));
        let mut net = PointNet::new(32, &mut stream(1, 0));
        let options = AdamOptions { lr: 3e-3, warmup: 0, ..AdamOptions::default() };
        let mut adam = Adam::new(&net, options);
        let losses: Vec<f64> = (0..60).map(|_| net.train_step(&mut adam, &reverse, &batch(3))).collect();
        assert!((losses[0] - 1.0).abs() < 0.2 && losses[59] < 0.6 * losses[0], "{losses:?}");
    }

    #[test]
    fn the_energy_distance_of_two_clouds() {
        let a = toy::moons(300, &mut stream(1, 0));
        let (b, c) = (toy::moons(300, &mut stream(1, 1)), toy::swirl(300, &mut stream(1, 2)));
        assert!(energy_distance(&a, &b) < 0.01 && energy_distance(&a, &c) > 3.0 * energy_distance(&a, &b));
        assert!((energy_distance(&a, &c) - energy_distance(&c, &a)).abs() < 1e-12);
    }

    #[test]
    fn an_arrow_ends_at_its_tip() {
        let (x, y) = arrows(&array![[1.0, 2.0]], &array![[3.0, 0.0]], 0.5);
        assert_eq!((x[0], y[0], x[1], y[1], x.len()), (1.0, 2.0, 2.5, 2.0, 6));
        assert!(x[2] < 2.5 && y[2] < 2.0 && y[4] > 2.0 && x[5].is_nan());
    }

    #[test]
    fn dots_lie_where_the_points_are() {
        let picture = dots(&array![[0.99, 0.99], [-0.5, 0.5], [7.0, 0.0], [f64::NAN, 0.0]], 1.0, 8);
        assert_eq!((picture[[0, 7, 0]], picture[[2, 2, 0]], picture[[7, 0, 0]]), (114, 114, 255));
    }

    #[test]
    #[should_panic(expected = "PointNet: 1 times for [2, 1, 1, 2]")]
    fn a_time_for_each_point() {
        PointNet::new(4, &mut stream(1, 0)).predict(&Batch::zeros((2, 1, 1, 2)), &[1]);
    }
}
