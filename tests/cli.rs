//! The commands as a user runs them: exit codes, messages, files.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)] // a test fails by panicking

use ddpm::checkpoint::Shipped;
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
        "impute",
        "autoencode",
        "sharpen",
        "noise",
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
        for shipped in Shipped::all().filter(|_| help.contains("--model <DIR|NAME>")) {
            assert!(help.contains(shipped.name), "{command}: {}", shipped.name);
        }
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
    let whole = succeeds(at, &[&elbo[..], &["3", "--whole"]].concat());
    assert!(whole.starts_with("pictures, 3 images"), "{whole}");
    fails(at, &[&elbo[..], &["3", "--whole=0"]].concat(), "0 is not in 1..=100");
    let small = ["train", "--data", "pictures", "--size", "4", "--init", "first/model", "--out", "third"];
    fails(at, &small, "--data: expected images of 8x8x3, found images of 4x4x3 in pictures");
    let vlb = ["train", "--data", "pictures", "--size", "8", "--batch", "4", "--steps", "1", "--loss", "vlb"];
    let learned = ["--init", "first/model", "--variance", "learned_range", "--out", "learned"];
    succeeds(at, &[&vlb[..], &learned].concat());
    let scheduler = std::fs::read_to_string(at.join("learned/model/scheduler_config.json")).unwrap();
    assert!(scheduler.contains(r#""variance_type": "learned_range""#), "{scheduler}");
    let fixed = ["--init", "learned/model", "--variance", "beta", "--out", "fixed"];
    fails(at, &[&vlb[..], &fixed].concat(), "--variance: expected a learned one, as --init has, found beta");
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
    fails(at, &["bench", "--scaling", "x.tiff"], "x.tiff");
    fails(at, &["bench", "--link"], "--link: expected two ranks");
    fails(at, &["bench", "--link", "30"], "expected microseconds and GB/s, as in 30,1.2");
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
    for part in ["// ### Exercise 1.3 (code)", "todo!()", "fn log_pdf", "check::log_pdf(log_pdf)"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    std::fs::write(&file, "fn main() {}").unwrap();
    lab(dir.path(), &list);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "fn main() {}");
    let learn = |action: &str, name: &str| {
        lab(dir.path(), &["learn", action, name, "--dir", folder.to_str().unwrap()])
    };
    for _ in 0..2 {
        assert!(learn("reset", "log_pdf").status.success());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
    assert_eq!(std::fs::read_to_string(folder.join("01_log_pdf.1.old")).unwrap(), "fn main() {}");
    assert_eq!(std::fs::read_to_string(folder.join("01_log_pdf.2.old")).unwrap(), text);
    let solution = String::from_utf8(learn("solution", "log_pdf").stdout).unwrap();
    assert!(
        solution.starts_with("///") && solution.contains("fn log_pdf") && solution.ends_with("}\n"),
        "{solution}"
    );
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
        ("--whole", "90", "--whole: expected crops, as the run began, found 90"),
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
fn a_checkpoint_of_the_first_edition_goes_on_to_the_same_weights() {
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
    // Other draws would be off by 1e-3 and more. The bits were those of the first edition's engine until convolutions were
    // summed otherwise, by F(4, 3) and, where few channels come out, directly; the portable kernels round differently anyway.
    use ddpm::matmul::simd::Simd;
    let bound = if Simd::detect().unwrap() == Simd::Portable { 1e-5 } else { 1e-7 };
    assert!(got.keys().eq(want.keys()));
    for (key, want) in &want {
        let worst = got[key].iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= bound, "{key}: off by {worst}");
    }
}

/// Sub-folders are classes: a network learns them, is asked for one, and says what it does not know.
#[test]
fn classes_are_learned_and_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let arguments = pictures(at);
    let train = |more: &'static str| [arguments.clone(), more.split(' ').collect()].concat();
    fails(
        at,
        &train("--steps 1 --classes --out a"),
        "pictures: expected pictures in sub-folders alone, one for each class",
    );
    for n in 0..16 {
        let class = ["dark", "light"][n / 8];
        std::fs::create_dir_all(at.join("pictures").join(class)).unwrap();
        let name = format!("{n:02}.png");
        std::fs::rename(at.join("pictures").join(&name), at.join("pictures").join(class).join(&name))
            .unwrap();
    }
    succeeds(at, &train("--steps 2 --classes --pairing assigned --out run"));
    let about = std::fs::read_to_string(at.join("run/model/about.json")).unwrap();
    assert!(about.contains("\"dark\"") && about.contains("\"drop_label\": 0.1"), "{about}");
    let sample = |more: &'static str| {
        ["sample", "--model", "run", "--n", "2", "--ddim", "2"]
            .into_iter()
            .chain(more.split(' '))
            .collect::<Vec<_>>()
    };
    succeeds(at, &sample("--class dark,light --guidance 1 --out both.png"));
    succeeds(at, &sample("--class 1 --out one.png"));
    succeeds(at, &sample("--out any.png"));
    let open = |name: &str| image::open(at.join(name)).unwrap().into_rgb8();
    assert_eq!(open("one.png"), open("one.png"));
    fails(at, &sample("--class grey"), "--class: class: expected 0 dark, 1 light, found grey");
    fails(at, &sample("--guidance 1"), "--class <CLASS>");
    fails(at, &sample("--class dark --guidance=-2"), "--guidance");
    fails(
        at,
        &["sample", "--n", "1", "--class", "sneaker"],
        "--class: expected a network that knows classes, found one that knows none",
    );
    fails(
        at,
        &train("--steps 3 --resume --drop-label 0.5 --classes --out run"),
        "--drop-label: expected 0.1, as the run began",
    );
    succeeds(at, &train("--steps 3 --resume --out run"));
    // a network that never went without a class
    succeeds(at, &train("--steps 1 --classes --drop-label 0 --out always"));
    let asked =
        ["sample", "--model", "always", "--n", "1", "--ddim", "1", "--class", "dark", "--guidance", "1"];
    fails(at, &asked, "--guidance: expected 0 for a network trained without --drop-label");
}

