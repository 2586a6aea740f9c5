//! A group, its log, and clients that keep to their protocol in a world that does not: answers are lost, clients
//! fall silent, the log refuses records, topics come and go, the coordinator restarts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;

pub(super) const TOPICS: &[&str] = &["a", "b", "c"];
const SESSION_MS: u64 = 10_000;
const REBALANCE_MS: u64 = 60_000;
const MEMBERS_MAX: usize = 40;

pub(super) fn world(view: &ClusterView, now_ms: u64) -> World<'_> {
    let classic = GroupLimits { initial_delay_ms: 0, members_max: MEMBERS_MAX };
    let consumer = ConsumerLimits { members_max: MEMBERS_MAX, ..consumer::tests::LIMITS };
    World { group: "g", view, classic, consumer, migration: BOTH_WAYS, now_ms, wall_ms: 0 }
}

/// A group, its records, and clients.
pub(super) struct Scene {
    pub(super) view: ClusterView,
    /// Partitions of each topic that is there.
    topics: BTreeMap<&'static str, i32>,
    pub(super) now_ms: u64,
    pub(super) group: Group<u32>,
    log: Vec<GroupRecord>,
    /// The log takes no records.
    pub(super) refuses: bool,
    /// What a classic group stores takes its time.
    pub(super) is_slow: bool,
    /// Stores of a classic group under way: generation, and whether they succeed.
    stores: VecDeque<(i32, bool)>,
    /// What could not be stored.
    unstored: Vec<GroupRecord>,
    pub(super) clients: Vec<Client>,
    processes: u32,
    requests: u32,
    /// Who asked.
    asked: BTreeMap<u32, u32>,
}

/// Why members are gone after a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Request,
    Time,
}

impl Scene {
    pub(super) fn new() -> Self {
        let mut scene = Self {
            view: ClusterView::default(),
            topics: [("a", 4), ("b", 3)].into(),
            now_ms: 0,
            group: Group::new(world(&ClusterView::default(), 0).classic, 0),
            log: Vec::new(),
            refuses: false,
            is_slow: false,
            stores: VecDeque::new(),
            unstored: Vec::new(),
            clients: Vec::new(),
            processes: 0,
            requests: 0,
            asked: BTreeMap::new(),
        };
        scene.show_topics();
        scene
    }

    fn show_topics(&mut self) {
        let all: Vec<(&str, i32)> =
            TOPICS.iter().map(|name| (*name, self.topics.get(name).copied().unwrap_or(1))).collect();
        let epoch = self.view.epoch + 1;
        self.view = consumer::tests::view(&all);
        self.view.epoch = epoch;
        for name in TOPICS.iter().filter(|name| !self.topics.contains_key(*name)) {
            self.view.remove_topic(name);
        }
    }

    pub(super) fn grow(&mut self, topic: &'static str, to: i32) {
        self.topics.insert(topic, to);
        self.show_topics();
    }

    pub(super) fn delete_topic(&mut self, topic: &str) {
        self.topics.remove(topic);
        self.show_topics();
    }

