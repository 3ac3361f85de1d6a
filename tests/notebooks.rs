//! The notebooks and exercises, run as a student would run them. This takes minutes: `-- --ignored`.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "installs evcxr and JupyterLab into notebooks/.lab, and runs every notebook"]
fn every_notebook_runs_and_shows_what_is_stored() {
    let run = Command::new(env!("CARGO_BIN_EXE_ddpm")).args(["lab", "--check", "--jobs", "2"]).status();
    assert!(run.is_ok_and(|status| status.success()), "see the lines above");
}

#[test]
#[ignore = "compiles the crate and a program for each exercise"]
fn every_exercise_compiles_alone_and_is_not_written_yet() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exercises");
    let _ = std::fs::remove_dir_all(&folder); // of an earlier run, with its progress
    let written =
        Command::new(env!("CARGO_BIN_EXE_ddpm")).args(["learn", "list", "--dir"]).arg(&folder).status();
    assert!(written.is_ok_and(|status| status.success()), "see the lines above");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<String> = files.filter_map(|file| name(file.to_str().unwrap())).collect();
    assert!(names.len() >= 50, "{names:?}");
    let built = Command::new("cargo").args(["build", "--quiet", "--bins"]).current_dir(&folder).status();
    assert!(built.is_ok_and(|status| status.success()), "an exercise that doesn't compile alone");
    for name in &names {
        let run = Command::new(folder.join("target/debug").join(name)).output().unwrap();
        let said = String::from_utf8(run.stdout).unwrap();
        assert_eq!(run.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("○ {name}   not written yet")), "{said}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The name of the exercise in a file such as `01_log_pdf.rs`.
fn name(file: &str) -> Option<String> {
    let (_, name) = file.strip_suffix(".rs")?.split_once('_')?;
    Some(name.to_string())
}
