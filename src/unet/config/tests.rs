use super::*;
use crate::params::Params;
use crate::rng::stream;
use crate::unet::Unet;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A small network, and every other key absent.
fn least() -> Value {
    json!({
        "block_out_channels": [32, 64],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    })
}

fn read(value: &Value) -> Result<UnetConfig, Fault> {
    UnetConfig::from_json(&value.to_string())
}

/// The least configuration with one more key.
fn with(key: &str, value: Value) -> Value {
    let mut config = least();
    config[key] = value;
    config
}

#[test]
fn absent_keys_have_the_defaults_of_diffusers() {
    let config = UnetConfig {
        sample_size: None,
        in_channels: 3,
        out_channels: 3,
        block_out_channels: vec![32, 64],
        down_block_types: vec![BlockType::Plain, BlockType::Attention],
        up_block_types: vec![BlockType::Attention, BlockType::Plain],
        layers_per_block: 2,
        norm_num_groups: 32,
        norm_eps: 1e-5,
        attention_head_dim: Some(8),
        flip_sin_to_cos: true,
        freq_shift: 0.0,
        downsample_padding: 1,
        dropout: 0.0,
        num_class_embeds: None,
    };
    assert_eq!(read(&least()).unwrap(), config);
}

#[test]
fn null_heads_are_one_and_absent_ones_have_eight_channels() {
    let heads = |config: Value| read(&config).unwrap().heads(64);
    assert_eq!(heads(least()), 8);
    assert_eq!(heads(with("attention_head_dim", Value::Null)), 1);
    assert_eq!(heads(with("attention_head_dim", json!(16))), 4);
}

#[test]
fn what_is_written_is_read_back() {
    let paper = UnetConfig::paper(32, 3, &[128, 256, 256, 256], 2, 32);
    for config in [
        UnetConfig { sample_size: None, attention_head_dim: Some(64), ..paper.clone() },
        UnetConfig { sample_size: Some((24, 16)), flip_sin_to_cos: true, freq_shift: 0.5, ..paper.clone() },
        UnetConfig { num_class_embeds: Some(11), ..paper.clone() },
        UnetConfig { dropout: 0.1, norm_eps: 1e-5, downsample_padding: 1, out_channels: 6, ..paper.clone() },
        paper,
    ] {
        assert_eq!(UnetConfig::from_json(&config.to_json()).unwrap(), config);
    }
}

#[test]
fn the_paper_has_attention_at_sixteen_by_sixteen() {
    let config = UnetConfig::paper(32, 3, &[128, 256, 256, 256], 2, 32);
    let json: Value = serde_json::from_str(&config.to_json()).unwrap();
    let names = json!(["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"]);
    assert_eq!(json["down_block_types"], names);
    assert_eq!(json["up_block_types"], json!(["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"]));
}

#[test]
fn remarks_sizes_and_what_changes_nothing_are_accepted() {
    for (key, value) in [
        ("_class_name", json!("UNet2DModel")),
        ("_diffusers_version", json!("0.42.1")),
        ("act_fn", json!("swish")),
        ("mid_block_scale_factor", json!(1.0)),
        ("add_attention", json!(true)),
        ("num_class_embeds", Value::Null),
        ("num_class_embeds", json!(11)),
        ("num_train_timesteps", json!(1000)),
        ("sample_size", json!([16, 24])),
    ] {
        read(&with(key, value)).unwrap_or_else(|e| panic!("{e}"));
    }
    assert_eq!(read(&with("sample_size", json!([16, 24]))).unwrap().sample_size, Some((16, 24)));
    assert_eq!(read(&with("sample_size", json!(16))).unwrap().sample_size, Some((16, 16)));
}

