//! Rich output: evcxr calls `evcxr_display` of a cell's last expression, and takes what stands between two markers.

use ddpm::params::Params;
use std::fmt::Display;

/// Prints text as rich output of a type such as `text/html`.
pub(crate) fn show(mime: &str, content: &str) {
    println!("EVCXR_BEGIN_CONTENT {mime}\n{content}\nEVCXR_END_CONTENT");
}

/// Text with formulas: `md(format!("$\\bar\\alpha_T = {a:.1e}$"))` as the last expression of a cell.
#[derive(Clone, Debug)]
pub struct Markdown(String);

/// A piece of Markdown.
pub fn md(text: impl Into<String>) -> Markdown {
    Markdown(text.into())
}

impl Markdown {
    /// Shows the text.
    pub fn evcxr_display(&self) {
        show("text/markdown", &self.0);
    }
}

impl Display for Markdown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A table: a head, and rows of as many cells.
///
/// ```
/// use ddpm_notebook::Table;
/// let table = Table::new(["t", "ᾱ_t"]).row(["1", "0.9999"]).row([2.to_string(), format!("{:.4}", 0.9998)]);
/// assert_eq!(table.to_html().matches("<tr>").count(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<T: Display>(head: impl IntoIterator<Item = T>) -> Table {
        Table { rows: vec![cells(head)] }
    }

    /// One row more.
    ///
    /// # Panics
    /// If it has not as many cells as the head.
    #[track_caller]
    #[must_use]
    pub fn row<T: Display>(mut self, row: impl IntoIterator<Item = T>) -> Table {
        let row = cells(row);
        assert_eq!(row.len(), self.rows[0].len(), "Table: a cell for each of {:?}", self.rows[0]);
        self.rows.push(row);
        self
    }

    /// The table as HTML.
    pub fn to_html(&self) -> String {
        let line = |(i, row): (usize, &Vec<String>)| {
            let tag = if i == 0 { "th" } else { "td" };
            let cells: String = row.iter().map(|cell| format!("<{tag}>{cell}</{tag}>")).collect();
            format!("<tr>{cells}</tr>\n")
        };
        format!("<table>\n{}</table>", self.rows.iter().enumerate().map(line).collect::<String>())
    }

    /// Shows the table.
    pub fn evcxr_display(&self) {
        show("text/html", &self.to_html());
    }
}

fn cells<T: Display>(row: impl IntoIterator<Item = T>) -> Vec<String> {
    row.into_iter().map(|cell| escaped(&cell.to_string())).collect()
}

/// Text as HTML that shows it.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A model as a table: each layer with its tensors' shapes and how many numbers they hold.
pub fn layers(model: &impl Params) -> Table {
    let mut layers: Vec<(String, Vec<String>, usize)> = Vec::new();
    for (key, tensor) in model.named() {
        let (layer, _) = key.rsplit_once('.').unwrap_or(("", &key));
        let shape = tensor.shape().iter().map(usize::to_string).collect::<Vec<_>>().join("×");
        match layers.last_mut() {
            Some((name, shapes, count)) if name == layer => {
                shapes.push(shape);
                *count += tensor.len();
            }
            _ => layers.push((layer.to_string(), vec![shape], tensor.len())),
        }
    }
    let table =
        layers.iter().fold(Table::new(["layer", "shapes", "parameters"]), |table, (name, shapes, count)| {
            table.row([name.clone(), shapes.join(", "), count.to_string()])
        });
    table.row(["all".to_string(), String::new(), model.count().to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ddpm::nn::Linear;
    use ddpm::rng::stream;

    #[test]
    fn cells_are_text() {
        let html = Table::new(["a < b"]).row(["x & y"]).to_html();
        assert_eq!(html, "<table>\n<tr><th>a &lt; b</th></tr>\n<tr><td>x &amp; y</td></tr>\n</table>");
    }

    #[test]
    #[should_panic(expected = "Table: a cell for each of [\"a\", \"b\"]")]
    fn rows_are_as_long_as_the_head() {
        let _ = Table::new(["a", "b"]).row(["1"]);
    }

    #[test]
    fn a_layer_has_one_row() {
        let html = layers(&Linear::new(3, 5, 1.0, &mut stream(1, 0))).to_html();
        assert!(html.contains("<td>3×5, 5</td><td>20</td>"), "{html}");
        assert!(html.contains("<td>all</td><td></td><td>20</td>"), "{html}");
    }
}
