//! What training and evaluation ask of data, for small images and large pictures alike.

use super::{Images, to_unit};
use crate::rng::stream;
use crate::tensor::Batch;
use ndarray::{Array3, Axis, s, stack};
use ndarray_rand::rand::Rng;

/// Pictures from which examples of one shape are cut.
///
/// A *picture* is kept at one or more scales, each at least as large as an example. A draw chooses a picture, one of
/// its scales, a place to cut, and whether to flip; each uniformly. For Fashion-MNIST a picture has one scale of
/// 28×28 and there is one place to cut, so a draw is simply an image; for paintings it is a random crop.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Where the pictures come from, for logs and tables.
    pub name: String,
    /// Whether a draw is mirrored left to right with probability ½.
    pub flip: bool,
    /// What the labels are called, from 0 on, if it is known.
    pub class_names: Option<Vec<String>>,
    shape: [usize; 3],
    pictures: Vec<Picture>,
}

/// One picture at its scales `[H, W, C]`, coarsest first, and its label.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) scales: Vec<Array3<u8>>,
    pub(super) label: Option<u8>,
}

/// One drawn example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Pixels, `[H, W, C]`.
    pub pixels: Array3<u8>,
    /// The label of the picture, if it has one.
    pub label: Option<u8>,
}

impl Dataset {
    /// A dataset of whole images; flipped draws unless `flip` is switched off.
    ///
    /// # Panics
    /// If there is no image.
    ///
    /// ```
    /// use ddpm::{data, rng::stream};
    /// let garments = data::Dataset::from_images(&data::fashion_mnist_test());
    /// assert_eq!(garments.draw(&mut stream(0, 0)).pixels.shape(), [28, 28, 1]);
    /// ```
    #[track_caller]
    pub fn from_images(images: &Images) -> Self {
        let label = |n: usize| images.labels.as_ref().map(|labels| labels[n]);
        let outer = images.pixels.outer_iter().enumerate();
        let pictures = outer.map(|(n, image)| Picture { scales: vec![image.to_owned()], label: label(n) });
        Dataset::from_pictures(images.name.clone(), images.shape(), pictures.collect())
    }

    /// A dataset of crops of `shape`; every scale must hold at least one.
    #[track_caller]
    pub(super) fn from_pictures(name: String, shape: [usize; 3], pictures: Vec<Picture>) -> Self {
        assert!(!pictures.is_empty(), "Dataset: '{name}' has no pictures");
        let [h, w, c] = shape;
        for scale in pictures.iter().flat_map(|picture| &picture.scales) {
            let (sh, sw, sc) = scale.dim();
            assert!(
                sh >= h && sw >= w && sc == c,
                "Dataset: a {sh}x{sw}x{sc} picture in '{name}', crops {h}x{w}x{c}"
            );
        }
        Dataset { name, flip: true, class_names: None, shape, pictures }
    }

    /// The number of pictures.
    pub fn len(&self) -> usize {
        self.pictures.len()
    }

    /// Always false: a dataset without pictures can't be made.
    pub fn is_empty(&self) -> bool {
        self.pictures.is_empty()
    }

    /// Height, width and channels of an example.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// How many pictures each class has, from label 0 to the largest one; `None` unless every picture has a label.
    pub fn classes(&self) -> Option<Vec<usize>> {
        let labels: Vec<u8> = self.pictures.iter().map(|picture| picture.label).collect::<Option<_>>()?;
        let mut counts = vec![0; labels.iter().max().map_or(0, |&largest| usize::from(largest) + 1)];
        labels.into_iter().for_each(|label| counts[usize::from(label)] += 1);
        Some(counts)
    }

    /// A checksum of all that draws depend on but `flip`: the pictures in their order, their scales and labels. A run that
    /// is resumed on pictures with another one would not compute what it would have computed.
    pub fn fingerprint(&self) -> String {
        let mut hasher = crc32fast::Hasher::new();
        let number = |hasher: &mut crc32fast::Hasher, n: usize| hasher.update(&(n as u64).to_le_bytes());
        self.shape.iter().for_each(|&side| number(&mut hasher, side));
        for Picture { scales, label } in &self.pictures {
            number(&mut hasher, label.map_or(256, usize::from)); // no label is 256
            for scale in scales {
                scale.shape().iter().for_each(|&side| number(&mut hasher, side));
                hasher.update(scale.as_slice().expect("pictures are contiguous"));
            }
        }
        format!("{:08x}", hasher.finalize())
    }

