use super::*;
use crate::Error;
use crate::diffusion::{Reverse, Schedule};
use crate::error::Fault;
use crate::files::write_atomically;
use crate::nn::Linear;
use crate::nn::gradient_check::shaken;
use crate::params::{Layout, Params};
use crate::rng::stream;
use crate::unet::{Unet, UnetConfig};
use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn, array};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn reverse() -> Reverse {
    Reverse::new(Schedule::cosine(50))
}

fn unet() -> Unet {
    shaken(Unet::new(&UnetConfig::paper(8, 1, &[4, 8], 1, 2), &mut stream(1, 0)), 0.1)
}

/// A safetensors file of one tensor `a` with the given bytes.
fn one(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Vec<u8> {
    safetensors::serialize([("a", TensorView::new(dtype, shape.to_vec(), bytes).unwrap())], None).unwrap()
}

fn parse_one(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let size = bytes.len() * 8 / dtype.bitsize();
    let file = parse(&one(dtype, &[size], bytes)).unwrap();
    file.tensors["a"].iter().copied().collect()
}

/// A file of several tensors and a remark, as bytes.
fn several() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("several");
    let mut file = Tensors::default();
    file.metadata.insert("remark".into(), "two lines\nand \"quotes\"".into());
    file.tensors.insert("a.weight".into(), array![[1.0, 2.0, 3.0]].into_dyn());
    file.tensors.insert("b".into(), array![-0.5].into_dyn());
    file.tensors.insert("empty".into(), ArrayD::zeros(IxDyn(&[0, 4])));
    write(&path, &file, Precision::F32).unwrap();
    std::fs::read(path).unwrap()
}

fn bits(model: &Unet) -> Vec<u32> {
    model.slices().concat().iter().map(|w| w.to_bits()).collect()
}

#[test]
fn f32_survives_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("numbers");
    let numbers = [0.0, -0.0, 1e-45, -1e-40, f32::MIN_POSITIVE, 0.1, f32::MAX, f32::MIN, -1.5];
    let mut file = Tensors::default();
    file.tensors.insert("a".into(), ArrayD::from_shape_vec(vec![3, 3], numbers.to_vec()).unwrap());
    file.metadata.insert("key".into(), "value".into());
    write(&path, &file, Precision::F32).unwrap();
    let back = read(&path).unwrap();
    assert_eq!(back.metadata, file.metadata);
    assert_eq!(back.tensors["a"].shape(), [3, 3]);
    assert!(back.tensors["a"].iter().zip(numbers).all(|(a, b)| a.to_bits() == b.to_bits()));
}

#[test]
fn bf16_rounds_to_nearest_and_ties_to_even() {
    let ulp = 2f32.powi(-7); // of 1, with seven bits of fraction
    for (x, want) in [
        (1.0, 1.0),
        (1.0 + 0.49 * ulp, 1.0),
        (1.0 + 0.51 * ulp, 1.0 + ulp),
        (1.0 + 0.5 * ulp, 1.0),
        (1.0 + 1.5 * ulp, 1.0 + 2.0 * ulp),
        (-1.0 - 1.5 * ulp, -1.0 - 2.0 * ulp),
        (2.0 - 0.25 * ulp, 2.0),
        (f32::MAX, f32::INFINITY),
        (f32::NEG_INFINITY, f32::NEG_INFINITY),
        (1e-45, 0.0),
    ] {
        assert_eq!(parse_one(Dtype::BF16, &bf16::from_f32(x).to_le_bytes()), [want], "{x}");
    }
    // a NaN whose payload lies in the lower half must not become ∞
    for nan in [f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff)] {
        assert!(parse_one(Dtype::BF16, &bf16::from_f32(nan).to_le_bytes())[0].is_nan());
    }
}

#[test]
fn half_and_double_precision_are_read() {
    for (half, want) in [
        (0x3c00u16, 1.0f32),
        (0xc000, -2.0),
        (0x3555, 0.333_251_95),
        (0x0001, 2f32.powi(-24)),
        (0x03ff, 1023.0 * 2f32.powi(-24)),
        (0x0400, 2f32.powi(-14)),
        (0x7bff, 65504.0),
        (0x7c00, f32::INFINITY),
        (0xfc00, f32::NEG_INFINITY),
        (0x8000, -0.0),
    ] {
        assert_eq!(parse_one(Dtype::F16, &half.to_le_bytes())[0].to_bits(), want.to_bits(), "{half:#x}");
    }
    assert!(parse_one(Dtype::F16, &0x7e00u16.to_le_bytes())[0].is_nan());
    assert_eq!(parse_one(Dtype::F64, &0.1f64.to_le_bytes()), [0.1f32]);
}

