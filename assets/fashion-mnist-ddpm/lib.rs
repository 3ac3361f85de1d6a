//! The network of garments that the crate `ddpm` ships: trained with `L_simple` on Fashion-MNIST. The README beside
//! it says how it was trained.

/// The folder's files by their paths in it.
pub static FILES: &[(&str, &[u8])] = &[
    ("config.json", include_bytes!("config.json")),
    ("scheduler_config.json", include_bytes!("scheduler_config.json")),
    ("diffusion_pytorch_model.safetensors", include_bytes!("diffusion_pytorch_model.safetensors")),
    ("loss.csv", include_bytes!("loss.csv")),
];
