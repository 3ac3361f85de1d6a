//! What fuzzing has found worth keeping, read once more: a corpus for each reader in `tests/fuzz/corpus`.
#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "fuzz/readers.rs"]
mod readers;

use std::path::Path;

#[test]
fn no_reader_panics_at_what_fuzzing_has_found() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (name, _) in readers::READERS {
        let files: Vec<_> = std::fs::read_dir(corpus.join(name)).unwrap().collect();
        assert!(files.len() > 5, "{name} has {} files", files.len());
        for file in files {
            readers::read(name, &std::fs::read(file.unwrap().path()).unwrap());
        }
    }
}
