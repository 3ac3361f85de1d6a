//! 10: training on garments.

use super::{class_constant, exercises};
use crate::doctor::Illness;
use ddpm::checkpoint;
use ddpm::diffusion::{Loss, Reverse, Schedule, Times};
use ddpm::optim::AdamOptions;
use ddpm::prelude::ndarray::{Array2, Array3, Array4, Axis, s};
use ddpm::prelude::{Dataset, Images, TrainOptions, Trainer, UnetConfig, normal, stream};
use ddpm::train::shipped_log;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `go_on(file, data, steps)`.
type GoOn = fn(&str, &Dataset, u64) -> Trainer;
/// `nearest_garment(sample, training)`.
type Nearest = fn(&Array2<f64>, &Array3<f64>) -> (usize, f64);

type ToLevel = fn(f64) -> usize;
type Plateau = fn() -> f64;
type Cause = fn(usize) -> char;

exercises! {
    solutions: "10_train.rs";
    /// `to_level(x)`: the grey level of a pixel.
    to_level: ToLevel;
    /// `plateau()`: the loss of the shipped network's training after many steps.
    plateau: Plateau;
    /// `go_on(file, data, steps)`: a run that is taken up from its checkpoint.
    go_on: GoOn;
    /// `nearest_garment(sample, training)`: index of the nearest training image or its mirror image, and its distance.
    nearest_garment: Nearest;
    /// `cause(patient)`: the letter of what was done wrong to each of five sick checkpoints.
    cause: Cause;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn to_level(e: Exercise<ToLevel>) -> Exercise<ToLevel> {
        e.case("x = 0.9, which is level 242.25", |f| f(0.9), 242)
            .case("x = 1.7, outside", |f| f(1.7), 255)
            .case("x = -3, outside", |f| f(-3.0), 0)
            .case("x = -0.005, which is level 126.86", |f| f(-0.005), 127)
            .case(
                "how many of the 256 levels do not survive the round trip",
                |f| (0..256).filter(|&k| f(k as f64 / 127.5 - 1.0) != k).count(),
                0,
            )
            .mistake("levels are counted from [0, 1]", |x| (x * 255.0).round().clamp(0.0, 255.0) as usize)
            .mistake("what lies outside is not clamped", |x| {
                (127.5 * (x + 1.0)).round() as i64 as usize % 256
            })
            .mistake("cut off instead of rounded, which darkens by half a level", |x| {
                (127.5 * (x + 1.0)).clamp(0.0, 255.0) as usize
            })
            .hint("Which level has x = −1, and which x = 1? And what lies outside?")
            .hint("It is the inverse of x = k/127.5 − 1, then made a whole number between 0 and 255.")
            .hint("`(127.5 * (x + 1.0)).round().clamp(0.0, 255.0) as usize`")
    }

    pub(super) fn plateau(e: Exercise<Plateau>) -> Exercise<Plateau> {
        let step = class_constant("plateau", &[7000.0, 6000.0, 6500.0, 5500.0]);
        let log = shipped_log(&checkpoint::GARMENTS).expect("a shipped log");
        let near = log.iter().filter(|row| (row.step as f64 - step).abs() <= 250.0).map(|row| row.loss);
        let near: Vec<f64> = near.collect();
        let truth = near.iter().sum::<f64>() / near.len() as f64;
        e.task(format!("After 500 steps $L_\\text{{simple}}$ stands at 0.051. Where does it stand after {step:.0} steps, on average over 250 steps on either side? Within 15 %."))
            .holds("L_simple", |f| f(), "a number within 15 % of the truth", move |guess| {
                let ratio = guess.number() / truth;
                if (1.0 / 1.15..=1.15).contains(&ratio) { Ok(()) } else { Err(format!("the guess is {ratio:.2} times the truth")) }
            })
            .mistake("nothing: but what is noise and what is image can't always be told, even by a perfect network", || 0.0)
            .mistake("it does not stand still after 500 steps", || 0.051)
            .mistake("a loss that falls as 1/steps: it did not between 200 and 500 either", || 0.0037)
            .hint("Look at the axis: are the steps between 250 and 500 worth as much as those between 5,000 and 5,250?")
            .hint("From step 250 to 500 it fell from 0.064 to 0.051. Such curves look straight when the steps, too, are on a logarithmic axis, until they bend.")
            .hint("Fourteen times as many steps win about a quarter.")
    }

    pub(super) fn go_on(e: Exercise<GoOn>) -> Exercise<GoOn> {
        let resumed = |f: GoOn, before: u64, steps: u64| {
            let file = Checkpoint::after(before);
            let trainer = f(&file.path.to_string_lossy(), &ramps(), steps);
            numbers(&trainer)
        };
        e.case_within(0.0, "weights and averages after 6 steps, interrupted after 3", move |f| resumed(f, 3, 6), numbers(&after(6)))
            .case_within(0.0, "the same after 5 steps, interrupted after 1", move |f| resumed(f, 1, 5), numbers(&after(5)))
            .case_within(0.0, "a run that is complete", move |f| resumed(f, 4, 4), numbers(&after(4)))
            .mistake("so many steps more, not so many in all", |file, data, steps| {
                let mut trainer = loaded(file);
                train(&mut trainer, data, steps);
                trainer
            })
            .mistake("a new run that begins with the old weights: Adam's moments and the number of the step are lost", |file, data, steps| {
                let old = loaded(file);
                let rest = steps - old.adam.steps;
                let mut trainer = Trainer::from_weights(old.model, old.objective.reverse, old.objective.options);
                train(&mut trainer, data, rest);
                trainer
            })
            .mistake("it goes on from the averaged weights, which are for sampling only", |file, data, steps| {
                let mut trainer = loaded(file);
                trainer.model = trainer.adam.ema.clone();
                let rest = steps - trainer.adam.steps;
                train(&mut trainer, data, rest);
                trainer
            })
            .hint("What does a file have to hold for the next step to be the same?")
            .hint("`Trainer::load(file.as_ref())` gives a `Result`; `trainer.adam.steps` is how many steps it has taken.")
            .hint("While fewer than `steps` steps are taken, call `trainer.step(data)` and unwrap its result.")
    }

    pub(super) fn nearest_garment(e: Exercise<Nearest>) -> Exercise<Nearest> {
        let training: Array3<f64> = normal((7, 4, 4), &mut stream(10, 1));
        let near = |n: usize| {
            let noise: Array2<f64> = normal((4, 4), &mut stream(10, 2));
            &training.index_axis(Axis(0), n) + &(0.1 * noise)
        };
        let mirrored = near(5).slice(s![.., ..;-1]).to_owned();
        let far: Array2<f64> = normal((4, 4), &mut stream(10, 3));
        let case = |sample: Array2<f64>| {
            let training = training.clone();
            move |f: Nearest| f(&sample, &training)
        };
        let truth = |sample: &Array2<f64>| nearest(sample, &training, euclid, mirror);
        let upside_down = near(3).slice(s![..;-1, ..]).to_owned();
        let expected = [&near(2), &upside_down, &mirrored, &far].map(truth);
        e.case("image 2 with a little noise", case(near(2)), expected[0])
            .case("image 3 with a little noise, upside down", case(upside_down), expected[1])
            .case("image 5 with a little noise, mirrored", case(mirrored), expected[2])
            .case("pure noise", case(far), expected[3])
            .mistake("the squared distance: the root is missing", |sample, training| nearest(sample, training, |a, b| euclid(a, b).powi(2), mirror))
            .mistake("mirror images are left out, though training shows them", |sample, training| nearest(sample, training, euclid, Array2::clone))
            .mistake("mirrored top to bottom, not left to right", |sample, training| nearest(sample, training, euclid, |x| x.slice(s![..;-1, ..]).to_owned()))
            .hint("Two loops: over the training images, and over the two ways to hold one.")
            .hint("The distance of a sample from an image is the smaller of two: as it is, and mirrored left to right, `x.slice(s![.., ..;-1])`.")
            .hint("`training.outer_iter().enumerate()` gives index and image; keep the pair with the smallest √Σ(a − b)².")
    }

    pub(super) fn cause(e: Exercise<Cause>) -> Exercise<Cause> {
        let letters: Vec<String> =
            Illness::ALL.iter().map(|i| format!("- `{}`: {};", i.letter(), i.cause())).collect();
        let e = e.task(format!(
            "What was done wrong to patients 1 to 5? Each of these was done to one of them:\n\n{}",
            letters.join("\n").trim_end_matches(';')
        ));
        (1..=5).fold(e, |e, patient| {
            let truth = Illness::of(patient).letter();
            e.case(format!("patient {patient}"), move |f| f(patient), truth)
        })
        .mistake("look at the line ✗ of this patient: it is the only one with these, and another fits", |patient| other(patient, 1))
        .mistake("an output that is nothing and one that does not change are two things", |patient| other(patient, 2))
        .hint("Look at one patient at a time: which number is unlike those of a healthy training?")
            .hint("`println!(\"{}\", doctor(&sick(1, &trainer)))` for each of the five; one ✗ may bring others with it.")
        .hint("A short chain is a number of the schedule, a cold average one of the averaged weights; for `b` and `e` see which tensors are named.")
    }
}

