//! The checks of the exercises: `check::alpha_bar(alpha_bar)` runs a student's function and says what is wrong.
//!
//! A check never panics and never hangs: the function runs in a thread of its own, with a time limit. It reports the
//! first case that fails, with input, expected and found values and shapes. It also knows mistakes that have been
//! made before, as functions that make them: the one that gives the same wrong value is the likely cause. So each
//! mistake is also a test of the check, which has to find it.
//!
//! | module | exercises of notebook |
//! |---|---|
//! | [`n01`] | 01, Gaussians, KL, bits |

mod exercise;
mod value;
mod verdict;

pub mod n01;

pub(crate) use exercise::in_check;
pub use exercise::{Audit, Exercise};
pub use n01::*;
pub use value::Value;
pub use verdict::{Verdict, score};

use crate::display::{Markdown, md};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Declares the checks of a notebook: a function for each, and `all`, their list.
macro_rules! exercises {
    ($($(#[$doc:meta])* $name:ident: $student:ty = $build:expr;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(student: $student) -> $crate::check::Verdict {
                let build: fn($crate::check::Exercise<$student>) -> $crate::check::Exercise<$student> = $build;
                build($crate::check::Exercise::new(stringify!($name))).check(student)
            }
        )*

        /// Every exercise of the notebook, for their tests and hints.
        pub(super) fn all() -> Vec<Box<dyn $crate::check::Audit>> {
            let mut all: Vec<Box<dyn $crate::check::Audit>> = Vec::new();
            $(
                let build: fn($crate::check::Exercise<$student>) -> $crate::check::Exercise<$student> = $build;
                all.push(Box::new(build($crate::check::Exercise::new(stringify!($name)))));
            )*
            all
        }
    };
}
use exercises;

/// Every exercise, in the order of the notebooks.
pub fn all() -> Vec<Box<dyn Audit>> {
    [n01::all()].into_iter().flatten().collect()
}

/// The next hint for an exercise: each call gives one more.
pub fn hint(exercise: &str) -> Markdown {
    static GIVEN: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
    let all = all();
    let Some(found) = all.iter().find(|e| e.name() == exercise) else {
        let names: Vec<&str> = all.iter().map(|e| e.name()).collect();
        return md(format!("There is no exercise `{exercise}`. There are: {}", names.join(", ")));
    };
    let hints = found.hints();
    let mut given = GIVEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let n = given.entry(exercise.to_string()).or_insert(0);
    *n = (*n + 1).min(hints.len());
    let shown: Vec<String> = hints[..*n].iter().map(|hint| format!("- {hint}")).collect();
    md(format!("Hint {n} of {}:\n\n{}", hints.len(), shown.join("\n")))
}
