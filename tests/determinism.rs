//! The same bits on any number of threads, in any batches, and across an interruption.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use ddpm::checkpoint::Precision;
use ddpm::data::{Dataset, Images};
use ddpm::diffusion::{ElboOptions, Loss, Noise, Reverse, Schedule, Times, Variance, elbo, sample};
use ddpm::optim::AdamOptions;
use ddpm::params::Params;
use ddpm::tensor::Batch;
use ddpm::train::{Event, LogRow, Run, RunOptions, StepReport, TrainOptions, Trainer};
use ddpm::unet::UnetConfig;
use ddpm::{Error, Result};
use ndarray::{Array4, Axis, concatenate};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn data() -> Dataset {
    let pixels = Array4::from_shape_fn((30, 8, 8, 1), |(n, i, j, _)| (8 * n + 3 * i * j) as u8);
    Dataset::from_images(&Images::new("gradients", pixels, None))
}

/// A small network with everything in it: attention, dropout, warm-up, clipping; 19 images are three groups.
fn trainer(loss: Loss, lr: f64) -> Trainer {
    let variance = if loss == Loss::Hybrid { Variance::LearnedRange } else { Variance::Beta };
    let mut config = UnetConfig::paper(8, 1, &[4, 8], 1, 2);
    config.dropout = 0.2;
    config.out_channels = if variance.is_learned() { 2 } else { 1 };
    let adam = AdamOptions { lr, warmup: 2, ema_decay: 0.9, ..AdamOptions::default() };
    let reverse = Reverse { variance, ..Reverse::new(Schedule::linear(50)) };
    Trainer::new(&config, reverse, TrainOptions { batch: 19, seed: 3, loss, times: Times::Uniform, adam })
}

/// A network that has learned a little, so that its outputs are not all but zero.
fn trained() -> Trainer {
    let (mut trainer, data) = (trainer(Loss::Simple, 1e-2), data());
    for _ in 0..5 {
        trainer.step(&data).unwrap();
    }
    trainer
}

fn in_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

/// Weights, averaged weights and both moments.
fn state(trainer: &Trainer) -> Vec<u32> {
    let models = [&trainer.model, &trainer.adam.ema, &trainer.adam.m, &trainer.adam.v];
    models.iter().flat_map(|model| model.slices().concat()).map(f32::to_bits).collect()
}

/// All values, as bits.
fn bits<'a>(values: impl IntoIterator<Item = &'a f64>) -> Vec<u64> {
    values.into_iter().map(|v| v.to_bits()).collect()
}

#[test]
fn training_does_not_depend_on_threads() {
    for loss in [Loss::Simple, Loss::Hybrid] {
        let run = |threads| {
            in_threads(threads, || {
                let (mut trainer, data) = (trainer(loss, 1e-3), data());
                let reports: Vec<_> = (0..4).map(|_| trainer.step(&data).unwrap()).collect();
                (state(&trainer), reports)
            })
        };
        let one = run(1);
        assert!(one.1.iter().all(|report| report.loss > 0.0 && report.grad_norm > 0.0));
        for threads in [2, 7] {
            assert!(run(threads) == one, "{loss} on {threads} threads");
        }
    }
}

fn run_options(out: &Path, steps: u64) -> RunOptions {
    RunOptions {
        out: out.to_path_buf(),
        steps,
        checkpoint_every: Duration::from_secs(3600),
        log_every: 3,
        precision: Precision::F32,
    }
}

/// Runs to its end, or until `observe` returns true.
fn train(
    run: &RunOptions,
    trainer: &mut Trainer,
    observe: &mut dyn FnMut(&StepReport) -> bool,
) -> Result<()> {
    let stop = AtomicBool::new(false);
    Run::open(run.clone())?.train(trainer, &data(), &stop, &mut |event| match event {
        Event::Step(report) => stop.store(observe(report), Ordering::Relaxed),
        Event::Warning(warning) => panic!("{warning}"),
    })
}

