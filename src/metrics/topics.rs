//! Traffic by topic, for a bounded number of topics: those with the most of it, and the others together.
//!
//! Cores tell what each of their topics has moved since the start; the table counts what was added since it was
//! told last, to the topic if it is shown and else to the others. So every series only grows while it is there. A
//! topic gets a place when it moves more than others without one, and keeps it until it is deleted, or has been
//! quiet for a while and another one needs the place. Its counters go with it, into no other series: all of them
//! together are what was moved only as long as none has gone. What all topics moved since the start, the cores count.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

/// Topics that are shown by name; the others are [`OTHERS`].
pub const TOPICS_SHOWN_MAX: usize = 100;
/// What all that are not shown are called. A topic of that name is one of them.
pub const OTHERS: &str = "other";
/// A topic without traffic for this long may lose its place.
const QUIET: Duration = Duration::from_secs(600);

/// What a topic's clients have moved, and what it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicCount {
    /// Bytes of batches that producers have been told are in the log.
    pub bytes_in: u64,
    /// Their records.
    pub records_in: u64,
    /// Bytes of batches that were sent to consumers. Their records are not looked at, so not counted.
    pub bytes_out: u64,
    /// Bytes of batches in the logs of its partitions, now.
    pub log_bytes: u64,
}

impl TopicCount {
    /// Adds what another core has counted.
    pub const fn add(&mut self, other: Self) {
        self.bytes_in += other.bytes_in;
        self.records_in += other.records_in;
        self.bytes_out += other.bytes_out;
        self.log_bytes += other.log_bytes;
    }

    /// What was added since. A core that forgets a topic makes it fewer: then nothing was.
    const fn since(self, before: Self) -> Self {
        Self {
            bytes_in: self.bytes_in.saturating_sub(before.bytes_in),
            records_in: self.records_in.saturating_sub(before.records_in),
            bytes_out: self.bytes_out.saturating_sub(before.bytes_out),
            log_bytes: self.log_bytes,
        }
    }

    const fn moved(self) -> u64 {
        self.bytes_in + self.bytes_out
    }

    /// Counts what was added; what is kept is as it is now.
    const fn count(&mut self, more: Self) {
        let log_bytes = more.log_bytes;
        self.add(more);
        self.log_bytes = log_bytes;
    }
}

/// The topics of one core: names and counts.
pub type TopicCounts = Arc<Vec<(Arc<str>, TopicCount)>>;

#[derive(Debug, Default)]
struct Shown {
    count: TopicCount,
    moved_at: Duration,
}

/// The topics that are shown.
#[derive(Debug, Default)]
pub struct TopicTable {
    /// What cores said last.
    told: HashMap<Arc<str>, TopicCount>,
    shown: BTreeMap<Arc<str>, Shown>,
    others: TopicCount,
}

impl TopicTable {
    /// Takes what all cores say `now`, a time since any moment.
    pub fn update(&mut self, cores: &[TopicCounts], now: Duration) {
        let mut told: HashMap<Arc<str>, TopicCount> = HashMap::new();
        for (name, count) in cores.iter().flat_map(|core| core.iter()) {
            told.entry(name.clone()).or_default().add(*count);
        }
        self.shown.retain(|name, _| told.contains_key(name));
        self.others.log_bytes = 0;
        let mut hidden = Vec::new();
        for (name, count) in &told {
            let added = count.since(self.told.get(name).copied().unwrap_or_default());
            match self.shown.get_mut(name) {
                Some(shown) => {
                    shown.count.count(added);
                    if added.moved() > 0 {
                        shown.moved_at = now;
                    }
                }
                None => hidden.push((name, added)),
            }
        }
        hidden.sort_by_key(|(name, added)| (Reverse(added.moved()), (*name).clone()));
        for (name, added) in hidden {
            if added.moved() > 0 && &**name != OTHERS && self.has_room(now) {
                self.shown.insert(name.clone(), Shown { count: added, moved_at: now });
            } else {
                self.others.add(added);
            }
        }
        self.told = told;
    }

