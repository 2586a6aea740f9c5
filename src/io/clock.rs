//! Time, as the rooms above see it.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use super::disk::DiskFuture;

/// The moment that all cores count from.
pub(super) fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// The time of day, a time that never goes back, and a way to let some pass.
///
/// Two forms: the executor's own and the simulated one in `sim.rs`.
pub trait Clock {
    /// Microseconds since some moment before the start; never goes back. Cores of one process share the moment.
    fn monotonic_us(&self) -> u64;

    /// The same for the moment at which the core last looked for what has happened: before what it does now, by as
    /// much as it has done since. Costs next to nothing where [`Self::monotonic_us`] has to ask.
    fn turn_us(&self) -> u64 {
        self.monotonic_us()
    }

    /// The same in milliseconds.
    fn monotonic_ms(&self) -> u64 {
        self.monotonic_us() / 1000
    }

    /// Milliseconds since 1970, as Kafka's timestamps count them; may jump.
    fn wall_ms(&self) -> i64;

    /// Ready once `duration` has passed. A dropped future costs nothing further.
    fn sleep<'a>(&'a self, duration: Duration) -> DiskFuture<'a, ()>;
}
