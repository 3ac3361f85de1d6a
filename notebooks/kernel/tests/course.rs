//! The checks are checked: every solution passes, every known mistake is found and called by its name.

use ddpm_notebook::check;

/// The solutions, each a module, each function run by the check of its name.
macro_rules! solutions {
    ($($module:ident = $path:literal: $($name:ident)*;)*) => {
        $(
            mod $module {
                #![allow(dead_code, unused_imports, non_snake_case, missing_docs)]
                include!(concat!("../../solutions/", $path));

                pub(super) fn verdicts() -> Vec<(&'static str, ddpm_notebook::check::Verdict)> {
                    vec![$((stringify!($name), ddpm_notebook::check::$name($name))),*]
                }
            }
        )*

        #[test]
        fn every_solution_passes() {
            let verdicts = [$($module::verdicts()),*].concat();
            verdicts.iter().for_each(|(_, verdict)| assert_eq!(verdict.score(), 1.0, "{verdict}"));
            let solved: Vec<&str> = verdicts.iter().map(|(name, _)| *name).collect();
            let all: Vec<&str> = check::all().iter().map(|(name, _)| *name).collect();
            assert_eq!(solved, all, "a solution for each exercise, in their order");
        }
    };
}

solutions! {
    n01 = "01_gaussians.rs": log_pdf kl to_bits_per_dim bin_probability tanh_error;
}

#[test]
fn every_mistake_is_found_and_named() {
    for (name, build) in check::all() {
        let mistakes = build().mistakes();
        assert!(mistakes.len() >= 2, "{name}: a check needs mistakes that it finds");
        for (mistake, verdict) in mistakes {
            assert!(verdict.score() < 1.0, "{name} does not see: {mistake}");
            assert_eq!(verdict.cause(), Some(mistake), "{name}: {verdict}");
        }
    }
}

#[test]
fn every_exercise_has_hints_and_a_name_of_its_own() {
    let mut names: Vec<&str> = check::all().iter().map(|(name, _)| *name).collect();
    assert!(check::all().iter().all(|(_, build)| !build().hints().is_empty()), "an exercise without a hint");
    names.sort_unstable();
    names.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1]));
}
