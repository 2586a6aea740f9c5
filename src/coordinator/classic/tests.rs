//! Conversations of members with their group.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const LIMITS: GroupLimits = GroupLimits { initial_delay_ms: 0, members_max: 10 };

fn joining(instance: Option<&str>, protocols: &[&str]) -> Joining {
    let protocol =
        |name: &&str| Protocol { name: (*name).to_owned(), metadata: Bytes::from((*name).to_owned()) };
    Joining {
        instance_id: instance.map(str::to_owned),
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        rebalance_timeout_ms: 60_000,
        session_timeout_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: protocols.iter().map(protocol).collect(),
    }
}

fn join(id: &str, new: &str, instance: Option<&str>) -> JoinRequest {
    JoinRequest {
        member_id: id.to_owned(),
        new_member_id: new.to_owned(),
        joining: joining(instance, &["range", "sticky"]),
        requires_known_id: false,
        understands_skip: true,
    }
}

fn sync(id: &str, generation: i32, assignments: &[(&str, &str)]) -> SyncRequest {
    let assignment = |(id, bytes): &(&str, &str)| ((*id).to_owned(), Bytes::from((*bytes).to_owned()));
    SyncRequest {
        member_id: id.to_owned(),
        instance_id: None,
        generation,
        protocol: (None, None),
        assignments: assignments.iter().map(assignment).collect(),
    }
}

fn joined(effects: &[Effect<u32>], ticket: u32) -> Option<&Result<Joined, GroupError>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Joined(of, answer) if *of == ticket => Some(answer),
        _ => None,
    })
}

fn synced(effects: &[Effect<u32>], ticket: u32) -> Option<Result<&[u8], &GroupError>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Synced(of, answer) if *of == ticket => {
            Some(answer.as_ref().map(|answer| &*answer.assignment))
        }
        _ => None,
    })
}

/// Two members, `a` (leader) and `b`, with their assignments.
fn stable() -> ClassicGroup<u32> {
    let mut group = ClassicGroup::new(LIMITS);
    let first = group.join(0, join("", "a", None), 1);
    assert_eq!(joined(&first, 1).and_then(|a| a.as_ref().ok()).map(|a| a.generation), Some(1));
    assert!(joined(&group.join(1, join("", "b", None), 2), 2).is_none(), "it waits for a");
    let both = group.join(2, join("a", "", None), 3);
    let leader = joined(&both, 3).and_then(|answer| answer.as_ref().ok()).expect("joined");
    assert_eq!((leader.generation, &*leader.leader, leader.members.len()), (2, "a", 2));
    let follower = joined(&both, 2).and_then(|answer| answer.as_ref().ok()).expect("joined");
    assert_eq!((&*follower.leader, follower.members.len(), &*follower.member_id), ("a", 0, "b"));
    assert_eq!(group.sync(3, sync("b", 2, &[]), 4), []);
    let store = group.sync(4, sync("a", 2, &[("a", "A"), ("b", "B")]), 5);
    assert_eq!(store, [Effect::Store { generation: 2 }]);
    let answers = group.stored(5, 2, true);
    assert_eq!(synced(&answers, 4), Some(Ok(&b"B"[..])));
    assert_eq!(synced(&answers, 5), Some(Ok(&b"A"[..])));
    assert_eq!(group.state(), State::Stable);
    group
}

#[test]
fn two_members_join_and_get_what_the_leader_assigned() {
    let mut group = stable();
    assert_eq!(group.heartbeat(100, "a", None, 2), Ok(()));
    assert_eq!(group.heartbeat(100, "a", None, 1), Err(GroupError::IllegalGeneration));
    assert_eq!(group.heartbeat(100, "x", None, 2), Err(GroupError::UnknownMember));
    assert_eq!(synced(&group.sync(101, sync("b", 2, &[]), 9), 9), Some(Ok(&b"B"[..])), "asked once more");
}

#[test]
fn a_third_member_makes_the_others_join_again() {
    let mut group = stable();
    assert_eq!(group.join(10, join("", "c", None), 10), []);
    assert_eq!(group.heartbeat(11, "a", None, 2), Err(GroupError::RebalanceInProgress));
    assert_eq!(group.join(12, join("a", "", None), 11), []);
    let all = group.join(13, join("b", "", None), 12);
    assert_eq!(all.len(), 3);
    assert_eq!(
        joined(&all, 11).and_then(|a| a.as_ref().ok()).map(|a| (a.generation, a.members.len())),
        Some((3, 3))
    );
}

