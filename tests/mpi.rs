//! Several processes as one, under `mpirun`: the same bytes, and an end for all if one of them dies.
#![cfg(all(feature = "cli", feature = "mpi"))]
#![allow(clippy::unwrap_used, clippy::print_stderr)] // a test fails by panicking, and says when it is skipped

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const DDPM: &str = env!("CARGO_BIN_EXE_ddpm");

/// `mpirun`, which also works for root, on a machine with fewer cores than ranks, and where there is no network.
fn mpirun(dir: &Path) -> Option<Command> {
    let found =
        Command::new("mpirun").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    if !found {
        eprintln!("skipped: there is no mpirun here");
        return None;
    }
    let mut command = Command::new("mpirun");
    command.current_dir(dir).env("OMPI_MCA_rmaps_base_oversubscribe", "1").env("RAYON_NUM_THREADS", "1");
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    Some(command)
}

fn on(mut mpirun: Command, ranks: usize, arguments: &[&str]) -> Output {
    mpirun.args(["-n", &ranks.to_string(), DDPM]).args(arguments).output().unwrap()
}

#[track_caller]
fn good(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn training(out: &str) -> Vec<&str> {
    let small = "train --size 28 --widths 8,16 --groups 4 --batch 64 --T 40 --log-every 2 --warmup 0 --times importance --loss vlb --out";
    small.split(' ').chain([out]).collect()
}

/// A loss log without the column that is time.
fn rows(path: &Path) -> Vec<String> {
    let log = std::fs::read_to_string(path).unwrap();
    log.lines().map(|line| line.rsplit_once(',').unwrap().0.to_string()).collect()
}

/// Checkpoint, model and log of a run.
fn files(run: &Path) -> (Vec<u8>, Vec<u8>, Vec<String>) {
    let read = |name: &str| std::fs::read(run.join(name)).unwrap();
    let model = read("model/diffusion_pytorch_model.safetensors");
    (read("checkpoint.safetensors"), model, rows(&run.join("loss.csv")))
}

/// 1, 2, 4 and 8 ranks; and a run that is begun by four, continued by one and ended by two.
#[test]
fn any_number_of_ranks_writes_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    for ranks in [1, 2, 4, 8] {
        let Some(mpirun) = mpirun(dir.path()) else { return };
        let out = format!("on{ranks}");
        good(&on(mpirun, ranks, &[&training(&out)[..], &["--steps", "6"]].concat()));
    }
    for (ranks, steps) in [(4, "2"), (1, "4"), (2, "6")] {
        let resume: &[&str] = if ranks == 4 { &[] } else { &["--resume"] };
        let mpirun = mpirun(dir.path()).unwrap();
        good(&on(mpirun, ranks, &[&training("handed")[..], &["--steps", steps], resume].concat()));
    }
    let alone = files(&dir.path().join("on1"));
    for other in ["on2", "on4", "on8"] {
        assert!(files(&dir.path().join(other)) == alone, "{other}");
    }
    // the record holds how far the run was to go at first
    let (_, model, log) = files(&dir.path().join("handed"));
    assert!(model == alone.1 && log == alone.2);
}

#[test]
fn samples_bounds_and_imputations_are_those_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let work: [(&[&str], &str); 3] = [
        (&["sample", "--n", "5", "--ddim", "3", "--out", "x.png"], "x.png"),
        (&["elbo", "--images", "3", "--times", "4", "--out", "elbo"], "elbo/elbo.json"),
        (&["impute", "--image", "0", "--n", "3", "--steps", "3", "--out", "y.png"], "y.png"),
    ];
    for (arguments, file) in work {
        let mut written = Vec::new();
        for ranks in [1, 2, 4] {
            let Some(mpirun) = mpirun(dir.path()) else { return };
            good(&on(mpirun, ranks, arguments));
            written.push(std::fs::read(dir.path().join(file)).unwrap());
        }
        assert!(written.iter().all(|bytes| *bytes == written[0]), "{arguments:?}");
    }
}

/// Two programs in one job: `mpirun -n 1 A : -n 1 B`.
#[test]
fn who_does_something_else_is_named_by_all() {
    let dir = tempfile::tempdir().unwrap();
    for (other, message) in [
        (vec!["--seed", "2"], "expected options.seed: 1, as on rank 0, found options.seed: 2"),
        (vec!["--lr", "0.1"], "expected options.adam.lr: 0.001, as on rank 0, found options.adam.lr: 0.1"),
    ] {
        let Some(mut mpirun) = mpirun(dir.path()) else { return };
        let one: Vec<OsString> = training("run").into_iter().map(OsString::from).collect();
        mpirun.args(["-n", "1", DDPM]).args(&one).args([":", "-n", "1", DDPM]).args(&one).args(other);
        let output = mpirun.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        for rank in 0..2 {
            assert!(stderr.contains(&format!("rank {rank}: error: rank 1: {message}")), "{stderr}");
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn what_cannot_be_shared_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (ranks, arguments, message) in [
        (2, &["info"][..], "mpirun: expected train, sample, elbo or impute"),
        (3, &["sample", "--n", "1"], "ranks: expected 1, 2, 4, 8 or another power of two, found 3"),
        (2, &["sample", "--n", "1", "--model", "nowhere"], "nowhere"),
    ] {
        let Some(mpirun) = mpirun(dir.path()) else { return };
        let output = on(mpirun, ranks, arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(message), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

/// A rank is killed in the middle of a run: all end within seconds, and the last checkpoint is whole.
#[test]
#[cfg(target_os = "linux")]
fn a_rank_that_dies_ends_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut mpirun) = mpirun(dir.path()) else { return };
    let endless = [&training("run")[..], &["--steps", "1000000", "--checkpoint-every", "0.001"]].concat();
    let mut job = mpirun.args(["-n", "4", DDPM]).args(endless).stderr(Stdio::piped()).spawn().unwrap();
    let run = dir.path().join("run");
    let begun = Instant::now();
    while !run.join("checkpoint.safetensors").exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no checkpoint");
        std::thread::sleep(Duration::from_millis(50));
    }
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", job.id())).unwrap();
    let last = children.split_whitespace().last().unwrap();
    assert!(Command::new("kill").args(["-9", last]).status().unwrap().success());
    let killed = Instant::now();
    while job.try_wait().unwrap().is_none() {
        assert!(killed.elapsed() < Duration::from_secs(60), "the others go on");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!job.wait().unwrap().success());
    let resumed = [&training("run")[..], &["--resume", "--steps", "1"]].concat();
    good(&Command::new(DDPM).current_dir(dir.path()).args(resumed).output().unwrap());
}
