//! A network and its process, from files and into files.

use super::about::{About, load_about};
use super::checksum;
use super::file::{Precision, Tensors, parse, write};
use super::folder::{CONFIG, Files, WEIGHTS, tensors, text};
use super::layout::{add, fill, nothing_left, rename_old_keys};
use super::scheduler::{SCHEDULER, check_channels, reverse_from_json, reverse_to_json};
use crate::diffusion::{Reverse, Schedule};
use crate::error::{Error, Fault, Result};
use crate::files::write_atomically;
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
    let Files { config, scheduler, weights } = Files::find(dir.as_ref())?;
    let process = scheduler.as_deref().map(text).transpose()?;
    let process = scheduler.as_deref().zip(process.as_deref());
    let mut model = assemble((&config, &text(&config)?), process, (&weights, tensors(&weights)?))?;
    model.about = load_about(&model.unet.config, &config)?;
    Ok(model)
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
    Ok(Pretrained { unet, reverse, about: About::default(), warnings })
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