#[test]
fn a_member_that_does_not_come_back_is_left_behind_at_the_rebalance_timeout() {
    let mut group = stable();
    assert_eq!(group.join(10, join("", "c", None), 10), []);
    assert_eq!(group.join(12, join("b", "", None), 11), []);
    let deadline_ms = group.next_deadline_ms().expect("the session of a");
    assert_eq!(deadline_ms, 10_005);
    assert_eq!(group.tick(deadline_ms - 1), []);
    let done = group.tick(deadline_ms);
    let new = joined(&done, 11).and_then(|answer| answer.as_ref().ok()).expect("joined");
    assert_eq!((&*new.leader, new.members.len()), ("b", 2), "a was the leader");
}

#[test]
fn a_member_that_leaves_or_dies_makes_the_others_join_again_and_the_last_one_empties_the_group() {
    let mut group = stable();
    let mut effects = Vec::new();
    assert_eq!(group.leave(20, "b", None, &mut effects).as_deref(), Ok("b"));
    assert_eq!((effects.len(), group.state()), (0, State::PreparingRebalance));
    let dead = group.tick(10_005);
    assert_eq!(dead, [Effect::Store { generation: 3 }]);
    assert_eq!(group.state(), State::Empty);
    assert_eq!(group.next_deadline_ms(), None);
    assert_eq!(group.validate_commit(20_000, "", None, -1), Ok(()));
    assert_eq!(group.validate_commit(20_000, "who never joined", Some("i"), -1), Ok(()));
    assert_eq!(group.validate_commit(20_000, "b", None, 3), Err(GroupError::UnknownMember));
    assert_eq!(group.leave(20_000, "b", None, &mut effects), Err(GroupError::UnknownMember));
}

#[test]
fn a_new_dynamic_member_comes_again_with_the_id_it_was_given() {
    let mut group: ClassicGroup<u32> = ClassicGroup::new(LIMITS);
    let first = JoinRequest { requires_known_id: true, ..join("", "a", None) };
    let refused = group.join(0, first, 1);
    assert_eq!(joined(&refused, 1), Some(&Err(GroupError::MemberIdRequired("a".to_owned()))));
    let again = JoinRequest { requires_known_id: true, ..join("a", "", None) };
    assert!(joined(&group.join(1, again, 2), 2).is_some_and(Result::is_ok));
    let stranger = JoinRequest { requires_known_id: true, ..join("z", "", None) };
    assert_eq!(joined(&group.join(1, stranger, 3), 3), Some(&Err(GroupError::UnknownMember)));
}

#[test]
fn the_first_members_wait_for_more_until_nobody_new_comes_or_the_rebalance_timeout() {
    let limits = GroupLimits { initial_delay_ms: 3_000, ..LIMITS };
    let mut group = ClassicGroup::new(limits);
    assert_eq!(group.join(0, join("", "a", None), 1), []);
    assert_eq!(group.join(1_000, join("", "b", None), 2), []);
    assert_eq!(group.next_deadline_ms(), Some(3_000));
    assert_eq!(group.tick(3_000), [], "b came meanwhile");
    assert_eq!(group.next_deadline_ms(), Some(6_000));
    assert_eq!(group.tick(6_000).len(), 2);
    assert_eq!(group.state(), State::CompletingRebalance);
}

#[test]
fn a_static_member_that_returns_keeps_its_place_without_a_rebalance_and_fences_its_former_self() {
    let mut group = ClassicGroup::new(LIMITS);
    assert!(joined(&group.join(0, join("", "a1", Some("i")), 1), 1).is_some_and(Result::is_ok));
    group.sync(1, sync("a1", 1, &[("a1", "A")]), 2);
    group.stored(2, 1, true);
    let back = group.join(3, join("", "a2", Some("i")), 3);
    assert_eq!(back, [Effect::Store { generation: 1 }], "a coordinator that comes back must know it");
    let back = group.stored(3, 1, true);
    let answer = joined(&back, 3).and_then(|answer| answer.as_ref().ok()).expect("joined");
    assert_eq!((answer.generation, &*answer.leader, answer.skip_assignment), (1, "a2", true));
    assert_eq!(group.state(), State::Stable);
    assert_eq!(synced(&group.sync(4, sync("a2", 1, &[]), 4), 4), Some(Ok(&b"A"[..])));
    assert_eq!(group.heartbeat(5, "a1", Some("i"), 1), Err(GroupError::FencedInstance));
    assert_eq!(group.heartbeat(5, "a2", Some("i"), 1), Ok(()));
}