/// The loss log without the wall time.
fn log(run: &RunOptions) -> Vec<LogRow> {
    let mut reader = csv::Reader::from_path(run.log()).unwrap();
    let rows = reader.deserialize().map(|row| LogRow { seconds: 0.0, ..row.unwrap() });
    rows.collect()
}

/// Everything a run leaves behind, but the wall time in its log.
fn left_behind(run: &RunOptions) -> (Vec<u8>, Vec<u8>, Vec<LogRow>) {
    let weights = run.model().join(ddpm::checkpoint::WEIGHTS);
    (fs::read(run.checkpoint()).unwrap(), fs::read(weights).unwrap(), log(run))
}

/// Stopped after steps 2, 4 and 5 of 8, where rows of the log are complete at 3 and 6.
#[test]
fn a_resumed_run_is_the_uninterrupted_run() {
    let dir = tempfile::tempdir().unwrap();
    let whole = run_options(&dir.path().join("whole"), 8);
    train(&whole, &mut trainer(Loss::Simple, 1e-3), &mut |_| false).unwrap();

    let out = dir.path().join("parts");
    let mut trainer = trainer(Loss::Simple, 1e-3);
    for steps in [2, 4, 5, 8] {
        train(&run_options(&out, steps), &mut trainer, &mut |_| false).unwrap();
        assert_eq!(trainer.adam.steps, steps);
        assert_eq!(log(&run_options(&out, steps)).last().unwrap().step, steps);
        trainer = Trainer::load(&run_options(&out, steps).checkpoint()).unwrap();
    }
    let parts = run_options(&out, 8);
    assert_eq!(log(&whole).iter().map(|row| row.step).collect::<Vec<_>>(), [3, 6, 8]);
    assert_eq!(log(&parts), log(&whole));
    assert!(left_behind(&parts) == left_behind(&whole));
    // and what was loaded is what was saved
    let mut uninterrupted = self::trainer(Loss::Simple, 1e-3);
    for _ in 0..8 {
        uninterrupted.step(&data()).unwrap();
    }
    assert!(state(&trainer) == state(&uninterrupted));
}

/// Four times t, so that after three steps t is drawn by importance; and a step size that falls at the end.
fn importance_trainer() -> Trainer {
    let mut trainer = trainer(Loss::Hybrid, 1e-3);
    trainer.objective.reverse.schedule = Schedule::cosine(4);
    let options = TrainOptions { times: Times::Importance, ..trainer.objective.options };
    let mut trainer = Trainer::from_weights(trainer.model, trainer.objective.reverse, options);
    trainer.cool_down(4, 8);
    trainer
}

#[test]
fn importance_sampling_depends_neither_on_threads_nor_on_interruptions() {
    let data = data();
    let steps = |threads: usize, mut trainer: Trainer, n: usize| {
        in_threads(threads, || {
            let reports: Vec<_> = (0..n).map(|_| trainer.step(&data).unwrap()).collect();
            (trainer, reports)
        })
    };
    let (whole, reports) = steps(1, importance_trainer(), 8);
    let p = whole.objective.importance.as_ref().unwrap().probabilities();
    assert!(p.iter().any(|p| (p - 0.25).abs() > 0.05), "not uniform any more: {p}");
    let rates = reports[3..].iter().map(|report| report.lr);
    assert!(rates.zip([1e-3, 8e-4, 6e-4, 4e-4, 2e-4]).all(|(rate, want)| (rate - want).abs() < 1e-15));

    let (half, _) = steps(7, importance_trainer(), 5);
    let dir = tempfile::tempdir().unwrap();
    half.save(&dir.path().join("c")).unwrap();
    let (parts, rest) = steps(2, Trainer::load(&dir.path().join("c")).unwrap(), 3);
    assert_eq!(rest, reports[5..]);
    assert!(state(&parts) == state(&whole) && parts.objective.importance == whole.objective.importance);
}

