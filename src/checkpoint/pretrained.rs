//! A network and its process, from files and into files.

use super::about::{About, load_about};
use super::autoencoder::{load_autoencoder, save_autoencoder};
use super::checksum;
use super::file::{Precision, Tensors, parse, write};
use super::folder::{CONFIG, Files, PIPELINE, WEIGHTS, tensors, text};
use super::layout::{add, fill, nothing_left, rename_old_keys};
use super::scheduler::{SCHEDULER, check_channels, reverse_from_json, reverse_to_json};
use crate::autoencoder::AutoencoderKl;
use crate::diffusion::{Reverse, Schedule};
use crate::error::{Error, Fault, Result};
use crate::files::write_atomically;
use crate::tensor::Batch;
use crate::unet::{Unet, UnetConfig};
use rand_chacha::rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::path::Path;

/// A network, and the process it was trained for.
#[derive(Clone, Debug)]
pub struct Pretrained {
    /// the weights
    pub unet: Unet,
    /// schedule, parametrisation, variance
    pub reverse: Reverse,
    /// what diffusers' files don't say
    pub about: About,
    /// of a network of latents: what makes them of images, and images of them
    pub autoencoder: Option<AutoencoderKl>,
    /// what whoever uses it should know: what had to be assumed, and what was changed since it was saved
    pub warnings: Vec<String>,
}

/// Reads a network from a folder as diffusers' `save_pretrained` writes it, of a model or of a pipeline, or from that of a
/// run.
///
/// Without a `scheduler_config.json` the process is taken to be the paper's (linear, T = 1000, ε, σ² = β), with a warning.
///
/// # Errors
/// A file is missing or damaged; a key is missing or unknown; a tensor has the wrong shape or dtype, or a number that is
/// none.
pub fn load_pretrained(dir: impl AsRef<Path>) -> Result<Pretrained> {
    let Files { config, scheduler, weights, autoencoder } = Files::find(dir.as_ref())?;
    let process = scheduler.as_deref().map(text).transpose()?;
    let process = scheduler.as_deref().zip(process.as_deref());
    let mut model = assemble((&config, &text(&config)?), process, (&weights, tensors(&weights)?))?;
    model.about = load_about(&model.unet.config, &config)?;
    if let Some(folder) = autoencoder {
        let (autoencoder, warnings) = load_autoencoder(&folder)?;
        fits(&model.unet.config, &autoencoder).map_err(Fault::at(folder.join(CONFIG)))?;
        model.autoencoder = Some(autoencoder);
        model.warnings.extend(warnings);
    }
    Ok(model)
}

/// The latents of one must be the images of the other.
fn fits(config: &UnetConfig, autoencoder: &AutoencoderKl) -> Result<(), Fault> {
    let (latent, images) = (autoencoder.config.latent_channels, config.image_channels());
    if latent == images {
        return Ok(());
    }
    Err(Fault::value("latent_channels", format!("{images}, as the U-Net beside it has"), latent))
}

impl Pretrained {
    /// The shape of the images it makes, `[H, W, C]`.
    pub fn picture_shape(&self) -> [usize; 3] {
        let (h, w) = self.unet.config.image_size();
        match &self.autoencoder {
            None => [h, w, self.unet.config.image_channels()],
            Some(model) => {
                let (factor, c) = (model.config.reduction(), model.config.out_channels);
                [h * factor, w * factor, c]
            }
        }
    }

    /// What the chain ends with as images: of latents, decoded.
    pub fn pictures(&self, x0: Batch) -> Batch {
        match &self.autoencoder {
            None => x0,
            Some(model) => model.decode(&(x0 / model.config.scaling_factor)),
        }
    }

    /// Images as the chain knows them: of latents, the scaled means of q(z|x).
    pub fn latents(&self, images: Batch) -> Batch {
        match &self.autoencoder {
            None => images,
            Some(model) => model.encode(&images).normal.mean * model.config.scaling_factor,
        }
    }
}

/// Writes a latent diffusion model as a pipeline of diffusers: `unet/`, `scheduler/`, `vae/` and `model_index.json`.
///
/// # Errors
/// As [`save_pretrained`].
pub fn save_latent_pipeline(
    unet: &Unet,
    reverse: &Reverse,
    autoencoder: &AutoencoderKl,
    dir: impl AsRef<Path>,
    precision: Precision,
) -> Result<()> {
    let dir = dir.as_ref();
    save_pretrained(unet, reverse, dir.join("unet"), precision)?;
    save_autoencoder(autoencoder, dir.join("vae"), precision)?;
    let scheduler = dir.join("scheduler");
    std::fs::create_dir_all(&scheduler).map_err(Error::io(&scheduler))?;
    write_atomically(&scheduler.join(SCHEDULER), reverse_to_json(reverse).as_bytes())?;
    let index = serde_json::json!({
        "_class_name": "DiffusionPipeline",
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    });
    write_atomically(&dir.join(PIPELINE), format!("{index:#}\n").as_bytes())
}

