//! The model in a browser: what a page asks of it, and what it gets.
//!
//! [`Model`] is the library behind a few questions, with one image of 28×28 grey levels in each of four places. `exports` makes
//! functions of it that JavaScript can call; there is no other mathematics than the crate's.

pub mod exports;

use ddpm::checkpoint::{Pretrained, TOLD};
use ddpm::data::{to_u8, to_unit};
use ddpm::diffusion::{
    Conditioned, Ddim, ElboOptions, Given, Guided, Interpolation, Known, L_0, L_T, L_t_minus_1, Noise,
    TimeSteps, bits_per_dim, ddim_step, elbo, interpolate_latents, paste, q_sample,
};
use ddpm::error::Result;
use ddpm::figures::{Chart, Scale};
use ddpm::tensor::Batch;
use ndarray::{Array4, Axis};

/// Height and width of an image.
pub const SIDE: usize = 28;
/// Numbers of an image.
pub const PIXELS: usize = SIDE * SIDE;

/// An image as a page has it.
pub type Levels = [u8; PIXELS];

/// What one image's bound is made of, in bits per dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// L_T, Σ L_{t−1}, L_0 and their sum
    pub parts: [f64; 4],
    /// t and L_{t−1} (for t = 1: L_0) where they were evaluated
    pub terms: Vec<(usize, f64)>,
}

/// A chain on its way from noise to an image.
struct Chain {
    /// where it stands, and the t it has still to visit
    x_t: Batch,
    times: Vec<usize>,
    ddim: Ddim,
    given: Given,
    w: f64,
}

/// The network, which knows the ten classes and what is known of an image, and what it is working on.
pub struct Model {
    model: Pretrained,
    chain: Option<Chain>,
}

impl Model {
    /// The shipped network `told`.
    ///
    /// # Errors
    /// Those of the file.
    pub fn new() -> Result<Model> {
        Ok(Model { model: TOLD.load()?, chain: None })
    }

    fn begin(&mut self, x_t: Batch, from: usize, steps: usize, given: Given, w: f64) {
        // the first step is from where it begins, the others are DDIM's
        let ddim = Ddim { rederive_eps: w != 0.0, ..Ddim::new(steps.clamp(2, self.T()) - 1) };
        let mut times: Vec<usize> = ddim.timesteps(self.T()).into_iter().filter(|&t| t < from).collect();
        times.insert(0, from);
        self.chain = Some(Chain { x_t, times, ddim, given, w });
    }

    /// T of the chain.
    #[allow(non_snake_case)] // T is the paper's name
    pub fn T(&self) -> usize {
        self.model.reverse.schedule.T()
    }

    /// Begins a sample from noise, of a class or of any, with guidance w, in so many steps.
    pub fn sample(&mut self, seed: u64, steps: usize, class: Option<usize>, w: f64) {
        let given = class.map_or_else(Given::default, |class| Given::classes(&[class]));
        self.begin(noise(seed, 0), self.T(), steps, given, if class.is_some() { w } else { 0.0 });
    }

    /// Begins to fill in the pixels of an image that are not known.
    pub fn fill(&mut self, seed: u64, steps: usize, image: &Levels, known: &[bool; PIXELS]) {
        let mask = Array4::from_shape_fn((1, SIDE, SIDE, 1), |(_, y, x, _)| {
            f64::from(u8::from(known[y * SIDE + x]))
        });
        let given = Given::known(Known { values: unit(image), mask });
        self.begin(noise(seed, 0), self.T(), steps, given, 0.0);
    }

    /// Begins at what lies between two images at depth t, a share λ of the way from the first to the second.
    pub fn between(&mut self, seed: u64, steps: usize, images: [&Levels; 2], t: usize, lambda: f64) {
        let [a, b] = images.map(|image| unit(image).index_axis_move(Axis(0), 0));
        let between = Interpolation { x0: a.view(), x0_prime: b.view(), t, lambdas: &[lambda] };
        let x_t = interpolate_latents(&self.model.reverse, &between, &Noise::seed(seed));
        self.begin(x_t, t.clamp(1, self.T()), steps, Given::default(), 0.0);
    }

