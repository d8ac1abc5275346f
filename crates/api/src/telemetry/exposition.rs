//! Prometheus' text format, version 0.0.4: families of samples, each with what it is and of which type.

use std::fmt::{Display, Write as _};

/// What goes with it over HTTP.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page that is being written.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    /// Begins a family: the samples that follow are of it.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// A sample. A label without a value is left out, which means the same.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.put(name);
        let mut open = "{";
        for (label, text) in labels.iter().filter(|(_, text)| !text.is_empty()) {
            let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            self.put(format_args!("{open}{label}=\"{text}\""));
            open = ",";
        }
        self.put(format_args!("{} {value}\n", if open == "," { "}" } else { "" }));
    }

    fn put(&mut self, what: impl Display) {
        // A String takes all that is written to it.
        let _ = write!(self.0, "{what}");
    }

    pub(super) fn done(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_value_or_a_line_is_escaped() {
        let mut text = Text::default();
        text.family("x_total", "counter", "A \\ and\nmore.");
        text.sample("x_total", &[("a", "q\"\\\n"), ("none", ""), ("b", "é")], 3);
        text.sample("x_total", &[("none", "")], 4);
        let wanted = "# HELP x_total A \\\\ and\\nmore.\n# TYPE x_total counter\nx_total{a=\"q\\\"\\\\\\n\",b=\"é\"} 3\nx_total 4\n";
        assert_eq!(text.done(), wanted);
    }
}
