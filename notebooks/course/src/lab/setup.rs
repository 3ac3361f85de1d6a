//! What the notebooks need, step by step: each step is skipped if its result is there.

use super::place::Place;
use super::process::{output, start};
use crate::{at, wrong};
use anyhow::{Result, bail};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of the kernel that the course was made with.
const EVCXR: &str = "0.22.0";

/// What evcxr, the Python packages and the seed take together, with room to build.
const GIGABYTES: u64 = 4;

/// Brings everything about that is missing; a step that is interrupted is taken up again the next time.
pub fn everything(place: &Place) -> Result<()> {
    std::fs::create_dir_all(place.lab.join("log")).map_err(at(&place.lab))?;
    supported()?;
    let python = python()?;
    rust_src(place)?;
    evcxr(place)?;
    environment(place, &python)?;
    kernelspec(place)?;
    seed(place)
}

/// Removes what [`everything`] and the kernels have put there, and the folder if nothing else is in it.
pub fn undo(place: &Place) -> Result<()> {
    for folder in ["evcxr", "build", "venv", "seed", "kernels", "cargo", "log", "check"] {
        remove(&place.lab.join(folder))?;
    }
    let stamp = place.lab.join("seed.stamp");
    if stamp.exists() {
        std::fs::remove_file(&stamp).map_err(at(&stamp))?;
    }
    match std::fs::remove_dir(&place.lab) {
        Ok(()) => place.course.note(&format!("{}: removed", place.lab.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            place.course.note("nothing was installed")
        }
        Err(error) => place.course.note(&format!(
            "{}: what is installed is removed, the folder stays: {error}",
            place.lab.display()
        )),
    }
    Ok(())
}

/// One step: says how long it may take, runs, and says how long it took.
fn step(place: &Place, name: &str, takes: &str, command: &mut Command) -> Result<()> {
    place.course.note(&format!("{name}: {takes} …"));
    let took = start(command, &place.log(name), name)?.finish()?;
    place.course.note(&format!("{name}: done in {} s", took.as_secs()));
    Ok(())
}

/// The kernel's launcher is a shell script.
fn supported() -> Result<()> {
    match output("bash", &["-c", "echo here"]) {
        Some(_) => Ok(()),
        None => bail!(wrong("bash", "a system with bash (on Windows: WSL)", "none")),
    }
}

/// A Python that can make virtual environments.
fn python() -> Result<PathBuf> {
    let ask = "import sys, venv, ensurepip; print(sys.version_info >= (3, 10), sys.version.split()[0])";
    let mut found = "none".to_string();
    for program in ["python3", "python"] {
        match output(program, &["-c", ask]) {
            Some(answer) if answer.starts_with("True") => return Ok(program.into()),
            Some(answer) => found = answer.trim_start_matches("False ").to_string(),
            None if output(program, &["--version"]).is_some() => {
                found = format!("{program} without the module venv")
            }
            None => (),
        }
    }
    let remedy = "Python 3.10 or newer with its module venv \
                  (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python)";
    bail!(wrong("python3", remedy, found))
}

/// The standard library's sources, from which evcxr learns the types of variables.
fn rust_src(place: &Place) -> Result<()> {
    let sysroot = output("rustc", &["--print", "sysroot"]).unwrap_or_default();
    if Path::new(&sysroot).join("lib/rustlib/src/rust/library/Cargo.lock").exists() {
        return Ok(());
    }
    if output("rustup", &["--version"]).is_none() {
        let remedy = "rustup, which adds rust-src (https://rustup.rs), or a Rust that comes with its sources";
        bail!(wrong("rust-src", remedy, format!("no sources in {sysroot}")));
    }
    step(place, "rust-src", "a minute", Command::new("rustup").args(["component", "add", "rust-src"]))
}

/// The kernel itself, of just this version; one that is installed already is used.
fn evcxr(place: &Place) -> Result<()> {
    let root = place.lab.join("evcxr");
    let in_lab = root.to_string_lossy().into_owned(); // evcxr_jupyter can't tell its version, but cargo can
    let right = |arguments: &[&str]| {
        let installed = output("cargo", &[&["install", "--list"], arguments].concat()).unwrap_or_default();
        installed.lines().any(|line| line == format!("evcxr_jupyter v{EVCXR}:"))
    };
    if right(&["--root", &in_lab])
        || right(&[]) && output("bash", &["-c", "command -v evcxr_jupyter"]).is_some()
    {
        return Ok(());
    }
    disk(place)?;
    let what = ["--version", EVCXR, "--locked", "--force", "--root"];
    if output("cargo", &["binstall", "-V"]).is_some() {
        let mut command = Command::new("cargo");
        command.args(["binstall", "--no-confirm", "--disable-strategies", "compile", "evcxr_jupyter"]);
        command.args(what).arg(&root);
        match step(place, "evcxr binary", "a minute", &mut command) {
            Ok(()) => return Ok(()),
            Err(error) => {
                place.course.note(&format!("{error}\nevcxr binary: not to be had; it is compiled instead"))
            }
        }
    }
    let build = place.lab.join("build"); // kept until it succeeds, so that a second try goes on from there
    let mut command = Command::new("cargo");
    command.args(["install", "evcxr_jupyter"]).args(what).arg(&root).arg("--target-dir").arg(&build);
    // most of it is a parser and a type checker that wait for the compiler: full optimisation would take longer than it saves
    command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    step(place, "evcxr", "compiling the kernel takes 3 to 10 minutes, once", &mut command)?;
    remove(&build)
}

/// JupyterLab and what runs notebooks, in an environment that nothing else uses.
fn environment(place: &Place, python: &Path) -> Result<()> {
    let (venv, list) = (place.lab.join("venv"), place.course.kernel("requirements.txt"));
    let (wanted, stamp) = (read(&list)?, venv.join("requirements.txt"));
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    disk(place)?;
    if output(place.python("python"), &["-m", "pip", "--version"]).is_none() {
        step(
            place,
            "Python environment",
            "seconds",
            Command::new(python).args(["-m", "venv", "--clear"]).arg(&venv),
        )?;
    }
    let mut pip = Command::new(place.python("python"));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", "-r"])
        .arg(&list);
    step(place, "JupyterLab", "1 to 3 minutes", &mut pip)?;
    write(place, &stamp, &wanted)
}

/// Registers the kernel "Rust (ddpm)" in that environment and nowhere else; Markdown opens as a page, nobody is asked about
/// news, and a key and a button run an exercise together with its check.
fn kernelspec(place: &Place) -> Result<()> {
    let launcher = place.course.kernel("launch.sh");
    let spec = read(&place.course.kernel("kernel.json"))?.replace("LAUNCHER", &launcher.to_string_lossy());
    let share = place.lab.join("venv/share/jupyter");
    write(place, &share.join("kernels/ddpm/kernel.json"), &spec)?;
    write(place, &share.join("lab/settings/overrides.json"), &read(&place.course.kernel("overrides.json"))?)
}

/// The work folder that every kernel begins with: all packages compiled, with the versions of this repository.
fn seed(place: &Place) -> Result<()> {
    let (seed, stamp) = (place.lab.join("seed"), place.lab.join("seed.stamp"));
    let lock = read(&place.course.notebooks.join("../Cargo.lock"))?;
    let portable = std::env::var("DDPM_NATIVE").is_ok_and(|native| native == "0").to_string();
    let launcher = read(&place.course.kernel("launch.sh"))?; // has the compiler's flags
    let toolchain = hash(&[output("rustc", &["-vV"]).unwrap_or_default(), portable, launcher, lock.clone()]);
    let wanted = format!("{toolchain:016x} {:016x}\n", sources(place)?);
    let built = std::fs::read_to_string(&stamp).unwrap_or_default();
    if built == wanted && seed.is_dir() {
        return Ok(());
    }
    disk(place)?;
    let same_toolchain = built.split(' ').next() == wanted.split(' ').next();
    if !same_toolchain {
        remove(&seed)?;
    }
    write(place, &seed.join("Cargo.lock"), &lock)?;
    let takes = if same_toolchain {
        "the crate has changed, a minute"
    } else {
        "compiling the crate takes 2 to 4 minutes"
    };
    let mut command = Command::new(place.python("python"));
    command
        .arg(place.course.kernel("run.py"))
        .arg("seed")
        .env("DDPM_SEED", &seed)
        .env("DDPM_LAB", &place.lab);
    step(place, "warm start", takes, &mut command)?;
    write(place, &stamp, &wanted)
}

/// A number that changes with any source file that notebooks are compiled from.
fn sources(place: &Place) -> Result<u64> {
    let root = place.course.notebooks.join("..");
    let mut folders =
        vec![root.join("src"), place.course.kernel("src"), place.course.notebooks.join("solutions")];
    let mut files: Vec<PathBuf> = ["Cargo.toml", "cargo-for-types.sh", "packages-for-types.py", "run.py"]
        .map(|f| place.course.kernel(f))
        .into();
    files.push(root.join("Cargo.toml"));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(at(&folder))? {
            let path = entry.map_err(at(&folder))?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let contents = files.iter().map(|path| std::fs::read(path).map_err(at(path)));
    Ok(hash(&contents.collect::<Result<Vec<_>>>()?))
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Stops before a long step that would fill the disk.
fn disk(place: &Place) -> Result<()> {
    let lab = place.lab.to_string_lossy().into_owned();
    let answer = output("df", &["-Pk", &lab]).unwrap_or_default();
    let free = answer.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    match free.map(|kilobytes| kilobytes >> 20) {
        Some(gigabytes) if gigabytes < GIGABYTES => {
            let expected = format!("{GIGABYTES} GB of free disk (DDPM_LAB names another folder)");
            bail!(wrong(lab, expected, format!("{gigabytes} GB")))
        }
        _ => Ok(()), // enough, or no way to know
    }
}

/// Removes a folder that may be there.
fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(folder)(error)),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(at(path))
}

fn write(place: &Place, path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    (place.course.host.write)(path, text)
}
