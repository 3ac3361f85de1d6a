//! An autoencoder, from diffusers' folder and into one.

use super::checksum;
use super::file::{Precision, Tensors, parse, write};
use super::folder::{CONFIG, WEIGHTS, tensors, text, weights};
use super::layout::{add, fill, nothing_left, rename_old_keys};
use super::pretrained::{changed, enough_for};
use crate::autoencoder::{AutoencoderConfig, AutoencoderKl};
use crate::error::{Error, Fault, Result};
use crate::files::write_atomically;
use crate::rng::stream;
use std::path::Path;

/// The key of the weights' metadata that says what the configuration beside them meant.
const SAVED_CONFIG: &str = "ddpm_config";

/// Reads an autoencoder from a folder as diffusers' `save_pretrained` writes it, and what whoever uses it should know.
///
/// # Errors
/// A file is missing or damaged; a key is missing or unknown; a tensor has the wrong shape or dtype, or a number that is
/// none.
pub fn load_autoencoder(dir: impl AsRef<Path>) -> Result<(AutoencoderKl, Vec<String>)> {
    let dir = dir.as_ref();
    let (path, weights) = (dir.join(CONFIG), weights(dir)?);
    let config = AutoencoderConfig::from_json(&text(&path)?).map_err(Fault::at(&path))?;
    let file = tensors(&weights)?;
    let warning = changed(SAVED_CONFIG, &config.to_json(), &path, &file.metadata);
    let model = filled(&config, file).map_err(Fault::at(&weights))?;
    Ok((model, warning.into_iter().collect()))
}

/// The same from the contents of the two files.
///
/// # Errors
/// As [`load_autoencoder`].
pub fn parse_autoencoder(config: &str, weights: &[u8]) -> Result<AutoencoderKl> {
    let config = AutoencoderConfig::from_json(config).map_err(Fault::at(CONFIG))?;
    parse(weights).and_then(|file| filled(&config, file)).map_err(Fault::at(WEIGHTS))
}

/// The model of a configuration with the weights of a file.
fn filled(config: &AutoencoderConfig, mut file: Tensors) -> Result<AutoencoderKl, Fault> {
    enough_for(config.parameters(), &file)?;
    let mut model = AutoencoderKl::new(config, &mut stream(0, 0));
    rename_old_keys(&mut file.tensors);
    fill(&mut model, "", &mut file.tensors)?;
    nothing_left(&file.tensors)?;
    Ok(model)
}

/// Writes a folder that diffusers' `AutoencoderKL.from_pretrained` opens.
///
/// # Errors
/// A weight is not finite, or too large for the precision; the folder can't be made or a file can't be written.
pub fn save_autoencoder(model: &AutoencoderKl, dir: impl AsRef<Path>, precision: Precision) -> Result<()> {
    let dir = dir.as_ref();
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let config = model.config.to_json();
    let mut file = Tensors::default();
    file.metadata.insert("format".into(), "pt".into()); // diffusers asks for it
    file.metadata.insert(SAVED_CONFIG.into(), checksum::of_text(&config));
    add(model, "", &mut file.tensors);
    write_atomically(&dir.join(CONFIG), config.as_bytes())?;
    write(&dir.join(WEIGHTS), &file, precision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::shaken;
    use crate::params::Params;

    #[test]
    fn a_folder_is_written_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let config = AutoencoderConfig::new(8, 1, &[4, 8], 2);
        let model = shaken(AutoencoderKl::new(&config, &mut stream(1, 0)), 0.1);
        save_autoencoder(&model, dir.path(), Precision::F32).unwrap();
        let (back, warnings) = load_autoencoder(dir.path()).unwrap();
        assert_eq!((back.slices(), &back.config), (model.slices(), &config));
        assert_eq!(warnings, [""; 0]);

        let larger = AutoencoderConfig { layers_per_block: 50, ..config };
        std::fs::write(dir.path().join(CONFIG), larger.to_json()).unwrap();
        let error = load_autoencoder(dir.path()).unwrap_err().to_string();
        assert!(error.contains(" numbers, as configured, found "), "{error}");
    }
}
