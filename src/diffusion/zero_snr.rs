//! Tests of the whole mathematics where ᾱ_T = 0: every formula that divides by ᾱ_T or α_T somewhere has to do without.

use super::oracle::OnePixelWorld;
use super::*;
use crate::rng::{normal, stream};
use crate::tensor::Batch;
use ndarray::{Array3, Axis, array, concatenate};
use std::f64::consts::{E, LN_2, PI};

/// All predictions that have an x̂_0 at T.
const PREDICTIONS: [Prediction; 3] = [Prediction::X0, Prediction::MuTilde, Prediction::V];

fn schedules() -> Vec<Schedule> {
    let rescaled = |s: Schedule| s.rescaled_to_zero_snr().unwrap();
    vec![
        rescaled(Schedule::linear(200)),
        rescaled(Schedule::linear(50)),
        rescaled(Schedule::cosine(30)),
        rescaled(Schedule::quad(2)),
        Schedule::from_betas(&[0.5, 1.0]).unwrap(),
        Schedule::from_betas(&[1.0]).unwrap(),
    ]
}

/// What the perfect network says of pixels from N(m, s²): E[x_0|x_t] = m + √ᾱ_t s²/v (x_t − √ᾱ_t m), v = ᾱ_t s² + 1 − ᾱ_t,
/// in the words of each prediction.
fn gaussian(mean: f64, variance: f64, reverse: &Reverse) -> impl Fn(&Batch, &[usize]) -> Batch + use<> {
    let Reverse { schedule: s, prediction, variance: choice, .. } = reverse.clone();
    move |x_t: &Batch, t: &[usize]| {
        let mut x0_hat = x_t.clone();
        for (mut image, &t) in x0_hat.outer_iter_mut().zip(t) {
            let root = s.alpha_bar(t).sqrt();
            let gain = root * variance / (root * root * variance + 1.0 - root * root);
            image.mapv_inplace(|x| mean + gain * (x - root * mean));
        }
        let answer = match prediction {
            Prediction::X0 => x0_hat,
            Prediction::MuTilde => q_posterior(&s, &x0_hat, x_t, t).mean,
            Prediction::V => forward::v_from_x0(&s, x_t, t, &x0_hat),
            Prediction::Eps => unreachable!("not where ᾱ_T = 0"),
        };
        let v = x_t.mapv(|x| if choice == Variance::Learned { -2.0 } else { 0.5 * x.tanh() });
        if choice.is_learned() { concatenate![Axis(3), answer, v] } else { answer }
    }
}

fn process(schedule: &Schedule, prediction: Prediction) -> Reverse {
    Reverse { schedule: schedule.clone(), prediction, variance: Variance::Beta, clip: false }
}

fn finite<'a>(numbers: impl IntoIterator<Item = &'a f64>) -> bool {
    numbers.into_iter().all(|x| x.is_finite())
}

/// As in [`oracle`]: for N(0, 1) data and σ² = β the bound is the entropy; and now L_T is 0 to the bit.
#[test]
fn the_whole_bound_is_the_entropy_of_a_gaussian() {
    let x0 = array![[[[1.0]]], [[[1.0]]], [[[-1.0]]], [[[-1.0]]]];
    let eps = array![[[[1.0]]], [[[-1.0]]], [[[1.0]]], [[[-1.0]]]];
    for schedule in schedules() {
        assert!(L_T(&schedule, &x0).iter().all(|&nats| nats == 0.0));
        for prediction in PREDICTIONS {
            let reverse = process(&schedule, prediction);
            let model = gaussian(0.0, 1.0, &reverse);
            let mut nats = 0.0;
            for t in 1..=schedule.T() {
                let x_t = q_sample(&schedule, &x0, &[t; 4], &eps);
                let p = reverse.p_mean_variance(&model, &x_t, &[t; 4]);
                let decoder = |(&x0, &mean)| -log_normal(x0, mean, schedule.beta(1).ln());
                nats += match t {
                    1 => x0.iter().zip(&p.normal.mean).map(decoder).sum::<f64>() / 4.0,
                    _ => L_t_minus_1(&schedule, &x0, &x_t, &[t; 4], &p).mean().unwrap(),
                };
            }
            let (bits, entropy) = (nats / LN_2, 0.5 * (2.0 * PI * E).log2());
            assert!((bits - entropy).abs() < 1e-9, "T = {}, {prediction}: {bits}", schedule.T());
        }
    }
}

/// Unit impulses in each noise of the linear chain: its end has the variance 1 − β_1, and nothing of x_T is left in it.
#[test]
fn the_sampler_ends_with_variance_one_minus_beta_1() {
    for schedule in schedules() {
        for prediction in PREDICTIONS {
            let (last, reverse) = (schedule.T(), process(&schedule, prediction));
            let impulse = |n: usize, t: usize| Array3::from_elem((1, 1, 1), if n == t { 1.0 } else { 0.0 });
            let model = gaussian(0.0, 1.0, &reverse);
            let x0 = sample(&model, &reverse, [last + 1, 1, 1, 1], &Noise::given(&impulse));
            let variance: f64 = x0.iter().map(|x| x * x).sum();
            assert!((variance - (1.0 - schedule.beta(1))).abs() < 1e-12, "T = {last}: {variance}");
            assert!(x0[[0, 0, 0, 0]].abs() < 1e-12, "T = {last}: x_T counts");
        }
    }
}