/// Right but for one patient, whose letter is another one's: the first patient's that comes `by` illnesses later.
fn other(patient: usize, by: usize) -> char {
    let illness = Illness::of(patient);
    if patient != by {
        return illness.letter();
    }
    let place = Illness::ALL.iter().position(|&i| i == illness).unwrap_or(0);
    Illness::ALL[(place + by) % Illness::ALL.len()].letter()
}

/// Five images of 4×4 pixels.
fn ramps() -> Dataset {
    let pixels = Array4::from_shape_fn((5, 4, 4, 1), |(n, y, x, _)| (40 * n + 10 * y + x) as u8);
    Dataset::from_images(&Images::new("ramps", pixels, None))
}

/// A tiny run after so many steps.
fn after(steps: u64) -> Trainer {
    let adam = AdamOptions { lr: 1e-3, warmup: 2, ema_decay: 0.9, ..AdamOptions::default() };
    let options = TrainOptions { batch: 3, seed: 10, loss: Loss::Simple, times: Times::Uniform, adam };
    let mut trainer =
        Trainer::new(&UnetConfig::paper(4, 1, &[4], 1, 2), Reverse::new(Schedule::linear(1000)), options);
    train(&mut trainer, &ramps(), steps);
    trainer
}

fn train(trainer: &mut Trainer, data: &Dataset, steps: u64) {
    for _ in 0..steps {
        trainer.step(data).expect("a finite loss");
    }
}

