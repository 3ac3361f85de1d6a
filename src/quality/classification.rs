//! How the classifier is trained: cross-entropy as an objective of the one loop that trains everything.

use super::{Classifier, ClassifierCache};
use crate::checkpoint::{self, Precision, Tensors};
use crate::data::Dataset;
use crate::nn::activation;
use crate::optim::AdamOptions;
use crate::rng::stream;
use crate::tensor::{Contiguous, Tensor2, Tensor4};
use crate::train::{Objective, Saved, Training};
use crate::unet::GROUP_SIZE;
use crate::{Error, Fault, Result};
use ndarray::Array1;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How a classifier is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassifierOptions {
    /// steps of Adam
    pub steps: u64,
    /// images per step
    pub batch: usize,
    /// of everything random
    pub seed: u64,
    /// how the weights move
    pub adam: AdamOptions,
}

/// The cross-entropy −log p(label|image), in nats, of a [`Classifier`].
#[derive(Clone, Debug)]
pub struct Classification {
    /// batch, seed, rates
    pub options: ClassifierOptions,
    /// height, width and channels of an image
    pub shape: [usize; 3],
}

/// Trains on labelled pictures by the cross-entropy −log p(label|image), in nats; returns the averaged weights. There are as
/// many classes as the largest label says, counted from 0; each needs an image.
///
/// `progress(step, loss)` is called after each step.
///
/// # Errors
/// A picture has no label, a class no picture (EMNIST's letters count from 1), or a picture a side that is not a multiple of 4;
/// the options make no sense; the loss is not finite.
pub fn train(
    data: &Dataset,
    options: &ClassifierOptions,
    progress: &mut dyn FnMut(u64, f64),
) -> Result<Classifier> {
    let mut training = Classification::training(data, options)?;
    while training.adam.steps < options.steps {
        let report = training.step(data)?;
        progress(report.step, report.loss);
    }
    Ok(training.adam.ema)
}

impl Classification {
    /// A classifier for these pictures, not yet trained.
    ///
    /// # Errors
    /// As [`train`], but for the loss.
    pub fn training(data: &Dataset, options: &ClassifierOptions) -> Result<Training<Classification>> {
        options.adam.check()?;
        let [h, w, _] = data.shape();
        if h % 4 != 0 || w % 4 != 0 {
            let expected = "images with sides that are multiples of 4";
            return Err(Error::argument(&data.name, expected, format!("{h}x{w}")));
        }
        let counts = labels_of(data)?;
        if let Some(class) = counts.iter().position(|&count| count == 0) {
            let expected = format!("images of every class from 0 to {}, the largest label", counts.len() - 1);
            return Err(Error::argument(&data.name, expected, format!("none of class {class}")));
        }
        let model = Classifier::new(data.shape(), counts.len(), &mut stream(options.seed, u64::MAX));
        let objective = Classification { options: *options, shape: data.shape() };
        Ok(Training::of(model, objective, options.adam))
    }
}

/// How many images each class has.
fn labels_of(data: &Dataset) -> Result<Vec<usize>> {
    data.classes().ok_or_else(|| Error::argument(&data.name, "a label for every image", "none"))
}

impl Objective for Classification {
    type Model = Classifier;
    type Data = Dataset;
    /// images in [−1, 1] and their labels
    type Group = (Tensor4, Vec<usize>);

    /// # Errors
    /// Images of another shape, without labels, or with labels that the classifier has no output for.
    fn check_data(&self, model: &Classifier, data: &Dataset) -> Result<()> {
        if data.shape() != self.shape {
            let expected = format!("images of {:?}", self.shape);
            return Err(Error::argument(&data.name, expected, format!("{:?}", data.shape())));
        }
        let (classes, known) = (labels_of(data)?.len(), model.output.bias.len());
        if classes > known {
            return Err(Error::argument(&data.name, format!("labels below {known}"), classes - 1));
        }
        Ok(())
    }

