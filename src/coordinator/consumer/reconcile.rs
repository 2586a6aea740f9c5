//! A member's way from what it has to what it is to have: it gives back first, and gets what nobody has any more.
//!
//! | state      | the member                                   | leaves it once                          |
//! |------------|----------------------------------------------|-----------------------------------------|
//! | Stable     | has all that it is to have                   | there is a newer target                 |
//! | Unrevoked  | was told to give back, and has not yet       | it no longer reports what it gives back |
//! | Unreleased | waits for what others have not given back    | they have                               |
//!
//! Source: Kafka 4.1, `CurrentAssignmentBuilder`; KIP-848.

use std::collections::BTreeSet;

use super::{Assignment, Current, MemberState};
use crate::model::TopicId;

/// The next step of a member. `owned`: what it says it has, if it does. `is_taken`: whether some member has, or
/// has not yet given back, a partition.
#[must_use]
pub fn next(
    current: &Current,
    target_epoch: i32,
    target: &Assignment,
    owned: Option<&Assignment>,
    is_taken: impl Fn(TopicId, i32) -> bool,
) -> Current {
    match current.state {
        MemberState::Stable if current.epoch == target_epoch => current.clone(),
        MemberState::Unrevoked if owns_any(owned, &current.revoking) => current.clone(),
        MemberState::Unrevoked => step(current, current.epoch + 1, target_epoch, target, owned, is_taken),
        _ => step(current, current.epoch, target_epoch, target, owned, is_taken),
    }
}

/// Whether the member still has any of them; who does not say may have all.
fn owns_any(owned: Option<&Assignment>, revoking: &Assignment) -> bool {
    let Some(owned) = owned else { return true };
    owned.iter().any(|(topic, partitions)| {
        revoking.get(topic).is_some_and(|revoking| !revoking.is_disjoint(partitions))
    })
}

fn step(
    current: &Current,
    epoch: i32,
    target_epoch: i32,
    target: &Assignment,
    owned: Option<&Assignment>,
    is_taken: impl Fn(TopicId, i32) -> bool,
) -> Current {
    let (mut kept, mut revoking, mut added) = (Assignment::new(), Assignment::new(), Assignment::new());
    let mut waits = false;
    let none = BTreeSet::new();
    let topics: BTreeSet<_> = target.keys().chain(current.assigned.keys()).copied().collect();
    for topic in topics {
        let wanted = target.get(&topic).unwrap_or(&none);
        let had = current.assigned.get(&topic).unwrap_or(&none);
        let put = |into: &mut Assignment, partitions: BTreeSet<i32>| {
            if !partitions.is_empty() {
                into.insert(topic, partitions);
            }
        };
        put(&mut kept, had.intersection(wanted).copied().collect());
        put(&mut revoking, had.difference(wanted).copied().collect());
        let (taken, free): (BTreeSet<i32>, _) =
            wanted.difference(had).copied().partition(|&partition| is_taken(topic, partition));
        waits |= !taken.is_empty();
        put(&mut added, free);
    }
    // What the member was told goes on meaning what it did until it says that it has followed.
    let mut next = Current { previous_epoch: current.epoch, ..current.clone() };
    next.assigned = kept;
    if !revoking.is_empty() && owns_any(owned, &revoking) {
        (next.epoch, next.state, next.revoking) = (epoch, MemberState::Unrevoked, revoking);
    } else {
        for (topic, partitions) in added {
            next.assigned.entry(topic).or_default().extend(partitions);
        }
        next.epoch = target_epoch;
        next.state = if waits { MemberState::Unreleased } else { MemberState::Stable };
        next.revoking = Assignment::new();
    }
    if next.epoch == current.epoch {
        next.previous_epoch = current.previous_epoch;
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(partitions: &[i32]) -> Assignment {
        let set: BTreeSet<i32> = partitions.iter().copied().collect();
        if set.is_empty() { Assignment::new() } else { [(TopicId::from_bytes([1; 16]), set)].into() }
    }

    fn at(epoch: i32, state: MemberState, assigned: &[i32], revoking: &[i32]) -> Current {
        let (assigned, revoking) = (own(assigned), own(revoking));
        Current { epoch, previous_epoch: epoch - 1, state, assigned, revoking }
    }

    #[test]
    fn a_member_gives_back_before_it_gets_and_waits_for_what_others_have() {
        use MemberState::{Stable, Unreleased, Unrevoked};
        let free = |_, _| false;
        // Nothing to give back: it gets at once.
        let new = next(&at(0, Stable, &[], &[]), 1, &own(&[1, 2]), Some(&own(&[])), free);
        assert_eq!((new.epoch, new.state, &new.assigned), (1, Stable, &own(&[1, 2])));
        // It has to give 2 back.
        let told = next(&new, 2, &own(&[1]), None, free);
        assert_eq!((told.epoch, told.state, &told.assigned), (1, Unrevoked, &own(&[1])));
        assert_eq!(told.revoking, own(&[2]));
        assert_eq!(next(&told, 2, &own(&[1]), Some(&own(&[1, 2])), free), told, "it still has it");
        let gave = next(&told, 2, &own(&[1]), Some(&own(&[1])), free);
        assert_eq!((gave.epoch, gave.previous_epoch, gave.state), (2, 1, Stable));
        assert!(gave.revoking.is_empty());
        // What another has is waited for.
        let waits = next(&gave, 3, &own(&[1, 2, 3]), None, |_, partition| partition == 3);
        assert_eq!((waits.epoch, waits.state, &waits.assigned), (3, Unreleased, &own(&[1, 2])));
        let got = next(&waits, 3, &own(&[1, 2, 3]), None, free);
        assert_eq!((got.epoch, got.state, &got.assigned), (3, Stable, &own(&[1, 2, 3])));
        assert_eq!(next(&got, 3, &own(&[1, 2, 3]), None, free), got);
    }
}
