//! The commands as a user runs them: exit codes, messages, files.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::io::BufRead;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn ddpm(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ddpm")).current_dir(dir).args(arguments).output().unwrap()
}

/// Runs and expects success; returns what was printed.
#[track_caller]
fn succeeds(dir: &Path, arguments: &[&str]) -> String {
    let output = ddpm(dir, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ddpm {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs and expects a failure that says `message`, without a panic.
#[track_caller]
fn fails(dir: &Path, arguments: &[&str], message: &str) {
    let output = ddpm(dir, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "ddpm {arguments:?} succeeded");
    assert!(stderr.contains(message), "ddpm {arguments:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "ddpm {arguments:?}: {stderr}");
}

/// A folder of sixteen small pictures, and a network that trains on it in no time.
fn pictures(dir: &Path) -> Vec<&'static str> {
    std::fs::create_dir(dir.join("pictures")).unwrap();
    for n in 0..16u32 {
        let picture = image::RgbImage::from_fn(12, 10, |x, y| {
            image::Rgb([(x * 20) as u8, (y * 25) as u8, (n * 16) as u8])
        });
        picture.save(dir.join(format!("pictures/{n:02}.png"))).unwrap();
    }
    let arguments =
        "train --data pictures --size 8 --widths 8,16 --groups 4 --batch 8 --T 40 --log-every 2 --warmup 0";
    arguments.split(' ').collect()
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let dir = tempfile::tempdir().unwrap();
    for command in [
        "figures",
        "train",
        "sample",
        "elbo",
        "interpolate",
        "info",
        "bench",
        "classifier",
        "excerpt",
        "lab",
        "learn",
    ] {
        let help = succeeds(dir.path(), &[command, "--help"]);
        assert!(help.contains("Example") && help.contains(&format!("ddpm {command}")), "{help}");
        assert!(help.contains("--threads"), "{help}");
    }
}

#[test]
fn a_run_trains_stops_resumes_and_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let train = pictures(at);
    let with = |more: &[&'static str]| [train.clone(), more.to_vec()].concat();

    succeeds(at, &with(&["--steps", "6", "--out", "whole"]));
    succeeds(at, &with(&["--steps", "4", "--out", "parts"]));
    succeeds(at, &["train", "--resume", "--out", "parts", "--steps", "6"]);
    let read = |file: &str| std::fs::read(at.join(file)).unwrap();
    for file in ["model/diffusion_pytorch_model.safetensors", "checkpoint.safetensors"] {
        assert!(read(&format!("whole/{file}")) == read(&format!("parts/{file}")), "{file} differs");
    }
    assert_eq!(
        String::from_utf8(read("parts/loss.csv")).unwrap().lines().count(),
        4,
        "a header and three rows"
    );
    fails(
        at,
        &with(&["--out", "parts"]),
        "--out: expected a folder without a checkpoint, or --resume, found parts/checkpoint.safetensors",
    );

    let model = ["--model", "whole/model"];
    assert!(
        succeeds(at, &[&["info", "--json", "info.json"], &model[..]].concat()).contains("conv_in.weight")
    );
    let info: serde_json::Value = serde_json::from_slice(&read("info.json")).unwrap();
    assert_eq!(info["T"], 40);
    assert_eq!(info["image"], serde_json::json!([8, 8, 3]));

    succeeds(at, &[&["sample", "--n", "3", "--out", "s.png", "--steps-out", "d.png"], &model[..]].concat());
    succeeds(
        at,
        &[&["sample", "--n", "3", "--ddim", "5", "--eta", "0.5", "--out", "f.png"], &model[..]].concat(),
    );
    let mix = ["interpolate", "--data", "pictures", "--depths", "40,0", "--out", "i.png"];
    succeeds(at, &[&mix, &model[..]].concat());
    for picture in ["s.png", "d.png", "f.png", "i.png"] {
        image::open(at.join(picture)).unwrap();
    }

    let table =
        succeeds(at, &[&["elbo", "--data", "pictures", "--images", "5", "--out", "e"], &model[..]].concat());
    for term in ["L_T", "Σ L_t-1", "L_0", "σ² = beta_tilde"] {
        assert!(table.contains(term), "{table}");
    }
    let totals: serde_json::Value = serde_json::from_slice(&read("e/elbo.json")).unwrap();
    let terms = &totals["bounds"][0]["bits_per_dim"];
    let mean = |name: &str| terms[name]["mean"].as_f64().unwrap();
    assert!((mean("L_T") + mean("Σ L_t-1") + mean("L_0") - mean("L")).abs() < 1e-9, "{terms}");
    let rows = String::from_utf8(read("e/elbo.csv")).unwrap();
    assert_eq!(rows.lines().count(), 1 + 2 * 41, "two variances, t = 1..=40 and L_T");
    assert_eq!(String::from_utf8(read("e/rate_distortion.csv")).unwrap().lines().count(), 1 + 2 * 40);
}

/// A second run on the first one's weights, without the pictures that are held out, cooled down, in half precision; and
/// what is held out is what the bound is taken of.
#[test]
fn a_run_begins_with_given_weights_and_holds_pictures_out() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let train = pictures(at);
    succeeds(at, &[&train[..], &["--steps", "2", "--out", "first"]].concat());
    let second = ["train", "--data", "pictures", "--size", "8", "--init", "first/model", "--holdout", "5"];
    let more =
        ["--batch", "4", "--steps", "3", "--cooldown", "2", "--times", "importance", "--precision", "f16"];
    let said = succeeds(at, &[&second[..], &more, &["--log-every", "1", "--out", "second"]].concat());
    assert!(said.contains("on pictures, training (13 pictures)"), "{said}");
    let log = std::fs::read_to_string(at.join("second/loss.csv")).unwrap();
    let rates: Vec<f64> =
        log.lines().skip(1).map(|row| row.split(',').nth(3).unwrap().parse().unwrap()).collect();
    // warm-up over 500 steps, and two thirds and one third of it in the cool-down
    let want = [2e-6, 4e-6 * 2.0 / 3.0, 6e-6 / 3.0];
    assert!(rates.iter().zip(want).all(|(rate, want)| (rate / want - 1.0).abs() < 1e-9), "{rates:?}");
    let size = |run: &str| {
        std::fs::metadata(at.join(run).join("model/diffusion_pytorch_model.safetensors")).unwrap().len()
    };
    assert!(size("second") < size("first") * 6 / 10, "two bytes a number instead of four");

    let elbo = ["elbo", "--model", "second/model", "--data", "pictures", "--times", "3", "--images"];
    let table = succeeds(at, &[&elbo[..], &["3", "--holdout", "5"]].concat());
    assert!(table.starts_with("pictures, held out, 3 images"), "{table}");
    fails(
        at,
        &[&elbo[..], &["3", "--holdout", "17"]].concat(),
        "--holdout: expected 2 to 16, of 16 pictures, found 17",
    );
    let small = ["train", "--data", "pictures", "--size", "4", "--init", "first/model", "--out", "third"];
    fails(at, &small, "--data: expected images of 8x8x3, found images of 4x4x3 in pictures");
    let wide = ["train", "--data", "pictures", "--init", "first/model", "--widths", "8"];
    fails(at, &wide, "'--init <DIR>' cannot be used with '--widths <WIDTHS>'");
}

/// A chain that ends in pure noise: a network that predicts v is trained, judged and sampled; one that predicts ε is
/// refused before the first step.
#[test]
fn a_chain_with_zero_terminal_snr() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let train = [pictures(at), vec!["--zero-snr", "--steps", "3", "--out"]].concat();
    let with = |more: &[&'static str]| [train.clone(), more.to_vec()].concat();
    fails(at, &with(&["run"]), "--predict: expected v, x0 or mu_tilde with --zero-snr, found eps");
    assert!(!at.join("run/checkpoint.safetensors").exists());
    succeeds(at, &with(&["run", "--predict", "v", "--variance", "learned_range", "--loss", "hybrid"]));
    let scheduler = std::fs::read_to_string(at.join("run/model/scheduler_config.json")).unwrap();
    let scheduler: serde_json::Value = serde_json::from_str(&scheduler).unwrap();
    assert_eq!(scheduler["prediction_type"], "v_prediction");
    assert_eq!(scheduler["trained_betas"][39], 1.0);
    for arguments in [
        "elbo --model run/model --data pictures --images 2 --out e",
        "sample --model run/model --n 2 --out all.png --steps-out steps.png",
        "sample --model run/model --n 2 --ddim 4 --eta 0.5 --out ddim.png",
        "interpolate --model run/model --data pictures --depths 40,39,0 --out mix.png",
        "info --model run/model",
    ] {
        let said = succeeds(at, &arguments.split(' ').collect::<Vec<_>>());
        assert!(!said.contains("NaN") && !said.contains("inf"), "{said}");
    }
    let read = |file: &str| std::fs::read_to_string(at.join(file)).unwrap();
    for table in ["e/elbo.csv", "e/rate_distortion.csv", "e/elbo.json"] {
        let text = read(table);
        assert!(!text.contains("NaN") && !text.contains("inf") && !text.contains("null"), "{table}: {text}");
    }
    // with a fixed variance each step has a weight, but for t = T, where it would be infinite
    succeeds(at, &with(&["fixed", "--predict", "x0"]));
    let elbo = "elbo --model fixed/model --data pictures --images 2 --out f";
    succeeds(at, &elbo.split(' ').collect::<Vec<_>>());
    let rows = read("f/elbo.csv");
    let last: Vec<&str> = rows.lines().filter(|row| row.starts_with("beta,L_t-1,40,")).collect();
    assert!(last.len() == 1 && last[0].ends_with(',') && !rows.contains("inf"), "{last:?}");
}

#[test]
fn the_same_seed_gives_the_same_file_for_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    for threads in ["1", "2", "7"] {
        let out = format!("{threads}.png");
        succeeds(dir.path(), &["sample", "--n", "5", "--ddim", "2", "--threads", threads, "--out", &out]);
    }
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert_eq!(read("1.png"), read("2.png"));
    assert_eq!(read("1.png"), read("7.png"));
}

#[test]
fn wrong_arguments_are_named_and_nothing_panics() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    std::fs::create_dir(at.join("empty")).unwrap();
    fails(at, &["sample", "--n", "0"], "invalid value '0' for '--n <N>'");
    fails(at, &["sample", "--ddim", "1001"], "--ddim: expected 1 to 1000 steps, found 1001");
    fails(at, &["sample", "--model", "nowhere"], "nowhere");
    fails(at, &["sample", "--variance", "learned"], "--variance: expected beta or beta_tilde");
    fails(at, &["sample", "--n", "1", "--ddim", "1", "--out", "x.tiff"], "x.tiff");
    fails(at, &["elbo", "--images", "0"], "invalid value '0' for '--images <IMAGES>'");
    fails(at, &["elbo", "--images", "1", "--times", "1000"], "--times: expected 1 to 999");
    fails(at, &["elbo", "--data", "empty"], "empty");
    fails(at, &["interpolate", "--depths", "1001"], "--depths: expected 0 to 1000, found 1001");
    fails(at, &["interpolate", "--a", "10000"], "--a: expected 0 to 9999, found 10000");
    fails(at, &["train", "--data", "nowhere"], "nowhere");
    fails(at, &["train", "--data", "empty"], "empty");
    fails(at, &["train", "--resume", "--out", "nowhere"], "nowhere/checkpoint.safetensors");
    fails(at, &["info", "--threads", "x"], "invalid value");
    let unknown = "--model: expected tiny, m28h1, m32h1, c32 or a diffusers folder, found 'nothing'";
    fails(at, &["bench", "--model", "nothing"], unknown);
    fails(at, &["bench", "--model", "empty"], "empty: expected config.json, model_index.json with");
    fails(at, &["bench", "--work", "train,play"], "invalid value 'play' for '--work <WORK>'");
    fails(at, &["bench", "--batch", "8,0"], "invalid value '0' for '--batch <BATCH>'");
    fails(at, &["bench", "--seconds=-1"], "invalid value '-1' for '--seconds <SECONDS>': expected a time");
    fails(at, &["bench", "--work", "train", "--check"], "--check: expected matmul in --work");
    for command in ["info", "bench"] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_ddpm")).env("DDPM_SIMD", "mmx").arg(command).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(stderr.contains("DDPM_SIMD: expected portable, avx2 or avx512, found 'mmx'"), "{stderr}");
    }
}

