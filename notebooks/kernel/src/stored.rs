//! The numbers of the full runs, as `ddpm figures` wrote them: what the short run of a notebook stands beside.

/// A table of the folder `figures/`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// The tables by the names of their files.
const FILES: [(&str, &str); 11] = [
    ("ablation.csv", include_str!("../../../figures/ablation.csv")),
    ("elbo.csv", include_str!("../../../figures/elbo.csv")),
    ("likelihood.csv", include_str!("../../../figures/likelihood.csv")),
    ("rate_distortion.csv", include_str!("../../../figures/rate_distortion.csv")),
    ("table4.csv", include_str!("../../../figures/table4.csv")),
    ("guidance.csv", include_str!("../../../figures/guidance.csv")),
    ("imputation.csv", include_str!("../../../figures/imputation.csv")),
    ("immiscible.csv", include_str!("../../../figures/immiscible.csv")),
    ("latent.csv", include_str!("../../../figures/latent.csv")),
    ("latent_bound.csv", include_str!("../../../figures/latent_bound.csv")),
    ("noise_garments.csv", include_str!("../../../figures/noise_garments.csv")),
];

/// The table of this file name, such as `ablation.csv`.
///
/// ```
/// use ddpm_notebook::stored;
/// let bits = stored("elbo.csv").only("variance", "beta").only("term", "L_0").column("bits_per_dim");
/// assert!((bits[0] - 1.4854).abs() < 1e-4);
/// ```
///
/// # Panics
/// If there is no such table; the message lists those there are.
#[track_caller]
pub fn stored(file: &str) -> Stored {
    let found = FILES.iter().find(|(name, _)| *name == file);
    let Some((_, text)) = found else {
        panic!("there is no stored table {file}; there are {}", FILES.map(|(name, _)| name).join(", "))
    };
    table(text)
}

fn table(text: &str) -> Stored {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let cells = |record: &csv::StringRecord| record.iter().map(String::from).collect();
    let head = reader.headers().map(cells).expect("a head");
    let rows = reader.records().map(|row| cells(&row.expect("as many cells as the head"))).collect();
    Stored { head, rows }
}

impl Stored {
    /// The rows whose cell in the column `name` is `value`.
    ///
    /// # Panics
    /// Here and below: if there is no such column.
    #[track_caller]
    #[must_use]
    pub fn only(mut self, name: &str, value: &str) -> Stored {
        let i = self.index(name);
        self.rows.retain(|row| row[i] == value);
        self
    }

    /// A column as numbers, NaN where a cell holds none.
    #[track_caller]
    pub fn column(&self, name: &str) -> Vec<f64> {
        self.text(name).iter().map(|cell| cell.parse().unwrap_or(f64::NAN)).collect()
    }

    /// A column as it is written.
    #[track_caller]
    pub fn text(&self, name: &str) -> Vec<String> {
        let i = self.index(name);
        self.rows.iter().map(|row| row[i].clone()).collect()
    }

    #[track_caller]
    fn index(&self, name: &str) -> usize {
        let found = self.head.iter().position(|known| known == name);
        found.unwrap_or_else(|| panic!("there is no column {name}; there are {}", self.head.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_commas() {
        assert_eq!(table("a,b,c,d\na,\"b, c\",,1\n").rows, [["a", "b, c", "", "1"]]);
    }

    #[test]
    fn every_table_is_whole() {
        for (file, _) in FILES {
            let table = stored(file);
            assert!(!table.rows.is_empty(), "{file}");
            table.rows.iter().for_each(|row| assert_eq!(row.len(), table.head.len(), "{file}: {row:?}"));
        }
    }

    #[test]
    fn the_ablation_has_seven_runs() {
        let table = stored("ablation.csv");
        assert_eq!((table.text("run").len(), table.clone().only("predicts", "eps").rows.len()), (7, 4));
        assert!(table.only("run", "mu_mse").column("paper_fid")[0].is_nan());
    }

    #[test]
    #[should_panic(expected = "there is no stored table x.csv; there are ablation.csv, elbo.csv")]
    fn unknown_tables_are_named() {
        stored("x.csv");
    }

    #[test]
    #[should_panic(expected = "there is no column x; there are variance, t")]
    fn unknown_columns_are_named() {
        stored("rate_distortion.csv").column("x");
    }
}
