//! A small convolutional classifier: K classes of images, for the shipped one ten kinds of garments, and the features by
//! which it tells them apart.
//!
//! ```text
//! [N, 28, 28, 1] ─ conv 3×3 ─ GN, SiLU ─ conv, stride 2 ─ GN, SiLU ─ conv, stride 2 ─ GN, SiLU ─ [N, 7, 7, 64]
//!   as rows [N, 3136] ─ linear ─ SiLU ─ features [N, 32] ─ linear ─ logits [N, K]
//! ```

use crate::checkpoint::{self, Tensors};
use crate::data::to_unit;
use crate::nn::{Conv2d, Conv2dCache, GroupNorm, GroupNormCache, Linear, LinearCache, activation};
use crate::params::params;
use crate::rng::stream;
use crate::tensor::{Contiguous, Tensor2, Tensor4};
use crate::threads::Working;
use crate::unet::GROUP_SIZE;
use crate::{Fault, Result};
use ndarray::{Array1, Array2, Array4, Axis, concatenate};
use ndarray_rand::rand::Rng;
use rayon::prelude::*;
use std::path::Path;

/// The number of features.
pub const FEATURES: usize = 32;
/// Channels of the three convolutions.
const WIDTHS: [usize; 3] = [32, 64, 64];
const NORM_GROUPS: usize = 8;

/// The network.
#[derive(Clone, Debug)]
pub struct Classifier {
    /// three times a convolution and its normalisation; the second and the third halve the resolution
    pub convs: Vec<Conv2d>,
    /// one per convolution
    pub norms: Vec<GroupNorm>,
    /// all numbers of an image → features
    pub hidden: Linear,
    /// features → logits
    pub output: Linear,
}

params!(Classifier { convs, norms, hidden, output });

/// What [`Classifier::backward`] needs.
#[derive(Debug)]
pub struct ClassifierCache {
    blocks: Vec<(Conv2dCache, GroupNormCache)>,
    /// `[N, H, W, C]` of the last block
    shape: (usize, usize, usize, usize),
    hidden: LinearCache,
    /// `hidden`'s output, before SiLU
    z: Tensor2,
    output: LinearCache,
}

impl Classifier {
    /// For images `[h, w, channels]` of so many classes.
    ///
    /// # Panics
    /// If a side is not divisible by 4, or there is no class.
    #[track_caller]
    pub fn new([h, w, channels]: [usize; 3], classes: usize, rng: &mut impl Rng) -> Classifier {
        assert!(classes > 0, "Classifier: no classes");
        assert!(h % 4 == 0 && w % 4 == 0, "Classifier: images of {h}x{w}, sides must be divisible by 4");
        let inputs = [channels, WIDTHS[0], WIDTHS[1]];
        let conv = |i: usize, rng: &mut _| {
            let conv = Conv2d::new(inputs[i], WIDTHS[i], 3, 1.0, rng);
            if i == 0 { conv } else { conv.strided(2, [0, 1]) }
        };
        Classifier {
            convs: (0..3).map(|i| conv(i, rng)).collect(),
            norms: WIDTHS.map(|width| GroupNorm::new(width, NORM_GROUPS, 1e-6)).to_vec(),
            hidden: Linear::new(h / 4 * (w / 4) * WIDTHS[2], FEATURES, 1.0, rng),
            output: Linear::new(FEATURES, classes, 1.0, rng),
        }
    }

    /// The classifier of Fashion-MNIST that comes with the crate, made by `ddpm classifier`.
    ///
    /// # Errors
    /// The file inside the program is damaged, which a test rules out.
    pub fn shipped() -> Result<Classifier> {
        let bytes = include_bytes!("../../assets/fashion-mnist-classifier/classifier.safetensors");
        Self::parse(bytes).map_err(Fault::at("assets/fashion-mnist-classifier/classifier.safetensors"))
    }

    /// Reads the weights from a file's contents, for images `[28, 28, 1]` of as many classes as the file has.
    ///
    /// # Errors
    /// The file is damaged; a key is missing or unknown; a tensor has the wrong shape or dtype.
    pub fn parse(bytes: &[u8]) -> Result<Classifier, Fault> {
        let mut file = checkpoint::parse(bytes)?;
        let classes = file.tensors.get("output.bias").map_or(0, |bias| bias.len()).max(1);
        let mut classifier = Classifier::new([28, 28, 1], classes, &mut stream(0, 0));
        checkpoint::fill(&mut classifier, "", &mut file.tensors)?;
        checkpoint::nothing_left(&file.tensors)?;
        Ok(classifier)
    }

