//! Latents as examples: what a diffusion model behind an autoencoder is trained on.

use super::AutoencoderKl;
use crate::data::{Drawn, Examples};
use crate::rng::normal_batch;
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
        let noise = normal_batch(self.shape(), rngs);
        let z = self.model.encode(&x0).normal.sample(&noise);
        Drawn { x0: z * self.model.config.scaling_factor, labels, observed: None }
    }
}
