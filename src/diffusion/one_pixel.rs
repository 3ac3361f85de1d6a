//! The one-pixel world: small enough that the bound and the likelihood it bounds are both exact.

use super::oracle::MixtureWorld;
use super::{Decoder, Schedule, Variance, kl_normal};
use crate::tensor::Batch;
use ndarray::{Array, Array4};
use ndarray_rand::rand::Rng;
use ndarray_rand::rand_distr::{Distribution, weighted::WeightedIndex};
use std::f64::consts::{LN_2, PI};

/// Images of one pixel with 256 grey levels of given probabilities.
///
/// The perfect denoiser is a weighted mean of 256 numbers, and the density of x_t is a curve: each term of Eq. 5,
/// and p_θ(x_0) itself, follow by integration over a grid of x_t.
///
/// ```
/// use ddpm::diffusion::{Schedule, Variance, oracle::OnePixelWorld};
/// let world = OnePixelWorld::two_humps();
/// let exact = world.exact(&Schedule::linear_scaled(50)?, Variance::Beta); // all in bits
/// assert!(exact.bound() > exact.nll && exact.nll > exact.entropy);
/// assert!((exact.bound() - 7.3558).abs() < 1e-3);
/// # Ok::<(), ddpm::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OnePixelWorld {
    /// p(k), k = 0..=255
    p: Vec<f64>,
}

/// The bound of Eq. 5 averaged over the data, the likelihood it bounds, and the entropy no model can beat; in bits
/// (of the one pixel, so also bits per dimension).
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(non_snake_case)] // the paper's names
pub struct ExactBound {
    /// L_T
    pub L_T: f64,
    /// Σ_{t=2}^{T} L_{t−1}
    pub sum_L_t_minus_1: f64,
    /// L_0
    pub L_0: f64,
    /// E[−log₂ p_θ(x_0)]
    pub nll: f64,
    /// H = −Σ p(k) log₂ p(k)
    pub entropy: f64,
}

impl ExactBound {
    /// L_T + Σ L_{t−1} + L_0 ≥ nll ≥ entropy.
    ///
    /// ```
    /// use ddpm::diffusion::{Schedule, Variance, oracle::OnePixelWorld};
    /// let world = OnePixelWorld::new(&[[2.0; 128], [1.0; 128]].concat());
    /// let e = world.exact(&Schedule::cosine(2), Variance::Beta);
    /// assert_eq!(e.bound(), e.L_T + e.sum_L_t_minus_1 + e.L_0);
    /// ```
    pub fn bound(&self) -> f64 {
        self.L_T + self.sum_L_t_minus_1 + self.L_0
    }
}

/// [`ExactBound`] taken apart: every term of Eq. 5 on its own, and the whole distribution p_θ(x_0).
///
/// All terms are averages over the data, in bits of the one pixel. `L_t_minus_1` and `x0_mse` have T − 1 entries, those
/// of t = 2, …, T: entry i is that of t = i + 2.
#[derive(Clone, Debug, PartialEq)]
#[allow(non_snake_case)] // the paper's names
pub struct ExactTerms {
    /// L_T
    pub L_T: f64,
    /// L_{t−1} for t = 2, …, T, `[T − 1]`
    pub L_t_minus_1: Vec<f64>,
    /// L_0
    pub L_0: f64,
    /// E (x_0 − E\[x_0|x_t\])² for t = 2, …, T, `[T − 1]`: what even the perfect denoiser can't know
    pub x0_mse: Vec<f64>,
    /// p_θ(x_0 = k) of the levels k = 0..=255, `[256]`
    pub p_theta: Vec<f64>,
    /// E\[−log₂ p_θ(x_0)\]
    pub nll: f64,
    /// H = −Σ p(k) log₂ p(k)
    pub entropy: f64,
}