    /// Writes the weights, in half precision.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut file = Tensors::default();
        checkpoint::add(self, "", &mut file.tensors);
        checkpoint::write(path, &file, checkpoint::Precision::F16)
    }

    /// Features `[N, 32]` and logits `[N, K]` of images `[N, H, W, C]` in [−1, 1].
    ///
    /// # Panics
    /// If the images have another shape than the classifier was made for.
    #[track_caller]
    pub fn infer(&self, x: &Tensor4) -> (Tensor2, Tensor2) {
        let mut h = x.as_standard_layout().into_owned(); // a mirrored image may lie otherwise
        for (conv, norm) in self.convs.iter().zip(&self.norms) {
            h = norm.infer_silu(&conv.infer(&h));
        }
        let mut features = self.hidden.infer(&rows(h));
        activation::silu(features.numbers_mut());
        let logits = self.output.infer(&features);
        (features, logits)
    }

    /// Logits, and what backward needs.
    #[track_caller]
    pub fn forward(&self, x: Tensor4) -> (Tensor2, ClassifierCache) {
        let (mut h, mut blocks) = (x.as_standard_layout().into_owned(), Vec::new());
        for (conv, norm) in self.convs.iter().zip(&self.norms) {
            let (y, conv) = conv.forward(h);
            let (y, norm) = norm.forward_silu(y);
            blocks.push((conv, norm));
            h = y;
        }
        let shape = h.dim();
        let (z, hidden) = self.hidden.forward(rows(h));
        let mut features = z.clone();
        activation::silu(features.numbers_mut());
        let (logits, output) = self.output.forward(features);
        (logits, ClassifierCache { blocks, shape, hidden, z, output })
    }

    /// From `dlogits [N, K]`: adds to `grad`, returns `dx`. The lines of [`forward`](Classifier::forward), from the last
    /// to the first.
    pub fn backward(&self, cache: ClassifierCache, dlogits: &Tensor2, grad: &mut Classifier) -> Tensor4 {
        let mut dz = self.output.backward(cache.output, dlogits, &mut grad.output);
        let (z, dz_slice) = (cache.z.numbers(), dz.numbers_mut());
        activation::silu_backward(z, dz_slice);
        let drows = self.hidden.backward(cache.hidden, &dz, &mut grad.hidden);
        let mut dy = drows.into_shape_with_order(cache.shape).expect("as many numbers");
        for (i, (conv, norm)) in cache.blocks.into_iter().enumerate().rev() {
            let dnorm = self.norms[i].backward_silu(norm, dy, &mut grad.norms[i]);
            dy = self.convs[i].backward(conv, &dnorm, &mut grad.convs[i]);
        }
        dy
    }

    /// What the classifier makes of 8-bit images `[N, H, W, C]`.
    pub fn judge(&self, images: &Array4<u8>) -> Judgement {
        let chunks: Vec<_> = images.axis_chunks_iter(Axis(0), GROUP_SIZE).collect();
        let judge = |chunk: &ndarray::ArrayView4<u8>| {
            let _working = Working::begin();
            self.infer(&to_unit(chunk).mapv(|v| v as f32))
        };
        let (features, mut logits): (Vec<_>, Vec<_>) = chunks.par_iter().map(judge).unzip();
        let classes = self.output.bias.len();
        for logits in &mut logits {
            activation::softmax_rows(logits.numbers_mut(), classes, 1.0);
        }
        Judgement { features: stacked(&features, FEATURES), probabilities: stacked(&logits, classes) }
    }
}

/// Rows of several matrices below each other.
fn stacked(parts: &[Tensor2], columns: usize) -> Array2<f64> {
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    let all = if views.is_empty() {
        Tensor2::zeros((0, columns))
    } else {
        concatenate(Axis(0), &views).expect("equally long rows")
    };
    all.mapv(f64::from)
}

/// `[N, H, W, C]` → `[N, H·W·C]`.
fn rows(x: Tensor4) -> Tensor2 {
    let (n, h, w, c) = x.dim();
    x.into_shape_with_order((n, h * w * c)).expect("contiguous")
}

