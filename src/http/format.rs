//! The two formats of `/metrics`, which differ in what stands around the samples, and who gets which.
//!
//! Sources: Prometheus, "Text-based format" 0.0.4; OpenMetrics 1.0.0, "Text format" (a counter's family is called
//! without `_total`, a unit ends the family's name, `# EOF` ends the answer); RFC 9110, 12.5.1 (`Accept`).

use std::fmt::{self, Write as _};

/// What every name begins with.
pub(super) const PREFIX: &str = "corelane_";

/// Units that a family's name may end with.
const UNITS: [&str; 2] = ["bytes", "seconds"];

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's own.
    Prometheus,
    /// OpenMetrics.
    OpenMetrics,
}

impl Format {
    /// What whoever sent this `Accept` would rather have; Prometheus's own if that is all the same to them.
    #[must_use]
    pub fn of_accept(accept: &str) -> Self {
        let (mut open_metrics, mut text) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut is_known) = (1.0_f32, true);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" if kind == "application/openmetrics-text" => is_known = value.trim() == "1.0.0",
                    _ => {}
                }
            }
            match kind.as_str() {
                "application/openmetrics-text" if is_known => open_metrics = quality.max(open_metrics),
                "text/plain" | "text/*" | "*/*" => text = quality.max(text),
                _ => {}
            }
        }
        // A range that names it is nearer than one that takes everything.
        if open_metrics > 0.0 && open_metrics >= text { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The type of the answer.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Metrics while they are written, one family after the other.
#[derive(Debug)]
pub(super) struct Page {
    text: String,
    format: Format,
}

impl Page {
    pub(super) const fn new(format: Format) -> Self {
        Self { text: String::new(), format }
    }

    /// Begins a family. The name of a counter ends with `_total`.
    pub(super) fn head(&mut self, name: &str, kind: &str, about: &str) {
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        let family = match self.format {
            Format::Prometheus => name,
            Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
        };
        let _ = writeln!(self, "# HELP {PREFIX}{family} {about}\n# TYPE {PREFIX}{family} {kind}");
        if self.format == Format::OpenMetrics
            && let Some(unit) = family.rsplit('_').next().filter(|end| UNITS.contains(end))
        {
            let _ = writeln!(self, "# UNIT {PREFIX}{family} {unit}");
        }
    }

    /// The whole answer.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl fmt::Write for Page {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        for (accept, format) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/html,*/*;q=0.8", Format::Prometheus),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; version=1.0.0; charset=utf-8", Format::OpenMetrics),
            ("application/openmetrics-text; version=0.0.1", Format::Prometheus),
            ("application/openmetrics-text; version=1.0.0; q=0, */*", Format::Prometheus),
            ("application/openmetrics-text; version=1.0.0; q=0.2, text/plain; q=0.9", Format::Prometheus),
            // As Prometheus 2.53 and 3.5 ask.
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
        ] {
            assert_eq!(Format::of_accept(accept), format, "{accept}");
        }
    }

    #[test]
    fn a_family_has_its_unit_and_a_counter_its_name_without_the_end() {
        let head = |format, name, kind| {
            let mut page = Page::new(format);
            page.head(name, kind, "About.");
            page.finish()
        };
        assert_eq!(
            head(Format::OpenMetrics, "journal_bytes_total", "counter"),
            "# HELP corelane_journal_bytes About.\n# TYPE corelane_journal_bytes counter\n\
             # UNIT corelane_journal_bytes bytes\n# EOF\n"
        );
        assert_eq!(
            head(Format::OpenMetrics, "unsettled_bytes_max", "gauge"),
            "# HELP corelane_unsettled_bytes_max About.\n# TYPE corelane_unsettled_bytes_max gauge\n# EOF\n"
        );
        assert_eq!(
            head(Format::Prometheus, "errors_total", "counter"),
            "# HELP corelane_errors_total About.\n# TYPE corelane_errors_total counter\n"
        );
    }
}
