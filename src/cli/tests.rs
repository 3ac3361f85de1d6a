//! Every numeric argument of every command, as clap itself lists them, with every kind of number: a new argument can't
//! escape. Each value is tried in a process of its own, which is this test program again.

use super::{Arguments, run};
use clap::builder::ValueParser;
use clap::{Arg, Command as Clap, CommandFactory};
use ddpm::autoencoder::{AutoencoderConfig, AutoencoderKl};
use ddpm::checkpoint::{Precision, save_autoencoder};
use ddpm::data::idx;
use ddpm::rng::stream;
use ndarray::Array4;
use rayon::prelude::*;
use std::any::TypeId;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How a child knows what to do: its arguments, one per line.
const CHILD: &str = "DDPM_TEST_ARGUMENTS";
/// Still at work then: the number was taken.
const PATIENCE: Duration = Duration::from_secs(2);
/// In KiB: what asks for more is no plausible number, and must have been refused.
const MEMORY: u64 = 4 << 20;

/// No number at all, or none that any argument can mean.
const NONSENSE: [&str; 7] = ["NaN", "inf", "-inf", "-1", "", "x", "1e400"];
/// The ends of ranges, and what asks for all memory there is.
const EXTREMES: [&str; 9] = [
    "0",
    "1",
    "2",
    "0.5",
    "1e300",
    "65537",
    "1000000000000",
    "18446744073709551615",
    "99999999999999999999999999",
];

/// A command line on which everything else is small.
fn base(command: &str) -> Vec<(&'static str, &'static str)> {
    let model = ("model", "run/model");
    match command {
        "train" => vec![
            ("data", "pictures"),
            ("size", "8"),
            ("widths", "8,16"),
            ("groups", "4"),
            ("batch", "4"),
            ("T", "40"),
            ("steps", "1"),
            ("out", "new"),
        ],
        "sample" => vec![model, ("n", "1"), ("ddim", "2"), ("out", "s.png")],
        "elbo" => vec![model, ("data", "pictures"), ("images", "1"), ("times", "2"), ("out", "e")],
        "interpolate" => vec![model, ("data", "pictures"), ("depths", "2"), ("out", "i.png")],
        "impute" => vec![
            model,
            ("image", "tile.png"),
            ("n", "1"),
            ("steps", "2"),
            ("jump", "1"),
            ("resample", "1"),
            ("out", "i.png"),
        ],
        "autoencode" => vec![
            ("data", "idx"),
            ("widths", "4,4"),
            ("groups", "2"),
            ("latent", "2"),
            ("batch", "2"),
            ("steps", "1"),
            ("out", "new"),
        ],
        "sharpen" => vec![("init", "vae"), ("data", "idx"), ("batch", "2"), ("steps", "1"), ("out", "new")],
        "noise" => vec![
            ("data", "idx"),
            ("widths", "4,8"),
            ("groups", "2"),
            ("batch", "2"),
            ("T", "4"),
            ("steps", "1"),
            ("out", "new"),
        ],
        "quality" => vec![
            model,
            ("training", "pictures"),
            ("held-out", "pictures"),
            ("n", "16"),
            ("ddim", "2"),
            ("out", "q.csv"),
        ],
        "info" => vec![model],
        "figures" => vec![("only", "schedules"), ("out", "f")],
        "classifier" => vec![("data", "idx"), ("steps", "1"), ("batch", "2"), ("out", "c.safetensors")],
        "bench" => vec![("model", "tiny"), ("work", "reverse"), ("batch", "1"), ("seconds", "0")],
        // these would work for minutes, or install things: without their data they end when the numbers are read
        "excerpt" => vec![("data", "nowhere")],
        "lab" => vec![],
        other => panic!("{other}: a new command needs a line here"),
    }
}

/// Not a test: what a child does.
#[test]
fn child() {
    if let Ok(arguments) = std::env::var(CHILD) {
        std::process::exit(run(arguments.lines()).into());
    }
}