impl ExactTerms {
    /// The terms added up.
    ///
    /// ```
    /// use ddpm::diffusion::{Schedule, Variance, oracle::OnePixelWorld};
    /// let world = OnePixelWorld::new(&[[2.0; 128], [1.0; 128]].concat());
    /// let terms = world.exact_terms(&Schedule::cosine(2), Variance::Beta);
    /// assert_eq!(terms.total().L_T, terms.L_T);
    /// ```
    pub fn total(&self) -> ExactBound {
        ExactBound {
            L_T: self.L_T,
            sum_L_t_minus_1: self.L_t_minus_1.iter().sum(),
            L_0: self.L_0,
            nll: self.nll,
            entropy: self.entropy,
        }
    }

    /// L_T + Σ L_{t−1} + L_0 ≥ nll ≥ entropy.
    ///
    /// ```
    /// use ddpm::diffusion::{Schedule, Variance, oracle::OnePixelWorld};
    /// let world = OnePixelWorld::new(&[[2.0; 128], [1.0; 128]].concat());
    /// let terms = world.exact_terms(&Schedule::cosine(2), Variance::Beta);
    /// assert_eq!(terms.bound(), terms.total().bound());
    /// ```
    pub fn bound(&self) -> f64 {
        self.total().bound()
    }
}

/// The grey level k as a pixel in [−1, 1].
fn pixel(k: usize) -> f64 {
    k as f64 / 127.5 - 1.0
}

impl OnePixelWorld {
    /// From 256 probabilities, normalised here.
    ///
    /// # Panics
    /// Unless there are 256, all positive.
    ///
    /// ```
    /// let world = ddpm::diffusion::oracle::OnePixelWorld::new(&[1.0; 256]);
    /// assert!((world.entropy() - 8.0).abs() < 1e-9);
    /// ```
    #[track_caller]
    pub fn new(p: &[f64]) -> Self {
        assert_eq!(p.len(), 256, "OnePixelWorld: one probability per grey level");
        assert!(p.iter().all(|&p| p > 0.0), "OnePixelWorld: probabilities must be positive");
        let total: f64 = p.iter().sum();
        Self { p: p.iter().map(|p| p / total).collect() }
    }

    /// A dark hump and a wide bright one: 0.6 N(60, 12²) + 0.4 N(180, 25²) on the levels. H = 7.0193 bits.
    ///
    /// ```
    /// let world = ddpm::diffusion::oracle::OnePixelWorld::two_humps();
    /// assert!(world.probabilities()[60] > world.probabilities()[120]); // a hump and a valley
    /// ```
    pub fn two_humps() -> Self {
        let hump = |k: usize, mean: f64, sd: f64| (-0.5 * ((k as f64 - mean) / sd).powi(2)).exp() / sd;
        let p: Vec<f64> = (0..256).map(|k| 0.6 * hump(k, 60.0, 12.0) + 0.4 * hump(k, 180.0, 25.0)).collect();
        Self::new(&p)
    }

    /// p(k).
    ///
    /// ```
    /// let world = ddpm::diffusion::oracle::OnePixelWorld::two_humps();
    /// assert!((world.probabilities().iter().sum::<f64>() - 1.0).abs() < 1e-12);
    /// ```
    pub fn probabilities(&self) -> &[f64] {
        &self.p
    }

    /// H = −Σ p(k) log₂ p(k), in bits.
    ///
    /// ```
    /// let world = ddpm::diffusion::oracle::OnePixelWorld::two_humps();
    /// assert!(world.entropy() < 8.0); // bits, less than those of 256 equal levels
    /// ```
    pub fn entropy(&self) -> f64 {
        -self.p.iter().map(|p| p * p.log2()).sum::<f64>()
    }

    /// N images drawn from p, `[N, 1, 1, 1]`.
    ///
    /// ```
    /// use ddpm::{diffusion::oracle::OnePixelWorld, rng::stream};
    /// let x = OnePixelWorld::two_humps().draw(50, &mut stream(1, 0));
    /// assert!(x.dim() == (50, 1, 1, 1) && x.iter().all(|x| (-1.0..=1.0).contains(x)));
    /// ```
    pub fn draw(&self, n: usize, rng: &mut impl Rng) -> Batch {
        let levels = WeightedIndex::new(&self.p).expect("all probabilities are positive");
        Batch::from_shape_simple_fn((n, 1, 1, 1), || pixel(levels.sample(rng)))
    }

