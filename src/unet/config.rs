//! What a U-Net looks like: the part of diffusers' `config.json` that shapes the function.

use crate::error::Fault;
use crate::nn::BlockOptions;
use crate::schema::{self, OtherKeys};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

/// Whether a level has attention after its residual blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockType {
    /// `DownBlock2D`, `UpBlock2D`
    Plain,
    /// `AttnDownBlock2D`, `AttnUpBlock2D`
    Attention,
}

impl BlockType {
    const ALL: [BlockType; 2] = [BlockType::Plain, BlockType::Attention];

    /// Whether there is attention.
    pub fn has_attention(self) -> bool {
        self == BlockType::Attention
    }
}

/// diffusers' names, in the order of [`BlockType::ALL`].
const DOWN: [&str; 2] = ["DownBlock2D", "AttnDownBlock2D"];
const UP: [&str; 2] = ["UpBlock2D", "AttnUpBlock2D"];

/// The shape of a [`Unet`](super::Unet), under diffusers' names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnetConfig {
    /// height and width of the images it was trained on; others work too
    #[serde(with = "size")]
    pub sample_size: Option<(usize, usize)>,
    /// channels of the image; 2C + 1 and more of a network that is shown known pixels
    /// ([`sees_known`](UnetConfig::sees_known))
    pub in_channels: usize,
    /// channels of the output: C, as the image, or twice as many with a learned variance
    pub out_channels: usize,
    /// channels of each level, fine to coarse
    pub block_out_channels: Vec<usize>,
    /// one per level, fine to coarse
    #[serde(serialize_with = "down_names", deserialize_with = "down_types")]
    pub down_block_types: Vec<BlockType>,
    /// one per level, coarse to fine
    #[serde(serialize_with = "up_names", deserialize_with = "up_types")]
    pub up_block_types: Vec<BlockType>,
    /// residual blocks per level on the way down; one more on the way up
    pub layers_per_block: usize,
    /// groups of every group normalisation
    pub norm_num_groups: usize,
    /// `ε` of every group normalisation
    #[serde(serialize_with = "shortest")]
    pub norm_eps: f32,
    /// channels per attention head; `None` is one head of all channels, as in the paper
    pub attention_head_dim: Option<usize>,
    /// cosines before sines in the time embedding
    pub flip_sin_to_cos: bool,
    /// 1 in the paper's code
    #[serde(serialize_with = "shortest")]
    pub freq_shift: f32,
    /// 0 pads a strided convolution at the right and bottom only (the paper's code), 1 all around
    pub downsample_padding: usize,
    /// the rate of dropout in training
    #[serde(serialize_with = "shortest")]
    pub dropout: f32,
    /// rows of the table of classes, of which the last is that of no class; `None` is a network that knows none
    pub num_class_embeds: Option<usize>,
}

/// diffusers' defaults; note that an absent `attention_head_dim` is 8, while `null` is one head.
impl Default for UnetConfig {
    fn default() -> UnetConfig {
        use BlockType::{Attention, Plain};
        UnetConfig {
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            block_out_channels: vec![224, 448, 672, 896],
            down_block_types: vec![Plain, Attention, Attention, Attention],
            up_block_types: vec![Attention, Attention, Attention, Plain],
            layers_per_block: 2,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            attention_head_dim: Some(8),
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            downsample_padding: 1,
            dropout: 0.0,
            num_class_embeds: None,
        }
    }
}

