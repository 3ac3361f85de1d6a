//! What can be said of pictures without a classifier: how rough they are, how they are composed, and whether they are copies.

use super::pixels;
use crate::data::{Images, with_mirrored};
use ndarray::{Array2, ArrayView1, Axis, s};
use rayon::prelude::*;

/// The mean difference of neighbouring pixels, across and down, in grey levels of \[0, 255\].
///
/// Noise that is left, or brush-strokes for want of forms, make it larger than that of the data; a blur makes it smaller.
///
/// # Panics
/// If the images have a single row or column, or there is none.
///
/// ```
/// use ddpm::{data::Images, quality::roughness};
/// let checks = ndarray::Array4::from_shape_fn((1, 4, 4, 1), |(_, y, x, _)| 10 * ((y + x) % 2) as u8);
/// assert_eq!(roughness(&Images::new("checks", checks, None)), 10.0);
/// ```
#[track_caller]
pub fn roughness(images: &Images) -> f64 {
    let [h, w, _] = images.shape();
    assert!(h > 1 && w > 1 && !images.is_empty(), "roughness: {} images of {h}x{w}", images.len());
    let x = images.pixels.mapv(f64::from);
    let across = &x.slice(s![.., .., 1.., ..]) - &x.slice(s![.., .., ..w - 1, ..]);
    let down = &x.slice(s![.., 1.., .., ..]) - &x.slice(s![.., ..h - 1, .., ..]);
    let sum = |d: &ndarray::Array4<f64>| d.iter().map(|d| d.abs()).sum::<f64>();
    (sum(&across) + sum(&down)) / (across.len() + down.len()) as f64
}

/// Each image as `side`×`side` means of its blocks, in grey levels: its composition, `[N, side·side·C]`.
///
/// # Panics
/// If the sides of the images are not multiples of `side`.
///
/// ```
/// use ddpm::{data::Images, quality::thumbnails};
/// let halves = ndarray::Array4::from_shape_fn((1, 4, 4, 1), |(_, _, x, _)| if x < 2 { 10 } else { 30 });
/// assert_eq!(thumbnails(&Images::new("halves", halves, None), 2), ndarray::array![[10.0, 30.0, 10.0, 30.0]]);
/// ```
#[track_caller]
pub fn thumbnails(images: &Images, side: usize) -> Array2<f64> {
    let [h, w, c] = images.shape();
    assert!(side > 0 && h % side == 0 && w % side == 0, "thumbnails: {side} blocks a side of {h}x{w} pixels");
    let (rows, columns) = (h / side, w / side);
    let mut out = Array2::zeros((images.len(), side * side * c));
    for ((n, y, x, k), &level) in images.pixels.indexed_iter() {
        let block = (y / rows * side + x / columns) * c + k;
        out[[n, block]] += f64::from(level) / (rows * columns) as f64;
    }
    out
}

/// The candidate that is nearest to each image in its pixels, seen in a mirror too, and its root mean squared difference in
/// grey levels. Candidates come in parts, of which one at a time is in memory.
///
/// # Panics
/// If the shapes differ, or there is no candidate.
#[track_caller]
pub fn copies(images: &Images, candidates: impl IntoIterator<Item = Images>) -> Vec<(Images, f64)> {
    let queries = pixels(&images.pixels);
    let root = (queries.ncols() as f64).sqrt();
    let queries: Vec<_> = queries.outer_iter().collect();
    let mut best: Vec<Option<(Images, f64)>> = vec![None; images.len()];
    for part in candidates {
        assert_eq!(part.shape(), images.shape(), "copies: the shapes of candidates and of images");
        let part = Images::new("", with_mirrored(&part.pixels), None);
        let rows = pixels(&part.pixels);
        best.par_iter_mut().zip(&queries).for_each(|(best, &query)| {
            let limit = best.as_ref().map_or(f64::INFINITY, |(_, square)| *square);
            if let Some((index, square)) = nearest_below(query, &rows, limit) {
                *best = Some((part.select(&[index]), square));
            }
        });
    }
    let found = |best: Option<(Images, f64)>| best.expect("copies: no candidates");
    best.into_iter().map(found).map(|(image, square)| (image, square.sqrt() / root)).collect()
}

