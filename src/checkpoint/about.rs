//! What diffusers' files don't say of a network: `about.json` beside its `config.json`.

use super::folder::text;
use crate::data::Scale;
use crate::error::{Error, Fault, Result};
use crate::files::write_atomically;
use crate::unet::UnetConfig;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file's name.
pub const ABOUT: &str = "about.json";

/// What its numbers mean.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// of a network that knows classes: which
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Classes>,
    /// of a network that was trained on a series: its quantities
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<Scale>,
}

/// The classes of a network whose last row is that of no class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classes {
    /// of each row but the last
    pub names: Vec<String>,
    /// how often a class was hidden in training; where it never was, the last row has not been trained
    pub drop_label: f64,
}

impl Classes {
    /// The number of a class, by its name or written as a number.
    ///
    /// # Errors
    /// There is none; the error lists those there are.
    ///
    /// ```
    /// use ddpm::checkpoint::Classes;
    /// let classes = Classes { names: vec!["bag".into(), "coat".into()], drop_label: 0.1 };
    /// assert_eq!((classes.number("coat").unwrap(), classes.number("0").unwrap()), (1, 0));
    /// assert_eq!(classes.number("hat").unwrap_err().to_string(), "class: expected 0 bag, 1 coat, found hat");
    /// ```
    pub fn number(&self, name: &str) -> Result<usize> {
        let by_name = self.names.iter().position(|known| known == name);
        let by_number = || name.parse().ok().filter(|&number: &usize| number < self.names.len());
        by_name.or_else(by_number).ok_or_else(|| {
            let known: Vec<_> =
                self.names.iter().enumerate().map(|(n, name)| format!("{n} {name}")).collect();
            Error::argument("class", known.join(", "), name)
        })
    }
}

impl About {
    /// Reads it from JSON, for a network of this shape.
    ///
    /// # Errors
    /// Not such a file; not one name for each row of the network's table but the last; not three numbers for each row of the
    /// network's series.
    pub fn parse(text: &str, config: &UnetConfig) -> Result<About, Fault> {
        let about: About = serde_json::from_str(text).map_err(|e| Fault::format("classes or series", e))?;
        if let Some(Classes { names, .. }) = &about.classes {
            let rows = config.num_class_embeds.unwrap_or(0);
            if names.len() + 1 != rows {
                let expected = format!("{} names, as num_class_embeds is {rows}", rows.saturating_sub(1));
                return Err(Fault::value("classes.names", expected, names.len()));
            }
        }
        if let Some(Scale { columns, mean, std }) = &about.series {
            let rows = config.sample_size.map_or(0, |(h, _)| h);
            if [columns.len(), mean.len(), std.len()] != [rows; 3] {
                let found = format!("{}, {}, {}", columns.len(), mean.len(), std.len());
                return Err(Fault::value("series", format!("{rows} columns, means and deviations"), found));
            }
            if let Some(wrong) = mean.iter().find(|m| !m.is_finite()).or(std.iter().find(|s| **s <= 0.0)) {
                return Err(Fault::value("series", "means, and deviations above 0", wrong));
            }
        }
        Ok(about)
    }
}

/// Reads what is said of a network in a folder, if anything is.
pub(super) fn load_about(config: &UnetConfig, config_path: &Path) -> Result<About> {
    let path = config_path.with_file_name(ABOUT);
    if !path.exists() {
        return Ok(About::default());
    }
    About::parse(&text(&path)?, config).map_err(Fault::at(path))
}

/// Writes `about.json` into a network's folder, if there is something to say.
///
/// # Errors
/// The file can't be written.
pub fn save_about(about: &About, folder: &Path) -> Result<()> {
    if *about == About::default() {
        return Ok(());
    }
    let json = serde_json::to_string_pretty(about).expect("plain values") + "\n";
    write_atomically(&folder.join(ABOUT), json.as_bytes())
}
