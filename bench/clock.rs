//! One clock for a whole run: nanoseconds since the process looked first, and what that is in Unix time.
//!
//! State machines never read it; they are given the time. Two processes on one host agree to within a few
//! microseconds, which is what `consume` relies on when it takes the age of another process's record.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the clock was made; never goes back.
pub type Nanos = u64;

/// Nanoseconds in a second.
pub const SECOND: Nanos = 1_000_000_000;

/// Nanoseconds in a millisecond.
pub const MILLISECOND: Nanos = 1_000_000;

/// The clock; copies of it agree exactly.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    anchor: Instant,
    unix_at_anchor: u64,
}

impl Clock {
    /// A clock that starts at zero now.
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { anchor: Instant::now(), unix_at_anchor: u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// Now.
    pub fn now(&self) -> Nanos {
        u64::try_from(self.anchor.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Unix time in nanoseconds of a moment of this clock.
    pub fn to_unix(self, at: Nanos) -> u64 {
        self.unix_at_anchor.saturating_add(at)
    }

    /// The moment of this clock that a Unix time in nanoseconds names; zero if it lies before the start.
    pub fn at_unix(self, unix: u64) -> Option<Nanos> {
        unix.checked_sub(self.unix_at_anchor)
    }
}

/// Unix milliseconds of Unix nanoseconds, as record batches carry them.
pub fn unix_ms(unix_ns: u64) -> i64 {
    i64::try_from(unix_ns / MILLISECOND).unwrap_or(i64::MAX)
}
