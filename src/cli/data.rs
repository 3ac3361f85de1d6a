//! Which images: what several commands share about data.

use super::numbers::{percent, whole};
use super::progress::Progress;
use super::say::note;
use anyhow::{Context, Result, bail};
use clap::Args;
use ddpm::Error;
use ddpm::checkpoint::Pretrained;
use ddpm::data::{self, Dataset, FolderOptions, Framing, Images, Split};
use ddpm::tensor::Batch;
use std::fmt::{Display, Formatter};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// Height and width, written `64` or `48x64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ImageSize(pub [usize; 2]);

impl FromStr for ImageSize {
    type Err = String;
    fn from_str(text: &str) -> Result<ImageSize, String> {
        let side = |text: &str| text.parse::<u16>().ok().filter(|&side| side > 0).map(usize::from);
        let size = match text.split_once('x') {
            Some((h, w)) => side(h).zip(side(w)),
            None => side(text).map(|side| (side, side)),
        };
        size.map(|(h, w)| ImageSize([h, w]))
            .ok_or("expected a side of 1 to 65535 pixels, or two as in 48x64".into())
    }
}

impl Display for ImageSize {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        let [h, w] = self.0;
        if h == w { write!(f, "{h}") } else { write!(f, "{h}x{w}") }
    }
}

/// What `--whole` means if no number is given, in percent.
pub(super) const WHOLE: &str = "85";

/// How examples are cut from a folder of pictures, and which are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub size: [usize; 2],
    /// an example holds at least so many percent of its picture's side; none is crops at three octaves
    pub whole: Option<u8>,
    /// every so manyth picture is held out
    pub holdout: Option<usize>,
}

impl Cut {
    /// Crops at three octaves of all pictures.
    pub(super) fn crops(size: [usize; 2]) -> Cut {
        Cut { size, whole: None, holdout: None }
    }
}

/// Fashion-MNIST, a folder of IDX files, or a folder of pictures without those that are held out.
pub(super) fn training_data(
    folder: Option<&Path>,
    cut: &Cut,
    channels: usize,
    labels: bool,
) -> Result<Dataset> {
    match folder {
        Some(dir) if !data::idx::is_idx_folder(dir).context("--data")? => {
            let all = pictures(dir, cut, channels, labels)?;
            Ok(match cut.holdout {
                Some(every) => split(all, every)?.0,
                None => all,
            })
        }
        _ if cut.whole.is_some() => {
            bail!(Error::argument("--whole", "a folder of pictures", "IDX files, whose images are whole"))
        }
        _ if cut.holdout.is_some() => {
            bail!(Error::argument("--holdout", "a folder of pictures", "IDX files, which have a test set"))
        }
        _ => {
            let mut data =
                Dataset::from_images(&data::fashion_mnist(folder, Split::Train).context("--data")?);
            let numbers = || (0..data.classes().map_or(0, |classes| classes.len())).map(|n| n.to_string());
            data.class_names = Some(match folder {
                None => data::FASHION_MNIST_CLASSES.map(String::from).to_vec(),
                Some(_) => numbers().collect(),
            });
            Ok(data)
        }
    }
}

/// Which images a model is tried on.
#[derive(Args)]
pub(super) struct TestArgs {
    /// IDX files or pictures to take them from [default: the shipped Fashion-MNIST test set]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Of a folder of pictures, only those that `ddpm train --holdout` leaves out
    #[arg(long, value_name = "EVERY", requires = "data", value_parser = whole(2..))]
    holdout: Option<usize>,

    /// Whole pictures instead of crops at three scales: each example holds at least so many percent of the shorter side
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, default_missing_value = WHOLE, value_parser = percent(), requires = "data")]
    whole: Option<u8>,
}

impl TestArgs {
    /// In their order: those of Fashion-MNIST's test set, or of a folder; of a folder of pictures no more than `count`, spread
    /// evenly.
    pub(super) fn images(&self, model: &Pretrained, count: usize) -> Result<Images> {
        let [h, w, c] = model.picture_shape();
        let images = match self.data.as_deref() {
            None => data::fashion_mnist_test(),
            Some(dir) if data::idx::is_idx_folder(dir).context("--data")? => {
                data::fashion_mnist(Some(dir), Split::Test).context("--data")?
            }
            Some(dir) => {
                let cut = Cut { size: [h, w], whole: self.whole, holdout: self.holdout };
                let all = pictures(dir, &cut, c, false)?;
                let all = match self.holdout {
                    Some(every) => split(all, every)?.1,
                    None => all,
                };
                all.fixed(count)
            }
        };
        if images.shape() != [h, w, c] {
            let [fh, fw, fc] = images.shape();
            let found = format!("images of {fh}x{fw}x{fc} in {}", images.name);
            bail!(Error::argument("--data", format!("images of {h}x{w}x{c}"), found));
        }
        Ok(images)
    }
}

/// A folder of pictures as crops; says on the way what could be used.
pub(super) fn pictures(dir: &Path, cut: &Cut, channels: usize, labels: bool) -> Result<Dataset> {
    let cache = dirs::cache_dir().map(|folder| folder.join("ddpm/pictures"));
    let framing = cut.whole.map_or(FolderOptions::new(32).framing, Framing::Whole);
    let options = FolderOptions { size: cut.size, channels, framing, labels, cache };
    let progress = Mutex::new(Progress::new(format!("reading {}", dir.display()), 0));
    let watch = |done, total| progress.lock().unwrap_or_else(PoisonError::into_inner).of(done, total);
    let loaded = data::load_folder_watched(dir, &options, &watch);
    progress.into_inner().unwrap_or_else(PoisonError::into_inner).clear();
    let (data, report) = loaded.context("--data")?;
    note!("{report}");
    Ok(data)
}

/// The same in two parts, `(train, held_out)`, every `every`-th picture held out.
fn split(data: Dataset, every: usize) -> Result<(Dataset, Dataset)> {
    let n = data.len();
    if !(2..=n).contains(&every) {
        bail!(Error::argument("--holdout", format!("2 to {n}, of {n} pictures"), every));
    }
    Ok(data.split(every))
}

/// The same as numbers in [−1, 1].
pub(super) fn as_batch(images: &Images) -> Batch {
    data::to_unit(&images.pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_one_number_or_two() {
        for (text, size) in [("64", [64, 64]), ("48x64", [48, 64])] {
            let parsed: ImageSize = text.parse().expect("a size");
            assert_eq!((parsed.0, parsed.to_string().as_str()), (size, text));
        }
        for text in ["", "0", "x", "64x", "x64", "64x0", "-1", "1.5", "65536", "64X48", "1x2x3"] {
            assert!(text.parse::<ImageSize>().is_err(), "{text}");
        }
    }
}
