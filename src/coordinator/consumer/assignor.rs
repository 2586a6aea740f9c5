//! Who gets which partition: plain functions of members, topics and what members had before.
//!
//! `uniform` gives every member as many partitions as any other, give or take one, and moves as few as that
//! takes. `range` gives members of a topic neighbouring partitions, in the order of their names.
//!
//! Source: KIP-848 (server-side assignors); Kafka 4.1, `UniformAssignor`, `RangeAssignor`.

use std::collections::{BTreeMap, BTreeSet};

use super::Assignment;
use crate::model::TopicId;

/// Moves of one computation with members of different subscriptions, per partition: a bound, not a need.
const MOVES_PER_PARTITION_MAX: usize = 4;

/// An assignor by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// `uniform`
    Uniform,
    /// `range`
    Range,
}

impl Assignor {
    /// All of them, the default first.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }
}

/// A member as an assignor sees it.
#[derive(Debug, Clone, Default)]
pub struct Subscriber {
    /// The topics that it reads.
    pub topics: BTreeSet<TopicId>,
    /// What it was to have before.
    pub before: Assignment,
    /// What its place in `range` goes by: its instance's name, or its own.
    pub rank: String,
}

/// What each member is to have. `topics`: how many partitions each has; topics that are not named there have none.
#[must_use]
pub fn assign(
    assignor: Assignor,
    members: &BTreeMap<String, Subscriber>,
    topics: &BTreeMap<TopicId, i32>,
) -> BTreeMap<String, Assignment> {
    let mut assigned: BTreeMap<String, Assignment> =
        members.keys().map(|id| (id.clone(), Assignment::new())).collect();
    match assignor {
        Assignor::Range => range(members, topics, &mut assigned),
        Assignor::Uniform => uniform(members, topics, &mut assigned),
    }
    assigned
}

fn range(
    members: &BTreeMap<String, Subscriber>,
    topics: &BTreeMap<TopicId, i32>,
    assigned: &mut BTreeMap<String, Assignment>,
) {
    for (&topic, &partitions) in topics {
        let mut readers: Vec<_> = members.iter().filter(|(_, one)| one.topics.contains(&topic)).collect();
        readers.sort_by_key(|(_, one)| &one.rank);
        let Ok(count) = i32::try_from(readers.len()) else { continue };
        let mut next = 0;
        for (place, (id, _)) in (0..count).zip(&readers) {
            let share = partitions / count + i32::from(place < partitions % count);
            if share > 0 {
                let own = assigned.entry((*id).clone()).or_default();
                own.insert(topic, (next..next + share).collect());
            }
            next += share;
        }
    }
}

/// Members by how many partitions they have, the fewest first.
struct Loads<'a> {
    members: &'a BTreeMap<String, Subscriber>,
    assigned: &'a mut BTreeMap<String, Assignment>,
    counts: BTreeMap<&'a str, usize>,
    by_count: BTreeSet<(usize, &'a str)>,
}

impl<'a> Loads<'a> {
    fn new(
        members: &'a BTreeMap<String, Subscriber>,
        assigned: &'a mut BTreeMap<String, Assignment>,
    ) -> Self {
        let counts: BTreeMap<&str, usize> = members.keys().map(|id| (id.as_str(), 0)).collect();
        let by_count = counts.iter().map(|(id, count)| (*count, *id)).collect();
        Self { members, assigned, counts, by_count }
    }

    fn count(&self, id: &str) -> usize {
        self.counts.get(id).copied().unwrap_or(0)
    }

    fn change(&mut self, id: &'a str, to: usize) {
        let count = self.counts.entry(id).or_default();
        self.by_count.remove(&(*count, id));
        *count = to;
        self.by_count.insert((to, id));
    }

    fn give(&mut self, id: &'a str, topic: TopicId, partition: i32) {
        if let Some(own) = self.assigned.get_mut(id) {
            own.entry(topic).or_default().insert(partition);
        }
        self.change(id, self.count(id) + 1);
    }

    fn take(&mut self, id: &'a str, topic: TopicId, partition: i32) {
        if let Some(own) = self.assigned.get_mut(id)
            && let Some(of_topic) = own.get_mut(&topic)
        {
            of_topic.remove(&partition);
            if of_topic.is_empty() {
                own.remove(&topic);
            }
        }
        self.change(id, self.count(id).saturating_sub(1));
    }

    /// The reader of a topic that has the fewest partitions.
    fn least(&self, topic: TopicId) -> Option<&'a str> {
        let reads = |id: &str| self.members.get(id).is_some_and(|one| one.topics.contains(&topic));
        self.by_count.iter().map(|(_, id)| *id).find(|id| reads(id))
    }
}