/// A network that is shown known pixels fills in, and so does one that is not, by RePaint; what does not fit is named.
#[test]
fn what_is_missing_is_filled_in() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let arguments = pictures(at);
    let train = |more: &'static str| [arguments.clone(), more.split(' ').collect()].concat();
    succeeds(at, &train("--steps 1 --out plain"));
    succeeds(at, &train("--steps 1 --masks lower,random --out shown"));
    let shape = ["--widths", "8,16", "--groups", "4", "--T", "40"]; // those of --init
    let given: Vec<&str> = train("--steps 1 --init plain --masks centre --out both")
        .into_iter()
        .filter(|word| !shape.contains(word))
        .collect();
    succeeds(at, &given);
    let tile = image::RgbImage::from_fn(8, 8, |x, y| image::Rgb([30 * x as u8, 30 * y as u8, 99]));
    tile.save(at.join("tile.png")).unwrap();
    image::GrayImage::from_fn(8, 8, |x, _| image::Luma([if x < 4 { 255 } else { 0 }]))
        .save(at.join("mask.png"))
        .unwrap();
    image::GrayImage::new(8, 4).save(at.join("small.png")).unwrap();
    for model in ["plain", "shown", "both"] {
        let out = format!("{model}.png");
        let fill = [
            "impute",
            "--model",
            model,
            "--image",
            "tile.png",
            "--mask",
            "mask.png",
            "--n",
            "2",
            "--steps",
            "4",
            "--jump",
            "2",
            "--resample",
            "2",
            "--out",
            &out,
        ];
        succeeds(at, &fill);
        assert!(at.join(&out).exists());
    }
    let wrong = |more: &'static str| [vec!["impute", "--model", "shown"], more.split(' ').collect()].concat();
    fails(
        at,
        &wrong("--image tile.png --mask small.png"),
        "--mask: expected 8x8 pixels of 1 channels, found 4x8 of 1",
    );
    fails(at, &wrong("--image small.png"), "--image: expected 8x8 pixels of 3 channels, found 4x8 of 3");
    fails(at, &wrong("--image nowhere.png"), "nowhere.png");
    fails(at, &wrong("--image tile.png --steps 41"), "--steps: expected 1 to 40, found 41");
    fails(at, &wrong("--series nowhere.csv"), "--model: expected a network of series");
    fails(at, &wrong("--image tile.png --series x.csv"), "cannot be used with");
    fails(
        at,
        &train("--steps 1 --masks lower --predict v --out x"),
        "masks: expected loss simple, uniform times, a network that predicts eps",
    );
    fails(at, &train("--steps 1 --masks lower --variance learned --out x"), "in_channels");
}

