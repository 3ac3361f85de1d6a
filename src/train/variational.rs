//! A network and its noise levels, trained together on the bound itself.

use super::{Objective, Saved};
use crate::checkpoint::{self, Precision, Tensors};
use crate::data::{Examples, to_u8};
use crate::diffusion::{Path, diffusion_term, through_z};
use crate::error::{Error, Fault, Result};
use crate::optim::AdamOptions;
use crate::rng::{Domain, normal_batch};
use crate::tensor::Batch;
use crate::unet::{GROUP_SIZE, UnetConfig};
use crate::variational::{Variational, check_steps, level_values, noisy};
use ndarray::{Array1, Axis};
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
        if !(self.gamma_rate.is_finite() && self.gamma_rate > 0.0) {
            return Err(Error::argument("gamma_rate", "a number above 0", self.gamma_rate));
        }
        self.adam.check()
    }
}

/// Images at steps of their own.
#[derive(Debug)]
pub struct VariationalGroup {
    x: Batch,
    i: Vec<usize>,
    eps: Batch,
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
            VariationalGroup { x, i: numbers.iter().map(step).collect(), eps, rngs }
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
        let VariationalGroup { x, i, eps, rngs } = group;
        let (_, h, w, c) = x.dim();
        let before: Vec<usize> = i.iter().map(|i| i - 1).collect();
        let (gamma_t, gamma_s) = (model.gammas(i, [h, w, c]), model.gammas(&before, [h, w, c]));
        let z = noisy(x, eps, &gamma_t);
        let (y, cache) = model.unet.forward(z.mapv(|z| z as f32), &model.network_time(&gamma_t), rngs);
        let term = diffusion_term(eps, &y.mapv(f64::from), &gamma_t, &gamma_s, self.steps as f64);

        let (bits, share) = ((h * w * c) as f64 * LN_2, 1.0 / n as f64);
        let scale = share / bits;
        let dz = model.unet.backward(cache, &term.d_input.mapv(|d| (d * scale) as f32), &mut grad.unet);
        let d_gamma_t = term.d_gamma * scale + through_z(x, eps, &gamma_t, &dz.mapv(f64::from));
        let d_gamma_s = term.d_gamma_s * scale;
        for (k, (&i, &before)) in i.iter().zip(&before).enumerate() {
            for (i, d) in [(i, &d_gamma_t), (before, &d_gamma_s)] {
                let d = d.index_axis(Axis(0), k);
                let d =
                    if self.per_pixel { d.iter().copied().collect() } else { Array1::from_elem(1, d.sum()) };
                model.gamma.backward(i as f64 / self.steps as f64, &d, &mut grad.gamma);
            }
        }
        term.nats.sum() / bits
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
        model
    }
}
