//! Reading the golden files.
#![allow(dead_code)] // each test file uses its own part

use ndarray::{Array4, ArrayD, IxDyn};
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};

/// One golden file.
pub struct Golden {
    bytes: Vec<u8>,
    pub path: PathBuf,
}

/// The folder of golden files: `DDPM_GOLDEN`, or the one in the repository.
pub fn folder() -> PathBuf {
    std::env::var_os("DDPM_GOLDEN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"), PathBuf::from)
}

/// The golden files whose names begin with `prefix`, sorted; at least one.
pub fn files(prefix: &str) -> Vec<Golden> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap_or_else(|e| panic!("{}: {e}", folder().display()))
        .map(|entry| entry.unwrap().path())
        .filter(|p| {
            let name = p.file_name().unwrap().to_string_lossy();
            name.starts_with(prefix) && name.ends_with(".safetensors")
        })
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no {prefix}*.safetensors in {}", folder().display());
    paths.into_iter().map(|path| Golden { bytes: std::fs::read(&path).unwrap(), path }).collect()
}

/// The golden file of this name.
pub fn file(name: &str) -> Golden {
    let path = folder().join(format!("{name}.safetensors"));
    Golden { bytes: std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())), path }
}

impl Golden {
    fn open(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.open().names().into_iter().map(String::from).collect();
        keys.sort();
        keys
    }

    pub fn has(&self, key: &str) -> bool {
        self.open().tensor(key).is_ok()
    }

    pub fn text(&self, key: &str) -> String {
        let (_, header) = SafeTensors::read_metadata(&self.bytes).unwrap();
        header.metadata().as_ref().unwrap()[key].clone()
    }

    pub fn json(&self, key: &str) -> serde_json::Value {
        serde_json::from_str(&self.text(key)).unwrap()
    }

    /// Any tensor as f64.
    pub fn f64(&self, key: &str) -> ArrayD<f64> {
        let file = self.open();
        let view = file.tensor(key).unwrap_or_else(|e| panic!("{}: {key}: {e}", self.path.display()));
        let data = view.data();
        let numbers = match view.dtype() {
            Dtype::F64 => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b) as f64).collect(),
            Dtype::I64 => data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
            Dtype::U8 => data.iter().map(|&b| b as f64).collect(),
            other => panic!("{key}: {other:?}"),
        };
        ArrayD::from_shape_vec(IxDyn(view.shape()), numbers).unwrap()
    }

    pub fn f32(&self, key: &str) -> ArrayD<f32> {
        self.f64(key).mapv(|x| x as f32)
    }

    /// A list of whole numbers.
    pub fn indices(&self, key: &str) -> Vec<usize> {
        self.f64(key).iter().map(|&x| x as usize).collect()
    }

    /// A batch of images, `[N, C, H, W]` in the file, `[N, H, W, C]` here.
    pub fn images(&self, key: &str) -> Array4<f64> {
        nhwc(self.f64(key))
    }
}

/// `[N, C, H, W]` → `[N, H, W, C]`.
pub fn nhwc<T: Clone>(x: ArrayD<T>) -> Array4<T> {
    x.into_dimensionality::<ndarray::Ix4>()
        .unwrap()
        .permuted_axes([0, 2, 3, 1])
        .as_standard_layout()
        .into_owned()
}

/// The largest difference, and the largest reference value.
pub fn max_error<'a>(
    got: impl IntoIterator<Item = f64>,
    want: impl IntoIterator<Item = &'a f64>,
) -> (f64, f64) {
    let (mut error, mut max) = (0.0f64, 0.0f64);
    let (mut got, mut want) = (got.into_iter(), want.into_iter());
    loop {
        match (got.next(), want.next()) {
            (Some(g), Some(w)) => {
                assert!(g.is_finite(), "{g}");
                error = error.max((g - w).abs());
                max = max.max(w.abs());
            }
            (None, None) => return (error, max),
            _ => panic!("different lengths"),
        }
    }
}

/// SplitMix64 in counter form, as the golden README defines it.
pub fn mix(seed: u64, i: u64) -> u64 {
    let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// `n` uniform numbers of the recipe.
pub fn uniform(seed: u64, n: usize) -> Vec<f64> {
    (0..n as u64).map(|i| (mix(seed, i) >> 11) as f64 * 2f64.powi(-53)).collect()
}

/// `n` normal numbers of the recipe (Box–Muller over consecutive uniforms).
pub fn normal(seed: u64, n: usize) -> Vec<f64> {
    let u = uniform(seed, n.next_multiple_of(2));
    let pairs = u.chunks(2).flat_map(|u| {
        let r = (-2.0 * (1.0 - u[0]).ln()).sqrt();
        let angle = 2.0 * std::f64::consts::PI * u[1];
        [r * angle.cos(), r * angle.sin()]
    });
    pairs.take(n).collect()
}

/// FNV-1a of a name, the seed of a named tensor (to be xor-ed with the public seed).
pub fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ b as u64).wrapping_mul(0x100_0000_01b3))
}
