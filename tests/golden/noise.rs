//! Learned noise levels against `noise_schedules`: paths, terms, every gradient, and the optima of Gaussian worlds.

use crate::common::{golden_files, near};
use ddpm::diffusion::oracle::GaussianField;
use ddpm::diffusion::{
    Denoiser, Level, Path, Schedule, continuous_term, diffusion_term, pinned, prior_term,
    reconstruction_term, through_z,
};
use ddpm::tensor::Batch;
use ddpm::train::Gaussians;
use ndarray::{Array1, Array2, Array4, Axis};

#[test]
fn the_monotone_net() {
    for file in golden_files("noise_schedules") {
        let names = ["l1.kernel", "l1.bias", "l2.kernel", "l2.bias", "l3.kernel"];
        let numbers: Vec<f64> =
            names.iter().flat_map(|name| file.vec(&format!("vdm_net/w/{name}"))).collect();
        let ends = [-13.3, 5.0];
        let [times, gamma, slope, fixed, fixed_slope] = ["t", "gamma", "slope", "pinned", "pinned_slope"]
            .map(|name| file.vec(&format!("vdm_net/{name}")));
        let cotangent = file.vec("vdm_net/cotangent_gamma");
        let (mut grad, mut grad_pinned) = (vec![0.0; numbers.len()], vec![0.0; numbers.len()]);
        for (i, &t) in times.iter().enumerate() {
            let (point, at) = (Path::Monotone.at(&numbers, t), pinned(Path::Monotone, &numbers, ends, t));
            near("γ and slope", [&point.value, &point.slope], [&gamma[i], &slope[i]]);
            near("pinned", [&at.gamma, &at.slope], [&fixed[i], &fixed_slope[i]]);
            grad.iter_mut().zip(&point.gradient).for_each(|(sum, g)| *sum += cotangent[i] * g);
            grad_pinned.iter_mut().zip(&at.gradient).for_each(|(sum, g)| *sum += cotangent[i] * g);
        }
        for (what, grad) in [("grad_gamma", &grad), ("grad_pinned", &grad_pinned)] {
            let expected: Vec<f64> =
                names.iter().flat_map(|name| file.vec(&format!("vdm_net/{what}/{name}"))).collect();
            near(what, grad, &expected);
        }
    }
}

#[test]
fn the_polynomial() {
    for file in golden_files("noise_schedules") {
        let [a, b, raw, times] = ["a", "b", "c_raw", "t"].map(|name| file.vec(&format!("poly/{name}")));
        let ends: [f64; 2] = file.vec("poly/gamma_range").try_into().unwrap();
        let (gamma, cotangent) = (file.matrix("poly/gamma_softplus"), file.matrix("poly/cotangent_gamma"));
        let mut grad = vec![0.0; raw.len()];
        for (i, &t) in times.iter().enumerate() {
            for d in 0..a.len() {
                let point = pinned(Path::Polynomial, &[a[d], b[d], raw[d]], ends, t);
                near("γ", [&point.gamma], [&gamma[[i, d]]]);
                grad[d] += cotangent[[i, d]] * point.gradient[2];
            }
        }
        near("c_raw", &grad, &file.vec("poly/grad_gamma_softplus/c_raw"));
        // the same path with c itself: its raw number is that of softplus
        let c = file.vec("poly/c");
        let (gamma, slope) = (file.matrix("poly/gamma"), file.matrix("poly/slope"));
        let mut grads = [(); 3].map(|()| vec![0.0; c.len()]);
        for (i, &t) in times.iter().enumerate() {
            for d in 0..a.len() {
                // (a, b, c) and (−a, −b, −c) are one path
                let sign = c[d].signum();
                let raw = (sign * c[d] - 1e-3).exp_m1().ln();
                let point = pinned(Path::Polynomial, &[sign * a[d], sign * b[d], raw], ends, t);
                near("γ of c", [&point.gamma, &point.slope], [&gamma[[i, d]], &slope[[i, d]]]);
                let [da, db, d_raw] = *point.gradient else { panic!("three numbers") };
                let dc = d_raw * (1.0 + (-raw).exp()); // d softplus = sigmoid
                for (grad, of) in grads.iter_mut().zip([da, db, dc]) {
                    grad[d] += sign * cotangent[[i, d]] * of;
                }
            }
        }
        near("a", &grads[0], &file.vec("poly/grad_gamma/a"));
        near("b", &grads[1], &file.vec("poly/grad_gamma/b"));
        near("c", &grads[2], &file.vec("poly/grad_gamma/c"));
    }
}

#[test]
fn terms_and_gradients() {
    for file in golden_files("noise_schedules") {
        let [eps, eps_hat, gamma_t, gamma_s, slope] = ["eps", "eps_hat", "gamma_t", "gamma_s", "slope_t"]
            .map(|name| file.rows(&format!("loss/{name}")));
        let term = diffusion_term(&eps, &eps_hat, &gamma_t, &gamma_s, file.vec("loss/T")[0]);
        near("discrete", &term.nats, &file.array("loss/discrete"));
        near("∂ε̂", &term.d_input, &file.rows("loss/grad_eps_hat"));
        near("∂γ_t", &term.d_gamma, &file.rows("loss/grad_gamma_t"));
        near("∂γ_s", &term.d_gamma_s, &file.rows("loss/grad_gamma_s"));
        near("continuous", &continuous_term(&eps, &eps_hat, &slope), &file.array("loss/continuous"));

        let prior = prior_term(&file.rows("loss/x"), &file.rows("prior/gamma_1"));
        near("prior", &prior.nats, &file.array("prior/kl"));
        near("∂γ_1", &prior.d_gamma, &file.rows("prior/grad_gamma_1"));

        let (gamma_0, z) = (file.rows("rec/gamma_0"), file.rows("rec/z_rescaled"));
        let levels: Array4<u8> = file.rows("rec/level").mapv(|v| v as u8);
        let rec = reconstruction_term(&z, &gamma_0, &levels);
        let each = rec.nats.iter().sum::<f64>();
        near("reconstruction", [&each], [&file.array("rec/nll").sum()]);
        near("∂z", &rec.d_input, &file.rows("rec/grad_z"));
        near("∂γ_0", &rec.d_gamma, &file.rows("rec/grad_gamma_0"));
        let moving = &rec.d_input * &gamma_0.mapv(|g| 0.5 * (0.5 * g).exp()) * file.rows("rec/eps_0");
        near("∂γ_0 with z", &(&rec.d_gamma + &moving), &file.rows("rec/grad_gamma_0_through_z"));
    }
}

