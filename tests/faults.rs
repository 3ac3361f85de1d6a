//! A campaign against what is saved: processes killed at any instant, files cut and changed at any place. A short form
//! runs always, the long one with `cargo test --test faults -- --ignored --nocapture`.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)] // a test fails by panicking
#![allow(clippy::print_stderr)] // the figures of the campaign

use ddpm::checkpoint::{CONFIG, SCHEDULER, WEIGHTS, load_pretrained, reverse_to_json};
use ddpm::rng::stream;
use ddpm::train::{LogRow, Trainer};
use ndarray_rand::rand::Rng;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A training of a network of nothing; it saves after every step.
fn train(dir: &Path, out: &str, more: &[&str]) -> Child {
    let arguments =
        "train --data pictures --size 8 --widths 4,4 --groups 2 --batch 2 --T 40 --warmup 0 --log-every 7";
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddpm"));
    command.current_dir(dir).args(arguments.split(' ')).args(["--out", out, "--threads", "1"]).args(more);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn to_its_end(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("pictures")).unwrap();
    for n in 0..4u8 {
        let picture = image::RgbImage::from_fn(9, 8, |x, y| image::Rgb([20 * x as u8, 25 * y as u8, 60 * n]));
        picture.save(place.path().join(format!("pictures/{n}.png"))).unwrap();
    }
    place
}

/// Kills a run so many times, each time somewhere between its start and its hundredth step, and lets it go on; whatever
/// stands in the folder after a kill can be read. At the end it is the run that was never disturbed, to the bit.
fn kill(times: u64) {
    let place = place();
    let at = |path: &str| place.path().join(path);
    let (mut reached, mut swept) = (0, 0);
    for n in 0..times {
        let resume: &[&str] = if at("killed/checkpoint.safetensors").exists() { &["--resume"] } else { &[] };
        let endless = ["--steps", "100000000", "--checkpoint-every", "0"];
        let mut child = train(place.path(), "killed", &[&endless, resume].concat());
        std::thread::sleep(Duration::from_micros(stream(n, 0).random_range(0..100_000)));
        // a machine may be so busy that none has come as far as its first checkpoint: then one is given the time it needs
        while n == times / 2
            && !at("killed/checkpoint.safetensors").exists()
            && child.try_wait().unwrap().is_none()
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.code().is_none(), "kill {n}: {}", String::from_utf8_lossy(&output.stderr));
        if !at("killed").exists() {
            continue;
        }
        swept += fs::read_dir(at("killed")).unwrap().filter(is_leftover).count();
        if at("killed/checkpoint.safetensors").exists() {
            let steps = Trainer::load(&at("killed/checkpoint.safetensors")).unwrap().adam.steps;
            assert!(steps >= reached, "kill {n}: step {steps} after step {reached}");
            reached = steps;
        }
        if at("killed/model").join(WEIGHTS).exists() {
            load_pretrained(at("killed/model")).unwrap();
        }
    }
    let steps = (reached + 3).to_string();
    to_its_end(train(place.path(), "killed", &["--resume", "--steps", &steps, "--checkpoint-every", "5"]));
    to_its_end(train(place.path(), "whole", &["--steps", &steps]));
    for file in ["checkpoint.safetensors", &format!("model/{WEIGHTS}")] {
        let read = |run: &str| fs::read(at(run).join(file)).unwrap();
        assert!(read("killed") == read("whole"), "{file} differs after {times} kills and {steps} steps");
    }
    let (killed, whole) = (log(&at("killed")), log(&at("whole")));
    let differs = killed.iter().zip(&whole).find(|(a, b)| a != b);
    assert!(killed.len() == whole.len() && differs.is_none(), "logs of {steps} steps: {differs:?}");
    let left = fs::read_dir(at("killed")).unwrap().filter(is_leftover).count();
    assert_eq!(left, 0, "leftovers of killed saves");
    eprintln!("{times} kills in {steps} steps, {swept} leftovers swept: the same bits");
}

fn is_leftover(entry: &std::io::Result<fs::DirEntry>) -> bool {
    entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".tmp")
}