/// What came of a command line: the exit code, `None` if it was still at work, and what it said.
fn outcome(dir: &Path, arguments: &str) -> (Option<i32>, String) {
    let program = std::env::current_exe().expect("a test program");
    let mut command = Command::new("sh");
    let limited = format!("ulimit -v {MEMORY} 2>/dev/null; exec \"$0\" \"$@\"");
    command.args(["-c", &limited]).arg(program).args(["--exact", "cli::tests::child", "--nocapture"]);
    command.current_dir(dir).env(CHILD, arguments).env("RAYON_NUM_THREADS", "2");
    let stderr = tempfile::NamedTempFile::new().expect("a file");
    let to = stderr.reopen().expect("the same file");
    let mut child = command.stdout(Stdio::null()).stderr(to).spawn().expect("a child");
    let started = Instant::now();
    let code = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break Some(status.code().unwrap_or(-1)),
            None if started.elapsed() > PATIENCE => {
                child.kill().expect("a living child");
                child.wait().expect("a dead child");
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    (code, std::fs::read_to_string(stderr.path()).expect("what was said"))
}

/// Arguments that take neither a path, nor a text, nor one of a few words.
fn is_numeric(arg: &Arg) -> bool {
    let words = [TypeId::of::<PathBuf>(), TypeId::of::<String>(), TypeId::of::<bool>()];
    let of = |parser: &ValueParser| words.iter().any(|&word| parser.type_id() == word);
    arg.get_action().takes_values() && arg.get_possible_values().is_empty() && !of(arg.get_value_parser())
}

/// (command, argument), for all commands; the global ones with `info`.
fn numeric_arguments() -> Vec<(String, String)> {
    let names = |command: &Clap| {
        let numeric = command.get_arguments().filter(|arg| is_numeric(arg));
        numeric.filter_map(|arg| arg.get_long().map(String::from)).collect::<Vec<_>>()
    };
    let all = Arguments::command();
    let mut found: Vec<_> = names(&all).into_iter().map(|arg| ("info".to_string(), arg)).collect();
    for command in all.get_subcommands() {
        found.extend(names(command).into_iter().map(|arg| (command.get_name().to_string(), arg)));
    }
    found
}

/// Every output of every command: tried before the work, where it can't be written.
#[test]
fn every_output_is_tried_before_the_work() {
    let place = place();
    std::fs::write(place.path().join("file"), "").expect("a file");
    let outputs = ["out", "steps-out", "json", "html"];
    let mut count = 0;
    for command in Arguments::command().get_subcommands() {
        for name in command.get_arguments().filter_map(Arg::get_long).filter(|name| outputs.contains(name)) {
            count += 1;
            if command.get_name() == "lab" {
                continue; // it would install first what the pages are made with
            }
            // a file stands where a folder would have to be
            let mut line = line(command.get_name(), name, "file/x.png");
            if name == "steps-out" {
                line = line.replace("--ddim=2\n", "");
            }
            let (code, said) = outcome(place.path(), &line);
            assert_eq!(code, Some(1), "{line}: {said}");
            assert!(said.starts_with("error: file/x.png: "), "{line}: {said}");
        }
    }
    assert!(count >= 9, "{count} outputs");
    for command in ["sample", "interpolate"] {
        let (code, said) = outcome(place.path(), &line(command, "out", "x.tiff"));
        assert_eq!(code, Some(1), "{said}");
        assert_eq!(said, "error: x.tiff: expected a file name that ends in .png or .svg, found '.tiff'\n");
    }
}

/// Pictures, an IDX set of three images, a small network and a small autoencoder.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    let at = |name: &str| place.path().join(name);
    std::fs::create_dir(at("pictures")).expect("a folder");
    for n in 0..6u8 {
        let picture =
            image::RgbImage::from_fn(12, 10, |x, y| image::Rgb([20 * x as u8, 25 * y as u8, 40 * n]));
        picture.save(at(&format!("pictures/{n}.png"))).expect("a picture");
    }
    image::RgbImage::new(8, 8).save(at("tile.png")).expect("a picture");
    std::fs::create_dir(at("idx")).expect("a folder");
    let images = Array4::from_shape_fn((3, 28, 28, 1), |(n, y, x, _)| (n * 80 + y + x) as u8);
    for prefix in ["train", "t10k"] {
        idx::write_images(&at(&format!("idx/{prefix}-images-idx3-ubyte.gz")), &images).expect("images");
        std::fs::write(at(&format!("idx/{prefix}-labels-idx1-ubyte")), [0, 0, 8, 1, 0, 0, 0, 3, 0, 1, 2])
            .expect("labels");
    }
    let autoencoder = AutoencoderKl::new(&AutoencoderConfig::new(28, 1, &[4, 4], 2), &mut stream(1, 0));
    save_autoencoder(&autoencoder, at("vae"), Precision::F32).expect("an autoencoder");
    let (code, said) = outcome(place.path(), &line("train", "out", "run"));
    assert_eq!(code, Some(0), "{said}");
    place
}

/// The base of a command with one argument set.
fn line(command: &str, name: &str, value: &str) -> String {
    let others = base(command).into_iter().filter(|(other, _)| *other != name);
    let all = others.chain([(name, value)]).map(|(name, value)| format!("--{name}={value}"));
    ["ddpm".to_string(), command.to_string()].into_iter().chain(all).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_number_makes_a_panic_an_abort_or_a_silence() {
    let (place, count) = (place(), AtomicUsize::new(0));
    let arguments = numeric_arguments();
    assert!(arguments.len() > 30, "{arguments:?}");
    let values = || NONSENSE.into_iter().map(|v| (v, true)).chain(EXTREMES.into_iter().map(|v| (v, false)));
    let cases: Vec<_> = arguments.iter().flat_map(|arg| values().map(move |value| (arg, value))).collect();
    // who is waited for takes no turn of the others
    let side_by_side = rayon::ThreadPoolBuilder::new().num_threads(4).build().expect("four threads");
    let faults = side_by_side.install(|| {
        cases
            .par_iter()
            .filter_map(|((command, name), (value, nonsense))| {
                let n = count.fetch_add(1, Ordering::Relaxed);
                let dir = place.path();
                let fresh = format!("new{n}");
                let line = line(command, name, value).replace("--out=new", &format!("--out={fresh}"));
                let (code, said) = outcome(dir, &line);
                let _ = std::fs::remove_dir_all(dir.join(fresh));
                let clean = !said.contains("panicked") && !said.contains("memory allocation");
                let right = match code {
                    Some(2) => said.contains(&format!("--{name}")),
                    Some(1) => {
                        // a step size that no training survives is found out by the weights, which are named
                        let diverged =
                            name == "lr" && said.contains("]: expected a ") && said.contains(" number");
                        let named =
                            said.contains(name.as_str()) || said.contains("nowhere") || command == "lab";
                        !nonsense && (named || diverged)
                    }
                    Some(0) | None => !nonsense,
                    _ => false,
                };
                let shown = || format!("{command} --{name}={value}: exit {code:?}, {}", said.trim());
                (!(clean && right)).then(shown)
            })
            .collect::<Vec<String>>()
    });
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
}