/// Every kind of work on a network of nothing: what the rows say, not how fast they are.
#[test]
fn a_bench_prints_and_writes_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &str| {
        let bench = "bench --model tiny --batch 1 --threads 1 --seconds 0 --json bench.json --work";
        let arguments = bench.split(' ').chain([arguments]).collect::<Vec<_>>();
        let table = succeeds(dir.path(), &arguments);
        let json = std::fs::read(dir.path().join("bench.json")).unwrap();
        (table, serde_json::from_slice::<serde_json::Value>(&json).unwrap())
    };
    let (table, json) = run("reverse");
    assert!(table.contains("--threads 1") && table.contains("images/s"), "{table}");
    assert_eq!(json["threads"], 1);
    assert_eq!(json["model"], "tiny");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert!(json["peak_gflops"].as_f64().unwrap() > 0.0);
    assert!(["portable", "avx2", "avx512"].contains(&json["simd"].as_str().unwrap()));
    assert!(json.get("cpu").is_some());
    assert_eq!(json["rows"].as_array().unwrap().len(), 1);
    let row = &json["rows"][0];
    assert_eq!((&row["work"], &row["shape"]), (&"reverse".into(), &"8x8x1".into()));
    assert_eq!((&row["batch"], &row["threads"]), (&1.into(), &1.into()));
    assert!(["cpu", "wall"].contains(&row["clock"].as_str().unwrap()));
    let number = |key: &str| row[key].as_f64().unwrap();
    assert!(number("ms_min") > 0.0 && number("ms_min") <= number("ms"));
    assert!((number("images_per_s") * number("ms") / 1e3 - 1.0).abs() < 1e-9, "{row}");
    assert!(number("gflops") > 0.0 && number("peak_share") > 0.0);
    assert!(row.get("rss_mib").is_some());
    assert_eq!(row["rss_mib"].is_null(), !Path::new("/proc/self/status").exists());

    let (_, json) = run("train,conv,matmul");
    let rows = json["rows"].as_array().unwrap();
    let of = |work: &str| rows.iter().filter(|row| row["work"] == work).count();
    assert_eq!(["train", "conv_fwd", "conv_dgrad", "conv_wgrad", "matmul"].map(of), [1, 9, 9, 9, 6]);
}

