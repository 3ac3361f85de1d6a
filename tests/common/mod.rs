//! What the golden tests share: reading the reference files, their layout, their random numbers.
//!
//! This is the border: golden files are `[N, C, H, W]` with t = 0..T, the crate is `[N, H, W, C]` with t = 1..=T.

#![allow(dead_code, unreachable_pub)] // each test file is a crate of its own and uses its part
#![allow(clippy::unwrap_used)] // a test fails by panicking

use ddpm::checkpoint;
use ddpm::params::Params;
use ddpm::rng::stream;
use ddpm::tensor::{Batch, Tensor4};
use ddpm::unet::{Unet, UnetConfig};
use ndarray::{Array2, Array3, Array4, ArrayD, Axis, Ix4};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    env,
    f64::consts::PI,
    fs,
    path::PathBuf,
};

/// The folder of the reference files: `DDPM_GOLDEN` if set, else `tests/golden`.
pub fn golden_dir() -> PathBuf {
    match env::var_os("DDPM_GOLDEN") {
        Some(dir) => dir.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden"),
    }
}

/// All files `<prefix>*.safetensors` of the folder, by name. Panics if there is none: a missing file is a failure.
pub fn golden_files(prefix: &str) -> Vec<Golden> {
    let dir = golden_dir();
    let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(prefix) && name.ends_with(".safetensors")
    });
    paths.sort();
    assert!(!paths.is_empty(), "{}: no {prefix}*.safetensors", dir.display());
    paths.into_iter().map(Golden::open).collect()
}

/// The file of this name, without its ending. Panics if there is none.
pub fn golden_file(name: &str) -> Golden {
    Golden::open(golden_dir().join(name).with_extension("safetensors"))
}

/// The networks `unet_*`, whatever else their names say: those whose metadata have a `recipe` for the weights, or those
/// that hold them.
pub fn golden_unets(by_recipe: bool) -> Vec<Golden> {
    let mut files = golden_files("unet_");
    files.retain(|file| file.metadata.contains_key("recipe") == by_recipe);
    assert!(!files.is_empty(), "{}: no unet_* with by_recipe = {by_recipe}", golden_dir().display());
    files
}

/// A reference file of the project's own, wherever `DDPM_GOLDEN` points: another folder need not have it.
pub fn own_golden(name: &str) -> Golden {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    Golden::open(folder.join(name).with_extension("safetensors"))
}

/// The β of a part of a file of trajectories: `<part>/betas` where it has them, else those of the long chain.
pub fn betas_of(file: &Golden, part: &str) -> Vec<f64> {
    let own = format!("{part}/betas");
    file.vec(if file.has(&own) { &own } else { "long/betas" })
}

/// One reference file.
pub struct Golden {
    pub path: PathBuf,
    bytes: Vec<u8>,
    metadata: HashMap<String, String>,
}

