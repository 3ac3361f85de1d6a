use super::*;
use crate::data::Images;
use crate::diffusion::Variance;
use ndarray::Array4;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn data() -> Dataset {
    let pixels = Array4::from_shape_fn((5, 4, 4, 1), |(n, i, j, _)| (40 * n + 10 * i + j) as u8);
    Dataset::from_images(&Images::new("ramps", pixels, None))
}

fn trainer() -> Trainer {
    let config = UnetConfig::paper(4, 1, &[4], 1, 2);
    let adam = AdamOptions { lr: 0.3e-3, warmup: 2, ..AdamOptions::default() };
    let options = TrainOptions { batch: 3, seed: u64::MAX, loss: Loss::Simple, times: Times::Uniform, adam };
    Trainer::new(&config, Reverse::new(Schedule::linear(30)), options)
}

/// A checkpoint after two steps, as bytes.
fn checkpoint_bytes() -> Vec<u8> {
    let (mut trainer, data, dir) = (trainer(), data(), tempfile::tempdir().expect("a folder"));
    for _ in 0..2 {
        trainer.step(&data).unwrap();
    }
    trainer.save(&dir.path().join("c")).unwrap();
    std::fs::read(dir.path().join("c")).unwrap()
}

/// Loads bytes as a checkpoint.
fn load(bytes: &[u8]) -> Result<Trainer> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("c");
    std::fs::write(&path, bytes).unwrap();
    Trainer::load(&path)
}

/// Decimals in the header give every β back to the bit, of every schedule.
#[test]
fn the_schedule_survives_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    for schedule in [Schedule::linear(1000), Schedule::cosine(1000), Schedule::linear(77)] {
        let mut trainer = trainer();
        trainer.reverse = Reverse { clip: false, variance: Variance::BetaTilde, ..Reverse::new(schedule) };
        trainer.save(&dir.path().join("c")).unwrap();
        let back = Trainer::load(&dir.path().join("c")).unwrap();
        assert!(back.reverse == trainer.reverse, "T = {}", back.reverse.schedule.T());
        assert_eq!(back.options, trainer.options);
    }
}

#[test]
fn a_checkpoint_cut_anywhere_is_an_error() {
    let bytes = checkpoint_bytes();
    load(&bytes).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for end in (0..header).step_by(41).chain((header..bytes.len()).step_by(997)).chain([bytes.len() - 1]) {
        let error = load(&bytes[..end]).unwrap_err().to_string();
        assert!(error.contains("/c: expected a whole safetensors file, found "), "{end} bytes: {error}");
    }
}

/// The run's options and the network's configuration stand in the header: a damaged one may say anything.
#[test]
fn a_damaged_header_never_panics() {
    let bytes = checkpoint_bytes();
    let end = bytes.windows(6).position(|w| w == b"adam_m").expect("the first tensor");
    for at in 0..end {
        let mut damaged = bytes.clone();
        damaged[at] ^= [1, 2, 4, 8, 16, 32, 64, 128][at % 8];
        let result = catch_unwind(AssertUnwindSafe(|| load(&damaged).map(|_| ())));
        assert!(result.is_ok(), "byte {at}: '{}' became '{}'", bytes[at] as char, damaged[at] as char);
    }
}

/// What loading says of a checkpoint whose contents were changed.
fn error_after(change: impl FnOnce(&mut Tensors)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c");
    trainer().save(&path).unwrap();
    let mut file = checkpoint::read(&path).unwrap();
    change(&mut file);
    checkpoint::write(&path, &file, Precision::F32).unwrap();
    let error = Trainer::load(&path).unwrap_err().to_string();
    let prefix = format!("{}: ", path.display());
    error.strip_prefix(&prefix).unwrap_or_else(|| panic!("no path in: {error}")).to_string()
}

/// As [`error_after`], with a text of the header replaced.
fn error_with(from: &str, to: &str) -> String {
    error_after(|file| {
        let header = file.metadata.get_mut(HEADER).unwrap();
        assert!(header.contains(from), "no {from} in {header}");
        *header = header.replace(from, to);
    })
}

