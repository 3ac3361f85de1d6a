//! Latents as examples: what a diffusion model behind an autoencoder is trained on.

use super::AutoencoderKl;
use crate::data::{Drawn, Examples};
use crate::rng::normal;
use crate::tensor::Batch;
use rand_chacha::ChaCha8Rng;

/// Examples u = s · z, z ~ q(z|x), s the autoencoder's scaling_factor: x and z are drawn anew each time.
pub struct Encoded {
    /// makes q(z|x)
    pub model: AutoencoderKl,
    /// give x
    pub examples: Box<dyn Examples>,
}

impl Examples for Encoded {
    fn name(&self) -> &str {
        self.examples.name()
    }

    fn shape(&self) -> [usize; 3] {
        self.model.config.latent_shape(self.examples.shape())
    }

    fn classes(&self) -> Option<Vec<usize>> {
        self.examples.classes()
    }

    fn draw_batch(&self, rngs: &mut [ChaCha8Rng]) -> Drawn {
        let Drawn { x0, labels, .. } = self.examples.draw_batch(rngs);
        let [h, w, c] = self.shape();
        let mut noise = Batch::zeros((rngs.len(), h, w, c));
        for (mut image, rng) in noise.outer_iter_mut().zip(rngs) {
            image.assign(&normal::<f64, _>((h, w, c), rng));
        }
        let z = self.model.encode(&x0).normal.sample(&noise);
        Drawn { x0: z * self.model.config.scaling_factor, labels, observed: None }
    }
}
