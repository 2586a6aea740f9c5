//! Members that follow the protocol, in any order and with any of them gone at any time.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::{
    LeaderEpoch, PartitionIndex, PartitionView, ShardId, TopicName, TopicSettings, TopicView,
};

pub(in crate::coordinator) const LIMITS: ConsumerLimits =
    ConsumerLimits { session_ms: 45_000, heartbeat_ms: 5_000, members_max: 10 };

fn id_of(number: u8) -> TopicId {
    let mut bytes = [0; 16];
    bytes[15] = number + 1;
    TopicId::from_bytes(bytes)
}

pub(in crate::coordinator) fn view(topics: &[(&str, i32)]) -> ClusterView {
    let mut view = ClusterView::default();
    for (number, (name, partitions)) in topics.iter().enumerate() {
        let partition = |index| PartitionView {
            index: PartitionIndex::new(index),
            leader: 1,
            leader_epoch: LeaderEpoch::FIRST,
            shard: ShardId(0),
            replicas: vec![1],
            in_sync: vec![1],
        };
        view.insert_topic(TopicView {
            name: TopicName::new(name).expect("a name"),
            id: id_of(number as u8),
            internal: name.starts_with("__"),
            partitions: (0..*partitions).map(partition).collect(),
            overrides: BTreeMap::new(),
            settings: Arc::new(TopicSettings::default()),
        });
    }
    view.epoch = topics.iter().map(|(_, partitions)| *partitions as u64).sum();
    view
}

/// A member's side of the protocol.
#[derive(Debug, Clone)]
struct Client {
    id: String,
    instance: Option<String>,
    topics: BTreeSet<String>,
    epoch: i32,
    owned: Assignment,
}

impl Client {
    fn new(id: &str, topics: &[&str]) -> Self {
        let topics = topics.iter().map(|name| (*name).to_owned()).collect();
        Self { id: id.to_owned(), instance: None, topics, epoch: 0, owned: Assignment::new() }
    }

    fn request(&self) -> Heartbeat {
        Heartbeat {
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            instance_id: self.instance.clone(),
            rebalance_timeout_ms: Some(60_000),
            topics: Some(self.topics.clone()),
            owned: Some(self.owned.clone()),
            ..Heartbeat::default()
        }
    }

    /// One heartbeat; what it is told it does at once.
    fn beat(&mut self, group: &mut ConsumerGroup, view: &ClusterView, now_ms: u64) -> Outcome<Vec<Stored>> {
        let (answer, stored) = group.heartbeat(now_ms, view, self.request())?;
        self.epoch = answer.member_epoch;
        if let Some(assignment) = answer.assignment {
            self.owned = assignment;
        }
        Ok(stored)
    }
}

/// As a group does with the last heartbeat of a member.
fn leave(group: &mut ConsumerGroup, beat: &Heartbeat) -> Outcome<Vec<Stored>> {
    group.check_leave(beat)?;
    Ok(match beat.member_epoch {
        STATIC_LEAVE_EPOCH => group.step_aside(&beat.member_id),
        _ => group.remove(std::slice::from_ref(&beat.member_id)),
    })
}

fn tick(group: &mut ConsumerGroup, now_ms: u64) -> Vec<Stored> {
    let late = group.late(now_ms);
    group.remove(&late)
}

fn settle(clients: &mut [Client], group: &mut ConsumerGroup, view: &ClusterView) {
    for _ in 0..6 {
        for client in clients.iter_mut() {
            client.beat(group, view, 0).expect("a member");
        }
    }
    assert_eq!(group.state_name(), if clients.is_empty() { "Empty" } else { "Stable" });
}

fn count(client: &Client) -> usize {
    client.owned.values().map(BTreeSet::len).sum()
}

#[test]
fn members_join_and_share_and_one_that_leaves_is_replaced() {
    let (view, mut group) = (view(&[("a", 6), ("b", 3)]), ConsumerGroup::new(LIMITS));
    let mut clients = vec![Client::new("one", &["a", "b"])];
    let stored = clients[0].beat(&mut group, &view, 0).expect("joins");
    assert_eq!((clients[0].epoch, count(&clients[0])), (1, 9), "alone it has all at once");
    assert_eq!(stored.len(), 5, "member, group, target, its epoch, current: {stored:?}");
    assert!(clients[0].beat(&mut group, &view, 0).expect("again").is_empty(), "nothing changes");
    clients.extend([Client::new("two", &["a", "b"]), Client::new("three", &["a", "b"])]);
    clients[1].beat(&mut group, &view, 0).expect("joins");
    assert_eq!(count(&clients[1]), 0, "what one has is one's until it gives it back");
    settle(&mut clients, &mut group, &view);
    assert_eq!(clients.iter().map(count).collect::<Vec<_>>(), [3, 3, 3]);
    let gone = clients.remove(0);
    let last = Heartbeat { member_epoch: LEAVE_EPOCH, ..gone.request() };
    leave(&mut group, &last).expect("a member");
    settle(&mut clients, &mut group, &view);
    assert_eq!(clients.iter().map(count).sum::<usize>(), 9);
    assert_eq!(group.check_member("one", 1), Err(ConsumerError::UnknownMember("one".to_owned())));
}

