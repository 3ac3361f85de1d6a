//! Series of numbers in time, with gaps: rows of a CSV file, and the windows a network sees of them.

use super::examples::{Drawn, Examples};
use crate::error::{Error, Fault, Result};
use crate::rng::{normal, stream};
use crate::tensor::Batch;
use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use ndarray_rand::rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What cells without a value say, beside nothing at all.
const GAPS: [&str; 4] = ["nan", "na", "null", "?"];

/// Some quantities at equal distances in time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// where it comes from
    pub name: String,
    /// what the quantities are called
    pub columns: Vec<String>,
    /// what the rows are called: the first column, if it holds no numbers; else their numbers
    pub times: Vec<String>,
    /// `[rows, columns]`, NaN in gaps
    pub values: Array2<f64>,
}

impl Series {
    /// Reads a CSV file with a header. The first column may be one of times, of any form; all others hold numbers or gaps:
    /// empty cells, `NaN`, `NA`, `null`, `?`.
    ///
    /// # Errors
    /// The file can't be read; it has no rows, a line of another length, or a cell that is no number, which is named.
    pub fn read_csv(path: &Path) -> Result<Series> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Series::parse(&bytes, &name).map_err(Fault::at(path))
    }

    /// The same from the contents of a file.
    ///
    /// # Errors
    /// As [`read_csv`](Series::read_csv).
    pub fn parse(bytes: &[u8], name: &str) -> Result<Series, Fault> {
        let wrong = |expected: &str, found: String| Fault::format(expected, found);
        let mut reader = csv::Reader::from_reader(bytes);
        let header: Vec<String> = reader
            .headers()
            .map_err(|e| wrong("CSV", e.to_string()))?
            .iter()
            .map(|h| h.trim().into())
            .collect();
        let rows: Vec<csv::StringRecord> =
            reader.records().collect::<csv::Result<_>>().map_err(|e| wrong("CSV", e.to_string()))?;
        if rows.is_empty() {
            return Err(wrong("a header and rows of numbers", "no rows".into()));
        }
        let timed = rows.iter().any(|row| number(&row[0]).is_none());
        let first = usize::from(timed);
        let columns = header[first..].to_vec();
        if columns.is_empty() {
            return Err(wrong("a column of numbers", format!("none beside '{}'", header[0])));
        }
        let mut values = Array2::zeros((rows.len(), columns.len()));
        for ((i, j), value) in values.indexed_iter_mut() {
            let cell = &rows[i][first + j];
            *value = number(cell).ok_or_else(|| {
                wrong("numbers or gaps", format!("'{cell}' in column '{}', line {}", columns[j], i + 2))
            })?;
        }
        let time =
            |(i, row): (usize, &csv::StringRecord)| if timed { row[0].into() } else { (i + 1).to_string() };
        let times = rows.iter().enumerate().map(time).collect();
        Ok(Series { name: name.into(), columns, times, values })
    }

    /// One column of a Gaussian process with covariance exp(−d²/(2 ℓ²)), plus noise of variance `nugget` at each row alone.
    ///
    /// White noise under the window exp(−x²/ℓ²) has just this covariance, as that window folded with itself is one of twice
    /// its variance.
    ///
    /// ```
    /// let series = ddpm::data::Series::gaussian(1000, 3.0, 0.01, 1);
    /// assert!((series.values.std(0.0) - 1.005).abs() < 0.1);
    /// ```
    pub fn gaussian(rows: usize, length_scale: f64, nugget: f64, seed: u64) -> Series {
        let reach = (5.0 * length_scale).ceil() as usize;
        let window: Array1<f64> =
            (0..=2 * reach).map(|i| (-((i as f64 - reach as f64) / length_scale).powi(2)).exp()).collect();
        let window = &window / window.dot(&window).sqrt();
        let white: Array1<f64> = normal(rows + 2 * reach, &mut stream(seed, 0));
        let alone: Array1<f64> = normal(rows, &mut stream(seed, 1));
        let smooth = |row: usize| window.dot(&white.slice(s![row..=row + 2 * reach]));
        let values = Array2::from_shape_fn((rows, 1), |(row, _)| smooth(row) + nugget.sqrt() * alone[row]);
        let times = (1..=rows).map(|row| row.to_string()).collect();
        Series { name: "a Gaussian process".into(), columns: vec!["x".into()], times, values }
    }

    /// Mean and standard deviation of each column, over what is observed; of a column without values 0 and 1.
    pub fn scale(&self) -> Scale {
        let moments = |column: ndarray::ArrayView1<f64>| {
            let values: Array1<f64> = column.iter().copied().filter(|v| v.is_finite()).collect();
            let (mean, std) =
                (values.mean().unwrap_or(0.0), if values.is_empty() { 0.0 } else { values.std(0.0) });
            (mean, if std > 0.0 { std } else { 1.0 })
        };
        let (mean, std) = self.values.columns().into_iter().map(moments).unzip();
        Scale { columns: self.columns.clone(), mean, std }
    }

    /// Some of the rows.
    ///
    /// # Panics
    /// If there are fewer.
    #[track_caller]
    pub fn rows(&self, rows: std::ops::Range<usize>) -> Series {
        let values = self.values.slice(s![rows.clone(), ..]).to_owned();
        Series { values, times: self.times[rows].to_vec(), ..self.clone() }
    }
}

