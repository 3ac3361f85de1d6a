//! What every stored notebook has to keep to; each rule is one that evcxr or a reader has taught us.

use super::{Cell, Course, cells, exercises, silent, stem};
use serde_json::Value;
use std::path::PathBuf;

const SETUP: &str =
    ":dep ddpm = { package = \"ddpm-notebook\", path = \"kernel\" }\nuse ddpm::prelude::*;\nddpm::start();";

/// How many lines a cell may have: a screen.
const LINES: usize = 25;

/// How large a stored notebook may be.
const BYTES: u64 = 2 << 20;

/// Folders at the root of someone's machine.
const ROOTS: [&str; 10] = ["home", "root", "Users", "tmp", "work", "usr", "opt", "var", "srv", "mnt"];

/// A notebook as it is paired and as it is stored.
struct Notebook {
    name: String,
    cells: Vec<Cell>,
    stored: Vec<Value>,
}

impl Notebook {
    /// The outputs of a code cell, as one text.
    fn outputs(&self, index: usize) -> String {
        self.stored[index]["outputs"].to_string()
    }

    fn code(&self) -> impl Iterator<Item = (usize, &Cell)> {
        self.cells.iter().enumerate().filter(|(_, cell)| !cell.markdown)
    }
}

fn course() -> Course {
    Course { notebooks: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".."), host: silent() }
}

fn all() -> Vec<Notebook> {
    let read =
        |path: PathBuf| std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let notebook = |path: PathBuf| {
        let stored: Value = serde_json::from_str(&read(course().stored(&path))).expect("a notebook");
        let stored = stored["cells"].as_array().expect("cells").clone();
        Notebook { name: stem(&path), cells: cells(&read(path)), stored }
    };
    let all: Vec<Notebook> = course().sources().expect("the notebooks").into_iter().map(notebook).collect();
    assert!(!all.is_empty());
    all
}

fn source(cell: &Value) -> String {
    match &cell["source"] {
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        text => text.as_str().unwrap_or_default().to_string(),
    }
}

#[test]
fn a_stored_notebook_has_the_cells_of_its_paired_file() {
    for Notebook { name, cells, stored } in all() {
        assert_eq!(cells.len(), stored.len(), "{name}: run `ddpm lab --execute {}`", &name[..2]);
        for (i, (cell, stored)) in cells.iter().zip(&stored).enumerate() {
            assert_eq!(cell.source, source(stored), "{name}, cell {i}");
        }
    }
}

#[test]
fn dependencies_are_in_the_first_cell_which_is_the_same_everywhere() {
    for notebook in all() {
        let name = &notebook.name;
        for (n, (_, cell)) in notebook.code().enumerate() {
            if n == 0 {
                assert_eq!(cell.source, SETUP, "{name}: a later `:dep` drops variables");
            } else {
                assert!(
                    !cell.source.contains(":dep"),
                    "{name}: `:dep` after the first cell: {}",
                    cell.source
                );
            }
        }
    }
}

#[test]
fn a_cell_fits_a_screen() {
    for notebook in all() {
        for (i, cell) in notebook.code() {
            let lines = cell.source.lines().count();
            assert!(lines <= LINES, "{}, cell {i}: {lines} lines", notebook.name);
        }
        let file = course().stored(notebook.name.as_ref());
        let bytes = std::fs::metadata(&file).map_or(0, |file| file.len());
        assert!(bytes <= BYTES, "{}: {bytes} bytes", file.display());
    }
}

/// evcxr takes a cell that ends in an error through `?` for a success.
#[test]
fn no_question_mark_stands_outside_a_function() {
    for notebook in all() {
        for (i, cell) in notebook.code() {
            assert!(!has_question_mark(&cell.source), "{}, cell {i}: {}", notebook.name, cell.source);
        }
    }
}

fn has_question_mark(code: &str) -> bool {
    let mut depth = 0;
    for line in code.lines() {
        let line = line.split("//").next().unwrap_or_default();
        // what stands between quotes is text
        for piece in line.split('"').step_by(2) {
            for c in piece.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    '?' if depth == 0 => return true,
                    _ => (),
                }
            }
        }
    }
    false
}

#[test]
fn the_lint_of_question_marks_sees_them() {
    assert!(has_question_mark("let x = load()?;"));
    assert!(!has_question_mark("fn f() -> Result<()> {\n    load()?;\n    Ok(())\n}"));
    assert!(!has_question_mark("println!(\"why?\"); // why?"));
}