    /// Image `i` of step `k` has the stream `k · batch + i`.
    fn draw(&self, _: &Classifier, data: &Dataset, steps: u64) -> Vec<(Tensor4, Vec<usize>)> {
        let first = steps * self.options.batch as u64;
        let streams: Vec<u64> = (first..first + self.options.batch as u64).collect();
        let draw = |streams: &[u64]| {
            let mut rngs: Vec<_> = streams.iter().map(|&n| stream(self.options.seed, n)).collect();
            let (x, labels) = data.labelled_batch(&mut rngs);
            (x.mapv(|v| v as f32), labels.expect("every picture has one, where there are classes"))
        };
        streams.par_chunks(GROUP_SIZE).map(draw).collect()
    }

    fn examples((_, labels): &Self::Group) -> usize {
        labels.len()
    }

    fn loss_and_grad(
        &self,
        model: &Classifier,
        (x, labels): &mut Self::Group,
        n: usize,
        grad: &mut Classifier,
    ) -> f64 {
        let (logits, cache): (_, ClassifierCache) = model.forward(x.clone());
        let (loss, mut dlogits) = cross_entropy(&logits, labels);
        dlogits *= 1.0 / n as f32;
        model.backward(cache, &dlogits, grad);
        loss.sum()
    }
}

/// What a checkpoint says of a classifier.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClassificationHeader {
    classifier: ClassifierOptions,
    shape: [usize; 3],
    classes: usize,
}

impl Saved for Classification {
    type Header = ClassificationHeader;

    fn adam_options(&self) -> AdamOptions {
        self.options.adam
    }

    fn adam_options_mut(&mut self) -> &mut AdamOptions {
        &mut self.options.adam
    }

    fn header(&self, model: &Classifier) -> ClassificationHeader {
        let Classification { options, shape } = *self;
        ClassificationHeader { classifier: options, shape, classes: model.output.bias.len() }
    }

    fn restored(header: ClassificationHeader, file: &Tensors) -> Result<(Classifier, Self), Fault> {
        let ClassificationHeader { classifier: options, shape, classes } = header;
        options.adam.check().map_err(|e| Fault::format("options that can be used", e))?;
        let [h, w, channels] = shape;
        if classes == 0 || channels == 0 || h % 4 != 0 || w % 4 != 0 {
            let found = format!("{classes} classes of {shape:?}");
            return Err(Fault::format("classes of images with sides that are multiples of 4", found));
        }
        // of all that is learned the first linear layer is the most
        checkpoint::enough_for(shape.iter().map(|&n| n as f64).product::<f64>(), file)?;
        let model = Classifier::new(shape, classes, &mut stream(options.seed, u64::MAX));
        Ok((model, Classification { options, shape }))
    }

    fn save_model(&self, model: &Classifier, folder: &Path, _: Precision) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        model.save(&folder.join("classifier.safetensors"))
    }
}