#[test]
fn an_epoch_that_was_never_told_is_fenced_and_a_lost_answer_is_not() {
    let (view, mut group) = (view(&[("a", 2)]), ConsumerGroup::new(LIMITS));
    let mut client = Client::new("one", &["a"]);
    client.beat(&mut group, &view, 0).expect("joins");
    let mut lost = client.clone();
    let more = self::view(&[("a", 4)]);
    client.beat(&mut group, &more, 0).expect("a new partition");
    assert_eq!((client.epoch, lost.epoch), (2, 1));
    lost.beat(&mut group, &more, 0).expect("the epoch before, with no more than its own");
    assert_eq!(count(&lost), 4);
    lost.epoch = 9;
    let fenced = lost.beat(&mut group, &more, 0);
    assert_eq!(fenced, Err(ConsumerError::FencedEpoch { got: 9, known: 2 }));
    let stale = group.check_member("one", 1);
    assert_eq!(stale, Err(ConsumerError::StaleEpoch { got: 1, known: 2 }));
}

#[test]
fn who_is_silent_or_does_not_give_back_is_gone() {
    let (view, mut group) = (view(&[("a", 2)]), ConsumerGroup::new(LIMITS));
    let (mut one, mut two) = (Client::new("one", &["a"]), Client::new("two", &["a"]));
    one.beat(&mut group, &view, 0).expect("joins");
    two.beat(&mut group, &view, 1_000).expect("joins");
    let keeps = one.owned.clone();
    one.beat(&mut group, &view, 1_000).expect("is told to give back");
    one.owned = keeps.clone();
    one.beat(&mut group, &view, 40_000).expect("keeps what it has");
    assert!(tick(&mut group, 40_999).is_empty());
    two.beat(&mut group, &view, 44_000).expect("waits");
    assert_eq!(group.next_deadline_ms(), Some(61_000));
    one.owned = keeps;
    one.beat(&mut group, &view, 60_000).expect("keeps it still");
    assert!(!tick(&mut group, 61_000).is_empty(), "its time to give back is over");
    two.beat(&mut group, &view, 61_000).expect("a member");
    assert_eq!(count(&two), 2);
    tick(&mut group, 61_000 + 45_000);
    assert!(group.is_empty());
}

#[test]
fn a_static_member_keeps_its_partitions_while_it_is_away() {
    let (view, mut group) = (view(&[("a", 4)]), ConsumerGroup::new(LIMITS));
    let named = |id: &str| Client { instance: Some("i".to_owned()), ..Client::new(id, &["a"]) };
    let (mut first, mut other) = (named("first"), Client::new("other", &["a"]));
    first.beat(&mut group, &view, 0).expect("joins");
    other.beat(&mut group, &view, 0).expect("joins");
    let mut both = [first, other];
    settle(&mut both, &mut group, &view);
    let [first, mut other] = both;
    let mut second = named("second");
    let refused = second.beat(&mut group, &view, 0);
    assert_eq!(refused, Err(ConsumerError::UnreleasedInstance("i".to_owned())));
    leave(&mut group, &Heartbeat { member_epoch: STATIC_LEAVE_EPOCH, ..first.request() }).expect("away");
    other.beat(&mut group, &view, 0).expect("goes on");
    assert_eq!(count(&other), 2, "nothing moves");
    second.beat(&mut group, &view, 0).expect("comes back");
    assert_eq!(second.owned, first.owned);
    let old = group.heartbeat(0, &view, first.request());
    assert_eq!(old.err(), Some(ConsumerError::FencedInstance("i".to_owned())));
}