#[test]
fn a_static_member_whose_return_cannot_be_stored_or_is_overtaken_is_told() {
    let mut group = ClassicGroup::new(LIMITS);
    group.join(0, join("", "a1", Some("i")), 1);
    group.sync(1, sync("a1", 1, &[("a1", "A")]), 2);
    group.stored(2, 1, true);
    group.join(3, join("", "a2", Some("i")), 3);
    let next = group.join(3, join("", "a3", Some("i")), 4);
    assert_eq!(joined(&next, 3), Some(&Err(GroupError::FencedInstance)));
    assert_eq!(group.stored(4, 1, true), [], "this is of the one that was overtaken");
    assert_eq!(joined(&group.stored(4, 1, false), 4), Some(&Err(GroupError::NotStored)));
    group.join(5, join("", "a4", Some("i")), 5);
    assert_eq!(group.tick(5 + 60_000), [], "it waits by right");
    let mut gone = Vec::new();
    assert_eq!(group.leave(60_006, "", Some("i"), &mut gone), Ok("a4".to_owned()));
    assert_eq!(joined(&gone, 5), Some(&Err(GroupError::UnknownMember)));
}

#[test]
fn a_member_whose_sync_waits_for_the_leader_is_not_taken_for_dead() {
    let mut group = ClassicGroup::new(LIMITS);
    group.join(0, join("", "a", None), 1);
    group.join(1, join("", "b", None), 2);
    group.join(2, join("a", "", None), 3);
    assert_eq!(group.sync(3, sync("b", 2, &[]), 4), []);
    for at in 1..5 {
        assert_eq!(group.heartbeat(at * 9_000, "a", None, 2), Ok(()));
        assert_eq!(group.tick(at * 9_000), [], "the leader takes its time");
    }
    group.sync(40_000, sync("a", 2, &[("a", "A"), ("b", "B")]), 5);
    let answers = group.stored(40_000, 2, true);
    assert_eq!(synced(&answers, 4), Some(Ok(&b"B"[..])));
    group.tick(50_000);
    assert_eq!(group.state(), State::Empty, "both are silent now");
}

#[test]
fn a_protocol_that_not_all_have_is_refused_and_the_common_favourite_is_chosen() {
    let mut group: ClassicGroup<u32> = ClassicGroup::new(LIMITS);
    let with = |id: &str, protocols: &[&str]| JoinRequest {
        joining: joining(None, protocols),
        ..join("", id, None)
    };
    let first = group.join(0, with("a", &["x", "y"]), 1);
    assert_eq!(joined(&first, 1).and_then(|a| a.as_ref().ok()).map(|a| &*a.protocol), Some("x"));
    assert_eq!(joined(&group.join(0, with("b", &["z"]), 2), 2), Some(&Err(GroupError::InconsistentProtocol)));
    group.join(0, with("c", &["y"]), 3);
    let again = JoinRequest { member_id: "a".to_owned(), ..with("", &["x", "y"]) };
    let both = group.join(0, again, 4);
    assert_eq!(joined(&both, 4).and_then(|a| a.as_ref().ok()).map(|a| &*a.protocol), Some("y"));
}

#[test]
fn an_assignment_that_cannot_be_stored_is_given_to_nobody() {
    let mut group = ClassicGroup::new(LIMITS);
    group.join(0, join("", "a", None), 1);
    group.sync(1, sync("a", 1, &[("a", "A")]), 2);
    let refused = group.stored(2, 1, false);
    assert_eq!(synced(&refused, 2), Some(Err(&GroupError::NotStored)));
    assert_eq!(group.state(), State::PreparingRebalance);
}

#[test]
fn a_member_that_never_syncs_is_removed() {
    let mut group = ClassicGroup::new(LIMITS);
    group.join(0, join("", "a", None), 1);
    assert_eq!(group.heartbeat(9_000, "a", None, 1), Ok(()));
    for at in 1..7 {
        let _ = group.heartbeat(at * 9_000, "a", None, 1);
        group.tick(at * 9_000);
    }
    group.tick(60_000);
    assert_eq!(group.state(), State::Empty);
}

#[test]
fn a_group_reads_back_from_its_snapshot() {
    let group = stable();
    let mut again: ClassicGroup<u32> = ClassicGroup::restore(LIMITS, group.snapshot(), 50_000);
    assert_eq!(again.snapshot(), group.snapshot());
    assert_eq!(again.heartbeat(50_001, "b", None, 2), Ok(()));
    assert_eq!(again.tick(60_000), []);
    assert_eq!(again.state(), State::PreparingRebalance, "a has not been heard of");
}

