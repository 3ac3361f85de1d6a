//! The seven small networks that the crate `ddpm` ships for the paper's Table 2. The README beside it says how they
//! were trained.

/// The files of one, by their names in its folder.
macro_rules! files {
    ($folder:literal) => {
        &[
            ("config.json", include_bytes!(concat!($folder, "/config.json"))),
            ("scheduler_config.json", include_bytes!(concat!($folder, "/scheduler_config.json"))),
            (
                "diffusion_pytorch_model.safetensors",
                include_bytes!(concat!($folder, "/diffusion_pytorch_model.safetensors")),
            ),
            ("loss.csv", include_bytes!(concat!($folder, "/loss.csv"))),
        ]
    };
}

/// A folder's files by their names.
pub type Files = [(&'static str, &'static [u8])];

/// predicts μ̃, L, learned diagonal Σ
pub static MU_LEARNED: &Files = files!("mu_learned");
/// predicts μ̃, L, σ² = β
pub static MU_FIXED: &Files = files!("mu_fixed");
/// predicts μ̃, mean squared error
pub static MU_MSE: &Files = files!("mu_mse");
/// predicts ε, L, learned diagonal Σ
pub static EPS_LEARNED: &Files = files!("eps_learned");
/// predicts ε, L, σ² = β
pub static EPS_FIXED: &Files = files!("eps_fixed");
/// predicts ε, `L_simple`
pub static EPS_SIMPLE: &Files = files!("eps_simple");
/// predicts ε, `L_hybrid`, Σ learned between β̃ and β
pub static EPS_HYBRID: &Files = files!("eps_hybrid");
