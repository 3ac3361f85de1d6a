//! What is wrong with a training run: a checkup of a checkpoint, and five sick ones to practise on.

use crate::check::class::class_constant;
use ddpm::diffusion::{L_simple, Prediction, Schedule};
use ddpm::params::Params;
use ddpm::prelude::ndarray::s;
use ddpm::prelude::{Batch, Denoiser, Trainer, Unet, normal, stream};
use std::fmt;

/// How many images of noise the network is shown.
const IMAGES: usize = 8;

/// One thing that was measured.
#[derive(Clone, Debug)]
pub struct Finding {
    /// what should be the case
    pub should: &'static str,
    /// whether it is; nothing where another illness keeps it from being measured
    pub healthy: Option<bool>,
    /// the number, in words
    pub measured: String,
}

/// The findings of [`doctor`].
#[derive(Clone, Debug)]
pub struct Checkup {
    /// in a fixed order
    pub findings: Vec<Finding>,
}

impl Checkup {
    /// Whether nothing was found.
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|finding| finding.healthy == Some(true))
    }

    /// Shows the findings.
    pub fn evcxr_display(&self) {
        println!("{self}");
    }
}

/// A line for each finding: ✓, ✗ or – if it can't be measured.
impl fmt::Display for Checkup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.findings.iter().map(|Finding { should, healthy, measured }| {
            let mark = healthy.map_or('–', |healthy| if healthy { '✓' } else { '✗' });
            format!("{mark} {should:46} {measured}")
        });
        f.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}

/// Examines a training run: weights, optimiser, averaged weights, network, chain. Needs no data, and two passes of the
/// network over eight images of noise.
///
/// What is healthy is a rule of thumb for a run of a few hundred steps or more; a run that has just begun is not.
///
/// ```text
/// doctor(&trainer)     // last expression of a cell
/// ```
pub fn doctor(trainer: &Trainer) -> Checkup {
    let finite = all_finite(trainer);
    let measurable = finite.healthy == Some(true);
    let mut findings = vec![finite, no_constant_tensor(&trainer.model), gradients_arrive(trainer)];
    let mut rest = vec![noise_at_the_end(&trainer.objective.reverse.schedule)];
    let chain_is_long = rest[0].healthy == Some(true);
    let eps = trainer.objective.reverse.prediction == Prediction::Eps;
    rest.push(time_matters(trainer));
    rest.push(if chain_is_long && eps { noise_is_known(trainer) } else { unknown(NOISE_IS_KNOWN) });
    rest.push(average_has_moved(trainer));
    if !measurable {
        rest =
            rest.into_iter().map(|f| if f.should == NOISE_AT_END { f } else { unknown(f.should) }).collect();
    }
    findings.extend(rest);
    Checkup { findings }
}

const NOISE_AT_END: &str = "x_T is noise: ᾱ_T < 0.01";
const TIME_MATTERS: &str = "the output depends on t";
const NOISE_IS_KNOWN: &str = "at t = T the noise is recognised";
const AVERAGE_MOVED: &str = "the average has followed the weights";

fn unknown(should: &'static str) -> Finding {
    Finding { should, healthy: None, measured: "can't be measured".into() }
}

fn finding(should: &'static str, healthy: bool, measured: String) -> Finding {
    Finding { should, healthy: Some(healthy), measured }
}

/// NaN or ∞ anywhere in weights, average or moments.
fn all_finite(trainer: &Trainer) -> Finding {
    let models = [&trainer.model, &trainer.adam.ema, &trainer.adam.m, &trainer.adam.v];
    let numbers = || models.iter().flat_map(|model| model.slices()).flatten();
    let wrong = numbers().filter(|w| !w.is_finite()).count();
    finding("every number is finite", wrong == 0, format!("{wrong} of {} are not", numbers().count()))
}

/// A matrix or kernel whose numbers are all the same: zeros that were never filled, or a layer that died.
fn no_constant_tensor(unet: &Unet) -> Finding {
    let constant = unet.named().into_iter().filter(|(_, tensor)| {
        tensor.ndim() > 1 && tensor.len() > 1 && tensor.iter().all(|w| Some(w) == tensor.first())
    });
    let names: Vec<String> = constant.map(|(name, _)| name).collect();
    finding("no weight tensor is constant", names.is_empty(), listed(&names))
}

/// Adam's second moment is the running mean of g²: where it is 0, no gradient ever arrived.
fn gradients_arrive(trainer: &Trainer) -> Finding {
    let still = trainer.adam.v.named().into_iter().filter(|(_, v)| v.iter().all(|&v| v == 0.0));
    let names: Vec<String> = still.map(|(name, _)| name).collect();
    finding("a gradient has reached every tensor", names.is_empty(), listed(&names))
}

