//! A network that is trained together with its noise levels: VDM and MuLAN at a finite number of steps.
//!
//! z_t = α_t x + σ_t ε with γ_t = log(σ_t²/α_t²) of a [`Gamma`]; the network guesses ε. It is told γ's mean over the image,
//! mapped to 1..=1000. Bits/dim are VDM's: x at the middle of its level, a softmax decoder, all T steps in the sum; they are
//! not to be mixed with those of [`elbo`](crate::diffusion::elbo()).

mod context;

pub use context::{Context, Drawn};

use crate::checkpoint::{self, Precision, Tensors};
use crate::diffusion::{
    Denoiser, Estimate, Gamma, Level, Noise, Path, Transition, diffusion_term, level_value, posterior,
    prior_term, reconstruction_term,
};
use crate::error::{Error, Fault, Result};
use crate::params::params;
use crate::rng::stream;
use crate::tensor::{Batch, Tensor2};
use crate::unet::{Unet, UnetConfig};
use ndarray::{Array1, Array2, Array3, Array4, ArrayView3, Axis, Zip};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::f64::consts::LN_2;

/// A network and its noise levels.
#[derive(Clone, Debug)]
pub struct Variational {
    /// guesses ε
    pub unet: Unet,
    /// γ(t), one path for all pixels or one for each
    pub gamma: Gamma,
    /// what makes γ of each image its own
    pub context: Option<Context>,
    /// T
    pub steps: usize,
}

params!(Variational { unet, gamma, context });

/// What a file says of it beside its numbers.
#[derive(Serialize, Deserialize)]
struct Header {
    unet: String,
    path: Path,
    ends: [f64; 2],
    paths: usize,
    steps: usize,
    rate: f64,
    /// numbers of the context's z; 0 is no context
    #[serde(default)]
    latent: usize,
}

/// The terms of the bound of some images, bits per dimension.
#[derive(Clone, Debug)]
pub struct VariationalBound {
    /// E[−log p(x|z_0)] of each image, `[N]`
    pub reconstruction: Array1<f64>,
    /// the KL of each step i = 1 … T of each image, `[N, T]`
    pub diffusion: Array2<f64>,
    /// KL(q(z_1|x) ‖ N(0, I)) of each image, `[N]`
    pub prior: Array1<f64>,
    /// KL(q(z|x) ‖ N(0, I)) of the context's z, `[N]`; 0 without one
    pub context: Array1<f64>,
}

impl VariationalBound {
    /// The whole bound of each image, `[N]`.
    pub fn total(&self) -> Array1<f64> {
        &self.reconstruction + &self.prior + &self.diffusion.sum_axis(Axis(1)) + &self.context
    }

    /// Its terms and their sum by their names.
    pub fn named(&self) -> [(&'static str, Array1<f64>); 5] {
        [
            ("-log p(x|z_0)", self.reconstruction.clone()),
            ("Σ KL of steps", self.diffusion.sum_axis(Axis(1))),
            ("KL of z_1", self.prior.clone()),
            ("KL of context", self.context.clone()),
            ("L", self.total()),
        ]
    }

    /// Its mean, with a standard error over images.
    pub fn bits_per_dim(&self) -> Estimate {
        Estimate::of(&self.total())
    }
}

/// The middle of each pixel's level, x = 2 (v + ½)/256 − 1.
pub fn level_values(levels: &Array4<u8>) -> Batch {
    levels.mapv(level_value)
}

impl Variational {
    /// The shape of γ's ends in the papers: −13.3 and 5.
    pub const ENDS: [f64; 2] = [-13.3, 5.0];

    /// A fresh network, and a γ for all pixels or one for each.
    ///
    /// # Panics
    /// If the configuration fails its check, or `steps` is 0.
    #[track_caller]
    pub fn new(config: &UnetConfig, path: Path, steps: usize, per_pixel: bool, seed: u64) -> Variational {
        assert!(steps > 0, "Variational: at least one step");
        let (h, w) = config.image_size();
        let paths = if per_pixel { h * w * config.image_channels() } else { 1 };
        let gamma = Gamma::new(path, Variational::ENDS, steps, paths);
        let unet = Unet::new(config, &mut stream(seed, u64::MAX));
        Variational { unet, gamma, context: None, steps }
    }