    /// The perfect denoiser of this world.
    ///
    /// ```
    /// use ddpm::diffusion::{Denoiser, Schedule, oracle::OnePixelWorld};
    /// let model = OnePixelWorld::two_humps().denoiser(Schedule::cosine(10));
    /// assert_eq!(model.predict(&ndarray::Array4::zeros((2, 1, 1, 1)), &[2, 9]).dim(), (2, 1, 1, 1));
    /// ```
    pub fn denoiser(&self, schedule: Schedule) -> MixtureWorld {
        let levels: Array4<f64> = Array::from_shape_fn((256, 1, 1, 1), |(k, ..)| pixel(k));
        MixtureWorld::new(levels, &self.p, 0.0, schedule)
    }

    /// The bound and the exact likelihood, for the perfect denoiser with a fixed variance: the sums of
    /// [`exact_terms`](OnePixelWorld::exact_terms).
    ///
    /// # Panics
    /// When the variance is learned.
    ///
    /// ```
    /// use ddpm::diffusion::{Schedule, Variance, oracle::OnePixelWorld};
    /// let world = OnePixelWorld::new(&[[2.0; 128], [1.0; 128]].concat());
    /// let e = world.exact(&Schedule::cosine(2), Variance::BetaTilde);
    /// assert!(e.bound() >= e.nll && e.nll >= e.entropy);
    /// ```
    #[track_caller]
    pub fn exact(&self, schedule: &Schedule, variance: Variance) -> ExactBound {
        self.exact_terms(schedule, variance).total()
    }

    /// Each term of the bound, and the exact likelihood, for the perfect denoiser with a fixed variance.
    ///
    /// σ_1² = β_1 for both variances (not clipped, so the numbers are those of a plain chain). x̂_0 needs no
    /// clipping: a mean of levels lies between them.
    ///
    /// # Panics
    /// When the variance is learned.
    ///
    /// ```
    /// use ddpm::diffusion::{Schedule, Variance, oracle::OnePixelWorld};
    /// let terms = OnePixelWorld::two_humps().exact_terms(&Schedule::linear_scaled(50)?, Variance::Beta); // in bits
    /// assert_eq!(terms.L_t_minus_1.len(), 49); // of t = 2, …, 50
    /// assert!(terms.L_T < 1e-5 && terms.L_0 > 4.0);
    /// # Ok::<(), ddpm::Error>(())
    /// ```
    #[track_caller]
    pub fn exact_terms(&self, schedule: &Schedule, variance: Variance) -> ExactTerms {
        self.exact_within(6.0, schedule, variance) // 2e-9 of N(0, 1) lies outside
    }

    /// [`exact_terms`](OnePixelWorld::exact_terms) with x_t from −`reach` to `reach`.
    #[track_caller]
    fn exact_within(&self, reach: f64, schedule: &Schedule, variance: Variance) -> ExactTerms {
        let sigma2 = |t: usize| match variance {
            _ if t == 1 => schedule.beta(1),
            Variance::Beta => schedule.beta(t),
            Variance::BetaTilde => schedule.beta_tilde(t),
            _ => panic!("OnePixelWorld: variance {variance} is not fixed"),
        };
        let (grid, dx) = grid(reach, schedule);
        // p_θ(x_T) = N(0, 1), pushed down the chain step by step
        let mut density: Vec<f64> = grid.iter().map(|x| normal_density(x * x, 1.0)).collect();
        let (mut kl, mut x0_mse) = (Vec::new(), Vec::new());
        for t in (2..=schedule.T()).rev() {
            let (c1, c2) = schedule.posterior_coefs(t);
            // L_{t−1} = C_t + c_1²/(2σ²) E[(x_0 − E[x_0|x_t])²]
            let moments: Vec<Moments> =
                grid.iter().map(|&x| self.moments(x, schedule.alpha_bar(t))).collect();
            let mse: f64 = moments.iter().map(|m| dx * m.density * m.variance).sum();
            x0_mse.push(mse);
            kl.push((schedule.kl_const(t, sigma2(t)) + c1 * c1 / (2.0 * sigma2(t)) * mse) / LN_2);
            let mu: Vec<f64> = grid.iter().zip(&moments).map(|(x, m)| c1 * m.mean + c2 * x).collect();
            density = push(&grid, dx, &density, &mu, sigma2(t));
        }
        kl.reverse();
        x0_mse.reverse();
        let (decoder, p_theta) = self.last_step(&grid, dx, &density, schedule);
        ExactTerms {
            L_T: self.prior(schedule) / LN_2,
            L_t_minus_1: kl,
            L_0: decoder / LN_2,
            x0_mse,
            nll: self.p.iter().zip(&p_theta).map(|(p, p_theta)| -p * p_theta.log2()).sum(),
            p_theta,
            entropy: self.entropy(),
        }
    }

