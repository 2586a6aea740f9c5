//! What members ask of their group, in either protocol, and what time does to it.
//!
//! Members of both protocols meet in a consumer group. A classic group becomes one with the first heartbeat of the
//! newer protocol, and is one again once the last member has gone that sent any; see [`migration`](super::super::migration).

use super::{
    super::{
        classic::{ClassicGroup, GroupError, JoinRequest, Joined, State, SyncRequest, Synced},
        consumer::{Beat, ConsumerGroup, Heartbeat, STATIC_LEAVE_EPOCH},
        messages::{CoordinatorError, MemberOf},
        migration::{downgraded, upgraded},
        records::GroupRecord,
    },
    Group, Members, Turn, World, of_consumer,
};

type Outcome<A> = Result<A, CoordinatorError>;

impl<T> Group<T> {
    /// JoinGroup. `None`: the ticket is answered later.
    pub fn join(
        &mut self,
        world: World<'_>,
        request: JoinRequest,
        ticket: T,
    ) -> Turn<T, Outcome<Option<Joined>>> {
        let mut records = Vec::new();
        if let Members::Consumer(consumer) = &self.members {
            // Who is refused replaces nobody.
            let replaced =
                consumer.replaced_by(&request).filter(|_| consumer.validate_join(&request).is_ok());
            let replaced: Vec<String> = replaced.into_iter().collect();
            if consumer.is_empty() {
                records = self.own_tombstones(world.group);
                self.members = Members::Classic(ClassicGroup::new(world.classic));
            } else if !replaced.is_empty() {
                records = self.go_back(world, &replaced, 1).unwrap_or_default();
            }
        }
        let (effects, answer) = match &mut self.members {
            Members::Classic(classic) => (classic.join(world.now_ms, request, ticket), Ok(None)),
            Members::Consumer(consumer) => {
                let outcome = consumer.join_classic(world.now_ms, world.view, request);
                let answer = outcome.map(|(joined, stored)| {
                    records.extend(of_consumer(world.group, stored));
                    Some(joined)
                });
                (Vec::new(), answer.map_err(Into::into))
            }
        };
        Turn { records, effects, answer }
    }

    /// SyncGroup. `None`: the ticket is answered later.
    pub fn sync(
        &mut self,
        world: World<'_>,
        request: SyncRequest,
        ticket: T,
    ) -> Turn<T, Outcome<Option<Synced>>> {
        match &mut self.members {
            Members::Classic(classic) => {
                let effects = classic.sync(world.now_ms, request, ticket);
                Turn { records: Vec::new(), effects, answer: Ok(None) }
            }
            Members::Consumer(consumer) => {
                let synced = consumer.sync_classic(world.now_ms, world.view, &request);
                Turn::answer(synced.map(Some).map_err(Into::into))
            }
        }
    }

    /// Heartbeat.
    pub fn heartbeat(&mut self, now_ms: u64, member: &MemberOf) -> Turn<T, Outcome<()>> {
        let MemberOf { member_id, instance_id, generation } = member;
        let instance = instance_id.as_deref();
        let heard = match &mut self.members {
            Members::Classic(classic) => classic.heartbeat(now_ms, member_id, instance, *generation),
            Members::Consumer(consumer) => {
                consumer.heartbeat_classic(now_ms, member_id, instance, *generation)
            }
        };
        Turn::answer(heard.map_err(Into::into))
    }

    /// LeaveGroup: member id and instance id of each that leaves. Says the member id of each.
    pub fn leave(
        &mut self,
        world: World<'_>,
        leaving: &[(String, Option<String>)],
    ) -> Turn<T, Vec<Result<String, GroupError>>> {
        let mut effects = Vec::new();
        match &mut self.members {
            Members::Classic(classic) => {
                let leave = |(id, instance): &(String, Option<String>)| {
                    classic.leave(world.now_ms, id, instance.as_deref(), &mut effects)
                };
                let answer = leaving.iter().map(leave).collect();
                Turn { records: Vec::new(), effects, answer }
            }
            Members::Consumer(consumer) => {
                let check = |(id, instance): &(String, Option<String>)| {
                    consumer.check_leave_classic(id, instance.as_deref())
                };
                let answer: Vec<_> = leaving.iter().map(check).collect();
                let mut gone: Vec<String> = answer.iter().flatten().cloned().collect();
                gone.sort_unstable();
                gone.dedup();
                let records = self.remove(world, &gone);
                Turn { records, effects, answer }
            }
        }
    }

    /// ConsumerGroupHeartbeat: a member under the newer protocol joins, goes on or leaves.
    pub fn beat(&mut self, world: World<'_>, beat: Heartbeat) -> Turn<T, Outcome<Beat>> {
        let outcome = match &mut self.members {
            _ if beat.member_epoch < 0 => self.beat_last(world, beat),
            Members::Classic(_) => return self.beat_first(world, beat),
            Members::Consumer(consumer) => {
                consumer.follow(world.consumer);
                let outcome = consumer.heartbeat(world.now_ms, world.view, beat);
                outcome
                    .map(|(answer, stored)| (answer, of_consumer(world.group, stored).collect()))
                    .map_err(Into::into)
            }
        };
        match outcome {
            Ok((answer, records)) => Turn { records, effects: Vec::new(), answer: Ok(answer) },
            Err(error) => Turn::answer(Err(error)),
        }
    }

