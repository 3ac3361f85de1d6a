//! The checks are checked: every solution passes, every known mistake is found and called by its name.

use ddpm_notebook::check;

#[test]
fn every_solution_passes() {
    let verdicts = check::solved();
    verdicts.iter().for_each(|(_, verdict)| assert_eq!(verdict.score(), 1.0, "{verdict}"));
    let solved: Vec<&str> = verdicts.iter().map(|(name, _)| *name).collect();
    let all: Vec<&str> = check::all().iter().map(|(name, _)| *name).collect();
    assert_eq!(solved, all, "a solution for each exercise, in their order");
}

#[test]
fn every_mistake_is_found_and_named() {
    let mut faults = Vec::new();
    for (name, build) in check::all() {
        let mistakes = build().mistakes();
        assert!(mistakes.len() >= 2, "{name}: a check needs mistakes that it finds");
        // one that gives the same number everywhere can't be told from a constant, and is told as that
        let named = |mistake: &&'static str| [Some(*mistake), Some(check::CONSTANT)];
        let unseen =
            mistakes.into_iter().filter(|(mistake, verdict)| !named(mistake).contains(&verdict.cause()));
        faults.extend(unseen.map(|(mistake, verdict)| format!("{name}, {mistake}:\n{verdict}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn what_takes_no_thought_has_no_points() {
    let all: Vec<_> = check::all().iter().flat_map(|(_, build)| build().trivial()).collect();
    assert!(all.len() > 80, "{} trivial answers", all.len());
    all.iter().for_each(|verdict| assert_eq!(verdict.score(), 0.0, "{verdict}"));
}

#[test]
fn with_a_class_s_constants_mistakes_are_found_and_published_answers_are_wrong() {
    let passes = |class: &str, test: &str| {
        let mut command = std::process::Command::new(std::env::current_exe().expect("this test"));
        command
            .args(["--exact", test])
            .env("DDPM_CLASS", class)
            .output()
            .expect("this test again")
            .status
            .success()
    };
    let check = &|class: &str| {
        assert!(passes(class, "every_mistake_is_found_and_named"), "{class}");
        assert!(
            !passes(class, "every_solution_passes"),
            "{class}: the answers of the stored notebooks still hold"
        );
    };
    std::thread::scope(|scope| {
        for class in ["spring 2027", "autumn 2027", "evening course"] {
            scope.spawn(move || check(class));
        }
    });
}

#[test]
fn every_exhibit_of_the_museum_is_a_mistake_that_some_check_finds() {
    let known: Vec<&str> =
        check::all().iter().flat_map(|(_, build)| build().mistakes()).map(|(mistake, _)| mistake).collect();
    for exhibit in check::museum::ALL {
        assert!(known.contains(&exhibit), "no check for {exhibit}");
    }
}

#[test]
fn every_exercise_has_hints_and_a_name_of_its_own() {
    let mut names: Vec<&str> = check::all().iter().map(|(name, _)| *name).collect();
    let short: Vec<&str> =
        check::all().iter().filter(|(_, build)| build().hints().len() < 3).map(|(name, _)| *name).collect();
    assert!(short.is_empty(), "fewer than three hints: {short:?}");
    names.sort_unstable();
    names.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1]));
}
