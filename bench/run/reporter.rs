//! Gathers what the workers hand over: shows it while they run, keeps it for the end.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc;
use std::time::SystemTime;

use crate::report::hlog::HistogramLog;
use crate::report::json::Interval;
use crate::report::table;
use crate::stats::{Counts, Event, Role};

/// Most notes shown as they come; more are counted.
const NOTES_MAX: usize = 10;

/// The reporter.
#[derive(Debug)]
pub struct Reporter {
    sender: Option<mpsc::Sender<Event>>,
    events: mpsc::Receiver<Event>,
    quiet: bool,
    terminal: bool,
    hlog: Option<HistogramLog>,
    /// Workers of each role that hand over intervals.
    workers: BTreeMap<Role, usize>,
    /// Intervals not yet handed over by all workers of a role: how many have.
    open: BTreeMap<(u64, Role), (usize, Counts)>,
    /// Without histograms, which take a quarter of a MiB each: a long run has many seconds.
    seconds: BTreeMap<Role, BTreeMap<u64, Interval>>,
    totals: BTreeMap<Role, Counts>,
    notes: usize,
    problem: Option<String>,
}

impl Reporter {
    /// `quiet` shows nothing; `hlog` takes every interval's histograms.
    ///
    /// # Errors
    /// The interval log cannot be written.
    pub fn new(quiet: bool, hlog: Option<&Path>) -> Result<Self, String> {
        let create = |path: &Path| {
            HistogramLog::create(path, SystemTime::now()).map_err(|e| format!("{}: {e}", path.display()))
        };
        let (sender, events) = mpsc::channel();
        Ok(Self {
            sender: Some(sender),
            events,
            quiet,
            terminal: io::stdout().is_terminal(),
            hlog: hlog.map(create).transpose()?,
            workers: BTreeMap::new(),
            open: BTreeMap::new(),
            seconds: BTreeMap::new(),
            totals: BTreeMap::new(),
            notes: 0,
            problem: None,
        })
    }

    /// The sender of one more worker of `role`.
    pub fn add_worker(&mut self, role: Role) -> mpsc::Sender<Event> {
        *self.workers.entry(role).or_default() += 1;
        self.sender.clone().expect("workers are added before the reporter follows them")
    }

    /// Shows what arrives until every worker has ended.
    pub fn follow(&mut self) {
        self.sender = None;
        if !self.quiet && !self.terminal {
            println!("{}", table::heading());
        }
        while let Ok(event) = self.events.recv() {
            match event {
                Event::Interval { role, second, counts } => self.take(role, second, &counts),
                Event::Note(text) => self.note(&text),
            }
        }
        // A worker that ended early leaves its later seconds to the others.
        let left: Vec<_> = self.open.keys().copied().collect();
        left.into_iter().for_each(|key| self.close(key));
        if self.terminal && !self.quiet {
            print!("\r\x1b[K");
        }
        if self.notes > NOTES_MAX {
            eprintln!("... and {} more notes", self.notes - NOTES_MAX);
        }
    }

    fn take(&mut self, role: Role, second: u64, counts: &Counts) {
        let open = self.open.entry((second, role)).or_default();
        open.0 += 1;
        open.1.add(counts);
        if open.0 >= self.workers.get(&role).copied().unwrap_or(1) {
            self.close((second, role));
        }
    }

    fn close(&mut self, (second, role): (u64, Role)) {
        let Some((_, counts)) = self.open.remove(&(second, role)) else { return };
        if let Some(log) = &mut self.hlog
            && let Err(error) = log.append(role, second, &counts)
        {
            self.problem = Some(format!("--hlog: {error}"));
        }
        // Commits and transactions show in the summary: a row of theirs would hold nothing.
        let shown = !self.quiet && role.moves_records();
        if shown && self.terminal {
            print!("\r\x1b[K{}", table::progress(second, role, &counts));
            let _ = io::stdout().flush();
        } else if shown {
            println!("{}", table::row(second, role, &counts));
        }
        self.totals.entry(role).or_default().add(&counts);
        // The whole histograms of a second are in the log.
        self.seconds.entry(role).or_default().insert(second, Interval::new(second, &counts));
    }

    fn note(&mut self, text: &str) {
        self.notes += 1;
        if self.notes <= NOTES_MAX {
            eprintln!("note: {text}");
        }
    }

    /// The roles that took part.
    pub fn roles(&self) -> impl Iterator<Item = Role> {
        self.totals.keys().copied()
    }

    /// The whole run of a role that took part.
    pub fn total(&self, role: Role) -> Option<&Counts> {
        self.totals.get(&role)
    }

    /// The run second by second.
    pub fn seconds(&self, role: Role) -> impl Iterator<Item = &Interval> {
        self.seconds.get(&role).into_iter().flat_map(BTreeMap::values)
    }

    /// Ends the interval log.
    ///
    /// # Errors
    /// It could not be written.
    pub fn finish(&mut self) -> Result<(), String> {
        if let Some(log) = self.hlog.take() {
            log.finish().map_err(|e| format!("--hlog: {e}"))?;
        }
        self.problem.take().map_or(Ok(()), Err)
    }
}
