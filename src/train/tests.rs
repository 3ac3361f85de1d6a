use super::checkpoint::HEADER;
use super::denoising::LOSSES;
use super::*;
use crate::checkpoint::{self as files, Precision, Tensors};
use crate::data::{Dataset, Images, MaskKind};
use crate::diffusion::{Pairing, Schedule, Variance};
use crate::params::Params;
use crate::rng::Domain;
use crate::tensor::Batch;
use ndarray::Array4;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

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
        trainer.objective.reverse =
            Reverse { clip: false, variance: Variance::BetaTilde, ..Reverse::new(schedule) };
        trainer.save(&dir.path().join("c")).unwrap();
        let back = Trainer::load(&dir.path().join("c")).unwrap();
        assert!(
            back.objective.reverse == trainer.objective.reverse,
            "T = {}",
            back.objective.reverse.schedule.T()
        );
        assert_eq!(back.objective.options, trainer.objective.options);
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
    let mut file = files::read(&path).unwrap();
    change(&mut file);
    files::write(&path, &file, Precision::F32).unwrap();
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
    assert_eq!(
        error_with(r#""batch":3"#, r#""batch":0"#),
        "expected options that can be used, found batch: expected 1 to 65536 images, found 0"
    );
    assert_eq!(
        error_with(r#"fixed_large"#, r#"learned"#),
        "'out_channels': expected 2 for variance learned, found 1"
    );
    let error = error_with(r#"\"norm_num_groups\": 2"#, r#"\"norm_num_groups\": 3"#);
    assert_eq!(error, "'norm_num_groups': expected a divisor of 4 channels, found 3");
    let error = error_with(r#"\"layers_per_block\": 1"#, r#"\"layers_per_block\": 4000000000"#);
    assert!(error.starts_with("'block_out_channels': expected a network of at most 300000000 "), "{error}");
    let error = error_with(r#"\"layers_per_block\": 1"#, r#"\"layers_per_block\": 1000"#);
    assert!(error.contains(" numbers, as configured, found "), "{error}");
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

/// A folder with a run of `steps` steps in it.
fn run(out: &Path, steps: u64) -> RunOptions {
    let options = RunOptions {
        out: out.to_path_buf(),
        steps,
        checkpoint_every: Duration::from_secs(3600),
        log_every: 2,
        precision: Precision::F32,
    };
    let run = Run::open(options.clone()).unwrap();
    run.train(&mut trainer(), &data(), &AtomicBool::new(false), &mut |event| {
        assert!(matches!(event, Event::Step(_)), "{event:?}");
    })
    .unwrap();
    options
}

/// Goes on with a run after its log was changed: what it warned of, and the steps of its log at the end.
fn after_the_log(change: impl FnOnce(&str) -> Vec<u8>) -> (Vec<String>, Vec<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let options = RunOptions { steps: 8, ..run(dir.path(), 6) };
    std::fs::write(options.log(), change(&std::fs::read_to_string(options.log()).unwrap())).unwrap();
    let mut warnings = Vec::new();
    let mut trainer = Trainer::load(&options.checkpoint()).unwrap();
    let run = Run::open(options).unwrap();
    run.train(&mut trainer, &data(), &AtomicBool::new(false), &mut |event| {
        if let Event::Warning(warning) = event {
            warnings.push(warning.replace(&dir.path().display().to_string(), ""));
        }
    })
    .unwrap();
    let csv = std::fs::read(run.options.log()).unwrap();
    let steps = log::read_log(Path::new("loss.csv"), &csv).unwrap().iter().map(|row| row.step).collect();
    (warnings, steps)
}

/// A spreadsheet may have saved it: what can still be read is kept, and nothing keeps the run from going on.
#[test]
fn a_log_that_somebody_edited_never_stops_a_run() {
    type Change = fn(&str) -> Vec<u8>;
    let harmless: [Change; 4] = [
        |log| log.into(),
        |log| log.replace('\n', "\r\n").into(),
        |log| format!("\u{feff}{log}").into(),
        |log| log.replace('\n', ",\n").into(),
    ];
    for change in harmless {
        assert_eq!(after_the_log(change), (vec![], vec![2, 4, 6, 8]));
    }
    let (warnings, steps) = after_the_log(|_| vec![]);
    assert_eq!((warnings.len(), steps), (0, vec![8]), "an emptied log begins anew");
    let damages: [(Change, &str, &[u64]); 3] = [
        (|log| log.replace(',', ";").into(), "it is now /loss.csv.1, nothing is kept", &[8]),
        (
            |log| log.trim_end().rsplit_once(',').unwrap().0.into(),
            "it is now /loss.csv.1, what it says up to step 4 is kept",
            &[2, 4, 8],
        ),
        (|log| format!("{log}2,1,1,1,1\n").into(), "step 2 again or out of order", &[2, 4, 6, 8]),
    ];
    for (change, message, rows) in damages {
        let (warnings, steps) = after_the_log(change);
        assert!(warnings[0].starts_with("/loss.csv: expected a loss log, found "), "{warnings:?}");
        assert!(warnings.len() == 1 && warnings[0].contains(message), "{warnings:?}");
        assert_eq!(steps, rows);
    }
}

#[test]
fn a_damaged_log_of_a_shipped_network_is_an_error() {
    let error = log::read_log(Path::new("loss.csv"), b"step,loss,grad_norm,lr,seconds\n50,much,1,1,1\n");
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("loss.csv: expected a loss log, found "), "{error}");
}

#[test]
fn a_folder_belongs_to_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let options = run(dir.path(), 1);
    let living = Run::open(options.clone()).unwrap();
    let error = Run::open(options.clone()).unwrap_err();
    let expected = format!(
        "{}: expected a folder that no other process trains in, found process {}",
        dir.path().display(),
        std::process::id()
    );
    assert_eq!(error.to_string(), expected);
    drop(living);
    Run::open(options.clone()).unwrap();
    let error = Run::open(RunOptions { log_every: 0, ..options }).unwrap_err().to_string();
    assert_eq!(error, "log_every: expected at least one step, found 0");
}

/// The checkpoint, and beside it a network that can be sampled, stand in the folder while the run lives.
#[test]
fn every_checkpoint_comes_with_its_model() {
    let dir = tempfile::tempdir().unwrap();
    let options = RunOptions { steps: 3, checkpoint_every: Duration::ZERO, ..run(dir.path(), 0) };
    let run = Run::open(options.clone()).unwrap();
    run.train(&mut trainer(), &data(), &AtomicBool::new(false), &mut |event| {
        // each step but the first finds what was saved after the one before
        let Event::Step(report) = event else { panic!("{event:?}") };
        let saved = Trainer::load(&options.checkpoint()).unwrap();
        assert_eq!(saved.adam.steps, report.step - 1);
        assert_eq!(saved.adam.ema.slices(), files::load_pretrained(options.model()).unwrap().unet.slices());
    })
    .unwrap();
}

/// A device that refuses the checkpoint does not end the run, and neither does one that refuses the log.
#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_written_on_the_way_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let options = RunOptions { steps: 4, checkpoint_every: Duration::ZERO, ..run(dir.path(), 0) };
    std::fs::remove_file(options.checkpoint()).unwrap();
    std::fs::create_dir(options.checkpoint()).unwrap(); // a folder in its place
    let (mut steps, mut warnings) = (0, Vec::new());
    let run = Run::open(options.clone()).unwrap();
    run.train(&mut trainer(), &data(), &AtomicBool::new(false), &mut |event| match event {
        Event::Step(report) => {
            steps = report.step;
            if steps == 3 {
                std::fs::remove_dir(options.checkpoint()).unwrap();
            }
        }
        Event::Warning(warning) => warnings.push(warning),
    })
    .unwrap();
    assert_eq!((steps, warnings.len()), (4, 2), "{warnings:?}");
    assert!(warnings[0].ends_with("; the run goes on and tries again later"), "{warnings:?}");
    assert_eq!(Trainer::load(&options.checkpoint()).unwrap().adam.steps, 4);
}

/// What a run was told comes back, and a checkpoint of the first edition, which lacks it, still loads.
#[test]
fn the_record_of_a_run_survives() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c");
    let mut trainer = trainer();
    let data = DataRecord {
        kind: DataKind::Pictures,
        autoencoder: None,
        folder: Some("pictures".into()),
        shape: [4, 4, 1],
        holdout: Some(5),
        whole: None,
        flip: false,
        pictures: 5,
        fingerprint: "0123456789abcdef".into(),
    };
    let options = RunOptions { out: "".into(), ..run(&dir.path().join("run"), 0) };
    trainer.record = Some(RunRecord { data, options });
    trainer.objective.options.adam.ema_warmup = true;
    trainer.save(&path).unwrap();
    let back = Trainer::load(&path).unwrap();
    assert_eq!((back.record, back.objective.options), (trainer.record, trainer.objective.options));

    let mut file = files::read(&path).unwrap();
    let header = file.metadata.get_mut(HEADER).unwrap();
    let mut old: serde_json::Value = serde_json::from_str(header).unwrap();
    for key in ["record", "domain", "open_row"] {
        old.as_object_mut().unwrap().remove(key).unwrap();
    }
    old["options"]["adam"].as_object_mut().unwrap().remove("ema_warmup").unwrap();
    *header = old.to_string();
    files::write(&path, &file, Precision::F32).unwrap();
    let back = Trainer::load(&path).unwrap();
    assert_eq!(
        (back.record, back.objective.domain, back.objective.options.adam.ema_warmup),
        (None, Domain::Common, false)
    );
}

#[test]
fn options_that_make_no_sense_together_are_named() {
    let check = |change: &dyn Fn(&mut TrainOptions)| {
        let mut options = trainer().objective.options;
        change(&mut options);
        options.check(&Reverse::new(Schedule::linear(30))).unwrap_err().to_string()
    };
    assert_eq!(check(&|o| o.batch = 0), "batch: expected 1 to 65536 images, found 0");
    assert_eq!(check(&|o| o.batch = 1 << 20), "batch: expected 1 to 65536 images, found 1048576");
    assert_eq!(
        check(&|o| o.loss = Loss::Hybrid),
        "loss: expected simple or vlb where the variance is not learned, found hybrid with variance beta"
    );
    assert_eq!(check(&|o| o.adam.lr = f64::NAN), "lr: expected a positive number, found NaN");
}

#[test]
#[should_panic(expected = "Trainer: batch: expected 1 to 65536 images, found 0")]
fn a_trainer_with_such_options_is_a_bug() {
    let Trainer { model, objective: Denoising { reverse, mut options, .. }, .. } = trainer();
    options.batch = 0;
    Trainer::from_weights(model, reverse, options);
}

/// A whole training step lowers the loss of the very images it was taken on.
#[test]
fn a_step_lowers_the_loss() {
    let (mut trainer, data) = (trainer(), data());
    trainer.objective.options.adam.warmup = 0;
    let mut groups = trainer.objective.draw(&trainer.model, &data, 0);
    let simple = |unet: &Unet, groups: &mut [Group]| {
        loss_and_gradient(unet, &Reverse::new(Schedule::linear(30)), Loss::Simple, groups)
    };
    let (first, _) = simple(&trainer.model, &mut groups);
    for _ in 0..20 {
        let (_, grad) = simple(&trainer.model, &mut groups);
        trainer.adam.step(&mut trainer.model, &grad);
    }
    let (last, _) = simple(&trainer.model, &mut groups);
    assert!(last < 0.999 * first, "{first} became {last}");
}

/// Labels go from the data to the network, each with its image; whoever has no table is not bothered with them.
#[test]
fn classes_are_trained_with_their_images() {
    let labelled = |label: fn(u8) -> u8| {
        let pixels = Array4::from_shape_fn((6, 4, 4, 1), |(n, y, x, _)| (n * 40 + y * 4 + x) as u8);
        Dataset::from_images(&Images::new("six", pixels, Some((0..6).map(label).collect())))
    };
    let (without, data, own) = (data(), labelled(|n| n % 3), trainer());
    let config = UnetConfig { num_class_embeds: Some(4), ..own.model.config.clone() };
    let mut knows = Trainer::new(&config, own.objective.reverse.clone(), own.objective.options.clone());
    for group in knows.objective.draw(&knows.model, &data, 0) {
        let classes = group.given.class.unwrap();
        for (image, class) in group.noisy.x0.outer_iter().zip(classes) {
            let picture = ((image[[0, 0, 0]] + 1.0) * 127.5 / 40.0).round() as usize; // its first pixel tells, but for flips
            assert_eq!(class, Some(picture % 3));
        }
    }
    assert!(own.objective.draw(&own.model, &data, 0).iter().all(|group| group.given.class.is_none()));
    for _ in 0..3 {
        knows.step(&data).unwrap();
    }
    let table = &knows.model.class_embedding.as_ref().unwrap().weight;
    let moved = |row: usize| table.row(row).iter().any(|&w| w != 0.0);
    assert_eq!([0, 1, 2, 3].map(moved), [true, true, true, false], "no class does not occur");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c");
    knows.save(&path).unwrap();
    assert_eq!(Trainer::load(&path).unwrap().model.slices(), knows.model.slices());
    let error = |data: &Dataset| knows.objective.check_data(&knows.model, data).unwrap_err().to_string();
    assert_eq!(
        error(&labelled(|n| n)),
        "six: expected labels below 4, the rows of the network's table of classes, found 5"
    );
    let message = "expected a label for every image, as the network knows classes, found none";
    assert!(error(&without).ends_with(message));
}

/// A network that knows two classes and sees known pixels.
fn told() -> (Trainer, Dataset) {
    let pixels = Array4::from_shape_fn((6, 4, 4, 1), |(n, i, j, _)| (40 * n + 10 * i + j) as u8);
    let data = Dataset::from_images(&Images::new("ramps", pixels, Some(vec![0, 1, 0, 1, 1, 0])));
    let config =
        UnetConfig { num_class_embeds: Some(3), in_channels: 3, ..UnetConfig::paper(4, 1, &[4], 1, 2) };
    let options = TrainOptions { batch: 24, ..trainer().objective.options };
    let mut trainer = Trainer::new(&config, Reverse::new(Schedule::linear(30)), options);
    trainer.objective.beyond =
        Beyond { drop_label: 0.25, masks: vec![MaskKind::Lower, MaskKind::Nothing], ..Beyond::default() };
    (trainer, data)
}

#[test]
fn labels_are_hidden_and_pixels_shown() {
    let (trainer, data) = told();
    let (mut hidden, mut shown, mut images) = (0, 0, 0);
    for step in 0..40 {
        for group in trainer.objective.draw(&trainer.model, &data, step) {
            let class = group.given.class.clone().unwrap();
            let known = group.given.known.clone().unwrap();
            let targets = group.targets.clone().unwrap();
            assert!((&known.mask + &targets).iter().all(|&sum| sum == 1.0));
            assert_eq!(known.values, group.noisy.x0);
            hidden += class.iter().filter(|class| class.is_none()).count();
            shown += known.mask.outer_iter().filter(|mask| mask.sum() == 8.0).count();
            images += class.len();
        }
    }
    let (hidden, shown) = (hidden as f64 / images as f64, shown as f64 / images as f64);
    assert!((hidden - 0.25).abs() < 0.05 && (shown - 0.5).abs() < 0.06, "{hidden} {shown}");
}

/// The step's loss is the mean over the pixels that count, and its gradient that of the loss.
#[test]
fn the_masked_loss_has_one_denominator() {
    let (mut trainer, data) = told();
    for tensor in trainer.model.slices_mut() {
        tensor.iter_mut().enumerate().for_each(|(i, w)| *w += 0.1 * ((i * 7) as f32).sin());
    }
    let mut groups = trainer.objective.draw(&trainer.model, &data, 3);
    let loss = |model: &Unet, groups: &[Group]| {
        let (mut sum, mut count) = (0.0, 0.0);
        for group in groups {
            let y = model.infer_given(&group.noisy.x_t.mapv(|v| v as f32), &group.noisy.t, &group.given);
            let targets = group.targets.as_ref().unwrap();
            let error = (y.mapv(f64::from) - &group.noisy.eps).mapv(|e| e * e) * targets;
            (sum, count) = (sum + error.sum(), count + targets.sum());
        }
        sum / count
    };
    let n = groups.iter().map(Denoising::examples).sum();
    let mut grad = trainer.model.zeros_like();
    let sum: f64 = groups
        .iter_mut()
        .map(|group| trainer.objective.loss_and_grad(&trainer.model, group, n, &mut grad))
        .sum();
    let model = trainer.model.clone();
    assert!((sum / n as f64 / loss(&model, &groups) - 1.0).abs() < 1e-5);
    // along a random direction
    let direction: Vec<f32> = (0..model.count()).map(|i| ((i * 31) as f32).cos()).collect();
    let moved = |by: f32| {
        let mut moved = model.clone();
        let mut rest = direction.as_slice();
        for slice in moved.slices_mut() {
            let (own, after) = rest.split_at(slice.len());
            slice.iter_mut().zip(own).for_each(|(w, d)| *w += by * d);
            rest = after;
        }
        loss(&moved, &groups)
    };
    let difference = (moved(1e-3) - moved(-1e-3)) / 2e-3;
    let inner: f64 = grad.slices().concat().iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
    assert!((difference / inner - 1.0).abs() < 1e-2, "{difference} {inner}");
}

/// Noise changes hands inside a batch: the same noises, nearer to the images; the images, times and everything else stay.
#[test]
fn assigned_noise_is_drawn_noise_in_another_order() {
    let (mut trainer, data) = (trainer(), data());
    trainer.objective.options.batch = 20;
    let drawn = trainer.objective.draw(&trainer.model, &data, 0);
    trainer.objective.beyond.pairing = Pairing::Assigned;
    let assigned = trainer.objective.draw(&trainer.model, &data, 0);
    let images = |groups: &[Group], part: &dyn Fn(&Group) -> Batch| -> Vec<Vec<f64>> {
        groups
            .iter()
            .flat_map(|group| {
                part(group).outer_iter().map(|x| x.iter().copied().collect()).collect::<Vec<_>>()
            })
            .collect()
    };
    let (eps, x0) = (|group: &Group| group.noisy.eps.clone(), |group: &Group| group.noisy.x0.clone());
    assert_eq!(images(&drawn, &x0), images(&assigned, &x0));
    let (before, after) = (images(&drawn, &eps), images(&assigned, &eps));
    assert_ne!(before, after);
    let sorted = |mut all: Vec<Vec<f64>>| {
        all.sort_by(|a, b| a[0].total_cmp(&b[0]));
        all
    };
    assert_eq!(sorted(before.clone()), sorted(after.clone()));
    let distance = |eps: &[Vec<f64>]| -> f64 {
        let pairs = images(&drawn, &x0).into_iter().zip(eps);
        pairs.map(|(x, e)| x.iter().zip(e).map(|(x, e)| (x - e).powi(2)).sum::<f64>()).sum()
    };
    assert!(distance(&after) < distance(&before));
    trainer.objective.beyond.pairing = Pairing::Nearest(4);
    assert!(distance(&images(&trainer.objective.draw(&trainer.model, &data, 0), &eps)) < distance(&before));
}

/// What is beyond Algorithm 1 survives a checkpoint, whose run goes on to the same bits; without it nothing is written.
#[test]
fn what_is_beyond_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c");
    let (mut trainer, data) = told();
    trainer.step(&data).unwrap();
    trainer.save(&path).unwrap();
    let mut back = Trainer::load(&path).unwrap();
    assert_eq!(back.objective.beyond, trainer.objective.beyond);
    trainer.step(&data).unwrap();
    back.step(&data).unwrap();
    assert_eq!(back.model.slices(), trainer.model.slices());
    self::trainer().save(&path).unwrap();
    let header = files::read(&path).unwrap().metadata[HEADER].clone();
    assert!(!header.contains("beyond") && !header.contains("about"), "{header}");
}