#[test]
fn other_dtypes_are_refused() {
    let error = parse(&one(Dtype::I64, &[1], &[0; 8])).unwrap_err();
    assert_eq!(error.to_string(), "'a': expected dtype F32, BF16, F16 or F64, found I64");
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let bytes = several();
    parse(&bytes).unwrap();
    for end in 0..bytes.len() {
        let error = parse(&bytes[..end]).unwrap_err().to_string();
        assert!(error.starts_with("expected a whole safetensors file, found "), "{end} bytes: {error}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(parse(&longer).is_err(), "a byte too many");
}

/// Every bit of length and header, and whole bytes: an error or another file, but never a panic.
#[test]
fn a_damaged_header_never_panics() {
    let bytes = several();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for at in 0..header {
        for mask in [1, 2, 4, 8, 16, 32, 64, 128, 255, bytes[at], bytes[at] ^ b'9', bytes[at] ^ b'"'] {
            let mut damaged = bytes.clone();
            damaged[at] ^= mask;
            let result = catch_unwind(AssertUnwindSafe(|| parse(&damaged).map(|_| ())));
            assert!(result.is_ok(), "byte {at} with mask {mask}");
        }
    }
}

#[test]
fn a_folder_is_written_and_read_back() {
    let (unet, dir) = (unet(), tempfile::tempdir().unwrap());
    let folder = dir.path().join("new/model");
    save_pretrained(&unet, &reverse(), &folder, Precision::F32).unwrap();
    let back = load_pretrained(&folder).unwrap();
    assert_eq!((bits(&back.unet), &back.unet.config), (bits(&unet), &unet.config));
    assert_eq!(back.reverse, reverse());
    assert_eq!(read(&folder.join(WEIGHTS)).unwrap().metadata["format"], "pt");

    let config = std::fs::read_to_string(folder.join(CONFIG)).unwrap();
    let weights = std::fs::read(folder.join(WEIGHTS)).unwrap();
    assert_eq!(bits(&parse_pretrained(&config, None, &weights).unwrap().unet), bits(&unet));
    let error = parse_pretrained(&config, None, &weights[..100]).unwrap_err().to_string();
    assert!(error.starts_with("diffusion_pytorch_model.safetensors: expected a whole"), "{error}");

    save_pretrained(&unet, &reverse(), &folder, Precision::Bf16).unwrap();
    let rounded = load_pretrained(&folder).unwrap().unet;
    for (w, r) in unet.slices().concat().into_iter().zip(rounded.slices().concat()) {
        assert!((w - r).abs() <= w.abs() / 256.0, "{w} became {r}");
    }
}

#[test]
fn layouts_change_at_the_border() {
    let linear = Linear { weight: array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], bias: array![7.0, 8.0, 9.0] };
    let mut tensors = BTreeMap::new();
    add(&linear, "p.", &mut tensors);
    assert_eq!(tensors["p.weight"], array![[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]].into_dyn());
    assert_eq!(tensors["p.bias"], linear.bias.clone().into_dyn());
    let conv =
        ArrayD::from_shape_fn(vec![3, 4, 2, 5], |i| (1000 * i[0] + 100 * i[1] + 10 * i[2] + i[3]) as f32);
    let torch = to_pytorch(conv.view(), Layout::Conv);
    assert_eq!((torch.shape(), torch[[4, 1, 2, 3]]), (&[5, 2, 3, 4][..], 2314.0));
    assert_eq!(from_pytorch(torch.view(), Layout::Conv), conv);
}

/// A saved network whose tensors were changed, and what loading it says.
fn error_after(change: impl FnOnce(&mut BTreeMap<String, ArrayD<f32>>)) -> String {
    let dir = tempfile::tempdir().unwrap();
    save_pretrained(&unet(), &reverse(), dir.path(), Precision::F32).unwrap();
    let path = dir.path().join(WEIGHTS);
    let mut file = read(&path).unwrap();
    change(&mut file.tensors);
    write(&path, &file, Precision::F32).unwrap();
    let error = load_pretrained(dir.path()).unwrap_err().to_string();
    let prefix = format!("{}: ", path.display());
    error.strip_prefix(&prefix).unwrap_or_else(|| panic!("no path in: {error}")).to_string()
}

/// One byte changed, anywhere and to anything: no file of ours is then loaded with other numbers, nor with the same ones.
#[test]
fn every_changed_byte_is_noticed() {
    let bytes = several();
    parse(&bytes).unwrap();
    for at in 0..bytes.len() {
        let blank = |byte: u8| bytes[at] ^ byte;
        for mask in
            (0..8).map(|bit| 1 << bit).chain([0xff, blank(b' '), blank(b'\n'), blank(b'0'), blank(b'"')])
        {
            let mut damaged = bytes.clone();
            damaged[at] ^= mask;
            let noticed = mask == 0 || parse(&damaged).is_err();
            assert!(noticed, "byte {at}: {:#04x} became {:#04x}", bytes[at], damaged[at]);
        }
    }
}

/// Damage to a number, to a remark, and to either half of the checksum's own entry; no checksum is none to be wrong.
#[test]
fn what_damage_is_called() {
    let bytes = several();
    let changed = |from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|window| window == from).expect("it is there");
        let mut changed = bytes.clone();
        changed[at..at + to.len()].copy_from_slice(to);
        parse(&changed)
    };
    let says = |result: Result<Tensors, Fault>| match result.unwrap_err() {
        fault @ Fault::Damaged { .. } => fault.to_string(),
        other => panic!("{other}"),
    };
    let text = says(changed(&2f32.to_le_bytes(), &2.5f32.to_le_bytes()));
    assert!(text.starts_with("damaged: it says ddpm_checksum crc32:"), "{text}");
    assert!(text.contains(", its contents give ddpm_checksum crc32:"), "{text}");
    says(changed(b"quotes", b"Quotes"));
    says(changed(b"crc32:", b"crc33:"));
    assert!(says(changed(b"ddpm_checksum", b"ddpm_cHecksum")).contains("it says ddpm_cHecksum"));
    // as a tool writes it that does not know of checksums
    changed(b"\"ddpm_checksum\":\"crc32:", b"\"mmpd_checksum\":\"32crc:").unwrap();
}

