use super::*;
use serde_json::json;

/// What has no default, and nothing else.
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
        UnetConfig { sample_size: Some((28, 12)), flip_sin_to_cos: true, freq_shift: 0.5, ..paper.clone() },
        UnetConfig { dropout: 0.1, norm_eps: 1e-5, downsample_padding: 1, out_channels: 6, ..paper.clone() },
        paper,
    ] {
        assert_eq!(UnetConfig::from_json(&config.to_json()).unwrap(), config);
    }
}

#[test]
fn the_paper_has_attention_at_sixteen_by_sixteen() {
    let config = UnetConfig::paper(32, 3, &[128, 256, 256, 256], 2, 32);
    let names: Vec<String> = config.down_block_types.iter().map(|kind| kind.name("Down")).collect();
    assert_eq!(names, ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"]);
    let names: Vec<String> = config.up_block_types.iter().map(|kind| kind.name("Up")).collect();
    assert_eq!(names, ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"]);
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
        ("out_channels", json!(1u64 << 32), "expected a whole number, found 4294967296"),
        ("layers_per_block", Value::Null, "expected a whole number, found null"),
        ("sample_size", json!("big"), r#"expected a whole number, found "big""#),
        ("sample_size", json!([1, 2, 3]), "expected one number or two, found [1,2,3]"),
        ("block_out_channels", json!(32), "expected a list of whole numbers, found 32"),
        ("block_out_channels", json!([32, "x"]), r#"expected a list of whole numbers, found [32,"x"]"#),
        ("down_block_types", json!("DownBlock2D"), r#"expected a list of block types, found "DownBlock2D""#),
        (
            "down_block_types",
            json!(["DownBlock2D", "UpBlock2D"]),
            r#"expected DownBlock2D or AttnDownBlock2D, found "UpBlock2D""#,
        ),
        (
            "up_block_types",
            json!(["SkipUpBlock2D"]),
            r#"expected UpBlock2D or AttnUpBlock2D, found "SkipUpBlock2D""#,
        ),
        ("norm_eps", json!("small"), r#"expected a number, found "small""#),
        ("flip_sin_to_cos", json!(1), "expected true or false, found 1"),
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
        ("num_class_embeds", json!(10), "expected null, found 10"),
        // what does not fit together
        ("block_out_channels", json!([]), "expected one positive number per level, found []"),
        ("block_out_channels", json!([32, 0]), "expected one positive number per level, found [32, 0]"),
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
fn missing_and_unknown_keys_and_other_files() {
    for key in ["block_out_channels", "down_block_types", "up_block_types"] {
        let mut config = least();
        config.as_object_mut().unwrap().remove(key);
        assert_eq!(read(&config).unwrap_err().to_string(), format!("missing key '{key}'"));
    }
    let error = |config: &Value| read(config).unwrap_err().to_string();
    assert_eq!(error(&with("blocks", json!(1))), "unknown key 'blocks'");
    assert_eq!(error(&json!([1])), "expected a JSON object, found another JSON value");
    let error = UnetConfig::from_json("{").unwrap_err().to_string();
    assert!(error.starts_with("expected JSON, found EOF"), "{error}");
}