/// What a classifier makes of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// `[N, 32]`
    pub features: Array2<f64>,
    /// p(class|image), `[N, K]`
    pub probabilities: Array2<f64>,
}

impl Judgement {
    /// The likeliest class of each image.
    pub fn classes(&self) -> Vec<usize> {
        let best = |row: ndarray::ArrayView1<f64>| {
            (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("at least one class")
        };
        self.probabilities.outer_iter().map(best).collect()
    }

    /// How many images of each class.
    pub fn histogram(&self) -> Vec<usize> {
        let mut count = vec![0; self.probabilities.ncols()];
        self.classes().into_iter().for_each(|class| count[class] += 1);
        count
    }

    /// The probability of the likeliest class of each image.
    pub fn confidences(&self) -> Array1<f64> {
        self.probabilities.map_axis(Axis(1), |row| row.fold(0.0, |a: f64, &b| a.max(b)))
    }

    /// The same, mean over the images.
    pub fn confidence(&self) -> f64 {
        self.confidences().mean().unwrap_or(f64::NAN)
    }

    /// The share of images whose likeliest class is their label.
    ///
    /// # Panics
    /// If there are not as many labels as images.
    #[track_caller]
    pub fn accuracy(&self, labels: &[u8]) -> f64 {
        let classes = self.classes();
        assert_eq!(
            classes.len(),
            labels.len(),
            "accuracy: {} images, {} labels",
            classes.len(),
            labels.len()
        );
        let right =
            classes.iter().zip(labels).filter(|&(&class, &label)| class == usize::from(label)).count();
        right as f64 / labels.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fashion_mnist_test;
    use crate::nn::gradient_check::{check, check_params, inner, shaken};
    use crate::params::Params;
    use crate::rng::normal;

    fn small() -> (Classifier, Tensor4) {
        (
            shaken(Classifier::new([8, 8, 1], 10, &mut stream(1, 0)), 0.05),
            normal((3, 8, 8, 1), &mut stream(2, 0)),
        )
    }

    #[test]
    fn gradients() {
        let (model, x) = small();
        let (logits, cache) = model.forward(x.clone());
        assert_eq!(logits, model.infer(&x).1);
        let g: Tensor2 = normal(logits.raw_dim(), &mut stream(3, 0));
        let mut grad = model.zeros_like();
        let dx = model.backward(cache, &g, &mut grad);
        check("classifier x", &x, &dx, |x| inner(&model.infer(x).1, &g));
        check_params("classifier", &model, &grad, &[], |model| inner(&model.infer(&x).1, &g));
    }

    #[test]
    fn the_layout_in_memory_does_not_matter() {
        let (model, x) = small();
        let mirrored = crate::data::flip_horizontal(&x);
        let copied = Tensor4::from_shape_vec(x.dim(), mirrored.iter().copied().collect()).unwrap();
        assert_eq!(model.infer(&mirrored), model.infer(&copied));
        assert_eq!(model.forward(mirrored).0, model.forward(copied).0);
    }

    #[test]
    fn the_shipped_classifier_knows_the_test_set() {
        let images = fashion_mnist_test();
        let labels = images.labels.as_ref().unwrap();
        let accuracy = Classifier::shipped().unwrap().judge(&images.pixels).accuracy(labels);
        assert!(accuracy > 0.9, "{accuracy}");
    }

    #[test]
    fn weights_survive_a_file_and_damage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.safetensors");
        let model = Classifier::new([28, 28, 1], 26, &mut stream(1, 0));
        model.save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let back = Classifier::parse(&bytes).unwrap();
        let pairs = back.slices().concat().into_iter().zip(model.slices().concat());
        let worst = pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(worst < 3e-4, "half precision: {worst}");
        let error = Classifier::parse(&bytes[..bytes.len() - 1]).unwrap_err().to_string();
        assert!(error.starts_with("expected a whole safetensors file"), "{error}");
        small().0.save(&path).unwrap();
        let error = Classifier::parse(&std::fs::read(&path).unwrap()).unwrap_err().to_string();
        assert!(error.contains("'hidden.weight': expected shape [32, 3136], found [32, 256]"), "{error}");
    }

    #[test]
    #[should_panic(expected = "Classifier: images of 30x28, sides must be divisible by 4")]
    fn sides_must_be_divisible() {
        Classifier::new([30, 28, 1], 10, &mut stream(1, 0));
    }
}
