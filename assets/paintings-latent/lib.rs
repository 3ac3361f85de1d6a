//! The latent diffusion model of paintings that the crate `ddpm` ships, and its autoencoder. The README beside it
//! says how it was trained.

/// The folder's files by their paths in it.
pub static FILES: &[(&str, &[u8])] = &[
    ("unet/config.json", include_bytes!("unet/config.json")),
    ("unet/scheduler_config.json", include_bytes!("unet/scheduler_config.json")),
    ("unet/diffusion_pytorch_model.safetensors", include_bytes!("unet/diffusion_pytorch_model.safetensors")),
    ("vae/config.json", include_bytes!("vae/config.json")),
    ("vae/diffusion_pytorch_model.safetensors", include_bytes!("vae/diffusion_pytorch_model.safetensors")),
    ("loss.csv", include_bytes!("loss.csv")),
];