    /// With a context of `latent` numbers.
    ///
    /// # Panics
    /// If γ has no numbers that it could move.
    #[track_caller]
    pub fn with_context(self, latent: usize, seed: u64) -> Variational {
        assert!(!self.gamma.numbers.is_empty(), "Variational: a context for a path without numbers");
        let ((h, w), c) = (self.unet.config.image_size(), self.unet.config.image_channels());
        let numbers = self.gamma.numbers.len();
        let context = Context::new(h * w * c, latent, numbers, &mut stream(seed, u64::MAX - 1));
        Variational { context: Some(context), ..self }
    }

    /// The z of images, if there is a context; `noise(latent)` draws `[N, 1, 1, latent]`.
    pub(crate) fn draw_context(&self, x: &Batch, noise: impl FnOnce(usize) -> Batch) -> Option<Drawn> {
        self.context.as_ref().map(|context| context.draw(x, noise(context.latent())))
    }

    /// The γ of all images, or of each.
    pub(crate) fn paths(&self, drawn: Option<&Drawn>) -> Paths<'_> {
        match drawn {
            None => Paths::Shared(&self.gamma),
            Some(drawn) => Paths::Own(drawn.gammas(&self.gamma)),
        }
    }

    /// What the network is told of an image's γ: 1 + 999 (mean γ − γ_0)/(γ_1 − γ_0), rounded.
    pub fn network_time(&self, gammas: &Batch) -> Vec<usize> {
        let [first, last] = self.gamma.ends;
        let time =
            |mean: f64| 1 + (999.0 * (mean - first) / (last - first)).round().clamp(0.0, 999.0) as usize;
        gammas.outer_iter().map(|image| time(image.mean().expect("pixels"))).collect()
    }

    /// The bound of images, every step of it once.
    ///
    /// # Shapes
    /// `levels` `[N, H, W, C]`.
    pub fn bound(&self, levels: &Array4<u8>, noise: &Noise) -> VariationalBound {
        let (n, h, w, c) = levels.dim();
        let (x, shape, bits) = (level_values(levels), [h, w, c], (h * w * c) as f64 * LN_2);
        let draw = |i: usize| noise.batch([n, h, w, c], &vec![i; n]);
        let drawn = self.draw_context(&x, |latent| self.noise_of_z(noise, [n, latent]));
        let paths = self.paths(drawn.as_ref());
        let gammas = |i: usize| paths.at(&vec![i; n], self.steps, shape);
        let mut diffusion = Array2::zeros((n, self.steps));
        for i in 1..=self.steps {
            let (gamma_t, gamma_s) = (gammas(i), gammas(i - 1));
            let eps = draw(i);
            let z = noisy(&x, &eps, &gamma_t);
            let eps_hat = self.unet.predict(&z, &self.network_time(&gamma_t));
            let term = diffusion_term(&eps, &eps_hat, &gamma_t, &gamma_s, 1.0);
            diffusion.column_mut(i - 1).assign(&(term.nats / bits));
        }
        let (gamma_0, gamma_1) = (gammas(0), gammas(self.steps));
        let rescaled = &x + &(&gamma_0.mapv(|g| (0.5 * g).exp()) * &draw(0));
        VariationalBound {
            reconstruction: reconstruction_term(&rescaled, &gamma_0, levels).nats / bits,
            diffusion,
            prior: prior_term(&x, &gamma_1).nats / bits,
            context: drawn.map_or_else(|| Array1::zeros(n), |drawn| drawn.kl() / bits),
        }
    }

    /// Of a step that no chain has.
    fn noise_of_z(&self, noise: &Noise, [n, latent]: [usize; 2]) -> Batch {
        noise.batch([n, 1, 1, latent], &vec![self.steps + 1; n])
    }

