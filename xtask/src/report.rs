//! What benchmarks and drills found: figures, promises, tables and JSON.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::{Value, json};

use crate::run::say;

/// What a benchmark found.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// For people.
    pub(crate) text: String,
    /// For machines.
    pub(crate) json: Value,
    /// Promises that were not kept.
    pub(crate) missed: Vec<String>,
}

impl Outcome {
    /// Prints it, writes the JSON, and fails if a promise was not kept.
    pub(crate) fn tell(&self, json: Option<PathBuf>) -> Result<()> {
        say(&self.text);
        let text = format!("{:#}", self.json);
        match json {
            Some(path) if path.as_os_str() == "-" => say(&text),
            Some(path) => {
                std::fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
            }
            None => {}
        }
        if !self.missed.is_empty() {
            bail!("missed: {}", self.missed.join("; "));
        }
        Ok(())
    }
}

/// Percentiles by nearest rank: the smallest value that so many percent of all are not above.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Percentiles {
    /// Of at least one value; zeros of none.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).max(1);
            values.get(rank - 1).copied().unwrap_or(0.0)
        };
        Self { p50: at(50), p95: at(95), p99: at(99), max: at(100) }
    }
}

/// One figure of several runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Figure {
    /// Of at least one value; zeros of none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(at(middle.saturating_sub(1)), at(middle))
        } else {
            at(middle)
        };
        Self { median, min: at(0), max: at(values.len().saturating_sub(1)) }
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }

    /// With `decimals`, and its range.
    pub(crate) fn shown(&self, decimals: usize) -> String {
        let Self { median, min, max } = self;
        format!("{median:.decimals$} ({min:.decimals$}-{max:.decimals$})")
    }
}

/// A figure that was promised, see SPECIFICATION.md.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Promise {
    pub(crate) what: &'static str,
    pub(crate) found: f64,
    pub(crate) at_most: f64,
}

impl Promise {
    pub(crate) fn is_kept(&self) -> bool {
        self.found <= self.at_most
    }
}

/// One line for each promise, and those that were missed.
pub(crate) fn promises(promises: &[Promise]) -> (String, Vec<String>) {
    let mut text = String::new();
    for promise in promises {
        let word = if promise.is_kept() { "kept  " } else { "MISSED" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{word}  {:<44} {:>10.3}  at most {:.3}", promise.what, promise.found, promise.at_most);
    }
    let missed = promises.iter().filter(|promise| !promise.is_kept());
    (text, missed.map(|promise| format!("{} {:.3} > {:.3}", promise.what, promise.found, promise.at_most)).collect())
}

/// Columns as wide as they must be, the first to the left and the others to the right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
    let width = |column| rows.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = widths.iter().enumerate().map(|(column, width)| match column {
            0 => format!("{:<width$}", cell(row, column)),
            _ => format!("{:>width$}", cell(row, column)),
        });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

/// The same rows as a table of Markdown's.
pub(crate) fn markdown(rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let Some((head, rows)) = rows.split_first() else { return String::new() };
    let rule: Vec<String> =
        head.iter().enumerate().map(|(column, _)| if column == 0 { "---" } else { "---:" }.to_owned()).collect();
    line(head) + &line(&rule) + &rows.iter().map(|row| line(row)).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(Figure::of([3.0, 1.0, 2.0]), Figure { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Figure::of([4.0, 1.0]).median, 2.5);
        assert_eq!(Figure::of([]).median, 0.0);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let percentiles = Percentiles::of((1..=20).map(f64::from).collect());
        assert_eq!(percentiles, Percentiles { p50: 10.0, p95: 19.0, p99: 20.0, max: 20.0 });
        assert_eq!(Percentiles::of(Vec::new()).max, 0.0);
    }

    #[test]
    fn a_promise_is_kept_up_to_its_limit() {
        let promise = |found| Promise { what: "memory", found, at_most: 5.0 };
        assert_eq!(promises(&[promise(5.0)]).1, Vec::<String>::new());
        assert_eq!(promises(&[promise(5.1), promise(1.0)]).1.len(), 1);
    }
}