/// As [`load_pretrained`], from the contents of the files.
///
/// # Errors
/// As [`load_pretrained`]; the files are named as in a folder.
pub fn parse_pretrained(config: &str, scheduler: Option<&str>, weights: &[u8]) -> Result<Pretrained> {
    let process = scheduler.map(|text| (Path::new(SCHEDULER), text));
    let tensors = parse(weights).map_err(Fault::at(WEIGHTS))?;
    assemble((Path::new(CONFIG), config), process, (Path::new(WEIGHTS), tensors))
}

/// Puts together what three files hold, each beside its path.
fn assemble(
    (config_path, config): (&Path, &str),
    scheduler: Option<(&Path, &str)>,
    (weights, mut file): (&Path, Tensors),
) -> Result<Pretrained> {
    let mut warnings = Vec::new();
    let config = UnetConfig::from_json(config).map_err(Fault::at(config_path))?;
    warnings.extend(changed(SAVED_CONFIG, &config.to_json(), config_path, &file.metadata));
    let reverse = match scheduler {
        Some((path, text)) => {
            let reverse = reverse_from_json(text).map_err(Fault::at(path))?;
            warnings.extend(changed(SAVED_SCHEDULER, &reverse_to_json(&reverse), path, &file.metadata));
            reverse
        }
        None => {
            let path = config_path.with_file_name(SCHEDULER);
            let assumed = "the process is taken to be the paper's: linear, T = 1000, ε, σ² = β";
            warnings.push(format!("{}: there is none; {assumed}", path.display()));
            Reverse::new(Schedule::linear(1000))
        }
    };
    check_channels(&config, &reverse).map_err(Fault::at(config_path))?;
    let unet = network(&config, &mut file).map_err(Fault::at(weights))?;
    Ok(Pretrained { unet, reverse, about: About::default(), autoencoder: None, warnings })
}

/// The keys of the weights' metadata that say what the two files beside them meant when all three were saved.
const SAVED_CONFIG: &str = "ddpm_config";
const SAVED_SCHEDULER: &str = "ddpm_scheduler";

/// A warning, if a configuration does not mean what it meant when the weights were saved: it is damaged, or someone has
/// changed it on purpose.
pub(super) fn changed(
    key: &str,
    now: &str,
    path: &Path,
    metadata: &BTreeMap<String, String>,
) -> Option<String> {
    let saved = metadata.get(key)?;
    let now = checksum::of_text(now);
    let what = "was changed after the weights beside it were saved";
    (*saved != now).then(|| format!("{}: {what} (crc32 {saved}, now {now})", path.display()))
}

/// Writes a folder that diffusers' `UNet2DModel.from_pretrained` opens.
///
/// # Errors
/// A weight is not finite, or too large for the precision; the folder can't be made or a file can't be written.
pub fn save_pretrained(
    unet: &Unet,
    reverse: &Reverse,
    dir: impl AsRef<Path>,
    precision: Precision,
) -> Result<()> {
    let dir = dir.as_ref();
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let (config, scheduler) = (unet.config.to_json(), reverse_to_json(reverse));
    let mut file = Tensors::default();
    for (key, text) in [
        ("format", "pt".into()), // diffusers asks for it
        (SAVED_CONFIG, checksum::of_text(&config)),
        (SAVED_SCHEDULER, checksum::of_text(&scheduler)),
    ] {
        file.metadata.insert(key.into(), text);
    }
    add(unet, "", &mut file.tensors);
    write_atomically(&dir.join(CONFIG), config.as_bytes())?;
    write_atomically(&dir.join(SCHEDULER), scheduler.as_bytes())?;
    write(&dir.join(WEIGHTS), &file, precision)
}

/// The network of the given shape whose weights the file holds.
fn network(config: &UnetConfig, file: &mut Tensors) -> Result<Unet, Fault> {
    enough(config, file)?;
    let mut unet = Unet::new(config, &mut rand_chacha::ChaCha8Rng::seed_from_u64(0));
    rename_old_keys(&mut file.tensors);
    fill(&mut unet, "", &mut file.tensors)?;
    nothing_left(&file.tensors)?;
    Ok(unet)
}

/// Fails if the file holds less than half of a network of this shape: before a damaged configuration asks for all the
/// memory there is. A single tensor that is missing is named by its key, later.
pub(crate) fn enough(config: &UnetConfig, file: &Tensors) -> Result<(), Fault> {
    enough_for(config.parameters(), file)
}

/// As [`enough`], for so many parameters.
pub(crate) fn enough_for(needed: f64, file: &Tensors) -> Result<(), Fault> {
    let found = file.tensors.values().map(|t| t.len()).sum::<usize>();
    if found as f64 >= 0.5 * needed {
        return Ok(());
    }
    Err(Fault::format(format!("{needed} numbers, as configured"), found))
}
