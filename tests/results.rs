//! The committed results: that they are the program's, that they add up, and that they show what RESULTS.md says.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)] // a test fails by panicking

use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn figures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("figures")
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(figures().join(name)).unwrap()).unwrap()
}

type Row = HashMap<String, String>;

fn table(name: &str) -> Vec<Row> {
    let rows: Result<Vec<Row>, _> =
        csv::Reader::from_path(figures().join(name)).unwrap().deserialize().collect();
    rows.unwrap()
}

#[track_caller]
fn number(row: &Row, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} of {row:?}"))
}

/// By how many standard errors a column of one row lies above that of another.
fn apart(above: &Row, below: &Row, column: &str, error: &str) -> f64 {
    (number(above, column) - number(below, column)) / number(above, error).hypot(number(below, error))
}

/// The rows of a data set and model in likelihood.csv.
fn bits(data: &str, model: &str) -> Row {
    let rows = table("likelihood.csv");
    let row = rows.iter().find(|r| r["data"] == data && r["model"] == model);
    row.unwrap_or_else(|| panic!("no row of {model} on {data}")).clone()
}

/// What is quick to draw is drawn again: the same pixels, up to what another CPU's rounding may change.
#[test]
fn the_committed_figures_are_the_programs() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_ddpm"))
        .args(["figures", "--only", "schedules,loss", "--out", out])
        .output()
        .unwrap()
        .status;
    assert!(status.success());
    for name in ["schedules.png", "loss.png"] {
        let open = |path: PathBuf| image::open(path).unwrap().into_rgb8();
        let (committed, drawn) = (open(figures().join(name)), open(dir.path().join(name)));
        assert_eq!(committed.dimensions(), drawn.dimensions(), "{name}");
        let difference: u64 =
            committed.iter().zip(drawn.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(difference < committed.len() as u64 / 100, "{name}: {difference}");
    }
}

#[test]
fn rate_and_distortion_add_up_to_the_bound() {
    let computed: Vec<Row> =
        table("likelihood.csv").into_iter().filter(|r| r["model"].starts_with("DDPM")).collect();
    assert_eq!(computed.len(), 8, "two networks, two splits, two variances");
    for row in computed.iter().chain(&table("ablation.csv")) {
        let sum = number(row, "rate") + number(row, "distortion");
        assert!((sum - number(row, "bits_per_dim")).abs() < 1e-9, "{row:?}");
    }
    for bound in json("elbo.json")["bounds"].as_array().unwrap() {
        let term = |name: &str| bound["bits_per_dim"][name]["mean"].as_f64().unwrap();
        assert!((term("L_T") + term("Σ L_t-1") + term("L_0") - term("L")).abs() < 1e-9);
        assert!((5e-6..3e-5).contains(&term("L_T")), "L_T = {}", term("L_T"));
    }
}

#[test]
fn the_garments_need_fewer_bits_than_a_codec_and_training_images_hardly_fewer() {
    for variance in ["DDPM, σ² = beta", "DDPM, σ² = beta_tilde"] {
        let [test, train] =
            ["Fashion-MNIST, test", "Fashion-MNIST, training"].map(|data| bits(data, variance));
        for codec in
            ["PNG, one file each", "PNG, one file for all", "WebP, one file each", "WebP, one file for all"]
        {
            let codec = number(&bits("Fashion-MNIST, test", codec), "bits_per_dim");
            assert!(number(&test, "bits_per_dim") < codec, "{test:?} and {codec}");
        }
        let gap = number(&test, "bits_per_dim") - number(&train, "bits_per_dim");
        let error = number(&test, "std_error").hypot(number(&train, "std_error"));
        assert!(gap.abs() < 3.0 * error, "{gap} ± {error}");
    }
}

#[test]
fn the_classifier_recognises_the_samples() {
    let quality = table("quality.csv");
    let [samples, test] = [&quality[20], &quality[21]].map(|row| number(row, "confidence"));
    assert!(samples > 0.9 * test, "{samples} and {test}");
    let classes = table("classes.csv");
    let counts: Vec<f64> = classes.iter().map(|row| number(row, "samples")).collect();
    assert_eq!((counts.len(), counts.iter().sum::<f64>()), (10, 1000.0));
    assert!(counts.iter().all(|&n| n > 30.0), "{counts:?}");
}

/// What is trained on for the bound has by far the better one (Table 1), and its samples are no worse by the classifier, but for its
/// confidence.
#[test]
fn training_for_the_bound_pays_in_bits() {
    let rows = table("tradeoff.csv");
    let [simple, vlb] = [&rows[0], &rows[1]];
    assert!(apart(simple, vlb, "bits_per_dim", "std_error") > 3.0, "{rows:?}");
    assert!(number(vlb, "bits_per_dim") < 3.2, "{rows:?}");
    assert!(apart(simple, vlb, "frechet", "frechet_error") > -2.0, "{rows:?}");
    assert!(apart(simple, vlb, "confidence", "confidence_error") > 2.0, "{rows:?}");
}

/// With ε, L_simple makes the best samples, L and L_hybrid better bounds, and a learned diagonal Σ neither (Table 2).
#[test]
fn the_ablation_says_what_the_paper_says_of_eps() {
    let rows = table("ablation.csv");
    let run = |name: &str| rows.iter().find(|row| row["run"] == name).unwrap();
    let [simple, fixed, hybrid, learned] = ["eps_simple", "eps_fixed", "eps_hybrid", "eps_learned"].map(run);
    for other in [fixed, hybrid, learned] {
        assert!(apart(other, simple, "frechet", "frechet_error") > 3.0, "{other:?}");
    }
    // the errors are those of images that all share: the differences themselves are surer than this
    assert!(apart(simple, fixed, "bits_per_dim", "std_error") > 2.0);
    assert!(apart(fixed, hybrid, "bits_per_dim", "std_error") > 2.0);
    assert!(apart(learned, simple, "bits_per_dim", "std_error") > 3.0);
}

/// Distortion falls and rate grows along the reverse process; samples get better (Figs. 5, 10).
#[test]
fn curves_go_the_right_way() {
    let curve: Vec<Row> =
        table("rate_distortion.csv").into_iter().filter(|r| r["variance"] == "beta").collect();
    assert_eq!(curve.len(), 1000);
    assert!(
        curve.windows(2).all(|w| number(&w[0], "rate_bits_per_dim") <= number(&w[1], "rate_bits_per_dim"))
    );
    let rmse = |i: usize| number(&curve[i], "rmse");
    assert!(rmse(0) > rmse(500) && rmse(500) > rmse(900) && rmse(900) > rmse(999));
    assert_eq!(table("table4.csv").len(), 10);

    let quality = table("quality.csv");
    assert_eq!(quality.len(), 22, "x̂_0 at 21 t, and test images");
    let frechet = |i: usize| number(&quality[i], "frechet");
    assert!(frechet(0) > 3.0 * frechet(20), "{} and {}", frechet(0), frechet(20));
}

#[test]
fn what_is_the_papers_is_marked() {
    let rows = table("likelihood.csv");
    let quoted: Vec<_> = rows.iter().filter(|r| r["source"].starts_with("quoted")).collect();
    assert!(quoted.len() == 9 && quoted.iter().all(|r| r["data"].starts_with("CIFAR10")), "{quoted:?}");
    assert!(rows.iter().all(|r| r["source"] == "computed" || r["data"].starts_with("CIFAR10")));
}
