//! The autoencoder against reference data made by diffusers' `AutoencoderKL` in f64 (`tests/golden/README.md`): moments,
//! posterior, reconstruction, bound, and all gradients.

use crate::common::{Golden, assert_close, golden_file, golden_files, max_error};
use ddpm::autoencoder::{AutoencoderConfig, AutoencoderKl, Posterior};
use ddpm::diffusion::Normal;
use ddpm::params::Params;
use ddpm::rng::stream;
use ddpm::tensor::Batch;
use std::f64::consts::{LN_2, PI};

fn model(golden: &Golden) -> AutoencoderKl {
    let config = AutoencoderConfig::from_json(golden.meta("config")).unwrap();
    let whole = AutoencoderConfig::from_json(golden.meta("config_json")).unwrap();
    assert_eq!(config, whole, "all that diffusers writes");
    golden.fill(AutoencoderKl::new(&config, &mut stream(0, 0)), "w/")
}

#[test]
fn posterior_and_reconstruction() {
    for golden in golden_files("vae_").into_iter().filter(|golden| golden.has("y")) {
        let model = model(&golden);
        let q = model.encode(&golden.batch("x"));
        golden.assert_near("mean", &q.normal.mean, &golden.batch("mean"), 1e-5);
        golden.assert_near("log variance", &q.normal.log_variance, &golden.batch("logvar"), 1e-5);
        let z = q.normal.sample(&golden.batch("noise"));
        golden.assert_near("z", &z, &golden.batch("z"), 1e-5);
        golden.assert_near("reconstruction", &model.decode(&golden.batch("z")), &golden.batch("y"), 2e-5);
        golden.assert_near(
            "of the mean",
            &model.decode(&golden.batch("mean")),
            &golden.batch("y_mode"),
            2e-5,
        );
        golden.assert_near("scaled", &(&z * model.config.scaling_factor), &golden.batch("unet_input"), 1e-5);
        // negative control: a latent scaled before it is decoded is another image
        let wrong = model.decode(&(golden.batch("z") * model.config.scaling_factor));
        let (error, max) = max_error(&wrong, &golden.batch("y"));
        assert!(error > 0.05 * max, "{error:e} of {max}");
    }
}

#[test]
fn loss_bound_and_all_gradients() {
    for golden in golden_files("vae_").into_iter().filter(|golden| golden.has("y")) {
        let (model, x) = (model(&golden), golden.batch32("x"));
        let beta: f64 = golden.meta("beta").parse().unwrap();
        let mut grad = model.zeros_like();
        let loss = model.loss_and_gradient(x.clone(), &golden.batch("noise"), beta, &mut grad);
        assert_close("loss", &[loss.loss], &golden.vec("loss"), 1e-5, 0.0);
        assert_close("squared error", &loss.squared_error, &golden.vec("rec_sq"), 1e-5, 0.0);
        assert_close("KL", &loss.kl, &golden.vec("kl"), 1e-5, 0.0);
        let dx = loss.dx.mapv(f64::from);
        golden.assert_near("∂/∂x", &dx, &golden.batch("grad_x"), 3e-5);

        // −ELBO = |x − x̂|²/(2 s²) + D/2 log(2π s²) + KL, in bits per dimension
        let (s2, d): (f64, _) =
            (golden.meta("decoder_variance").parse().unwrap(), (x.len() / x.dim().0) as f64);
        let bits =
            (&loss.squared_error / (2.0 * s2) + d / 2.0 * (2.0 * PI * s2).ln() + &loss.kl) / (d * LN_2);
        assert_close("bits/dim", &bits, &golden.vec("neg_elbo_bits_per_dim"), 1e-5, 1e-6);

        golden.assert_gradients(&grad);
    }
}

/// Log variances outside, on and inside the clamp.
#[test]
fn the_posterior_alone() {
    let golden = golden_file("vae_posterior");
    let q = Posterior::new(&golden.batch("moments"));
    let (noise, g): (Batch, Batch) = (golden.batch("noise"), golden.batch("g"));
    let standard = Normal::standard(&noise);
    assert_close("mean", &q.normal.mean, &golden.batch("mean"), 1e-12, 0.0);
    assert_close("log variance", &q.normal.log_variance, &golden.batch("logvar"), 1e-12, 0.0);
    assert_close("σ", &q.normal.std(), &golden.batch("std"), 1e-12, 0.0);
    assert_close("z", &q.normal.sample(&noise), &golden.batch("z"), 1e-12, 1e-15);
    assert_close("KL", &q.normal.kl(&standard), &golden.vec("kl"), 1e-12, 0.0);
    assert_close("∂KL", &q.backward_kl(), &golden.batch("grad_kl"), 1e-12, 1e-15);
    assert_close("∂z", &q.backward_sample(&noise, &g), &golden.batch("grad_z"), 1e-12, 1e-15);
}
