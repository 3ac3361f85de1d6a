//! What an autoencoder looks like: the part of diffusers' `config.json` that shapes the function.

use crate::error::Fault;
use crate::nn::BlockOptions;
use crate::schema::{self, OtherKeys};
use crate::unet::MAX_PARAMETERS;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The shape of an [`AutoencoderKl`](super::AutoencoderKl), under diffusers' names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutoencoderConfig {
    /// channels of the image that goes in
    pub in_channels: usize,
    /// channels of the image that comes out
    pub out_channels: usize,
    /// channels of each level, fine to coarse
    pub block_out_channels: Vec<usize>,
    /// diffusers' name of each level's block on the way down, of which there is one kind
    pub down_block_types: Vec<DownType>,
    /// and on the way up
    pub up_block_types: Vec<UpType>,
    /// residual blocks per level of the encoder; one more in the decoder
    pub layers_per_block: usize,
    /// channels of the latent
    pub latent_channels: usize,
    /// groups of every group normalisation; its ε is 1e-6
    pub norm_num_groups: usize,
    /// side of the images it was trained on; others work too
    pub sample_size: usize,
    /// what the latent is multiplied by for a diffusion model, so that its numbers have a spread of about 1
    pub scaling_factor: f64,
}

/// The one kind of block on the way down.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum DownType {
    /// residual blocks without attention, and half the resolution
    DownEncoderBlock2D,
}

/// The one kind of block on the way up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum UpType {
    /// residual blocks without attention, and double resolution
    UpDecoderBlock2D,
}

/// diffusers' defaults.
impl Default for AutoencoderConfig {
    fn default() -> AutoencoderConfig {
        AutoencoderConfig {
            in_channels: 3,
            out_channels: 3,
            block_out_channels: vec![64],
            down_block_types: vec![DownType::DownEncoderBlock2D],
            up_block_types: vec![UpType::UpDecoderBlock2D],
            layers_per_block: 1,
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: 32,
            scaling_factor: 0.18215,
        }
    }
}