#[test]
fn what_a_member_had_before_it_took_an_instances_place_is_free() {
    let (view, mut group) = (view(&[("a", 4)]), ConsumerGroup::new(LIMITS));
    let named = |id: &str| Client { instance: Some("i".to_owned()), ..Client::new(id, &["a"]) };
    let (mut first, mut other, mut third) =
        (named("first"), Client::new("other", &["a"]), Client::new("third", &["a"]));
    first.beat(&mut group, &view, 0).expect("joins");
    other.beat(&mut group, &view, 0).expect("joins");
    let mut both = [first, other];
    settle(&mut both, &mut group, &view);
    let [first, _] = both;
    leave(&mut group, &Heartbeat { member_epoch: STATIC_LEAVE_EPOCH, ..first.request() }).expect("away");
    let mut again = named("other");
    again.beat(&mut group, &view, 0).expect("takes the place");
    third.beat(&mut group, &view, 0).expect("joins");
    let mut both = [again, third];
    settle(&mut both, &mut group, &view);
    assert_eq!(both.iter().map(count).sum::<usize>(), 4);
}

#[test]
fn a_regular_expression_meets_topics_as_they_come() {
    let mut group = ConsumerGroup::new(LIMITS);
    let beat = |group: &mut ConsumerGroup, view: &ClusterView, epoch, regex: &str| {
        let request = Heartbeat {
            member_epoch: epoch,
            regex: Some(regex.to_owned()),
            topics: Some(BTreeSet::new()),
            ..Client::new("one", &[]).request()
        };
        group.heartbeat(0, view, request)
    };
    let one = view(&[("a1", 1), ("b", 1), ("__internal", 1)]);
    let (answer, _) = beat(&mut group, &one, 0, "a.*|__.*").expect("joins");
    assert_eq!(answer.assignment.map(|own| own.len()), Some(2), "internal topics too");
    let two = view(&[("a1", 1), ("b", 1), ("__internal", 1), ("a2", 2)]);
    let (answer, _) = beat(&mut group, &two, 1, "a.*|__.*").expect("goes on");
    assert_eq!(answer.assignment.map(|own| own.len()), Some(3));
    assert!(matches!(beat(&mut group, &two, 2, "a("), Err(ConsumerError::Regex(_))));
}

proptest! {
    /// Nobody ever has what another has; who stays ends with everything shared; a restart forgets nothing.
    #[test]
    fn partitions_are_never_shared_and_always_found_again(
        steps in proptest::collection::vec((0..6usize, 0..10u8, any::<bool>()), 1..120),
    ) {
        let names = ["a", "b"];
        let (small, large) = (view(&[("a", 4), ("b", 3)]), view(&[("a", 7), ("b", 3)]));
        let mut group = ConsumerGroup::new(LIMITS);
        let mut clients: BTreeMap<usize, Client> = BTreeMap::new();
        let mut log = Vec::new();
        let mut has_grown = false;
        for (who, what, flag) in steps {
            has_grown |= what == 9;
            let view = if has_grown { &large } else { &small };
            match what {
                0 => {
                    if let Some(gone) = clients.remove(&who).filter(|gone| gone.epoch > 0) {
                        let last = Heartbeat { member_epoch: LEAVE_EPOCH, ..gone.request() };
                        log.extend(leave(&mut group, &last).expect("a member"));
                    }
                }
                1 => {
                    let topics: Vec<&str> = if flag { names.to_vec() } else { vec!["a"] };
                    clients.entry(who).or_insert_with(|| Client::new(&format!("m{who}"), &topics));
                }
                _ => {
                    if let Some(client) = clients.get_mut(&who) {
                        log.extend(client.beat(&mut group, view, 0).expect("a member"));
                    }
                }
            }
            let mut seen = BTreeSet::new();
            for client in clients.values() {
                for (topic, partitions) in &client.owned {
                    for partition in partitions {
                        prop_assert!(seen.insert((*topic, *partition)), "{partition} of {topic} has two");
                    }
                }
            }
        }
        let mut replayed = ConsumerGroup::new(LIMITS);
        log.into_iter().for_each(|stored| replayed.replay(stored, 0));
        let shown = |group: &ConsumerGroup| format!("{:?}", group.describe());
        prop_assert_eq!(shown(&replayed), shown(&group));
        // The restarted group goes on.
        let view = if has_grown { &large } else { &small };
        let mut rest: Vec<Client> = clients.into_values().collect();
        settle(&mut rest, &mut replayed, view);
        let wants = |name: &str| rest.iter().any(|client| client.topics.contains(name));
        let total = view.topics().filter(|topic| wants(topic.name.as_str())).map(|topic| topic.partitions.len());
        prop_assert_eq!(rest.iter().map(count).sum::<usize>(), total.sum::<usize>());
    }
}
