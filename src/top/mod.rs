//! `corelane top`: what the cores of a broker do at this moment, in a terminal.
//!
//! The room knows nothing of a broker but the address of its `/metrics`: it asks twice, and shows the difference.
//! In the order to read them: `scrape.rs` (the text, and what stands in it), `rates.rs` (two scrapes to what
//! happened between them), `draw.rs` (that as tables), `screen.rs` (again and again, until `q`).

mod draw;
mod rates;
mod scrape;
mod screen;

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
    time::{Duration, Instant},
};

use ratatui::{buffer::Buffer, layout::Rect, widgets::Widget as _};

use self::{
    draw::View,
    rates::Rates,
    scrape::{Scrape, ScrapeError},
};

/// Shortest and longest time between two scrapes.
const INTERVAL_MS: std::ops::RangeInclusive<u64> = 100..=60_000;
/// Columns of `--once` where there is no terminal.
const COLUMNS: u16 = 100;
/// Rows of `--once` at most; empty ones at the end are not printed.
const ROWS_MAX: u16 = 400;

/// Of `corelane top`.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct TopArgs {
    /// Where the broker says what it counts (http.listen)
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9644/metrics")]
    pub metrics: String,
    /// Milliseconds between two looks
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(INTERVAL_MS))]
    pub interval_ms: u64,
    /// Print one frame as text
    #[arg(long)]
    pub once: bool,
}

/// Why nothing is shown, as one sentence.
#[derive(Debug, thiserror::Error)]
enum TopError {
    /// The broker's numbers cannot be had.
    #[error(transparent)]
    Scrape(#[from] ScrapeError),
    /// The terminal cannot be written to, or its keys not be read.
    #[error("terminal: {0}")]
    Terminal(#[from] io::Error),
    /// There is nobody to look.
    #[error("the output is no terminal: give --once for one frame as text")]
    NoTerminal,
}

/// Shows it; exit status 1 if that failed.
#[must_use]
pub fn run(args: &TopArgs) -> ExitCode {
    let every = Duration::from_millis(args.interval_ms);
    let shown = match args.once {
        true => once(&args.metrics, every).map(|text| print!("{text}")),
        false if io::stdout().is_terminal() => screen::run(&args.metrics, every),
        false => Err(TopError::NoTerminal),
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corelane: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One frame as text.
fn once(url: &str, every: Duration) -> Result<String, TopError> {
    let before = Scrape::get(url)?;
    let since = Instant::now();
    std::thread::sleep(every);
    let after = Scrape::get(url)?;
    let mut view = View::new(url);
    view.push(Rates::between(&before, &after, since.elapsed()));
    let columns = ratatui::crossterm::terminal::size().map_or(COLUMNS, |(columns, _)| columns.max(COLUMNS));
    Ok(text_of(&view, columns))
}

/// The view as lines of text, without what is empty at the ends.
fn text_of(view: &View, columns: u16) -> String {
    let area = Rect::new(0, 0, columns, view.rows().min(ROWS_MAX));
    let mut buffer = Buffer::empty(area);
    view.render(area, &mut buffer);
    let line = |y| {
        let cells: String = (0..columns).map(|x| buffer[(x, y)].symbol()).collect();
        cells.trim_end().to_owned() + "\n"
    };
    let text: String = (0..area.height).map(line).collect();
    text.trim_end().to_owned() + "\n"
}