    /// Samples: z_1 ~ N(0, I), then T steps of p(z_s|z_t) = q(z_s|z_t, x̂), x̂ clipped to [−1, 1]; the last x̂ is the image.
    ///
    /// # Shapes
    /// Returns `[n, H, W, C]`.
    pub fn sample(&self, n: usize, noise: &Noise) -> Batch {
        let ((h, w), c) = (self.unet.config.image_size(), self.unet.config.image_channels());
        let shape = [n, h, w, c];
        let paths = self.context.as_ref().map_or(Paths::Shared(&self.gamma), |context| {
            Paths::Own(context.prior(&self.gamma, &self.noise_of_z(noise, [n, context.latent()])))
        });
        let gammas = |i: usize| paths.at(&vec![i; n], self.steps, [h, w, c]);
        let mut z = noise.batch(shape, &vec![0; n]);
        let mut x_hat = z.clone();
        for i in (1..=self.steps).rev() {
            let (gamma_t, gamma_s) = (gammas(i), gammas(i - 1));
            let eps_hat = self.unet.predict(&z, &self.network_time(&gamma_t));
            Zip::from(&mut x_hat).and(&z).and(&eps_hat).and(&gamma_t).for_each(|x, z, eps, &gamma| {
                let level = Level::from_gamma(gamma);
                *x = ((z - level.variance.sqrt() * eps) / level.alpha).clamp(-1.0, 1.0);
            });
            let step = Zip::from(&gamma_s)
                .and(&gamma_t)
                .map_collect(|&s, &t| Transition::between(Level::from_gamma(s), Level::from_gamma(t)));
            z = posterior(&x_hat, &z, &step).sample(&noise.batch(shape, &vec![i; n]));
        }
        x_hat
    }

    /// Writes everything into one file.
    ///
    /// # Errors
    /// A weight is not finite, or the file can't be written.
    pub fn save(&self, path: &std::path::Path, precision: Precision) -> Result<()> {
        let header = Header {
            unet: self.unet.config.to_json(),
            path: self.gamma.path,
            ends: self.gamma.ends,
            paths: self.gamma.numbers.nrows(),
            steps: self.steps,
            rate: self.gamma.rate,
            latent: self.context.as_ref().map_or(0, Context::latent),
        };
        let mut file = Tensors::default();
        file.metadata.insert(HEADER.into(), serde_json::to_string(&header).expect("plain values"));
        checkpoint::add(self, "", &mut file.tensors);
        checkpoint::write(path, &file, precision)
    }

    /// Reads what [`save`](Variational::save) wrote.
    ///
    /// # Errors
    /// The file can't be read, is damaged, or is another one.
    pub fn load(path: &std::path::Path) -> Result<Variational> {
        Variational::from_tensors(checkpoint::read(path)?).map_err(Fault::at(path))
    }

    /// The same from the contents of a file.
    ///
    /// # Errors
    /// As [`load`](Variational::load).
    pub fn parse(bytes: &[u8]) -> Result<Variational, Fault> {
        Variational::from_tensors(checkpoint::parse(bytes)?)
    }

    fn from_tensors(mut file: Tensors) -> Result<Variational, Fault> {
        let header = file
            .metadata
            .get(HEADER)
            .ok_or_else(|| Fault::format("a network with its γ", "other tensors"))?;
        let header: Header = serde_json::from_str(header).map_err(|e| Fault::format("a header", e))?;
        let config = UnetConfig::from_json(&header.unet)?;
        let gamma = header.gamma(&config)?;
        checkpoint::enough(&config, &file)?;
        let unet = Unet::new(&config, &mut stream(0, 0));
        let mut model = Variational { unet, gamma, context: None, steps: header.steps };
        if header.latent > 0 {
            let numbers = model.gamma.numbers.len();
            if numbers == 0 {
                return Err(Fault::format("a path with numbers that a context can move", header.path));
            }
            let (h, w) = config.image_size();
            let of_each = 2 * h * w * config.image_channels() + numbers; // encoder and decoder
            checkpoint::enough_for(header.latent as f64 * of_each as f64, &file)?;
            model = model.with_context(header.latent, 0);
        }
        checkpoint::fill(&mut model, "", &mut file.tensors)?;
        checkpoint::nothing_left(&file.tensors)?;
        Ok(model)
    }
}

