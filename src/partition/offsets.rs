//! The offsets of a partition and their order.

use crate::model::Offset;

/// Log start, last stable, high watermark, log end; and how far the journal has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// First offset a client may read; retention moves it up.
    pub log_start_offset: Offset,
    /// High watermark, or the start of an undecided transaction below it.
    pub last_stable_offset: Offset,
    /// First offset not yet as safe as the topic's class demands (exclusive end of what is seen).
    pub high_watermark: Offset,
    /// Offset the next record will get (exclusive end).
    pub log_end_offset: Offset,
    /// First offset whose write has not completed: what `acks=1` waits for.
    pub written_end: Offset,
    /// First offset not known to be on stable storage (Kafka's recovery point).
    pub durable_end: Offset,
}

impl PartitionOffsets {
    /// A log as recovery has found it: all of it is durable.
    #[must_use]
    pub fn recovered(log_start_offset: Offset, log_end_offset: Offset) -> Self {
        let offsets = Self {
            log_start_offset,
            last_stable_offset: log_end_offset,
            high_watermark: log_end_offset,
            log_end_offset,
            written_end: log_end_offset,
            durable_end: log_end_offset,
        };
        offsets.check_order();
        offsets
    }

    /// The log starts at `start` now; a lower one than the present one changes nothing.
    pub fn raise_log_start(&mut self, start: Offset) {
        self.log_start_offset = self.log_start_offset.max(start);
        self.check_order();
    }

    /// A batch was appended, up to `end`.
    pub fn appended(&mut self, end: Offset) {
        assert!(end > self.log_end_offset, "append to {end}: {self:?}");
        self.log_end_offset = end;
        self.check_order();
    }

    /// The journal has come this far. With `write_caching` readers see what is written, else what is
    /// durable. Says whether the high watermark has moved.
    pub fn progressed(&mut self, written_end: Offset, durable_end: Offset, write_caching: bool) -> bool {
        self.written_end = self.written_end.max(written_end);
        self.durable_end = self.durable_end.max(durable_end);
        let seen = if write_caching { self.written_end } else { self.durable_end };
        // Never back, also when `write.caching` is switched off.
        let moved = seen > self.high_watermark;
        if moved {
            self.high_watermark = seen;
            self.last_stable_offset = seen;
        }
        self.check_order();
        moved
    }

    /// Runs after every change of any of them. One line per relation: the line names the fault.
    fn check_order(&self) {
        assert!(self.log_start_offset <= self.last_stable_offset, "{self:?}");
        assert!(self.last_stable_offset <= self.high_watermark, "{self:?}");
        assert!(self.high_watermark <= self.written_end, "{self:?}");
        assert!(self.durable_end <= self.written_end, "{self:?}");
        assert!(self.written_end <= self.log_end_offset, "{self:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(value: i64) -> Offset {
        Offset::new(value)
    }

    #[test]
    fn readers_see_what_is_durable_unless_the_topic_caches_writes() {
        let mut offsets = PartitionOffsets::recovered(offset(3), offset(10));
        offsets.appended(offset(14));
        assert!(!offsets.progressed(offset(14), offset(10), false));
        assert_eq!(offsets.high_watermark, offset(10));
        assert!(offsets.progressed(offset(14), offset(12), false));
        assert_eq!(offsets.high_watermark, offset(12));
        assert!(offsets.progressed(offset(14), offset(12), true));
        assert_eq!(offsets.high_watermark, offset(14));
    }

    #[test]
    fn the_high_watermark_never_moves_back() {
        let mut offsets = PartitionOffsets::recovered(offset(0), offset(0));
        offsets.appended(offset(5));
        assert!(offsets.progressed(offset(5), offset(0), true));
        assert!(!offsets.progressed(offset(5), offset(2), false));
        assert_eq!(offsets.high_watermark, offset(5));
    }

    #[test]
    #[should_panic(expected = "append to 4")]
    fn an_append_that_ends_below_the_log_end_is_our_fault() {
        PartitionOffsets::recovered(offset(0), offset(5)).appended(offset(4));
    }
}