/// A number, NaN for a gap, `None` for anything else.
fn number(cell: &str) -> Option<f64> {
    let cell = cell.trim();
    if cell.is_empty() || GAPS.contains(&cell.to_lowercase().as_str()) {
        return Some(f64::NAN);
    }
    cell.parse().ok().filter(|number: &f64| number.is_finite())
}

/// How a network's numbers become quantities: x · std + mean, from the series that it was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// their names
    pub columns: Vec<String>,
    /// of each
    pub mean: Vec<f64>,
    /// of each
    pub std: Vec<f64>,
}

impl Scale {
    /// Rows `[L, K]` as an example `[K, L]` of means 0 and deviations 1, and where it has values; gaps are 0.
    pub fn standardise(&self, rows: ArrayView2<f64>) -> (Array2<f64>, Array2<f64>) {
        let (l, k) = rows.dim();
        let value = |(j, i): (usize, usize)| (rows[[i, j]] - self.mean[j]) / self.std[j];
        let values = Array2::from_shape_fn((k, l), value);
        let observed = values.mapv(|v| f64::from(u8::from(v.is_finite())));
        (values.mapv(|v| if v.is_finite() { v } else { 0.0 }), observed)
    }

    /// A number of column `j` as a quantity.
    pub fn quantity(&self, j: usize, x: f64) -> f64 {
        x * self.std[j] + self.mean[j]
    }
}

/// All windows of a length, for training: an example is `[K, L, 1]`, a row for each column of the file.
#[derive(Clone, Debug)]
pub struct Windows {
    name: String,
    length: usize,
    /// `[K, rows]`
    values: Array2<f64>,
    observed: Array2<f64>,
}

impl Windows {
    /// Windows of `length` rows of a series, standardised.
    ///
    /// # Errors
    /// The series is shorter.
    pub fn new(series: &Series, scale: &Scale, length: usize) -> Result<Windows> {
        let rows = series.values.nrows();
        if rows < length {
            return Err(Error::argument(
                "length",
                format!("at most {rows} rows, as {} has", series.name),
                length,
            ));
        }
        let (values, observed) = scale.standardise(series.values.view());
        Ok(Windows { name: series.name.clone(), length, values, observed })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.values.ncols() - self.length + 1
    }

    /// A checksum of the standardised numbers.
    pub fn fingerprint(&self) -> String {
        let mut hasher = crc32fast::Hasher::new();
        self.values.iter().chain(&self.observed).for_each(|v| hasher.update(&v.to_le_bytes()));
        format!("{:08x}", hasher.finalize())
    }

    /// The one that begins at a row: values and where there are any, `[K, L]` each.
    ///
    /// # Panics
    /// If it does not end in the series.
    #[track_caller]
    pub fn at(&self, row: usize) -> (ArrayView2<'_, f64>, ArrayView2<'_, f64>) {
        let part = s![.., row..row + self.length];
        (self.values.slice(part), self.observed.slice(part))
    }
}

