//! Which log is compacted next, and which part of it: plain decisions.
//!
//! ```text
//! log start        compacted_to                                 active segment
//!     |---- clean -----|-------- dirty ---------|--- not yet ---------|
//!                                               ^ end: high watermark, last stable offset, min.compaction.lag.ms
//! ```
//!
//! Source: Kafka, `LogCleanerManager.grabFilthiestCompactedLog`, `cleanableOffsets`, `maxCompactionDelay`.

use std::ops::Range;

use crate::{
    log::partition_log::{Log, Sealed},
    model::Offset,
};

/// Segments that become one at once: they are named in one frame.
const GROUP_SEGMENTS_MAX: usize = 1_024;

/// What could be compacted of one log.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    /// Offsets to be compacted for the first time.
    pub(super) dirty: Range<Offset>,
    /// Share of the dirty bytes in all that the pass would read.
    pub(super) ratio: f64,
    /// The share is above `min.cleanable.dirty.ratio`.
    pub(super) is_due: bool,
    /// With `max.compaction.lag.ms`: the pass is due anyway if the first dirty segment begins before this.
    pub(super) due_before_ms: Option<i64>,
}

/// What there is to do for a log of which nothing at or above `end` may be touched.
pub(super) fn candidate(log: &Log, end: Offset, now_ms: i64) -> Option<Candidate> {
    let settings = &log.settings;
    if !settings.cleanup_policy.compact || log.quarantined.is_some() || log.uncleanable {
        return None;
    }
    let first_live = log.live.front().map(|live| live.base)?;
    let start = log.compacted_to.max(log.log_start);
    let end = end.min(first_live);
    let youngest = now_ms.saturating_sub(settings.min_compaction_lag_ms);
    let too_young = |segment: &&Sealed| {
        let is_dirty = segment_end(log, segment) > start;
        is_dirty && settings.min_compaction_lag_ms > 0 && segment.max_timestamp > youngest
    };
    let end = log.sealed.iter().find(too_young).map_or(end, |segment| segment.base.min(end));
    if start >= end || log.undecided_below == Some(end) {
        return None;
    }
    let (mut clean_bytes, mut dirty_bytes) = (0, 0);
    for segment in log.sealed.iter().filter(|segment| segment.base < end) {
        let is_dirty = segment_end(log, segment) > start;
        *if is_dirty { &mut dirty_bytes } else { &mut clean_bytes } += segment.length;
    }
    let ratio = match clean_bytes + dirty_bytes {
        0 => 0.0,
        all => dirty_bytes as f64 / all as f64,
    };
    let lag_ms = settings.max_compaction_lag_ms;
    Some(Candidate {
        dirty: start..end,
        ratio,
        is_due: dirty_bytes > 0 && ratio > settings.min_cleanable_dirty_ratio,
        due_before_ms: (dirty_bytes > 0 && lag_ms < i64::MAX).then(|| now_ms.saturating_sub(lag_ms)),
    })
}

/// Offset after a sealed segment: where the next one starts.
pub(super) fn segment_end(log: &Log, segment: &Sealed) -> Offset {
    let after = log.sealed.partition_point(|other| other.base <= segment.base);
    let next = log.sealed.get(after).map(|next| next.base);
    next.or_else(|| log.live.front().map(|live| live.base)).unwrap_or(log.next)
}

