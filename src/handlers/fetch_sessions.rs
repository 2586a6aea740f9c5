//! Incremental fetch sessions (KIP-227): the partitions a client reads are remembered, so that its requests name
//! only what changes, and the answers only what is new.
//!
//! A plain state machine, one per core: a session belongs to the core whose connection opened it. A client that
//! comes back elsewhere is told that there is no such session, and begins anew with a full fetch. Slots and
//! partitions are bounded; who finds no slot is answered in full each time.
//!
//! Source: Kafka 4.1, `FetchSession`; KIP-227.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use crate::{
    model::{ErrorCode, TopicId},
    wire::fetch::{FetchPartition, FetchRequest},
};

/// Sessions of one core that are not used for this long give way to new ones. Source: Kafka,
/// `min.incremental.fetch.session.eviction.ms`.
const EVICTED_AFTER_MS: u64 = 120_000;
/// Partitions of all sessions of one core together.
const PARTITIONS_MAX: usize = 200_000;
/// The epoch that asks for a new session.
const EPOCH_INITIAL: i32 = 0;
/// The epoch of a fetch without a session, or of its end.
const EPOCH_FINAL: i32 = -1;

/// A topic as requests of a session name it: by name, or by id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicKey {
    /// Its name; empty if it is named by its id.
    pub name: Rc<str>,
    /// Its id; zero if it is named by its name.
    pub id: TopicId,
}

/// One partition to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Of which topic.
    pub topic: TopicKey,
    /// Which partition, and from where on.
    pub partition: FetchPartition,
}

/// What an answer said of a partition: told again only if it has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Its high watermark.
    pub high_watermark: i64,
    /// Its log start offset.
    pub log_start: i64,
}

/// Which session answers belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// None: everything is told.
    Full,
    /// One that was just opened: everything is told.
    Opened(i32),
    /// This one: what is new is told.
    Incremental(i32),
}

impl Mode {
    /// What the response carries.
    #[must_use]
    pub const fn session_id(self) -> i32 {
        match self {
            Self::Full => 0,
            Self::Opened(id) | Self::Incremental(id) => id,
        }
    }
}

struct Cached {
    wanted: Wanted,
    told: Option<Told>,
}

struct Session {
    next_epoch: i32,
    by_ids: bool,
    used_ms: u64,
    /// In the order of reading; who has just had records comes last.
    order: BTreeMap<u64, Cached>,
    places: HashMap<(TopicKey, i32), u64>,
    next_place: u64,
}

impl Session {
    fn new(by_ids: bool, now_ms: u64) -> Self {
        let (order, places) = (BTreeMap::new(), HashMap::new());
        Self { next_epoch: 1, by_ids, used_ms: now_ms, order, places, next_place: 0 }
    }

    fn put(&mut self, wanted: Wanted) {
        let key = (wanted.topic.clone(), wanted.partition.index);
        if let Some(cached) = self.places.get(&key).and_then(|place| self.order.get_mut(place)) {
            cached.wanted = wanted;
            return;
        }
        self.place_last(key, Cached { wanted, told: None });
    }

    fn place_last(&mut self, key: (TopicKey, i32), cached: Cached) {
        self.places.insert(key, self.next_place);
        self.order.insert(self.next_place, cached);
        self.next_place += 1;
    }

    fn forget(&mut self, key: &(TopicKey, i32)) {
        if let Some(place) = self.places.remove(key) {
            self.order.remove(&place);
        }
    }
}

/// The sessions of one core.
pub struct FetchSessions {
    sessions: HashMap<i32, Session>,
    sessions_max: usize,
    partitions: usize,
    next_id: i32,
}

impl FetchSessions {
    /// No sessions, and room for `sessions_max`. Ids count up from `first_id`, which should be random: a client
    /// of an earlier start must not meet a stranger's session.
    #[must_use]
    pub fn new(sessions_max: usize, first_id: i32) -> Self {
        Self { sessions: HashMap::new(), sessions_max, partitions: 0, next_id: first_id }
    }

