//! What a notebook or a small program imports: `use ddpm::prelude::*;`.
//!
//! All of [`diffusion`](crate::diffusion) with its oracles, the data, streams of random numbers, the network and its
//! training, and the few names of ndarray that every second line needs. Figures keep their module's name in front,
//! `figures::elbo::decomposition` or `figures::rate_distortion`, since they are called like what they show.
//!
//! ```
//! use ddpm::prelude::*;
//! let schedule = Schedule::linear(1000);
//! let x0 = fashion_mnist_test().batch(&[0]);
//! let eps: Batch = normal(x0.dim(), &mut stream(1, 0));
//! let x_t = q_sample(&schedule, &x0, &[500], &eps);
//! assert_eq!(x_t.shape(), [1, 28, 28, 1]);
//! ```

pub use crate::checkpoint::{self, load_pretrained, save_pretrained};
pub use crate::data::{self, *};
pub use crate::diffusion::{oracle::*, *};
pub use crate::error::{Error, Fault, Result};
#[cfg(feature = "figures")]
pub use crate::figures::{self, Chart, Diagram, Figure, Gif, Grid, Scale};
pub use crate::nn;
pub use crate::optim::{Adam, AdamOptions};
pub use crate::params::Params;
pub use crate::quality::{Classifier, Moments, frechet_distance, nearest};
pub use crate::rng::{normal, stream};
pub use crate::tensor::{Batch, Tensor1, Tensor2, Tensor3, Tensor4};
pub use crate::train::{self, TrainOptions, Trainer};
pub use crate::unet::{Unet, UnetConfig};
pub use ndarray::{self, Array, Array1, Array2, Array3, Array4, Axis, array, s};
pub use ndarray_rand::rand::Rng;