impl Golden {
    fn open(path: PathBuf) -> Self {
        let bytes = fs::read(&path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap_or_default();
        Self { path, bytes, metadata }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tensors().names().into_iter().map(String::from).collect();
        names.sort();
        names
    }

    /// The distinct parts before `suffix` of the names that end so: the configurations of a file.
    pub fn stems(&self, suffix: &str) -> Vec<String> {
        let names = self.names();
        let stems: Vec<_> = names.iter().filter_map(|n| n.strip_suffix(suffix)).map(String::from).collect();
        assert!(!stems.is_empty(), "{}: no tensor *{suffix}", self.path.display());
        stems
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors().tensor(name).is_ok()
    }

    /// A metadata entry.
    pub fn meta(&self, key: &str) -> &str {
        self.metadata.get(key).unwrap_or_else(|| panic!("{}: no metadata '{key}'", self.path.display()))
    }

    /// A metadata entry that holds JSON.
    pub fn meta_json(&self, key: &str) -> Value {
        serde_json::from_str(self.meta(key)).unwrap()
    }

    /// A tensor of any type of number, as f64.
    pub fn array(&self, name: &str) -> ArrayD<f64> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).unwrap_or_else(|e| panic!("{}: {name}: {e}", self.path.display()));
        let bytes = view.data();
        let values: Vec<f64> = match view.dtype() {
            Dtype::F64 => numbers(bytes, f64::from_le_bytes),
            Dtype::F32 => numbers(bytes, |b| f32::from_le_bytes(b) as f64),
            Dtype::I64 => numbers(bytes, |b| i64::from_le_bytes(b) as f64),
            Dtype::U8 => bytes.iter().map(|&b| b as f64).collect(),
            other => panic!("{}: {name}: dtype {other:?}", self.path.display()),
        };
        ArrayD::from_shape_vec(view.shape(), values).unwrap()
    }

    pub fn vec(&self, name: &str) -> Vec<f64> {
        self.array(name).into_raw_vec_and_offset().0
    }

    /// A tensor of whole numbers.
    pub fn indices(&self, name: &str) -> Vec<usize> {
        self.vec(name).into_iter().map(|i| i as usize).collect()
    }

    /// `[N, D]`
    pub fn matrix(&self, name: &str) -> Array2<f64> {
        self.array(name).into_dimensionality().unwrap()
    }

    /// `[N, D]` as N images of one row.
    pub fn rows(&self, name: &str) -> Batch {
        self.matrix(name).insert_axis(Axis(1)).insert_axis(Axis(3))
    }

    /// A tensor `[N, C, H, W]` as `[N, H, W, C]`.
    pub fn batch(&self, name: &str) -> Batch {
        nchw_to_nhwc(self.array(name))
    }

    /// A tensor `[K, N, C, H, W]` as K batches `[N, H, W, C]`.
    pub fn batches(&self, name: &str) -> Vec<Batch> {
        self.array(name).outer_iter().map(|batch| nchw_to_nhwc(batch.to_owned())).collect()
    }

    /// A tensor as the network has it, in f32 and in the layout of the file.
    pub fn array32(&self, name: &str) -> ArrayD<f32> {
        self.array(name).mapv(|v| v as f32)
    }

    /// As [`batch`](Golden::batch), in f32.
    pub fn batch32(&self, name: &str) -> Tensor4 {
        self.batch(name).mapv(|v| v as f32)
    }

    /// Tensors under a prefix, in f32 and in the layout of the file.
    pub fn under(&self, prefix: &str) -> BTreeMap<String, ArrayD<f32>> {
        let keys = self.names();
        let keys = keys.iter().filter_map(|k| Some((k.strip_prefix(prefix)?.to_string(), k)));
        keys.map(|(short, key)| (short, self.array32(key))).collect()
    }

    /// A model with the weights under a prefix: with all of them.
    pub fn fill<M: Params>(&self, mut model: M, prefix: &str) -> M {
        let mut weights = self.under(prefix);
        checkpoint::fill(&mut model, "", &mut weights).unwrap();
        checkpoint::nothing_left(&weights).unwrap();
        model
    }

    /// A U-Net of the file's configuration with the weights under a prefix.
    pub fn unet(&self, prefix: &str) -> Unet {
        let config = UnetConfig::from_json(self.meta("config")).unwrap();
        self.fill(Unet::new(&config, &mut stream(0, 0)), prefix)
    }

    /// At most so far from the reference, relative to its largest number.
    #[track_caller]
    pub fn assert_near<'a, T: Copy + Into<f64> + 'a>(
        &self,
        what: &str,
        got: impl IntoIterator<Item = &'a T>,
        want: impl IntoIterator<Item = &'a f64>,
        tolerance: f64,
    ) {
        let (error, max) = max_error(got, want);
        assert!(error <= tolerance * max, "{}: {what} is off by {error:e} of {max}", self.path.display());
    }

    /// The gradient of every parameter, by name: to 1e-4 of the tensor's largest number and 1e-6 of the largest of all.
    #[track_caller]
    pub fn assert_gradients(&self, grad: &impl Params) {
        let (name, want) = (self.path.display(), self.under("grad/"));
        let all = want.values().flat_map(|g| g.iter()).fold(0.0f64, |m, v| m.max(v.abs() as f64));
        assert_eq!(want.len(), grad.named().len(), "{name}: number of parameters");
        for (key, layout, got) in grad.tensors() {
            let got = checkpoint::to_pytorch(got, layout);
            let want = want[&key].mapv(f64::from);
            assert_eq!(got.shape(), want.shape(), "{name}: {key}");
            let (error, max) = max_error(&got, &want);
            assert!(
                error <= 1e-4 * max + 1e-6 * all,
                "{name}: gradient of {key} is off by {error:e} of {max:e}"
            );
        }
    }

    /// Grey levels 0..=255 `[N, C, H, W]` as pixels in [−1, 1] `[N, H, W, C]`.
    pub fn images(&self, name: &str) -> Batch {
        self.batch(name).mapv(|level| level / 127.5 - 1.0)
    }
}

fn numbers<const SIZE: usize>(bytes: &[u8], read: impl Fn([u8; SIZE]) -> f64) -> Vec<f64> {
    bytes.chunks_exact(SIZE).map(|chunk| read(chunk.try_into().unwrap())).collect()
}

/// `[N, C, H, W]` → `[N, H, W, C]`, contiguous.
pub fn nchw_to_nhwc(x: ArrayD<f64>) -> Array4<f64> {
    let x = x.into_dimensionality::<Ix4>().unwrap();
    x.permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned()
}

/// Image `n` of a batch.
pub fn image(batch: &Batch, n: usize) -> Array3<f64> {
    batch.index_axis(Axis(0), n).to_owned()
}

/// Panics unless |a − b| ≤ rel·|b| + abs for all pairs, and says which is the worst.
#[track_caller]
pub fn assert_close<'a>(
    name: &str,
    a: impl IntoIterator<Item = &'a f64>,
    b: impl IntoIterator<Item = &'a f64>,
    rel: f64,
    abs: f64,
) {
    let (a, b): (Vec<f64>, Vec<f64>) = (a.into_iter().copied().collect(), b.into_iter().copied().collect());
    assert_eq!(a.len(), b.len(), "{name}: numbers of values");
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        let allowed = rel * b.abs() + abs;
        assert!((a - b).abs() <= allowed, "{name}[{i}]: {a} instead of {b}: off by {:e}", (a - b).abs());
    }
}

