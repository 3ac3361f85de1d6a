//! The bound of a model whose noise levels are learned, term by term, with every gradient (VDM, Kingma et al. 2021).
//!
//! −log p(x) ≤ E[−log p(x|z_0)] + Σ_{i=1}^{T} KL(q(z_s|z_t, x) ‖ p(z_s|z_t)) + KL(q(z_1|x) ‖ N(0, I)), t = i/T, s = (i − 1)/T
//!
//! x stands at the middle of one of 256 levels, x_v = 2 (v + ½)/256 − 1: another scale and another decoder than Ho's, so that
//! bits/dim of the two are not to be mixed. All terms are in nats; γ may differ from pixel to pixel.

use super::batch::sum_per_image;
use super::level::sigmoid;
use crate::tensor::Batch;
use ndarray::{Array1, Zip};

/// Levels of grey.
const LEVELS: usize = 256;

/// x_v = 2 (v + ½)/256 − 1.
///
/// ```
/// assert_eq!(ddpm::diffusion::level_value(255), 1.0 - 1.0 / 256.0);
/// ```
pub fn level_value(level: u8) -> f64 {
    2.0 * (f64::from(level) + 0.5) / LEVELS as f64 - 1.0
}

/// A term of the bound of each image, and its gradients where they are not zero.
#[derive(Clone, Debug)]
pub struct Term {
    /// nats, `[N]`
    pub nats: Array1<f64>,
    /// with respect to ε̂, or to z where there is none
    pub d_input: Batch,
    /// with respect to the γ of the later level
    pub d_gamma: Batch,
    /// with respect to the γ of the earlier level
    pub d_gamma_s: Batch,
}

/// T/2 Σ_d expm1(γ_t − γ_s) (ε − ε̂)² at one t drawn of T: its mean over t is the whole sum, L_T of VDM.
///
/// d_gamma is the part *through the weight*, T/2 e^{γ_t − γ_s} (ε − ε̂)², d_gamma_s its negative. γ_t also moves z_t: see
/// [`through_z`].
///
/// # Shapes
/// All `[N, H, W, C]`; `steps` = T, or 1 for a single term of the sum.
///
/// ```
/// use ddpm::diffusion::diffusion_term;
/// use ddpm::tensor::Batch;
/// let (one, zero) = (Batch::ones((1, 1, 1, 1)), Batch::zeros((1, 1, 1, 1)));
/// let term = diffusion_term(&one, &zero, &(&one * 2.0f64.ln()), &zero, 20.0);
/// assert!((term.nats[0] - 10.0).abs() < 1e-12); // T/2 (e^{ln 2} − 1)
/// ```
#[track_caller]
pub fn diffusion_term(eps: &Batch, eps_hat: &Batch, gamma_t: &Batch, gamma_s: &Batch, steps: f64) -> Term {
    let half = 0.5 * steps;
    let rise = gamma_t - gamma_s;
    let error = eps_hat - eps;
    let weight = rise.mapv(f64::exp_m1);
    let mut terms = error.clone();
    Zip::from(&mut terms).and(&weight).for_each(|e, w| *e = half * w * e.powi(2));
    let d_input = &error * &weight * (2.0 * half);
    let d_gamma = error.mapv(|e| half * e * e) * rise.mapv(f64::exp);
    Term { nats: sum_per_image(&terms), d_input, d_gamma_s: -&d_gamma, d_gamma }
}

/// What a term's gradient by z_t makes of γ_t: dz_t/dγ_t = −½ α σ² x + ½ σ α² ε, as z_t = α x + σ ε.
///
/// With the weight's part alone a schedule goes to the wrong place: for N(0, 0.3) at γ_t = 0.7, γ_s = −0.4 that part is 0.195,
/// the true derivative of the bound 0.082.
///
/// # Shapes
/// All `[N, H, W, C]`.
///
/// ```
/// use ddpm::diffusion::through_z;
/// let one = ddpm::tensor::Batch::ones((1, 1, 1, 1));
/// assert!(through_z(&one, &one, &(&one * 0.0), &one)[[0, 0, 0, 0]].abs() < 1e-12); // at γ = 0, α = σ
/// ```
#[track_caller]
pub fn through_z(x: &Batch, eps: &Batch, gamma_t: &Batch, d_z: &Batch) -> Batch {
    let mut d_gamma = d_z.clone();
    Zip::from(&mut d_gamma).and(x).and(eps).and(gamma_t).for_each(|d, x, eps, &gamma| {
        let (alpha2, sigma2) = (sigmoid(-gamma), sigmoid(gamma));
        *d *= 0.5 * (sigma2.sqrt() * alpha2 * eps - alpha2.sqrt() * sigma2 * x);
    });
    d_gamma
}