#[test]
fn rows_of_the_log_are_means() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_options(dir.path(), 4);
    let mut losses = Vec::new();
    train(&run, &mut trainer(Loss::Simple, 1e-3), &mut |report| {
        losses.push(report.loss);
        false
    })
    .unwrap();
    let rows = log(&run);
    assert!((rows[0].loss - losses[..3].iter().sum::<f64>() / 3.0).abs() < 1e-12);
    assert_eq!(rows[1].loss, losses[3]);
}

#[test]
fn a_run_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_options(dir.path(), 100);
    let mut trainer = trainer(Loss::Simple, 1e-3);
    train(&run, &mut trainer, &mut |report| report.step == 3).unwrap();
    assert_eq!(trainer.adam.steps, 3);
    assert!(state(&Trainer::load(&run.checkpoint()).unwrap()) == state(&trainer));
}

/// Steps so large that the network overflows: the step fails, and nothing is lost.
#[test]
fn a_loss_that_is_not_finite_stops_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunOptions { checkpoint_every: Duration::ZERO, ..run_options(dir.path(), 10) };
    let mut trainer = trainer(Loss::Simple, 1e38);
    let mut good = 0;
    let result: Result<()> = train(&run, &mut trainer, &mut |report| {
        good = report.step;
        false
    });
    let error = result.unwrap_err();
    assert!(good > 0, "no step succeeded");
    let step = good + 1;
    assert!(matches!(error, Error::NonFiniteLoss { step: s, .. } if s == step), "{error}");
    assert!(
        error.to_string().ends_with(&format!("at step {step}; the checkpoint of step {good} is kept")),
        "{error}"
    );

    let kept = Trainer::load(&run.checkpoint()).unwrap();
    assert_eq!(kept.adam.steps, good);
    assert!(state(&kept) == state(&trainer), "the failed step touched the weights");
    let before = fs::read(run.checkpoint()).unwrap();
    trainer.step(&data()).unwrap_err();
    train(&run, &mut trainer, &mut |_| false).unwrap_err();
    assert!(fs::read(run.checkpoint()).unwrap() == before);
}

#[test]
fn samples_do_not_depend_on_threads_or_batch() {
    let trainer = trained();
    let (unet, reverse) = (&trainer.model, &trainer.objective.reverse);
    let samples = |threads| in_threads(threads, || sample(unet, reverse, [9, 8, 8, 1], &Noise::seed(5)));
    let one = samples(1);
    for threads in [2, 7] {
        assert!(bits(&samples(threads)) == bits(&one), "{threads} threads");
    }
    for size in [1, 2, 5] {
        let parts: Vec<Batch> = (0..9)
            .step_by(size)
            .map(|i| sample(unet, reverse, [size.min(9 - i), 8, 8, 1], &Noise::seed(5).first_image(i)))
            .collect();
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        assert!(bits(&concatenate(Axis(0), &views).unwrap()) == bits(&one), "batches of {size}");
    }
}

#[test]
fn the_bound_does_not_depend_on_threads_or_batch() {
    let (trainer, images) = (trained(), data().fixed(3));
    let images = images.batch(&[0, 1, 2]);
    let bound = |threads, batch| {
        let options = ElboOptions { batch, ..ElboOptions::default() };
        let noise = Noise::seed(6);
        let (unet, reverse) = (&trainer.model, &trainer.objective.reverse);
        let bound = in_threads(threads, || elbo(unet, reverse, &images, &options, &noise));
        [bits(&bound.L), bits(&bound.L_T), bits(&bound.eps_mse), bits(&bound.x0_mse)]
    };
    let one = bound(1, 64);
    for (threads, batch) in [(1, 1), (2, 7), (7, 64), (2, 150)] {
        assert!(bound(threads, batch) == one, "{threads} threads, {batch} pairs at once");
    }
}
