//! How a shard follows the cluster: opens the partitions that a view adds to its core, closes those that it
//! takes away, and only then serves by it.
//!
//! Views are applied one after the other, and of those that wait only the newest: it has all that the others
//! would bring. What is looked at is what has changed since the view applied last; topics that have not
//! changed are shared between views.

use std::{cell::RefCell, collections::HashSet, rc::Rc, sync::Arc};

use super::{Led, Shard};
use crate::{
    control::Applied,
    io::cores::{Queue, spawn},
    log::{LogError, LogId, RecoveredLog},
    model::{ClusterView, Offset, ShardId, TopicPartition, TopicView},
    partition::{Failure, Partition},
};

/// Views on their way into force. Control lets at most `PUBLICATIONS_MAX` wait.
#[derive(Default)]
pub(super) struct Views {
    waiting: RefCell<Vec<(Arc<ClusterView>, Applied)>>,
    applying: std::cell::Cell<bool>,
    /// The view that everything was opened by; none before the first, and after one that failed.
    opened: RefCell<Option<Arc<ClusterView>>>,
}

impl Shard {
    /// Opens what the cluster has at the start and recovery did not find.
    ///
    /// # Errors
    /// A log cannot be made.
    pub async fn open_first_view(self: &Rc<Self>) -> Result<(), String> {
        let view = self.view();
        self.follow(&view).await
    }

    /// Takes the next view, in the order of their epochs.
    pub(super) fn take_view(self: &Rc<Self>, view: Arc<ClusterView>, applied: Applied) {
        self.views.waiting.borrow_mut().push((view, applied));
        if !self.views.applying.replace(true) {
            let shard = self.clone();
            spawn(Queue::Foreground, async move { shard.apply_waiting().await });
        }
    }

    async fn apply_waiting(self: &Rc<Self>) {
        loop {
            let mut waiting = self.views.waiting.take();
            let Some(newest) = waiting.last().map(|(view, _)| view.clone()) else { break };
            let result = self.follow(&newest).await;
            if let Err(error) = &result {
                tracing::error!(shard = self.id.0, %error, "a change of the cluster could not be applied");
            }
            self.tell_guest_of_the_gone(&newest).await;
            *self.view.borrow_mut() = newest;
            waiting.drain(..).for_each(|(_, applied)| applied(result.clone()));
        }
        self.views.applying.set(false);
    }

    /// What is kept under the name of a topic is not for the next one of that name.
    async fn tell_guest_of_the_gone(&self, newest: &ClusterView) {
        let former = self.view();
        let is_gone =
            |topic: &&Arc<TopicView>| newest.topic(topic.name.as_str()).is_none_or(|now| now.id != topic.id);
        let names: Vec<_> =
            changed(Some(newest), &former).filter(is_gone).map(|topic| topic.name.clone()).collect();
        if let Some(guest) = self.guest.get()
            && !names.is_empty()
        {
            guest.clone().topics_gone(names).await;
        }
    }

    async fn follow(self: &Rc<Self>, view: &Arc<ClusterView>) -> Result<(), String> {
        let opened = self.views.opened.take();
        self.open_and_close(opened.as_deref(), view).await.map_err(|error| error.to_string())?;
        *self.views.opened.borrow_mut() = Some(view.clone());
        Ok(())
    }

    async fn open_and_close(
        self: &Rc<Self>,
        opened: Option<&ClusterView>,
        view: &ClusterView,
    ) -> Result<(), LogError> {
        let mut new = Vec::new();
        for topic in changed(opened, view) {
            for (id, epoch) in placed(topic, self.id) {
                match self.partition(id) {
                    Some(partition) => {
                        partition.update(epoch, topic.settings.clone());
                        self.store.update_settings(partition.log(), topic.settings.clone())?;
                    }
                    None => new.push((id, Led::new(topic, epoch))),
                }
            }
        }
        if !new.is_empty() {
            let wanted = new.iter().map(|(id, led)| (*id, led.settings.clone())).collect();
            let logs = self.store.create_logs(wanted).await?;
            for (log, (id, led)) in logs.into_iter().zip(new) {
                self.insert(&empty_log(log, id), led);
            }
        }
        for partition in self.gone(opened, view) {
            self.close_partition(partition);
        }
        Ok(())
    }

    /// Partitions that are here, and in this view are not.
    fn gone(&self, opened: Option<&ClusterView>, view: &ClusterView) -> Vec<Rc<Partition>> {
        let Some(opened) = opened else {
            let kept: HashSet<_> =
                view.topics().flat_map(|topic| placed(topic, self.id)).map(|(id, _)| id).collect();
            let partitions = self.partitions.borrow();
            return partitions.by_id.values().filter(|one| !kept.contains(&one.id())).cloned().collect();
        };
        let stays = |id: TopicPartition| {
            let placed = view.topic_by_id(id.topic).and_then(|topic| topic.partition(id.partition));
            placed.is_some_and(|placed| placed.shard == self.id)
        };
        let former = changed(Some(view), opened).flat_map(|topic| placed(topic, self.id));
        former.filter(|(id, _)| !stays(*id)).filter_map(|(id, _)| self.partition(id)).collect()
    }

    fn close_partition(&self, partition: Rc<Partition>) {
        let mut partitions = self.partitions.borrow_mut();
        partitions.by_id.remove(&partition.id());
        partitions.by_log.remove(&partition.log());
        drop(partitions);
        partition.failed(Failure::Gone);
        let store = self.store.clone();
        spawn(Queue::Housekeeping, async move {
            if let Err(error) = store.delete_log(partition.log()).await {
                tracing::error!(partition = %partition.id(), %error, "a deleted partition's files remain");
            }
        });
    }
}

/// The topics of a view that another one does not have exactly so.
fn changed<'a>(
    than: Option<&'a ClusterView>,
    view: &'a ClusterView,
) -> impl Iterator<Item = &'a Arc<TopicView>> + 'a {
    view.topics().filter(move |topic| {
        let other = than.and_then(|than| than.topic_by_id(topic.id));
        other.is_none_or(|other| !Arc::ptr_eq(other, topic))
    })
}

/// The partitions of a topic that live on a shard, and their leader epochs.
fn placed(
    topic: &TopicView,
    shard: ShardId,
) -> impl Iterator<Item = (TopicPartition, crate::model::LeaderEpoch)> + '_ {
    let here = topic.partitions.iter().filter(move |placed| placed.shard == shard);
    here.map(|placed| (TopicPartition { topic: topic.id, partition: placed.index }, placed.leader_epoch))
}

fn empty_log(log: LogId, partition: TopicPartition) -> RecoveredLog {
    RecoveredLog {
        log,
        partition,
        log_start_offset: Offset::ZERO,
        log_end_offset: Offset::ZERO,
        snapshot: Vec::new(),
        replayed: Vec::new(),
        quarantined: None,
    }
}
