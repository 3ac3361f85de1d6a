//! The reverse process beside the weights: diffusers' `scheduler_config.json`.

use crate::diffusion::{Prediction, Reverse, Schedule, Variance, linspace};
use crate::error::Fault;
use crate::schema::{self, OtherKeys};
use crate::unet::UnetConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// diffusers' name of the file.
pub const SCHEDULER: &str = "scheduler_config.json";

/// diffusers' names, and ours. `mu_tilde` and `learned` are ours alone: diffusers has no such process.
const PREDICTIONS: [(&str, Prediction); 4] = [
    ("epsilon", Prediction::Eps),
    ("sample", Prediction::X0),
    ("mu_tilde", Prediction::MuTilde),
    ("v_prediction", Prediction::V),
];
/// The first name of each is the one that is written.
const VARIANCES: [(&str, Variance); 6] = [
    ("fixed_large", Variance::Beta),
    ("fixed_large_log", Variance::Beta),
    ("fixed_small", Variance::BetaTilde),
    ("fixed_small_log", Variance::BetaTilde),
    ("learned_range", Variance::LearnedRange),
    ("learned", Variance::Learned),
];

/// The keys that make the process, with the defaults of diffusers' `DDPMScheduler`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    num_train_timesteps: usize,
    beta_schedule: String,
    beta_start: f64,
    beta_end: f64,
    trained_betas: Option<Vec<f64>>,
    rescale_betas_zero_snr: bool,
    variance_type: String,
    clip_sample: bool,
    clip_sample_range: f64,
    thresholding: bool,
    prediction_type: Option<String>,
    /// before diffusers 0.9 it stood for `prediction_type`: true is `epsilon`, false `sample`
    predict_epsilon: Option<bool>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            num_train_timesteps: 1000,
            beta_schedule: "linear".into(),
            beta_start: 1e-4,
            beta_end: 0.02,
            trained_betas: None,
            rescale_betas_zero_snr: false,
            variance_type: "fixed_small".into(),
            clip_sample: true,
            clip_sample_range: 1.0,
            thresholding: false,
            prediction_type: None,
            predict_epsilon: None,
        }
    }
}

/// Schedulers whose configuration describes a chain; what only steers diffusers' own loop has no effect here.
const CLASSES: [&str; 4] =
    ["DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler"];
const OTHER_KEYS: OtherKeys = OtherKeys {
    only: &[],
    without_effect: &[
        "dynamic_thresholding_ratio",
        "sample_max_value",
        "set_alpha_to_one",
        "steps_offset",
        "tensor_format",
        "timestep_spacing",
        "timestep_values",
    ],
};

/// Reads the reverse process from the configuration of a `DDPMScheduler` or `DDIMScheduler`; absent keys have diffusers'
/// defaults.
///
/// # Errors
/// Not JSON, an unknown key, or a value that asks for what isn't done here; names the key.
pub fn reverse_from_json(text: &str) -> Result<Reverse, Fault> {
    schema::class(text, &CLASSES)?;
    let config: Config = schema::read(text, &OTHER_KEYS)?;
    if config.thresholding {
        return Err(Fault::value("thresholding", "false", true));
    }
    if config.clip_sample && config.clip_sample_range != 1.0 {
        return Err(Fault::value("clip_sample_range", "1.0", config.clip_sample_range));
    }
    let prediction = prediction(&config)?;
    let variance = named("variance_type", &config.variance_type, &VARIANCES)?;
    let mut schedule = schedule(&config)?;
    if config.rescale_betas_zero_snr {
        schedule = schedule.rescaled_to_zero_snr().map_err(|e| Fault::format("a schedule", e))?;
    }
    let reverse = Reverse { schedule, prediction, variance, clip: config.clip_sample };
    reverse.check().map_err(|e| Fault::format("a process that can be run", e))?;
    Ok(reverse)
}

/// What the network predicts, by the key of today or the one of old, which must not contradict each other.
fn prediction(config: &Config) -> Result<Prediction, Fault> {
    let old = config.predict_epsilon.map(|eps| if eps { "epsilon" } else { "sample" });
    let name = match (config.prediction_type.as_deref(), old) {
        (Some(name), Some(old)) if name != old => {
            let expected = format!("{} or nothing, since prediction_type is {name}", name == "epsilon");
            return Err(Fault::value("predict_epsilon", expected, old == "epsilon"));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => "epsilon",
    };
    named("prediction_type", name, &PREDICTIONS)
}

/// What a table calls by this name.
fn named<T: Copy>(key: &str, name: &str, table: &[(&str, T)]) -> Result<T, Fault> {
    let found = table.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = table.iter().map(|(known, _)| *known).collect();
        Fault::value(key, names.join(" or "), json!(name))
    })
}