/// The header's keys are in order, whatever order a map has them in.
#[test]
fn the_same_tensors_make_the_same_file() {
    assert!((0..20).all(|_| several() == several()));
}

#[test]
fn numbers_that_are_none_are_not_saved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w");
    std::fs::write(&path, "old").unwrap();
    for (x, precision, message) in [
        (f32::NAN, Precision::F32, "a finite number, found NaN"),
        (f32::INFINITY, Precision::Bf16, "a finite number, found inf"),
        (f32::NEG_INFINITY, Precision::F16, "a finite number, found -inf"),
        (65520.0, Precision::F16, "a number that f16 can hold, found 65520"),
        (f32::MAX, Precision::Bf16, &format!("a number that bf16 can hold, found {}", f32::MAX)),
    ] {
        let mut file = Tensors::default();
        file.tensors.insert("a.weight".into(), array![[0.0, 1.0], [x, 2.0]].into_dyn());
        let error = write(&path, &file, precision).unwrap_err().to_string();
        assert_eq!(error, format!("{}: 'a.weight' at [1, 0]: expected {message}", path.display()));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
    }
    let mut file = Tensors::default();
    file.tensors.insert("a".into(), array![65519.0, -65519.0].into_dyn()); // these round to ±65504
    write(&path, &file, Precision::F16).unwrap();
}

/// Files of others have no checksum, and may hold anything.
#[test]
fn numbers_that_are_none_are_not_loaded() {
    for (dtype, bytes, found) in [
        (Dtype::F32, &f32::NAN.to_le_bytes()[..], "NaN"),
        (Dtype::F16, &f16::NEG_INFINITY.to_le_bytes(), "-inf"),
        (Dtype::F64, &1e300f64.to_le_bytes(), "inf"),
    ] {
        let mut file = parse(&one(dtype, &[1, 1], bytes)).unwrap();
        let error = take(&mut file.tensors, "a", &[1, 1]).unwrap_err().to_string();
        assert_eq!(error, format!("'a' at [0, 0]: expected a finite number, found {found}"));
    }
}