/// [`assert_close`] for what is computed in f64 by other means: 1e-9, of the files' README.
#[track_caller]
pub fn near<'a>(name: &str, a: impl IntoIterator<Item = &'a f64>, b: impl IntoIterator<Item = &'a f64>) {
    assert_close(name, a, b, 1e-9, 1e-12);
}

/// The largest difference, and the largest reference value.
#[track_caller]
pub fn max_error<'a, T: Copy + Into<f64> + 'a>(
    got: impl IntoIterator<Item = &'a T>,
    want: impl IntoIterator<Item = &'a f64>,
) -> (f64, f64) {
    let got: Vec<f64> = got.into_iter().map(|&g| g.into()).collect();
    let want: Vec<&f64> = want.into_iter().collect();
    assert_eq!(got.len(), want.len(), "numbers of values");
    assert!(got.iter().all(|v| v.is_finite()), "not finite");
    let error = got.iter().zip(&want).map(|(g, w)| (g - **w).abs()).fold(0.0, f64::max);
    (error, want.iter().map(|w| w.abs()).fold(0.0, f64::max))
}

/// A text as its words with `#` for each number, and the numbers.
pub fn numbers_of(text: &str) -> (String, Vec<f64>) {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let digit = |c: char| c.is_ascii_digit() || c == '.';
    let numbers = text.split(|c| !digit(c)).filter_map(|number| number.parse().ok()).collect();
    let mut words = text.replace(digit, "#");
    while words.contains("##") {
        words = words.replace("##", "#");
    }
    (words, numbers)
}

/// Output `i` of SplitMix64 in counter form.
pub fn splitmix64(seed: u64, i: u64) -> u64 {
    let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// FNV-1a, 64 bits.
pub fn fnv1a64(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ byte as u64).wrapping_mul(0x0100_0000_01B3))
}

/// n recipe numbers, uniform on [0, 1).
pub fn recipe_uniform(seed: u64, n: usize) -> Vec<f64> {
    (0..n as u64).map(|i| (splitmix64(seed, i) >> 11) as f64 * 2f64.powi(-53)).collect()
}

/// Keys and shapes of a network by recipe: the file `<name>_keys.json` beside it.
pub fn recipe_shapes(golden: &Golden) -> BTreeMap<String, Vec<usize>> {
    let name = golden.path.file_stem().unwrap().to_string_lossy();
    let keys = fs::read_to_string(golden.path.with_file_name(format!("{name}_keys.json"))).unwrap();
    let keys: Value = serde_json::from_str(&keys).unwrap();
    serde_json::from_value(keys["tensors"].clone()).unwrap()
}

/// Its weights; the metadata say what stands before a key in the name that is hashed.
pub fn recipe_weights(golden: &Golden) -> BTreeMap<String, ArrayD<f32>> {
    let seed: u64 = golden.meta("seed").parse().unwrap();
    let (_, prefix) = golden.meta("recipe").split_once("the name hashed is '").unwrap();
    let (prefix, _) = prefix.split_once('\'').unwrap();
    let tensor = |(key, shape): (&String, &Vec<usize>)| {
        let u = recipe_uniform(fnv1a64(&format!("{prefix}{key}")) ^ seed, shape.iter().product());
        let fan_in: usize = shape[1..].iter().product();
        let scale = |u: f64| {
            let v = 2.0 * u - 1.0;
            match shape.len() {
                1 if key.ends_with(".bias") => 0.1 * v,
                1 => 1.0 + 0.2 * v,
                _ => v * (3.0 / fan_in as f64).sqrt(),
            }
        };
        let numbers = u.into_iter().map(|u| scale(u) as f32).collect();
        (key.clone(), ArrayD::from_shape_vec(shape.clone(), numbers).unwrap())
    };
    recipe_shapes(golden).iter().map(tensor).collect()
}

/// n recipe numbers from N(0, 1): Box–Muller over pairs of uniforms.
pub fn recipe_normal(seed: u64, n: usize) -> Vec<f64> {
    let uniform = recipe_uniform(seed, n.next_multiple_of(2));
    let pairs = uniform.chunks_exact(2).flat_map(|u| {
        let (r, angle) = ((-2.0 * (-u[0]).ln_1p()).sqrt(), 2.0 * PI * u[1]);
        [r * angle.cos(), r * angle.sin()]
    });
    pairs.take(n).collect()
}

/// The recipe tensor of a name, N(0, 1): the file's seed and the name make the stream.
pub fn recipe_tensor(name: &str, seed: u64, shape: &[usize]) -> ArrayD<f64> {
    let n = shape.iter().product();
    ArrayD::from_shape_vec(shape, recipe_normal(fnv1a64(name) ^ seed, n)).unwrap()
}