#[test]
fn every_wrong_part_has_its_message() {
    assert_eq!(
        error_after(|file| file.metadata.clear()),
        "expected a training checkpoint, found other tensors"
    );
    let error = error_with("{", "");
    assert!(error.starts_with("expected a training header, found "), "{error}");
    let error = error_with(r#""steps":"#, r#""step":"#);
    assert!(error.starts_with("expected a training header, found missing field `steps`"), "{error}");
    assert_eq!(
        error_with(r#"\"trained_betas\": null"#, r#"\"trained_betas\": [1.5]"#),
        "expected a schedule, found betas: expected 0 < beta < 1, found beta_1 = 1.5"
    );
    assert_eq!(error_with(r#""batch":3"#, r#""batch":0"#), "expected a batch of at least one image, found 0");
    assert_eq!(
        error_with(r#"fixed_large"#, r#"learned"#),
        "'out_channels': expected 2 for variance learned, found 1"
    );
    let error = error_with(r#"\"norm_num_groups\": 2"#, r#"\"norm_num_groups\": 3"#);
    assert_eq!(error, "'norm_num_groups': expected a divisor of 4 channels, found 3");
    let error = error_with(r#"\"layers_per_block\": 1"#, r#"\"layers_per_block\": 4000000000"#);
    assert!(error.starts_with("expected more than 576000000072 numbers, as configured, found "), "{error}");
    let importance = |change: &dyn Fn(&mut Tensors)| {
        error_after(|file| {
            let header = file.metadata.get_mut(HEADER).unwrap();
            *header = header.replace(r#""times":"uniform""#, r#""times":"importance""#);
            change(file);
        })
    };
    assert_eq!(importance(&|_| ()), "missing key 'importance.losses'");
    let error = importance(&|file| {
        file.tensors.insert(LOSSES.into(), ndarray::ArrayD::zeros(vec![30, 9]));
    });
    assert_eq!(error, "'importance.losses': expected shape [30, 10], found [30, 9]");
    let error = error_after(|file| drop(file.tensors.remove("adam_v.conv_in.bias")));
    assert_eq!(error, "missing key 'adam_v.conv_in.bias'");
    let error =
        error_after(|file| drop(file.tensors.insert("noise".into(), ndarray::arr1(&[1.0]).into_dyn())));
    assert_eq!(error, "unknown key 'noise'");
    let error = error_after(|file| {
        drop(file.tensors.insert("ema.conv_in.bias".into(), ndarray::arr1(&[1.0]).into_dyn()))
    });
    assert_eq!(error, "'ema.conv_in.bias': expected shape [4], found [1]");
}

#[test]
fn an_absent_checkpoint_is_named() {
    let error = Trainer::load(Path::new("no/checkpoint")).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path == Path::new("no/checkpoint")), "{error}");
}

#[test]
fn a_damaged_log_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("loss.csv");
    std::fs::write(&path, "step,loss,grad_norm,lr,seconds\n50,much,1,1,1\n").unwrap();
    let error = LossLog::open(&path, 50, 50).err().expect("an error").to_string();
    assert!(error.contains("loss.csv: expected a loss log, found "), "{error}");
}

/// A whole training step lowers the loss of the very images it was taken on.
#[test]
fn a_step_lowers_the_loss() {
    let (mut trainer, data) = (trainer(), data());
    trainer.options.adam.warmup = 0;
    let mut groups = trainer.draw(&data);
    let simple = |unet: &Unet, groups: &mut [Group]| {
        loss_and_gradient(unet, &Reverse::new(Schedule::linear(30)), Loss::Simple, groups)
    };
    let (first, _) = simple(&trainer.unet, &mut groups);
    for _ in 0..20 {
        let (_, grad) = simple(&trainer.unet, &mut groups);
        trainer.adam.step(&mut trainer.unet, &grad);
    }
    let (last, _) = simple(&trainer.unet, &mut groups);
    assert!(last < 0.999 * first, "{first} became {last}");
}