/// diffusers' other keys. With any other value of these the U-Net would be another function.
const OTHER_KEYS: OtherKeys = OtherKeys {
    only: &[
        ("act_fn", &[r#""silu""#, r#""swish""#]),
        ("add_attention", &["true"]),
        ("attn_norm_num_groups", &["null"]),
        ("center_input_sample", &["false"]),
        ("class_embed_type", &["null"]),
        ("downsample_type", &[r#""conv""#]),
        ("mid_block_scale_factor", &["1", "1.0"]),
        ("mid_block_type", &[r#""UNetMidBlock2D""#]),
        ("resnet_time_scale_shift", &[r#""default""#]),
        ("time_embedding_dim", &["null"]),
        ("time_embedding_type", &[r#""positional""#]),
        ("upsample_type", &[r#""conv""#]),
    ],
    without_effect: &["num_train_timesteps"], // diffusers reads it for learned embeddings of the time only
};

/// The most parameters a network may have: the paper's largest, for 256×256 bedrooms, has 256 million. In training each
/// takes 20 bytes.
pub const MAX_PARAMETERS: f64 = 300e6;

impl UnetConfig {
    /// Input channels that say in which column a pixel is: sin and cos of 2π 2^j x/W, j = 0..4.
    pub const COLUMNS: usize = 8;

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
            num_class_embeds: None,
        }
    }

    /// Channels of the images it makes.
    pub fn image_channels(&self) -> usize {
        self.in_channels.min(self.out_channels)
    }

    /// Whether it is shown known pixels beside x_t: its inputs are then [M x_0, (1 − M) x_t, M], 2C + 1 channels (CSDI), and
    /// perhaps [`positions`](UnetConfig::positions).
    pub fn sees_known(&self) -> bool {
        self.in_channels > self.out_channels
    }

    /// How many input channels say where a pixel is, beside those of [`sees_known`](UnetConfig::sees_known): the columns'
    /// eight sines and cosines, and then one channel for each row that there is.
    pub fn positions(&self) -> usize {
        if self.sees_known() { self.in_channels.saturating_sub(2 * self.out_channels + 1) } else { 0 }
    }

    /// What all blocks have in common.
    pub fn block_options(&self) -> BlockOptions {
        BlockOptions {
            norm_num_groups: self.norm_num_groups,
            norm_eps: self.norm_eps,
            time: Some(4 * self.block_out_channels[0]),
            dropout: self.dropout,
            attention_head_dim: self.attention_head_dim,
        }
    }

    /// Attention heads of a layer of `channels`.
    pub fn heads(&self, channels: usize) -> usize {
        self.attention_head_dim.map_or(1, |d| channels / d)
    }

    /// Reads diffusers' `config.json`. Absent keys have diffusers' [defaults](UnetConfig::default).
    ///
    /// # Errors
    /// Names the key: not JSON, an unknown key, a value of the wrong type, or one that asks for what this U-Net doesn't do.
    pub fn from_json(text: &str) -> Result<UnetConfig, Fault> {
        schema::class(text, &["UNet2DModel"])?;
        let config: UnetConfig = schema::read(text, &OTHER_KEYS)?;
        config.check()?;
        Ok(config)
    }

    /// diffusers' `config.json`.
    pub fn to_json(&self) -> String {
        let mut value = serde_json::to_value(self).expect("plain values");
        value["_class_name"] = json!("UNet2DModel");
        for (key, constant) in [
            ("act_fn", json!("silu")),
            ("center_input_sample", json!(false)),
            ("mid_block_scale_factor", json!(1)),
            ("time_embedding_type", json!("positional")),
        ] {
            value[key] = constant;
        }
        serde_json::to_string_pretty(&value).expect("plain values") + "\n"
    }

    /// What must hold of the values and between them.
    ///
    /// # Errors
    /// Names the first key that a network can't be built from.
    pub fn check(&self) -> Result<(), Fault> {
        let fail = |key: &str, expected: String, found: String| Err(Fault::value(key, expected, found));
        let levels = self.block_out_channels.len();
        if !(1..=16).contains(&levels) || self.block_out_channels.contains(&0) {
            return fail(
                "block_out_channels",
                "one positive number for each of 1 to 16 levels".into(),
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
        if self.sees_known() {
            let (plain, columns) = (2 * self.out_channels + 1, Self::COLUMNS);
            let rows = |rows: usize| self.sample_size.is_none_or(|(h, _)| h == rows);
            let possible = match self.in_channels.checked_sub(plain) {
                Some(positions) => {
                    positions == 0 || positions == columns || positions > columns && rows(positions - columns)
                }
                None => false,
            };
            if !possible {
                let expected = format!(
                    "as many as out_channels, {plain} with known pixels, or {columns} more with columns"
                );
                return fail("in_channels", expected, self.in_channels.to_string());
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
        if self.num_class_embeds == Some(0) {
            return fail("num_class_embeds", "null or a positive number".into(), "0".into());
        }
        if !(self.norm_eps > 0.0 && self.norm_eps.is_finite()) {
            return fail("norm_eps", "a positive number".into(), self.norm_eps.to_string());
        }
        if let Some((h, w)) = self.sample_size {
            self.check_size(h, w)?;
        }
        let parameters = self.parameters();
        if parameters > MAX_PARAMETERS {
            let expected = format!("a network of at most {MAX_PARAMETERS} parameters");
            return fail("block_out_channels", expected, format!("one of {parameters}"));
        }
        Ok(())
    }

    /// Height and width of what it makes: `sample_size`, or about 32×32 where the file leaves it open.
    pub fn image_size(&self) -> (usize, usize) {
        let side = 32usize.next_multiple_of(self.halvings());
        self.sample_size.unwrap_or((side, side))
    }

    /// By what a side is divided on the way down.
    fn halvings(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// Whether the network takes images of `h`×`w`: each of its levels but the last halves both sides.
    ///
    /// # Errors
    /// A side is 0, or can't be halved so often.
    pub fn check_size(&self, h: usize, w: usize) -> Result<(), Fault> {
        let factor = self.halvings();
        let whole = |side: usize| side > 0 && side.is_multiple_of(factor);
        if whole(h) && whole(w) {
            return Ok(());
        }
        let expected = format!(
            "sides that are multiples of {factor}, which {} levels halve",
            self.block_out_channels.len()
        );
        Err(Fault::value("sample_size", expected, format!("{h}x{w}")))
    }

    /// How many numbers the network has, without building it; exact below 2⁵³.
    pub(crate) fn parameters(&self) -> f64 {
        let layers = self.layers_per_block as f64;
        let widths: Vec<f64> = self.block_out_channels.iter().map(|&w| w as f64).collect();
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let linear = |from: f64, to: f64| from * to + to;
        let conv = |from: f64, to: f64| 9.0 * from * to + to;
        let resnet = |from: f64, to: f64| {
            let shortcut = if from == to { 0.0 } else { linear(from, to) };
            2.0 * from + conv(from, to) + linear(4.0 * first, to) + 2.0 * to + conv(to, to) + shortcut
        };
        let attention = |c: f64| 2.0 * c + 4.0 * linear(c, c);
        let attentions = |kind: BlockType, c: f64| if kind.has_attention() { attention(c) } else { 0.0 };

        let mut sum = conv(self.in_channels as f64, first)
            + linear(first, 4.0 * first)
            + linear(4.0 * first, 4.0 * first)
            + self.num_class_embeds.map_or(0.0, |classes| classes as f64 * 4.0 * first);
        let mut before = first;
        for (i, (&w, &kind)) in widths.iter().zip(&self.down_block_types).enumerate() {
            sum += resnet(before, w) + (layers - 1.0) * resnet(w, w) + layers * attentions(kind, w);
            sum += if i + 1 < widths.len() { conv(w, w) } else { 0.0 };
            before = w;
        }
        sum += 2.0 * resnet(last, last) + attention(last);
        for (i, &kind) in (0..widths.len()).rev().zip(&self.up_block_types) {
            // each block takes a skip: the level's own, and at last what came into the level
            let (w, finer) = (widths[i], widths[i.saturating_sub(1)]);
            sum += resnet(before + w, w) + (layers - 1.0) * resnet(w + w, w) + resnet(w + finer, w);
            sum += (layers + 1.0) * attentions(kind, w) + if i > 0 { conv(w, w) } else { 0.0 };
            before = w;
        }
        sum + 2.0 * first + conv(first, self.out_channels as f64)
    }
}

/// The shortest decimal that reads back as the same `f32`.
fn shortest<S: Serializer>(x: &f32, to: S) -> Result<S::Ok, S::Error> {
    let value = if x.fract() == 0.0 {
        json!(*x as i64)
    } else {
        json!(x.to_string().parse::<f64>().expect("a number"))
    };
    value.serialize(to)
}

fn names<S: Serializer>(types: &[BlockType], names: &[&str; 2], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(types.iter().map(|&kind| names[kind as usize]))
}

fn types<'de, D: Deserializer<'de>>(
    names: &'static [&'static str; 2],
    from: D,
) -> Result<Vec<BlockType>, D::Error> {
    let kind = |name: &String| {
        let found = names.iter().zip(BlockType::ALL).find(|(known, _)| *known == name);
        found.map(|(_, kind)| kind).ok_or_else(|| serde::de::Error::unknown_variant(name, names))
    };
    Vec::<String>::deserialize(from)?.iter().map(kind).collect()
}

fn down_names<S: Serializer>(kinds: &[BlockType], to: S) -> Result<S::Ok, S::Error> {
    names(kinds, &DOWN, to)
}

fn down_types<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<BlockType>, D::Error> {
    types(&DOWN, from)
}

fn up_names<S: Serializer>(kinds: &[BlockType], to: S) -> Result<S::Ok, S::Error> {
    names(kinds, &UP, to)
}

fn up_types<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<BlockType>, D::Error> {
    types(&UP, from)
}

/// A side of squares, or height and width.
mod size {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(untagged, expecting = "one number or two")]
    enum Size {
        Square(usize),
        Rectangle((usize, usize)),
    }

    pub(super) fn serialize<S: Serializer>(size: &Option<(usize, usize)>, to: S) -> Result<S::Ok, S::Error> {
        let size = size.map(|(h, w)| if h == w { Size::Square(h) } else { Size::Rectangle((h, w)) });
        size.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<(usize, usize)>, D::Error> {
        Ok(Option::<Size>::deserialize(from)?.map(|size| match size {
            Size::Square(side) => (side, side),
            Size::Rectangle(sides) => sides,
        }))
    }
}

#[cfg(test)]
mod tests;
