//! The checks of the exercises: `check::alpha_bar(alpha_bar)` runs a student's function and says what is wrong.
//!
//! A check never panics and never hangs: the function runs in a thread of its own, with a time limit. It reports the
//! first case that fails, with input, expected and found values and shapes. It also knows mistakes that have been
//! made before, as functions that make them: the one that gives the same wrong value is the likely cause. So each
//! mistake is also a test of the check, which has to find it. Those that were published have a number in the
//! [`museum`].
//!
//! Each notebook has a module of its own here, `n01` for notebook 01.

pub(crate) mod class;
mod exercise;
pub mod museum;
mod predict;
mod value;
mod verdict;

pub mod n00;
pub mod n01;
pub mod n02;
pub mod n03;
pub mod n04;
pub mod n05;
pub mod n06;
pub mod n07;
pub mod n08;
pub mod n09;
pub mod n10;
pub mod n11;
pub mod n12;
pub mod n13;
pub mod n14;
pub mod n15;
pub mod n16;
pub mod n17;

pub use n00::*;
pub use n01::*;
pub use n02::*;
pub use n03::*;
pub use n04::*;
pub use n05::*;
pub use n06::*;
pub use n07::*;
pub use n08::*;
pub use n09::*;
pub use n10::*;
pub use n11::*;
pub use n12::*;
pub use n13::*;
pub use n14::*;
pub use n15::*;
pub use n16::*;
pub use n17::*;

pub use class::class_constant;
pub(crate) use exercise::in_check;
pub use exercise::{Audit, CONSTANT, Exercise};
pub use predict::predict;
pub use value::Value;
pub use verdict::{Verdict, score};

use crate::display::{Markdown, md};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// An exercise by its name, and how to make it.
pub type Entry = (&'static str, fn() -> Box<dyn Audit>);

/// Declares the checks of a notebook, with the file of their solutions: a function for each, and `all`, their list. What each
/// checks is said by the function of its name in `define`.
macro_rules! exercises {
    (solutions: $solutions:literal; $($(#[$doc:meta])* $name:ident: $student:ty;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(student: $student) -> $crate::check::Verdict {
                build::$name().check(student)
            }
        )*

        /// Each exercise with its cases, mistakes and hints.
        mod build {
            use super::*;
            use $crate::check::Exercise;

            $(
                pub(super) fn $name() -> Exercise<$student> {
                    define::$name(Exercise::new(stringify!($name)))
                }
            )*
        }

        /// What the rest of the notebook goes on with: the student's function, or the solution where there is none yet.
        pub mod yours {
            use super::*;

            $(
                #[doc = concat!("The student's `", stringify!($name), "`, or the solution until one is written and checked.")]
                pub fn $name(student: $student) -> $student {
                    $crate::check::verdict::choose(stringify!($name), student, solutions::given::$name())
                }
            )*
        }

        mod solutions {
            #![allow(dead_code, unused_imports, non_snake_case)] // a file that students read
            include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../solutions/", $solutions));

            /// Its functions, for the module above.
            pub(super) mod given {
                use super::super::*;

                $(pub(in super::super) fn $name() -> $student { super::$name })*
            }
        }

        /// The verdict on each solution.
        pub(super) fn solved() -> Vec<(&'static str, $crate::check::Verdict)> {
            vec![$((stringify!($name), $name(solutions::given::$name()))),*]
        }

        /// Every exercise of the notebook, in its order.
        pub(super) fn all() -> Vec<$crate::check::Entry> {
            vec![$((stringify!($name), || Box::new(build::$name()))),*]
        }
    };
}
use exercises;

/// What a notebook goes on with after an exercise: `check::yours::noised(noised)` is the student's function, right or wrong, so
/// that the figures that follow show what it does; as long as its check has seen nothing written, it is the solution.
pub mod yours {
    pub use super::n00::yours::*;
    pub use super::n01::yours::*;
    pub use super::n02::yours::*;
    pub use super::n03::yours::*;
    pub use super::n04::yours::*;
    pub use super::n05::yours::*;
    pub use super::n06::yours::*;
    pub use super::n07::yours::*;
    pub use super::n08::yours::*;
    pub use super::n09::yours::*;
    pub use super::n10::yours::*;
    pub use super::n11::yours::*;
    pub use super::n12::yours::*;
    pub use super::n13::yours::*;
    pub use super::n14::yours::*;
    pub use super::n15::yours::*;
    pub use super::n16::yours::*;
    pub use super::n17::yours::*;
}

/// Every exercise, in the order of the notebooks.
pub fn all() -> Vec<Entry> {
    [
        n00::all(),
        n01::all(),
        n02::all(),
        n03::all(),
        n04::all(),
        n05::all(),
        n06::all(),
        n07::all(),
        n08::all(),
        n09::all(),
        n10::all(),
        n11::all(),
        n12::all(),
        n13::all(),
        n14::all(),
        n15::all(),
        n16::all(),
        n17::all(),
    ]
    .concat()
}

/// The verdict on every solution, in the same order.
pub fn solved() -> Vec<(&'static str, Verdict)> {
    [
        n00::solved(),
        n01::solved(),
        n02::solved(),
        n03::solved(),
        n04::solved(),
        n05::solved(),
        n06::solved(),
        n07::solved(),
        n08::solved(),
        n09::solved(),
        n10::solved(),
        n11::solved(),
        n12::solved(),
        n13::solved(),
        n14::solved(),
        n15::solved(),
        n16::solved(),
        n17::solved(),
    ]
    .concat()
}

/// The exercise of this name, or a text that lists the names there are.
fn find(name: &str) -> Result<Box<dyn Audit>, Markdown> {
    let all = all();
    let found = all.iter().find(|(known, _)| *known == name);
    found.map(|(_, build)| build()).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        md(format!("There is no exercise `{name}`. There are: {}", names.join(", ")))
    })
}

/// The question of an exercise whose constants a class may change, as the text of a cell.
pub fn task(exercise: &str) -> Markdown {
    find(exercise).map_or_else(|unknown| unknown, |found| md(found.task()))
}

/// The next hint for an exercise: each call gives one more.
pub fn hint(exercise: &str) -> Markdown {
    static GIVEN: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
    let mut given = GIVEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let n = given.entry(exercise.to_string()).or_insert(0);
    *n += 1;
    hints(exercise, *n)
}

/// The first `n` hints for an exercise, or all if there are not so many.
pub fn hints(exercise: &str, n: usize) -> Markdown {
    let found = match find(exercise) {
        Ok(found) => found,
        Err(unknown) => return unknown,
    };
    let hints = found.hints();
    let n = n.min(hints.len());
    let shown: Vec<String> = hints[..n].iter().map(|hint| format!("- {hint}")).collect();
    md(format!("Hint {n} of {}:\n\n{}", hints.len(), shown.join("\n")))
}