    /// As the service does: what could not be stored goes first. `None`: the answer is not given.
    pub(super) fn try_turn<A>(
        &mut self,
        take: impl FnOnce(&mut Group<u32>, World<'_>) -> Turn<u32, A>,
    ) -> Option<A> {
        if !self.store(Vec::new()) {
            return None;
        }
        let (records, answer) = self.take_turn(Cause::Request, take);
        self.store(records).then_some(answer)
    }

    pub(super) fn turn<A>(&mut self, take: impl FnOnce(&mut Group<u32>, World<'_>) -> Turn<u32, A>) -> A {
        self.try_turn(take).expect("stored")
    }

    fn take_turn<A>(
        &mut self,
        cause: Cause,
        take: impl FnOnce(&mut Group<u32>, World<'_>) -> Turn<u32, A>,
    ) -> (Vec<GroupRecord>, A) {
        let before = (self.members(), self.generation());
        let view = self.view.clone();
        let Turn { records, effects, answer } = take(&mut self.group, world(&view, self.now_ms));
        let joined = effects.iter().filter_map(|effect| match effect {
            Effect::Joined(ticket, Ok(_)) => self.asked.get(ticket).copied(),
            _ => None,
        });
        let joined = joined.collect();
        self.answer(effects);
        self.notice(cause, before, &joined);
        (records, answer)
    }

    fn store(&mut self, mut records: Vec<GroupRecord>) -> bool {
        if !self.unstored.is_empty() {
            let mut all = std::mem::take(&mut self.unstored);
            all.append(&mut records);
            records = self.group.restated(world(&self.view, self.now_ms), &all);
        }
        if self.refuses {
            let is_nothing = records.is_empty();
            self.unstored = records;
            return is_nothing;
        }
        // As they are stored.
        for record in records {
            let (key, value) = record.encode();
            let stored = GroupRecord::decode(&key, value.as_deref()).expect("whole").expect("known");
            assert_eq!(stored, record);
            self.log.push(stored);
        }
        true
    }

    fn answer(&mut self, effects: Effects<u32>) {
        for effect in effects {
            match effect {
                Effect::Joined(ticket, joined) => {
                    self.hear(ticket, joined.is_ok(), |client, view, now_ms| {
                        client.joined(joined, view, now_ms)
                    });
                }
                Effect::Synced(ticket, synced) => {
                    self.hear(ticket, synced.is_ok(), |client, view, now_ms| {
                        client.synced(synced, view, now_ms)
                    });
                }
                Effect::Store { generation } => {
                    let (_, snapshot) = self.group.describe_classic().expect("a classic group");
                    let state = Some((snapshot, 0));
                    if !self.refuses {
                        self.log.push(GroupRecord::Group { group: "g".to_owned(), state });
                    }
                    self.stores.push_back((generation, !self.refuses));
                    if !self.is_slow {
                        self.finish_stores();
                    }
                }
            }
        }
    }

    pub(super) fn finish_stores(&mut self) {
        while let Some((generation, ok)) = self.stores.pop_front() {
            let now_ms = self.now_ms;
            let (records, ()) =
                self.take_turn(Cause::Request, |group, _| group.stored(now_ms, generation, ok));
            assert!(records.is_empty(), "told only");
        }
    }

    /// An answer to a request that has waited.
    fn hear(&mut self, request: u32, is_ok: bool, tell: impl FnOnce(&mut Client, &ClusterView, u64)) {
        // Who asked may have got an error instead.
        let Some(process) = self.asked.remove(&request) else { return };
        let now_ms = self.now_ms;
        self.client(process, |client, view| {
            if is_ok {
                client.heard_ms = now_ms;
            }
            if client.waits.is_some_and(|(waits, _)| waits == request) {
                client.waits = None;
                tell(client, view, now_ms);
            }
        });
    }

    fn members(&self) -> BTreeMap<String, Option<String>> {
        if let Some((_, classic)) = self.group.describe_classic() {
            return classic.members.into_iter().map(|it| (it.member_id, it.joining.instance_id)).collect();
        }
        let consumer = self.group.describe_consumer().expect("of one protocol or the other");
        consumer.members.into_iter().map(|(id, is, ..)| (id, is.instance_id)).collect()
    }

    fn generation(&self) -> Option<i32> {
        self.group.describe_classic().map(|(_, classic)| classic.generation)
    }

    /// Who is no member any more may find that others read what it reads, until it learns; nobody becomes that
    /// without a reason.
    fn notice(
        &mut self,
        cause: Cause,
        (before, generation_before): (BTreeMap<String, Option<String>>, Option<i32>),
        joined: &BTreeSet<u32>,
    ) {
        let (now, generation, now_ms) = (self.members(), self.generation(), self.now_ms);
        for client in self.clients.iter_mut().filter(|client| before.contains_key(&client.id)) {
            let is_replaced = || client.instance.is_some() && now.values().any(|it| *it == client.instance);
            match now.contains_key(&client.id) {
                false if cause == Cause::Time => {
                    assert!(client.is_late(now_ms), "given up too early at {now_ms}: {client:#?}");
                    client.given_up = true;
                }
                false => {
                    assert!(is_replaced(), "given up for nothing: {client:#?}");
                    client.given_up = true;
                }
                // A static member is not waited for longer than others, but stays one.
                true if generation_before
                    .is_some_and(|before| generation.is_some_and(|now| now > before)) =>
                {
                    let is_left_behind = client.instance.is_some() && !joined.contains(&client.process);
                    client.given_up |= is_left_behind;
                }
                true => {}
            }
            if generation_before.is_none() && generation.is_some() {
                // The generation of the classic group need not be the epoch that it has reached.
                client.is_excused = true;
            }
        }
    }

    pub(super) fn client(&mut self, process: u32, tell: impl FnOnce(&mut Client, &ClusterView)) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.process == process) {
            tell(client, &self.view);
        }
    }

    pub(super) fn add(&mut self, is_classic: bool, cooperates: bool) -> u32 {
        self.add_static(is_classic, cooperates, None)
    }

    pub(super) fn add_static(&mut self, is_classic: bool, cooperates: bool, instance: Option<String>) -> u32 {
        let (process, rivals) = (self.processes, instance.clone());
        self.processes += 1;
        let has_rivals = self.clients.iter().any(|client| instance.is_some() && client.instance == instance);
        let client =
            Client { instance, heard_ms: self.now_ms, ..Client::new(process, is_classic, cooperates) };
        self.clients.push(client);
        for client in self.clients.iter_mut().filter(|client| has_rivals && client.instance == rivals) {
            client.has_rivals = true;
        }
        process
    }

    pub(super) fn of(&self, process: u32) -> &Client {
        self.clients.iter().find(|client| client.process == process).expect("a client")
    }

    /// One request of a client, and its answer.
    pub(super) fn step(&mut self, process: u32) {
        self.ask(process, false);
    }

    /// One request of a client; the answer may be lost.
    pub(super) fn ask(&mut self, process: u32, is_lost: bool) {
        let client = self.of(process).clone();
        self.client(process, |client, _| client.is_excused |= is_lost);
        if client.is_classic {
            self.ask_classic(client, is_lost)
        } else {
            self.ask_consumer(&client, is_lost)
        }
        self.clients.retain(|client| !client.is_dead);
    }

    fn ask_consumer(&mut self, client: &Client, is_lost: bool) {
        let beaten = self.try_turn(|group, world| group.beat(world, client.beating(client.epoch)));
        let consumer = self.group.describe_consumer();
        let gives_back = consumer.is_some_and(|consumer| {
            let mut members = consumer.members.iter();
            members.any(|(id, _, now, _)| *id == client.id && now.state == MemberState::Unrevoked)
        });
        let now_ms = self.now_ms;
        self.client(client.process, |client, _| match beaten {
            None => client.is_excused = true,
            Some(beaten) => {
                if beaten.is_ok() {
                    client.heard_ms = now_ms;
                    client.fine_ms = if gives_back { client.fine_ms } else { now_ms };
                }
                if !is_lost {
                    client.beaten(beaten);
                }
            }
        });
    }

    fn ask_classic(&mut self, mut client: Client, is_lost: bool) {
        let (process, now_ms) = (client.process, self.now_ms);
        if client.next == Next::Beat && client.is_leader && client.seen_view != self.view.epoch {
            client.next = Next::Join;
        }
        if client.next == Next::Wait {
            return;
        }
        if client.next == Next::Beat {
            let heard = self.try_turn(|group, world| group.heartbeat(world.now_ms, &client.as_member()));
            return self.client(process, |client, _| match heard {
                None => client.is_excused = true,
                Some(heard) => client.heard(heard, is_lost, now_ms),
            });
        }
        if client.next == Next::Join && !client.cooperates {
            client.owned = Assignment::new();
        }
        let ticket = self.requests;
        self.requests += 1;
        self.asked.insert(ticket, process);
        let was = client.next;
        self.client(process, |it, _| {
            (it.owned, it.next, it.waits) = (client.owned.clone(), Next::Wait, Some((ticket, was)));
            if is_lost {
                it.cut();
            }
        });
        if was == Next::Join {
            let request = client.joining(&self.view, ticket);
            match self.try_turn(|group, world| group.join(world, request, ticket)) {
                Some(Ok(None)) => {}
                Some(Ok(Some(joined))) => {
                    self.hear(ticket, true, |it, view, now_ms| it.joined(Ok(joined), view, now_ms))
                }
                Some(Err(CoordinatorError::Group(error))) => {
                    self.hear(ticket, false, |it, view, now_ms| it.joined(Err(error), view, now_ms));
                }
                Some(Err(error)) => panic!("refused: {error}"),
                None => self.forget(ticket),
            }
            let knows_its_id_now = client.id.is_empty() && !self.of(process).id.is_empty();
            if self.of(process).next == Next::Join && knows_its_id_now {
                self.ask(process, false);
            }
        } else {
            let request = client.syncing();
            match self.try_turn(|group, world| group.sync(world, request, ticket)) {
                Some(Ok(None)) => {}
                Some(Ok(Some(synced))) => {
                    self.hear(ticket, true, |it, view, now_ms| it.synced(Ok(synced), view, now_ms))
                }
                Some(Err(CoordinatorError::Group(error))) => {
                    self.hear(ticket, false, |it, view, now_ms| it.synced(Err(error), view, now_ms));
                }
                Some(Err(error)) => panic!("refused: {error}"),
                None => self.forget(ticket),
            }
        }
    }

    /// The request is not answered.
    fn forget(&mut self, ticket: u32) {
        if let Some(process) = self.asked.remove(&ticket) {
            self.client(process, |client, _| client.cut());
        }
    }

    pub(super) fn leave(&mut self, process: u32) {
        self.leave_as(process, LEAVE_EPOCH);
    }

    /// A client ends, and says so if it was a member. The answer is nobody's.
    pub(super) fn leave_as(&mut self, process: u32, epoch: i32) {
        let client = self.of(process).clone();
        self.clients.retain(|client| client.process != process);
        let must = !client.is_excused && !client.given_up && !self.refuses;
        if client.is_classic && !client.id.is_empty() {
            let leaving = [(client.id.clone(), client.instance.clone())];
            let left = self.try_turn(|group, world| group.leave(world, &leaving));
            // Until it has its assignment a restart forgets it; and it may have an id only.
            let is_known =
                !must || client.next != Next::Beat || left.as_ref().is_some_and(|left| left[0].is_ok());
            assert!(is_known, "{left:?} {client:#?}");
        } else if !client.is_classic && client.epoch > 0 {
            let left = self.try_turn(|group, world| group.beat(world, client.beating(epoch)));
            assert!(!must || matches!(left, Some(Ok(_))), "{left:?} {client:#?}");
        }
    }

    /// Time goes on, and does what is due as it is due.
    pub(super) fn pass(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        while let Some(due_ms) = self.group.next_deadline_ms().filter(|due_ms| *due_ms <= until_ms) {
            self.now_ms = self.now_ms.max(due_ms);
            let (records, ()) = self.take_turn(Cause::Time, Group::tick);
            self.store(records);
        }
        self.now_ms = until_ms;
    }

    /// The coordinator dies and reads what it has stored.
    pub(super) fn restart(&mut self) {
        let before = shown(&self.group);
        self.group = Group::new(world(&self.view, self.now_ms).classic, 0);
        for record in &self.log {
            self.group.replay(world(&self.view, self.now_ms), record.clone());
        }
        let has_all = std::mem::take(&mut self.unstored).is_empty();
        if let (Members::Consumer(_), after, true) = (&self.group.members, shown(&self.group), has_all) {
            assert_eq!(before, after);
        }
        self.stores.clear();
        self.asked.clear();
        for client in &mut self.clients {
            // Its connection was cut.
            client.cut();
            client.is_excused = true;
        }
    }

    pub(super) fn check_nothing_is_shared(&self) {
        let mut seen = BTreeSet::new();
        for client in self.clients.iter().filter(|client| !client.given_up) {
            for (topic, partitions) in &client.owned {
                for partition in partitions {
                    assert!(seen.insert((*topic, *partition)), "{partition} is shared: {:#?}", self.clients);
                }
            }
        }
    }

    /// All is well from now on. Time goes on: what nobody speaks for any more is a member as long as its session.
    pub(super) fn settle(&mut self) {
        (self.refuses, self.is_slow) = (false, false);
        self.finish_stores();
        let newest: BTreeMap<Option<String>, u32> =
            self.clients.iter().map(|client| (client.instance.clone(), client.process)).collect();
        self.clients.retain(|it| it.instance.is_none() || newest[&it.instance] == it.process);
        for _ in 0..60 {
            self.pass(3_000);
            let processes: Vec<u32> = self.clients.iter().map(|client| client.process).collect();
            for process in processes {
                self.step(process);
                self.check_nothing_is_shared();
            }
        }
        let all: i32 = self.topics.values().sum();
        let is_there = |topic: &&TopicId| self.view.topic_by_id(**topic).is_some();
        let of = |client: &Client| {
            client.owned.keys().filter(is_there).map(|it| client.owned[it].len()).sum::<usize>()
        };
        let owned = self.clients.iter().map(of).sum::<usize>();
        let has_members = !self.clients.is_empty();
        assert_eq!(owned, if has_members { all as usize } else { 0 }, "{:#?}", self.clients);
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

impl Client {
    /// Whether its session, or the time for what it was told to do, is over.
    fn is_late(&self, now_ms: u64) -> bool {
        let session_ms = if self.is_classic { SESSION_MS } else { consumer::tests::LIMITS.session_ms };
        now_ms - self.heard_ms >= session_ms || now_ms - self.fine_ms >= REBALANCE_MS
    }
}