impl Examples for Windows {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> [usize; 3] {
        [self.values.nrows(), self.length, 1]
    }

    fn draw_batch(&self, rngs: &mut [ChaCha8Rng]) -> Drawn {
        let [k, l, _] = self.shape();
        let (mut x0, mut observed) =
            (Batch::zeros((rngs.len(), k, l, 1)), Batch::zeros((rngs.len(), k, l, 1)));
        for (n, rng) in rngs.iter_mut().enumerate() {
            let (values, there) = self.at(rng.random_range(0..self.count()));
            x0.index_axis_mut(Axis(0), n).assign(&values.insert_axis(Axis(2)));
            observed.index_axis_mut(Axis(0), n).assign(&there.insert_axis(Axis(2)));
        }
        Drawn { x0, labels: None, observed: Some(observed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Series> {
        Series::parse(text.as_bytes(), "x.csv").map_err(Fault::at("x.csv"))
    }

    #[test]
    fn times_numbers_and_gaps() {
        let series = parse("day, a,b\n2012-01-01,1,\n2012-01-02,NaN,3\n2012-01-03,3.5,5\n").unwrap();
        assert_eq!(
            (series.columns.as_slice(), series.times[2].as_str()),
            (["a", "b"].map(String::from).as_slice(), "2012-01-03")
        );
        let Scale { mean, std, .. } = series.scale();
        assert_eq!((mean, std), (vec![2.25, 4.0], vec![1.25, 1.0]));
        let plain = parse("a\n1\n2\n").unwrap();
        assert_eq!((plain.times, plain.values[[1, 0]]), (vec!["1".to_string(), "2".into()], 2.0));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, message) in [
            ("a,b\n", "x.csv: expected a header and rows of numbers, found no rows"),
            (
                "day,a\nMon,1\nTue,high\n",
                "x.csv: expected numbers or gaps, found 'high' in column 'a', line 3",
            ),
            ("day\nMon\n", "x.csv: expected a column of numbers, found none beside 'day'"),
            ("a,b\n1,inf\n", "x.csv: expected numbers or gaps, found 'inf' in column 'b', line 2"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
        let error = parse("a,b\n1\n").unwrap_err().to_string();
        assert!(error.starts_with("x.csv: expected CSV, found "), "{error}");
    }

    #[test]
    fn a_gaussian_process_has_its_covariance() {
        let series = Series::gaussian(100_000, 3.0, 0.01, 1);
        let x = series.values.column(0);
        for (lag, want) in [(0, 1.01), (1, (-1.0f64 / 18.0).exp()), (6, (-2.0f64).exp())] {
            let n = x.len() - lag;
            let got = x.slice(s![..n]).dot(&x.slice(s![lag..])) / n as f64;
            assert!((got - want).abs() < 0.03, "lag {lag}: {got}, expected {want}");
        }
    }

    #[test]
    fn windows_are_rows_of_the_series() {
        let series = parse("a,b\n1,10\n2,\n3,30\n4,40\n").unwrap();
        let scale = series.scale();
        let windows = Windows::new(&series, &scale, 3).unwrap();
        assert_eq!((windows.count(), windows.shape()), (2, [2, 3, 1]));
        let drawn = windows.draw_batch(&mut [stream(1, 0), stream(1, 1)]);
        let (x0, observed) = (drawn.x0, drawn.observed.unwrap());
        assert!(observed.iter().zip(&x0).all(|(m, x)| *m == 1.0 || *x == 0.0));
        let first = scale.quantity(0, x0[[0, 0, 0, 0]]).round();
        assert!([1.0, 2.0].contains(&first));
        assert_eq!(scale.quantity(0, x0[[0, 0, 2, 0]]).round(), first + 2.0);
        let error = Windows::new(&series, &scale, 5).unwrap_err().to_string();
        assert_eq!(error, "length: expected at most 4 rows, as x.csv has, found 5");
    }
}