    /// Takes the next step: from which t, to which, x_t before it and x̂_0 of it; None where there is none.
    pub fn step(&mut self) -> Option<(usize, usize, Levels, Levels)> {
        let chain = self.chain.as_mut().filter(|chain| !chain.times.is_empty())?;
        let t = chain.times.remove(0);
        let next = chain.times.first().copied().unwrap_or(0);
        let (unet, reverse) = (&self.model.unet, &self.model.reverse);
        let guided = Guided { model: unet, w: chain.w };
        let told = Conditioned { model: &guided, given: chain.given.clone() };
        let silence = Batch::zeros(chain.x_t.raw_dim()); // η = 0
        let step = ddim_step(&told, reverse, &chain.ddim, &chain.x_t, t, next, &silence);
        chain.x_t = step.x_prev;
        let shown = |x: &Batch| match &chain.given.known {
            Some(known) => levels(&paste(x, known)), // of these the network has never been asked
            None => levels(x),
        };
        Some((t, next, shown(&chain.x_t), shown(&step.x0_hat)))
    }

    /// An image with the noise of t, and what the network takes it for.
    pub fn look(&self, seed: u64, image: &Levels, t: usize) -> (Levels, Levels) {
        let (_, x_t) = self.noised(seed, image, t);
        let x0_hat = self.model.reverse.p_mean_variance(&self.model.unet, &x_t, &[t]).x0_hat;
        (levels(&x_t), levels(&x0_hat))
    }

    /// The term that step t costs this image with this noise, bits per dimension: L_{t−1}, or L_0 for t = 1.
    pub fn term(&self, seed: u64, image: &Levels, t: usize) -> f64 {
        let (reverse, (x0, x_t)) = (&self.model.reverse, self.noised(seed, image, t));
        let p = reverse.p_mean_variance(&self.model.unet, &x_t, &[t]);
        let nats = match t {
            1 => L_0(&x0, &p, ElboOptions::default().decoder),
            _ => L_t_minus_1(&reverse.schedule, &x0, &x_t, &[t], &p),
        };
        bits_per_dim(nats[0], PIXELS)
    }

    /// What the end of the chain still knows of this image, L_T, bits per dimension.
    pub fn prior(&self, image: &Levels) -> f64 {
        bits_per_dim(L_T(&self.model.reverse.schedule, &unit(image))[0], PIXELS)
    }

    /// The bound of one image, from t = 1 and so many other t.
    pub fn bound(&self, seed: u64, image: &Levels, count: usize) -> Bound {
        let time_steps = TimeSteps::Stratified { count, seed };
        let options = ElboOptions { time_steps, batch: 1, ..ElboOptions::default() };
        let bound = elbo(&self.model.unet, &self.model.reverse, &unit(image), &options, &Noise::seed(seed));
        let parts = bound.decomposition();
        let parts = [parts.L_T, parts.L_t_minus_1, parts.L_0, parts.bound].map(|part| part.mean);
        let (times, nats) = (bound.t.row(0), bound.L.row(0));
        let terms = times.iter().zip(nats).map(|(&t, &nats)| (t, bits_per_dim(nats, PIXELS))).collect();
        Bound { parts, terms }
    }

    /// The terms over t as the library draws them: SVG.
    ///
    /// # Errors
    /// Those of plotters.
    pub fn chart(bound: &Bound) -> Result<String> {
        let (t, bits): (Vec<f64>, Vec<f64>) =
            bound.terms.iter().filter(|term| term.1 > 0.0).map(|&(t, bits)| (t as f64, bits)).unzip();
        let chart =
            Chart::new("t", "L_{t−1}, bits per pixel").scales(Scale::Log, Scale::Log).x_range(1.0, 1000.0);
        chart.points("", &t, &bits).figure().to_svg()
    }

    fn noised(&self, seed: u64, image: &Levels, t: usize) -> (Batch, Batch) {
        let x0 = unit(image);
        let x_t = q_sample(&self.model.reverse.schedule, &x0, &[t], &noise(seed, t));
        (x0, x_t)
    }
}