    /// What a request reads, in its order, and which session its answer belongs to.
    ///
    /// # Errors
    /// There is no such session, its epoch is another one, or its topics are named otherwise: the client begins
    /// anew with a full fetch.
    pub fn begin(
        &mut self,
        request: &FetchRequest<'_>,
        by_ids: bool,
        now_ms: u64,
    ) -> Result<(Mode, Vec<Wanted>), ErrorCode> {
        let named = wanted(request);
        match request.session_epoch {
            EPOCH_INITIAL | EPOCH_FINAL => {
                self.close(request.session_id);
                let opens = request.session_epoch == EPOCH_INITIAL;
                let opened = if opens { self.open(&named, by_ids, now_ms) } else { None };
                Ok((opened.map_or(Mode::Full, Mode::Opened), named))
            }
            epoch => {
                let id = request.session_id;
                let session = self.sessions.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
                if session.next_epoch != epoch {
                    return Err(ErrorCode::InvalidFetchSessionEpoch);
                }
                if session.by_ids != by_ids {
                    return Err(ErrorCode::FetchSessionTopicIdError);
                }
                session.next_epoch = epoch.checked_add(1).unwrap_or(1);
                session.used_ms = now_ms;
                let before = session.order.len();
                named.into_iter().for_each(|wanted| session.put(wanted));
                for topic in &request.forgotten_topics {
                    let key = key_of(topic.name, topic.topic_id);
                    topic.partitions.iter().for_each(|&index| session.forget(&(key.clone(), index)));
                }
                let all = session.order.values().map(|cached| cached.wanted.clone()).collect();
                self.partitions = self.partitions - before + session.order.len();
                if self.partitions > PARTITIONS_MAX {
                    self.close(id);
                }
                Ok((Mode::Incremental(id), all))
            }
        }
    }

    /// Whether a partition's part of an answer is told. `news`: there are records, or an error.
    pub fn tells(&mut self, mode: Mode, topic: &TopicKey, index: i32, news: bool, told: Told) -> bool {
        let (Mode::Opened(id) | Mode::Incremental(id)) = mode else { return true };
        let Some(session) = self.sessions.get_mut(&id) else { return true };
        let key = (topic.clone(), index);
        let Some(cached) = session.places.get(&key).and_then(|place| session.order.get_mut(place)) else {
            return true;
        };
        let has_changed = cached.told.replace(told) != Some(told);
        if news && let Some(place) = session.places.remove(&key) {
            let cached = session.order.remove(&place).expect("places name what is there");
            session.place_last(key, cached);
        }
        news || has_changed || matches!(mode, Mode::Opened(_))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn open(&mut self, named: &[Wanted], by_ids: bool, now_ms: u64) -> Option<i32> {
        if named.is_empty() || self.sessions_max == 0 {
            return None;
        }
        let has_room = |sessions: &Self| {
            sessions.sessions.len() < sessions.sessions_max
                && sessions.partitions + named.len() <= PARTITIONS_MAX
        };
        while !has_room(self) {
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used_ms)?;
            if oldest.1.used_ms + EVICTED_AFTER_MS > now_ms {
                return None;
            }
            self.close(*oldest.0);
        }
        let mut session = Session::new(by_ids, now_ms);
        named.iter().cloned().for_each(|wanted| session.put(wanted));
        self.partitions += session.order.len();
        let id = self.free_id();
        self.sessions.insert(id, session);
        Some(id)
    }

    fn free_id(&mut self) -> i32 {
        loop {
            let id = self.next_id;
            self.next_id = id.checked_add(1).unwrap_or(1);
            if id > 0 && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    fn close(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions -= session.order.len();
        }
    }
}

fn key_of(name: Option<&str>, id: TopicId) -> TopicKey {
    TopicKey { name: name.unwrap_or_default().into(), id }
}

fn wanted(request: &FetchRequest<'_>) -> Vec<Wanted> {
    let of_topic = |topic: &crate::wire::fetch::FetchTopic<'_>| {
        let key = key_of(topic.name, topic.topic_id);
        let partitions = topic.partitions.clone();
        partitions.into_iter().map(move |partition| Wanted { topic: key.clone(), partition })
    };
    request.topics.iter().flat_map(of_topic).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::fetch::{FetchTopic, ForgottenTopic};

    fn partition(index: i32, from: i64) -> FetchPartition {
        FetchPartition {
            index,
            current_leader_epoch: -1,
            fetch_offset: from,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            partition_max_bytes: 1000,
        }
    }

