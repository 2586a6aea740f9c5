//! Where the time of a request goes: stages that follow one another, each from the end of the one before it.
//!
//! The stages of one request add up to its `total`, but for `hop`, which lies within `flush` or `read` and is
//! counted by the core that receives the letter. Requests of the same connection are answered in turn, so
//! `flush` and `queue` hold what a request waits for those before it.
//!
//! To read the clock is most of what counting costs. So the stages of one request in [`TIMED_EVERY`] are timed and
//! counted, and those of the others told in turns of the core, for whoever looks at the slowest; the total of each
//! request is counted (`scripts/metrics-cost`).

use super::latency::{Latency, LatencyHistogram};

/// What kind of request: the two hot ones are told apart by stages, of the others there is the total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// Produce.
    Produce,
    /// Fetch.
    Fetch,
    /// Any other.
    Other,
}

/// Kinds of requests.
const KINDS: usize = 3;

impl RequestKind {
    /// Its name, as the label says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Produce => "Produce",
            Self::Fetch => "Fetch",
            Self::Other => "other",
        }
    }
}

/// A part of a request's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Whole in memory, but not begun: those before it on its connection are not answered yet.
    Queue,
    /// Decoded; what it carries is validated, and who does it is known.
    Parse,
    /// Handed over: stamped and in its core's journal queue, or in a letter to another core.
    Append,
    /// Until its batches are as safe as `acks` asks for.
    Flush,
    /// Until there was enough to read, or the time that the client gave was over.
    Read,
    /// Of any other API: from its turn until its answer is ready.
    Answer,
    /// One way of a letter to another core: from its writing to its being taken up.
    Hop,
    /// From the answer's being ready until the kernel has taken all of it.
    Send,
    /// From the whole frame in memory until its answer is sent.
    Total,
}

/// Number of stages.
const STAGES: usize = 9;

impl Stage {
    /// Its name, as the label says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Parse => "parse",
            Self::Append => "append",
            Self::Flush => "flush",
            Self::Read => "read",
            Self::Answer => "answer",
            Self::Hop => "hop",
            Self::Send => "send",
            Self::Total => "total",
        }
    }
}

/// The stages that are counted, by kind of request, in the order of a request's way.
pub const TIMED: &[(RequestKind, Stage)] = &[
    (RequestKind::Produce, Stage::Parse),
    (RequestKind::Produce, Stage::Append),
    (RequestKind::Produce, Stage::Flush),
    (RequestKind::Produce, Stage::Hop),
    (RequestKind::Produce, Stage::Send),
    (RequestKind::Produce, Stage::Total),
    (RequestKind::Fetch, Stage::Queue),
    (RequestKind::Fetch, Stage::Parse),
    (RequestKind::Fetch, Stage::Read),
    (RequestKind::Fetch, Stage::Hop),
    (RequestKind::Fetch, Stage::Send),
    (RequestKind::Fetch, Stage::Total),
    (RequestKind::Other, Stage::Hop),
    (RequestKind::Other, Stage::Total),
];

/// One request in so many, and one letter in so many, has its stages counted.
pub const TIMED_EVERY: u64 = 16;
/// A request of so many bytes may be worked on for long within one turn of its core.
const EXACT_FROM_BYTES: usize = 16 << 10;

/// How the stages of one request are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// By the clock; and they are counted.
    Counted,
    /// By the clock.
    Exact,
    /// By the turns of the core: a stage that ends within the turn it began in took no time.
    ByTurn,
}

impl Timing {
    /// That of the request after `before` others, with so many bytes.
    #[must_use]
    pub const fn of(before: u64, bytes: usize) -> Self {
        if before.is_multiple_of(TIMED_EVERY) {
            Self::Counted
        } else if bytes >= EXACT_FROM_BYTES {
            Self::Exact
        } else {
            Self::ByTurn
        }
    }
}

/// Stages of one request that its laps hold.
const LAPS_MAX: usize = 5;

/// The stages of one request so far.
#[derive(Debug, Clone, Copy)]
pub struct Laps {
    api_key: i16,
    kind: RequestKind,
    timing: Timing,
    began_us: u64,
    last_us: u64,
    excused_us: u64,
    laps: [Option<(Stage, u32)>; LAPS_MAX],
}

impl Laps {
    /// A request of this API that was whole at `began_us`, by the core's clock.
    #[must_use]
    pub const fn new(api_key: i16, kind: RequestKind, timing: Timing, began_us: u64) -> Self {
        let laps = [None; LAPS_MAX];
        Self { api_key, kind, timing, began_us, last_us: began_us, excused_us: 0, laps }
    }