/// A CSV file with gaps: trained on, filled in, drawn.
#[test]
fn a_series_is_trained_on_and_filled_in() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let row = |n: u32, gap: bool| {
        let (a, b) = (f64::from(n % 7), f64::from(n % 5) * 10.0);
        if gap && (10..14).contains(&n) {
            format!("{n:02} May,{a},\n")
        } else {
            format!("{n:02} May,{a},{b}\n")
        }
    };
    let file = |gap: bool| (0..40).map(|n| row(n, gap)).fold("day,a,b\n".to_string(), |all, row| all + &row);
    std::fs::write(at.join("whole.csv"), file(false)).unwrap();
    std::fs::write(at.join("gaps.csv"), file(true)).unwrap();
    let train: Vec<&str> = "train --series whole.csv --length 8 --masks random,forecast --widths 8 --groups 4 --T 20 --schedule csdi --batch 8 --steps 2 --out run".split(' ').collect();
    succeeds(at, &train);
    let fill = [
        "impute",
        "--model",
        "run",
        "--series",
        "gaps.csv",
        "--n",
        "4",
        "--out",
        "filled.csv",
        "--plot",
        "filled.svg",
    ];
    assert!(succeeds(at, &fill).contains("filled.csv: 4 gaps"));
    let filled = std::fs::read_to_string(at.join("filled.csv")).unwrap();
    let lines: Vec<&str> = filled.lines().collect();
    assert_eq!((lines.len(), lines[0]), (41, "time,a,a_q05,a_q95,b,b_q05,b_q95"));
    assert_eq!(lines[1], "00 May,0.0000,0.0000,0.0000,0.0000,0.0000,0.0000");
    assert!(lines[11].starts_with("10 May,3.0000,3.0000,3.0000,"), "{}", lines[11]);
    std::fs::write(at.join("other.csv"), "day,a,c\n1 May,1,2\n").unwrap();
    let other = ["impute", "--model", "run", "--series", "other.csv"];
    fails(at, &other, "--series: expected the columns a, b, found a, c");
    fails(
        at,
        &["impute", "--model", "run", "--image", "1"],
        "--model: expected a network of pictures, found one of series",
    );
    let long: Vec<&str> = train
        .iter()
        .map(|word| if *word == "run" { "long" } else { word })
        .chain(["--length", "64"])
        .collect();
    fails(at, &long, "cannot be used multiple times");
}

