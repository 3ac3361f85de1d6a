//! What a U-Net looks like: the part of diffusers' `config.json` that shapes the function.

use crate::error::Fault;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Whether a level has attention after its residual blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum BlockType {
    /// `DownBlock2D`, `UpBlock2D`
    Plain,
    /// `AttnDownBlock2D`, `AttnUpBlock2D`
    Attention,
}

impl BlockType {
    /// Whether there is attention.
    pub fn has_attention(self) -> bool {
        self == BlockType::Attention
    }

    /// diffusers' name, for a direction `Down` or `Up`.
    fn name(self, direction: &str) -> String {
        let prefix = if self.has_attention() { "Attn" } else { "" };
        format!("{prefix}{direction}Block2D")
    }
}

/// The shape of a [`Unet`](super::Unet), under diffusers' names.
#[derive(Clone, Debug, PartialEq)]
pub struct UnetConfig {
    /// height and width of the images it was trained on; others work too
    pub sample_size: Option<(usize, usize)>,
    /// channels of the image
    pub in_channels: usize,
    /// channels of the output: as the image, or twice as many with a learned variance
    pub out_channels: usize,
    /// channels of each level, fine to coarse
    pub block_out_channels: Vec<usize>,
    /// one per level, fine to coarse
    pub down_block_types: Vec<BlockType>,
    /// one per level, coarse to fine
    pub up_block_types: Vec<BlockType>,
    /// residual blocks per level on the way down; one more on the way up
    pub layers_per_block: usize,
    /// groups of every group normalisation
    pub norm_num_groups: usize,
    /// `ε` of every group normalisation
    pub norm_eps: f32,
    /// channels per attention head; `None` is one head of all channels, as in the paper
    pub attention_head_dim: Option<usize>,
    /// cosines before sines in the time embedding
    pub flip_sin_to_cos: bool,
    /// 1 in the paper's code
    pub freq_shift: f32,
    /// 0 pads a strided convolution at the right and bottom only (the paper's code), 1 all around
    pub downsample_padding: usize,
    /// the rate of dropout in training
    pub dropout: f32,
}

impl UnetConfig {
    /// The paper's choices for everything but the size: ε-network, one head, eps 1e-6, (0, 1) padding.
    ///
    /// Attention stands at level 1, the paper's 16×16; `mid` always has it.
    pub fn paper(size: usize, channels: usize, widths: &[usize], layers: usize, groups: usize) -> UnetConfig {
        let levels = widths.len();
        let kind = |level: usize| if level == 1 { BlockType::Attention } else { BlockType::Plain };
        UnetConfig {
            sample_size: Some((size, size)),
            in_channels: channels,
            out_channels: channels,
            block_out_channels: widths.to_vec(),
            down_block_types: (0..levels).map(kind).collect(),
            up_block_types: (0..levels).rev().map(kind).collect(),
            layers_per_block: layers,
            norm_num_groups: groups,
            norm_eps: 1e-6,
            attention_head_dim: None,
            flip_sin_to_cos: false,
            freq_shift: 1.0,
            downsample_padding: 0,
            dropout: 0.0,
        }
    }

    /// Attention heads of a layer of `channels`.
    pub fn heads(&self, channels: usize) -> usize {
        self.attention_head_dim.map_or(1, |d| channels / d)
    }

