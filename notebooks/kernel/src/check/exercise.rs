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

enum Tolerance {
    /// as a share of the numbers compared
    Single,
    /// × max(1, |expected|)
    Absolute(f64),
}

enum Expected {
    Close(Value, Tolerance),
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
    trivial: Vec<F>,
    hints: Vec<&'static str>,
}

/// What a function gave for each case: a value, or the message of its panic.
type Outcomes = Vec<Result<Value, String>>;

/// Single precision is no mistake: a right answer computed in f32 differs by so much, as a share of the numbers compared.
const SINGLE: f64 = 2e-6;
/// A wrong answer is that of a known mistake if they differ by less than so large a share of what the mistake is off.
const SAME: f64 = 1e-4;

impl<F: Copy + Send + 'static> Exercise<F> {
    /// An exercise without cases.
    pub fn new(name: &'static str) -> Self {
        let (cases, mistakes, trivial, hints) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Exercise { name, task: String::new(), cases, mistakes, trivial, hints }
    }

    /// The question in words, for an exercise whose constants come from [`class_constant`](super::class_constant).
    #[must_use]
    pub fn task(mut self, task: impl Into<String>) -> Self {
        self.task = task.into();
        self
    }

    /// For this input the function must give `expected`, as exactly as single precision can.
    #[must_use]
    pub fn case<V: Into<Value>>(
        self,
        input: impl Into<String>,
        run: impl Fn(F) -> V + Send + Sync + 'static,
        expected: impl Into<Value>,
    ) -> Self {
        let expected = Expected::Close(expected.into(), Tolerance::Single);
        self.with(input, run, expected)
    }

    /// For this input the function must give `expected` within `tolerance` × max(1, |expected|).
    #[must_use]
    pub fn case_within<V: Into<Value>>(
        self,
        tolerance: f64,
        input: impl Into<String>,
        run: impl Fn(F) -> V + Send + Sync + 'static,
        expected: impl Into<Value>,
    ) -> Self {
        let expected = Expected::Close(expected.into(), Tolerance::Absolute(tolerance));
        self.with(input, run, expected)
    }

    /// For this input something must be true of what the function gives; `expected` says what, and `test` returns
    /// in words what is true instead.
    #[must_use]
    pub fn holds<V: Into<Value>>(
        self,
        input: impl Into<String>,
        run: impl Fn(F) -> V + Send + Sync + 'static,
        expected: impl Into<String>,
        test: impl Fn(&Value) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let expected = Expected::Holds(expected.into(), Box::new(test));
        self.with(input, run, expected)
    }

    fn with<V: Into<Value>>(
        mut self,
        input: impl Into<String>,
        run: impl Fn(F) -> V + Send + Sync + 'static,
        expected: Expected,
    ) -> Self {
        self.cases.push(Case { input: input.into(), run: Box::new(move |f| run(f).into()), expected });
        self
    }

    /// A mistake that has been made before, as a function that makes it; its name is what a student reads.
    #[must_use]
    pub fn mistake(mut self, name: &'static str, wrong: F) -> Self {
        self.mistakes.push((name, wrong));
        self
    }

    /// An answer that takes no thought, such as an argument as it came: whoever gives it has no points, whatever cases it passes.
    /// (A function that gives one number in all cases needs no entry.)
    #[must_use]
    pub fn trivial(mut self, answer: F) -> Self {
        self.trivial.push(answer);
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
        let outcomes = self.outcomes(student);
        let wrong: Vec<Option<Failure>> =
            self.cases.iter().zip(&outcomes).map(|(case, got)| self.failure(case, got)).collect();
        let passed = wrong.iter().filter(|failure| failure.is_none()).count();
        let cases = self.cases.len();
        let Some(first) = wrong.into_iter().flatten().next() else {
            return Verdict::passed(self.name, cases);
        };
        let (passed, cause) = match self.is_constant(&outcomes) {
            true => (0, Some(CONSTANT)),
            false if self.is_trivial(&outcomes) => (0, self.cause(&outcomes).or(Some(TRIVIAL))),
            false => (passed, self.cause(&outcomes)),
        };
        Verdict::failed(self.name, passed, cases, Failure { cause, ..first })
    }

    fn outcomes(&self, function: F) -> Outcomes {
        self.cases.iter().map(|case| outcome(case, function)).collect()
    }

    /// What is wrong with the outcome of a case.
    fn failure(&self, case: &Case<F>, got: &Result<Value, String>) -> Option<Failure> {
        match got {
            Err(message) => Some(Failure::panicked(&case.input, message)),
            Ok(got) => {
                let (expected, detail) = wrong(case, got, self.size())?;
                Some(Failure {
                    input: case.input.clone(),
                    expected,
                    got: format!("{got}{detail}"),
                    cause: None,
                })
            }
        }
    }

    /// The largest number that a case expects.
    fn size(&self) -> f64 {
        let expected = self.cases.iter().filter_map(|case| match &case.expected {
            Expected::Close(value, _) => Some(value.largest()),
            Expected::Holds(..) => None,
        });
        expected.fold(0.0, f64::max)
    }

    /// One number in all cases, though they ask for different ones.
    fn is_constant(&self, outcomes: &Outcomes) -> bool {
        let mut numbers = outcomes.iter().flatten().flat_map(|value| &value.numbers);
        let Some(first) = numbers.next() else { return false };
        self.cases.len() > 1 && outcomes.iter().all(Result::is_ok) && numbers.all(|x| x == first)
    }

    /// An answer that is listed as trivial.
    fn is_trivial(&self, outcomes: &Outcomes) -> bool {
        let same = |&answer: &F| self.outcomes(answer).iter().zip(outcomes).all(|pair| is_same(pair, 0.0));
        self.trivial.iter().any(same)
    }

    /// The known mistake that gives the same values in *all* cases, and fails in the same ones: one that agrees in the first
    /// explains nothing.
    fn cause(&self, outcomes: &Outcomes) -> Option<&'static str> {
        let explains = |wrong: F| {
            let of_mistake = self.outcomes(wrong);
            let off = |(case, value): (&Case<F>, &Result<Value, String>)| match (&case.expected, value) {
                (Expected::Close(expected, _), Ok(value)) => value.distance(expected),
                _ => 0.0,
            };
            let off = self.cases.iter().zip(&of_mistake).map(off).fold(0.0, f64::max);
            let fails = |(case, got)| self.failure(case, got).is_some();
            self.cases.iter().zip(of_mistake.iter().zip(outcomes)).all(|(case, (mistake, got))| {
                is_same((mistake, got), SAME * off) && fails((case, mistake)) == fails((case, got))
            })
        };
        self.mistakes.iter().find(|(_, wrong)| explains(*wrong)).map(|(name, _)| *name)
    }
}

