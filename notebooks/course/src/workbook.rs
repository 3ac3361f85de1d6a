//! The folder of exercises: a small Cargo package with a program for each.

use crate::{Course, Exercise, Host, at, wrong};
use anyhow::{Context, Result};
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
pub struct Workbook {
    folder: PathBuf,
    host: Host,
    /// in their order
    pub exercises: Vec<Exercise>,
    progress: BTreeMap<String, Progress>,
}

impl Workbook {
    /// Opens the folder, and writes what is missing in it.
    ///
    /// # Errors
    /// The course or the folder can't be read, or the folder can't be written to.
    pub fn open(course: &Course, folder: &Path) -> Result<Workbook> {
        let folder = std::path::absolute(folder).map_err(at(folder))?;
        std::fs::create_dir_all(&folder).map_err(at(&folder))?;
        let exercises = course.exercises()?;
        let mut book = Workbook { folder, host: course.host, exercises, progress: BTreeMap::new() };
        let known = book.folder.join("progress.json");
        if known.exists() {
            let text = std::fs::read_to_string(&known).map_err(at(&known))?;
            let progress = serde_json::from_str(&text);
            book.progress =
                progress.map_err(|error| wrong(known.display(), "progress of exercises", error))?;
        }
        book.write_missing(course)?;
        Ok(book)
    }

    fn write_missing(&self, course: &Course) -> Result<()> {
        let write = |name: &str, text: String| (self.host.write)(&self.folder.join(name), &text);
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
            std::fs::copy(&lock, self.folder.join("Cargo.lock")).map_err(at(&lock))?;
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
            "profile": { "dev": { "debug": "line-tables-only", "package": { "*": { "opt-level": 3, "debug": false } } } },
            "bin": bins,
        });
        format!("# written by `ddpm learn`\n{}", toml::to_string(&manifest).expect("texts and numbers"))
    }

    /// Where the files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes the file of an exercise as it was at first, and says where what was written in it is kept.
    ///
    /// # Errors
    /// The folder can't be written to.
    pub fn reset(&mut self, index: usize) -> Result<PathBuf> {
        let path = self.path(index);
        let kept = (1..).map(|n| path.with_extension(format!("{n}.old"))).find(|kept| !kept.exists());
        let kept = kept.expect("a number that is free");
        std::fs::rename(&path, &kept).map_err(at(&path))?;
        (self.host.write)(&path, &program(&self.exercises[index]))?;
        self.progress.remove(&self.exercises[index].name);
        self.save()?;
        Ok(kept)
    }

    /// The file of an exercise.
    pub fn path(&self, index: usize) -> PathBuf {
        self.folder.join(file_name(&self.exercises[index]))
    }

    /// The index of the exercise of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, name: &str) -> Result<usize> {
        let found = self.exercises.iter().position(|exercise| exercise.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.exercises.iter().map(|exercise| exercise.name.as_str()).collect();
            wrong("NAME", format_args!("one of {}", names.join(", ")), name)
        })
    }

    /// Whether the file is the one that passed.
    pub fn solved(&self, index: usize) -> bool {
        let passed =
            self.progress.get(&self.exercises[index].name).and_then(|progress| progress.solved.as_ref());
        passed.is_some_and(|text| std::fs::read_to_string(self.path(index)).is_ok_and(|now| now == *text))
    }

    /// The first exercise that is not solved.
    pub fn first_open(&self) -> Option<usize> {
        (0..self.exercises.len()).find(|&index| !self.solved(index))
    }

    /// Compiles and checks an exercise; what it says goes to the screen.
    ///
    /// # Errors
    /// Its file can't be read, cargo is not there, or the progress can't be saved.
    pub fn check(&mut self, index: usize) -> Result<bool> {
        let path = self.path(index);
        let text = std::fs::read_to_string(&path).map_err(at(&path))?;
        let name = self.exercises[index].name.clone();
        let right = self.cargo_run(&[&name])?;
        self.progress.entry(name).or_default().solved = right.then_some(text);
        self.save()?;
        Ok(right)
    }

    /// Shows one more hint.
    ///
    /// # Errors
    /// As [`check`](Workbook::check).
    pub fn hint(&mut self, index: usize) -> Result<()> {
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
            (self.host.note)("compiling the crate, once: a minute or two");
        }
        let status = command.status().context("cargo")?;
        Ok(status.success())
    }

    fn save(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.progress).expect("strings and numbers");
        (self.host.write)(&self.folder.join("progress.json"), &text)
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
            let course = Course { notebooks: PathBuf::from(folder), host: crate::silent() };
            let book = Workbook {
                folder: "x".into(),
                host: crate::silent(),
                exercises: vec![],
                progress: BTreeMap::new(),
            };
            let manifest: toml::Table = book.manifest(&course).parse().expect("TOML");
            let path = manifest["dependencies"]["ddpm"]["path"].as_str().expect("a path");
            assert_eq!(Path::new(path), Path::new(folder).join("kernel"));
            assert_eq!(manifest["bin"][0]["path"].as_str(), Some("hint.rs"));
        }
    }
}
