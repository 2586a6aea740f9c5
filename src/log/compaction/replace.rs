//! A rewritten segment takes the place of old ones, wholly or not at all.
//!
//! The new file lies there, durable and under a name of its own, before anything says so. Then, in one turn,
//! the log in memory takes the new segment for the old ones and a frame that says the same goes into the
//! journal. Whichever of the two a recovery finds, checkpoint or frame, names exactly the files it means:
//!
//! | crash                                   | recovery finds                      | the other files             |
//! |-----------------------------------------|-------------------------------------|-----------------------------|
//! | before the frame is durable             | the old segments                    | the new one: a leftover     |
//! | after, before the next checkpoint       | the old segments, then the frame    | the old ones are condemned  |
//! | after the next checkpoint               | the new segment                     | the old ones: leftovers     |
//!
//! Condemned files go with the second checkpoint, leftovers when the partition's next segment is made.
//!
//! Payload of the frame, little-endian: count of old segments (4); of each base offset (8) and version (4);
//! length (8), largest timestamp (8) and version (4) of the new one, which has the base offset of the first.

use crate::{
    log::{
        LogError, LogId, Logs, Store,
        format::Frame,
        partition_log::{Log, Sealed},
    },
    model::Offset,
};

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::log) struct Replacement {
    /// Base offset and version of the segments that go, neighbours in the log.
    pub(in crate::log) old: Vec<(Offset, u32)>,
    /// What takes their place.
    pub(in crate::log) new: Sealed,
}

impl Replacement {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(24 + 12 * self.old.len());
        bytes.extend_from_slice(&(self.old.len() as u32).to_le_bytes());
        for (base, version) in &self.old {
            bytes.extend_from_slice(&base.get().to_le_bytes());
            bytes.extend_from_slice(&version.to_le_bytes());
        }
        bytes.extend_from_slice(&self.new.length.to_le_bytes());
        bytes.extend_from_slice(&self.new.max_timestamp.to_le_bytes());
        bytes.extend_from_slice(&self.new.version.to_le_bytes());
        bytes
    }

    /// What a payload says; `None` if it is none.
    pub(in crate::log) fn parse(bytes: &[u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let old_bytes = (u32::from_le_bytes(*count) as usize).checked_mul(12)?;
        let (old, new) = rest.split_at_checked(old_bytes)?;
        let old = old.as_chunks::<12>().0.iter().map(|segment| {
            let number = u128::from_le_bytes(std::array::from_fn(|at| segment.get(at).copied().unwrap_or(0)));
            (Offset::new(number as i64), (number >> 64) as u32)
        });
        let old: Vec<_> = old.collect();
        let (length, new) = new.split_first_chunk::<8>()?;
        let (max_timestamp, new) = new.split_first_chunk::<8>()?;
        let new = Sealed {
            base: old.first()?.0,
            length: u64::from_le_bytes(*length),
            max_timestamp: i64::from_le_bytes(*max_timestamp),
            version: u32::from_le_bytes(new.try_into().ok()?),
        };
        Some(Self { old, new })
    }
}

impl Logs {
    /// As [`Log::replace`]; what memory holds of the old segments goes too.
    pub(in crate::log) fn replace(&mut self, id: LogId, replacement: &Replacement) -> Option<Vec<Sealed>> {
        let log = self.by_id.get_mut(id)?;
        let gone = log.replace(replacement)?;
        let mut chunks = log.tail.drop_through(gone.last()?.base);
        let settled_bytes = &mut self.settled_bytes;
        self.settled_chunks.retain(|&(owner, bytes)| {
            let goes = owner == id && chunks > 0;
            if goes {
                chunks -= 1;
                *settled_bytes -= bytes;
            }
            !goes
        });
        assert_eq!(chunks, 0, "every chunk of a sealed segment is counted");
        Some(gone)
    }
}

impl Log {
    /// Takes the new segment for the old ones and returns those; `None`, and nothing changed, if they are
    /// not all there as neighbours.
    fn replace(&mut self, replacement: &Replacement) -> Option<Vec<Sealed>> {
        let first = replacement.old.first()?.0;
        let start = self.sealed.binary_search_by_key(&first, |segment| segment.base).ok()?;
        let range = start..start + replacement.old.len();
        let there = self.sealed.get(range.clone())?.iter().map(|segment| (segment.base, segment.version));
        if !there.eq(replacement.old.iter().copied()) {
            return None;
        }
        self.replacements += 1;
        self.dirty = true;
        self.forget_hints();
        Some(self.sealed.splice(range, [replacement.new]).collect())
    }
}

impl Store {
    /// Lets a durable new segment take the place of old ones. False if those are no longer there.
    pub(super) async fn replace(&self, id: LogId, replacement: &Replacement) -> Result<bool, LogError> {
        self.check_usable()?;
        let partition = self.with_log(id, |log| log.partition)?;
        let Some(gone) = self.logs.borrow_mut().replace(id, replacement) else { return Ok(false) };
        self.condemn(id, partition, gone);
        let base = replacement.new.base;
        let frame = Frame::replaced(partition, base);
        // The frame goes into the journal before this waits for anything.
        self.record(id, frame, [&replacement.to_bytes(), &[]]).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_reads_back_and_no_shorter_one_does() {
        let old = vec![(Offset::new(0), 3), (Offset::new(1 << 40), 0), (Offset::new(i64::MAX), u32::MAX)];
        let new = Sealed { base: Offset::new(0), length: 12_345, max_timestamp: -1, version: 4 };
        let replacement = Replacement { old, new };
        let bytes = replacement.to_bytes();
        assert_eq!(Replacement::parse(&bytes), Some(replacement));
        for end in 0..bytes.len() {
            assert_eq!(Replacement::parse(&bytes[..end]), None);
        }
    }
}