    /// Whether there is a place, if need be that of a topic that has been quiet.
    fn has_room(&mut self, now: Duration) -> bool {
        if self.shown.len() < TOPICS_SHOWN_MAX {
            return true;
        }
        let quietest = self.shown.iter().min_by_key(|(_, shown)| shown.moved_at);
        let Some((name, _)) = quietest.filter(|(_, shown)| now.saturating_sub(shown.moved_at) >= QUIET)
        else {
            return false;
        };
        let name = name.clone();
        if let Some(gone) = self.shown.remove(&name) {
            self.others.log_bytes += gone.count.log_bytes;
        }
        true
    }

    /// The topics that have a place, by name, and then all others.
    pub fn rows(&self) -> impl Iterator<Item = (&str, TopicCount)> {
        let shown = self.shown.iter().map(|(name, shown)| (&**name, shown.count));
        shown.chain([(OTHERS, self.others)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(counts: &[(&str, u64)]) -> TopicCounts {
        let count = |&(name, bytes): &(&str, u64)| {
            (name.into(), TopicCount { bytes_in: bytes, records_in: 1, bytes_out: 0, log_bytes: bytes })
        };
        Arc::new(counts.iter().map(count).collect())
    }

    fn row(table: &TopicTable, wanted: &str) -> Option<TopicCount> {
        table.rows().find(|(name, _)| *name == wanted).map(|(_, count)| count)
    }

    #[test]
    fn cores_add_up_and_a_topic_that_is_gone_is_shown_no_more() {
        let mut table = TopicTable::default();
        table.update(&[core(&[("a", 5), ("idle", 0), ("other", 3)]), core(&[("a", 7)])], Duration::ZERO);
        let a = TopicCount { bytes_in: 12, records_in: 2, bytes_out: 0, log_bytes: 12 };
        assert_eq!(table.rows().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "other"]);
        assert_eq!(row(&table, "a"), Some(a));
        assert_eq!(row(&table, "other").map(|other| other.bytes_in), Some(3));
        table.update(&[core(&[("a", 9)]), core(&[("a", 7)])], Duration::ZERO);
        assert_eq!(row(&table, "a").map(|a| (a.bytes_in, a.log_bytes)), Some((16, 16)));
        table.update(&[core(&[("b", 1)])], Duration::ZERO);
        assert_eq!(table.rows().map(|(name, _)| name).collect::<Vec<_>>(), ["b", "other"]);
    }

    #[test]
    fn the_number_is_bounded_nothing_is_lost_and_the_others_only_grow() {
        let names: Vec<String> = (0..TOPICS_SHOWN_MAX + 20).map(|n| format!("t{n:03}")).collect();
        let mut table = TopicTable::default();
        let (mut others, mut all) = (0, 0);
        for round in 1..=50_u64 {
            let counts: Vec<(&str, u64)> =
                names.iter().enumerate().map(|(n, name)| (name.as_str(), round * n as u64)).collect();
            table.update(&[core(&counts)], Duration::from_secs(round));
            assert_eq!(table.rows().count(), TOPICS_SHOWN_MAX + 1);
            let other = row(&table, "other").expect("always there");
            assert!(other.bytes_in >= others, "round {round}");
            others = other.bytes_in;
            all = counts.iter().map(|(_, bytes)| bytes).sum();
            assert_eq!(table.rows().map(|(_, count)| count.bytes_in).sum::<u64>(), all, "round {round}");
            assert_eq!(table.rows().map(|(_, count)| count.log_bytes).sum::<u64>(), all, "round {round}");
        }
        assert!(row(&table, "t119").is_some() && row(&table, "t001").is_none() && all > 0);
    }

    #[test]
    fn a_place_that_has_been_quiet_goes_to_a_topic_that_moves() {
        let names: Vec<String> = (0..TOPICS_SHOWN_MAX).map(|n| format!("t{n:03}")).collect();
        let mut counts: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 9)).collect();
        let mut table = TopicTable::default();
        table.update(&[core(&counts)], Duration::ZERO);
        counts.push(("new", 1));
        table.update(&[core(&counts)], QUIET - Duration::from_secs(1));
        assert_eq!(row(&table, "new"), None);
        counts[TOPICS_SHOWN_MAX].1 = 2;
        table.update(&[core(&counts)], QUIET);
        assert_eq!(row(&table, "new").map(|new| new.bytes_in), Some(1));
        assert_eq!(table.rows().count(), TOPICS_SHOWN_MAX + 1);
    }
}