/// A command inside the repository, with a folder of its own for what it installs.
fn lab(lab: &Path, arguments: &[&str]) -> Output {
    let repository = env!("CARGO_MANIFEST_DIR");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddpm"));
    command.current_dir(repository).env("DDPM_LAB", lab).args(arguments).output().unwrap()
}

#[test]
fn lab_says_what_is_missing_before_it_installs_anything() {
    let dir = tempfile::tempdir().unwrap();
    fails(dir.path(), &["lab"], "expected a folder of the ddpm repository");
    fails(dir.path(), &["learn", "list"], "expected a folder of the ddpm repository");
    let output = lab(&dir.path().join("lab"), &["lab", "--execute", "99"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("NN: expected one of") && stderr.contains("found 99"), "{stderr}");
    assert!(!dir.path().join("lab").exists());
}

#[test]
fn lab_removes_what_it_installed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["venv/bin/python", "seed/Cargo.lock", "mine.txt"] {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    assert!(lab(dir.path(), &["lab", "--uninstall"]).status.success());
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["mine.txt"]);
    std::fs::remove_file(dir.path().join("mine.txt")).unwrap();
    assert!(lab(dir.path(), &["lab", "--uninstall"]).status.success());
    assert!(!dir.path().exists());
    std::fs::create_dir(dir.path()).unwrap(); // which its owner removes
}