/// A noise image.
fn noise(seed: u64, t: usize) -> Batch {
    Noise::seed(seed).batch([1, SIDE, SIDE, 1], &[t])
}

/// Grey levels as pixels in [−1, 1], a batch of one.
fn unit(image: &Levels) -> Batch {
    to_unit(&Array4::from_shape_vec((1, SIDE, SIDE, 1), image.to_vec()).expect("as many as there are"))
}

/// A batch of one as grey levels.
fn levels(x: &Batch) -> Levels {
    let mut levels = [0; PIXELS];
    levels.iter_mut().zip(&to_u8(x)).for_each(|(to, level)| *to = *level);
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The image that the page shows at first.
    fn shirt() -> Levels {
        let images = ddpm::data::fashion_mnist_test();
        let labels = images.labels.as_ref().expect("labels");
        let first = labels.iter().position(|&label| label == 0).expect("a t-shirt");
        let pixels = images.select(&[first]).pixels;
        let mut image = [0; PIXELS];
        image.iter_mut().zip(&pixels).for_each(|(to, level)| *to = *level);
        image
    }

    fn mean(levels: &Levels) -> f64 {
        levels.iter().map(|&level| f64::from(level)).sum::<f64>() / PIXELS as f64
    }

    /// What the page is held against in a browser; `WRITE=1` makes it.
    #[test]
    fn the_page_s_numbers() {
        let (mut model, image) = (Model::new().unwrap(), shirt());
        model.sample(1, 20, None, 0.0);
        let last = std::iter::from_fn(|| model.step()).last().expect("steps");
        let looks = [1, 2, 100, 500, 1000].map(
            |t| serde_json::json!({ "t": t, "term": model.term(7, &image, t), "prior": model.prior(&image) }),
        );
        let numbers = serde_json::json!({
            "sample": { "mean": mean(&last.3) },
            "looks": looks,
            "bound": model.bound(1, &image, 40).parts,
        });
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/expected.json");
        if std::env::var_os("WRITE").is_some() {
            std::fs::write(path, format!("{numbers:#}\n")).unwrap();
        }
        let stored: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        same(&numbers, &stored);
    }

    /// Equal but for what another vector unit rounds otherwise.
    fn same(a: &serde_json::Value, b: &serde_json::Value) {
        match (a.as_f64().zip(b.as_f64()), a.as_array(), a.as_object()) {
            (Some((a, b)), ..) => assert!((a - b).abs() <= 1e-5 * b.abs(), "{a} instead of {b}"),
            (_, Some(list), _) => (0..list.len()).for_each(|i| same(&a[i], &b[i])),
            (.., Some(map)) => map.keys().for_each(|key| same(&a[key], &b[key])),
            _ => assert_eq!(a, b),
        }
    }

    #[test]
    fn chains_end_and_what_is_known_is_asked_for() {
        let (mut model, image) = (Model::new().unwrap(), shirt());
        assert!(model.step().is_none());
        model.between(5, 10, [&image, &image], 300, 0.0);
        let steps: Vec<(usize, usize)> =
            std::iter::from_fn(|| model.step()).map(|(t, next, ..)| (t, next)).collect();
        assert_eq!(steps, [(300, 223), (223, 112), (112, 1), (1, 0)]);
        model.sample(1, 20, None, 0.0);
        assert_eq!(std::iter::from_fn(|| model.step()).count(), 20);

        let known = std::array::from_fn(|i| i < PIXELS / 2);
        model.fill(1, 20, &image, &known);
        let filled = std::iter::from_fn(|| model.step()).last().expect("steps").3;
        assert!(filled[..PIXELS / 2] == image[..PIXELS / 2] && filled != image);
    }

    #[test]
    fn a_bound_is_the_sum_of_its_parts() {
        let (model, image) = (Model::new().unwrap(), shirt());
        let Bound { parts: [l_prior, l_t, l_0, sum], terms } = model.bound(1, &image, 5);
        assert!((l_prior + l_t + l_0 - sum).abs() < 1e-12 && terms.len() == 6 && terms[0] == (1, l_0));
        assert_eq!(l_prior, model.prior(&image));
    }
}