fn uniform(
    members: &BTreeMap<String, Subscriber>,
    topics: &BTreeMap<TopicId, i32>,
    assigned: &mut BTreeMap<String, Assignment>,
) {
    let mut subscriptions = members.values().map(|one| &one.topics);
    let first = subscriptions.next();
    let is_same = subscriptions.all(|other| Some(other) == first);
    let mut free: BTreeSet<(TopicId, i32)> = BTreeSet::new();
    for (&topic, &partitions) in topics {
        if members.values().any(|one| one.topics.contains(&topic)) {
            free.extend((0..partitions).map(|partition| (topic, partition)));
        }
    }
    let total = free.len();
    let (least, mut more) =
        if members.is_empty() { (0, 0) } else { (total / members.len(), total % members.len()) };
    let mut loads = Loads::new(members, assigned);
    // What members had they keep, as far as their share goes.
    for (id, one) in members {
        let had = one.before.iter().flat_map(|(topic, of_topic)| of_topic.iter().map(|p| (*topic, *p)));
        for (topic, partition) in had {
            let count = loads.count(id);
            let has_room = !is_same || count < least || (count == least && more > 0);
            if has_room && one.topics.contains(&topic) && free.remove(&(topic, partition)) {
                if is_same && count == least {
                    more -= 1;
                }
                loads.give(id, topic, partition);
            }
        }
    }
    for (topic, partition) in free {
        if let Some(id) = loads.least(topic) {
            loads.give(id, topic, partition);
        }
    }
    if !is_same {
        level(&mut loads, total * MOVES_PER_PARTITION_MAX);
    }
}

/// Moves partitions from who has more to readers who have at least two fewer, until there is none.
fn level(loads: &mut Loads<'_>, moves_max: usize) {
    for _ in 0..moves_max {
        let found = loads.by_count.iter().rev().find_map(|&(count, from)| {
            let own = loads.assigned.get(from)?;
            own.iter().find_map(|(&topic, of_topic)| {
                let to = loads.least(topic)?;
                (loads.count(to) + 1 < count).then_some((from, to, topic, *of_topic.first()?))
            })
        });
        let Some((from, to, topic, partition)) = found else { return };
        loads.take(from, topic, partition);
        loads.give(to, topic, partition);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(number: u8) -> TopicId {
        let mut bytes = [0; 16];
        bytes[15] = number + 1;
        TopicId::from_bytes(bytes)
    }

    fn members(
        subscriptions: &[Vec<u8>],
        before: &BTreeMap<String, Assignment>,
    ) -> BTreeMap<String, Subscriber> {
        let member = |(number, topics): (usize, &Vec<u8>)| {
            let id = format!("m{number:03}");
            let topics = topics.iter().map(|number| topic(*number)).collect();
            let before = before.get(&id).cloned().unwrap_or_default();
            (id.clone(), Subscriber { topics, before, rank: id })
        };
        subscriptions.iter().enumerate().map(member).collect()
    }

    fn counts(assigned: &BTreeMap<String, Assignment>) -> Vec<usize> {
        assigned.values().map(|own| own.values().map(BTreeSet::len).sum()).collect()
    }

    #[test]
    fn range_gives_neighbours_in_the_order_of_names() {
        let topics = [(topic(0), 5), (topic(1), 1)].into();
        let two = members(&[vec![0, 1], vec![0, 1]], &BTreeMap::new());
        let assigned = assign(Assignor::Range, &two, &topics);
        assert_eq!(assigned["m000"], [(topic(0), [0, 1, 2].into()), (topic(1), [0].into())].into());
        assert_eq!(assigned["m001"], [(topic(0), [3, 4].into())].into());
    }

    #[test]
    fn a_member_that_joins_takes_its_share_and_moves_nothing_else() {
        let topics = [(topic(0), 12)].into();
        let three = assign(Assignor::Uniform, &members(&vec![vec![0]; 3], &BTreeMap::new()), &topics);
        assert_eq!(counts(&three), [4, 4, 4]);
        let four = assign(Assignor::Uniform, &members(&vec![vec![0]; 4], &three), &topics);
        assert_eq!(counts(&four), [3, 3, 3, 3]);
        for (id, own) in &three {
            assert!(four[id][&topic(0)].is_subset(&own[&topic(0)]), "{id} got what another had");
        }
    }

    proptest! {
        #[test]
        fn every_partition_has_one_reader_and_loads_are_level(
            first in proptest::collection::vec(proptest::collection::vec(0..4u8, 1..4), 1..8),
            second in proptest::collection::vec(proptest::collection::vec(0..4u8, 1..4), 1..8),
            partitions in proptest::collection::vec(0..9i32, 4),
            same in any::<bool>(),
        ) {
            let topics: BTreeMap<_, _> = (0..4).map(|number| (topic(number), partitions[usize::from(number)])).collect();
            let second = if same { vec![second[0].clone(); second.len()] } else { second };
            for assignor in Assignor::ALL {
                let before = assign(assignor, &members(&first, &BTreeMap::new()), &topics);
                let members = members(&second, &before);
                let assigned = assign(assignor, &members, &topics);
                let mut seen = BTreeSet::new();
                for (id, own) in &assigned {
                    for (topic, of_topic) in own {
                        prop_assert!(members[id].topics.contains(topic));
                        for partition in of_topic {
                            prop_assert!(seen.insert((*topic, *partition)), "twice");
                        }
                    }
                }
                let wanted = |topic: &TopicId| members.values().any(|one| one.topics.contains(topic));
                let total: i32 = topics.iter().filter(|(topic, _)| wanted(topic)).map(|(_, count)| count).sum();
                prop_assert_eq!(seen.len(), total as usize);
                let counts = counts(&assigned);
                if same && assignor == Assignor::Uniform {
                    let (least, most) = (counts.iter().min(), counts.iter().max());
                    prop_assert!(most.unwrap() - least.unwrap() <= 1, "{:?}", counts);
                }
            }
        }
    }
}