    /// A stage has ended; the next begins. Returns the microseconds that it took.
    pub fn lap(&mut self, stage: Stage, now_us: u64) -> u64 {
        let us = now_us.saturating_sub(self.last_us);
        self.last_us += us;
        let free = self.laps.iter_mut().find(|lap| lap.is_none());
        *free.expect("a request has few stages") = Some((stage, u32::try_from(us).unwrap_or(u32::MAX)));
        us
    }

    /// Whether stages end by the clock, and not by the turns of the core.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        !matches!(self.timing, Timing::ByTurn)
    }

    /// When the last stage ended, by the core's clock.
    #[must_use]
    pub const fn now_us(&self) -> u64 {
        self.last_us
    }

    /// So much of it the client has asked to wait: that does not make it slow.
    pub fn excuse(&mut self, us: u64) {
        self.excused_us += us;
    }

    /// The API's number.
    #[must_use]
    pub const fn api_key(&self) -> i16 {
        self.api_key
    }

    /// From its beginning to the end of the last stage, in microseconds.
    #[must_use]
    pub const fn total_us(&self) -> u64 {
        self.last_us - self.began_us
    }

    /// What of that the client has not asked to wait.
    #[must_use]
    pub const fn slow_us(&self) -> u64 {
        self.total_us().saturating_sub(self.excused_us)
    }

    /// The stages with their microseconds, in their order.
    pub fn stages(&self) -> impl Iterator<Item = (Stage, u32)> + '_ {
        self.laps.iter().flatten().copied()
    }
}

/// The histograms of one core.
#[derive(Debug, Default)]
pub(super) struct StageHistograms([[LatencyHistogram; STAGES]; KINDS]);

impl StageHistograms {
    pub(super) fn record(&self, kind: RequestKind, stage: Stage, us: u64) {
        self.0[kind as usize][stage as usize].record(us);
    }

    /// A request is over: its total, and its stages if they are counted.
    pub(super) fn record_all(&self, laps: &Laps) {
        if laps.kind != RequestKind::Other && laps.timing == Timing::Counted {
            laps.stages().for_each(|(stage, us)| self.record(laps.kind, stage, u64::from(us)));
        }
        self.record(laps.kind, Stage::Total, laps.total_us());
    }

    pub(super) fn snapshot(&self) -> Vec<Latency> {
        TIMED.iter().map(|(kind, stage)| self.0[*kind as usize][*stage as usize].snapshot()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stages_of_a_request_add_up_to_its_total() {
        let mut laps = Laps::new(0, RequestKind::Produce, Timing::Counted, 1_000);
        laps.lap(Stage::Parse, 1_010);
        laps.lap(Stage::Append, 1_013);
        laps.lap(Stage::Flush, 1_513);
        laps.lap(Stage::Send, 1_500); // a clock that another core has set back is not believed
        assert_eq!(laps.total_us(), 513);
        assert_eq!(laps.stages().map(|(_, us)| u64::from(us)).sum::<u64>(), laps.total_us());
        laps.excuse(13);
        assert_eq!(laps.slow_us(), 500);
    }

    #[test]
    fn what_is_recorded_is_shown_where_the_table_says() {
        let histograms = StageHistograms::default();
        for (at, (kind, stage)) in TIMED.iter().enumerate() {
            (0..=at).for_each(|_| histograms.record(*kind, *stage, 7));
        }
        let counts: Vec<_> = histograms.snapshot().iter().map(Latency::count).collect();
        assert_eq!(counts, (1..=TIMED.len() as u64).collect::<Vec<_>>());
        let mut laps = Laps::new(18, RequestKind::Other, Timing::Counted, 0);
        laps.lap(Stage::Send, 9);
        histograms.record_all(&laps);
        let total = TIMED.iter().position(|row| *row == (RequestKind::Other, Stage::Total)).expect("a row");
        assert_eq!(histograms.snapshot()[total].count(), counts[total] + 1);
    }
    #[test]
    fn the_stages_of_one_request_in_sixteen_are_counted_and_the_total_of_each() {
        let histograms = StageHistograms::default();
        let count = |stage| histograms.0[RequestKind::Produce as usize][stage as usize].snapshot().count();
        for before in 0..2 * TIMED_EVERY {
            let mut laps = Laps::new(0, RequestKind::Produce, Timing::of(before, 100), 0);
            laps.lap(Stage::Flush, 5);
            histograms.record_all(&laps);
        }
        assert_eq!((count(Stage::Flush), count(Stage::Total)), (2, 2 * TIMED_EVERY));
        let is_exact =
            |before, bytes| Laps::new(0, RequestKind::Produce, Timing::of(before, bytes), 0).is_exact();
        assert!(is_exact(0, 100) && !is_exact(1, 100) && is_exact(1, EXACT_FROM_BYTES));
    }
}