#[test]
fn beyond_is_checked() {
    let (trainer, _) = told();
    let Denoising { reverse, options, beyond, .. } = &trainer.objective;
    let check = |beyond: &Beyond| beyond.check(&trainer.model.config, reverse, options);
    check(beyond).unwrap();
    for (wrong, message) in [
        (Beyond { drop_label: 1.0, ..beyond.clone() }, "drop_label: expected a rate"),
        (
            Beyond { masks: vec![], ..beyond.clone() },
            "masks: expected rules for a network that sees known pixels",
        ),
    ] {
        let error = check(&wrong).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let plain = self::trainer().model.config;
    let error =
        Beyond { masks: vec![], ..beyond.clone() }.check(&plain, reverse, options).unwrap_err().to_string();
    assert_eq!(error, "drop_label: expected 0 for a network that knows no classes, found 0.25");
}

/// Weights, loss and what importance sampling has learned after three steps on so many ranks, for each of them.
fn after_three_steps(ranks: usize, batch: usize) -> Vec<(Vec<f32>, f64, Vec<u8>)> {
    let data = data();
    crate::ranks::tests::on_ranks(ranks, |ranks| {
        let mut trainer = trainer();
        trainer.objective = Denoising::new(
            trainer.objective.reverse.clone(),
            TrainOptions {
                batch,
                times: Times::Importance,
                loss: Loss::Vlb,
                ..trainer.objective.options.clone()
            },
        );
        trainer.ranks = ranks;
        let losses = (0..3).map(|_| trainer.step(&data).unwrap().loss);
        let loss = losses.last().unwrap();
        let dir = tempfile::tempdir().unwrap();
        trainer.save(&dir.path().join("c")).unwrap();
        (trainer.model.slices().concat(), loss, std::fs::read(dir.path().join("c")).unwrap())
    })
}

/// Eight groups, three, and fewer than there are ranks.
#[test]
fn ranks_form_the_bits_of_one_process() {
    for batch in [64, 20, 3] {
        let alone = after_three_steps(1, batch).swap_remove(0);
        for ranks in [2, 4, 8] {
            let shared = after_three_steps(ranks, batch);
            assert!(shared.iter().all(|rank| *rank == alone), "batch {batch} on {ranks} ranks");
        }
    }
}

/// What one rank has that another has not is found before the first step.
#[test]
fn facts_tell_trainings_apart() {
    let base = trainer().facts();
    assert_eq!(base, trainer().facts());
    let differences = |change: &dyn Fn(&mut Trainer)| {
        let mut other = trainer();
        change(&mut other);
        let other = other.facts();
        base.iter().zip(&other).filter(|(a, b)| a != b).map(|(_, b)| b.clone()).collect::<Vec<_>>()
    };
    assert_eq!(differences(&|t| t.objective.options.seed = 7), ["options.seed: 7"]);
    assert_eq!(differences(&|t| t.adam.steps = 3), ["steps: 3"]);
    let weights = differences(&|t| t.model.conv_in.bias[0] += 1.0);
    assert!(weights.len() == 1 && weights[0].starts_with("checksum of the weights: "), "{weights:?}");
}
