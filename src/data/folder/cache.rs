//! Pictures that took long to decode, kept as they came out.
//!
//! A file each, under a name made of the picture's path, size and time of change and of what was asked for. What can't be
//! read, is damaged or belongs to another picture is as if it were not there, and what can't be written is not kept.

use crate::files::write_atomically;
use ndarray::Array3;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Entries that nobody has asked for in so long are removed.
const UNUSED: Duration = Duration::from_secs(60 * 24 * 3600);
const KEY: &str = "picture";
const CHECKSUM: &str = "crc32";

pub(super) struct Cache(PathBuf);

impl Cache {
    /// The cache in a folder, without what is old.
    pub(super) fn open(folder: &Path) -> Cache {
        let old =
            |file: &Metadata| file.modified().is_ok_and(|time| time.elapsed().is_ok_and(|age| age > UNUSED));
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.metadata().is_ok_and(|file| file.is_file() && old(&file)) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Cache(folder.to_path_buf())
    }

    /// What a picture is known by; `asked` is what was asked for.
    pub(super) fn key(path: &Path, file: &Metadata, asked: &str) -> Option<String> {
        let time = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let path = path.canonicalize().ok()?;
        Some(format!("1 {asked} {} {} {}", file.len(), time.as_nanos(), path.display()))
    }

    fn path(&self, key: &str) -> PathBuf {
        self.0.join(format!("{:08x}.safetensors", crc32fast::hash(key.as_bytes())))
    }

    /// The scales of a picture.
    pub(super) fn get(&self, key: &str) -> Option<Vec<Array3<u8>>> {
        let path = self.path(key);
        let bytes = std::fs::read(&path).ok()?;
        let (_, header) = SafeTensors::read_metadata(&bytes).ok()?;
        let metadata = header.metadata().as_ref()?;
        let file = SafeTensors::deserialize(&bytes).ok()?;
        let mut scales = Vec::new();
        while let Ok(view) = file.tensor(&scales.len().to_string()) {
            let &[h, w, c] = view.shape() else { return None };
            scales.push(Array3::from_shape_vec((h, w, c), view.data().to_vec()).ok()?);
        }
        if metadata.get(KEY)? != key || *metadata.get(CHECKSUM)? != checksum(&scales) {
            return None;
        }
        let used = File::options().write(true).open(&path);
        let _ = used.and_then(|file| file.set_modified(SystemTime::now()));
        Some(scales)
    }

    /// Keeps the scales of a picture, if it can.
    pub(super) fn put(&self, key: &str, scales: &[Array3<u8>]) {
        let view = |scale: &Array3<u8>| {
            let data = scale.as_slice().expect("a picture is contiguous").to_vec();
            (scale.shape().to_vec(), data)
        };
        let encoded: Vec<_> = scales.iter().map(view).collect();
        let views = encoded.iter().enumerate().filter_map(|(i, (shape, data))| {
            Some((i.to_string(), TensorView::new(Dtype::U8, shape.clone(), data).ok()?))
        });
        let metadata = [(KEY, key.to_string()), (CHECKSUM, checksum(scales))];
        let metadata: HashMap<String, String> = metadata.map(|(key, value)| (key.into(), value)).into();
        if let Ok(bytes) = safetensors::serialize(views, Some(metadata))
            && std::fs::create_dir_all(&self.0).is_ok()
        {
            let _ = write_atomically(&self.path(key), &bytes);
        }
    }
}

fn checksum(scales: &[Array3<u8>]) -> String {
    let mut crc = crc32fast::Hasher::new();
    for scale in scales {
        crc.update(format!("{:?}", scale.dim()).as_bytes());
        crc.update(scale.as_slice().expect("a picture is contiguous"));
    }
    format!("{:08x}", crc.finalize())
}