    /// Reads diffusers' `config.json`. Absent keys have diffusers' defaults (so an absent `attention_head_dim` is
    /// 8, while `null` is one head).
    ///
    /// # Errors
    /// Names the key: not JSON, a missing or unknown key, a value of the wrong type, or one that
    /// asks for what this U-Net doesn't do.
    pub fn from_json(text: &str) -> Result<UnetConfig, Fault> {
        let value: Value = serde_json::from_str(text).map_err(|e| Fault::format("JSON", e))?;
        let Value::Object(map) = value else {
            return Err(Fault::format("a JSON object", "another JSON value"));
        };
        let mut keys = Keys(map);
        let config = UnetConfig {
            sample_size: keys.size("sample_size")?,
            in_channels: keys.number("in_channels", Some(3))?,
            out_channels: keys.number("out_channels", Some(3))?,
            block_out_channels: keys.numbers("block_out_channels")?,
            down_block_types: keys.block_types("down_block_types", "Down")?,
            up_block_types: keys.block_types("up_block_types", "Up")?,
            layers_per_block: keys.number("layers_per_block", Some(2))?,
            norm_num_groups: keys.number("norm_num_groups", Some(32))?,
            norm_eps: keys.float("norm_eps", 1e-5)?,
            attention_head_dim: keys.optional_number("attention_head_dim", Some(8))?,
            flip_sin_to_cos: keys.boolean("flip_sin_to_cos", true)?,
            freq_shift: keys.float("freq_shift", 0.0)?,
            downsample_padding: keys.number("downsample_padding", Some(1))?,
            dropout: keys.float("dropout", 0.0)?,
        };
        keys.only("act_fn", json!("silu"), &[json!("silu"), json!("swish")])?;
        keys.only("center_input_sample", json!(false), &[json!(false)])?;
        keys.only("mid_block_scale_factor", json!(1), &[json!(1), json!(1.0)])?;
        keys.only("time_embedding_type", json!("positional"), &[json!("positional")])?;
        keys.only("resnet_time_scale_shift", json!("default"), &[json!("default")])?;
        keys.only("downsample_type", json!("conv"), &[json!("conv")])?;
        keys.only("upsample_type", json!("conv"), &[json!("conv")])?;
        keys.only("add_attention", json!(true), &[json!(true)])?;
        keys.only("mid_block_type", json!("UNetMidBlock2D"), &[json!("UNetMidBlock2D")])?;
        for key in [
            "attn_norm_num_groups",
            "class_embed_type",
            "num_class_embeds",
            "num_train_timesteps",
            "time_embedding_dim",
        ] {
            keys.only(key, Value::Null, &[Value::Null])?;
        }
        keys.nothing_left()?;
        config.validate()?;
        Ok(config)
    }

    /// diffusers' `config.json`.
    pub fn to_json(&self) -> String {
        let names =
            |types: &[BlockType], direction| types.iter().map(|t| t.name(direction)).collect::<Vec<_>>();
        let size = match self.sample_size {
            None => Value::Null,
            Some((h, w)) if h == w => json!(h),
            Some((h, w)) => json!([h, w]),
        };
        let value = json!({
            "_class_name": "UNet2DModel",
            "act_fn": "silu",
            "attention_head_dim": self.attention_head_dim,
            "block_out_channels": self.block_out_channels,
            "center_input_sample": false,
            "down_block_types": names(&self.down_block_types, "Down"),
            "downsample_padding": self.downsample_padding,
            "dropout": shortest(self.dropout),
            "flip_sin_to_cos": self.flip_sin_to_cos,
            "freq_shift": shortest(self.freq_shift),
            "in_channels": self.in_channels,
            "layers_per_block": self.layers_per_block,
            "mid_block_scale_factor": 1,
            "norm_eps": shortest(self.norm_eps),
            "norm_num_groups": self.norm_num_groups,
            "out_channels": self.out_channels,
            "sample_size": size,
            "time_embedding_type": "positional",
            "up_block_types": names(&self.up_block_types, "Up"),
        });
        serde_json::to_string_pretty(&value).expect("plain values") + "\n"
    }

    /// What must hold between the values.
    fn validate(&self) -> Result<(), Fault> {
        let fail = |key: &str, expected: String, found: String| Err(Fault::value(key, expected, found));
        let levels = self.block_out_channels.len();
        if levels == 0 || self.block_out_channels.contains(&0) {
            return fail(
                "block_out_channels",
                "one positive number per level".into(),
                format!("{:?}", self.block_out_channels),
            );
        }
        for (key, types) in
            [("down_block_types", &self.down_block_types), ("up_block_types", &self.up_block_types)]
        {
            if types.len() != levels {
                return fail(
                    key,
                    format!("{levels} entries, as block_out_channels has"),
                    types.len().to_string(),
                );
            }
        }
        for (key, value) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("layers_per_block", self.layers_per_block),
            ("norm_num_groups", self.norm_num_groups),
        ] {
            if value == 0 {
                return fail(key, "a positive number".into(), "0".into());
            }
        }
        for &channels in &self.block_out_channels {
            if !channels.is_multiple_of(self.norm_num_groups) {
                return fail(
                    "norm_num_groups",
                    format!("a divisor of {channels} channels"),
                    self.norm_num_groups.to_string(),
                );
            }
            if let Some(d) = self.attention_head_dim.filter(|&d| d == 0 || !channels.is_multiple_of(d)) {
                return fail(
                    "attention_head_dim",
                    format!("null or a divisor of {channels} channels"),
                    d.to_string(),
                );
            }
        }
        let half = self.block_out_channels[0] / 2;
        if !(self.freq_shift.is_finite() && self.freq_shift < half as f32) {
            let expected = format!("less than {half}, the frequencies of the time embedding");
            return fail("freq_shift", expected, self.freq_shift.to_string());
        }
        if self.downsample_padding > 1 {
            return fail("downsample_padding", "0 or 1".into(), self.downsample_padding.to_string());
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return fail("dropout", "a rate in 0..1".into(), self.dropout.to_string());
        }
        if !(self.norm_eps > 0.0 && self.norm_eps.is_finite()) {
            return fail("norm_eps", "a positive number".into(), self.norm_eps.to_string());
        }
        Ok(())
    }
}

