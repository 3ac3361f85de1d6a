//! The folder of exercises: a small Cargo package with a program for each.

use crate::cli::course::{Course, Exercise};
use crate::cli::say::note;
use anyhow::{Context, Result};
use ddpm::Error;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is known of an exercise from earlier runs.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Progress {
    /// the text that passed the check
    solved: Option<String>,
    /// how many hints were asked for
    hints: usize,
}

/// The exercises, and how far the student is.
pub(super) struct Workbook {
    folder: PathBuf,
    pub(super) exercises: Vec<Exercise>,
    progress: BTreeMap<String, Progress>,
}

impl Workbook {
    /// Opens the folder, and writes what is missing in it.
    pub(super) fn open(folder: &Path) -> Result<Workbook> {
        let course = Course::find()?;
        let folder = std::path::absolute(folder).map_err(Error::io(folder))?;
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        let exercises = course.exercises()?;
        let mut book = Workbook { folder, exercises, progress: BTreeMap::new() };
        let known = book.folder.join("progress.json");
        if known.exists() {
            let text = std::fs::read_to_string(&known).map_err(Error::io(&known))?;
            let progress = serde_json::from_str(&text);
            book.progress =
                progress.map_err(|error| Error::format(&known, "progress of exercises", error))?;
        }
        book.write_missing(&course)?;
        Ok(book)
    }

    fn write_missing(&self, course: &Course) -> Result<()> {
        let write = |name: &str, text: String| {
            ddpm::files::write_atomically(&self.folder.join(name), text.as_bytes())
        };
        for index in 0..self.exercises.len() {
            if !self.path(index).exists() {
                write(&file_name(&self.exercises[index]), program(&self.exercises[index]))?;
            }
        }
        let manifest = self.manifest(course);
        let there = std::fs::read_to_string(self.folder.join("Cargo.toml")).unwrap_or_default();
        if there != manifest {
            write("Cargo.toml", manifest)?;
            write("hint.rs", HINT.to_string())?;
            let lock = course.notebooks.join("../Cargo.lock"); // the versions of the repository
            std::fs::copy(&lock, self.folder.join("Cargo.lock")).map_err(Error::io(&lock))?;
        }
        Ok(())
    }

    fn manifest(&self, course: &Course) -> String {
        let bin = |name: &str, path: &str| json!({ "name": name, "path": path });
        let mut bins = vec![bin("hint", "hint.rs")];
        bins.extend(self.exercises.iter().map(|exercise| bin(&exercise.name, &file_name(exercise))));
        let package = json!({ "name": "exercises", "version": "0.0.0", "edition": "2024", "publish": false, "autobins": false });
        let manifest = json!({
            "package": package,
            "workspace": {},
            "dependencies": { "ddpm": { "package": "ddpm-notebook", "path": course.kernel("") } },
            "profile": { "dev": { "package": { "*": { "opt-level": 3 } } } },
            "bin": bins,
        });
        format!("# written by `ddpm learn`\n{}", toml::to_string(&manifest).expect("texts and numbers"))
    }

    /// The file of an exercise.
    pub(super) fn path(&self, index: usize) -> PathBuf {
        self.folder.join(file_name(&self.exercises[index]))
    }

    /// The index of the exercise of this name.
    pub(super) fn find(&self, name: &str) -> Result<usize> {
        let found = self.exercises.iter().position(|exercise| exercise.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.exercises.iter().map(|exercise| exercise.name.as_str()).collect();
            Error::argument("NAME", format!("one of {}", names.join(", ")), name).into()
        })
    }

    /// Whether the file is the one that passed.
    pub(super) fn solved(&self, index: usize) -> bool {
        let passed =
            self.progress.get(&self.exercises[index].name).and_then(|progress| progress.solved.as_ref());
        passed.is_some_and(|text| std::fs::read_to_string(self.path(index)).is_ok_and(|now| now == *text))
    }

    /// The first exercise that is not solved.
    pub(super) fn first_open(&self) -> Option<usize> {
        (0..self.exercises.len()).find(|&index| !self.solved(index))
    }

    /// Compiles and checks an exercise; what it says goes to the screen.
    pub(super) fn check(&mut self, index: usize) -> Result<bool> {
        let path = self.path(index);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let name = self.exercises[index].name.clone();
        let right = self.cargo_run(&[&name])?;
        self.progress.entry(name).or_default().solved = right.then_some(text);
        self.save()?;
        Ok(right)
    }

    /// Shows one more hint.
    pub(super) fn hint(&mut self, index: usize) -> Result<()> {
        let name = self.exercises[index].name.clone();
        let progress = self.progress.entry(name.clone()).or_default();
        progress.hints += 1;
        let hints = progress.hints.to_string();
        self.save()?;
        self.cargo_run(&["hint", "--", &name, &hints]).map(|_| ())
    }

    fn cargo_run(&self, arguments: &[&str]) -> Result<bool> {
        let mut command = Command::new("cargo");
        command.args(["run", "--quiet", "--bin"]).args(arguments).current_dir(&self.folder);
        if !self.folder.join("target").exists() {
            note!("compiling the crate, once: a minute or two");
        }
        let status = command.status().context("cargo")?;
        Ok(status.success())
    }

    fn save(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.progress).expect("strings and numbers");
        Ok(ddpm::files::write_atomically(&self.folder.join("progress.json"), text.as_bytes())?)
    }
}

const HINT: &str = "use ddpm::check;\n\nfn main() {\n    let arguments: Vec<String> = std::env::args().collect();\n    \
    let asked = arguments[2].parse().expect(\"a number\");\n    println!(\"{}\", check::hints(&arguments[1], asked));\n}\n";

fn file_name(exercise: &Exercise) -> String {
    format!("{}_{}.rs", &exercise.notebook[..2], exercise.name)
}

/// The file of an exercise as a student gets it.
fn program(exercise: &Exercise) -> String {
    let Exercise { name, statement, stub, has_task, .. } = exercise;
    let comment: String =
        statement.lines().map(|line| format!("// {line}").trim_end().to_string() + "\n").collect();
    let task = if *has_task {
        format!("    println!(\"{{}}\\n\", check::task(\"{name}\"));\n")
    } else {
        String::new()
    };
    format!(
        "{comment}\n#![allow(unused)]\nuse ddpm::prelude::*;\n\n{stub}\n\n\
         fn main() -> check::Verdict {{\n{task}    check::{name}({name})\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cargo reads back what was meant, whatever the folder is called.
    #[test]
    fn the_manifest_is_toml_for_every_path() {
        for folder in ["/home/jos\u{e9}/e\u{301}cole", "/with \"quotes\" and \\", "/plain"] {
            let course = Course { notebooks: PathBuf::from(folder) };
            let book = Workbook { folder: "x".into(), exercises: vec![], progress: BTreeMap::new() };
            let manifest: toml::Table = book.manifest(&course).parse().expect("TOML");
            let path = manifest["dependencies"]["ddpm"]["path"].as_str().expect("a path");
            assert_eq!(Path::new(path), Path::new(folder).join("kernel"));
            assert_eq!(manifest["bin"][0]["path"].as_str(), Some("hint.rs"));
        }
    }
}