    /// A classic group meets the newer protocol: it goes over if it may.
    fn beat_first(&mut self, world: World<'_>, beat: Heartbeat) -> Turn<T, Outcome<Beat>> {
        let Members::Classic(classic) = &mut self.members else { panic!("a classic group") };
        let entered = enter(world, classic, beat);
        match entered {
            Ok((consumer, records, answer)) => {
                let effects = classic.dissolve();
                self.members = Members::Consumer(consumer);
                Turn { records, effects, answer: Ok(answer) }
            }
            Err(error) => Turn::answer(Err(error)),
        }
    }

    /// A member leaves, for good or, if it is static, for a while.
    fn beat_last(&mut self, world: World<'_>, beat: Heartbeat) -> Outcome<(Beat, Vec<GroupRecord>)> {
        let Members::Consumer(consumer) = &mut self.members else {
            return Err(CoordinatorError::NoSuchGroup);
        };
        consumer.check_leave(&beat)?;
        let Heartbeat { member_id, member_epoch, .. } = beat;
        let records = if member_epoch == STATIC_LEAVE_EPOCH {
            of_consumer(world.group, consumer.step_aside(&member_id)).collect()
        } else {
            self.remove(world, std::slice::from_ref(&member_id))
        };
        Ok((Beat { member_id, member_epoch, heartbeat_ms: 0, assignment: None }, records))
    }

    /// A classic group's state of `generation` is durable, or could not be made so.
    pub fn stored(&mut self, now_ms: u64, generation: i32, ok: bool) -> Turn<T, ()> {
        let effects = match &mut self.members {
            Members::Classic(classic) => classic.stored(now_ms, generation, ok),
            Members::Consumer(_) => Vec::new(),
        };
        Turn { records: Vec::new(), effects, answer: () }
    }

    /// Does what time has made due.
    pub fn tick(&mut self, world: World<'_>) -> Turn<T, ()> {
        match &mut self.members {
            Members::Classic(classic) => {
                Turn { records: Vec::new(), effects: classic.tick(world.now_ms), answer: () }
            }
            Members::Consumer(consumer) => {
                let late = consumer.late(world.now_ms);
                Turn { records: self.remove(world, &late), effects: Vec::new(), answer: () }
            }
        }
    }

    /// Members of a consumer group have gone; if none is left that speaks the newer protocol it goes back to the classic one.
    fn remove(&mut self, world: World<'_>, gone: &[String]) -> Vec<GroupRecord> {
        let Members::Consumer(consumer) = &mut self.members else { return Vec::new() };
        if !gone.is_empty()
            && consumer.is_classic_without(gone)
            && consumer.len() > gone.len()
            && let Some(records) = self.go_back(world, gone, 0)
        {
            return records;
        }
        let Members::Consumer(consumer) = &mut self.members else { return Vec::new() };
        let stored = consumer.remove(gone);
        if consumer.is_empty() && !stored.is_empty() {
            self.empty_since_ms = world.wall_ms;
        }
        of_consumer(world.group, stored).collect()
    }

    /// A consumer group goes on as a classic one, if it may: without those who have gone, with so many who come.
    fn go_back(&mut self, world: World<'_>, gone: &[String], coming: usize) -> Option<Vec<GroupRecord>> {
        let Members::Consumer(consumer) = &self.members else { return None };
        let left = consumer.len() - gone.len();
        if !world.migration.downgrade || left + coming > world.classic.members_max {
            return None;
        }
        let snapshot = downgraded(&consumer.describe(), gone, world.view)?;
        let mut records: Vec<_> = of_consumer(world.group, consumer.tombstones()).collect();
        let classic = ClassicGroup::restore(world.classic, snapshot, world.now_ms);
        let state = Some((classic.snapshot(), world.wall_ms));
        records.push(GroupRecord::Group { group: world.group.to_owned(), state });
        self.members = Members::Classic(classic);
        tracing::info!(group = world.group, "the group goes back to the classic protocol");
        Some(records)
    }
}

/// The consumer group that a classic one becomes with its first heartbeat. Nothing has changed if that is refused.
fn enter<T>(
    world: World<'_>,
    classic: &ClassicGroup<T>,
    beat: Heartbeat,
) -> Outcome<(ConsumerGroup, Vec<GroupRecord>, Beat)> {
    if beat.member_epoch != 0 {
        return Err(CoordinatorError::NoSuchGroup);
    }
    let mut consumer = ConsumerGroup::new(world.consumer);
    let mut records = Vec::new();
    if !classic.is_fresh() {
        records.push(GroupRecord::Group { group: world.group.to_owned(), state: None });
    }
    if classic.state() != State::Empty {
        let snapshot = classic.snapshot_of_all_protocols();
        let has_room = snapshot.members.len() <= world.consumer.members_max;
        let stored = upgraded(&snapshot, world.view).filter(|_| world.migration.upgrade && has_room);
        let stored = stored.ok_or(CoordinatorError::OtherProtocol)?;
        stored.iter().for_each(|stored| consumer.replay(stored.clone(), world.now_ms));
        records.extend(of_consumer(world.group, stored));
        tracing::info!(group = world.group, "the group goes over to the consumer protocol");
    }
    let (answer, stored) = consumer.heartbeat(world.now_ms, world.view, beat)?;
    records.extend(of_consumer(world.group, stored));
    Ok((consumer, records, answer))
}
