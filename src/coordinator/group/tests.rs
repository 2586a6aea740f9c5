//! Members of both protocols in one group: they come, go, change their protocol, and the coordinator restarts.

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    super::{
        classic::{Effect, GroupError, JoinRequest, Joined, Joining, Protocol, SyncRequest, Synced},
        consumer::{
            self, Assignment, Beat, ConsumerError, Heartbeat, LEAVE_EPOCH,
            classic_members::{by_id, by_name},
        },
        consumer_protocol::{assignment, read_assignment, read_subscription, tests::subscription},
    },
    *,
};

const CLASSIC: GroupLimits = GroupLimits { initial_delay_ms: 0, members_max: 10 };
const BOTH_WAYS: MigrationPolicy = MigrationPolicy { upgrade: true, downgrade: true };
const TOPICS: &[&str] = &["a", "b"];
const PARTITIONS: usize = 7;

fn world(view: &ClusterView, now_ms: u64) -> World<'_> {
    let (classic, consumer, migration) = (CLASSIC, consumer::tests::LIMITS, BOTH_WAYS);
    World { group: "g", view, classic, consumer, migration, now_ms, wall_ms: 0 }
}

fn clusters_view() -> ClusterView {
    consumer::tests::view(&[("a", 4), ("b", 3)])
}

/// What a client is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Join,
    /// Its JoinGroup or SyncGroup waits.
    Wait,
    Sync,
    Beat,
}

/// A client's side, in either protocol.
#[derive(Debug, Clone)]
struct Client {
    ticket: u32,
    id: String,
    instance: Option<String>,
    is_classic: bool,
    /// Gives back what it must only, and says so; else all, with every join.
    cooperates: bool,
    epoch: i32,
    owned: Assignment,
    next: Next,
    /// Of the leader: what it will assign.
    leads: Vec<(String, Bytes)>,
}

impl Client {
    fn new(ticket: u32, is_classic: bool, cooperates: bool) -> Self {
        let (id, leads, owned) = (String::new(), Vec::new(), Assignment::new());
        Self { ticket, id, instance: None, is_classic, cooperates, epoch: 0, owned, next: Next::Join, leads }
    }

    fn joining(&self, view: &ClusterView) -> JoinRequest {
        let protocol = |name: &str| Protocol {
            name: name.to_owned(),
            metadata: subscription(3, TOPICS, &by_name(&self.owned, view)),
        };
        JoinRequest {
            member_id: self.id.clone(),
            new_member_id: format!("classic-{}", self.ticket),
            joining: Joining {
                instance_id: self.instance.clone(),
                client_id: "c".to_owned(),
                client_host: "/127.0.0.1".to_owned(),
                rebalance_timeout_ms: 60_000,
                session_timeout_ms: 10_000,
                protocol_type: CONSUMER.to_owned(),
                protocols: vec![protocol("one"), protocol("two")],
            },
            requires_known_id: false,
            understands_skip: true,
        }
    }

    fn beating(&self, epoch: i32) -> Heartbeat {
        Heartbeat {
            member_id: format!("consumer-{}", self.ticket),
            member_epoch: epoch,
            instance_id: self.instance.clone(),
            rebalance_timeout_ms: Some(60_000),
            topics: Some(TOPICS.iter().map(|name| (*name).to_owned()).collect()),
            owned: Some(self.owned.clone()),
            ..Heartbeat::default()
        }
    }

    fn count(&self) -> usize {
        self.owned.values().map(std::collections::BTreeSet::len).sum()
    }

    fn lose_all(&mut self) {
        (self.next, self.owned) = (Next::Join, Assignment::new());
    }

    fn joined(&mut self, answer: Result<Joined, GroupError>, view: &ClusterView) {
        match answer {
            Ok(joined) => {
                (self.id, self.epoch, self.next) = (joined.member_id, joined.generation, Next::Sync);
                self.leads =
                    if joined.leader == self.id { self.assign(&joined.members, view) } else { Vec::new() };
            }
            Err(GroupError::RebalanceInProgress) => self.next = Next::Join,
            Err(_) => {
                self.id.clear();
                self.lose_all();
            }
        }
    }