/// The row that is nearest to a query and its |a − b|², if that is below a limit.
fn nearest_below(query: ArrayView1<f32>, rows: &Array2<f32>, limit: f64) -> Option<(usize, f64)> {
    rows.outer_iter().enumerate().fold(None, |nearest, (index, row)| {
        let least = nearest.map_or(limit, |(_, square)| square);
        square_below(query, row, least).map(|square| (index, square)).or(nearest)
    })
}

/// |a − b|², if it is below a limit; it is given up as soon as it is not.
fn square_below(a: ArrayView1<f32>, b: ArrayView1<f32>, limit: f64) -> Option<f64> {
    const PIECE: usize = 64;
    let mut sum = 0.0;
    for (a, b) in a.axis_chunks_iter(Axis(0), PIECE).zip(b.axis_chunks_iter(Axis(0), PIECE)) {
        sum += a.iter().zip(b).map(|(&a, &b)| f64::from(a - b).powi(2)).sum::<f64>();
        if sum >= limit {
            return None;
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{flip_horizontal, paintings};
    use crate::quality::nearest;

    #[test]
    fn roughness_knows_noise_and_blur() {
        let real = paintings(32).overview();
        let mut blurred = real.clone();
        for ((n, y, x, c), p) in
            blurred.pixels.indexed_iter_mut().filter(|((_, y, x, _), _)| *y > 0 && *x > 0)
        {
            let near = [(y, x), (y - 1, x), (y, x - 1), (y - 1, x - 1)];
            *p = (near.iter().map(|&(y, x)| u32::from(real.pixels[[n, y, x, c]])).sum::<u32>() / 4) as u8;
        }
        let mut noisy = real.clone();
        noisy
            .pixels
            .indexed_iter_mut()
            .for_each(|((_, y, x, _), p)| *p = p.saturating_add(((y * 7 + x * 5) % 40) as u8));
        let [blurred, real, noisy] = [&blurred, &real, &noisy].map(roughness);
        assert!(blurred < 0.7 * real && real < 0.9 * noisy, "{blurred} {real} {noisy}");
    }

    #[test]
    fn thumbnails_keep_the_mean() {
        let images = paintings(32).overview();
        let small = thumbnails(&images, 4);
        assert_eq!(small.dim(), (22, 48));
        let mean = images.pixels.mapv(f64::from).mean().unwrap();
        assert!((small.mean().unwrap() - mean).abs() < 1e-9);
    }

    /// A mirrored copy is found, as itself; and a picture that is none of them has a distance.
    #[test]
    fn copies_are_found_in_a_mirror() {
        let all = paintings(32).overview();
        let (few, other) = (all.select(&[3, 7]), all.select(&[0]));
        let mirrored = Images::new("", flip_horizontal(&few.pixels), None);
        for (n, (copy, distance)) in copies(&mirrored, [few.clone()]).into_iter().enumerate() {
            assert_eq!((distance, copy.pixels), (0.0, mirrored.select(&[n]).pixels));
        }
        assert!(copies(&other, [few])[0].1 > 10.0);
    }

    /// What is given up early and in parts is what a search of everything finds.
    #[test]
    fn copies_are_the_nearest() {
        let all = paintings(32);
        let images = all.draws(5, 1);
        let everything = with_mirrored(&all.crops(4).pixels);
        let found = nearest(&pixels(&images.pixels), &pixels(&everything), 1);
        for ((copy, distance), found) in copies(&images, all.crops_by_picture(4)).iter().zip(found) {
            let expected = found[0].distance / 3072_f64.sqrt();
            assert!((distance - expected).abs() < 1e-9 * expected, "{distance} {expected}");
            assert_eq!(copy.pixels.index_axis(Axis(0), 0), everything.index_axis(Axis(0), found[0].index));
        }
    }

    #[test]
    #[should_panic(expected = "thumbnails: 5 blocks a side of 32x32 pixels")]
    fn blocks_must_fit() {
        thumbnails(&paintings(32).overview(), 5);
    }

    #[test]
    #[should_panic(expected = "roughness: 1 images of 1x4")]
    fn one_row_has_no_neighbours() {
        roughness(&Images::new("", ndarray::Array4::zeros((1, 1, 4, 1)), None));
    }
}