    /// L_T in nats.
    fn prior(&self, schedule: &Schedule) -> f64 {
        let alpha_bar = schedule.alpha_bar(schedule.T());
        let kl = |k| kl_normal(alpha_bar.sqrt() * pixel(k), (1.0 - alpha_bar).ln(), 0.0, 0.0);
        (0..256).map(|k| self.p[k] * kl(k)).sum()
    }

    /// L_0 in nats and p_θ(x_0 = k) of each level, from the densities q(x_1|x_0) and p_θ(x_1).
    fn last_step(&self, grid: &[f64], dx: f64, density: &[f64], schedule: &Schedule) -> (f64, Vec<f64>) {
        let alpha_bar = schedule.alpha_bar(1);
        let log_sigma = 0.5 * schedule.beta(1).ln();
        let mut p_theta = vec![0.0; 256];
        let mut decoder = 0.0;
        for (&x, &density) in grid.iter().zip(density) {
            let mean = self.moments(x, alpha_bar).mean; // μ_θ(x_1, 1) = x̂_0
            for (k, p_theta) in p_theta.iter_mut().enumerate() {
                let log_prob = Decoder::Exact.log_prob(pixel(k), mean, log_sigma);
                let q = normal_density((x - alpha_bar.sqrt() * pixel(k)).powi(2), 1.0 - alpha_bar);
                decoder -= dx * self.p[k] * q * log_prob;
                *p_theta += dx * density * log_prob.exp();
            }
        }
        (decoder, p_theta)
    }

    /// q(x_t), and mean and variance of x_0 given x_t.
    fn moments(&self, x_t: f64, alpha_bar: f64) -> Moments {
        let v = 1.0 - alpha_bar;
        let square = |k: usize| (x_t - alpha_bar.sqrt() * pixel(k)).powi(2);
        // the nearest level's exponent is taken out, so that far from all levels the weights don't vanish
        let nearest = ((x_t / alpha_bar.sqrt() + 1.0) * 127.5).round().clamp(0.0, 255.0) as usize;
        let least = square(nearest);
        let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
        for (k, p) in self.p.iter().enumerate() {
            let weight = p * (-(square(k) - least) / (2.0 * v)).exp();
            let off = pixel(k) - pixel(nearest); // moments about the nearest level: no cancellation
            total += weight;
            first += weight * off;
            second += weight * off * off;
        }
        let off = first / total;
        Moments {
            density: total * normal_density(least, v),
            mean: pixel(nearest) + off,
            variance: second / total - off * off,
        }
    }
}

struct Moments {
    density: f64,
    mean: f64,
    variance: f64,
}

/// exp(−square/2v)/√(2πv)
fn normal_density(square: f64, v: f64) -> f64 {
    (-square / (2.0 * v)).exp() / (2.0 * PI * v).sqrt()
}