#[test]
fn outputs_are_stored_and_hold_no_accident() {
    for notebook in all() {
        let name = &notebook.name;
        for (i, cell) in notebook.code() {
            let (count, outputs) = (&notebook.stored[i]["execution_count"], notebook.outputs(i));
            assert!(count.is_u64(), "{name}, cell {i} was never run");
            let shows = !cell.source.ends_with([';', '}']) || cell.source.contains("println!");
            let quiet = cell.source.contains("fn ") && cell.source.ends_with('}');
            assert!(!shows || quiet || outputs != "[]", "{name}, cell {i} shows nothing: {}", cell.source);
            assert!(!outputs.contains("\"output_type\":\"error\""), "{name}, cell {i}: {outputs}");
            assert!(!outputs.contains("panicked"), "{name}, cell {i}: {outputs}");
            // evcxr prints a figure instead of showing it if its last expression moves a variable
            assert!(
                !outputs.contains("Figure("),
                "{name}, cell {i} prints its figure; pass a clone: {}",
                cell.source
            );
        }
    }
}

#[test]
fn no_output_holds_a_path_of_a_machine() {
    for notebook in all() {
        for (i, _) in notebook.code() {
            // a path begins a word; base64 and SVG have slashes inside of theirs
            let outputs = notebook.outputs(i);
            let inside = |before: &str| before.ends_with(|c: char| c.is_alphanumeric() || "+/=.".contains(c));
            let begins = |root: &str| {
                outputs.match_indices(&format!("/{root}/")).any(|(at, _)| !inside(&outputs[..at]))
            };
            let found = ROOTS.iter().find(|root| begins(root));
            assert!(found.is_none(), "{}, cell {i}: {found:?}", notebook.name);
            assert!(!outputs.contains("C:\\"), "{}, cell {i}: C:\\", notebook.name);
        }
    }
}

#[test]
fn every_notebook_has_exercises_that_are_not_written_yet() {
    for notebook in all() {
        let name = &notebook.name;
        let tagged =
            |tag: &str| notebook.cells.iter().filter(|cell| cell.tags.iter().any(|t| t == tag)).count();
        let found = exercises(name, &notebook.cells);
        assert!((3..=8).contains(&found.len()), "{name}: {} exercises", found.len());
        assert_eq!(
            (tagged("exercise"), tagged("check")),
            (found.len(), found.len()),
            "{name}: a check for each"
        );
        for exercise in &found {
            assert!(exercise.stub.contains("todo!()"), "{name}: {}", exercise.name);
            assert!(exercise.stub.contains(&format!("fn {}", exercise.name)), "{name}: {}", exercise.name);
        }
        for (i, cell) in notebook.code().filter(|(_, cell)| cell.tags.iter().any(|tag| tag == "check")) {
            assert!(notebook.outputs(i).contains("not written yet"), "{name}, cell {i}: {}", cell.source);
        }
    }
}

/// How long a student takes: 150 words a minute, a minute for each cell of code, eight for each exercise; to five minutes.
fn minutes(notebook: &Notebook) -> usize {
    let words =
        notebook.cells.iter().filter(|cell| cell.markdown).map(|cell| cell.source.split_whitespace().count());
    let exercises = exercises(&notebook.name, &notebook.cells).len();
    let minutes =
        words.sum::<usize>() as f64 / 150.0 + notebook.code().count() as f64 + 8.0 * exercises as f64;
    (minutes / 5.0).round() as usize * 5
}

#[test]
fn times_are_counted_not_promised() {
    let contents =
        std::fs::read_to_string(course().notebooks.join("README.md")).expect("notebooks/README.md");
    let mut sum = 0;
    for notebook in all() {
        let (name, minutes) = (&notebook.name, minutes(&notebook));
        let row = contents.lines().find(|line| line.contains(&format!("({name}.ipynb)"))).expect("its row");
        assert!(
            row.ends_with(&format!("| {minutes} |")),
            "notebooks/README.md: {name} takes {minutes} minutes: {row}"
        );
        let head = &notebook.cells[0].source;
        assert!(
            head.contains(&format!("**Time:** {minutes} minutes")),
            "{name}: its head should say {minutes} minutes"
        );
        sum += minutes;
    }
    let hours = format!("{:.0} hours", sum as f64 / 60.0);
    assert!(contents.contains(&hours), "notebooks/README.md: all take {hours}");
}

#[test]
fn every_notebook_is_in_the_table_of_contents_and_has_its_solutions() {
    let folder = course().notebooks;
    let contents = std::fs::read_to_string(folder.join("README.md")).expect("notebooks/README.md");
    for notebook in all() {
        let name = &notebook.name;
        assert!(contents.contains(&format!("({name}.ipynb)")), "notebooks/README.md lacks {name}");
        assert!(folder.join(format!("solutions/{name}.rs")).is_file(), "no solutions of {name}");
        assert!(notebook.cells[0].source.starts_with(&format!("# {} ", &name[..2])), "the title of {name}");
    }
}

/// `ddpm learn solution` finds each, with its reason above it.
#[test]
fn every_exercise_has_a_solution_with_its_reason() {
    let course = course();
    for exercise in course.exercises().unwrap() {
        let solution = course.solution(&exercise).unwrap();
        assert!(solution.starts_with("///"), "{}: {solution}", exercise.name);
    }
}