/// diffusers' other keys: what later autoencoders do to the latent, and this one doesn't.
const OTHER_KEYS: OtherKeys = OtherKeys {
    only: &[
        ("act_fn", &[r#""silu""#, r#""swish""#]),
        ("latents_mean", &["null"]),
        ("latents_std", &["null"]),
        ("mid_block_add_attention", &["true"]),
        ("shift_factor", &["null"]),
        ("use_post_quant_conv", &["true"]),
        ("use_quant_conv", &["true"]),
    ],
    without_effect: &["force_upcast"], // of half precision, in which nothing is computed here
};

impl AutoencoderConfig {
    /// For square images of `channels`, with levels of these widths.
    pub fn new(size: usize, channels: usize, widths: &[usize], groups: usize) -> AutoencoderConfig {
        AutoencoderConfig {
            in_channels: channels,
            out_channels: channels,
            block_out_channels: widths.to_vec(),
            down_block_types: vec![DownType::DownEncoderBlock2D; widths.len()],
            up_block_types: vec![UpType::UpDecoderBlock2D; widths.len()],
            norm_num_groups: groups,
            sample_size: size,
            scaling_factor: 1.0,
            ..AutoencoderConfig::default()
        }
    }

    /// By how much a side of the image is longer than one of the latent.
    pub fn reduction(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// The latent of an image `[H, W, C]`.
    pub fn latent_shape(&self, [h, w, _]: [usize; 3]) -> [usize; 3] {
        [h / self.reduction(), w / self.reduction(), self.latent_channels]
    }

    /// Reads diffusers' `config.json`. Absent keys have diffusers' defaults.
    ///
    /// # Errors
    /// Names the key: not JSON, an unknown key, a value of the wrong type, or one that asks for what isn't done here.
    pub fn from_json(text: &str) -> Result<AutoencoderConfig, Fault> {
        schema::class(text, &["AutoencoderKL"])?;
        let config: AutoencoderConfig = schema::read(text, &OTHER_KEYS)?;
        config.check()?;
        Ok(config)
    }

    /// diffusers' `config.json`.
    pub fn to_json(&self) -> String {
        let mut value = serde_json::to_value(self).expect("plain values");
        value["_class_name"] = json!("AutoencoderKL");
        value["act_fn"] = json!("silu");
        value["force_upcast"] = Value::Bool(true);
        serde_json::to_string_pretty(&value).expect("plain values") + "\n"
    }

    /// What must hold of the values and between them.
    ///
    /// # Errors
    /// Names the first key that a network can't be built from.
    pub fn check(&self) -> Result<(), Fault> {
        let widths = &self.block_out_channels;
        if !(1..=16).contains(&widths.len()) || widths.contains(&0) {
            let expected = "one positive number for each of 1 to 16 levels";
            return Err(Fault::value("block_out_channels", expected, format!("{widths:?}")));
        }
        for (key, found) in
            [("down_block_types", self.down_block_types.len()), ("up_block_types", self.up_block_types.len())]
        {
            if found != widths.len() {
                let expected = format!("{} entries, as block_out_channels has", widths.len());
                return Err(Fault::value(key, expected, found));
            }
        }
        for (key, value) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("layers_per_block", self.layers_per_block),
            ("latent_channels", self.latent_channels),
            ("norm_num_groups", self.norm_num_groups),
        ] {
            if value == 0 {
                return Err(Fault::value(key, "a positive number", value));
            }
        }
        if let Some(width) = widths.iter().find(|width| !width.is_multiple_of(self.norm_num_groups)) {
            let expected = format!("a divisor of {width} channels");
            return Err(Fault::value("norm_num_groups", expected, self.norm_num_groups));
        }
        if !(self.scaling_factor > 0.0 && self.scaling_factor.is_finite()) {
            return Err(Fault::value("scaling_factor", "a positive number", self.scaling_factor));
        }
        let (parameters, most) = (self.parameters(), MAX_PARAMETERS);
        if parameters > most {
            let expected = format!("a network of at most {most} parameters");
            return Err(Fault::value("block_out_channels", expected, format!("one of {parameters}")));
        }
        Ok(())
    }

    /// What all blocks have in common: no time, one head, ε = 1e-6.
    pub(super) fn block_options(&self) -> BlockOptions {
        BlockOptions {
            norm_num_groups: self.norm_num_groups,
            norm_eps: 1e-6,
            time: None,
            dropout: 0.0,
            attention_head_dim: None,
        }
    }

    /// How many numbers the network has, without building it; exact below 2⁵³.
    pub(crate) fn parameters(&self) -> f64 {
        let layers = self.layers_per_block as f64;
        let widths: Vec<f64> = self.block_out_channels.iter().map(|&w| w as f64).collect();
        let (first, last, latent) = (widths[0], widths[widths.len() - 1], self.latent_channels as f64);
        let conv = |from: f64, to: f64| 9.0 * from * to + to;
        let pointwise = |from: f64, to: f64| from * to + to;
        let resnet = |from: f64, to: f64| {
            let shortcut = if from == to { 0.0 } else { pointwise(from, to) };
            2.0 * from + conv(from, to) + 2.0 * to + conv(to, to) + shortcut
        };
        let mid = 2.0 * resnet(last, last) + 2.0 * last + 4.0 * pointwise(last, last);

        let mut sum = conv(self.in_channels as f64, first) + conv(latent, last) + 2.0 * mid;
        let mut before = first;
        for (level, &w) in widths.iter().enumerate() {
            sum += resnet(before, w) + (layers - 1.0) * resnet(w, w);
            sum += if level + 1 < widths.len() { conv(w, w) } else { 0.0 };
            before = w;
        }
        for (level, &w) in widths.iter().enumerate().rev() {
            sum += resnet(before, w) + layers * resnet(w, w) + if level > 0 { conv(w, w) } else { 0.0 };
            before = w;
        }
        sum += 2.0 * last + conv(last, 2.0 * latent) + 2.0 * first + conv(first, self.out_channels as f64);
        sum + pointwise(2.0 * latent, 2.0 * latent) + pointwise(latent, latent)
    }
}