    /// In turn; what another member has it may not yet have.
    fn assign(
        &self,
        members: &[(String, Option<String>, Bytes)],
        view: &ClusterView,
    ) -> Vec<(String, Bytes)> {
        let all = ["a", "b"].into_iter().flat_map(|topic| {
            let count = view.topic(topic).map_or(0, |topic| topic.partitions.len() as i32);
            (0..count).map(move |partition| (topic.to_owned(), partition))
        });
        let owned = |metadata: &Bytes| read_subscription(metadata).expect("a subscription").owned;
        let mut assigned = vec![consumer_protocol::Named::new(); members.len()];
        for (turn, (topic, partition)) in all.enumerate() {
            let to = turn % members.len();
            let has = |(_, _, metadata): &&(String, Option<String>, Bytes)| {
                owned(metadata).get(&topic).is_some_and(|of| of.contains(&partition))
            };
            let owner = members.iter().find(has).map(|(id, ..)| id);
            if owner.is_none_or(|owner| *owner == members[to].0) {
                assigned[to].entry(topic).or_default().insert(partition);
            }
        }
        members.iter().zip(assigned).map(|((id, ..), of)| (id.clone(), assignment(3, &of))).collect()
    }

    fn synced(&mut self, answer: Result<Synced, GroupError>, view: &ClusterView) {
        match answer {
            Ok(synced) => {
                let new = by_id(&read_assignment(&synced.assignment).expect("an assignment"), view);
                let gives_back =
                    self.owned.iter().any(|(topic, of)| !new.get(topic).is_some_and(|new| of.is_subset(new)));
                self.owned = new;
                self.next = if gives_back { Next::Join } else { Next::Beat };
            }
            Err(GroupError::RebalanceInProgress) => self.next = Next::Join,
            Err(_) => self.lose_all(),
        }
    }

    fn beaten(&mut self, answer: Result<Beat, CoordinatorError>) {
        match answer {
            Ok(beat) => {
                self.epoch = beat.member_epoch;
                if let Some(assignment) = beat.assignment {
                    self.owned = assignment;
                }
            }
            Err(CoordinatorError::NoSuchGroup | CoordinatorError::Consumer(_)) => {
                self.epoch = 0;
                self.owned = Assignment::new();
            }
            Err(error) => panic!("refused: {error}"),
        }
    }
}

/// A group, its records, and clients.
struct Scene {
    view: ClusterView,
    now_ms: u64,
    group: Group<u32>,
    log: Vec<GroupRecord>,
    clients: Vec<Client>,
    tickets: u32,
}

impl Scene {
    fn new() -> Self {
        let group = Group::new(CLASSIC, 0);
        Self { view: clusters_view(), now_ms: 0, group, log: Vec::new(), clients: Vec::new(), tickets: 0 }
    }