/// The continuous bound at one t of [0, 1]: ½ Σ_d γ'(t) (ε − ε̂)², nats, `[N]`; its mean over t is L_∞.
///
/// # Shapes
/// All `[N, H, W, C]`.
///
/// ```
/// use ddpm::diffusion::continuous_term;
/// let (one, zero) = (ddpm::tensor::Batch::ones((1, 1, 1, 1)), ddpm::tensor::Batch::zeros((1, 1, 1, 1)));
/// assert_eq!(continuous_term(&one, &zero, &(&one * 18.3))[0], 9.15);
/// ```
#[track_caller]
pub fn continuous_term(eps: &Batch, eps_hat: &Batch, slope: &Batch) -> Array1<f64> {
    sum_per_image(&((eps - eps_hat).mapv(|e| 0.5 * e * e) * slope))
}

/// KL(q(z_1|x) ‖ N(0, I)) = ½ Σ_d (α_1² x² + σ_1² − ln σ_1² − 1), nats, and its gradient by γ_1.
///
/// # Shapes
/// Both `[N, H, W, C]`.
///
/// ```
/// use ddpm::diffusion::prior_term;
/// use ddpm::tensor::Batch;
/// assert!(prior_term(&Batch::zeros((1, 1, 1, 1)), &Batch::from_elem((1, 1, 1, 1), 20.0)).nats[0] < 1e-12);
/// ```
#[track_caller]
pub fn prior_term(x: &Batch, gamma: &Batch) -> Term {
    let (mut nats, mut d_gamma) = (x.clone(), x.clone());
    Zip::from(&mut nats).and(&mut d_gamma).and(gamma).for_each(|x, d, &gamma| {
        let (alpha2, sigma2) = (sigmoid(-gamma), sigmoid(gamma));
        // σ² − ln σ² − 1 with σ² = 1 − α², so that nothing cancels where α² is small
        *d = 0.5 * (alpha2 * sigma2 * (1.0 - *x * *x) - alpha2);
        *x = 0.5 * (alpha2 * *x * *x - alpha2 - (-alpha2).ln_1p());
    });
    let zero = Batch::zeros(x.raw_dim());
    Term { nats: sum_per_image(&nats), d_input: zero.clone(), d_gamma, d_gamma_s: zero }
}

/// E[−log p(x|z_0)]: a softmax over the 256 levels of −(z_0/α_0 − x_v)²/(2 e^{γ_0}), nats.
///
/// `d_input` is by z_0/α_0, `d_gamma` by γ_0 with z_0/α_0 held; as that is x + e^{γ_0/2} ε, its own share is
/// d_input · ½ e^{γ_0/2} ε.
///
/// # Shapes
/// `rescaled` = z_0/α_0 and γ_0 `[N, H, W, C]`, `levels` the same.
///
/// ```
/// use ddpm::diffusion::{level_value, reconstruction_term};
/// use ndarray::Array4;
/// let z = Array4::from_elem((1, 1, 1, 1), level_value(7));
/// let term = reconstruction_term(&z, &Array4::from_elem((1, 1, 1, 1), -13.3), &Array4::from_elem((1, 1, 1, 1), 7));
/// assert!(term.nats[0] < 1e-3); // so little noise leaves no doubt
/// ```
#[track_caller]
pub fn reconstruction_term(rescaled: &Batch, gamma_0: &Batch, levels: &ndarray::Array4<u8>) -> Term {
    let (mut nats, mut d_input, mut d_gamma) = (rescaled.clone(), rescaled.clone(), rescaled.clone());
    Zip::from(&mut nats).and(&mut d_input).and(&mut d_gamma).and(gamma_0).and(levels).for_each(
        |nats, d_z, d_gamma, &gamma, &level| {
            let z = *nats;
            let precision = (-gamma).exp();
            let logit = |v: usize| -0.5 * precision * (z - level_value(v as u8)).powi(2);
            let max = (0..LEVELS).map(logit).fold(f64::NEG_INFINITY, f64::max);
            // Σ p_v, Σ p_v x_v and Σ p_v logit_v of the softmax, from which both gradients follow
            let (mut sum, mut mean, mut mean_logit) = (0.0, 0.0, 0.0);
            for v in 0..LEVELS {
                let (value, logit) = (level_value(v as u8), logit(v));
                let p = (logit - max).exp();
                (sum, mean, mean_logit) = (sum + p, mean + p * value, mean_logit + p * logit);
            }
            let own = logit(usize::from(level));
            *nats = max + sum.ln() - own;
            // d logit_v/dz = −(z − x_v)/e^γ, d logit_v/dγ = −logit_v
            *d_z = precision * (mean / sum - level_value(level));
            *d_gamma = own - mean_logit / sum;
        },
    );
    Term { nats: sum_per_image(&nats), d_input, d_gamma, d_gamma_s: Batch::zeros(rescaled.raw_dim()) }
}
