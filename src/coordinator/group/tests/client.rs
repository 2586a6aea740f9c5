//! A client's side of either protocol: what it asks, and what it makes of the answers.

use std::collections::BTreeSet;

use super::{scene::TOPICS, *};

/// What a client is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Join,
    /// Its JoinGroup or SyncGroup waits.
    Wait,
    Sync,
    Beat,
}

/// A client's side, in either protocol.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) process: u32,
    pub(super) id: String,
    pub(super) instance: Option<String>,
    pub(super) is_classic: bool,
    /// Gives back what it must only, and says so; else all, with every join.
    pub(super) cooperates: bool,
    pub(super) epoch: i32,
    pub(super) owned: Assignment,
    pub(super) next: Next,
    /// The request that waits, and what it asks for.
    pub(super) waits: Option<(u32, Next)>,
    /// It watches the topics for its classic group.
    pub(super) is_leader: bool,
    /// Of the leader: what it will assign.
    pub(super) leads: Vec<(String, Bytes)>,
    /// The cluster as it was when the client joined.
    pub(super) seen_view: u64,
    /// The group goes on without it, and it has not learnt that.
    pub(super) given_up: bool,
    /// Since the last answer that it got one was lost, or the coordinator restarted: it may be fenced.
    pub(super) is_excused: bool,
    /// Another process of its instance runs, or ran, beside it.
    pub(super) has_rivals: bool,
    /// Fenced by such a one.
    pub(super) is_dead: bool,
    /// When the coordinator heard of it last.
    pub(super) heard_ms: u64,
    /// When the coordinator wanted nothing of it last.
    pub(super) fine_ms: u64,
}

impl Client {
    pub(super) fn new(process: u32, is_classic: bool, cooperates: bool) -> Self {
        Self {
            process,
            id: if is_classic { String::new() } else { format!("consumer-{process}") },
            instance: None,
            is_classic,
            cooperates,
            epoch: 0,
            owned: Assignment::new(),
            next: Next::Join,
            waits: None,
            is_leader: false,
            leads: Vec::new(),
            seen_view: 0,
            given_up: false,
            is_excused: false,
            has_rivals: false,
            is_dead: false,
            heard_ms: 0,
            fine_ms: 0,
        }
    }

    pub(super) fn joining(&self, view: &ClusterView, request: u32) -> JoinRequest {
        // What a member says to have of a generation that is over counts for nothing.
        let owned = if self.given_up { Assignment::new() } else { self.owned.clone() };
        let protocol = |name: &str| Protocol {
            name: name.to_owned(),
            metadata: subscription(3, TOPICS, &by_name(&owned, view)),
        };
        JoinRequest {
            member_id: self.id.clone(),
            new_member_id: format!("classic-{}-{request}", self.process),
            joining: Joining {
                instance_id: self.instance.clone(),
                client_id: "c".to_owned(),
                client_host: "/127.0.0.1".to_owned(),
                rebalance_timeout_ms: 60_000,
                session_timeout_ms: 10_000,
                protocol_type: CONSUMER.to_owned(),
                protocols: vec![protocol("one"), protocol("two")],
            },
            requires_known_id: true,
            understands_skip: true,
        }
    }

    pub(super) fn syncing(&self) -> SyncRequest {
        SyncRequest {
            member_id: self.id.clone(),
            instance_id: self.instance.clone(),
            generation: self.epoch,
            protocol: (Some(CONSUMER.to_owned()), Some("one".to_owned())),
            assignments: self.leads.clone(),
        }
    }

    pub(super) fn as_member(&self) -> MemberOf {
        MemberOf { member_id: self.id.clone(), instance_id: self.instance.clone(), generation: self.epoch }
    }

    pub(super) fn beating(&self, epoch: i32) -> Heartbeat {
        Heartbeat {
            member_id: self.id.clone(),
            member_epoch: epoch,
            instance_id: self.instance.clone(),
            rebalance_timeout_ms: Some(60_000),
            topics: Some(TOPICS.iter().map(|name| (*name).to_owned()).collect()),
            owned: Some(self.owned.clone()),
            ..Heartbeat::default()
        }
    }

    pub(super) fn count(&self) -> usize {
        self.owned.values().map(BTreeSet::len).sum()
    }

    /// It asks the same again.
    pub(super) fn cut(&mut self) {
        if let Some((_, was)) = self.waits.take() {
            (self.next, self.is_excused) = (was, true);
        }
    }