/// x_t from −`reach` to `reach` in steps of at most σ_1/2. All densities here are at least as wide as σ_1, and for a
/// Gaussian of two steps' width the trapezoidal rule errs by exp(−8π²).
fn grid(reach: f64, schedule: &Schedule) -> (Vec<f64>, f64) {
    let half = (2.0 * reach / schedule.beta(1).sqrt()).ceil() as i32;
    let dx = reach / half as f64;
    ((-half..=half).map(|i| i as f64 * dx).collect(), dx)
}

/// p(x_{t−1}) = ∫ p(x_t) N(x_{t−1}; μ(x_t), σ²) dx_t on the grid.
fn push(grid: &[f64], dx: f64, density: &[f64], mu: &[f64], sigma2: f64) -> Vec<f64> {
    let reach = 9.0 * sigma2.sqrt(); // beyond 9 σ there is 1e-19 of the mass
    let index = |x: f64| (((x - grid[0]) / dx).round().max(0.0) as usize).min(grid.len());
    let mut out = vec![0.0; grid.len()];
    for (&density, &mu) in density.iter().zip(mu) {
        let (from, to) = (index(mu - reach), index(mu + reach));
        for (out, x) in out[from..to].iter_mut().zip(&grid[from..to]) {
            *out += dx * density * normal_density((x - mu).powi(2), sigma2);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{
        Elbo, ElboOptions, Estimate, L_t_minus_1, Noise, Reverse, TimeSteps, elbo, q_sample,
    };
    use crate::rng::{normal, stream};

    /// Linear β of T = 1000, times `scale`.
    fn scaled(steps: usize, scale: f64) -> Schedule {
        let betas: Vec<f64> = (1..=steps).map(|t| scale * Schedule::linear(steps).beta(t)).collect();
        Schedule::from_betas(&betas).unwrap()
    }

    /// T, scale, σ², then L_T, ΣL_{t−1}, L_0, bound, NLL in bits.
    const TABLE: [(usize, f64, Variance, [f64; 5]); 5] = [
        (50, 1.0, Variance::Beta, [0.34282, 4.4937, 2.3932, 7.2298, 7.0353]),
        (50, 20.0, Variance::Beta, [0.00000, 2.8884, 4.4674, 7.3558, 7.0959]),
        (50, 20.0, Variance::BetaTilde, [0.00000, 4.2125, 4.4674, 8.6799, 7.0572]),
        (200, 5.0, Variance::Beta, [0.00001, 3.5825, 3.5325, 7.1150, 7.0256]),
        (200, 5.0, Variance::BetaTilde, [0.00001, 4.4299, 3.5325, 7.9624, 7.0290]),
    ];

    /// The table was made on x_t in −4.5..4.5; up to 3e-4 of p_θ's mass is lost there, which the likelihood pays for.
    /// There all digits agree; the wider grid moves the likelihood alone, by just that mass.
    #[test]
    fn the_table_and_its_order() {
        let world = OnePixelWorld::two_humps();
        for (steps, scale, variance, row) in TABLE {
            let schedule = scaled(steps, scale);
            let e = world.exact_within(4.5, &schedule, variance).total();
            for (is, expected) in [e.L_T, e.sum_L_t_minus_1, e.L_0, e.bound(), e.nll].iter().zip(row) {
                assert!((is - expected).abs() < 6e-5, "{steps} {scale} {variance}: {is} and {expected}");
            }
            let wide = world.exact(&schedule, variance);
            assert!((wide.bound() - e.bound()).abs() < 1e-6);
            assert!((0.0..4e-4).contains(&(e.nll - wide.nll)), "{steps} {scale} {variance}: {}", wide.nll);
            assert!(wide.bound() > wide.nll && wide.nll > wide.entropy);
        }
        assert!((world.entropy() - 7.0193).abs() < 5e-5);
    }

    /// A finer and wider grid changes nothing.
    #[test]
    fn the_grid_is_fine_enough() {
        let world = OnePixelWorld::two_humps();
        let schedule = scaled(50, 20.0);
        let e = world.exact(&schedule, Variance::Beta);
        let wider = world.exact_within(7.3, &schedule, Variance::Beta).total();
        assert!((e.nll - wider.nll).abs() < 1e-6 && (e.bound() - wider.bound()).abs() < 1e-8);
    }

    /// Each term is the KL divergence of its own two Gaussians, averaged over levels and noises by Monte Carlo; the terms
    /// add up to the total; p_θ is a distribution.
    #[test]
    fn the_terms_are_those_of_the_bound() {
        let world = OnePixelWorld::two_humps();
        let schedule = scaled(50, 20.0);
        for variance in [Variance::Beta, Variance::BetaTilde] {
            let terms = world.exact_terms(&schedule, variance);
            let total = world.exact(&schedule, variance);
            assert_eq!((terms.L_t_minus_1.len(), terms.x0_mse.len()), (49, 49));
            assert!((terms.bound() - total.bound()).abs() < 1e-12 && terms.nll == total.nll);
            assert!((terms.p_theta.iter().sum::<f64>() - 1.0).abs() < 1e-6);
            assert!(terms.x0_mse.windows(2).all(|pair| pair[0] < pair[1]), "noise only hides");
            let reverse = Reverse { clip: false, variance, ..Reverse::new(schedule.clone()) };
            let data = world.draw(4000, &mut stream(8, 0));
            for t in [2, 3, 20, 50] {
                let each = vec![t; 4000];
                let eps = normal(data.dim(), &mut stream(8, t as u64));
                let x_t = q_sample(&schedule, &data, &each, &eps);
                let p = reverse.p_mean_variance(&world.denoiser(schedule.clone()), &x_t, &each);
                let bits = L_t_minus_1(&schedule, &data, &x_t, &each, &p) / LN_2;
                let (estimate, exact) = (Estimate::of(&bits), terms.L_t_minus_1[t - 2]);
                let off = (estimate.mean - exact).abs();
                assert!(off < 4.0 * estimate.std_error, "t = {t}, {variance}: {estimate}, {exact}");
            }
        }
    }

    /// The Monte-Carlo bound of `elbo` agrees with the integrals, all t or some, within four standard errors.
    #[test]
    fn monte_carlo_agrees_with_quadrature() {
        let world = OnePixelWorld::two_humps();
        let schedule = scaled(50, 20.0);
        let exact = world.exact(&schedule, Variance::Beta);
        let data = world.draw(3000, &mut stream(5, 0));
        let model = world.denoiser(schedule.clone());
        let reverse = Reverse { clip: false, ..Reverse::new(schedule) };
        let run = |time_steps| -> Elbo {
            let options = ElboOptions { time_steps, batch: 1000, ..Default::default() };
            elbo(&model, &reverse, &data, &options, &Noise::seed(6))
        };
        for time_steps in [TimeSteps::All, TimeSteps::Stratified { count: 8, seed: 7 }] {
            let bound = run(time_steps);
            let kl = bound.mean_bits_per_dim(bound.sum_L_t_minus_1());
            assert!((kl.mean - exact.sum_L_t_minus_1).abs() < 4.0 * kl.std_error, "{time_steps:?}: {kl}");
            assert!(kl.std_error < 0.2, "{time_steps:?}: {kl}");
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let world = OnePixelWorld::two_humps();
        let mean: f64 = (0..256).map(|k| world.probabilities()[k] * pixel(k)).sum();
        let data = world.draw(20_000, &mut stream(1, 0));
        assert!((data.mean().unwrap() - mean).abs() < 0.02);
    }

    #[test]
    #[should_panic(expected = "OnePixelWorld: variance learned is not fixed")]
    fn a_learned_variance_has_no_table() {
        OnePixelWorld::two_humps().exact(&Schedule::cosine(10), Variance::Learned);
    }

    #[test]
    #[should_panic(expected = "OnePixelWorld: probabilities must be positive")]
    fn positive_probabilities() {
        OnePixelWorld::new(&[0.0; 256]);
    }

    #[test]
    #[should_panic(expected = "OnePixelWorld: one probability per grey level")]
    fn all_levels() {
        OnePixelWorld::new(&[1.0; 10]);
    }
}
