//! What happened, as tables: drawn into a part of a terminal, or of a text.
//!
//! The sections follow one another from the top: all cores, each core, what was asked for, how long it took,
//! topics, groups. What a broker does not tell has no section; what does not fit is not drawn.

use std::collections::VecDeque;

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize as _},
    text::{Line, Span},
    widgets::{Paragraph, Row, Sparkline, Table, Widget},
};

use super::rates::{Core, Rates};

/// Looks that the sparklines go back.
const HISTORY_MAX: usize = 120;
/// Topics and groups that are shown.
const ROWS_OF_SECTION_MAX: usize = 10;
/// APIs that are shown.
const APIS_MAX: usize = 8;
/// Cells of a bar.
const BAR_CELLS: usize = 8;
/// Shares of a core's time from which it is worth a look, and from which it is the bottleneck.
const BUSY_WARM: f64 = 0.6;
const BUSY_HOT: f64 = 0.85;
/// A stall from which on clients notice, in seconds.
const STALL_LONG_S: f64 = 0.01;

/// One number of a core.
type Of = fn(&Core) -> f64;

/// What is shown, and how it came to be.
#[derive(Debug)]
pub(super) struct View {
    url: String,
    rates: Option<Rates>,
    /// Of all cores, oldest first.
    history: VecDeque<Core>,
    /// Why the last look failed.
    trouble: Option<String>,
}

/// One table with its headline.
struct Section {
    columns: Vec<&'static str>,
    widths: Vec<u16>,
    rows: Vec<Vec<Span<'static>>>,
}

impl View {
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), rates: None, history: VecDeque::new(), trouble: None }
    }

    /// Shows this from now on.
    pub(super) fn push(&mut self, rates: Rates) {
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(rates.total());
        (self.rates, self.trouble) = (Some(rates), None);
    }

    /// Says why there is nothing new; what was shown stays.
    pub(super) fn fail(&mut self, why: String) {
        self.trouble = Some(why);
    }

    /// Rows that all of it needs.
    pub(super) fn rows(&self) -> u16 {
        let sections: usize = self.sections().iter().map(|section| section.rows.len() + 2).sum();
        u16::try_from(sections).unwrap_or(u16::MAX).saturating_add(HEAD_ROWS)
    }

    fn head(&self) -> Line<'_> {
        let mut spans = vec!["corelane top".bold(), format!("  {}", self.url).dim()];
        match (&self.trouble, &self.rates) {
            (Some(trouble), _) => spans.push(format!("  {trouble}").red()),
            (None, None) => spans.push("  first look".dim()),
            (None, Some(rates)) if rates.cores.is_empty() => spans.push("  no core tells anything".red()),
            (None, Some(rates)) => {
                let ill: Vec<_> =
                    rates.cores.iter().filter(|core| !core.well).map(|core| &*core.shard).collect();
                spans.push(match ill.is_empty() {
                    true => format!("  {} cores, all serve", rates.cores.len()).green(),
                    false => format!("  core {} does not serve", ill.join(", ")).red().bold(),
                });
            }
        }
        Line::from(spans)
    }

    fn sections(&self) -> Vec<Section> {
        let Some(rates) = &self.rates else { return Vec::new() };
        let all = [cores(rates), latencies(rates), apis(rates), topics(rates), groups(rates)];
        all.into_iter().filter(|section| !section.rows.is_empty()).collect()
    }

    fn sparklines(&self, area: Rect, buffer: &mut Buffer) {
        let Some(now) = self.history.back() else { return };
        let parts: [(String, Color, Of); 3] = [
            (format!("in {}/s", bytes(now.bytes_in)), Color::Cyan, |core| core.bytes_in),
            (format!("out {}/s", bytes(now.bytes_out)), Color::Magenta, |core| core.bytes_out),
            (format!("requests {}/s", count(now.requests)), Color::Yellow, |core| core.requests),
        ];
        let areas = Layout::horizontal([Constraint::Fill(1); 3]).spacing(2).split(area);
        for ((title, color, of), area) in parts.into_iter().zip(areas.iter()) {
            let [title_area, line] =
                Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(*area);
            Paragraph::new(title.bold()).render(title_area, buffer);
            let skipped = self.history.len().saturating_sub(usize::from(line.width));
            let values = self.history.iter().skip(skipped).map(|core| of(core) as u64);
            Sparkline::default().data(values).style(Style::new().fg(color)).render(line, buffer);
        }
    }
}

/// Rows above the tables: headline, space, sparklines with their titles, space.
const HEAD_ROWS: u16 = 7;

impl Widget for &View {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let [head, _, lines, _, mut rest] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(HEAD_ROWS - 3),
            Constraint::Length(1),
            Constraint::Fill(1),
        ])
        .areas(area);
        Paragraph::new(self.head()).render(head, buffer);
        self.sparklines(lines, buffer);
        for section in self.sections() {
            let wanted = u16::try_from(section.rows.len() + 2).unwrap_or(u16::MAX);
            let height = wanted.min(rest.height);
            if height < 2 {
                break;
            }
            section.render(Rect { height, ..rest }, buffer);
            rest = Rect { y: rest.y + height, height: rest.height - height, ..rest };
        }
    }
}

