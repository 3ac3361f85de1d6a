//! A network and its noise levels, trained together on the bound itself.

use super::denoising::is_default;
use super::{Objective, Saved};
use crate::checkpoint::{self, Precision, Tensors};
use crate::data::{Examples, to_u8};
use crate::diffusion::{Path, diffusion_term, through_z};
use crate::error::{Error, Fault, Result};
use crate::optim::AdamOptions;
use crate::params::Params;
use crate::rng::{Domain, normal_batch};
use crate::tensor::{Batch, Tensor2};
use crate::unet::{GROUP_SIZE, UnetConfig};
use crate::variational::{Variational, check_steps, level_values, noisy};
use ndarray::Axis;
use ndarray_rand::rand::Rng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::f64::consts::LN_2;

/// What is minimised: T times a diffusion term of the bound at one step drawn of T, bits per dimension. What the ends of γ cost
/// is not in it, as they are pinned.
///
/// γ_t moves the weight of its term, that of the next, and z_t; the network's own input moves too, which is left out, as its
/// share is 0 for the best network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariationalTraining {
    /// images per step
    pub batch: usize,
    /// of everything random
    pub seed: u64,
    /// T
    pub steps: usize,
    /// how γ rises
    pub path: Path,
    /// whether each pixel has its own γ
    pub per_pixel: bool,
    /// numbers of the z that makes γ of each image its own; 0 is no such z
    #[serde(default, skip_serializing_if = "is_default")]
    pub context: usize,
    /// γ's step size is so many times the network's
    pub gamma_rate: f64,
    /// how the weights move
    pub adam: AdamOptions,
}

impl VariationalTraining {
    /// What must hold of the numbers.
    ///
    /// # Errors
    /// An [`Error::Argument`] that names the option.
    pub fn check(&self) -> Result<()> {
        check_steps(self.steps)?;
        if self.batch == 0 {
            return Err(Error::argument("batch", "at least one image", 0));
        }
        if self.context > 0 && self.path == Path::Linear {
            return Err(Error::argument("context", "a path with numbers that it can move", self.path));
        }
        if self.context > MAX_CONTEXT {
            return Err(Error::argument("context", format!("at most {MAX_CONTEXT} numbers"), self.context));
        }
        if !(self.gamma_rate.is_finite() && self.gamma_rate > 0.0) {
            return Err(Error::argument("gamma_rate", "a number above 0", self.gamma_rate));
        }
        self.adam.check()
    }
}

/// More numbers of a context are a slip of the finger.
const MAX_CONTEXT: usize = 4096;

/// Images at steps of their own.
#[derive(Clone, Debug)]
pub struct VariationalGroup {
    x: Batch,
    i: Vec<usize>,
    eps: Batch,
    /// the noise of z, `[N, 1, 1, context]`
    eps_z: Batch,
    rngs: Vec<ChaCha8Rng>,
}

impl Objective for VariationalTraining {
    type Model = Variational;
    type Data = dyn Examples;
    type Group = VariationalGroup;

    /// # Errors
    /// The images have another shape than the network's.
    fn check_data(&self, model: &Variational, data: &dyn Examples) -> Result<()> {
        let ((h, w), c) = (model.unet.config.image_size(), model.unet.config.image_channels());
        if data.shape() == [h, w, c] {
            return Ok(());
        }
        Err(Error::argument(data.name(), format!("images of {h}x{w}x{c}"), format!("{:?}", data.shape())))
    }

    /// Image `n` of step `k` has the stream `k · batch + n`; its step of T is that of (u + n/batch) mod 1, VDM's even times.
    fn draw(&self, _: &Variational, data: &dyn Examples, steps: u64) -> Vec<VariationalGroup> {
        let first = steps * self.batch as u64;
        let u: f64 = Domain::Training.stream(self.seed, u64::MAX / 4 - steps).random();
        let numbers: Vec<u64> = (0..self.batch as u64).collect();
        let draw = |numbers: &[u64]| {
            let stream = |&n: &u64| Domain::Training.stream(self.seed, first + n);
            let mut rngs: Vec<ChaCha8Rng> = numbers.iter().map(stream).collect();
            let x = level_values(&to_u8(&data.draw_batch(&mut rngs).x0));
            let step = |&n: &u64| {
                let share = (u + n as f64 / self.batch as f64).fract();
                1 + ((share * self.steps as f64) as usize).min(self.steps - 1)
            };
            let eps = normal_batch(data.shape(), &mut rngs);
            let eps_z = normal_batch([1, 1, self.context], &mut rngs);
            VariationalGroup { x, i: numbers.iter().map(step).collect(), eps, eps_z, rngs }
        };
        numbers.par_chunks(GROUP_SIZE).map(draw).collect()
    }

    fn examples(group: &VariationalGroup) -> usize {
        group.i.len()
    }

