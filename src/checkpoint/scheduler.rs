//! The reverse process beside the weights: diffusers' `scheduler_config.json`.

use crate::diffusion::{Prediction, Reverse, Schedule, Variance, linspace};
use crate::error::Fault;
use crate::unet::UnetConfig;
use serde_json::{Map, Value, json};

/// diffusers' name of the file.
pub const SCHEDULER: &str = "scheduler_config.json";

/// diffusers' names, and ours. `mu_tilde` and `learned` are ours alone: diffusers has no such process.
const PREDICTIONS: [(&str, Prediction); 4] = [
    ("epsilon", Prediction::Eps),
    ("sample", Prediction::X0),
    ("mu_tilde", Prediction::MuTilde),
    ("v_prediction", Prediction::V),
];
const VARIANCES: [(&str, Variance); 4] = [
    ("fixed_large", Variance::Beta),
    ("fixed_small", Variance::BetaTilde),
    ("learned_range", Variance::LearnedRange),
    ("learned", Variance::Learned),
];

/// Reads the reverse process from a `DDPMScheduler` configuration; absent keys have diffusers' defaults.
///
/// Keys that only steer diffusers' own sampling loop are passed over.
///
/// # Errors
/// Not JSON, or a value that asks for what isn't done here; names the key.
pub fn reverse_from_json(text: &str) -> Result<Reverse, Fault> {
    let map: Map<String, Value> =
        serde_json::from_str(text).map_err(|e| Fault::format("a JSON object", e))?;
    let wrong = |key: &str, expected: &str| Fault::value(key, expected, map.get(key).unwrap_or(&Value::Null));
    let get = |key: &str, default: Value| map.get(key).filter(|v| !v.is_null()).cloned().unwrap_or(default);
    if get("thresholding", json!(false)) != json!(false) {
        return Err(wrong("thresholding", "false"));
    }
    if get("clip_sample_range", json!(1.0)).as_f64() != Some(1.0) {
        return Err(wrong("clip_sample_range", "1.0"));
    }
    let named = |key: &str, default: &str, names: &[&str]| {
        let value = get(key, json!(default));
        let found = names.iter().position(|name| value.as_str() == Some(name));
        found.ok_or_else(|| wrong(key, &names.join(" or ")))
    };
    let prediction = PREDICTIONS[named("prediction_type", "epsilon", &PREDICTIONS.map(|p| p.0))?].1;
    let variance = VARIANCES[named("variance_type", "fixed_small", &VARIANCES.map(|v| v.0))?].1;
    let clip =
        get("clip_sample", json!(true)).as_bool().ok_or_else(|| wrong("clip_sample", "true or false"))?;
    let zero_snr = get("rescale_betas_zero_snr", json!(false)).as_bool();
    let zero_snr = zero_snr.ok_or_else(|| wrong("rescale_betas_zero_snr", "true or false"))?;
    let mut schedule = schedule(&get, &wrong)?;
    if zero_snr {
        schedule = schedule.rescaled_to_zero_snr().map_err(|e| Fault::format("a schedule", e))?;
    }
    let reverse = Reverse { schedule, prediction, variance, clip };
    reverse.check().map_err(|e| Fault::format("a process that can be run", e))?;
    Ok(reverse)
}

/// A network whose reverse process learns its variance has twice the channels; any other has as many as the image.
///
/// # Errors
/// Names `out_channels`.
pub(crate) fn check_channels(config: &UnetConfig, reverse: &Reverse) -> Result<(), Fault> {
    let channels = config.in_channels * if reverse.variance.is_learned() { 2 } else { 1 };
    if config.out_channels == channels {
        return Ok(());
    }
    let expected = format!("{channels} for variance {}", reverse.variance);
    Err(Fault::value("out_channels", expected, config.out_channels))
}

/// The schedule: listed betas, or a rule.
fn schedule(
    get: &dyn Fn(&str, Value) -> Value,
    wrong: &dyn Fn(&str, &str) -> Fault,
) -> Result<Schedule, Fault> {
    let from_betas = |betas: &[f64]| Schedule::from_betas(betas).map_err(|e| Fault::format("a schedule", e));
    if let Value::Array(betas) = get("trained_betas", Value::Null) {
        let betas: Option<Vec<f64>> = betas.iter().map(Value::as_f64).collect();
        let betas = betas.ok_or_else(|| wrong("trained_betas", "a list of numbers"))?;
        return from_betas(&betas);
    }
    let steps = get("num_train_timesteps", json!(1000));
    let steps = steps.as_u64().filter(|t| (1..=1_000_000).contains(t));
    let steps = steps.ok_or_else(|| wrong("num_train_timesteps", "1 to 1,000,000 steps"))? as usize;
    let number =
        |key: &str, default: f64| get(key, json!(default)).as_f64().ok_or_else(|| wrong(key, "a number"));
    let (start, end) = (number("beta_start", 1e-4)?, number("beta_end", 0.02)?);
    match get("beta_schedule", json!("linear")).as_str() {
        Some("linear") => from_betas(&linspace(start, end, steps).collect::<Vec<_>>()),
        Some("scaled_linear") => {
            from_betas(&linspace(start.sqrt(), end.sqrt(), steps).map(|b| b * b).collect::<Vec<_>>())
        }
        Some("squaredcos_cap_v2") => Ok(Schedule::cosine(steps)),
        _ => Err(wrong("beta_schedule", "linear, scaled_linear or squaredcos_cap_v2")),
    }
}

