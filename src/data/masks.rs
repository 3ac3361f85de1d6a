//! Which entries of an example are the condition, and which the target, when a network learns to fill in what is missing.

use crate::Error;
use crate::names::{all, unknown};
use ndarray::{Array2, ArrayRef2, s};
use ndarray_rand::rand::Rng;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantArray};

/// A rule that splits the observed entries, M = M_co + M_ta (CSDI's section 4.3; for pictures what one wants to fill in).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = Error, parse_err_fn = unknown::<MaskKind>)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum), value(rename_all = "snake_case"))]
pub enum MaskKind {
    /// nothing is known
    Nothing,
    /// a share r ~ U(0, 1) of all entries, anywhere
    Random,
    /// what another example has not observed
    Historical,
    /// the last quarter of the columns: of a series, its future
    Forecast,
    /// the lower half of the rows
    Lower,
    /// a square of half the sides in the middle
    Centre,
}

impl MaskKind {
    /// Every kind.
    pub const ALL: [MaskKind; 6] = all();

    /// M_co of an example, from its observed entries M and those of another one: 1 where an entry is the condition.
    ///
    /// # Shapes
    /// All `[H, W]`, of 0 and 1.
    ///
    /// ```
    /// use ddpm::{data::MaskKind, rng::stream};
    /// let all = ndarray::Array2::ones((4, 4));
    /// let known = MaskKind::Lower.condition(&all, &all, &mut stream(1, 0));
    /// assert_eq!((known[[1, 0]], known[[2, 0]]), (1.0, 0.0));
    /// ```
    pub fn condition(self, observed: &Array2<f64>, other: &Array2<f64>, rng: &mut impl Rng) -> Array2<f64> {
        let (h, w) = observed.dim();
        let mut condition = observed.clone();
        match self {
            MaskKind::Nothing => condition.fill(0.0),
            MaskKind::Random => {
                let ratio = rng.random();
                let uniform = Array2::from_shape_simple_fn((h, w), || rng.random());
                return random_condition(observed, &uniform, ratio);
            }
            MaskKind::Historical => condition *= other,
            MaskKind::Forecast => return forecast_condition(observed, w.div_ceil(4)),
            MaskKind::Lower => condition.slice_mut(s![h / 2.., ..]).fill(0.0),
            MaskKind::Centre => condition.slice_mut(s![h / 4..h - h / 4, w / 4..w - w / 4]).fill(0.0),
        }
        condition
    }
}

/// Of the n observed entries, those round(n · ratio) with the largest of some uniform numbers become targets (halves are
/// rounded to even); M_co is the rest.
///
/// ```
/// use ndarray::array;
/// let condition = ddpm::data::random_condition(&array![[1.0, 1.0, 0.0]], &array![[0.2, 0.7, 0.9]], 0.5);
/// assert_eq!(condition, array![[1.0, 0.0, 0.0]]); // the third has no value anyway
/// ```
pub fn random_condition(observed: &ArrayRef2<f64>, uniform: &Array2<f64>, ratio: f64) -> Array2<f64> {
    let mut order: Vec<_> = observed.indexed_iter().filter(|(_, m)| **m > 0.0).map(|(at, _)| at).collect();
    order.sort_by(|&a, &b| uniform[b].total_cmp(&uniform[a]));
    let targets = (order.len() as f64 * ratio).round_ties_even() as usize;
    let mut condition = observed.to_owned();
    order.iter().take(targets).for_each(|&at| condition[at] = 0.0);
    condition
}

/// What is observed before the last `horizon` columns.
///
/// ```
/// use ndarray::array;
/// assert_eq!(ddpm::data::forecast_condition(&array![[1.0, 0.0, 1.0]], 1), array![[1.0, 0.0, 0.0]]);
/// ```
pub fn forecast_condition(observed: &ArrayRef2<f64>, horizon: usize) -> Array2<f64> {
    let mut condition = observed.to_owned();
    let w = observed.ncols();
    condition.slice_mut(s![.., w.saturating_sub(horizon)..]).fill(0.0);
    condition
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    /// Of every kind: the condition is a part of what is observed.
    #[test]
    fn a_condition_has_been_observed() {
        let mut observed = Array2::ones((6, 8));
        observed[[1, 1]] = 0.0;
        let mut other = Array2::ones((6, 8));
        other[[2, 3]] = 0.0;
        for kind in MaskKind::ALL {
            let condition = kind.condition(&observed, &other, &mut stream(1, 0));
            let targets = &observed - &condition;
            assert!(condition.iter().chain(&targets).all(|m| [0.0, 1.0].contains(m)), "{kind}");
            assert_eq!(&condition + &targets, observed, "{kind}");
            let expected = match kind {
                MaskKind::Nothing => 47.0,
                MaskKind::Historical => 1.0,
                MaskKind::Forecast => 12.0,
                MaskKind::Lower => 24.0,
                MaskKind::Centre => 16.0,
                MaskKind::Random => targets.sum(),
            };
            assert_eq!(targets.sum(), expected, "{kind}");
        }
    }
}