    /// One random example, for training.
    pub fn draw(&self, rng: &mut impl Rng) -> Example {
        let picture = &self.pictures[rng.random_range(0..self.pictures.len())];
        let scale = &picture.scales[rng.random_range(0..picture.scales.len())];
        let [h, w, _] = self.shape;
        let (rows, columns, _) = scale.dim();
        let top = rng.random_range(0..=rows - h);
        let left = rng.random_range(0..=columns - w);
        let crop = scale.slice(s![top..top + h, left..left + w, ..]);
        let flipped = rng.random::<bool>() && self.flip; // drawn always, so that `flip` does not shift the stream
        let step = if flipped { -1 } else { 1 };
        Example { pixels: crop.slice(s![.., ..;step, ..]).to_owned(), label: picture.label }
    }

    /// A training batch `[rngs.len(), H, W, C]` in [−1, 1], image `n` drawn from `rngs[n]` alone.
    ///
    /// So a batch does not depend on how it is split over threads.
    pub fn batch<R: Rng>(&self, rngs: &mut [R]) -> Batch {
        self.labelled_batch(rngs).0
    }

    /// [`batch`](Dataset::batch) with the label of each image, if all have one.
    pub fn labelled_batch<R: Rng>(&self, rngs: &mut [R]) -> (Batch, Option<Vec<usize>>) {
        let [h, w, c] = self.shape;
        let (mut batch, mut labels) = (Batch::zeros((rngs.len(), h, w, c)), Vec::new());
        for (mut image, rng) in batch.outer_iter_mut().zip(rngs) {
            let example = self.draw(rng);
            image.assign(&to_unit(&example.pixels));
            labels.push(example.label.map(usize::from));
        }
        (batch, labels.into_iter().collect())
    }

    /// At most `n` images spread evenly over all pictures and scales, for evaluation; always the same ones.
    ///
    /// Every scale is cut into tiles that don't overlap, centred, without flips; the list of all tiles is then thinned
    /// to `n`. Images of Fashion-MNIST are one tile each.
    pub fn fixed(&self, n: usize) -> Images {
        let tiles: Vec<_> = self.pictures.iter().flat_map(|picture| self.tiles(picture)).collect();
        let n = n.min(tiles.len());
        self.collect((0..n).map(|i| tiles[i * tiles.len() / n].clone()).collect())
    }

    fn tiles(&self, picture: &Picture) -> Vec<Example> {
        let [h, w, _] = self.shape;
        let mut tiles = Vec::new();
        for scale in &picture.scales {
            let (rows, columns, _) = scale.dim();
            tiles.extend(self.crops_of(picture, scale, (rows % h / 2, columns % w / 2), (h, w)));
        }
        tiles
    }