/// A `DDPMScheduler` configuration; the schedule is stored by its betas, which decimals reproduce to the bit.
pub fn reverse_to_json(reverse: &Reverse) -> String {
    let schedule = &reverse.schedule;
    let betas: Vec<f64> = (1..=schedule.T()).map(|t| schedule.beta(t)).collect();
    let linear = *schedule == Schedule::linear(schedule.T());
    let prediction =
        PREDICTIONS.iter().find(|p| p.1 == reverse.prediction).expect("every prediction has a name");
    let variance = VARIANCES.iter().find(|v| v.1 == reverse.variance).expect("every variance has a name");
    let value = json!({
        "_class_name": "DDPMScheduler",
        "beta_end": 0.02,
        "beta_schedule": "linear",
        "beta_start": 0.0001,
        "clip_sample": reverse.clip,
        "num_train_timesteps": schedule.T(),
        "prediction_type": prediction.0,
        "trained_betas": if linear { Value::Null } else { json!(betas) },
        "variance_type": variance.0,
    });
    serde_json::to_string_pretty(&value).expect("plain values") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Reverse, Fault> {
        reverse_from_json(text)
    }

    #[test]
    fn every_process_survives_the_round_trip() {
        let zero_snr = Schedule::linear(1000).rescaled_to_zero_snr().unwrap();
        for schedule in [
            Schedule::linear(1000),
            Schedule::linear(40),
            Schedule::cosine(30),
            Schedule::quad(100),
            zero_snr,
        ] {
            for (_, prediction) in PREDICTIONS {
                for (_, variance) in VARIANCES {
                    let reverse = Reverse { schedule: schedule.clone(), prediction, variance, clip: false };
                    if reverse.check().is_err() {
                        continue; // a process that no file holds
                    }
                    let back = read(&reverse_to_json(&reverse)).unwrap();
                    assert_eq!(back.schedule, reverse.schedule);
                    assert_eq!((back.prediction, back.variance, back.clip), (prediction, variance, false));
                }
            }
        }
    }

    /// As google/ddpm-cifar10-32 has it.
    #[test]
    fn the_published_process_is_the_papers() {
        let reverse = read(
            r#"{"_class_name": "DDPMScheduler", "beta_end": 0.02, "beta_schedule": "linear", "beta_start": 0.0001,
                "clip_sample": true, "num_train_timesteps": 1000, "trained_betas": null, "variance_type": "fixed_large"}"#,
        );
        let reverse = reverse.unwrap();
        for t in 1..=1000 {
            let (got, want) = (reverse.schedule.beta(t), Schedule::linear(1000).beta(t));
            assert!((got - want).abs() < 1e-16, "β_{t} = {got}, not {want}");
        }
        assert_eq!(
            (reverse.prediction, reverse.variance, reverse.clip),
            (Prediction::Eps, Variance::Beta, true)
        );
    }

    #[test]
    fn zero_terminal_snr_is_honoured() {
        let reverse = read(r#"{"rescale_betas_zero_snr": true, "prediction_type": "v_prediction"}"#).unwrap();
        let expected = Schedule::linear(1000).rescaled_to_zero_snr().unwrap();
        for t in 1..=1000 {
            let (got, want) = (reverse.schedule.beta(t), expected.beta(t));
            assert!((got - want).abs() < 1e-12, "β_{t} = {got}, not {want}");
        }
        assert!(reverse.schedule.has_zero_terminal_snr() && reverse.prediction == Prediction::V);
    }

    #[test]
    fn each_wrong_value_is_named() {
        for (text, message) in [
            ("{", "expected a JSON object, found EOF while parsing an object at line 1 column 1"),
            (r#"{"thresholding": true}"#, "'thresholding': expected false, found true"),
            (r#"{"rescale_betas_zero_snr": 1}"#, "'rescale_betas_zero_snr': expected true or false, found 1"),
            (
                r#"{"rescale_betas_zero_snr": true}"#,
                "expected a process that can be run, found prediction: expected v, x0 or mu_tilde, since alpha_bar_T = 0",
            ),
            (
                r#"{"trained_betas": [0.5, 1.0], "prediction_type": "epsilon"}"#,
                "expected v, x0 or mu_tilde, since alpha_bar_T = 0, found eps",
            ),
            (r#"{"clip_sample_range": 2}"#, "'clip_sample_range': expected 1.0, found 2"),
            (r#"{"clip_sample": 1}"#, "'clip_sample': expected true or false, found 1"),
            (
                r#"{"prediction_type": "velocity"}"#,
                "'prediction_type': expected epsilon or sample or mu_tilde or v_prediction",
            ),
            (r#"{"variance_type": "x"}"#, "'variance_type': expected fixed_large or fixed_small"),
            (
                r#"{"beta_schedule": "x"}"#,
                "'beta_schedule': expected linear, scaled_linear or squaredcos_cap_v2",
            ),
            (
                r#"{"num_train_timesteps": 0}"#,
                "'num_train_timesteps': expected 1 to 1,000,000 steps, found 0",
            ),
            (r#"{"beta_end": "x"}"#, "'beta_end': expected a number, found \"x\""),
            (r#"{"trained_betas": ["x"]}"#, "'trained_betas': expected a list of numbers"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