/// The loss log without the wall time.
fn log(run: &Path) -> Vec<LogRow> {
    let mut reader = csv::Reader::from_path(run.join("loss.csv")).unwrap();
    reader.deserialize().map(|row| LogRow { seconds: 0.0, ..row.unwrap() }).collect()
}

/// Runs `load`, which says whether it noticed a damage, and turns a panic into a failure of the test.
fn noticed(what: &str, load: &dyn Fn() -> bool) -> bool {
    catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| panic!("{what}: a panic"))
}

/// Cuts a file at every 64th byte and changes one byte at so many random places; `load` must notice each time. Returns how
/// many damages there were.
fn damage(path: &Path, flips: u64, load: &dyn Fn() -> bool) -> u64 {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let whole = fs::read(path).unwrap();
    assert!(!load(), "{name}: whole, and yet found damaged");
    let ends: Vec<usize> = (0..whole.len()).step_by(64).collect();
    for &end in &ends {
        fs::write(path, &whole[..end]).unwrap();
        assert!(noticed(&format!("{name} cut at byte {end}"), load), "{name} cut at byte {end} was loaded");
    }
    fs::write(path, &whole).unwrap();
    let mut rng = stream(7, 0);
    for _ in 0..flips {
        let (place, change) = (rng.random_range(0..whole.len()), rng.random_range(1..=255u8));
        poke(path, place, whole[place] ^ change);
        let what = format!("{name}: byte {place}, {:#04x} ^ {change:#04x}", whole[place]);
        assert!(noticed(&what, load), "{what} was loaded");
        poke(path, place, whole[place]);
    }
    ends.len() as u64 + flips
}

fn poke(path: &Path, place: usize, byte: u8) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(place as u64)).unwrap();
    file.write_all(&[byte]).unwrap();
}

/// A checkpoint, the weights of a model and its two configurations.
fn damage_everything(flips: u64) {
    let place = place();
    to_its_end(train(place.path(), "run", &["--steps", "3"]));
    let run = place.path().join("run");
    let (checkpoint, model) = (run.join("checkpoint.safetensors"), run.join("model"));
    let started = Instant::now();
    let mut count = damage(&checkpoint, flips, &|| Trainer::load(&checkpoint).is_err());

    // a configuration may also be noticed by a warning; or it still says the same, in other white space
    let whole = load_pretrained(&model).unwrap();
    let meaning = |p: &ddpm::checkpoint::Pretrained| (p.unet.config.to_json(), reverse_to_json(&p.reverse));
    let load = || load_pretrained(&model).is_err();
    let load_or_same = || match load_pretrained(&model) {
        Ok(found) => !found.warnings.is_empty() || meaning(&found) == meaning(&whole),
        Err(_) => true,
    };
    count += damage(&model.join(WEIGHTS), flips, &load);
    for config in [CONFIG, SCHEDULER] {
        let text = fs::read(model.join(config)).unwrap();
        let changed = || fs::read(model.join(config)).unwrap() != text;
        count += damage(&model.join(config), flips, &|| changed() && load_or_same());
    }
    eprintln!(
        "{count} damages in {:.0} s, all noticed; peak memory {} MiB",
        started.elapsed().as_secs_f64(),
        peak()
    );
    assert!(peak() < 200, "{} MiB", peak());
}

/// The peak of this process's memory in MiB, where the system says it.
fn peak() -> u64 {
    let mut status = String::new();
    let file = File::open("/proc/self/status");
    file.and_then(|mut file| file.read_to_string(&mut status)).map_or(0, |_| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
    })
}

#[test]
fn a_run_that_is_killed_goes_on_to_the_same_bits() {
    kill(12);
}

#[test]
fn every_damage_to_our_own_files_is_noticed() {
    damage_everything(300);
}

#[test]
#[ignore = "minutes: the long form"]
fn a_thousand_kills() {
    kill(1000);
}

#[test]
#[ignore = "minutes: the long form"]
fn ten_thousand_places() {
    damage_everything(10_000);
}
