//! The paper's mathematics; knows no network.
/// stub
pub trait Denoiser {
    /// stub
    fn predict(&self, x_t: &crate::tensor::Batch, t: &[usize]) -> crate::tensor::Batch;
}