#[test]
fn every_term_is_finite() {
    let data = normal::<f64, _>((3, 2, 2, 1), &mut stream(1, 0));
    let data = data.mapv(|z| ((z + 1.0) * 127.5).round().clamp(0.0, 255.0) / 127.5 - 1.0);
    for schedule in schedules() {
        for prediction in PREDICTIONS {
            for variance in Variance::ALL {
                for clip in [false, true] {
                    let reverse = Reverse { variance, clip, ..process(&schedule, prediction) };
                    let model = gaussian(0.1, 0.2, &reverse);
                    let options = ElboOptions::default();
                    let bound = elbo(&model, &reverse, &data, &options, &Noise::seed(1));
                    let parts = [&bound.L, &bound.eps_mse, &bound.x0_mse, &bound.rate_bits_per_dim()];
                    assert!(parts.into_iter().all(finite), "T = {}, {prediction}, {variance}", bound.T);
                    let points = rate_distortion(&bound);
                    assert_eq!((points[0].t, points[0].rate_bits_per_dim.mean), (schedule.T(), 0.0));
                }
            }
        }
    }
}

/// DDIM walks from T in any number of steps, and finds the one image there is.
#[test]
fn ddim_starts_from_noise() {
    for schedule in schedules() {
        for prediction in PREDICTIONS {
            let reverse = process(&schedule, prediction);
            let model = gaussian(0.3, 0.0, &reverse);
            for steps in [1, 2, 7, schedule.T()].into_iter().filter(|&steps| steps <= schedule.T()) {
                for (eta, rederive_eps) in [(0.0, false), (0.5, true), (1.0, false)] {
                    let ddim = Ddim { steps, eta, rederive_eps, spacing: Spacing::of(&schedule) };
                    assert_eq!(ddim.timesteps(schedule.T())[0], schedule.T());
                    let noise = Noise::seed(1);
                    let x0 = ddim_sample(&model, &reverse, &ddim, [2, 2, 2, 1], &noise);
                    let off = x0.iter().fold(0.0f64, |worst, x| worst.max((x - 0.3).abs()));
                    assert!(off < 1e-9, "T = {}, {prediction}, {steps} steps: {off}", schedule.T());
                }
            }
        }
    }
}

/// A shorter chain ends in the same noise, speaks of v, and its steps are DDIM's jumps with η = 1.
#[test]
fn respacing_keeps_the_end() {
    for schedule in schedules().into_iter().filter(|s| s.T() >= 30) {
        for prediction in PREDICTIONS {
            let reverse = process(&schedule, prediction);
            let model = gaussian(0.2, 0.3, &reverse);
            let (short_model, short) = respace(&model, &reverse, 7);
            assert!(short.schedule.has_zero_terminal_snr() && short.prediction == Prediction::V);
            short.check().unwrap();
            let x_t: Batch = normal((2, 2, 2, 1), &mut stream(1, 0));
            let z = normal((2, 2, 2, 1), &mut stream(1, 1));
            let ddim = Ddim { eta: 1.0, ..Ddim::new(7) };
            for i in [2, 5, 7] {
                let a = short.p_sample(&short_model, &x_t, &[i, i], &z).x_prev;
                let (t, before) = (short_model.times()[i - 1], short_model.times()[i - 2]);
                let b = ddim_step(&model, &reverse, &ddim, &x_t, t, before, &z).x_prev;
                assert!((a - b).iter().all(|d| d.abs() < 1e-9), "{prediction}, step {i}");
            }
            assert!(finite(&sample(
                &respace(&model, &reverse, 1).0,
                &respace(&model, &reverse, 1).1,
                [2, 2, 2, 1],
                &Noise::seed(1)
            )));
        }
    }
}

/// At depth T both images have become noise alone, so that the decoded mixture does not know them.
#[test]
fn an_interpolation_at_depth_t_forgets_its_ends() {
    let schedule = Schedule::cosine(30).rescaled_to_zero_snr().unwrap();
    let reverse = process(&schedule, Prediction::V);
    let model = gaussian(0.1, 0.2, &reverse);
    let ends: Batch = normal((3, 2, 2, 1), &mut stream(1, 0));
    let mix = |a: usize, b: usize, t: usize| {
        let (a, b) = (ends.index_axis(Axis(0), a), ends.index_axis(Axis(0), b));
        let between = Interpolation { x0: a, x0_prime: b, t, lambdas: &[0.0, 0.5, 1.0] };
        interpolate(&model, &reverse, &between, &Noise::seed(1))
    };
    assert_eq!(mix(0, 1, 30), mix(2, 0, 30));
    assert!(mix(0, 1, 29) != mix(2, 0, 29) && finite(&mix(0, 1, 30)));
}

#[test]
fn the_one_pixel_world_has_all_its_terms() {
    let world = OnePixelWorld::two_humps();
    let schedule = Schedule::linear_scaled(50).unwrap().rescaled_to_zero_snr().unwrap();
    for variance in [Variance::Beta, Variance::BetaTilde] {
        let terms = world.exact_terms(&schedule, variance);
        assert!(finite(&terms.L_t_minus_1) && finite(&terms.x0_mse) && terms.L_T == 0.0);
        assert!(terms.bound() > terms.nll && terms.nll > terms.entropy, "{variance}: {:?}", terms.total());
    }
}

#[test]
#[should_panic(expected = "x0_hat: ε says nothing of the image where ᾱ_t = 0")]
fn no_image_from_noise_alone() {
    let reverse = process(&schedules()[4], Prediction::Eps);
    reverse.read(Batch::zeros((2, 1, 1, 1)), &Batch::zeros((2, 1, 1, 1)), &[1, 2]);
}
