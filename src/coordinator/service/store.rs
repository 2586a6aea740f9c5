//! What groups keep is appended to their partition, and holds once it is durable.

use std::{future::Future, rc::Rc};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    super::{consumer::stored::Stored, group::Members, messages::CoordinatorError, records::GroupRecord},
    Coordinator,
};
use crate::{
    io::cores::{Queue, spawn},
    model::Offset,
    record::{self, BatchBuilder, Codec, Rules},
    shard::work::{ProducePart, ProduceWork},
};

/// Bytes of records that one batch holds at most; more are stored as several.
const BATCH_BYTES_MAX: usize = 512 << 10;

impl Coordinator {
    /// Stores a classic group's state as it is now, and tells it.
    pub(super) fn store_group(self: &Rc<Self>, id: &str, generation: i32) {
        let wall_ms = self.shard.clock().wall_ms();
        let record = {
            let mut groups = self.groups.borrow_mut();
            let Some(held) = groups.get_mut(id) else { return };
            let Members::Classic(classic) = &held.group.members else { return };
            let state = Some((classic.snapshot(), wall_ms));
            if held.group.has_no_members() {
                held.group.empty_since_ms = wall_ms;
            }
            GroupRecord::Group { group: id.to_owned(), state }
        };
        let (coordinator, id) = (self.clone(), id.to_owned());
        let stored = self.store(&id, &[record]);
        spawn(Queue::Foreground, async move {
            let ok = stored.await.is_ok();
            // The group may have gone, or over to the other protocol, which has stored itself since.
            let told = coordinator.turn(&id, |group, world| group.stored(world.now_ms, generation, ok));
            debug_assert!(told.is_none_or(|(records, ())| records.is_empty()), "told only");
        });
    }

    /// Appends records to the group's partition, now; the future says the offset once they are durable.
    pub(super) fn store(
        self: &Rc<Self>,
        group: &str,
        records: &[GroupRecord],
    ) -> impl Future<Output = Result<Offset, CoordinatorError>> + use<> {
        let produced = self.home(group).ok_or(CoordinatorError::NotCoordinator).and_then(|home| {
            let now_ms = self.shard.clock().wall_ms();
            let batches = batches_of(records, now_ms).ok_or(CoordinatorError::NotStored)?;
            let mut done = Vec::with_capacity(batches.len());
            for batch in batches {
                let topic = self.topic().ok_or(CoordinatorError::NotCoordinator)?;
                let rules = Rules::of_topic(&topic.settings, true);
                let sound = record::validate(&batch, &rules, now_ms).map_err(|refusal| {
                    tracing::error!(group, %refusal, "a group's records were refused");
                    CoordinatorError::NotStored
                })?;
                let part = ProducePart { partition: home, batch, sound };
                let work = ProduceWork { parts: vec![part], acks: crate::partition::Acks::All, now_ms };
                done.push(self.shard.produce(self.shard.id(), work));
            }
            Ok(done)
        });
        async move {
            let mut offset = Offset::ZERO;
            for done in produced? {
                match done.done().await.into_iter().next() {
                    Some(Ok(appended)) => offset = appended.base_offset,
                    _ => return Err(CoordinatorError::NotStored),
                }
            }
            Ok(offset)
        }
    }

    /// Stores what a turn said, now, and before it what could not be stored of earlier ones.
    ///
    /// If it cannot be stored it holds all the same, and is kept in mind until it is.
    pub(super) fn store_turn(
        self: &Rc<Self>,
        id: &str,
        mut records: Vec<GroupRecord>,
    ) -> impl Future<Output = Result<(), CoordinatorError>> + use<> {
        {
            let (view, mut groups) = (self.shard().view(), self.groups.borrow_mut());
            if let Some(held) = groups.get_mut(id).filter(|held| !held.unstored.is_empty()) {
                let mut all = std::mem::take(&mut held.unstored);
                all.append(&mut records);
                records = held.group.restated(self.world(id, &view), &all);
            }
        }
        let outcome = (!records.is_empty()).then(|| {
            let (coordinator, group) = (self.clone(), id.to_owned());
            let (stored, (tell, outcome)) = (self.store(id, &records), oneshot::channel());
            // Not the client's to break off: it may have gone before this is known.
            spawn(Queue::Foreground, async move {
                let stored = stored.await.map(|_| ());
                if stored.is_err() {
                    coordinator.keep_in_mind(group, records);
                }
                let _ = tell.send(stored);
            });
            outcome
        });
        async move {
            match outcome {
                Some(outcome) => outcome.await.unwrap_or(Err(CoordinatorError::NotStored)),
                None => Ok(()),
            }
        }
    }

    fn keep_in_mind(&self, group: String, mut unstored: Vec<GroupRecord>) {
        let wall_ms = self.shard.clock().wall_ms();
        let mut groups = self.groups.borrow_mut();
        groups.entry(group).or_insert_with(|| self.held(wall_ms)).unstored.append(&mut unstored);
    }

    /// Stores records, now, then lets the group have them.
    pub(super) fn store_and_apply(
        self: &Rc<Self>,
        group: &str,
        records: Vec<GroupRecord>,
    ) -> impl Future<Output = Result<(), CoordinatorError>> + use<> {
        let stored = self.store(group, &records);
        let (coordinator, group) = (self.clone(), group.to_owned());
        async move {
            let at = stored.await?;
            coordinator.apply(&group, records, at);
            Ok(())
        }
    }

    /// The group has what was stored at this offset.
    fn apply(&self, group: &str, records: Vec<GroupRecord>, at: Offset) {
        let view = self.shard.view();
        let world = self.world(group, &view);
        let mut groups = self.groups.borrow_mut();
        // What is durable counts, also if the group was nothing meanwhile.
        let held = groups.entry(group.to_owned()).or_insert_with(|| self.held(world.wall_ms));
        for record in records {
            match record {
                GroupRecord::Offset { partition, committed, .. } => {
                    let applied = held.applied_to.entry(partition.clone()).or_insert(Offset::ZERO);
                    if at >= *applied {
                        *applied = at;
                        held.group.offsets.set(partition, committed);
                    }
                }
                GroupRecord::Group { state: None, .. }
                | GroupRecord::Consumer { stored: Stored::Group(None), .. } => {
                    held.group.forget_members(world)
                }
                GroupRecord::Group { .. } | GroupRecord::Consumer { .. } => {}
            }
        }
        if held.is_nothing() {
            groups.remove(group);
        }
    }
}

/// Records as batches to be stored; `None` if one of them is too large for a batch.
fn batches_of(records: &[GroupRecord], now_ms: i64) -> Option<Vec<Bytes>> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(Codec::None);
    let finish = |builder: &mut BatchBuilder| {
        let mut out = Vec::new();
        builder.finish(&mut out).ok().map(|()| Bytes::from(out))
    };
    for record in records {
        let (key, value) = record.encode();
        if !builder.is_empty() && builder.estimated_bytes() + key.len() > BATCH_BYTES_MAX {
            batches.push(finish(&mut builder)?);
        }
        builder.push(now_ms, Some(&key), value.as_deref(), &[]);
    }
    batches.push(finish(&mut builder)?);
    Some(batches)
}