impl Section {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let ends = self.widths.iter().scan(0_u16, |end, width| {
            *end += width + 1;
            Some(*end - 1)
        });
        // Half a column says nothing: those at the end are left out.
        let fit = ends.take_while(|end| *end <= area.width).count().max(1);
        let head = Row::new(cells(self.columns.iter().take(fit).map(|&name| Span::raw(name))));
        let rows = self.rows.into_iter().map(|row| Row::new(cells(row.into_iter().take(fit))));
        let widths = self.widths.iter().take(fit).map(|width| Constraint::Length(*width));
        Table::new(rows, widths).header(head.style(Style::new().bold().underlined())).render(area, buffer);
    }
}

/// Names to the left, numbers to the right.
fn cells(spans: impl IntoIterator<Item = Span<'static>>) -> Vec<Line<'static>> {
    let align = |(column, span)| match column {
        0 => Line::from(span).left_aligned(),
        _ => Line::from(span).right_aligned(),
    };
    spans.into_iter().enumerate().map(align).collect()
}

fn cores(rates: &Rates) -> Section {
    let row = |core: &Core| {
        let stall = core.stall_p99.map_or_else(
            || "-".dim(),
            |stall| match stall >= STALL_LONG_S {
                true => time(stall).red(),
                false => time(stall).into(),
            },
        );
        let errors = match core.errors > 0.0 {
            true => count(core.errors).red(),
            false => count(0.0).dim(),
        };
        vec![
            if core.well { core.shard.clone().into() } else { format!("{} !", core.shard).red().bold() },
            core.busy.map_or_else(|| "-".dim(), bar),
            bytes(core.bytes_in).into(),
            bytes(core.bytes_out).into(),
            count(core.requests).into(),
            count(core.connections).into(),
            stall,
            errors,
            count(core.records_in).into(),
            count(core.hops).into(),
            count(core.partitions).into(),
            bytes(core.unsettled_bytes).into(),
            time(core.stall_longest).into(),
        ]
    };
    let mut rows: Vec<_> = rates.cores.iter().map(row).collect();
    if rows.len() > 1 {
        rows.push(row(&rates.total()));
    }
    Section {
        columns: vec![
            "core", "busy", "in/s", "out/s", "req/s", "conns", "stall99", "err/s", "rec/s", "hops/s",
            "parts", "journal", "longest",
        ],
        widths: vec![4, 13, 8, 8, 6, 5, 7, 5, 6, 6, 5, 8, 7],
        rows,
    }
}

fn latencies(rates: &Rates) -> Section {
    let row = |one: &super::rates::Latency| {
        vec![
            one.what.clone().into(),
            count(one.per_second).into(),
            time(one.p50).into(),
            time(one.p99).into(),
            time(one.p999).into(),
        ]
    };
    Section {
        columns: vec!["took", "req/s", "p50", "p99", "p99.9"],
        widths: vec![40, 8, 9, 9, 9],
        rows: rates.latencies.iter().map(row).collect(),
    }
}

fn apis(rates: &Rates) -> Section {
    let row = |(name, rate): &(String, f64)| vec![name.clone().into(), count(*rate).into()];
    Section {
        columns: vec!["asked for", "req/s"],
        widths: vec![40, 8],
        rows: rates.apis.iter().take(APIS_MAX).map(row).collect(),
    }
}

fn topics(rates: &Rates) -> Section {
    let row = |topic: &super::rates::Topic| {
        vec![
            topic.name.clone().into(),
            bytes(topic.bytes_in).into(),
            bytes(topic.bytes_out).into(),
            count(topic.records_in).into(),
        ]
    };
    Section {
        columns: vec!["hottest topics", "in/s", "out/s", "rec/s"],
        widths: vec![40, 8, 9, 9],
        rows: rates.topics.iter().take(ROWS_OF_SECTION_MAX).map(row).collect(),
    }
}

fn groups(rates: &Rates) -> Section {
    let row = |group: &super::rates::Group| {
        let seconds = group.seconds.map_or_else(|| "-".to_owned(), time);
        vec![group.name.clone().into(), count(group.records).into(), seconds.into()]
    };
    Section {
        columns: vec!["groups behind", "records", "time"],
        widths: vec![40, 8, 9],
        rows: rates.groups.iter().take(ROWS_OF_SECTION_MAX).map(row).collect(),
    }
}

/// A share of 0 to 1 as a bar and a number.
fn bar(share: f64) -> Span<'static> {
    let full = (share * BAR_CELLS as f64).round() as usize;
    let text = format!("{}{} {:>3.0}%", "█".repeat(full), "·".repeat(BAR_CELLS - full), share * 100.0);
    match share {
        _ if share >= BUSY_HOT => text.red(),
        _ if share >= BUSY_WARM => text.yellow(),
        _ => text.green(),
    }
}

