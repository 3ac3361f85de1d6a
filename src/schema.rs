//! Configurations in JSON, read by a schema. Each key is honoured, or may only ask for what is done here anyway, or is
//! known to have no effect; any other is an error that names the nearest of these.

use crate::error::Fault;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};
use std::collections::BTreeMap;

/// The keys of a file beside those that are honoured, which are the fields of the struct that is read.
pub(crate) struct OtherKeys {
    /// the values, as JSON, with which a key changes nothing; with any other the file means what isn't done here
    pub only: &'static [(&'static str, &'static [&'static str])],
    /// keys that change nothing, whatever their value
    pub without_effect: &'static [&'static str],
}

/// Reads a JSON object; absent keys have the values of `T::default()`. Keys that begin with `_` are remarks.
///
/// # Errors
/// Names the key: it is unknown, or its value is of the wrong type or asks for what isn't done here.
pub(crate) fn read<T: DeserializeOwned + Serialize + Default>(
    text: &str,
    others: &OtherKeys,
) -> Result<T, Fault> {
    let mut map = object(text)?;
    map.retain(|key, _| !key.starts_with('_'));
    for (key, allowed) in others.only {
        let Some(value) = map.remove(*key) else { continue };
        if !allowed.contains(&value.to_string().as_str()) {
            return Err(Fault::value(key, allowed.join(" or "), value));
        }
    }
    for key in others.without_effect {
        map.remove(*key);
    }
    let fields = serde_json::to_value(T::default()).expect("a plain struct");
    let fields = fields.as_object().expect("a struct has fields");
    if let Some(key) = map.keys().find(|key| !fields.contains_key(*key)) {
        let known = fields.keys().map(String::as_str);
        let known = known.chain(others.only.iter().map(|o| o.0)).chain(others.without_effect.iter().copied());
        return Err(Fault::UnknownKey { key: key.clone(), nearest: nearest(key, known) });
    }
    typed(map.into_iter().collect())
}

/// Fails if the file says that it configures something else than one of these classes. diffusers has a file say its class;
/// one that doesn't is taken at its word.
pub(crate) fn class(text: &str, classes: &[&str]) -> Result<(), Fault> {
    let class = serde_json::from_str::<Value>(text).ok().and_then(|value| value.get("_class_name").cloned());
    match class {
        Some(class) if !classes.iter().any(|known| class == *known) => {
            Err(Fault::value("_class_name", classes.join(" or "), class))
        }
        _ => Ok(()),
    }
}

/// A value as a type, or the place in it that is none, with what was expected and what was found there.
pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(&value).map_err(|error| {
        let message = error.inner().to_string();
        let expected = message.rsplit_once(", expected ").map_or(message.as_str(), |(_, expected)| expected);
        let expected = match expected {
            "usize" | "u64" => "a whole number",
            "f32" | "f64" => "a number",
            "a boolean" => "true or false",
            "a sequence" => "a list",
            other => other,
        };
        Fault::value(error.path(), expected, at(&value, error.path()))
    })
}

/// The keys of a JSON object and their values.
pub(crate) fn object(text: &str) -> Result<BTreeMap<String, Value>, Fault> {
    serde_json::from_str(text).map_err(|e| Fault::format("a JSON object", e))
}

/// The value at a path.
fn at<'a>(value: &'a Value, path: &Path) -> &'a Value {
    path.iter().fold(value, |value, segment| match segment {
        Segment::Seq { index } => &value[*index],
        Segment::Map { key } => &value[key],
        _ => value,
    })
}

/// The known key most like this one, if there is one that a slip of the keyboard makes of it.
pub(crate) fn nearest<'a>(key: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let alike = known.into_iter().map(|name| (strsim::jaro_winkler(key, name), name));
    let (likeness, name) = alike.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (likeness > 0.8).then(|| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Plain {
        number: f64,
        flag: bool,
        list: Vec<usize>,
    }

    impl Default for Plain {
        fn default() -> Plain {
            Plain { number: 0.5, flag: true, list: vec![1] }
        }
    }

    const OTHERS: OtherKeys =
        OtherKeys { only: &[("mode", &["null", "\"plain\""])], without_effect: &["workers"] };

    #[test]
    fn absent_keys_have_defaults_and_remarks_are_passed_over() {
        let plain: Plain =
            read(r#"{"flag": false, "_note": 1, "mode": "plain", "workers": {}}"#, &OTHERS).unwrap();
        assert_eq!(plain, Plain { flag: false, ..Plain::default() });
    }

    #[test]
    fn every_fault_has_its_place() {
        for (text, message) in [
            (
                "[1]",
                "expected a JSON object, found invalid type: sequence, expected a map at line 1 column 0",
            ),
            (r#"{"number": "x"}"#, r#"'number': expected a number, found "x""#),
            (r#"{"flag": 1}"#, "'flag': expected true or false, found 1"),
            (r#"{"list": 1}"#, "'list': expected a list, found 1"),
            (r#"{"list": [1, -2]}"#, "'list[1]': expected a whole number, found -2"),
            (r#"{"mode": "other"}"#, r#"'mode': expected null or "plain", found "other""#),
            (r#"{"numbre": 1}"#, "unknown key 'numbre'; is it 'number'?"),
            (r#"{"worker": 1}"#, "unknown key 'worker'; is it 'workers'?"),
            (r#"{"elephant": 1}"#, "unknown key 'elephant'"),
        ] {
            assert_eq!(read::<Plain>(text, &OTHERS).unwrap_err().to_string(), message);
        }
    }
}