    fn loss_and_grad(
        &self,
        model: &Variational,
        group: &mut VariationalGroup,
        n: usize,
        grad: &mut Variational,
    ) -> f64 {
        let VariationalGroup { x, i, eps, eps_z, rngs } = group;
        let (images, h, w, c) = x.dim();
        let before: Vec<usize> = i.iter().map(|i| i - 1).collect();
        let drawn = model.draw_context(x, |_| eps_z.clone());
        let paths = model.paths(drawn.as_ref());
        let [gamma_t, gamma_s] = [&*i, &before].map(|i| paths.at(i, self.steps, [h, w, c]));
        let z = noisy(x, eps, &gamma_t);
        let (y, cache) = model.unet.forward(z.mapv(|z| z as f32), &model.network_time(&gamma_t), rngs);
        let term = diffusion_term(eps, &y.mapv(f64::from), &gamma_t, &gamma_s, self.steps as f64);

        let (bits, share) = ((h * w * c) as f64 * LN_2, 1.0 / n as f64);
        let scale = share / bits;
        let dz = model.unet.backward(cache, &term.d_input.mapv(|d| (d * scale) as f32), &mut grad.unet);
        let d_gamma_t = term.d_gamma * scale + through_z(x, eps, &gamma_t, &dz.mapv(f64::from));
        let d_gamma_s = term.d_gamma_s * scale;
        let mut grads = vec![grad.gamma.zeros_like(); if drawn.is_some() { images } else { 1 }];
        for (k, (&i, &before)) in i.iter().zip(&before).enumerate() {
            for (i, d) in [(i, &d_gamma_t), (before, &d_gamma_s)] {
                let t = i as f64 / self.steps as f64;
                paths.backward(k, t, d.index_axis(Axis(0), k), &mut grads);
            }
        }
        grads.iter().for_each(|own| grad.gamma.numbers += &own.numbers);
        let mut nats = term.nats.sum();
        if let Some((drawn, grad)) = drawn.zip(grad.context.as_mut()) {
            nats += drawn.kl().sum();
            let own: Vec<f32> = grads.iter().flat_map(|own| own.numbers.iter().copied()).collect();
            let own = Tensor2::from_shape_vec((images, own.len() / images), own).expect("as many for each");
            model.context.as_ref().expect("z was drawn").backward(drawn, &own, scale, grad);
        }
        nats / bits
    }
}

/// What a checkpoint says of a network with its noise levels.
#[derive(Debug, Serialize, Deserialize)]
pub struct VariationalHeader {
    variational: VariationalTraining,
    unet: String,
}

impl Saved for VariationalTraining {
    type Header = VariationalHeader;

    fn adam_options(&self) -> AdamOptions {
        self.adam
    }

    fn adam_options_mut(&mut self) -> &mut AdamOptions {
        &mut self.adam
    }

    fn header(&self, model: &Variational) -> VariationalHeader {
        VariationalHeader { variational: *self, unet: model.unet.config.to_json() }
    }

    fn restored(header: VariationalHeader, file: &Tensors) -> Result<(Variational, Self), Fault> {
        let VariationalHeader { variational, unet } = header;
        let config = UnetConfig::from_json(&unet)?;
        variational.check().map_err(|e| Fault::format("options that can be used", e))?;
        checkpoint::enough(&config, file)?;
        let (h, w) = config.image_size();
        checkpoint::enough_for((variational.context * h * w) as f64, file)?;
        Ok((variational.model(&config), variational))
    }

    fn save_model(&self, model: &Variational, folder: &std::path::Path, precision: Precision) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        model.save(&folder.join("variational.safetensors"), precision)
    }
}

