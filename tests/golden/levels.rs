//! Levels that differ from pixel to pixel against `noise_schedules`: the loss of learned noise levels in discrete and
//! in continuous time, the ancestral step and the prior. Its README says where the numbers come from.

use crate::common::{golden_files, near};
use ddpm::diffusion::{Level, Normal, Transition, noisy, posterior};
use ddpm::tensor::Batch;
use ndarray::{Array1, Array4, Zip};

fn level(gamma: &f64) -> Level {
    Level::from_gamma(*gamma)
}

fn sum(x: Batch) -> Array1<f64> {
    x.outer_iter().map(|image| image.sum()).collect()
}

#[test]
fn learned_levels() {
    for file in golden_files("noise_schedules") {
        let [x, eps, eps_hat, x_hat, z] =
            ["x", "eps", "eps_hat", "x_hat", "step_noise"].map(|name| file.rows(&format!("loss/{name}")));
        let [s, t] = ["gamma_s", "gamma_t"].map(|name| file.rows(&format!("loss/{name}")).map(level));
        let steps: Array4<Transition> = Zip::from(&s).and(&t).map_collect(|&s, &t| Transition::between(s, t));

        let x_t = noisy(&x, &t).sample(&eps);
        near("z_t", &x_t, &file.rows("loss/z_t"));

        // each pixel's KL, by means and variances; times T it is the discrete loss
        let (q, p) = (posterior(&x, &x_t, &steps), posterior(&x_hat, &x_t, &steps));
        let kl = q.kl(&p);
        near("kl", &kl, &file.vec("loss/kl"));
        let T = file.array("loss/T")[[0]];
        near("discrete", &(&kl * T), &file.vec("loss/discrete"));

        // the same as a weighted error of the noise; and with the slope of γ in place of its difference
        let squared = (&eps - &eps_hat).mapv(|d| d * d);
        near("weighted", &(sum(&squared * &steps.map(Transition::weight)) * T), &file.vec("loss/discrete"));
        let slope = file.rows("loss/slope_t");
        near("continuous", &sum(0.5 * slope * &squared), &file.vec("loss/continuous"));

        near("z_s", &p.sample(&z), &file.rows("loss/z_s"));

        let gamma_1 = file.rows("prior/gamma_1");
        let prior = noisy(&x, &gamma_1.map(level)).kl(&Normal::standard(&x));
        near("prior", &prior, &file.vec("prior/kl"));
    }
}

/// Negative control: σ_t² where σ_s² belongs moves the KL far beyond the tolerance.
#[test]
fn a_wrong_variance_is_seen() {
    let file = &golden_files("noise_schedules")[0];
    let [x, x_hat, x_t] = ["x", "x_hat", "z_t"].map(|name| file.rows(&format!("loss/{name}")));
    let [s, t] = ["gamma_s", "gamma_t"].map(|name| file.rows(&format!("loss/{name}")).map(level));
    let wrong = Zip::from(&s).and(&t).map_collect(|&s, &t| Transition { s: t, ..Transition::between(s, t) });
    let kl = posterior(&x, &x_t, &wrong).kl(&posterior(&x_hat, &x_t, &wrong));
    let expected = file.vec("loss/kl");
    assert!(
        kl.iter().zip(&expected).all(|(kl, expected)| (kl / expected - 1.0).abs() > 1e-3),
        "{kl} {expected:?}"
    );
}