/// Three digits and what they are thousands of.
fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let (mut value, mut unit) = (value.max(0.0), 0);
    // Below 999.5, or it would be shown with a fourth digit.
    while value >= step.min(999.5) && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.95 { 0 } else { 1 };
    format!("{value:.digits$}{}", units[unit])
}

fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

fn count(value: f64) -> String {
    match value {
        _ if value > 0.0 && value < 10.0 && value.fract() != 0.0 => format!("{value:.1}"),
        _ => scaled(value, 1000.0, &["", "k", "M", "G", "T"]),
    }
}

/// A time in seconds.
fn time(seconds: f64) -> String {
    match seconds {
        _ if seconds <= 0.0 => "0".to_owned(),
        _ if seconds < 0.0009995 => format!("{:.0}us", seconds * 1e6),
        _ if seconds < 0.9995 => format!("{:.1}ms", seconds * 1e3),
        _ if seconds < 120.0 => format!("{seconds:.1}s"),
        _ if seconds < 7200.0 => format!("{:.0}min", seconds / 60.0),
        _ => format!("{:.0}h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::text_of, *};

    #[test]
    fn numbers_are_short_and_say_their_unit() {
        let shown = [0.0, 1.0, 999.0, 1000.0, 1536.0, 1e6, 5e12].map(bytes);
        assert_eq!(shown, ["0B", "1B", "999B", "1.0KiB", "1.5KiB", "977KiB", "4.5TiB"]);
        let shown = [0.0, 0.5, 2.0, 12.7, 999.4, 999.6, 1e4, 1.5e6].map(count);
        assert_eq!(shown, ["0", "0.5", "2", "13", "999", "1.0k", "10.0k", "1.5M"]);
        let shown = [0.0, 0.000_064, 0.001, 0.25, 1.0, 90.0, 600.0, 1e5].map(time);
        assert_eq!(shown, ["0", "64us", "1.0ms", "250.0ms", "1.0s", "90.0s", "10min", "28h"]);
    }

    fn core(shard: &str, well: bool) -> Core {
        Core {
            shard: shard.to_owned(),
            busy: Some(0.5),
            bytes_in: 2048.0,
            requests: 7.0,
            well,
            ..Core::default()
        }
    }

    fn view(rates: Rates) -> View {
        let mut view = View::new("http://h:1/metrics");
        view.push(rates);
        view
    }

    #[test]
    fn every_core_has_a_line_and_several_have_a_sum() {
        let one = text_of(&view(Rates { cores: vec![core("0", true)], ..Rates::default() }), 100);
        let line = one.lines().find(|line| line.starts_with("0 ")).expect("the line of core 0");
        for part in ["████····  50%", " 2.0KiB ", " 7 "] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        assert!(one.contains("1 cores, all serve") && !one.contains("\nall "), "{one}");
        let two =
            text_of(&view(Rates { cores: vec![core("0", true), core("1", false)], ..Rates::default() }), 100);
        assert!(
            two.contains("\nall ") && two.contains("\n1 ! ") && two.contains("core 1 does not serve"),
            "{two}"
        );
        assert!(two.contains(" 4.0KiB ") && two.contains("in 4.0KiB/s"), "{two}");
    }

    #[test]
    fn what_a_broker_does_not_tell_has_no_section() {
        let mut rates = Rates { cores: vec![core("0", true)], ..Rates::default() };
        let without = text_of(&view(rates.clone()), 100);
        assert!(!without.contains("hottest") && !without.contains("asked for"), "{without}");
        rates.apis = vec![("Produce".to_owned(), 3.5)];
        let with = text_of(&view(rates), 100);
        assert!(
            with.contains("asked for") && with.lines().any(|line| line.starts_with("Produce ")),
            "{with}"
        );
    }

    #[test]
    fn trouble_is_told_and_what_was_seen_stays() {
        let mut view = view(Rates { cores: vec![core("0", true)], ..Rates::default() });
        view.fail("nobody there".to_owned());
        let text = text_of(&view, 100);
        assert!(text.contains("nobody there") && text.contains("\n0 "), "{text}");
        let empty = text_of(&View::new("u"), 100);
        assert!(empty.contains("first look"), "{empty}");
    }

    #[test]
    fn any_size_of_terminal_can_be_drawn_into() {
        let rates =
            Rates { cores: (0..40).map(|n| core(&n.to_string(), true)).collect(), ..Rates::default() };
        let mut view = view(rates.clone());
        (0..HISTORY_MAX + 5).for_each(|_| view.push(rates.clone()));
        assert_eq!(view.history.len(), HISTORY_MAX);
        for (columns, rows) in [(0, 0), (1, 1), (3, 200), (200, 3), (20, 12), (500, 500)] {
            let area = Rect::new(0, 0, columns, rows);
            view.render(area, &mut Buffer::empty(area));
        }
    }
}
