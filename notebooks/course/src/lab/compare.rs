//! Whether a notebook that was run again shows what is stored.
//!
//! Not byte for byte: another CPU adds in another order, and after a thousand steps of a chain the last digits are
//! others. Numbers may differ by a hundredth, blocks of a picture by a few grey levels. What depends on the clock is
//! in cells tagged `timing`, which need only show something of the same kind.

use crate::{at, wrong};
use anyhow::{Result, bail};
use base64::Engine;
use serde_json::Value;
use std::path::Path;

/// How far numbers in texts and drawings may be apart, as a part of the larger of 1 and the number.
const NUMBERS: f64 = 0.01;

/// How far the mean colours of 8×8 blocks of a picture may be apart, in grey levels, on average.
const LEVELS: f64 = 4.0;

/// Compares the outputs of two runs of a notebook, cell by cell.
///
/// # Errors
/// A file can't be read, or the first difference.
pub(super) fn notebooks(stored: &Path, fresh: &Path) -> Result<()> {
    let (before, after) = (read(stored)?, read(fresh)?);
    let cells = |notebook: &Value| notebook["cells"].as_array().cloned().unwrap_or_default();
    let (before, after) = (cells(&before), cells(&after));
    if before.len() != after.len() {
        let place = format!("{} cells, as in the paired .rs file", after.len());
        bail!(wrong(stored.display(), place, before.len()));
    }
    for (number, (before, after)) in before.iter().zip(&after).enumerate() {
        if let Err(Difference { expected, found }) = same_cell(before, after) {
            let cell = |what: &str, text: &str| format!("{what} of cell {number}: {text}");
            bail!(wrong(stored.display(), cell("the output", &expected), cell("now that", &found)));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(at(path))?;
    serde_json::from_str(&text).map_err(|error| wrong(path.display(), "a notebook", error))
}

#[derive(Debug)]
struct Difference {
    expected: String,
    found: String,
}

fn differ<T>(expected: impl ToString, found: impl ToString) -> Result<T, Difference> {
    Err(Difference { expected: expected.to_string(), found: found.to_string() })
}

fn same_cell(before: &Value, after: &Value) -> Result<(), Difference> {
    if text(&before["source"]) != text(&after["source"]) {
        return differ(text(&before["source"]), text(&after["source"]));
    }
    let (before_shows, after_shows) = (shows(before), shows(after));
    let kinds = |shown: &[(String, String)]| {
        shown.iter().map(|(kind, _)| kind.clone()).collect::<Vec<_>>().join(", ")
    };
    if kinds(&before_shows) != kinds(&after_shows) {
        return differ(kinds(&before_shows), kinds(&after_shows));
    }
    let tags = after["metadata"]["tags"].as_array().cloned().unwrap_or_default();
    if tags.iter().any(|tag| tag == "timing") {
        return Ok(());
    }
    before_shows.iter().zip(&after_shows).try_for_each(|((kind, a), (_, b))| match kind.as_str() {
        "image/png" | "image/gif" => same_picture(a, b),
        _ => same_text(a, b),
    })
}

/// What a cell shows: pairs of MIME type, or the name of a stream, and content.
fn shows(cell: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for output in cell["outputs"].as_array().into_iter().flatten() {
        match output["data"].as_object() {
            Some(data) => all.extend(data.iter().map(|(kind, content)| (kind.clone(), text(content)))),
            None => all.push((text(&output["name"]), text(&output["text"]))),
        }
    }
    all
}

/// A text, which Jupyter stores as one string or as a list of lines.
fn text(value: &Value) -> String {
    match value {
        Value::Array(lines) => lines.iter().map(text).collect(),
        Value::String(text) => text.clone(),
        _ => String::new(),
    }
}

/// Line by line the same words, and numbers that are close.
fn same_text(before: &str, after: &str) -> Result<(), Difference> {
    let mut lines = before.lines().zip(after.lines());
    if let Some((a, b)) = lines.find(|(a, b)| !same_line(a, b)) {
        return differ(a, b);
    }
    match (before.lines().count(), after.lines().count()) {
        (a, b) if a == b => Ok(()),
        (a, b) => differ(format!("{a} lines"), format!("{b} lines")),
    }
}

fn same_line(before: &str, after: &str) -> bool {
    let (a, b) = (pieces(before), pieces(after));
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| same_piece(a, b))
}

fn same_piece(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(x), Ok(y)) => (x - y).abs() <= NUMBERS * x.abs().max(1.0),
        _ => a == b,
    }
}

