//! An exercise: cases that a right function passes, and wrong functions that must not.

use super::value::{SHOWN, number};
use super::verdict::{Failure, Verdict};
use super::{Value, verdict};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Once, mpsc};
use std::time::Duration;

/// A function that is still running after this long has a loop that does not end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The name of the thread in which a student's function runs; its panics are answers, not accidents.
const THREAD: &str = "check";

type Run<F> = Box<dyn Fn(F) -> Value + Send + Sync>;
type Test = Box<dyn Fn(&Value) -> Result<(), String> + Send + Sync>;

enum Expected {
    Close(Value, f64),
    Holds(String, Test),
}

struct Case<F> {
    input: String,
    run: Run<F>,
    expected: Expected,
}

/// Cases, known mistakes and hints for functions of type `F`, such as `fn(f64) -> f64`.
pub struct Exercise<F> {
    name: &'static str,
    task: String,
    cases: Vec<Case<F>>,
    mistakes: Vec<(&'static str, F)>,
    hints: Vec<&'static str>,
}

impl<F: Copy + Send + 'static> Exercise<F> {
    /// An exercise without cases.
    pub fn new(name: &'static str) -> Self {
        Exercise { name, task: String::new(), cases: Vec::new(), mistakes: Vec::new(), hints: Vec::new() }
    }

    /// The question in words, for an exercise whose constants come from [`class_constant`](super::class_constant).
    #[must_use]
    pub fn task(mut self, task: impl Into<String>) -> Self {
        self.task = task.into();
        self
    }

    /// For this input the function must give `expected`, to a part in 10⁹.
    #[must_use]
    pub fn case<V: Into<Value>>(
        self,
        input: impl Into<String>,
        run: impl Fn(F) -> V + Send + Sync + 'static,
        expected: impl Into<Value>,
    ) -> Self {
        self.case_within(1e-9, input, run, expected)
    }

    /// For this input the function must give `expected` within `tolerance` × max(1, |expected|).
    #[must_use]
    pub fn case_within<V: Into<Value>>(
        mut self,
        tolerance: f64,
        input: impl Into<String>,
        run: impl Fn(F) -> V + Send + Sync + 'static,
        expected: impl Into<Value>,
    ) -> Self {
        let expected = Expected::Close(expected.into(), tolerance);
        self.cases.push(Case { input: input.into(), run: Box::new(move |f| run(f).into()), expected });
        self
    }

    /// For this input something must be true of what the function gives; `expected` says what, and `test` returns
    /// in words what is true instead.
    #[must_use]
    pub fn holds<V: Into<Value>>(
        mut self,
        input: impl Into<String>,
        run: impl Fn(F) -> V + Send + Sync + 'static,
        expected: impl Into<String>,
        test: impl Fn(&Value) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let expected = Expected::Holds(expected.into(), Box::new(test));
        self.cases.push(Case { input: input.into(), run: Box::new(move |f| run(f).into()), expected });
        self
    }

    /// A mistake that has been made before, as a function that makes it; its name is what a student reads.
    #[must_use]
    pub fn mistake(mut self, name: &'static str, wrong: F) -> Self {
        self.mistakes.push((name, wrong));
        self
    }

    /// One hint more; the first ones should say least.
    #[must_use]
    pub fn hint(mut self, hint: &'static str) -> Self {
        self.hints.push(hint);
        self
    }

    /// Runs a student's function on all cases; remembers the result for [`score`](super::score).
    pub fn check(self, student: F) -> Verdict {
        self.check_within(student, PATIENCE)
    }

    fn check_within(self, student: F, patience: Duration) -> Verdict {
        let (name, cases) = (self.name, self.cases.len());
        let verdict = aside(move || self.judge(student)).recv_timeout(patience);
        let verdict = verdict.unwrap_or_else(|_| Verdict::failed(name, 0, cases, Failure::endless(patience)));
        verdict::remember(&verdict);
        verdict
    }

    /// Runs all cases; the first that fails is the one to talk about.
    fn judge(&self, student: F) -> Verdict {
        let mut failures = self.cases.iter().filter_map(|case| self.failure(case, student));
        match failures.next() {
            None => Verdict::passed(self.name, self.cases.len()),
            Some(first) => {
                let failed = 1 + failures.count();
                Verdict::failed(self.name, self.cases.len() - failed, self.cases.len(), first)
            }
        }
    }

    fn failure(&self, case: &Case<F>, student: F) -> Option<Failure> {
        let got = match outcome(case, student) {
            Err(message) => return Some(Failure::panicked(&case.input, &message)),
            Ok(got) => got,
        };
        let (expected, detail) = wrong(case, &got)?;
        let cause = self.cause(case, &got);
        Some(Failure { input: case.input.clone(), expected, got: format!("{got}{detail}"), cause })
    }

    /// The known mistake that gives the same wrong value.
    fn cause(&self, case: &Case<F>, got: &Value) -> Option<&'static str> {
        let tolerance = if let Expected::Close(_, tolerance) = case.expected { tolerance } else { 1e-9 };
        let same = |(_, wrong): &&(&str, F)| {
            outcome(case, *wrong).is_ok_and(|value| got.is_close(&value, tolerance))
        };
        self.mistakes.iter().find(same).map(|(name, _)| *name)
    }
}