/// The shortest decimal that reads back as the same `f32`, as a JSON number.
fn shortest(x: f32) -> Value {
    if x.fract() == 0.0 { json!(x as i64) } else { json!(x.to_string().parse::<f64>().expect("a number")) }
}

/// The keys of a configuration, taken one by one; what is left at the end is unknown.
struct Keys(Map<String, Value>);

impl Keys {
    fn required(&mut self, key: &str) -> Result<Value, Fault> {
        self.0.remove(key).ok_or_else(|| Fault::MissingKey { key: key.to_string() })
    }

    fn number(&mut self, key: &str, default: Option<usize>) -> Result<usize, Fault> {
        let value = match (self.0.remove(key), default) {
            (None, Some(default)) => return Ok(default),
            (None, None) => return Err(Fault::MissingKey { key: key.to_string() }),
            (Some(value), _) => value,
        };
        let number = value.as_u64().filter(|&n| n <= u32::MAX as u64);
        number.map(|n| n as usize).ok_or_else(|| Fault::value(key, "a whole number", &value))
    }

    fn optional_number(&mut self, key: &str, default: Option<usize>) -> Result<Option<usize>, Fault> {
        if self.0.get(key) == Some(&Value::Null) {
            self.0.remove(key);
            return Ok(None);
        }
        if !self.0.contains_key(key) {
            return Ok(default);
        }
        self.number(key, None).map(Some)
    }

    fn numbers(&mut self, key: &str) -> Result<Vec<usize>, Fault> {
        let value = self.required(key)?;
        let list = value.as_array().and_then(|list| {
            list.iter().map(|n| n.as_u64().filter(|&n| n <= u32::MAX as u64).map(|n| n as usize)).collect()
        });
        list.ok_or_else(|| Fault::value(key, "a list of whole numbers", &value))
    }

    fn size(&mut self, key: &str) -> Result<Option<(usize, usize)>, Fault> {
        match self.0.get(key) {
            Some(Value::Array(_)) => match self.numbers(key)?[..] {
                [h, w] => Ok(Some((h, w))),
                ref other => Err(Fault::value(key, "one number or two", json!(other))),
            },
            _ => Ok(self.optional_number(key, None)?.map(|n| (n, n))),
        }
    }

    fn float(&mut self, key: &str, default: f32) -> Result<f32, Fault> {
        match self.0.remove(key) {
            None => Ok(default),
            Some(value) => {
                value.as_f64().map(|v| v as f32).ok_or_else(|| Fault::value(key, "a number", &value))
            }
        }
    }

    fn boolean(&mut self, key: &str, default: bool) -> Result<bool, Fault> {
        match self.0.remove(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| Fault::value(key, "true or false", &value)),
        }
    }

    fn block_types(&mut self, key: &str, direction: &str) -> Result<Vec<BlockType>, Fault> {
        let value = self.required(key)?;
        let names = value.as_array().ok_or_else(|| Fault::value(key, "a list of block types", &value))?;
        let kinds = [BlockType::Plain, BlockType::Attention];
        let parse =
            |name: &Value| kinds.into_iter().find(|kind| name.as_str() == Some(&kind.name(direction)));
        let expected = kinds.map(|kind| kind.name(direction)).join(" or ");
        names.iter().map(|name| parse(name).ok_or_else(|| Fault::value(key, &expected, name))).collect()
    }

    /// A key that may only have the values for which this U-Net is the same function.
    fn only(&mut self, key: &str, default: Value, allowed: &[Value]) -> Result<(), Fault> {
        let value = self.0.remove(key).unwrap_or(default);
        if allowed.contains(&value) {
            return Ok(());
        }
        let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        Err(Fault::value(key, allowed.join(" or "), &value))
    }

    /// Keys that begin with `_` are remarks.
    fn nothing_left(self) -> Result<(), Fault> {
        match self.0.keys().find(|key| !key.starts_with('_')) {
            None => Ok(()),
            Some(key) => Err(Fault::UnknownKey { key: key.clone() }),
        }
    }
}

#[cfg(test)]
mod tests;