    fn lose_all(&mut self, why: &dyn std::fmt::Debug) {
        assert!(self.given_up || self.is_excused, "refused for nothing: {why:?} {self:#?}");
        (self.next, self.owned) = (Next::Join, Assignment::new());
        (self.given_up, self.is_excused, self.is_leader) = (false, false, false);
    }

    /// A classic member is refused.
    fn refused(&mut self, error: &GroupError) {
        match error {
            GroupError::RebalanceInProgress | GroupError::NotStored => self.next = Next::Join,
            GroupError::FencedInstance if self.given_up || self.has_rivals => self.is_dead = true,
            GroupError::UnknownMember | GroupError::FencedInstance => {
                self.lose_all(error);
                self.id.clear();
            }
            GroupError::IllegalGeneration => self.lose_all(error),
            error => panic!("refused: {error}"),
        }
    }

    pub(super) fn joined(&mut self, answer: Result<Joined, GroupError>, view: &ClusterView, _now_ms: u64) {
        match answer {
            Ok(joined) => {
                (self.id, self.epoch, self.next) = (joined.member_id, joined.generation, Next::Sync);
                // Which topics its former self has seen a leader that is not to assign cannot know: it looks again.
                (self.is_excused, self.seen_view) =
                    (false, if joined.skip_assignment { 0 } else { view.epoch });
                self.is_leader = joined.leader == self.id;
                let assigns = self.is_leader && !joined.skip_assignment;
                self.leads = if assigns { self.assign(&joined.members, view) } else { Vec::new() };
            }
            Err(GroupError::MemberIdRequired(id)) => (self.id, self.next) = (id, Next::Join),
            Err(error) => self.refused(&error),
        }
    }

    /// In turn; what another member has it may not yet have.
    fn assign(
        &self,
        members: &[(String, Option<String>, Bytes)],
        view: &ClusterView,
    ) -> Vec<(String, Bytes)> {
        let all = TOPICS.iter().flat_map(|topic| {
            let count = view.topic(topic).map_or(0, |topic| topic.partitions.len() as i32);
            (0..count).map(move |partition| ((*topic).to_owned(), partition))
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

    pub(super) fn synced(&mut self, answer: Result<Synced, GroupError>, view: &ClusterView, now_ms: u64) {
        match answer {
            Ok(synced) => {
                let new = by_id(&read_assignment(&synced.assignment).expect("an assignment"), view);
                let gives_back =
                    self.owned.iter().any(|(topic, of)| !new.get(topic).is_some_and(|new| of.is_subset(new)));
                self.owned = new;
                self.next = if gives_back { Next::Join } else { Next::Beat };
                (self.given_up, self.is_excused, self.fine_ms) = (false, false, now_ms);
            }
            Err(error) => self.refused(&error),
        }
    }

    /// A classic heartbeat was answered; the client may not have got that.
    pub(super) fn heard(&mut self, answer: Result<(), CoordinatorError>, is_lost: bool, now_ms: u64) {
        match &answer {
            Ok(()) => (self.heard_ms, self.fine_ms) = (now_ms, now_ms),
            Err(CoordinatorError::Group(GroupError::RebalanceInProgress)) => self.heard_ms = now_ms,
            Err(_) => {}
        }
        match answer {
            _ if is_lost => {}
            Ok(()) => self.is_excused = false,
            Err(CoordinatorError::Group(error)) => self.refused(&error),
            Err(error) => panic!("refused: {error}"),
        }
    }

    pub(super) fn beaten(&mut self, answer: Result<Beat, CoordinatorError>) {
        match answer {
            Ok(beat) => {
                (self.epoch, self.given_up, self.is_excused) = (beat.member_epoch, false, false);
                if let Some(assignment) = beat.assignment {
                    self.owned = assignment;
                }
            }
            // Its former self is still there.
            Err(CoordinatorError::Consumer(ConsumerError::UnreleasedInstance(_))) => {
                assert_eq!(self.epoch, 0);
            }
            Err(CoordinatorError::Consumer(ConsumerError::FencedInstance(_)))
                if self.given_up || self.has_rivals =>
            {
                self.is_dead = true;
            }
            Err(error @ (CoordinatorError::NoSuchGroup | CoordinatorError::Consumer(_))) => {
                self.lose_all(&error);
                self.epoch = 0;
            }
            Err(error) => panic!("refused: {error}"),
        }
    }
}