#[test]
fn missing_unknown_and_misshapen_tensors() {
    let error = error_after(|tensors| drop(tensors.remove("conv_in.bias")));
    assert_eq!(error, "missing key 'conv_in.bias'");
    let error = error_after(|tensors| drop(tensors.insert("conv_in.scale".into(), array![1.0].into_dyn())));
    assert_eq!(error, "unknown key 'conv_in.scale'");
    let error = error_after(|tensors| drop(tensors.insert("conv_in.bias".into(), array![1.0].into_dyn())));
    assert_eq!(error, "'conv_in.bias': expected shape [4], found [1]");
    // PyTorch's layout in the message: [out, in, k, k]
    let wrong = ArrayD::zeros(vec![3, 3, 1, 4]);
    let error = error_after(|tensors| drop(tensors.insert("conv_in.weight".into(), wrong)));
    assert_eq!(error, "'conv_in.weight': expected shape [4, 1, 3, 3], found [3, 3, 1, 4]");
}

/// Memory for such a network is not asked for: the file says first that it has fewer numbers.
#[test]
fn a_configuration_larger_than_its_file() {
    let dir = tempfile::tempdir().unwrap();
    save_pretrained(&unet(), &reverse(), dir.path(), Precision::F32).unwrap();
    let weights = std::fs::read(dir.path().join(WEIGHTS)).unwrap();
    let wrong = UnetConfig { layers_per_block: 1000, ..unet().config };
    let error = parse_pretrained(&wrong.to_json(), None, &weights).unwrap_err().to_string();
    assert!(error.contains(" numbers, as configured, found "), "{error}");
}

#[test]
fn absent_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let says = || load_pretrained(dir.path()).unwrap_err().to_string();
    let expected =
        "expected config.json, model_index.json with unet/config.json, or a run with model/config.json";
    assert_eq!(says(), format!("{}: {expected}, found none of them", dir.path().display()));
    std::fs::write(dir.path().join(CONFIG), unet().config.to_json()).unwrap();
    assert_eq!(says(), format!("{}: expected {WEIGHTS}, found none", dir.path().display()));
    std::fs::write(dir.path().join("diffusion_pytorch_model.bin"), "pickle").unwrap();
    assert!(says().contains("use_safetensors=False"), "{}", says());
    let error = load_pretrained(dir.path().join("nowhere")).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path.ends_with("nowhere")), "{error}");
}

/// A saved network, its files moved about as others lay them out.
struct Moved(tempfile::TempDir);

impl Moved {
    fn new() -> Moved {
        let dir = tempfile::tempdir().unwrap();
        save_pretrained(&unet(), &reverse(), dir.path(), Precision::F32).unwrap();
        Moved(dir)
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn to(&self, from: &str, to: &str) {
        std::fs::create_dir_all(self.at(to).parent().unwrap()).unwrap();
        std::fs::rename(self.at(from), self.at(to)).unwrap();
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.at(name), text).unwrap();
    }

    /// The same network and process are read, and nothing had to be assumed.
    fn is_whole(&self, folder: &str) {
        let found = load_pretrained(self.at(folder)).unwrap();
        assert_eq!((bits(&found.unet), found.reverse), (bits(&unet()), reverse()));
        assert_eq!(found.warnings, [""; 0]);
    }

    fn error(&self) -> String {
        load_pretrained(self.0.path()).unwrap_err().to_string()
    }
}

const INDEX: &str = r#"{"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"],
    "scheduler": ["diffusers", "DDPMScheduler"]}"#;