impl VariationalTraining {
    /// A fresh model.
    pub fn model(&self, config: &UnetConfig) -> Variational {
        let mut model = Variational::new(config, self.path, self.steps, self.per_pixel, self.seed);
        model.gamma.rate = self.gamma_rate;
        model.gamma.numbers /= self.gamma_rate as f32;
        match self.context {
            0 => model,
            latent => model.with_context(latent, self.seed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Images};
    use crate::nn::gradient_check::{check, shaken};
    use crate::rng::{normal, stream};
    use ndarray::{Array4, array};

    fn objective(per_pixel: bool, context: usize) -> VariationalTraining {
        VariationalTraining {
            batch: 2,
            seed: 1,
            steps: 5,
            path: Path::Polynomial,
            per_pixel,
            context,
            gamma_rate: 2.0, // at ten the check's steps meet more curvature than it takes out
            adam: AdamOptions::default(),
        }
    }

    /// With a network that doesn't look at t: what it is told of γ is rounded, and has no derivative.
    fn model(objective: &VariationalTraining) -> Variational {
        let mut model = shaken(objective.model(&UnetConfig::paper(4, 1, &[4, 8], 1, 2)), 0.05);
        model.unet.time_embedding.linear_1.weight.fill(0.0);
        model
    }

    fn data() -> Dataset {
        let pixels: Array4<f64> = normal((3, 4, 4, 1), &mut stream(2, 0));
        Dataset::from_images(&Images::new("noise", to_u8(&pixels), None))
    }

    /// Every number of γ and of the context, through the weights of both terms, z_t and z.
    #[test]
    fn gradients_of_noise_levels() {
        for (per_pixel, context) in [(false, 0), (true, 0), (false, 2), (true, 2)] {
            let objective = objective(per_pixel, context);
            let model = model(&objective);
            let groups = objective.draw(&model, &data(), 3);
            let loss = |model: &Variational, grad: &mut Variational| -> f64 {
                let each =
                    groups.iter().map(|group| objective.loss_and_grad(model, &mut group.clone(), 1, grad));
                each.sum()
            };
            let mut grad = model.zeros_like();
            loss(&model, &mut grad);
            let mut checked = 0;
            for (i, (key, d)) in grad.named().into_iter().enumerate() {
                if key.starts_with("unet") {
                    continue;
                }
                let w = ndarray::Array1::from(model.slices()[i].to_vec());
                let d = d.iter().copied().collect();
                check(&format!("{key}, per pixel {per_pixel}, context {context}"), &w, &d, |w| {
                    let mut moved = model.clone();
                    moved.slices_mut()[i].copy_from_slice(w.as_slice().unwrap());
                    loss(&moved, &mut moved.zeros_like())
                });
                checked += 1;
            }
            assert_eq!(checked, if context > 0 { 5 } else { 1 });
        }
    }

    /// Before it has learned anything the context costs nothing, and a file keeps it.
    #[test]
    fn a_context_is_kept() {
        let objective = objective(true, 2);
        let model = objective.model(&UnetConfig::paper(4, 1, &[4, 8], 1, 2));
        let levels = array![[
            [[3u8], [100], [200], [255]],
            [[0], [7], [9], [11]],
            [[1], [2], [3], [4]],
            [[5], [6], [7], [8]]
        ]];
        let noise = crate::diffusion::Noise::seed(1);
        assert_eq!(model.bound(&levels, &noise).context, array![0.0]);

        let moved = shaken(model, 0.1);
        let folder = tempfile::tempdir().unwrap();
        objective.save_model(&moved, folder.path(), Precision::F32).unwrap();
        let read = Variational::load(&folder.path().join("variational.safetensors")).unwrap();
        assert_eq!(read.slices(), moved.slices());
        let (bound, again) = (moved.bound(&levels, &noise), read.bound(&levels, &noise));
        assert!(bound.context[0] > 0.0);
        assert_eq!(bound.total(), again.total());
        assert_eq!(moved.sample(2, &noise).dim(), (2, 4, 4, 1));
    }

    /// A file is not trusted: a context needs numbers that it can move, and weights of its own.
    #[test]
    fn a_context_that_cannot_be_is_an_error() {
        let model = objective(false, 0).model(&UnetConfig::paper(4, 1, &[4, 8], 1, 2));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.safetensors");
        model.save(&path, Precision::F32).unwrap();
        let says = |changes: &[(&str, &str)]| {
            let mut file = checkpoint::read(&path).unwrap();
            let header = file.metadata.get_mut("ddpm_variational").unwrap();
            for (old, new) in changes {
                assert!(header.contains(old), "{header}");
                *header = header.replace(old, new);
            }
            let changed = folder.path().join("changed.safetensors");
            checkpoint::write(&changed, &file, Precision::F32).unwrap();
            Variational::load(&changed).unwrap_err().to_string()
        };
        let line = says(&[("\"latent\":0", "\"latent\":3"), ("polynomial", "linear")]);
        assert!(
            line.ends_with("expected a path with numbers that a context can move, found linear"),
            "{line}"
        );
        let large = says(&[("\"latent\":0", "\"latent\":1000000000000")]);
        assert!(large.contains("numbers, as configured"), "{large}");
        let absent = says(&[("\"latent\":0", "\"latent\":1")]);
        assert!(absent.contains("context."), "{absent}");
    }

    #[test]
    fn what_cannot_be() {
        let wrong: [(VariationalTraining, &str); 4] = [
            (
                VariationalTraining { batch: 0, ..objective(false, 0) },
                "batch: expected at least one image, found 0",
            ),
            (
                VariationalTraining { steps: 0, ..objective(false, 0) },
                "T: expected 1 to 100000 steps, found 0",
            ),
            (
                VariationalTraining { path: Path::Linear, ..objective(false, 1) },
                "context: expected a path with numbers that it can move, found linear",
            ),
            (
                VariationalTraining { gamma_rate: 0.0, ..objective(false, 0) },
                "gamma_rate: expected a number above 0, found 0",
            ),
        ];
        for (options, message) in wrong {
            assert_eq!(options.check().unwrap_err().to_string(), message);
        }
    }
}