/// One line per thing that can be wrong with one key.
#[test]
fn every_wrong_value_has_its_message() {
    for (key, value, message) in [
        ("in_channels", json!("3"), r#"expected a whole number, found "3""#),
        ("in_channels", json!(-1), "expected a whole number, found -1"),
        ("in_channels", json!(1.5), "expected a whole number, found 1.5"),
        ("layers_per_block", Value::Null, "expected a whole number, found null"),
        ("sample_size", json!("big"), r#"expected one number or two, found "big""#),
        ("sample_size", json!([1, 2, 3]), "expected one number or two, found [1,2,3]"),
        ("sample_size", json!(9), "expected sides that are multiples of 2, which 2 levels halve, found 9x9"),
        (
            "sample_size",
            json!([8, 0]),
            "expected sides that are multiples of 2, which 2 levels halve, found 8x0",
        ),
        ("block_out_channels", json!(32), "expected a list, found 32"),
        ("down_block_types", json!("DownBlock2D"), r#"expected a list, found "DownBlock2D""#),
        (
            "down_block_types",
            json!(["DownBlock2D", "UpBlock2D"]),
            r#"expected `DownBlock2D` or `AttnDownBlock2D`, found ["DownBlock2D","UpBlock2D"]"#,
        ),
        (
            "up_block_types",
            json!(["SkipUpBlock2D"]),
            r#"expected `UpBlock2D` or `AttnUpBlock2D`, found ["SkipUpBlock2D"]"#,
        ),
        ("norm_eps", json!("small"), r#"expected a number, found "small""#),
        ("flip_sin_to_cos", json!(1), "expected true or false, found 1"),
        (
            "_class_name",
            json!("UNet2DConditionModel"),
            r#"expected UNet2DModel, found "UNet2DConditionModel""#,
        ),
        // what this U-Net doesn't do
        ("act_fn", json!("gelu"), r#"expected "silu" or "swish", found "gelu""#),
        ("center_input_sample", json!(true), "expected false, found true"),
        ("mid_block_scale_factor", json!(2), "expected 1 or 1.0, found 2"),
        ("time_embedding_type", json!("fourier"), r#"expected "positional", found "fourier""#),
        ("resnet_time_scale_shift", json!("scale_shift"), r#"expected "default", found "scale_shift""#),
        ("downsample_type", json!("resnet"), r#"expected "conv", found "resnet""#),
        ("upsample_type", json!("resnet"), r#"expected "conv", found "resnet""#),
        ("add_attention", json!(false), "expected true, found false"),
        ("mid_block_type", Value::Null, r#"expected "UNetMidBlock2D", found null"#),
        ("attn_norm_num_groups", json!(4), "expected null, found 4"),
        ("class_embed_type", json!("timestep"), r#"expected null, found "timestep""#),
        ("num_class_embeds", json!(0), "expected null or a positive number, found 0"),
        // what does not fit together
        (
            "block_out_channels",
            json!([]),
            "expected one positive number for each of 1 to 16 levels, found []",
        ),
        (
            "block_out_channels",
            json!([32, 0]),
            "expected one positive number for each of 1 to 16 levels, found [32, 0]",
        ),
        (
            "down_block_types",
            json!(["DownBlock2D"]),
            "expected 2 entries, as block_out_channels has, found 1",
        ),
        ("up_block_types", json!([]), "expected 2 entries, as block_out_channels has, found 0"),
        ("in_channels", json!(0), "expected a positive number, found 0"),
        ("layers_per_block", json!(0), "expected a positive number, found 0"),
        ("norm_num_groups", json!(0), "expected a positive number, found 0"),
        ("norm_num_groups", json!(24), "expected a divisor of 32 channels, found 24"),
        ("attention_head_dim", json!(0), "expected null or a divisor of 32 channels, found 0"),
        ("attention_head_dim", json!(33), "expected null or a divisor of 32 channels, found 33"),
        ("downsample_padding", json!(2), "expected 0 or 1, found 2"),
        ("dropout", json!(1.0), "expected a rate in 0..1, found 1"),
        ("dropout", json!(-0.5), "expected a rate in 0..1, found -0.5"),
        ("norm_eps", json!(0.0), "expected a positive number, found 0"),
        ("norm_eps", json!(1e39), "expected a positive number, found inf"),
        ("freq_shift", json!(16), "expected less than 16, the frequencies of the time embedding, found 16"),
    ] {
        let error = read(&with(key, value)).unwrap_err().to_string();
        assert_eq!(error, format!("'{key}': {message}"));
    }
}

#[test]
fn unknown_keys_and_other_files() {
    let error = |config: &Value| read(config).unwrap_err().to_string();
    assert_eq!(error(&with("width", json!(1))), "unknown key 'width'");
    assert_eq!(error(&with("dropuot", json!(1))), "unknown key 'dropuot'; is it 'dropout'?");
    let list = with("block_out_channels", json!([32, "x"]));
    assert_eq!(error(&list), r#"'block_out_channels[1]': expected a whole number, found "x""#);
    for text in ["[1]", "{"] {
        let error = UnetConfig::from_json(text).unwrap_err().to_string();
        assert!(error.starts_with("expected a JSON object, found "), "{error}");
    }
}

/// Networks too large for any machine are refused before a number of them is made.
#[test]
fn too_many_parameters() {
    let small = UnetConfig { norm_num_groups: 1, attention_head_dim: None, ..read(&least()).unwrap() };
    for large in [
        UnetConfig { block_out_channels: vec![32, usize::MAX], ..small.clone() },
        UnetConfig { layers_per_block: usize::MAX, ..small.clone() },
        UnetConfig { in_channels: usize::MAX, out_channels: usize::MAX, ..small.clone() },
        UnetConfig { block_out_channels: vec![4096, 4096], ..small },
    ] {
        let error = large.check().unwrap_err().to_string();
        assert!(
            error.contains("expected a network of at most 300000000 parameters, found one of "),
            "{error}"
        );
    }
}

#[test]
fn the_papers_networks_are_small_enough() {
    let cifar = UnetConfig::paper(32, 3, &[128, 256, 256, 256], 2, 32);
    assert_eq!(cifar.parameters(), 35_746_307.0); // 35.7 million in appendix B
    let mut bedrooms = UnetConfig::paper(256, 3, &[128, 256, 256, 512, 512, 1024], 2, 32);
    bedrooms.check().unwrap();
    bedrooms.block_out_channels = vec![128, 128, 256, 256, 512, 512];
    // attention at 16×16
    let kinds =
        |at: usize| (0..6).map(|i| if i == at { BlockType::Attention } else { BlockType::Plain }).collect();
    (bedrooms.down_block_types, bedrooms.up_block_types) = (kinds(4), kinds(1));
    assert_eq!((bedrooms.parameters() / 1e6).round(), 114.0); // "114 million parameters"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Counted without building it, and built.
    #[test]
    fn parameters_are_counted_exactly(
        widths in prop::collection::vec(1usize..5, 1..4),
        attention in prop::collection::vec(any::<bool>(), 6),
        layers in 1usize..4,
        (channels, factor) in (1usize..4, 1usize..3),
    ) {
        let kind = |&on: &bool| if on { BlockType::Attention } else { BlockType::Plain };
        let levels = widths.len();
        let config = UnetConfig {
            in_channels: channels,
            out_channels: channels * factor,
            block_out_channels: widths.iter().map(|w| 2 * w).collect(),
            down_block_types: attention[..levels].iter().map(kind).collect(),
            up_block_types: attention[3..3 + levels].iter().map(kind).collect(),
            layers_per_block: layers,
            norm_num_groups: 1,
            attention_head_dim: None,
            ..UnetConfig::default()
        };
        config.check().unwrap();
        prop_assert_eq!(Unet::new(&config, &mut stream(0, 0)).count() as f64, config.parameters());
    }
}