    fn turn<A>(&mut self, take: impl FnOnce(&mut Group<u32>, World<'_>) -> Turn<u32, A>) -> A {
        let view = self.view.clone();
        let Turn { records, effects, answer } = take(&mut self.group, world(&view, self.now_ms));
        // As they are stored.
        for record in records {
            let (key, value) = record.encode();
            let stored = GroupRecord::decode(&key, value.as_deref()).expect("whole").expect("known");
            assert_eq!(stored, record);
            self.log.push(stored);
        }
        self.answer(effects);
        answer
    }

    fn answer(&mut self, effects: Effects<u32>) {
        for effect in effects {
            match effect {
                Effect::Joined(ticket, joined) => {
                    self.client(ticket, |client, view| client.joined(joined, view))
                }
                Effect::Synced(ticket, synced) => {
                    self.client(ticket, |client, view| client.synced(synced, view))
                }
                Effect::Store { generation } => {
                    let (_, snapshot) = self.group.describe_classic().expect("a classic group");
                    self.log.push(GroupRecord::Group { group: "g".to_owned(), state: Some((snapshot, 0)) });
                    let Turn { effects, .. } = self.group.stored(self.now_ms, generation, true);
                    self.answer(effects);
                }
            }
        }
    }

    fn client(&mut self, ticket: u32, tell: impl FnOnce(&mut Client, &ClusterView)) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.ticket == ticket) {
            tell(client, &self.view);
        }
    }

    fn add(&mut self, is_classic: bool, cooperates: bool) -> u32 {
        let ticket = self.tickets;
        self.tickets += 1;
        self.clients.push(Client::new(ticket, is_classic, cooperates));
        ticket
    }

    fn of(&self, ticket: u32) -> &Client {
        self.clients.iter().find(|client| client.ticket == ticket).expect("a client")
    }

    /// One request of a client.
    fn step(&mut self, ticket: u32) {
        let mut client = self.of(ticket).clone();
        if !client.is_classic {
            let beaten = self.turn(|group, world| group.beat(world, client.beating(client.epoch)));
            return self.client(ticket, |client, _| client.beaten(beaten));
        }
        match client.next {
            Next::Wait => {}
            Next::Join => {
                if !client.cooperates {
                    client.owned = Assignment::new();
                }
                self.client(ticket, |it, _| (it.owned, it.next) = (client.owned.clone(), Next::Wait));
                let request = client.joining(&self.view);
                match self.turn(|group, world| group.join(world, request, ticket)) {
                    Ok(None) => {}
                    Ok(Some(joined)) => self.client(ticket, |client, view| client.joined(Ok(joined), view)),
                    Err(CoordinatorError::Group(error)) => {
                        self.client(ticket, |client, view| client.joined(Err(error), view));
                    }
                    Err(error) => panic!("refused: {error}"),
                }
            }
            Next::Sync => {
                let request = SyncRequest {
                    member_id: client.id.clone(),
                    instance_id: client.instance.clone(),
                    generation: client.epoch,
                    protocol: (Some(CONSUMER.to_owned()), Some("one".to_owned())),
                    assignments: client.leads,
                };
                self.client(ticket, |client, _| client.next = Next::Wait);
                match self.turn(|group, world| group.sync(world, request, ticket)) {
                    Ok(None) => {}
                    Ok(Some(synced)) => self.client(ticket, |client, view| client.synced(Ok(synced), view)),
                    Err(CoordinatorError::Group(error)) => {
                        self.client(ticket, |client, view| client.synced(Err(error), view));
                    }
                    Err(error) => panic!("refused: {error}"),
                }
            }
            Next::Beat => {
                let of = MemberOf {
                    member_id: client.id.clone(),
                    instance_id: client.instance.clone(),
                    generation: client.epoch,
                };
                match self.turn(|group, world| group.heartbeat(world.now_ms, &of)) {
                    Ok(()) => {}
                    Err(CoordinatorError::Group(GroupError::RebalanceInProgress)) => {
                        self.client(ticket, |client, _| client.next = Next::Join);
                    }
                    Err(_) => self.client(ticket, |client, _| client.lose_all()),
                }
            }
        }
    }

    fn leave(&mut self, ticket: u32) {
        let client = self.of(ticket).clone();
        self.clients.retain(|client| client.ticket != ticket);
        if client.is_classic {
            let id = format!("classic-{ticket}");
            let left = self.turn(|group, world| group.leave(world, &[(id, client.instance)]));
            // It may not have joined; and a restart forgets who has joined and has no assignment yet.
            assert!(matches!(&left[0], Ok(_) | Err(GroupError::UnknownMember)), "{left:?}");
        } else if !client.is_classic && client.epoch > 0 {
            self.turn(|group, world| group.beat(world, client.beating(LEAVE_EPOCH))).expect("a member");
        }
    }

    /// The coordinator dies and reads what it has stored.
    fn restart(&mut self) {
        let before = shown(&self.group);
        self.group = Group::new(CLASSIC, 0);
        for record in &self.log {
            self.group.replay(world(&self.view, self.now_ms), record.clone());
        }
        if let (Members::Consumer(_), after) = (&self.group.members, shown(&self.group)) {
            assert_eq!(before, after);
        }
        for client in self.clients.iter_mut().filter(|client| client.next == Next::Wait) {
            // Its connection was cut.
            client.next = Next::Join;
        }
    }

    fn check_nothing_is_shared(&self) {
        let mut seen = std::collections::BTreeSet::new();
        for client in &self.clients {
            for (topic, partitions) in &client.owned {
                for partition in partitions {
                    assert!(seen.insert((*topic, *partition)), "{partition} is shared: {:#?}", self.clients);
                }
            }
        }
    }

    /// Time goes on too: a restart may bring back who has left, for as long as its session.
    fn settle(&mut self) {
        for _ in 0..60 {
            self.now_ms += 3_000;
            self.turn(Group::tick);
            let tickets: Vec<u32> = self.clients.iter().map(|client| client.ticket).collect();
            for ticket in tickets {
                self.step(ticket);
                self.check_nothing_is_shared();
            }
        }
        let owned = self.clients.iter().map(Client::count).sum::<usize>();
        let has_members = !self.clients.is_empty();
        assert_eq!(owned, if has_members { PARTITIONS } else { 0 }, "{:#?}", self.clients);
        let state = self.group.listed("g");
        assert_eq!(state.state, if has_members { "Stable" } else { "Empty" });
        if has_members {
            assert_eq!(state.is_consumer, self.clients.iter().any(|client| !client.is_classic));
        }
    }
}