/// Runs a student's code in a thread whose panics are not printed; if it panics, receiving fails.
pub(super) fn aside<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    quiet_checks();
    let (sender, receiver) = mpsc::channel();
    let run = move || {
        let _ = sender.send(run()); // no one listens after a time limit
    };
    let _ = std::thread::Builder::new().name(THREAD.into()).spawn(run); // without a thread: no result
    receiver
}

/// What the function gives for a case, or the message of its panic.
fn outcome<F: Copy>(case: &Case<F>, function: F) -> Result<Value, String> {
    catch_unwind(AssertUnwindSafe(|| (case.run)(function))).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_string()
    })
}

/// What was expected, and what else there is to say, unless the value is right.
fn wrong<F>(case: &Case<F>, got: &Value) -> Option<(String, String)> {
    match &case.expected {
        Expected::Close(expected, tolerance) if !got.is_close(expected, *tolerance) => {
            let place = |i: usize| {
                format!(
                    "\n            first difference at index {i}: {} instead of {}",
                    number(got.numbers[i]),
                    number(expected.numbers[i])
                )
            };
            let unseen = |&i: &usize| i >= SHOWN && got.shape == expected.shape;
            let detail = got.first_difference(expected, *tolerance).filter(unseen).map(place);
            Some((expected.to_string(), detail.unwrap_or_default()))
        }
        Expected::Holds(expected, test) => {
            test(got).err().map(|instead| (expected.clone(), format!("\n            {instead}")))
        }
        Expected::Close(..) => None,
    }
}

/// Whether this thread runs a student's function.
pub(crate) fn in_check() -> bool {
    std::thread::current().name() == Some(THREAD)
}

/// Keeps the panics of students' functions off the screen; what they say is in the verdict.
fn quiet_checks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !in_check() {
                before(info);
            }
        }));
    });
}

/// What the tests and hints need to know of an exercise, whatever the type of its functions.
pub trait Audit {
    /// The name of the check.
    fn name(&self) -> &'static str;
    /// The question in words, if there is one.
    fn task(&self) -> &str;
    /// All hints.
    fn hints(&self) -> &[&'static str];
    /// The known mistakes by name, each with the verdict on it.
    fn mistakes(&self) -> Vec<(&'static str, Verdict)>;
}

impl<F: Copy + Send + 'static> Audit for Exercise<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn task(&self) -> &str {
        &self.task
    }

    fn hints(&self) -> &[&'static str] {
        &self.hints
    }

    fn mistakes(&self) -> Vec<(&'static str, Verdict)> {
        self.mistakes.iter().map(|&(name, wrong)| (name, self.judge(wrong))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square() -> Exercise<fn(f64) -> f64> {
        Exercise::<fn(f64) -> f64>::new("square")
            .case("x = 2", |f| f(2.0), 4.0)
            .case("x = 3", |f| f(3.0), 9.0)
            .holds(
                "x = -1",
                |f| f(-1.0),
                "a positive number",
                |v| {
                    if v.number() > 0.0 { Ok(()) } else { Err("it is negative".into()) }
                },
            )
            .mistake("doubled, not squared", |x| 2.0 * x)
            .mistake("the sign is kept", |x| x * x.abs())
    }

    #[test]
    fn a_right_function_passes() {
        let verdict = square().check(|x| x * x);
        assert_eq!(verdict.score(), 1.0);
        assert_eq!(verdict.to_string(), "✓ square   3 cases");
    }

    #[test]
    fn a_known_mistake_is_named() {
        let text = square().check(|x| 2.0 * x).to_string();
        for part in ["✗ square   1 of 3 cases", "x = 3", "expected  9", "got       6", "doubled, not squared"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        let text = square().check(|x| x * x.abs()).to_string();
        assert!(text.contains("a positive number") && text.contains("it is negative"), "{text}");
        assert!(text.contains("the sign is kept"), "{text}");
    }

    #[test]
    fn an_unknown_mistake_is_shown_without_a_cause() {
        let verdict = square().check(|x| x);
        assert_eq!(verdict.score(), 0.0);
        assert!(!verdict.to_string().contains("likely"), "{verdict}");
        assert_eq!(
            square().check(|x| x.abs() * 2.0).points(3.0),
            2.0,
            "two of three cases, so two of three points"
        );
    }

    #[test]
    fn a_loop_that_does_not_end_is_left_alone() {
        let sleepy = |_| loop {
            std::thread::sleep(Duration::from_secs(1));
        };
        let text = square().check_within(sleepy, Duration::from_millis(50)).to_string();
        assert!(text.contains("still running") && text.contains("never becomes false"), "{text}");
    }

    #[test]
    fn what_is_not_written_yet_is_no_mistake() {
        let text = square().check(|_| todo!()).to_string();
        assert!(text.contains("not written yet"), "{text}");
        let text = square().check(|_| panic!("index out of bounds")).to_string();
        assert!(text.contains("panicked: index out of bounds"), "{text}");
    }
}
