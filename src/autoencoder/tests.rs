use super::*;
use crate::nn::gradient_check::{check, check_all, shaken};
use crate::params::Params;
use crate::rng::{normal, stream};
use ndarray::s;
use proptest::prelude::*;

fn config() -> AutoencoderConfig {
    AutoencoderConfig { latent_channels: 2, ..AutoencoderConfig::new(8, 1, &[4, 6], 2) }
}

fn awake(config: &AutoencoderConfig) -> AutoencoderKl {
    shaken(AutoencoderKl::new(config, &mut stream(1, 0)), 0.1)
}

fn images(n: usize) -> Tensor4 {
    normal((n, 8, 6, 1), &mut stream(2, 0)) * 0.5
}

/// As the formulas say, from the parts: without a gradient, without a cache.
fn plain_loss(model: &AutoencoderKl, x: &Tensor4, noise: &Batch, beta: f64) -> f64 {
    let x = x.mapv(f64::from);
    let posterior = model.encode(&x);
    let x_hat = model.decode(&posterior.normal.sample(noise));
    let kl = posterior.normal.kl(&Normal::standard(noise)).sum();
    let squared: f64 = x.iter().zip(&x_hat).map(|(x, y)| (x - y).powi(2)).sum();
    (squared + beta * kl) / x.len() as f64
}

#[test]
fn loss_and_gradients() {
    let (model, x, beta) = (awake(&config()), images(2), 0.3);
    let noise: Batch = normal((2, 4, 3, 2), &mut stream(3, 0));
    let mut grad = model.zeros_like();
    let loss = model.loss_and_gradient(x.clone(), &noise, beta, &mut grad);
    assert!((loss.loss / plain_loss(&model, &x, &noise, beta) - 1.0).abs() < 1e-5);
    let sum = (loss.squared_error.sum() + beta * loss.kl.sum()) / x.len() as f64;
    assert!((loss.loss - sum).abs() < 1e-12);

    check("autoencoder x", &x, &loss.dx, |x| plain_loss(&model, x, &noise, beta));
    check_all("autoencoder", &model, &grad, |model| plain_loss(model, &x, &noise, beta));
}

#[test]
fn images_do_not_mix_and_groups_do_not_matter() {
    let (model, x) = (awake(&config()), images(11).mapv(f64::from));
    let whole = model.encode(&x).normal;
    let alone = model.encode(&x.slice(s![9..10, .., .., ..]).to_owned()).normal;
    assert_eq!(whole.mean.slice(s![9..10, .., .., ..]), alone.mean);
    let z = whole.mean;
    assert_eq!(
        model.decode(&z).slice(s![9..10, .., .., ..]),
        model.decode(&z.slice(s![9..10, .., .., ..]).to_owned())
    );
}

/// With 1×1 images and linear maps the model is probabilistic PCA, whose likelihood is known: the bound is exact where q is
/// the true posterior, and nowhere less (Lucas et al. 2019, section 3).
#[test]
fn the_bound_of_a_linear_model_is_its_likelihood() {
    let (w, s2) = (0.8f64, 0.1f64); // x = w z + s ε, one number each
    let posterior_variance = s2 / (w * w + s2);
    for x in [-1.0, 0.3, 2.0] {
        let marginal = crate::diffusion::log_normal(x, 0.0, (w * w + s2).ln());
        let bound = |mean: f64, variance: f64| {
            let expected_square = (x - w * mean).powi(2) + w * w * variance; // E_q (x − w z)²
            let kl = crate::diffusion::kl_normal(mean, variance.ln(), 0.0, 0.0);
            -expected_square / (2.0 * s2) - 0.5 * (2.0 * std::f64::consts::PI * s2).ln() - kl
        };
        let mean = w * x / (w * w + s2);
        assert!((bound(mean, posterior_variance) - marginal).abs() < 1e-12);
        assert!(bound(mean + 0.1, posterior_variance) < marginal - 1e-3);
        assert!(bound(mean, 2.0 * posterior_variance) < marginal - 1e-2);
    }
}

#[test]
fn configurations_are_read_written_and_refused() {
    for config in [config(), AutoencoderConfig { scaling_factor: 0.71, layers_per_block: 2, ..config() }] {
        assert_eq!(AutoencoderConfig::from_json(&config.to_json()).unwrap(), config);
    }
    let one_level = r#"{"block_out_channels": [64], "force_upcast": false}"#;
    assert_eq!(AutoencoderConfig::from_json(one_level).unwrap(), AutoencoderConfig::default());
    for (key, message) in [
        (r#""shift_factor": 0.1"#, "'shift_factor': expected null, found 0.1"),
        (r#""use_quant_conv": false"#, "'use_quant_conv': expected true, found false"),
        (r#""latents_mean": [0.1]"#, "'latents_mean': expected null, found [0.1]"),
        (
            r#""down_block_types": ["DownBlock2D"]"#,
            "'down_block_types[0]': expected `DownEncoderBlock2D`, found \"DownBlock2D\"",
        ),
        (
            r#""block_out_channels": [64, 64]"#,
            "'down_block_types': expected 2 entries, as block_out_channels has, found 1",
        ),
        (r#""norm_num_groups": 7"#, "'norm_num_groups': expected a divisor of 64 channels, found 7"),
        (r#""scaling_factor": 0"#, "'scaling_factor': expected a positive number, found 0"),
        (r#""latent_channels": 0"#, "'latent_channels': expected a positive number, found 0"),
        (r#""scale_factor": 1"#, "unknown key 'scale_factor'; is it 'scaling_factor'?"),
        (r#""_class_name": "VQModel""#, "'_class_name': expected AutoencoderKL, found \"VQModel\""),
        (
            r#""latent_channels": 1000000"#,
            "'block_out_channels': expected a network of at most 300000000 parameters",
        ),
    ] {
        let error = AutoencoderConfig::from_json(&format!("{{{key}}}")).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Counted without building it, and built.
    #[test]
    fn parameters_are_counted_exactly(
        widths in prop::collection::vec(1usize..4, 1..4),
        layers in 1usize..4,
        (channels, latent) in (1usize..4, 1usize..5),
    ) {
        let widths: Vec<usize> = widths.iter().map(|w| 2 * w).collect();
        let config = AutoencoderConfig {
            layers_per_block: layers,
            latent_channels: latent,
            ..AutoencoderConfig::new(8, channels, &widths, 2)
        };
        let built = AutoencoderKl::new(&config, &mut stream(0, 0)).count();
        prop_assert_eq!(built as f64, config.parameters());
    }
}