    fn request(id: i32, epoch: i32, partitions: &[(i32, i64)], forgotten: &[i32]) -> FetchRequest<'static> {
        let of_topic = |partitions| FetchTopic { name: Some("t"), topic_id: TopicId::ZERO, partitions };
        let named: Vec<_> = partitions.iter().map(|&(index, from)| partition(index, from)).collect();
        let forgotten =
            ForgottenTopic { name: Some("t"), topic_id: TopicId::ZERO, partitions: forgotten.to_vec() };
        FetchRequest {
            replica_id: -1,
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: 1000,
            isolation_level: 0,
            session_id: id,
            session_epoch: epoch,
            topics: vec![of_topic(named)],
            forgotten_topics: vec![forgotten],
            rack_id: "",
        }
    }

    fn read(found: &(Mode, Vec<Wanted>)) -> Vec<(i32, i64)> {
        found.1.iter().map(|wanted| (wanted.partition.index, wanted.partition.fetch_offset)).collect()
    }

    fn told(high_watermark: i64) -> Told {
        Told { high_watermark, log_start: 0 }
    }

    #[test]
    fn a_session_remembers_what_is_read_and_tells_only_what_is_new() {
        let mut sessions = FetchSessions::new(2, 7);
        let opened = sessions.begin(&request(0, 0, &[(0, 5), (1, 6)], &[]), false, 0).expect("opens");
        assert_eq!((opened.0, read(&opened)), (Mode::Opened(7), vec![(0, 5), (1, 6)]));
        let key = opened.1[0].topic.clone();
        let (mode, next) =
            (Mode::Incremental(7), |epoch, named: &[_], gone: &[_]| request(7, epoch, named, gone));
        assert!(sessions.tells(opened.0, &key, 0, true, told(9)));
        assert!(sessions.tells(opened.0, &key, 1, false, told(6)), "a full answer tells everything");
        let second = sessions.begin(&next(1, &[(0, 9)], &[]), false, 0).expect("goes on");
        assert_eq!((second.0, read(&second)), (mode, vec![(1, 6), (0, 9)]), "who had records comes last");
        assert!(!sessions.tells(mode, &key, 1, false, told(6)));
        assert!(sessions.tells(mode, &key, 0, false, told(10)), "its high watermark has moved");
        assert!(!sessions.tells(mode, &key, 0, false, told(10)));
        let third = sessions.begin(&next(2, &[(2, 1)], &[1]), false, 0).expect("goes on");
        assert_eq!(read(&third), [(0, 9), (2, 1)]);
        assert_eq!(sessions.begin(&next(2, &[], &[]), false, 0), Err(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(sessions.begin(&next(3, &[], &[]), true, 0), Err(ErrorCode::FetchSessionTopicIdError));
        let last = sessions.begin(&next(-1, &[(0, 9)], &[]), false, 0).expect("ends");
        assert_eq!((last.0, read(&last)), (Mode::Full, vec![(0, 9)]));
        assert_eq!(sessions.begin(&next(3, &[], &[]), false, 0), Err(ErrorCode::FetchSessionIdNotFound));
        assert_eq!((sessions.len(), sessions.partitions), (0, 0));
    }

    #[test]
    fn a_session_in_use_keeps_its_slot_and_an_old_one_gives_way() {
        let mut sessions = FetchSessions::new(1, i32::MAX);
        let open = |sessions: &mut FetchSessions, now_ms| {
            sessions.begin(&request(0, 0, &[(0, 0)], &[]), false, now_ms).expect("answered").0
        };
        assert_eq!(open(&mut sessions, 0), Mode::Opened(i32::MAX));
        assert_eq!(open(&mut sessions, EVICTED_AFTER_MS - 1), Mode::Full);
        assert_eq!(open(&mut sessions, EVICTED_AFTER_MS), Mode::Opened(1), "ids go around");
        assert_eq!(sessions.len(), 1);
        assert_eq!(open(&mut FetchSessions::new(0, 1), 0), Mode::Full);
    }

    proptest! {
        #[test]
        fn a_session_reads_what_a_map_of_the_same_requests_reads(
            steps in proptest::collection::vec(
                (proptest::collection::vec((0..6i32, 0..100i64), 0..4), proptest::collection::vec(0..6i32, 0..3), 0..6i32),
                1..40,
            ),
        ) {
            let mut sessions = FetchSessions::new(1, 1);
            let mut model = BTreeMap::from([(9, 9)]);
            sessions.begin(&request(0, 0, &[(9, 9)], &[]), false, 0).expect("opens");
            for (epoch, (named, forgotten, with_records)) in (1..).zip(steps) {
                let found = sessions.begin(&request(1, epoch, &named, &forgotten), false, 0).expect("goes on");
                model.extend(named);
                model.retain(|index, _| !forgotten.contains(index));
                let mut got = read(&found);
                got.sort_unstable();
                prop_assert_eq!(got, model.clone().into_iter().collect::<Vec<_>>());
                prop_assert_eq!(sessions.partitions, model.len());
                sessions.tells(found.0, &key_of(Some("t"), TopicId::ZERO), with_records, true, told(1));
            }
        }
    }
}