/// An autoencoder, a network of its latents, samples and the bound of both together.
#[test]
fn latents_are_trained_on_sampled_and_evaluated() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    pictures(at);
    let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
    succeeds(
        at,
        &words(
            "autoencode --data pictures --size 8 --widths 4,8 --groups 4 --latent 2 --batch 8 --steps 2 --out vae",
        ),
    );
    succeeds(at, &words("autoencode --resume --steps 3 --out vae"));
    succeeds(
        at,
        &words(
            "train --latents vae --data pictures --size 8 --widths 8 --groups 4 --batch 8 --T 20 --schedule cosine --steps 2 --out run",
        ),
    );
    assert!(at.join("run/model/vae/config.json").exists() && at.join("run/model/unet/config.json").exists());
    succeeds(at, &words("train --resume --steps 3 --out run"));
    succeeds(at, &words("sample --model run --n 2 --ddim 2 --out s.png"));
    assert_eq!(image::open(at.join("s.png")).unwrap().height() % 2, 0);
    let said = succeeds(at, &words("elbo --model run --data pictures --images 2 --times 3 --out e"));
    assert!(["-log p(x|z)", "log q(z|x)", "L_0 of z"].iter().all(|term| said.contains(term)), "{said}");
    succeeds(at, &words("interpolate --model run --data pictures --depths 2 --out i.png"));
    fails(
        at,
        &words("train --latents pictures --data pictures --out x"),
        "--latents: pictures: expected diffusion_pytorch_model.safetensors, found none",
    );
    // a decoder against a discriminator takes the place of the one that it was
    succeeds(at, &words("sharpen --init vae --data pictures --size 8 --batch 8 --steps 2 --out sharp"));
    succeeds(at, &words("sharpen --resume --steps 3 --out sharp"));
    let config = |dir: &str| std::fs::read_to_string(at.join(dir).join("config.json")).unwrap();
    assert_eq!(config("sharp/model"), config("vae/model"));
    fails(
        at,
        &words("sharpen --init vae --data pictures --out sharp"),
        "expected a folder without a checkpoint",
    );
    fails(
        at,
        &words("sharpen --init pictures --out x"),
        "--init: pictures: expected diffusion_pytorch_model",
    );
    fails(at, &words("sharpen --init vae --data pictures --size 7 --out x"), "multiples of 2, found 7x7x3");
    let before = image::open(at.join("s.png")).unwrap();
    std::fs::remove_dir_all(at.join("run/model/vae")).unwrap();
    std::fs::rename(at.join("sharp/model"), at.join("run/model/vae")).unwrap();
    succeeds(at, &words("sample --model run --n 2 --ddim 2 --out s.png"));
    assert_ne!(image::open(at.join("s.png")).unwrap(), before);

    // an autoencoder that doesn't fit its U-Net
    let config = std::fs::read_to_string(at.join("run/model/unet/config.json")).unwrap();
    assert!(config.contains("\"in_channels\": 2"), "{config}");
    succeeds(
        at,
        &words(
            "autoencode --data pictures --size 8 --widths 4,8 --groups 4 --latent 3 --batch 8 --steps 1 --out other",
        ),
    );
    std::fs::remove_dir_all(at.join("run/model/vae")).unwrap();
    std::fs::rename(at.join("other/model"), at.join("run/model/vae")).unwrap();
    fails(
        at,
        &words("sample --model run --n 1"),
        "'latent_channels': expected 2, as the U-Net beside it has, found 3",
    );
}

/// A network with its noise levels is trained, stopped and goes on.
#[test]
fn noise_levels_are_trained() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    pictures(at);
    let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
    for run in [
        "--path knots --out knots",
        "--path polynomial --per-pixel --out pixels",
        "--path monotone --out net",
        "--path linear --out line",
        "--path polynomial --per-pixel --context 3 --out context",
    ] {
        let all = [
            words("noise --data pictures --size 8 --widths 8,16 --groups 4 --batch 8 --T 5 --steps 2"),
            run.split(' ').collect(),
        ]
        .concat();
        succeeds(at, &all);
    }
    succeeds(at, &words("noise --resume --steps 3 --out knots"));
    succeeds(at, &words("noise --resume --steps 3 --out context"));
    assert!(at.join("pixels/model/variational.safetensors").exists());
    let bound = std::fs::read_to_string(at.join("context/bound.csv")).unwrap();
    assert!(bound.starts_with("image,reconstruction,diffusion,prior,context\n0,"), "{bound}");
    let gamma = std::fs::read_to_string(at.join("pixels/gamma.csv")).unwrap();
    assert_eq!((gamma.lines().count(), gamma.lines().next().unwrap().split(',').count()), (8 * 8 * 3, 3));
    fails(
        at,
        &words("noise --data pictures --size 8 --path linear --context 3 --out x"),
        "context: expected a path",
    );
    fails(
        at,
        &words("noise --steps 3 --out knots"),
        "--out: expected a folder without a checkpoint, or --resume",
    );
    fails(at, &words("noise --resume --path knots --out knots"), "cannot be used with");
}