/// How many, and the first.
fn listed(names: &[String]) -> String {
    match names {
        [] => "none is left out".into(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

/// The chain must end at N(0, I), since sampling begins there.
fn noise_at_the_end(schedule: &Schedule) -> Finding {
    let last = schedule.alpha_bar(schedule.T());
    finding(NOISE_AT_END, last < 0.01, format!("ᾱ_T = {last:.2e} at T = {}", schedule.T()))
}

/// The same noise at t = 1 and t = T: ‖ε̂_1 − ε̂_T‖ / (‖ε̂_1‖ + ‖ε̂_T‖).
fn time_matters(trainer: &Trainer) -> Finding {
    let x = noise(trainer);
    let [first, last] = [1, trainer.objective.reverse.schedule.T()].map(|t| output(trainer, &x, t));
    let size = norm(&first) + norm(&last);
    let change = norm(&(first - last)) / size;
    if size == 0.0 {
        return unknown(TIME_MATTERS);
    }
    finding(TIME_MATTERS, change > 1e-3, format!("from t = 1 to T it changes by {:.1} %", 100.0 * change))
}

/// L_simple at t = T, where x_T is all noise: near 0 once anything is learned, 1 if the network says nothing.
fn noise_is_known(trainer: &Trainer) -> Finding {
    let x = noise(trainer);
    let loss =
        L_simple(&x, &output(trainer, &x, trainer.objective.reverse.schedule.T())).mean().unwrap_or(f64::NAN);
    finding(NOISE_IS_KNOWN, loss < 0.1, format!("L_simple = {loss:.4} there"))
}

/// 1 − ‖θ̄ − θ‖/‖θ − θ_0‖: how much of the way from the initial weights to the present ones the average has gone.
fn average_has_moved(trainer: &Trainer) -> Finding {
    let begin = initial(trainer);
    let way = distance(&trainer.model, &begin);
    if way == 0.0 {
        return unknown(AVERAGE_MOVED);
    }
    let gone = 1.0 - distance(&trainer.adam.ema, &trainer.model) / way;
    finding(AVERAGE_MOVED, gone > 0.5, format!("{:.0} % of the way from the initial ones", 100.0 * gone))
}

/// The weights with which [`Trainer::new`] began.
fn initial(trainer: &Trainer) -> Unet {
    Unet::new(&trainer.model.config, &mut stream(trainer.objective.options.seed, u64::MAX))
}

fn distance(a: &Unet, b: &Unet) -> f64 {
    let pairs = a.slices().into_iter().flatten().zip(b.slices().into_iter().flatten());
    pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

fn noise(trainer: &Trainer) -> Batch {
    let config = &trainer.model.config;
    // a size that every network of five levels or fewer can halve
    let (h, w) = config.sample_size.unwrap_or((16, 16));
    normal((IMAGES, h, w, config.in_channels), &mut stream(10, 0))
}

/// What the network predicts, without the channels of a learned variance.
fn output(trainer: &Trainer, x: &Batch, t: usize) -> Batch {
    trainer.model.predict(x, &[t; IMAGES]).slice(s![.., .., .., ..x.dim().3]).to_owned()
}

fn norm(x: &Batch) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// What a patient of [`sick`] has, by the letter of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Illness {
    /// a step was taken with a gradient that was not finite
    NotFinite,
    /// the time embedding is computed and never used (B14)
    Timeless,
    /// averaged from the initial weights with a decay made for longer runs, never warmed up (B12)
    ColdAverage,
    /// the chain is cut to 200 steps with the β of 1,000
    ShortChain,
    /// the optimiser was never given the last layer
    Orphan,
}

impl Illness {
    pub(crate) const ALL: [Illness; 5] =
        [Illness::NotFinite, Illness::Timeless, Illness::ColdAverage, Illness::ShortChain, Illness::Orphan];

    pub(crate) fn letter(self) -> char {
        match self {
            Illness::NotFinite => 'a',
            Illness::Timeless => 'b',
            Illness::ColdAverage => 'c',
            Illness::ShortChain => 'd',
            Illness::Orphan => 'e',
        }
    }

    /// What was done wrong.
    pub(crate) fn cause(self) -> &'static str {
        match self {
            Illness::NotFinite => "a step was taken with a gradient that was not finite",
            Illness::Timeless => "the time embedding is computed and never used",
            Illness::ColdAverage => "the average began at the initial weights, with decay 0.9999",
            Illness::ShortChain => "the chain was cut to 200 steps, with the β of the first 200 of 1,000",
            Illness::Orphan => "the optimiser was never given the last layer",
        }
    }

    /// Of patient 1 to 5; a class has an order of its own.
    ///
    /// # Panics
    /// For another number.
    #[track_caller]
    pub(crate) fn of(patient: usize) -> Illness {
        assert!((1..=5).contains(&patient), "patient {patient}: there are patients 1 to 5");
        let orders = [[2, 4, 0, 1, 3], [4, 1, 3, 2, 0], [1, 3, 2, 0, 4], [3, 0, 4, 1, 2]];
        Illness::ALL[class_constant("cause", &orders)[patient - 1]]
    }
}

/// Patient 1, 2, 3, 4 or 5: a copy of a healthy run as one published mistake would have left it.
///
/// # Panics
/// For another number.
#[track_caller]
pub fn sick(patient: usize, healthy: &Trainer) -> Trainer {
    let mut trainer = healthy.clone();
    match Illness::of(patient) {
        Illness::NotFinite => {
            let Trainer { model, adam, .. } = &mut trainer;
            let all =
                [model, &mut adam.ema, &mut adam.m, &mut adam.v].into_iter().flat_map(|m| m.slices_mut());
            all.for_each(|numbers| numbers.fill(f32::NAN));
        }
        Illness::Timeless => {
            let Trainer { model, adam, .. } = &mut trainer;
            for model in [model, &mut adam.ema, &mut adam.m, &mut adam.v] {
                let projections = model.named_mut().into_iter().filter(|(name, _)| name.contains("time_emb"));
                projections.for_each(|(_, mut numbers)| numbers.fill(0.0));
            }
        }
        Illness::ColdAverage => {
            // θ̄ after k steps at decay d, had the weights stood at θ all the time: dᵏ θ_0 + (1 − dᵏ) θ
            let kept = 0.9999_f64.powf(healthy.adam.steps as f64) as f32;
            trainer.objective.options.adam.ema_decay = 0.9999;
            trainer.adam.options.ema_decay = 0.9999;
            trainer.adam.ema = initial(healthy);
            let averages = trainer.adam.ema.slices_mut().into_iter().flatten();
            let weights = healthy.model.slices().into_iter().flatten();
            averages.zip(weights).for_each(|(average, w)| *average = kept * *average + (1.0 - kept) * w);
        }
        Illness::ShortChain => {
            let schedule = &healthy.objective.reverse.schedule;
            let betas: Vec<f64> = (1..=200.min(schedule.T())).map(|t| schedule.beta(t)).collect();
            trainer.objective.reverse.schedule =
                Schedule::from_betas(&betas).expect("a part of a schedule is one");
        }
        Illness::Orphan => {
            let last = initial(healthy).conv_out;
            let nothing = last.zeros_like();
            trainer.model.conv_out = last.clone();
            trainer.adam.ema.conv_out = last;
            trainer.adam.m.conv_out = nothing.clone();
            trainer.adam.v.conv_out = nothing;
        }
    }
    trainer
}

#[cfg(test)]
mod tests {
    use super::*;
    use ddpm::diffusion::{Loss, Reverse, Times};
    use ddpm::optim::AdamOptions;
    use ddpm::prelude::{Dataset, Images, TrainOptions, UnetConfig, fashion_mnist_test};

    /// A small network after 60 steps on 8×8 cuttings of garments.
    fn trained() -> Trainer {
        let pixels = fashion_mnist_test().first(200).pixels.slice(s![.., 10..18, 10..18, ..]).to_owned();
        let data = Dataset::from_images(&Images::new("cuttings", pixels, None));
        let adam = AdamOptions { lr: 3e-3, warmup: 5, ema_decay: 0.9, ..AdamOptions::default() };
        let options = TrainOptions { batch: 16, seed: 1, loss: Loss::Simple, times: Times::Uniform, adam };
        let config = UnetConfig::paper(8, 1, &[8, 8], 1, 4);
        let mut trainer = Trainer::new(&config, Reverse::new(Schedule::linear(1000)), options);
        for _ in 0..60 {
            trainer.step(&data).expect("a finite loss");
        }
        trainer
    }

    fn signs(checkup: &Checkup) -> String {
        let mark = |f: &Finding| f.healthy.map_or('?', |healthy| if healthy { '+' } else { '-' });
        checkup.findings.iter().map(mark).collect()
    }

    #[test]
    fn every_illness_is_found_where_it_is() {
        let healthy = trained();
        let checkup = doctor(&healthy);
        assert!(checkup.is_healthy(), "{checkup}");
        let patients: Vec<(Illness, String, String)> = (1..=5)
            .map(|patient| {
                let checkup = doctor(&sick(patient, &healthy));
                (Illness::of(patient), signs(&checkup), checkup.to_string())
            })
            .collect();
        for illness in Illness::ALL {
            let (_, signs, text) = patients.iter().find(|p| p.0 == illness).expect("five patients");
            // finite, not constant, gradients, chain, time, noise, average
            let (place, expected) = match illness {
                Illness::NotFinite => (0, "-+++???"), // NaN is not equal to NaN, nor 0
                Illness::Timeless => (4, "+--+-?+"),
                Illness::ColdAverage => (6, "++++++-"),
                Illness::ShortChain => (3, "+++-+?+"),
                Illness::Orphan => (2, "++-++-+"),
            };
            assert_eq!(&signs[place..=place], "-", "{illness:?}: {text}");
            let agrees = signs.chars().zip(expected.chars()).enumerate();
            for (i, (found, expected)) in agrees.filter(|&(i, _)| (illness, i) != (Illness::Timeless, 5)) {
                assert_eq!(found, expected, "{illness:?}, finding {i}: {text}");
            }
        }
    }

    #[test]
    fn a_fresh_network_has_learned_nothing() {
        let old = trained();
        let fresh = Trainer::new(&old.model.config, old.objective.reverse, old.objective.options);
        assert_eq!(signs(&doctor(&fresh)).replace('?', "."), "++-+--.");
    }

    #[test]
    #[should_panic(expected = "patient 6: there are patients 1 to 5")]
    fn five_patients() {
        let _ = Illness::of(6);
    }
}
