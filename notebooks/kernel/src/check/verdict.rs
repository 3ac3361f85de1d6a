//! What a check says.

use crate::display::{escaped, show};
use std::collections::BTreeMap;
use std::fmt;
use std::process::{ExitCode, Termination};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// The first case that failed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) input: String,
    pub(super) expected: String,
    pub(super) got: String,
    pub(super) cause: Option<&'static str>,
}

/// What is said of a function that has only its signature.
const UNWRITTEN: &str = "not written yet";

impl Failure {
    pub(super) fn panicked(input: &str, message: &str) -> Failure {
        let unwritten = message.starts_with("not yet implemented");
        let got = if unwritten { UNWRITTEN.to_string() } else { format!("panicked: {message}") };
        Failure { input: input.to_string(), expected: "a value".to_string(), got, cause: None }
    }

    pub(super) fn endless(patience: Duration) -> Failure {
        Failure {
            input: "all cases".to_string(),
            expected: "an end".to_string(),
            got: format!("still running after {} s", patience.as_secs()),
            cause: Some("a loop whose condition never becomes false"),
        }
    }
}

/// ✓ or ✗, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    name: &'static str,
    passed: usize,
    cases: usize,
    failure: Option<Failure>,
}

impl Verdict {
    pub(super) fn passed(name: &'static str, cases: usize) -> Verdict {
        Verdict { name, passed: cases, cases, failure: None }
    }

    pub(super) fn failed(name: &'static str, passed: usize, cases: usize, failure: Failure) -> Verdict {
        Verdict { name, passed, cases, failure: Some(failure) }
    }

    /// The part of the cases that passed: 1 if the function is right.
    pub fn score(&self) -> f64 {
        self.points(1.0)
    }

    /// That part of `points`, as the last number of a cell that is graded.
    pub fn points(&self, points: f64) -> f64 {
        points * self.passed as f64 / self.cases as f64
    }

    /// The known mistake that explains the failure.
    pub fn cause(&self) -> Option<&'static str> {
        self.failure.as_ref().and_then(|failure| failure.cause)
    }

    /// Whether the function has not been written: no fault, and shown in grey.
    fn is_unwritten(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.got == UNWRITTEN)
    }

    /// Shows the verdict in a notebook, in green, red or, if there is nothing to judge yet, grey.
    pub fn evcxr_display(&self) {
        let colour = match &self.failure {
            None => "#1a7f37",
            Some(_) if self.is_unwritten() => "#6e7781",
            Some(_) => "#cf222e",
        };
        let text = escaped(&self.to_string());
        let (head, rest) = text.split_once('\n').unwrap_or((&text, ""));
        show(
            "text/html",
            &format!(
                "<pre style=\"font-family: monospace\"><b style=\"color:{colour}\">{head}</b>\n{rest}</pre>"
            ),
        );
        show("text/plain", &self.to_string());
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { name, passed, cases, failure } = self;
        if self.is_unwritten() {
            return write!(f, "○ {name}   {UNWRITTEN}\n  help      check::hint(\"{name}\")");
        }
        let Some(Failure { input, expected, got, cause }) = failure else {
            return write!(f, "✓ {name}   {cases} cases");
        };
        writeln!(f, "✗ {name}   {passed} of {cases} cases")?;
        writeln!(f, "  input     {input}")?;
        writeln!(f, "  expected  {expected}")?;
        writeln!(f, "  got       {got}")?;
        if let Some(cause) = cause {
            writeln!(f, "  likely    {cause}")?;
        }
        write!(f, "  help      check::hint(\"{name}\")")
    }
}

/// A verdict is what the program of an exercise ends with: it prints itself, and ✗ is a failure.
impl Termination for Verdict {
    fn report(self) -> ExitCode {
        let help = format!("check::hint(\"{}\")", self.name);
        println!("{}", self.to_string().replace(&help, &format!("ddpm learn hint {}", self.name)));
        if self.failure.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The last verdict on each exercise.
fn verdicts() -> MutexGuard<'static, BTreeMap<&'static str, Verdict>> {
    static VERDICTS: Mutex<BTreeMap<&'static str, Verdict>> = Mutex::new(BTreeMap::new());
    VERDICTS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Keeps the last result of each check.
pub(super) fn remember(verdict: &Verdict) {
    verdicts().insert(verdict.name, verdict.clone());
}

/// How many of the exercises that were checked so far are right.
pub fn score() -> String {
    let verdicts = verdicts();
    let right = verdicts.values().filter(|verdict| verdict.failure.is_none()).count();
    format!("{right} of {} exercises", verdicts.len())
}

/// What a notebook goes on with: the student's function, right or wrong, or the solution as long as the check has seen nothing
/// written. Says which.
pub(super) fn choose<F>(name: &str, student: F, solution: F) -> F {
    let (chosen, whose) = match verdicts().get(name) {
        Some(verdict) if verdict.failure.is_none() => (student, "yours"),
        Some(verdict) if !verdict.is_unwritten() => (student, "yours, which its check does not accept yet"),
        _ => (solution, "the course's, until yours is written and checked"),
    };
    println!("{name}: {whose}");
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A notebook goes on with the solution until there is something written, and then with that, right or wrong.
    #[test]
    fn figures_are_drawn_by_what_the_student_wrote() {
        let name = "an exercise of this test alone";
        let chosen = || choose(name, "student", "solution");
        assert_eq!(chosen(), "solution");
        let failed = |message: &str| Verdict::failed(name, 0, 2, Failure::panicked("x = 1", message));
        for (verdict, expected) in [
            (failed("not yet implemented"), "solution"),
            (failed("index out of bounds"), "student"),
            (Verdict::passed(name, 2), "student"),
        ] {
            remember(&verdict);
            assert_eq!(chosen(), expected, "{verdict}");
        }
    }
}