/// A network whose reverse process learns its variance has twice the channels; any other has as many as the image.
///
/// # Errors
/// Names `out_channels`.
pub(crate) fn check_channels(config: &UnetConfig, reverse: &Reverse) -> Result<(), Fault> {
    let channels = match (config.sees_known(), reverse.variance.is_learned()) {
        (true, false) => return Ok(()),
        (true, true) => {
            let expected = "as many as out_channels where the variance is learned";
            return Err(Fault::value("in_channels", expected, config.in_channels));
        }
        (false, learned) => config.in_channels * if learned { 2 } else { 1 },
    };
    if config.out_channels == channels {
        return Ok(());
    }
    let expected = format!("{channels} for variance {}", reverse.variance);
    Err(Fault::value("out_channels", expected, config.out_channels))
}

/// The schedule: listed betas, or a rule.
fn schedule(config: &Config) -> Result<Schedule, Fault> {
    let from_betas = |betas: &[f64]| Schedule::from_betas(betas).map_err(|e| Fault::format("a schedule", e));
    if let Some(betas) = &config.trained_betas {
        return from_betas(betas);
    }
    let steps = config.num_train_timesteps;
    if !(1..=1_000_000).contains(&steps) {
        return Err(Fault::value("num_train_timesteps", "1 to 1,000,000 steps", steps));
    }
    let (start, end) = (config.beta_start, config.beta_end);
    let betas: Vec<f64> = match config.beta_schedule.as_str() {
        "linear" => linspace(start, end, steps).collect(),
        "scaled_linear" => linspace(start.sqrt(), end.sqrt(), steps).map(|b| b * b).collect(),
        "sigmoid" => linspace(-6.0, 6.0, steps).map(|s| start + (end - start) / (1.0 + (-s).exp())).collect(),
        "squaredcos_cap_v2" => return Ok(Schedule::cosine(steps)),
        other => {
            let expected = "linear, scaled_linear, sigmoid or squaredcos_cap_v2";
            return Err(Fault::value("beta_schedule", expected, json!(other)));
        }
    };
    from_betas(&betas)
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
    fn old_keys_are_honoured_and_idle_ones_passed_over() {
        let old = |text: &str| read(text).unwrap().prediction;
        assert_eq!(old(r#"{"predict_epsilon": false}"#), Prediction::X0);
        assert_eq!(old(r#"{"predict_epsilon": true, "prediction_type": "epsilon"}"#), Prediction::Eps);
        let reverse = read(
            r#"{"_class_name": "DDIMScheduler", "set_alpha_to_one": false, "steps_offset": 1, "variance_type":
                "fixed_small_log", "timestep_spacing": "leading", "clip_sample": false, "clip_sample_range": 4}"#,
        )
        .unwrap();
        assert_eq!((reverse.variance, reverse.clip), (Variance::BetaTilde, false));
    }

    #[test]
    fn the_sigmoid_is_ours() {
        let found = read(r#"{"beta_schedule": "sigmoid", "num_train_timesteps": 100}"#).unwrap().schedule;
        for t in 1..=100 {
            assert!((found.beta(t) / Schedule::sigmoid(100).beta(t) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn each_wrong_value_is_named() {
        for (text, message) in [
            ("{", "expected a JSON object, found EOF while parsing an object at line 1 column 1"),
            (r#"{"_class_name": "EulerDiscreteScheduler"}"#, r#"'_class_name': expected DDPMScheduler or"#),
            (r#"{"beta_shedule": "linear"}"#, "unknown key 'beta_shedule'; is it 'beta_schedule'?"),
            (r#"{"prediction": "sample"}"#, "unknown key 'prediction'; is it 'prediction_type'?"),
            (
                r#"{"predict_epsilon": false, "prediction_type": "epsilon"}"#,
                "'predict_epsilon': expected true or nothing, since prediction_type is epsilon, found false",
            ),
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
            (
                r#"{"variance_type": "x"}"#,
                "'variance_type': expected fixed_large or fixed_large_log or fixed_small or",
            ),
            (
                r#"{"beta_schedule": "laplace"}"#,
                "'beta_schedule': expected linear, scaled_linear, sigmoid or squaredcos_cap_v2, found \"laplace\"",
            ),
            (
                r#"{"num_train_timesteps": 0}"#,
                "'num_train_timesteps': expected 1 to 1,000,000 steps, found 0",
            ),
            (r#"{"beta_end": "x"}"#, "'beta_end': expected a number, found \"x\""),
            (r#"{"trained_betas": ["x"]}"#, "'trained_betas[0]': expected a number, found \"x\""),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
