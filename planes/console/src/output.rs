//! What commands show: tables for people, JSON for programs.

use crate::failure::{Failure, Outcome};
use comfy_table::{Table, presets};
use serde::Serialize;
use std::io::{IsTerminal as _, Write};

/// Which form the output has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// A table for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

/// What is shown as one row of a list.
pub(crate) trait Row: Serialize {
    /// The columns' headers.
    const COLUMNS: &'static [&'static str];

    /// One text for each column.
    fn cells(&self) -> Vec<String>;
}

/// What is shown by itself, one line for each field.
pub(crate) trait Card: Serialize {
    /// Each field's name and text.
    fn fields(&self) -> Vec<(&'static str, String)>;
}

/// Where a command's results go.
pub(crate) struct Output<'w> {
    format: Format,
    is_terminal: bool,
    sink: &'w mut dyn Write,
}

/// Whether stdout is a terminal that wants colours (<https://no-color.org>).
#[must_use]
pub(crate) fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

impl<'w> Output<'w> {
    /// An output of `format` into `sink`; terminals get colours and no control characters.
    pub(crate) fn new(format: Format, is_terminal: bool, sink: &'w mut dyn Write) -> Self {
        Self { format, is_terminal, sink }
    }

    /// The form.
    #[must_use]
    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    /// Whether a person watches.
    #[must_use]
    pub(crate) const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Shows a list: a table, or a JSON array.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub(crate) fn list<T: Row>(&mut self, items: &[T]) -> Outcome {
        match self.format {
            Format::Json => self.json(items),
            Format::Table if items.is_empty() => self.text("none\n"),
            Format::Table => {
                let mut rows = vec![T::COLUMNS.iter().map(|c| (*c).to_owned()).collect()];
                rows.extend(items.iter().map(Row::cells));
                self.text(&columns(&rows))
            }
        }
    }

    /// Shows one thing: `name  text` lines, or a JSON object.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub(crate) fn one<T: Card>(&mut self, item: &T) -> Outcome {
        match self.format {
            Format::Json => self.json(item),
            Format::Table => {
                let rows: Vec<Vec<String>> =
                    item.fields().into_iter().map(|(name, text)| vec![name.to_owned(), text]).collect();
                self.text(&columns(&rows))
            }
        }
    }

    /// Writes a value as indented JSON.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub(crate) fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> Outcome {
        let text = serde_json::to_string_pretty(value).map_err(|e| Failure::of_output(&e.into()))?;
        self.text(&format!("{text}\n"))
    }

    /// Writes a value as one line of JSON.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub(crate) fn json_line<T: Serialize + ?Sized>(&mut self, value: &T) -> Outcome {
        let text = serde_json::to_string(value).map_err(|e| Failure::of_output(&e.into()))?;
        self.text(&format!("{text}\n"))
    }

    /// Writes text.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub(crate) fn text(&mut self, text: &str) -> Outcome {
        self.sink.write_all(text.as_bytes()).map_err(|error| Failure::of_output(&error))
    }

    /// Writes bytes that somebody else wrote. A terminal gets their control characters escaped, everything
    /// else gets them as they are.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub(crate) fn foreign(&mut self, bytes: &[u8]) -> Outcome {
        if self.is_terminal {
            return self.text(&printable(&String::from_utf8_lossy(bytes)));
        }
        self.sink.write_all(bytes).map_err(|error| Failure::of_output(&error))
    }

    /// Pushes out what was written.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub(crate) fn flush(&mut self) -> Outcome {
        self.sink.flush().map_err(|error| Failure::of_output(&error))
    }
}

/// Rows in aligned columns, two spaces apart.
#[must_use]
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    let mut text: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    if rows.is_empty() {
        text.clear();
    }
    text
}

/// The text with control characters (C0, DEL, C1) escaped: a terminal would obey them. Newlines stay.
#[must_use]
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// A value or a dash.
#[must_use]
pub(crate) fn or_dash<T: core::fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// `true` and `false` in words.
#[must_use]
pub(crate) fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// The first characters of a digest, enough to tell two apart in a table.
#[must_use]
pub(crate) fn short(digest: &terms::Digest) -> String {
    digest.to_string().chars().take(12).collect()
}

/// Milliseconds as people say them.
#[must_use]
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..=9_999 => format!("{ms} ms"),
        _ => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
    }
}

/// Bytes as people say them: with the largest unit that leaves at least one, rounded down to a tenth.
#[must_use]
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.into_iter().find(|(_, unit)| count >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", count / unit, count % unit * 10 / unit),
        None => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Pair(&'static str, u32);

    impl Row for Pair {
        const COLUMNS: &'static [&'static str] = &["NAME", "COUNT"];

        fn cells(&self) -> Vec<String> {
            vec![self.0.to_owned(), self.1.to_string()]
        }
    }

    #[test]
    fn a_list_is_an_aligned_table_or_a_json_array() {
        let items = [Pair("a", 1), Pair("longer", 22)];
        assert_eq!(shown(Format::Table, false, |o| o.list(&items)), "NAME    COUNT\na       1\nlonger  22\n");
        let json = shown(Format::Json, false, |o| o.list(&items));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&json).unwrap(),
            serde_json::json!([["a", 1], ["longer", 22]])
        );
    }

    #[test]
    fn an_empty_list_says_so_and_is_still_a_json_array() {
        assert_eq!(shown(Format::Table, false, |o| o.list::<Pair>(&[])), "none\n");
        assert_eq!(shown(Format::Json, false, |o| o.list::<Pair>(&[])), "[]\n");
    }

    #[test]
    fn a_terminal_gets_foreign_control_characters_escaped_and_a_pipe_gets_them_whole() {
        let bytes = "x\u{1b}[2J\u{9b}y\n".as_bytes();
        assert_eq!(shown(Format::Table, true, |o| o.foreign(bytes)), "x\\u001b[2J\\u009by\n");
        assert_eq!(shown(Format::Table, false, |o| o.foreign(bytes)).as_bytes(), bytes);
    }

    #[test]
    fn cells_cannot_carry_control_characters_into_a_table() {
        assert_eq!(columns(&[vec!["a\u{1b}]0;x\u{7}".into()]]), "a\\u001b]0;x\\u0007\n");
    }

    #[test]
    fn bytes_are_told_in_the_largest_unit_that_they_fill() {
        for (count, text) in
            [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (1_536, "1.5 KiB"), (512 << 20, "512.0 MiB")]
        {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(bytes(u64::MAX), "17179869183.9 GiB");
    }

    fn shown(format: Format, is_terminal: bool, show: impl FnOnce(&mut Output<'_>) -> Outcome) -> String {
        let mut sink = Vec::new();
        show(&mut Output::new(format, is_terminal, &mut sink)).unwrap();
        String::from_utf8(sink).unwrap()
    }
}
