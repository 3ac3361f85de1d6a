//! Everything that reads what may be damaged, from bytes: what fuzzing feeds, and what `tests/corpus.rs` replays. A reader may
//! refuse; it must neither panic nor ask for memory that the bytes don't justify.

use ddpm::autoencoder::AutoencoderConfig;
use ddpm::checkpoint::{self, About, reverse_from_json};
use ddpm::data::{FolderOptions, Series, Split, fashion_mnist, load_folder};
use ddpm::diffusion::Pairing;
use ddpm::quality::Classifier;
use ddpm::train::{Trainer, read_log};
use ddpm::unet::UnetConfig;
use ddpm::variational::Variational;
use std::path::{Path, PathBuf};

/// A reader by the name of its corpus.
pub(crate) type Reader = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const READERS: [Reader; 9] = [
    ("safetensors", safetensors),
    ("checkpoint", training_checkpoint),
    ("configuration", configuration),
    ("network", network),
    ("idx", idx),
    ("picture", picture),
    ("series", series),
    ("log", log),
    ("pairs", pairs),
];

/// What the reader of that name makes of the bytes.
#[track_caller]
pub(crate) fn read(name: &str, bytes: &[u8]) {
    let (_, reader) = READERS.iter().find(|(known, _)| *known == name).expect("a reader of that name");
    reader(bytes);
}

/// A folder of this process, in memory where the system has such a place.
fn folder() -> PathBuf {
    let shared = Path::new("/dev/shm");
    let place = if shared.is_dir() { shared.to_path_buf() } else { std::env::temp_dir() };
    let folder = place.join(format!("ddpm-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// The bytes as a file of that name, for what reads paths.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, bytes).expect("a file");
    path
}

fn safetensors(bytes: &[u8]) {
    if let Ok(file) = checkpoint::parse(bytes) {
        assert!(file.tensors.values().all(|tensor| tensor.len() <= bytes.len()));
    }
    let _ = Classifier::parse(bytes);
    let _ = Variational::parse(bytes);
}

fn training_checkpoint(bytes: &[u8]) {
    let _ = Trainer::load(&file("checkpoint.safetensors", bytes));
}

/// One of the JSON files, each of which every reader gets.
fn configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let unet = UnetConfig::from_json(&text);
    let _ = AutoencoderConfig::from_json(&text);
    let _ = reverse_from_json(&text);
    if let Ok(config) = unet {
        let _ = About::parse(&text, &config);
        // what was read is what is written
        assert_eq!(UnetConfig::from_json(&config.to_json()).expect("our own JSON"), config);
    }
}

/// config.json, scheduler_config.json and weights, with zeros between them.
fn network(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |&byte| byte == 0);
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (config, scheduler) = (text(), text());
    let weights = parts.next().unwrap_or_default();
    let _ = checkpoint::parse_pretrained(&config, Some(&scheduler), weights);
    let _ = checkpoint::parse_autoencoder(&config, weights);
}

/// Images and labels, each of these bytes.
fn idx(bytes: &[u8]) {
    file("t10k-labels-idx1-ubyte", bytes);
    file("t10k-images-idx3-ubyte", bytes);
    let _ = fashion_mnist(Some(&folder()), Split::Test);
}

/// A folder of one picture, cut in two ways.
fn picture(bytes: &[u8]) {
    let path = file("pictures", b"");
    let _ = std::fs::remove_file(&path);
    std::fs::create_dir_all(&path).expect("a folder");
    std::fs::write(path.join("one.png"), bytes).expect("a file");
    for options in [FolderOptions::new(8), FolderOptions::whole(8)] {
        let _ = load_folder(&path, &options);
    }
    let _ = std::fs::remove_dir_all(&path);
}

fn series(bytes: &[u8]) {
    if let Ok(series) = Series::parse(bytes, "series.csv") {
        assert!(series.values.len() <= bytes.len());
    }
}

fn log(bytes: &[u8]) {
    let _ = read_log(Path::new("loss.csv"), bytes);
}

/// Values of options that have a grammar.
fn pairs(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(pairing) = text.parse::<Pairing>() {
        assert_eq!(pairing.to_string().parse::<Pairing>().expect("our own words"), pairing);
    }
}