#[test]
fn learn_writes_the_exercises_and_keeps_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("exercises");
    let list = ["learn", "list", "--dir", folder.to_str().unwrap()];
    let output = lab(dir.path(), &list);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("log_pdf") && stdout.contains("0 of"), "{stdout}");
    let file = folder.join("01_log_pdf.rs");
    let text = std::fs::read_to_string(&file).unwrap();
    for part in ["// ### Exercise 1.1", "todo!()", "fn log_pdf", "check::log_pdf(log_pdf)"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    std::fs::write(&file, "fn main() {}").unwrap();
    lab(dir.path(), &list);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "fn main() {}");
    let missing = lab(dir.path(), &["learn", "run", "no_such", "--dir", folder.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("NAME: expected one of"), "{missing:?}");
    std::fs::write(folder.join("progress.json"), "{").unwrap();
    let broken = lab(dir.path(), &list);
    assert!(String::from_utf8_lossy(&broken.stderr).contains("expected progress of exercises"), "{broken:?}");
}

/// What makes a run is in its checkpoint: alone, --resume goes on with the same pictures to the same end; an argument
/// that is repeated changes nothing, one that differs is refused with both values.
#[test]
fn a_resumed_run_remembers_what_makes_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let train = pictures(at);
    let begun = |out| [&train[..], &["--holdout", "5", "--no-flip", "--steps", "4", "--out", out]].concat();
    succeeds(at, &begun("run"));
    let with = |more: &[&'static str]| [&["train", "--resume", "--out", "run"], more].concat();

    let said = succeeds(at, &with(&[]));
    assert!(said.contains("(13 pictures)") && said.contains("4 steps"), "{said}");
    let said = succeeds(at, &[&begun("run")[..], &["--resume"]].concat());
    assert!(said.contains("(13 pictures)"), "{said}");
    std::fs::create_dir(at.join("elsewhere")).unwrap();
    succeeds(&at.join("elsewhere"), &["train", "--resume", "--steps", "5", "--out", "../run"]);

    for (argument, value, message) in [
        ("--batch", "4", "--batch: expected 8, as the run began, found 4"),
        ("--seed", "2", "--seed: expected 1, as the run began, found 2"),
        ("--lr", "0.1", "--lr: expected 0.001, as the run began, found 0.1"),
        ("--warmup", "9", "--warmup: expected 0, as the run began, found 9"),
        ("--clip", "0", "--clip: expected 1, as the run began, found 0"),
        ("--ema", "0.9", "--ema: expected 0.999, as the run began, found 0.9"),
        ("--ema-warmup", "false", "--ema-warmup: expected true, as the run began, found false"),
        ("--loss", "vlb", "--loss: expected simple, as the run began, found vlb"),
        ("--times", "importance", "--times: expected uniform, as the run began, found importance"),
        ("--widths", "8,8", "--widths: expected 8,16, as the run began, found 8,8"),
        ("--layers", "2", "--layers: expected 1, as the run began, found 2"),
        ("--groups", "8", "--groups: expected 4, as the run began, found 8"),
        ("--dropout", "0.1", "--dropout: expected 0, as the run began, found 0.1"),
        ("--T", "50", "--T: expected 40, as the run began, found 50"),
        ("--schedule", "cosine", "--schedule: expected linear, as the run began, found cosine"),
        ("--predict", "x0", "--predict: expected eps, as the run began, found x0"),
        ("--variance", "learned", "--variance: expected beta, as the run began, found learned"),
        ("--size", "16", "--size: expected 8, as the run began, found 16"),
        ("--holdout", "4", "--holdout: expected 5, as the run began, found 4"),
    ] {
        fails(at, &with(&[argument, value]), message);
    }
    fails(at, &with(&["--cooldown", "9"]), "--cooldown: expected at most 5 steps, found 9");

    // other pictures under the same name; the same ones elsewhere
    std::fs::rename(at.join("pictures"), at.join("moved")).unwrap();
    fails(at, &with(&[]), "pictures");
    fails(at, &with(&["--data", "moved"]), "--size: expected 8, as the run began, found 32");
    let moved = ["--data", "moved", "--size", "8", "--holdout", "5", "--no-flip"];
    succeeds(at, &with(&moved));
    std::fs::remove_file(at.join("moved/00.png")).unwrap();
    fails(at, &with(&moved), "--data: expected what the run began with, 13 pictures with fingerprint");
}

