//! What the clients of this core have moved, by topic: for whoever watches. One entry per topic of the cluster.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use crate::{
    io::cores,
    metrics::TopicCount,
    model::{ClusterView, IdMap, TopicId},
};

use super::Shard;

/// Partitions that are looked at before other tasks of the core get a turn.
const PARTITIONS_TOGETHER: usize = 500;

/// Counts by topic since the start.
#[derive(Default)]
pub struct Traffic(RefCell<IdMap<TopicId, TopicCount>>);

impl Traffic {
    /// A producer is told that a batch is in the log.
    pub fn produced(&self, topic: TopicId, bytes: u64, records: u64) {
        let mut topics = self.0.borrow_mut();
        let count = topics.entry(topic).or_default();
        count.bytes_in += bytes;
        count.records_in += records;
    }

    /// A consumer is sent batches.
    pub fn fetched(&self, topic: TopicId, bytes: u64) {
        self.0.borrow_mut().entry(topic).or_default().bytes_out += bytes;
    }

    /// The counts of topics that are there, without those that are not.
    fn of_topics(&self, view: &ClusterView) -> IdMap<TopicId, TopicCount> {
        let mut topics = self.0.borrow_mut();
        topics.retain(|id, _| view.topic_by_id(*id).is_some());
        topics.clone()
    }
}

impl Shard {
    /// What clients of this core have moved.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The topics that clients of this core have used or that have partitions here, with the sizes of the latter.
    pub async fn count_topics(self: &Rc<Self>) -> Vec<(Arc<str>, TopicCount)> {
        let view = self.view();
        let mut topics = self.traffic.of_topics(&view);
        let logs: Vec<_> =
            self.partitions.borrow().by_id.iter().map(|(id, one)| (id.topic, one.log())).collect();
        for (at, (topic, log)) in logs.into_iter().enumerate() {
            if at % PARTITIONS_TOGETHER == PARTITIONS_TOGETHER - 1 {
                cores::yield_now().await;
            }
            // A partition that has gone meanwhile has no size.
            topics.entry(topic).or_default().log_bytes += self.store.log_bytes(log).unwrap_or(0);
        }
        let named = |(id, count)| Some((Arc::from(view.topic_by_id(id)?.name.as_str()), count));
        topics.into_iter().filter_map(named).collect()
    }
}
