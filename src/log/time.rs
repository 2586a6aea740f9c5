//! Batches by their timestamps: by walks from the nearest index entry, over what lies between the log start and
//! the end that the caller may see.
//!
//! Compaction may leave batches without records: they are not found. A segment's largest timestamp may be that
//! of a batch that cannot be seen, below the log start or at the end: then what can be seen is walked.

use bytes::Bytes;

use super::{
    LogError, LogId, Store,
    index::Seek,
    partition_log::Sealed,
    reader::{Choice, READ_BYTES_MIN, joined},
};
use crate::model::{Offset, TopicPartition};

/// The part of a log that is looked through.
#[derive(Clone, Copy)]
struct Visible {
    partition: TopicPartition,
    start: Offset,
    end: Offset,
}

/// A segment, and where the next one starts.
type Bounded = (Sealed, Offset);

impl Store {
    /// The first batch below `end` whose largest timestamp is not below `timestamp`. The caller looks for
    /// the record in it.
    ///
    /// # Errors
    /// The segment could not be read.
    pub async fn batch_for_time(
        &self,
        id: LogId,
        timestamp: i64,
        end: Offset,
    ) -> Result<Option<Bytes>, LogError> {
        let attempt = async || {
            let (visible, segments) = self.visible(id, end)?;
            for (segment, next) in segments.into_iter().filter(|(s, _)| s.max_timestamp >= timestamp) {
                let found = self.first_in(id, visible, segment.base, next, timestamp).await?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            Ok(None)
        };
        self.unreplaced(id, attempt).await
    }

    /// The first batch with the largest timestamp below `end` (KIP-734).
    ///
    /// # Errors
    /// The segment could not be read.
    pub async fn batch_with_max_timestamp(&self, id: LogId, end: Offset) -> Result<Option<Bytes>, LogError> {
        self.unreplaced(id, async || self.with_max_timestamp(id, end).await).await
    }

    async fn with_max_timestamp(&self, id: LogId, end: Offset) -> Result<Option<Bytes>, LogError> {
        let (visible, mut segments) = self.visible(id, end)?;
        // Of equal ones the earlier segment stays first.
        segments.sort_by_key(|(segment, _)| std::cmp::Reverse(segment.max_timestamp));
        let mut best: Option<(i64, Offset, Bytes)> = None;
        for (segment, next) in segments {
            let promised = segment.max_timestamp;
            if promised < 0 || best.as_ref().is_some_and(|(found, ..)| *found > promised) {
                break;
            }
            let mut timestamp = promised;
            let mut found = self.first_in(id, visible, segment.base, next, timestamp).await?;
            if found.is_none() {
                timestamp = self.largest_in(id, visible, segment.base, next).await?;
                if timestamp < 0 {
                    continue;
                }
                found = self.first_in(id, visible, segment.base, next, timestamp).await?;
            }
            let is_better = |(other, base, _): &(i64, Offset, Bytes)| {
                timestamp > *other || (timestamp == *other && segment.base < *base)
            };
            if let Some(batch) = found
                && best.as_ref().is_none_or(is_better)
            {
                best = Some((timestamp, segment.base, batch));
            }
        }
        Ok(best.map(|(_, _, batch)| batch))
    }

    fn visible(&self, id: LogId, end: Offset) -> Result<(Visible, Vec<Bounded>), LogError> {
        self.with_log(id, |log| {
            let visible = Visible { partition: log.partition, start: log.log_start, end };
            let segments: Vec<Sealed> = log.segments().collect();
            let nexts = segments.iter().skip(1).map(|segment| segment.base).chain([log.next]);
            let bounded = segments.iter().copied().zip(nexts);
            let seen = bounded.filter(|(segment, next)| segment.base < end && *next > visible.start);
            (visible, seen.collect())
        })
    }

    /// The first visible batch of one segment, which ends at `next`, with `timestamp` or a later one.
    async fn first_in(
        &self,
        id: LogId,
        visible: Visible,
        segment: Offset,
        next: Offset,
        timestamp: i64,
    ) -> Result<Option<Bytes>, LogError> {
        let end = visible.end.min(next);
        let mut place = self.place(id, visible.partition, segment, Seek::Time(timestamp)).await?;
        let found = self
            .search(id, visible.partition, &mut place, READ_BYTES_MIN, end, |_, head| {
                if head.next > end {
                    Choice::Stop
                } else if head.max_timestamp < timestamp || head.next <= visible.start || head.is_empty {
                    Choice::Skip
                } else {
                    Choice::TakeLast
                }
            })
            .await?;
        Ok(found.map(|(slices, _)| joined(slices)))
    }

    /// The largest timestamp of the visible batches of one segment, which ends at `next`; -1 for none.
    async fn largest_in(
        &self,
        id: LogId,
        visible: Visible,
        segment: Offset,
        next: Offset,
    ) -> Result<i64, LogError> {
        let end = visible.end.min(next);
        let from_start = segment >= visible.start;
        // The index knows the largest timestamp before its entries, which is of use if all of those can be seen.
        let seek = if from_start { Seek::Offset(end) } else { Seek::Offset(visible.start) };
        let mut place = self.place(id, visible.partition, segment, seek).await?;
        let mut largest = place.max_before().filter(|_| from_start).unwrap_or(-1);
        self.search(id, visible.partition, &mut place, READ_BYTES_MIN, end, |_, head| {
            if head.next > end {
                return Choice::Stop;
            }
            if head.next > visible.start && !head.is_empty {
                largest = largest.max(head.max_timestamp);
            }
            Choice::Skip
        })
        .await?;
        Ok(largest)
    }
}
