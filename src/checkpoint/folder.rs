//! Where the files of a network lie: in a folder as diffusers' models are saved, as its pipelines are, or in that of a run.

use super::SCHEDULER;
use super::file::{Tensors, read};
use crate::error::{Error, Fault, Result};
use crate::schema;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// diffusers' name of the configuration file.
pub const CONFIG: &str = "config.json";
/// diffusers' name of the file of weights.
pub const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
/// Other names of it: half precision, and several files with a list of what is where.
const WEIGHTS_F16: &str = "diffusion_pytorch_model.fp16.safetensors";
const INDICES: [&str; 3] = [
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors.index.fp16.json",
    "diffusion_pytorch_model.fp16.safetensors.index.json",
];
/// PyTorch's own format, which is a program to be run.
const PICKLE: &str = "diffusion_pytorch_model.bin";
/// diffusers' list of a pipeline's parts.
pub(super) const PIPELINE: &str = "model_index.json";
/// Where a run keeps its network.
const OF_A_RUN: &str = "model";

/// The files of a network.
#[derive(Debug, PartialEq)]
pub(super) struct Files {
    pub(super) config: PathBuf,
    /// none is there in a folder of a model alone
    pub(super) scheduler: Option<PathBuf>,
    /// one of tensors, or a list of several
    pub(super) weights: PathBuf,
    /// the folder of the autoencoder, if the network is one of latents
    pub(super) autoencoder: Option<PathBuf>,
}

impl Files {
    /// Looks for them in a folder: of a pipeline (`unet/` and `scheduler/`, or all in one place as in the first years), of
    /// a model, or of a run.
    pub(super) fn find(dir: &Path) -> Result<Files> {
        let of_a_run = dir.join(OF_A_RUN);
        for pipeline in [dir, &of_a_run].map(|root| root.join(PIPELINE)) {
            if pipeline.exists() {
                check_parts(&text(&pipeline)?).map_err(Fault::at(&pipeline))?;
            }
        }
        let candidates = [dir.join("unet"), dir.to_path_buf(), of_a_run.join("unet"), of_a_run];
        let Some(unet) = candidates.iter().find(|folder| folder.join(CONFIG).exists()) else {
            let expected =
                format!("{CONFIG}, {PIPELINE} with unet/{CONFIG}, or a run with {OF_A_RUN}/{CONFIG}");
            std::fs::read_dir(dir).map_err(Error::io(dir))?; // or there is no such folder
            return Err(Error::format(dir, expected, "none of them"));
        };
        // a part of a pipeline, asked for by itself, still belongs to the process beside it
        let pipeline = unet.parent().filter(|_| unet.ends_with("unet"));
        let beside = pipeline.map(|parent| parent.join("scheduler"));
        let autoencoder = pipeline.map(|parent| parent.join("vae")).filter(|vae| vae.join(CONFIG).exists());
        let schedulers = [Some(unet.clone()), beside, Some(dir.join("scheduler"))];
        let mut schedulers = schedulers.into_iter().flatten().map(|folder| folder.join(SCHEDULER));
        Ok(Files {
            config: unet.join(CONFIG),
            scheduler: schedulers.find(|path| path.exists()),
            weights: weights(unet)?,
            autoencoder,
        })
    }
}

/// The contents of a file of text.
pub(super) fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(Error::io(path))
}

/// The parts of a pipeline: a U-Net and its process, and no other network that changes what it makes.
fn check_parts(index: &str) -> Result<(), Fault> {
    let parts: BTreeMap<String, Value> = schema::object(index)?;
    let mut others = parts.iter().filter(|(key, part)| !key.starts_with('_') && !part.is_null());
    match others.find(|(key, _)| !["unet", "scheduler", "vae"].contains(&key.as_str())) {
        None => Ok(()),
        Some((key, part)) => {
            Err(Fault::value(key, "a pipeline of a U-Net, a scheduler and perhaps a vae alone", part))
        }
    }
}

/// The file of weights in a folder, or the list of them.
pub(super) fn weights(dir: &Path) -> Result<PathBuf> {
    let known = [WEIGHTS].into_iter().chain(INDICES).chain([WEIGHTS_F16]);
    if let Some(found) = known.map(|name| dir.join(name)).find(|path| path.exists()) {
        return Ok(found);
    }
    let pickle = dir.join(PICKLE);
    if pickle.exists() {
        let expected = format!(
            "{WEIGHTS}, which diffusers writes with `UNet2DModel.from_pretrained(folder, use_safetensors=False)\
             .save_pretrained(folder)`"
        );
        return Err(Error::format(pickle, expected, "a pickle, which is a program"));
    }
    Err(Error::format(dir, WEIGHTS, "none"))
}

/// Reads the tensors of a file, or of all those that a list names.
pub(super) fn tensors(weights: &Path) -> Result<Tensors> {
    if weights.extension().is_none_or(|extension| extension != "json") {
        return read(weights);
    }
    let map = weight_map(&text(weights)?).map_err(Fault::at(weights))?;
    let mut whole = Tensors::default();
    for name in map.values().collect::<BTreeSet<_>>() {
        let path = weights.with_file_name(name);
        for (key, tensor) in read(&path)?.tensors {
            if map.get(&key) != Some(name) {
                return Err(Fault::at(path)(Fault::UnknownKey { key, nearest: None }));
            }
            whole.tensors.insert(key, tensor);
        }
    }
    match map.keys().find(|key| !whole.tensors.contains_key(*key)) {
        None => Ok(whole),
        Some(key) => {
            Err(Fault::at(weights.with_file_name(&map[key]))(Fault::MissingKey { key: key.clone() }))
        }
    }
}

/// Of a list of weights: which tensor is in which file, all of them beside the list.
fn weight_map(index: &str) -> Result<BTreeMap<String, String>, Fault> {
    let mut index: BTreeMap<String, Value> = schema::object(index)?;
    let map = index.remove("weight_map").ok_or_else(|| Fault::MissingKey { key: "weight_map".into() })?;
    let map: BTreeMap<String, String> = schema::typed(map)?;
    match map.iter().find(|(_, name)| Path::new(name).file_name() != Some(name.as_ref())) {
        None => Ok(map),
        Some((key, name)) => Err(Fault::value(key, "the name of a file beside the list", name)),
    }
}
