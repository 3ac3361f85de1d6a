//! Enums whose variants have names: on the command line, in files, in tables. `strum` makes each list and each name from
//! the variants themselves; here is the little it leaves out.

use crate::error::Error;
use std::fmt::Display;
use strum::VariantArray;

/// All variants, in their order; does not compile for another number of them.
pub(crate) const fn all<T: VariantArray + Copy, const N: usize>() -> [T; N] {
    assert!(T::VARIANTS.len() == N, "as many as there are variants");
    *T::VARIANTS.first_chunk().expect("there are N")
}

/// What `parse` says of a `text` that is no variant's name.
pub(crate) fn unknown<T: VariantArray + Display>(text: &str) -> Error {
    let names: Vec<String> = T::VARIANTS.iter().map(T::to_string).collect();
    let kind = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
    Error::argument(kind, format!("one of {}", names.join(", ")), format!("'{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Precision;
    use crate::diffusion::{Decoder, Loss, Prediction, ScheduleKind, Times, Variance};
    use std::fmt::Debug;
    use std::str::FromStr;

    /// Printed, padded, read back, and refused with the whole list.
    fn check<T>(all: &[T], kind: &str, names: &[&str])
    where
        T: FromStr<Err = Error> + Display + Debug + PartialEq,
    {
        assert_eq!(all.iter().map(T::to_string).collect::<Vec<_>>(), names);
        for (value, name) in all.iter().zip(names) {
            assert_eq!(&name.parse::<T>().unwrap(), value);
            assert_eq!(format!("{value:>14}|{value:14}|"), format!("{name:>14}|{name:14}|"));
        }
        for wrong in ["", "nothing", &names[0].to_uppercase()] {
            let message = wrong.parse::<T>().unwrap_err().to_string();
            assert_eq!(message, format!("{kind}: expected one of {}, found '{wrong}'", names.join(", ")));
        }
    }

    #[test]
    fn names_round_trip() {
        check(&Prediction::ALL, "Prediction", &["eps", "x0", "mu_tilde", "v"]);
        check(&Variance::ALL, "Variance", &["beta", "beta_tilde", "learned", "learned_range"]);
        check(&Loss::ALL, "Loss", &["simple", "vlb", "hybrid"]);
        check(&ScheduleKind::ALL, "ScheduleKind", &["linear", "cosine", "quad", "sigmoid", "csdi"]);
        check(&Times::ALL, "Times", &["uniform", "importance"]);
        check(&Decoder::ALL, "Decoder", &["exact", "tanh"]);
        check(&Precision::ALL, "Precision", &["f32", "f16", "bf16"]);
    }

    /// Checkpoints hold the same names.
    #[test]
    fn serde_agrees() {
        fn check<T: serde::Serialize + Display>(all: &[T]) {
            all.iter().for_each(|t| assert_eq!(serde_json::to_string(t).unwrap(), format!("\"{t}\"")));
        }
        check(&Prediction::ALL);
        check(&Variance::ALL);
        check(&Loss::ALL);
        check(&ScheduleKind::ALL);
        check(&Times::ALL);
        check(&Decoder::ALL);
    }

    /// And so does the command line, which says a word about each.
    #[cfg(feature = "cli")]
    #[test]
    fn clap_agrees() {
        fn check<T: clap::ValueEnum + Display>() {
            for value in T::value_variants() {
                let possible = value.to_possible_value().expect("none is hidden");
                assert_eq!(possible.get_name(), value.to_string());
                // the documentation, as plain text: no links
                let help = possible.get_help().expect("a word about it").to_string();
                assert!(!help.contains(['[', '`', '\\']), "{value}: {help}");
            }
        }
        check::<Prediction>();
        check::<Variance>();
        check::<Loss>();
        check::<ScheduleKind>();
        check::<Times>();
        check::<Decoder>();
        check::<Precision>();
    }
}
