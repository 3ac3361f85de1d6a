//! The bug museum: slips that were published, in courses, blogs and libraries. Each is a wrong function somewhere in
//! the checks, and the check meant for it must find it.

/// At T = 50 the chain does not reach the prior: L_T is 0.3 to 0.7 bits/dim.
pub const B1: &str = "B1: the β range of T = 1000 kept for a short chain";
/// ᾱ_T stays at 0.99999: no noise at all.
pub const B2: &str = "B2: the quadratic schedule squares β_1 and β_T instead of taking their roots";
/// The mean drifts and the noise has next to no variance.
pub const B3: &str = "B3: the noise is scaled by β instead of √β, and drawn from [0, 1) instead of N(0, 1)";
/// q(x_t|x_{t−1}) with the coefficients of q(x_t|x_0).
pub const B4: &str = "B4: one step of the chain computed with ᾱ_t; ᾱ_t belongs to the jump from x_0";
/// The standard deviation is the root of the variance.
pub const B5: &str = "B5: the square root of 1 − ᾱ_t is missing";
/// The image is the mean of the last step; noise on top is only noise.
pub const B6: &str = "B6: noise is added at the last step too";
/// One step of the chain is left out at the low end.
pub const B7: &str = "B7: the first step of the chain is never visited";
/// ᾱ_1 must be 1 − β_1.
pub const B8: &str = "B8: ᾱ holds one factor too many, or is shifted by one";
/// ᾱ_t includes α_t.
pub const B9: &str = "B9: ᾱ_t leaves out α_t";
/// A table of 1 − ᾱ where its root is needed, or the cosine schedule without its square.
pub const B10: &str = "B10: a square or a root is forgotten in the table";
/// The ends of an interpolation are its sources.
pub const B11: &str = "B11: the two ends of the interpolation are swapped or mixed up";
/// After one step the average must be the weights.
pub const B12: &str = "B12: the average starts far from the weights and is never warmed up";
/// η = 1 is DDPM.
pub const B13: &str = "B13: σ of DDIM is not √β̃ at η = 1";
/// The network's output must change with t.
pub const B14: &str = "B14: the time embedding is computed and never used";
/// Clipping moves the mean of the step.
pub const B15: &str = "B15: the sampler clips x̂_0 where it is not asked to, or does not where it is";
/// The bound is a sum over t; one random t stands for all T of them.
pub const B16: &str = "B16: a term of one t is not multiplied by the number of terms";
/// Then it trains on the answer, and at the end has learned to copy.
pub const B17: &str = "B17: the network is shown the pixels that it shall fill in";

/// All of them.
pub const ALL: [&str; 17] = [B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17];
