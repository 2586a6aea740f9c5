//! First offset of each leader epoch, from the batches that were appended (KIP-101, KIP-320).

use crate::model::{LeaderEpoch, Offset};

/// Epochs remembered per log; of more, the oldest are forgotten and answered as older than the log.
pub const LEADER_EPOCHS_MAX: usize = 4096;

/// Ascending in epoch and in offset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LeaderEpochs(Vec<(LeaderEpoch, Offset)>);

impl LeaderEpochs {
    pub(super) fn from_entries(entries: Vec<(LeaderEpoch, Offset)>) -> Self {
        Self(entries)
    }

    pub(super) fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.0
    }

    /// A batch of that epoch is appended at `base`.
    pub(super) fn appended(&mut self, epoch: LeaderEpoch, base: Offset) {
        if self.0.last().is_none_or(|&(last, _)| last < epoch) {
            if self.0.len() == LEADER_EPOCHS_MAX {
                self.0.remove(0);
            }
            self.0.push((epoch, base));
        }
    }

    /// The log starts at `start` now: epochs that ended below are forgotten.
    /// Source: Kafka, `LeaderEpochFileCache.truncateFromStart`.
    pub(super) fn start_at(&mut self, start: Offset) {
        let above = self.0.partition_point(|&(_, base)| base <= start);
        if let Some(at) = above.checked_sub(1) {
            self.0.drain(..at);
            self.0[0].1 = start;
        }
    }

    /// The largest epoch not above `epoch`, and the offset where it ends; `None` if `epoch` is above all.
    ///
    /// An epoch below all is answered by itself and the start of the first.
    /// Source: Kafka, `LeaderEpochFileCache.endOffsetFor`.
    pub(super) fn end(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let above = self.0.partition_point(|&(e, _)| e <= epoch);
        let floor = above.checked_sub(1).map(|at| self.0[at].0);
        match self.0.get(above) {
            Some(&(_, start)) => Some((floor.unwrap_or(epoch), start)),
            None => floor.filter(|&last| last == epoch).map(|last| (last, log_end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_where_the_next_one_starts() {
        let mut epochs = LeaderEpochs::default();
        for (epoch, base) in [(1, 0), (1, 5), (4, 10), (4, 12)] {
            epochs.appended(LeaderEpoch::new(epoch), Offset::new(base));
        }
        let end =
            |epoch| epochs.end(LeaderEpoch::new(epoch), Offset::new(20)).map(|(e, o)| (e.get(), o.get()));
        assert_eq!(end(0), Some((0, 0)));
        assert_eq!(end(1), Some((1, 10)));
        assert_eq!(end(3), Some((1, 10)));
        assert_eq!(end(4), Some((4, 20)));
        assert_eq!(end(5), None);
        epochs.start_at(Offset::new(11));
        assert_eq!(epochs.entries(), &[(LeaderEpoch::new(4), Offset::new(11))]);
        assert_eq!(LeaderEpochs::default().end(LeaderEpoch::new(0), Offset::ZERO), None);
    }
}