/// The γ of all images, or of each.
pub(crate) enum Paths<'a> {
    Shared(&'a Gamma),
    Own(Vec<Gamma>),
}

impl Paths<'_> {
    /// γ at i/T of images at steps of their own, `[N, H, W, C]`.
    pub(crate) fn at(&self, i: &[usize], steps: usize, [h, w, c]: [usize; 3]) -> Batch {
        let map = |gamma: &Gamma, i: usize| {
            let gamma = gamma.at(i as f64 / steps as f64);
            match gamma.len() {
                1 => Array3::from_elem((h, w, c), gamma[0]),
                _ => gamma.into_shape_with_order((h, w, c)).expect("a path for each pixel"),
            }
        };
        let mut gammas = Batch::zeros((i.len(), h, w, c));
        match self {
            Paths::Shared(gamma) => {
                let distinct: BTreeSet<usize> = i.iter().copied().collect();
                let at: BTreeMap<usize, _> = distinct.into_iter().map(|i| (i, map(gamma, i))).collect();
                gammas.outer_iter_mut().zip(i).for_each(|(mut image, i)| image.assign(&at[i]));
            }
            Paths::Own(all) => {
                let each = gammas.outer_iter_mut().zip(i).zip(all);
                each.for_each(|((mut image, &i), gamma)| image.assign(&map(gamma, i)));
            }
        }
        gammas
    }

    /// Adds the gradient of image n's γ at i/T to its numbers' in `grads`, which are as many as the paths.
    ///
    /// # Shapes
    /// `d_gamma` `[H, W, C]`.
    pub(crate) fn backward(&self, n: usize, t: f64, d_gamma: ArrayView3<f64>, grads: &mut [Gamma]) {
        let (gamma, grad) = match self {
            Paths::Shared(gamma) => (*gamma, &mut grads[0]),
            Paths::Own(all) => (&all[n], &mut grads[n]),
        };
        let d = match gamma.numbers.nrows() {
            1 => Array1::from_elem(1, d_gamma.sum()),
            _ => d_gamma.iter().copied().collect(),
        };
        gamma.backward(t, &d, grad);
    }
}

impl Header {
    /// A γ of this kind, its numbers still to be filled in.
    fn gamma(&self, config: &UnetConfig) -> Result<Gamma, Fault> {
        let Header { path, ends, paths, steps, rate, .. } = *self;
        let (h, w) = config.image_size();
        let all = h * w * config.image_channels();
        if ![1, all].contains(&paths) || check_steps(steps).is_err() || ends[0] >= ends[1] {
            let found = format!("{paths} paths, {steps} steps, {ends:?}");
            return Err(Fault::format(format!("1 or {all} paths of 1 to 100000 steps that rise"), found));
        }
        Ok(Gamma { rate, ..Gamma::new(path, ends, steps, paths) })
    }
}

/// The key of the header in a file's metadata.
const HEADER: &str = "ddpm_variational";

/// Images, or moments, as rows of a layer's input.
fn values(x: &Batch) -> Tensor2 {
    let n = x.dim().0;
    let x = x.mapv(|v| v as f32);
    let columns = x.len() / n.max(1);
    x.into_shape_with_order((n, columns)).expect("a fresh array")
}

/// z = α x + σ ε.
pub(crate) fn noisy(x: &Batch, eps: &Batch, gamma: &Batch) -> Batch {
    Zip::from(x).and(eps).and(gamma).map_collect(|x, eps, &gamma| {
        let level = Level::from_gamma(gamma);
        level.alpha * x + level.variance.sqrt() * eps
    })
}

/// An error for options that can't be.
pub(crate) fn check_steps(steps: usize) -> Result<()> {
    if (1..=100_000).contains(&steps) {
        Ok(())
    } else {
        Err(Error::argument("T", "1 to 100000 steps", steps))
    }
}
