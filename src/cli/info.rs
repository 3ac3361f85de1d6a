//! `ddpm info`: what a network is made of.

use super::model::{ModelArgs, image_shape};
use crate::cli::say::show;
use anyhow::Result;
use clap::Args;
use ddpm::files::{check_file, write_atomically};
use ddpm::params::Params;
use std::path::PathBuf;

/// Show a network's parameters, shapes and FLOPs per image
#[derive(Args)]
#[command(after_help = "Examples:\n  ddpm info\n  ddpm info --model runs/latest/model --json info.json")]
pub(super) struct Info {
    #[command(flatten)]
    model: ModelArgs,

    /// Also write everything as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Info {
    pub(super) fn run(self) -> Result<()> {
        self.json.iter().try_for_each(|path| check_file(path))?;
        let model = self.model.load()?;
        let [h, w, c] = image_shape(&model);
        let flops = model.unet.flops(h, w);
        let (parameters, tensors) = (model.unet.count(), model.unet.named());
        let reverse = &model.reverse;
        show!("{:>12}  parameters in {} tensors", parameters, tensors.len());
        show!("{:>12.1}  MFLOP per image {h}x{w}x{c}, forward", flops as f64 / 1e6);
        show!(
            "{:>12}  steps, predicts {}, variance {}, clip {}",
            reverse.schedule.T(),
            reverse.prediction,
            reverse.variance,
            reverse.clip
        );
        show!("");
        for (key, tensor) in &tensors {
            show!("{:>12}  {key:52} {:?}", tensor.len(), tensor.shape());
        }
        if let Some(path) = self.json {
            let shapes = tensors.iter().map(|(key, tensor)| (key.clone(), serde_json::json!(tensor.shape())));
            let value = serde_json::json!({
                "parameters": parameters,
                "flops_per_image_forward": flops,
                "image": [h, w, c],
                "T": reverse.schedule.T(),
                "prediction": reverse.prediction.to_string(),
                "variance": reverse.variance.to_string(),
                "clip": reverse.clip,
                "shapes": shapes.collect::<serde_json::Map<_, _>>(),
            });
            write_atomically(&path, format!("{value:#}\n").as_bytes())?;
        }
        Ok(())
    }
}