#[test]
fn pipelines_and_runs_are_folders_too() {
    let flat = Moved::new();
    flat.write("model_index.json", INDEX);
    flat.is_whole("");

    let pipeline = Moved::new();
    pipeline.write("model_index.json", INDEX);
    [CONFIG, WEIGHTS].iter().for_each(|name| pipeline.to(name, &format!("unet/{name}")));
    pipeline.to(SCHEDULER, &format!("scheduler/{SCHEDULER}"));
    pipeline.is_whole("");
    pipeline.is_whole("unet");
    pipeline.write(
        "model_index.json",
        &INDEX.replace(r#""unet":"#, r#""vqvae": ["diffusers", "VQModel"], "unet":"#),
    );
    let expected = r#"'vqvae': expected a pipeline of a U-Net, a scheduler and perhaps a vae alone, found ["diffusers","VQModel"]"#;
    assert!(pipeline.error().ends_with(expected), "{}", pipeline.error());

    let run = Moved::new();
    [CONFIG, WEIGHTS, SCHEDULER].iter().for_each(|name| run.to(name, &format!("model/{name}")));
    run.is_whole("");
    run.is_whole("model");
}

#[test]
fn weights_in_half_precision_and_in_parts() {
    let half = Moved::new();
    half.to(WEIGHTS, "diffusion_pytorch_model.fp16.safetensors");
    half.is_whole("");

    let parts = Moved::new();
    let whole = read(&parts.at(WEIGHTS)).unwrap();
    std::fs::remove_file(parts.at(WEIGHTS)).unwrap();
    let name = |number: usize| format!("diffusion_pytorch_model-0000{number}-of-00002.safetensors");
    let mut map = BTreeMap::new();
    let mut files = [Tensors::default(), Tensors::default()];
    for (i, (key, tensor)) in whole.tensors.into_iter().enumerate() {
        map.insert(key.clone(), name(i % 2 + 1));
        files[i % 2].tensors.insert(key, tensor);
    }
    for (i, file) in files.iter().enumerate() {
        write(&parts.at(&name(i + 1)), file, Precision::F32).unwrap();
    }
    let list = |map: &BTreeMap<String, String>| {
        let index = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map});
        parts.write("diffusion_pytorch_model.safetensors.index.json", &index.to_string());
    };
    list(&map);
    parts.is_whole("");

    let key = "conv_in.bias".to_string();
    let right = map.remove(&key).unwrap();
    list(&map);
    assert!(parts.error().ends_with(&format!("{right}: unknown key 'conv_in.bias'")), "{}", parts.error());
    map.insert("conv_in.scale".into(), right.clone());
    map.insert(key.clone(), right.clone());
    list(&map);
    assert!(parts.error().ends_with(&format!("{right}: missing key 'conv_in.scale'")), "{}", parts.error());
    map.insert("conv_in.scale".into(), "../elsewhere.safetensors".into());
    list(&map);
    assert!(parts.error().contains("expected the name of a file beside the list"), "{}", parts.error());
}

#[test]
fn what_had_to_be_assumed_or_was_changed_is_said() {
    let moved = Moved::new();
    let config = std::fs::read_to_string(moved.at(CONFIG)).unwrap();
    // the same meaning in other words is no change
    moved.write(CONFIG, &config.replace("\n", " ").replace(r#""act_fn": "silu","#, ""));
    moved.is_whole("");
    moved.write(CONFIG, &config.replace(r#""freq_shift": 1"#, r#""freq_shift": 0"#));
    let found = load_pretrained(moved.0.path()).unwrap();
    assert_eq!(found.warnings.len(), 1);
    assert!(
        found.warnings[0].contains("config.json: was changed after the weights"),
        "{}",
        found.warnings[0]
    );

    moved.write(CONFIG, &config);
    let scheduler = std::fs::read_to_string(moved.at(SCHEDULER)).unwrap();
    moved.write(SCHEDULER, &scheduler.replace(r#""clip_sample": true"#, r#""clip_sample": false"#));
    let found = load_pretrained(moved.0.path()).unwrap();
    assert!(found.warnings[0].contains("scheduler_config.json: was changed after"), "{}", found.warnings[0]);
    assert!(!found.reverse.clip);
    std::fs::remove_file(moved.at(SCHEDULER)).unwrap();
    let found = load_pretrained(moved.0.path()).unwrap();
    assert!(found.warnings[0].ends_with("linear, T = 1000, ε, σ² = β"), "{}", found.warnings[0]);
}

#[test]
fn old_names_of_attention_are_understood() {
    let (unet, dir) = (unet(), tempfile::tempdir().unwrap());
    save_pretrained(&unet, &reverse(), dir.path(), Precision::F32).unwrap();
    let path = dir.path().join(WEIGHTS);
    let mut file = read(&path).unwrap();
    let old = |key: &str| {
        let names = [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")];
        names.iter().fold(key.to_string(), |key, (new, old)| key.replace(new, old))
    };
    file.tensors = file.tensors.into_iter().map(|(key, tensor)| (old(&key), tensor)).collect();
    assert!(file.tensors.contains_key("mid_block.attentions.0.proj_attn.weight"));
    write(&path, &file, Precision::F32).unwrap();
    assert_eq!(bits(&load_pretrained(dir.path()).unwrap().unet), bits(&unet));
}

#[test]
fn a_write_that_fails_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    write_atomically(&path, b"old").unwrap();
    write_atomically(&path, b"new").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");

    // a file can't take the place of a folder: the last step fails, and nothing is left behind
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("inside"), b"old").unwrap();
    let error = write_atomically(&folder, b"new").unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if *path == folder), "{error}");
    assert_eq!(std::fs::read(folder.join("inside")).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "a temporary file is left");

    let error = write_atomically(&dir.path().join("nowhere/file"), b"new").unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}
