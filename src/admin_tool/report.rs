//! What a command found: rows of named values, printed for people or for programs.

use serde_json::{Map, Value};

/// Rows of the same columns.
#[derive(Debug, Default)]
pub(crate) struct Report {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
    notes: Vec<String>,
    failed: bool,
}

impl Report {
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), ..Self::default() }
    }

    /// Adds a row: one value per column.
    pub(crate) fn row<const N: usize>(&mut self, values: [Value; N]) {
        assert_eq!(N, self.columns.len(), "one value per column");
        self.rows.push(values.into());
    }

    /// Adds a sentence for people.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Part of what was asked did not come about.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    pub(crate) fn print(&self, json: bool) {
        print!("{}", if json { self.json() } else { self.table() });
        if !json {
            self.notes.iter().for_each(|note| eprintln!("{note}"));
        }
    }

    fn json(&self) -> String {
        let object = |row: &Vec<Value>| {
            let fields = self.columns.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned());
            Value::Object(fields.collect::<Map<_, _>>())
        };
        let rows: Vec<Value> = self.rows.iter().map(object).collect();
        format!("{:#}\n", Value::Array(rows))
    }

    fn table(&self) -> String {
        let shown = |value: &Value| match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().map(|item| item.to_string()).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        let mut lines: Vec<Vec<String>> =
            vec![self.columns.iter().map(|name| name.replace('_', "-")).collect()];
        lines.extend(self.rows.iter().map(|row| row.iter().map(shown).collect()));
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let is_number =
            |column: usize| self.rows.iter().all(|row| row[column].is_number() || row[column].is_null());
        let mut text = String::new();
        for line in &lines {
            let cells = line.iter().enumerate().map(|(column, cell)| {
                let width = widths[column];
                if is_number(column) && !self.rows.is_empty() {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_an_aligned_table_or_an_array_of_objects() {
        let mut report = Report::new(&["topic", "log_end"]);
        report.row(["a".into(), 7.into()]);
        report.row(["longer".into(), Value::Null]);
        assert_eq!(report.table(), "topic   log-end\na             7\nlonger        -\n");
        let back: Value = serde_json::from_str(&report.json()).expect("JSON");
        assert_eq!(back[0]["log_end"], 7);
        assert_eq!(back[1], serde_json::json!({"topic": "longer", "log_end": null}));
    }
}