fn shown(group: &Group<u32>) -> String {
    format!("{:?}", group.describe_consumer())
}

#[test]
fn a_classic_group_goes_over_with_the_first_heartbeat_and_back_with_the_last() {
    for cooperates in [false, true] {
        let mut scene = Scene::new();
        let (one, two) = (scene.add(true, cooperates), scene.add(true, cooperates));
        scene.settle();
        let generation = scene.of(one).epoch;
        assert_eq!((scene.of(one).count(), scene.of(two).count()), (4, 3));
        let three = scene.add(false, true);
        scene.step(three);
        assert_eq!(scene.of(three).epoch, generation + 1, "epochs go on where generations were");
        assert_eq!(scene.of(one).count(), 4, "who does not know of it reads on");
        scene.step(one);
        assert_eq!(scene.of(one).next, Next::Join);
        scene.settle();
        assert_eq!(scene.clients.iter().map(Client::count).max(), Some(3));
        scene.leave(three);
        scene.settle();
        assert_eq!(scene.group.describe_consumer().map(|it| it.epoch), None);
        assert!(scene.of(one).epoch > generation + 1);
    }
}

#[test]
fn clients_are_rolled_from_one_protocol_to_the_other_and_back() {
    for cooperates in [false, true] {
        let mut scene = Scene::new();
        (0..3).for_each(|_| _ = scene.add(true, cooperates));
        scene.settle();
        for is_classic in [false, true] {
            for _ in 0..3 {
                let first = scene.clients[0].ticket;
                scene.leave(first);
                scene.add(is_classic, cooperates);
                scene.restart();
                scene.settle();
            }
        }
    }
}

#[test]
fn a_member_that_has_not_asked_for_its_assignment_yet_keeps_what_it_reads_as_its_group_goes_over() {
    let mut scene = Scene::new();
    let (one, two) = (scene.add(true, true), scene.add(true, true));
    scene.settle();
    let three = scene.add(true, true);
    // All join, and the leader assigns: the second gives up something, and does not know yet.
    for ticket in [three, one, one, two, two, one] {
        scene.step(ticket);
    }
    assert_eq!((scene.of(two).next, scene.of(two).count()), (Next::Sync, 3));
    let (_, classic) = scene.group.describe_classic().expect("a classic group");
    let of_two = classic.members.iter().find(|member| member.member_id == scene.of(two).id);
    let assigned = read_assignment(&of_two.expect("a member").assignment).expect("an assignment");
    assert!(assigned.values().map(std::collections::BTreeSet::len).sum::<usize>() < 3, "{assigned:?}");
    let four = scene.add(false, true);
    for _ in 0..3 {
        scene.step(four);
        scene.check_nothing_is_shared();
    }
    scene.settle();
}

#[test]
fn a_member_of_a_mixed_group_commits_with_the_generation_it_was_told() {
    let mut scene = Scene::new();
    let one = scene.add(true, false);
    scene.settle();
    scene.add(false, true);
    scene.settle();
    let of = |generation| MemberOf { member_id: scene.of(one).id.clone(), instance_id: None, generation };
    let (now, before) = (of(scene.of(one).epoch), of(scene.of(one).epoch - 1));
    let view = scene.view.clone();
    assert_eq!(scene.group.commit(world(&view, 0), &now, &[]), Ok(Vec::new()));
    let refused = scene.group.commit(world(&view, 0), &before, &[]);
    assert!(matches!(refused, Err(CoordinatorError::Consumer(ConsumerError::IllegalGeneration { .. }))));
}