/// What is said of answers that take no thought.
pub const CONSTANT: &str = "it gives the same number in every case";
const TRIVIAL: &str = "it gives back what it was given";

/// Whether two functions gave the same for a case, but for single precision and for `off`; or the same panic.
fn is_same((a, b): (&Result<Value, String>, &Result<Value, String>), off: f64) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => a.shape == b.shape && a.differs(b, |b| (SINGLE * b.abs()).max(off)).is_none(),
        (Err(a), Err(b)) => a == b,
        _ => false,
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
    catch_unwind(AssertUnwindSafe(|| (case.run)(function)))
        .map_err(|payload| crate::message(&*payload).unwrap_or("a panic").to_string())
}

/// What was expected, and what else there is to say, unless the value is right; `size` is the largest number in all cases.
fn wrong<F>(case: &Case<F>, got: &Value, size: f64) -> Option<(String, String)> {
    match &case.expected {
        Expected::Close(expected, tolerance) => {
            let largest = if expected.largest() > 0.0 { expected.largest() } else { size };
            let allowed = |b: f64| match tolerance {
                Tolerance::Single => (SINGLE * b.abs().max(largest)).max(1e-9 * b.abs().max(1.0)),
                Tolerance::Absolute(tolerance) => tolerance * b.abs().max(1.0),
            };
            let difference = got.differs(expected, allowed);
            if got.shape == expected.shape && difference.is_none() {
                return None;
            }
            let place = |i: usize| {
                format!(
                    "\n            first difference at index {i}: {} instead of {}",
                    number(got.numbers[i]),
                    number(expected.numbers[i])
                )
            };
            let unseen = |&i: &usize| i >= SHOWN && got.shape == expected.shape;
            Some((expected.to_string(), difference.filter(unseen).map(place).unwrap_or_default()))
        }
        Expected::Holds(expected, test) => {
            let instead = match () {
                () if got.numbers.is_empty() => Err("it is empty".to_string()),
                () if got.numbers.iter().any(|x| x.is_nan()) => Err("there is a NaN in it".to_string()),
                () => test(got),
            };
            instead.err().map(|instead| (expected.clone(), format!("\n            {instead}")))
        }
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
    /// The verdicts on answers that take no thought.
    fn trivial(&self) -> Vec<Verdict>;
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

    fn trivial(&self) -> Vec<Verdict> {
        self.trivial.iter().map(|&answer| self.judge(answer)).collect()
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
            .trivial(|x| x)
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
        let verdict = square().check(|x| x + 1.0);
        assert_eq!(verdict.score(), 0.0);
        assert!(!verdict.to_string().contains("likely"), "{verdict}");
        assert_eq!(
            square().check(|x| x.abs() * 2.0).points(3.0),
            2.0,
            "two of three cases, so two of three points"
        );
    }

    /// 2 |x| is 2 x in the two cases that tell, but not in the third: whoever wrote it did not forget to square.
    #[test]
    fn a_cause_explains_every_case() {
        assert_eq!(square().check(|x| x.abs() * 2.0).cause(), None);
        assert_eq!(square().check(|x| x + x).cause(), Some("doubled, not squared"));
        let single = square().check(|x| f64::from(2.0 * x as f32 * 1.000_000_1));
        assert_eq!(
            single.cause(),
            Some("doubled, not squared"),
            "in single precision it is the same mistake"
        );
    }

    #[test]
    fn single_precision_is_no_mistake() {
        let third = || Exercise::<fn(f64) -> f64>::new("third").case("x = 1", |f| f(1.0), 1.0 / 3.0);
        assert_eq!(third().check(|x| f64::from(x as f32 / 3.0)).score(), 1.0);
        assert_eq!(third().check(|x| x / 3.0 + 2e-6).score(), 0.0);
        let small = || Exercise::<fn(f64) -> f64>::new("small").case("x = 1", |f| f(1.0), 1e-5);
        assert_eq!(small().check(|_| 1.01e-5).score(), 0.0, "relative to what is asked for, not to 1");
    }

    #[test]
    fn what_takes_no_thought_has_no_points() {
        // 4 is right for x = 2 and positive for x = −1
        let verdicts = [square().check(|_| 4.0), square().check(|_| 0.0), square().check(|x| x)];
        for (verdict, cause) in verdicts.into_iter().zip([CONSTANT, CONSTANT, TRIVIAL]) {
            assert_eq!((verdict.score(), verdict.cause()), (0.0, Some(cause)));
        }
        let any = Exercise::<fn(f64) -> f64>::new("any").holds(
            "x = 1",
            |f| f(1.0),
            "not negative",
            |v| {
                if v.number() < 0.0 { Err("it is".into()) } else { Ok(()) }
            },
        );
        let verdict = any.check(|_| f64::NAN);
        assert!(verdict.score() == 0.0 && verdict.to_string().contains("NaN"), "{verdict}");
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