/// A living run keeps others out of its folder and says who it is; when it is gone, so is the lock.
#[test]
fn a_second_run_in_the_same_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let train = [&pictures(at)[..], &["--steps", "100000000", "--out", "run"]].concat();
    let mut living = living(at, &train);
    fails(at, &train, &format!("found process {}", living.id()));
    living.kill().unwrap();
    living.wait().unwrap();
    let train = [&train[..train.len() - 4], &["--steps", "1", "--out", "run"]].concat();
    succeeds(at, &train);
}

/// Starts a training and waits until it is at work.
fn living(dir: &Path, arguments: &[&str]) -> std::process::Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddpm"));
    let child = command.current_dir(dir).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("parameters"), "{line}");
    child
}

/// A checkpoint that the first edition wrote goes on to the bits that the first edition went on to; what it does not
/// remember is said.
#[test]
fn a_checkpoint_of_the_first_edition_goes_on_to_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    std::fs::create_dir_all(at.join("pictures")).unwrap();
    for n in 0..4u32 {
        let picture =
            image::RgbImage::from_fn(9, 8, |x, y| image::Rgb([20 * x, 25 * y, 60 * n].map(|v| v as u8)));
        picture.save(at.join(format!("pictures/{n}.png"))).unwrap();
    }
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/first_edition");
    std::fs::create_dir(at.join("run")).unwrap();
    std::fs::copy(shipped.join("step_4.safetensors"), at.join("run/checkpoint.safetensors")).unwrap();
    let resume = "train --resume --data pictures --holdout 4 --no-flip --steps 8 --out run";
    let output = ddpm(at, &resume.split(' ').collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("run/checkpoint.safetensors: does not say which pictures it was trained on; it goes on with pictures, training, every 4th held out, not mirrored"), "{said}");

    let read = |path: &Path| ddpm::checkpoint::read(path).unwrap().tensors;
    let got = read(&at.join("run/model").join(ddpm::checkpoint::WEIGHTS));
    let want = read(&shipped.join("average_of_step_8.safetensors"));
    // the portable kernels round differently
    use ddpm::matmul::simd::Simd;
    let bound = if Simd::detect().unwrap() == Simd::Portable { 1e-5 } else { 0.0 };
    assert!(got.keys().eq(want.keys()));
    for (key, want) in &want {
        let worst = got[key].iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= bound, "{key}: off by {worst}");
    }
}