#[test]
fn the_policy_says_which_way_groups_may_go_over() {
    let mut scene = Scene::new();
    let one = scene.add(true, false);
    scene.settle();
    let view = scene.view.clone();
    let closed = MigrationPolicy { upgrade: false, downgrade: false };
    let closed = World { migration: closed, ..world(&view, 0) };
    let beat = Client::new(9, false, true).beating(0);
    let refused = scene.group.beat(closed, beat.clone());
    assert_eq!((refused.answer, refused.records), (Err(CoordinatorError::OtherProtocol), Vec::new()));
    scene.step(one);
    assert_eq!(scene.of(one).next, Next::Beat, "nothing has changed");
    let two = scene.add(false, true);
    scene.settle();
    let last = scene.of(two).beating(LEAVE_EPOCH);
    scene.clients.retain(|client| client.ticket == one);
    let left = scene.group.beat(closed, last);
    assert!(left.answer.is_ok());
    assert!(scene.group.describe_consumer().is_some(), "it stays a consumer group, of classic members");
}

#[test]
fn members_that_are_no_consumers_are_left_alone() {
    let mut scene = Scene::new();
    let mut request = Client::new(1, true, false).joining(&scene.view);
    request.joining.protocol_type = "connect".to_owned();
    let view = scene.view.clone();
    assert_eq!(scene.group.join(world(&view, 0), request, 1).answer, Ok(None));
    let refused = scene.group.beat(world(&view, 0), Client::new(9, false, true).beating(0));
    assert_eq!(refused.answer, Err(CoordinatorError::OtherProtocol));
    scene.clients.clear();
    let mut scene = Scene::new();
    scene.add(false, true);
    scene.settle();
    let mut request = Client::new(1, true, false).joining(&scene.view);
    request.joining.protocol_type = "connect".to_owned();
    let refused = scene.turn(|group, world| group.join(world, request, 1));
    assert_eq!(refused, Err(GroupError::InconsistentProtocol.into()));
}

#[test]
fn a_static_member_changes_its_protocol_and_keeps_its_place() {
    let mut scene = Scene::new();
    let (one, two) = (scene.add(true, false), scene.add(true, false));
    scene.clients.iter_mut().for_each(|client| client.instance = Some(format!("i{}", client.ticket)));
    scene.settle();
    for is_classic in [false, true] {
        for ticket in [one, two] {
            // Its process was replaced by one that speaks the other protocol.
            let instance = scene.of(ticket).instance.clone();
            scene.client(ticket, |client, _| {
                *client = Client { instance, ..Client::new(ticket, is_classic, !is_classic) };
            });
            scene.settle();
        }
    }
}

#[test]
fn a_member_that_does_not_follow_is_gone_at_its_timeout() {
    // A classic member that does not join again.
    let mut scene = Scene::new();
    let one = scene.add(true, false);
    scene.settle();
    let two = scene.add(false, true);
    scene.step(two);
    scene.step(one);
    assert_eq!(scene.of(one).next, Next::Join);
    scene.clients.retain(|client| client.ticket == two);
    scene.settle();
    // The last member of the newer protocol, that is not heard of.
    let three = scene.add(true, false);
    scene.settle();
    scene.clients.retain(|client| client.ticket == three);
    scene.settle();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Nobody ever has what another has; who stays ends with everything shared, under the protocol that fits; a
    /// restart forgets nothing.
    #[test]
    fn members_of_both_protocols_never_share_a_partition(
        steps in proptest::collection::vec((0..12u8, any::<prop::sample::Index>(), any::<bool>()), 1..150),
        cooperates in any::<bool>(),
    ) {
        let mut scene = Scene::new();
        for (what, who, flag) in steps {
            let who = (!scene.clients.is_empty()).then(|| scene.clients[who.index(scene.clients.len())].ticket);
            match (what, who) {
                (0, _) if scene.clients.len() < 6 => _ = scene.add(flag, cooperates),
                (1, Some(who)) => scene.leave(who),
                (2, _) if flag => scene.restart(),
                (_, Some(who)) => scene.step(who),
                (_, None) => _ = scene.add(flag, cooperates),
            }
            scene.check_nothing_is_shared();
        }
        scene.settle();
    }
}