/// A line cut into numbers and what stands between them.
fn pieces(line: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let number = |c: char| c.is_ascii_digit() || c == '.';
        let inside = rest.starts_with(number);
        let end = rest.find(|c| number(c) != inside).unwrap_or(rest.len());
        let (piece, tail) = rest.split_at(end);
        pieces.push(piece);
        rest = tail;
    }
    pieces
}

/// Of one size, and block by block of about the same colour.
fn same_picture(before: &str, after: &str) -> Result<(), Difference> {
    let (a, b) = (decode(before)?, decode(after)?);
    if a.dimensions() != b.dimensions() {
        return differ(format!("{:?} pixels", a.dimensions()), format!("{:?}", b.dimensions()));
    }
    let (a, b) = (blocks(&a), blocks(&b));
    let apart = a.iter().zip(&b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len().max(1) as f64;
    if apart <= LEVELS {
        return Ok(());
    }
    differ(format!("a picture within {LEVELS} grey levels"), format!("one that is {apart:.1} apart"))
}

/// The first frame of a picture.
fn decode(base64: &str) -> Result<image::RgbImage, Difference> {
    let compact: String = base64.split_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(compact);
    let picture = bytes.ok().and_then(|bytes| image::load_from_memory(&bytes).ok());
    picture.map_or_else(|| differ("a picture", "something else"), |picture| Ok(picture.to_rgb8()))
}

/// The mean colours of 8×8 blocks.
fn blocks(picture: &image::RgbImage) -> Vec<u8> {
    let (w, h) = picture.dimensions();
    image::imageops::resize(picture, w.div_ceil(8), h.div_ceil(8), image::imageops::FilterType::Triangle)
        .into_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cell(text: &str, tags: &[&str]) -> Value {
        json!({"source": "x", "metadata": {"tags": tags},
            "outputs": [{"output_type": "stream", "name": "stdout", "text": [text]}]})
    }

    #[test]
    fn last_digits_may_differ_and_words_may_not() {
        same_cell(&cell("bound 3.401 bits/dim", &[]), &cell("bound 3.412 bits/dim", &[])).unwrap();
        let difference = same_cell(&cell("bound 3.4 bits", &[]), &cell("bound 3.6 bits", &[])).unwrap_err();
        assert_eq!(
            (difference.expected.as_str(), difference.found.as_str()),
            ("bound 3.4 bits", "bound 3.6 bits")
        );
        assert!(same_cell(&cell("✓ kl", &[]), &cell("✗ kl", &[])).is_err());
        assert!(same_cell(&cell("a\nb", &[]), &cell("a", &[])).is_err());
        assert!(same_cell(&cell("a 1", &[]), &cell("a", &[])).is_err());
        assert!(same_cell(&cell("-1", &[]), &cell("1", &[])).is_err());
    }

    #[test]
    fn what_depends_on_the_clock_need_only_be_there() {
        same_cell(&cell("71 GFLOP/s", &["timing"]), &cell("50 GFLOP/s", &["timing"])).unwrap();
        let silent = json!({"source": "x", "metadata": {"tags": ["timing"]}, "outputs": []});
        assert!(same_cell(&cell("71 GFLOP/s", &["timing"]), &silent).is_err());
    }

    #[test]
    fn pictures_may_differ_in_noise_and_not_in_what_they_show() {
        let png = |level: &dyn Fn(u32, u32) -> u8| {
            let mut bytes = std::io::Cursor::new(Vec::new());
            let picture = image::GrayImage::from_fn(64, 48, |x, y| image::Luma([level(x, y)]));
            picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
            base64::engine::general_purpose::STANDARD.encode(bytes.into_inner())
        };
        let plain = png(&|x, _| x as u8 * 3);
        same_picture(&plain, &png(&|x, y| x as u8 * 3 + (y % 2) as u8)).unwrap();
        assert!(same_picture(&plain, &png(&|x, _| 255 - x as u8 * 3)).is_err());
        assert!(same_picture(&plain, "AAAA").is_err());
    }
}