#[derive(Debug, Clone)]
enum Event {
    Join { id: usize, instance: bool },
    Sync { id: usize, leader: bool },
    Heartbeat { id: usize },
    Leave { id: usize },
    Stored { ok: bool },
    Pass { ms: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    let id = 0..6_usize;
    prop_oneof![
        4 => (id.clone(), any::<bool>()).prop_map(|(id, instance)| Event::Join { id, instance }),
        4 => (id.clone(), any::<bool>()).prop_map(|(id, leader)| Event::Sync { id, leader }),
        2 => id.clone().prop_map(|id| Event::Heartbeat { id }),
        1 => id.prop_map(|id| Event::Leave { id }),
        3 => any::<bool>().prop_map(|ok| Event::Stored { ok }),
        2 => (1..8_000_u64).prop_map(|ms| Event::Pass { ms }),
    ]
}

proptest! {
    /// Whatever happens: every ticket is answered exactly once in the end, the generation never falls, and
    /// a stable group's members were told the same generation.
    #[test]
    fn every_request_is_answered_once_whatever_the_members_do(events in proptest::collection::vec(event(), 1..120)) {
        let mut group: ClassicGroup<u32> = ClassicGroup::new(LIMITS);
        let mut stores = std::collections::VecDeque::new();
        let (mut now_ms, mut next, mut open, mut generation) = (0, 0, std::collections::BTreeSet::new(), 0);
        let mut ids: Vec<String> = vec![String::new(); 6];
        let mut owner = HashMap::new();
        for event in events {
            let effects = match event {
                Event::Join { id, instance } => {
                    next += 1;
                    open.insert(next);
                    owner.insert(next, id);
                    let instance = instance.then(|| format!("i{id}"));
                    group.join(now_ms, join(&ids[id], &format!("m{next}"), instance.as_deref()), next)
                }
                Event::Sync { id, leader } => {
                    next += 1;
                    open.insert(next);
                    let of = if leader { group.snapshot().leader.unwrap_or_default() } else { ids[id].clone() };
                    let generation = group.snapshot().generation;
                    group.sync(now_ms, sync(&of, generation, &[(&of, "x")]), next)
                }
                Event::Heartbeat { id } => {
                    let generation = group.snapshot().generation;
                    let _ = group.heartbeat(now_ms, &ids[id], None, generation);
                    Vec::new()
                }
                Event::Leave { id } => {
                    let mut effects = Vec::new();
                    let _ = group.leave(now_ms, &ids[id], None, &mut effects);
                    effects
                }
                Event::Stored { ok } => match stores.pop_front() {
                    Some(of) => group.stored(now_ms, of, ok),
                    None => Vec::new(),
                },
                Event::Pass { ms } => {
                    now_ms += ms;
                    group.tick(now_ms)
                }
            };
            for effect in effects {
                match effect {
                    Effect::Joined(ticket, answer) => {
                        prop_assert!(open.remove(&ticket), "{ticket} answered twice");
                        if let Ok(answer) = answer {
                            ids[owner[&ticket]] = answer.member_id;
                        }
                    }
                    Effect::Synced(ticket, _) => prop_assert!(open.remove(&ticket), "{ticket} answered twice"),
                    Effect::Store { generation: of } => {
                        prop_assert_eq!(of, group.snapshot().generation);
                        stores.push_back(of);
                    }
                }
            }
            let snapshot = group.snapshot();
            prop_assert!(snapshot.generation >= generation);
            generation = snapshot.generation;
            prop_assert_eq!(snapshot.members.is_empty(), group.state() == State::Empty);
        }
        // Left alone, the group comes to an end and owes nobody an answer.
        for _ in 0..40 {
            let mut effects = Vec::new();
            if let Some(of) = stores.pop_front() {
                effects = group.stored(now_ms, of, true);
            }
            if let Some(deadline_ms) = group.next_deadline_ms() {
                now_ms = now_ms.max(deadline_ms);
                effects.extend(group.tick(now_ms));
            }
            for effect in effects {
                match effect {
                    Effect::Joined(ticket, _) | Effect::Synced(ticket, _) => {
                        prop_assert!(open.remove(&ticket), "{ticket} answered twice");
                    }
                    Effect::Store { generation: of } => stores.push_back(of),
                }
            }
        }
        prop_assert!(open.is_empty(), "{open:?} never answered");
        prop_assert_eq!(group.state(), State::Empty);
    }
}