/// Neighbours that become one segment: together no larger than a segment may be, at least one each.
///
/// Source: Kafka, `Cleaner.groupSegmentsBySize`.
pub(super) fn groups(segments: &[(Sealed, Offset)], bytes_max: u64) -> Vec<Vec<Sealed>> {
    let mut groups: Vec<Vec<Sealed>> = Vec::new();
    let mut bytes = 0;
    for &(segment, end) in segments {
        let fits = groups.last().is_some_and(|group| {
            let span = end.get() - group[0].base.get();
            let is_small = bytes + segment.length <= bytes_max && group.len() < GROUP_SEGMENTS_MAX;
            is_small && span <= i64::from(i32::MAX)
        });
        match groups.last_mut().filter(|_| fits) {
            Some(group) => group.push(segment),
            None => {
                bytes = 0;
                groups.push(vec![segment]);
            }
        }
        bytes += segment.length;
    }
    groups
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        log::{partition_log::Live, tests::partition},
        model::{CleanupPolicy, TopicSettings},
    };

    /// Segments of 100 bytes at 0, 10, .. 40, with largest timestamps 1000, 2000, ..; the active one at 50.
    fn log(tune: impl FnOnce(&mut TopicSettings)) -> Log {
        let cleanup_policy = CleanupPolicy { delete: false, compact: true };
        let mut settings = TopicSettings { cleanup_policy, ..TopicSettings::default() };
        tune(&mut settings);
        let mut log = Log::new(partition(0), Arc::new(settings), Offset::ZERO);
        let segment = |i: i64| Sealed {
            base: Offset::new(10 * i),
            length: 100,
            max_timestamp: 1_000 * (i + 1),
            version: 0,
        };
        log.sealed = (0..5).map(segment).collect();
        log.live = [Live::new(Offset::new(50))].into();
        log.next = Offset::new(55);
        log
    }

    fn range(candidate: Option<Candidate>) -> Option<(i64, i64)> {
        candidate.map(|candidate| (candidate.dirty.start.get(), candidate.dirty.end.get()))
    }

    #[test]
    fn the_active_segment_and_what_is_not_yet_stable_stay_out() {
        let log = log(|_| {});
        assert_eq!(range(candidate(&log, Offset::new(99), 0)), Some((0, 50)));
        assert_eq!(range(candidate(&log, Offset::new(33), 0)), Some((0, 33)));
        assert_eq!(range(candidate(&log, Offset::ZERO, 0)), None);
    }

    #[test]
    fn a_log_that_is_not_to_be_compacted_is_no_candidate() {
        let end = Offset::new(99);
        assert_eq!(candidate(&log(|settings| settings.cleanup_policy.compact = false), end, 0), None);
        let mut damaged = log(|_| {});
        damaged.uncleanable = true;
        assert_eq!(candidate(&damaged, end, 0), None);
    }

    #[test]
    fn young_segments_wait_and_old_ones_do_not() {
        let lag = |ms| move |settings: &mut TopicSettings| settings.min_compaction_lag_ms = ms;
        let at = |ms, now_ms| range(candidate(&log(lag(ms)), Offset::new(99), now_ms));
        assert_eq!(at(500, 3_400), Some((0, 20)));
        assert_eq!(at(500, 3_500), Some((0, 30)));
        assert_eq!(at(500, 1_000), None);
        assert_eq!(at(0, 0), Some((0, 50)));
    }

    #[test]
    fn the_share_of_dirty_bytes_makes_a_log_due() {
        let mut log = log(|settings| settings.min_cleanable_dirty_ratio = 0.4);
        let ratio = |log: &Log| candidate(log, Offset::new(99), 0).map(|c| (c.ratio, c.is_due));
        assert_eq!(ratio(&log), Some((1.0, true)));
        log.compacted_to = Offset::new(20);
        assert_eq!(ratio(&log), Some((0.6, true)));
        log.compacted_to = Offset::new(30);
        assert_eq!(ratio(&log), Some((0.4, false)));
        log.log_start = Offset::new(45);
        assert_eq!(range(candidate(&log, Offset::new(99), 0)), Some((45, 50)));
        log.compacted_to = Offset::new(50);
        assert_eq!(ratio(&log), None);
    }

    #[test]
    fn what_a_pass_found_undecided_waits_until_there_is_more() {
        let mut log = log(|_| {});
        log.undecided_below = Some(Offset::new(33));
        assert_eq!(candidate(&log, Offset::new(33), 0), None);
        assert_eq!(range(candidate(&log, Offset::new(34), 0)), Some((0, 34)));
    }

    #[test]
    fn small_neighbours_become_one_segment() {
        let log = log(|_| {});
        let segments: Vec<_> = log.sealed.iter().map(|s| (*s, segment_end(&log, s))).collect();
        let sizes = |bytes_max| groups(&segments, bytes_max).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(99), [1, 1, 1, 1, 1]);
        assert_eq!(sizes(200), [2, 2, 1]);
        assert_eq!(sizes(10_000), [5]);
    }
}