fn loaded(file: &str) -> Trainer {
    Trainer::load(file.as_ref()).expect("the checkpoint of the check")
}

/// All weights, then all averages.
fn numbers(trainer: &Trainer) -> Vec<f64> {
    use ddpm::params::Params;
    let all = [trainer.model.slices(), trainer.adam.ema.slices()].concat().concat();
    all.into_iter().map(f64::from).collect()
}

/// A checkpoint of the tiny run in a file of its own, which is removed when it is dropped.
struct Checkpoint {
    path: PathBuf,
}

impl Checkpoint {
    fn after(steps: u64) -> Checkpoint {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("ddpm-go-on-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        after(steps).save(&path).expect("a file in the folder for temporary files");
        Checkpoint { path }
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path); // it is temporary anyway
    }
}

/// Index and distance of the nearest image, as it is or turned over.
fn nearest(
    sample: &Array2<f64>,
    training: &Array3<f64>,
    distance: fn(&Array2<f64>, &Array2<f64>) -> f64,
    turned: fn(&Array2<f64>) -> Array2<f64>,
) -> (usize, f64) {
    let both = [sample.clone(), turned(sample)];
    let near = |image: &Array2<f64>| both.iter().map(|s| distance(s, image)).fold(f64::INFINITY, f64::min);
    let all = training.outer_iter().map(|image| near(&image.to_owned())).enumerate();
    all.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, f64::NAN))
}

fn euclid(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    (a - b).mapv(|d| d * d).sum().sqrt()
}

fn mirror(x: &Array2<f64>) -> Array2<f64> {
    x.slice(s![.., ..;-1]).to_owned()
}