    /// Crops of one scale at `first`, and every `step` rows and columns from there.
    fn crops_of<'a>(
        &self,
        picture: &'a Picture,
        scale: &'a Array3<u8>,
        first: (usize, usize),
        step: (usize, usize),
    ) -> impl Iterator<Item = Example> + 'a {
        let [h, w, _] = self.shape;
        let (rows, columns, _) = scale.dim();
        let places = (first.0..=rows - h)
            .step_by(step.0)
            .flat_map(move |y| (first.1..=columns - w).step_by(step.1).map(move |x| (y, x)));
        places.map(move |(y, x)| {
            let pixels = scale.slice(s![y..y + h, x..x + w, ..]).to_owned();
            Example { pixels, label: picture.label }
        })
    }

    /// All crops whose corners lie on a grid of `stride` pixels, at every scale of every picture, without flips: what a
    /// sample is compared with, `[M, H, W, C]`.
    ///
    /// # Panics
    /// If `stride` is 0.
    #[track_caller]
    pub fn crops(&self, stride: usize) -> Images {
        assert!(stride > 0, "Dataset::crops: stride 0");
        let crops = self.pictures.iter().flat_map(|picture| self.crops_of_scales(picture, stride));
        self.collect(crops.collect())
    }

    /// The crops of [`crops`](Dataset::crops), a picture's at a time: together they may be more than fits into memory.
    ///
    /// # Panics
    /// If `stride` is 0.
    #[track_caller]
    pub fn crops_by_picture(&self, stride: usize) -> impl Iterator<Item = Images> {
        assert!(stride > 0, "Dataset::crops_by_picture: stride 0");
        self.pictures.iter().map(move |picture| self.collect(self.crops_of_scales(picture, stride).collect()))
    }

    /// Crops of every scale of a picture, on a grid of `stride` pixels.
    fn crops_of_scales<'a>(
        &'a self,
        picture: &'a Picture,
        stride: usize,
    ) -> impl Iterator<Item = Example> + 'a {
        picture.scales.iter().flat_map(move |scale| self.crops_of(picture, scale, (0, 0), (stride, stride)))
    }

    /// One image per picture: the middle of its coarsest scale.
    pub fn overview(&self) -> Images {
        let [h, w, _] = self.shape;
        let middle = |picture: &Picture| {
            let (rows, columns, _) = picture.scales[0].dim();
            let (y, x) = ((rows - h) / 2, (columns - w) / 2);
            let pixels = picture.scales[0].slice(s![y..y + h, x..x + w, ..]).to_owned();
            Example { pixels, label: picture.label }
        };
        self.collect(self.pictures.iter().map(middle).collect())
    }

    /// `n` random images, as training draws them, from the streams 0..n of a seed: for evaluation on what a model was
    /// trained for.
    pub fn draws(&self, n: usize, seed: u64) -> Images {
        self.collect((0..n as u64).map(|i| self.draw(&mut stream(seed, i))).collect())
    }

    fn collect(&self, examples: Vec<Example>) -> Images {
        let views: Vec<_> = examples.iter().map(|example| example.pixels.view()).collect();
        let [h, w, c] = self.shape;
        // `stack` refuses an empty list, which has a shape all the same
        let pixels = stack(Axis(0), &views).unwrap_or_else(|_| ndarray::Array4::zeros((0, h, w, c)));
        let labels = examples.iter().map(|example| example.label).collect();
        Images::new(self.name.clone(), pixels, labels)
    }

    /// Two datasets by whole pictures, `(train, held_out)`: every `every`-th picture is held out.
    ///
    /// No crop of a held-out picture is ever trained on, which a split by crops could not promise.
    ///
    /// # Panics
    /// If `every` is less than 2, or there are fewer pictures than `every`: one side would be empty.
    #[track_caller]
    pub fn split(self, every: usize) -> (Dataset, Dataset) {
        let n = self.len();
        assert!((2..=n).contains(&every), "Dataset::split: every {every} of {n} pictures, 2..={n} possible");
        let Dataset { name, flip, class_names, shape, pictures } = self;
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        for (i, picture) in pictures.into_iter().enumerate() {
            if (i + 1).is_multiple_of(every) { held_out.push(picture) } else { train.push(picture) }
        }
        let part = |what: &str, pictures| {
            let (name, class_names) = (format!("{name}, {what}"), class_names.clone());
            Dataset { name, flip, class_names, shape, pictures }
        };
        (part("training", train), part("held out", held_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;

    /// Five pictures of 9×7 and 4×4; a pixel tells its picture, row and column.
    fn pictures() -> Dataset {
        let scale = |n: usize, h: usize, w: usize| {
            Array3::from_shape_fn((h, w, 1), |(y, x, _)| (n * 50 + y * 7 + x) as u8)
        };
        let picture = |n| Picture { scales: vec![scale(n, 4, 4), scale(n, 9, 7)], label: Some(n as u8) };
        Dataset::from_pictures("five".into(), [3, 3, 1], (0..5).map(picture).collect())
    }

    #[test]
    fn the_same_stream_draws_the_same_crop() {
        let data = pictures();
        let draws = |seed| (0..50).map(|n| data.draw(&mut stream(seed, n))).collect::<Vec<_>>();
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }

    /// Changed pixels, labels, shapes and orders have another fingerprint; the name and the flips don't matter.
    #[test]
    fn a_fingerprint_is_of_the_pictures() {
        let fingerprint = |change: &dyn Fn(&mut Dataset)| {
            let mut data = pictures();
            change(&mut data);
            data.fingerprint()
        };
        let same = fingerprint(&|_| ());
        assert_eq!(same, "ed32f24f", "part of checkpoints: it must not change");
        let plain = |data: &mut Dataset| (data.flip, data.name) = (false, "another".into());
        assert_eq!(fingerprint(&plain), same);
        let changes: [&dyn Fn(&mut Dataset); 6] = [
            &|data| data.pictures[4].scales[1][[8, 6, 0]] ^= 1,
            &|data| data.pictures[2].label = None,
            &|data| data.pictures.swap(0, 1),
            &|data| drop(data.pictures.pop()),
            &|data| drop(data.pictures[0].scales.pop()),
            &|data| data.shape = [3, 2, 1],
        ];
        let all: std::collections::HashSet<_> = changes.iter().map(|change| fingerprint(change)).collect();
        assert!(all.len() == changes.len() && !all.contains(&same), "{all:?}");
    }

    #[test]
    fn labels_say_how_many_classes_there_are() {
        let mut data = pictures();
        assert_eq!(data.classes(), Some(vec![1; 5]));
        data.pictures[1].label = Some(6);
        assert_eq!(data.classes(), Some(vec![1, 0, 1, 1, 1, 0, 1]));
        data.pictures[0].label = None;
        assert_eq!(data.classes(), None);
    }

    #[test]
    fn every_place_and_both_directions_are_drawn() {
        let data = pictures();
        let seen: std::collections::HashSet<_> =
            (0..8000).map(|n| data.draw(&mut stream(0, n)).pixels.into_raw_vec_and_offset().0).collect();
        // five pictures × 7·5 places × two directions; in this picture the coarse scale is a corner of the fine one
        assert_eq!(seen.len(), 5 * 35 * 2);
    }

    #[test]
    fn without_flips_the_same_crops_face_one_way() {
        let (data, mut plain) = (pictures(), pictures());
        plain.flip = false;
        for n in 0..50 {
            let (a, b) = (data.draw(&mut stream(4, n)), plain.draw(&mut stream(4, n)));
            let mirrored = a.pixels.slice(s![.., ..;-1, ..]).to_owned();
            assert!(a.pixels == b.pixels || mirrored == b.pixels);
            assert!(b.pixels[[0, 0, 0]] < b.pixels[[0, 1, 0]]);
        }
    }

    #[test]
    fn a_batch_is_its_draws_whatever_the_split() {
        let data = pictures();
        let mut streams: Vec<_> = (0..6).map(|n| stream(9, n)).collect();
        let whole = data.batch(&mut streams);
        assert_eq!(whole.shape(), [6, 3, 3, 1]);
        let mut tail: Vec<_> = (4..6).map(|n| stream(9, n)).collect();
        assert_eq!(data.batch(&mut tail), whole.slice(s![4.., .., .., ..]));
    }

    #[test]
    fn fixed_images_are_tiles_of_every_picture_and_scale() {
        let data = pictures();
        let all = data.fixed(usize::MAX);
        assert_eq!(all.len(), 5 * (1 + 3 * 2));
        assert_eq!(all.labels.as_ref().map(|labels| labels[7]), Some(1));
        assert_eq!(data.fixed(5).labels, Some(vec![0, 1, 2, 3, 4]));
        assert_eq!(data.fixed(0).len(), 0);
        let pixels = Array4::from_shape_fn((4, 2, 2, 1), |(n, ..)| n as u8);
        let images = Images::new("four", pixels, None);
        assert_eq!(Dataset::from_images(&images).fixed(10), images);
    }

    #[test]
    fn a_split_shares_no_picture() {
        let (train, held_out) = pictures().split(2);
        let labels = |data: &Dataset| data.pictures.iter().filter_map(|p| p.label).collect::<Vec<_>>();
        assert_eq!((labels(&train), labels(&held_out)), (vec![0, 2, 4], vec![1, 3]));
        assert_eq!(held_out.name, "five, held out");
    }

    #[test]
    #[should_panic(expected = "every 6 of 5 pictures")]
    fn a_split_with_an_empty_side_panics() {
        pictures().split(6);
    }

    #[test]
    #[should_panic(expected = "'none' has no pictures")]
    fn a_dataset_without_pictures_panics() {
        Dataset::from_images(&Images::new("none", Array4::zeros((0, 2, 2, 1)), None));
    }

    #[test]
    fn crops_overview_and_draws_of_paintings() {
        let paintings = crate::data::paintings(32);
        let overview = paintings.overview();
        assert_eq!(overview.pixels.dim(), (22, 32, 32, 3));
        let (all, coarse) = (paintings.crops(8), paintings.crops(1000));
        assert_eq!(coarse.len(), 3 * 22, "one corner per scale");
        assert_eq!(all.pixels.index_axis(Axis(0), 0), coarse.pixels.index_axis(Axis(0), 0));
        assert!(all.len() > 5_000, "{}", all.len());
        assert_eq!(paintings.draws(5, 1).pixels, paintings.draws(9, 1).select(&[0, 1, 2, 3, 4]).pixels);
    }
}