/// −log softmax(z)_y of each row in nats, and the gradient of their sum, softmax(z) − onehot(y).
fn cross_entropy(logits: &Tensor2, labels: &[usize]) -> (Array1<f64>, Tensor2) {
    let mut p = logits.clone();
    activation::softmax_rows(p.numbers_mut(), logits.ncols(), 1.0);
    let mut loss = Array1::zeros(labels.len());
    for (n, &label) in labels.iter().enumerate() {
        let row = logits.row(n);
        let max = row.fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        let sum: f64 = row.iter().map(|&z| f64::from(z - max).exp()).sum();
        loss[n] = sum.ln() - f64::from(row[label] - max);
        p[[n, label]] -= 1.0;
    }
    (loss, p)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Images;
    use crate::nn::gradient_check::check;
    use crate::params::Params;
    use crate::rng::normal;
    use crate::train::{Run, RunOptions};
    use ndarray::Array4;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    #[test]
    fn the_gradient_of_the_cross_entropy() {
        let logits: Tensor2 = normal((4, 10), &mut stream(4, 0));
        let labels = [3, 0, 9, 3];
        let (_, d) = cross_entropy(&logits, &labels);
        check("cross-entropy", &logits, &d, |z| cross_entropy(z, &labels).0.sum());
        let even = cross_entropy(&Tensor2::zeros((1, 10)), &[7]).0[0];
        assert!((even - 10f64.ln()).abs() < 1e-12);
        let sure = cross_entropy(&(Tensor2::eye(10) * 200.0), &[1; 10]).0;
        assert!(sure[1] == 0.0 && (sure[0] - 200.0).abs() < 1e-9, "no overflow: {sure}");
    }

    /// Two classes that a glance tells apart.
    #[test]
    fn a_short_training_learns_light_from_dark() {
        let pixels =
            Array4::from_shape_fn((20, 8, 8, 1), |(n, y, x, _)| (200 * (n % 2) + 5 * (x + y % 3)) as u8);
        let labels: Vec<u8> = (0..20).map(|n| n % 2).collect();
        let images = Images::new("light and dark", pixels, Some(labels.clone()));
        let adam = AdamOptions { lr: 3e-3, warmup: 0, ema_decay: 0.5, ..AdamOptions::default() };
        let options = ClassifierOptions { steps: 25, batch: 16, seed: 1, adam };
        let mut losses = vec![];
        let model =
            train(&Dataset::from_images(&images), &options, &mut |_, loss| losses.push(loss)).unwrap();
        assert!(losses[24] < 0.1 * losses[0], "{losses:?}");
        let judgement = model.judge(&images.pixels);
        assert_eq!(judgement.accuracy(&labels), 1.0);
        assert_eq!(judgement.histogram(), [10, 10], "as many classes as the labels say");
        assert!(judgement.confidence() > 0.8);
        assert_eq!(judgement.classes()[..3], [0, 1, 0]);
    }

    #[test]
    fn what_cannot_be_classified_is_named() {
        let options = ClassifierOptions { steps: 1, batch: 1, seed: 1, adam: AdamOptions::default() };
        for (side, labels, message) in [
            (8, None, "garments: expected a label for every image, found none"),
            (9, Some(vec![1]), "garments: expected images with sides that are multiples of 4, found 9x9"),
            (
                8,
                Some(vec![2]),
                "garments: expected images of every class from 0 to 2, the largest label, found none of class 0",
            ),
        ] {
            let images = Images::new("garments", Array4::zeros((1, side, side, 1)), labels);
            let error = train(&Dataset::from_images(&images), &options, &mut |_, _| ()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn labels_say_how_many_classes_there_are() {
        let images = Images::new("letters", Array4::zeros((26, 8, 8, 1)), Some((0..26).collect()));
        let options = ClassifierOptions { steps: 1, batch: 2, seed: 1, adam: AdamOptions::default() };
        let model = train(&Dataset::from_images(&images), &options, &mut |_, _| ()).unwrap();
        assert_eq!(model.judge(&images.pixels).probabilities.dim(), (26, 26));
    }

    /// Trained in a folder by a run, left and gone on with, it is to the bit the one that is trained in one go.
    #[test]
    fn a_run_trains_it_as_it_trains_everything() {
        let pixels = Array4::from_shape_fn((20, 8, 8, 1), |(n, i, j, _)| (9 * n + 3 * i * j) as u8);
        let labels = Some((0..20).map(|n| n % 2).collect());
        let data = Dataset::from_images(&Images::new("stripes", pixels, labels));
        let adam = AdamOptions { lr: 1e-3, warmup: 2, ..AdamOptions::default() };
        let options = ClassifierOptions { steps: 6, batch: 19, seed: 1, adam };
        let straight = train(&data, &options, &mut |_, _| ()).unwrap();

        let dir = tempfile::tempdir().unwrap();
        let run = |steps, mut training: Training<Classification>| {
            let run = RunOptions {
                out: dir.path().into(),
                steps,
                checkpoint_every: Duration::from_secs(3600),
                log_every: 2,
                precision: Precision::F32,
            };
            let path = run.checkpoint();
            Run::open(run)
                .unwrap()
                .train(&mut training, &data, &AtomicBool::new(false), &mut |_| ())
                .unwrap();
            path
        };
        let path = run(3, Classification::training(&data, &options).unwrap());
        let path = run(6, Training::load(&path).unwrap());
        let back: Training<Classification> = Training::load(&path).unwrap();
        assert_eq!(back.adam.steps, 6);
        assert_eq!(back.adam.ema.slices(), straight.slices());
        assert!(dir.path().join("model/classifier.safetensors").exists());
        let other = Training::<crate::train::Denoising>::load(&path).unwrap_err().to_string();
        assert!(other.contains("a training header"), "{other}");
    }
}