/// The three parts of the gradient by γ_t with the best denoiser of N(0, v); leaving one out is another number.
#[test]
fn the_gradient_has_three_parts() {
    for file in golden_files("noise_schedules") {
        let [x, eps, gamma_t, gamma_s] =
            ["x", "eps", "gamma_t", "gamma_s"].map(|name| file.rows(&format!("pathwise/{name}")));
        let v = Array1::from(file.vec("pathwise/variance")).insert_axis(Axis(1));
        let level = |gamma: &f64| Level::from_gamma(*gamma);
        let (alpha, sigma) = (gamma_t.map(|g| level(g).alpha), gamma_t.map(|g| level(g).variance.sqrt()));
        let z = &alpha * &x + &sigma * &eps;
        let spread = alpha.mapv(|a| a * a) * &v + sigma.mapv(|s| s * s);
        let eps_hat = &sigma * &z / &spread;
        let term = diffusion_term(&eps, &eps_hat, &gamma_t, &gamma_s, 1.0);
        near("loss", [&term.nats.sum()], &file.array("pathwise/loss"));
        near("weight", &term.d_gamma, &file.rows("pathwise/grad_weight"));
        let through = through_z(&x, &eps, &gamma_t, &(&term.d_input * &sigma / &spread));
        near("z", &through, &file.rows("pathwise/grad_through_z"));
        // ∂ε̂/∂γ with z held: σ' = ½ σ α², (α² v + σ²)' = α² σ² (1 − v)
        let d_sigma = 0.5 * &sigma * &alpha * &alpha;
        let d_spread = (&alpha * &alpha * &sigma * &sigma) * v.mapv(|v| 1.0 - v);
        let d_eps_hat = &z * &((&d_sigma * &spread - &sigma * &d_spread) / (&spread * &spread));
        let denoiser = &term.d_input * &d_eps_hat;
        near("denoiser", &denoiser, &file.rows("pathwise/grad_through_denoiser"));
        let total = &term.d_gamma + &through + &denoiser;
        near("total", &total, &file.rows("pathwise/grad_total"));
        let off = (&term.d_gamma - &total).iter().map(|d| d.abs()).fold(0.0, f64::max);
        assert!(off > 1e-2, "the weight alone is not the gradient: {off}");
    }
}

/// The bounds of sixteen Gaussians on the stored schedules, and their gradients.
#[test]
fn bounds_of_gaussians() {
    for file in golden_files("noise_schedules") {
        let world = Gaussians { variance: file.vec("gauss/variance").into() };
        for name in file.stems("/excess_bits_per_dim") {
            let gamma = file.matrix(&format!("{name}/gamma"));
            let (nats, grad) = world.diffusion(&gamma);
            near(&name, &nats, &file.array(&format!("{name}/diffusion_nats")));
            near(&name, [&world.excess(&gamma)], &file.array(&format!("{name}/excess_bits_per_dim")));
            if file.has(&format!("{name}/grad_gamma")) {
                near(&name, &grad, &file.matrix(&format!("{name}/grad_gamma")));
            }
        }
    }
}

/// The derivative of the bound in continuous time by each γ is half the error of the best guess of ε, of correlated Gaussians.
#[test]
fn errors_of_correlated_gaussians() {
    for file in golden_files("noise_schedules") {
        let (s, gamma) = (file.matrix("path/covariance"), file.matrix("path/gamma"));
        let d = s.nrows();
        for (row, expected) in gamma.outer_iter().zip(file.matrix("path/mmse_eps").outer_iter()) {
            let levels: Vec<Level> = row.iter().map(|&g| Level::from_gamma(g)).collect();
            // with a change of variables x' = α x/σ, z' = x' + ε: the world of a field at one level
            let scaled = Array2::from_shape_fn((d, d), |(i, j)| {
                let ratio = |k: usize| levels[k].alpha / levels[k].variance.sqrt();
                ratio(i) * s[[i, j]] * ratio(j)
            });
            let schedule = Schedule::from_betas(&[0.5]).unwrap(); // as much noise as image
            let field = GaussianField::new(scaled, schedule);
            // ε̂ = M z: Var(ε|z) = I − M, where √½ z' goes in and √½ (S + I)/2 comes back
            let units = Batch::from_shape_fn((d, 1, d, 1), |(i, _, j, _)| f64::from(u8::from(i == j)));
            let answers = field.predict(&(units * 0.5f64.sqrt()), &vec![1; d]);
            let mmse: Vec<f64> = (0..d).map(|k| 1.0 - answers[[k, 0, k, 0]]).collect();
            near("mmse", &mmse, expected);
        }
    }
}
