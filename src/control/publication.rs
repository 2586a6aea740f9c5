//! One published view on its way to all shards, and the reply that waits for them.

use std::sync::{Arc, Mutex};

use tokio::sync::OwnedSemaphorePermit;

use super::{AlterError, Applied, ControlReply, ReplyTo, TopicError};

/// Replies when its last holder lets go: every shard has called its [`Applied`], or dropped it.
pub(super) struct Publication {
    shards: usize,
    outcomes: Mutex<Outcomes>,
    /// Counts this publication among those not yet applied everywhere.
    _permit: OwnedSemaphorePermit,
}

struct Outcomes {
    applied: usize,
    failure: Option<String>,
    reply: Option<(ControlReply, ReplyTo)>,
}

impl Publication {
    pub(super) fn new(
        shards: usize,
        reply: ControlReply,
        reply_to: ReplyTo,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let outcomes = Outcomes { applied: 0, failure: None, reply: Some((reply, reply_to)) };
        Self { shards, outcomes: Mutex::new(outcomes), _permit: permit }
    }

    /// What one shard calls.
    pub(super) fn applied(self: &Arc<Self>) -> Applied {
        let publication = Arc::clone(self);
        Box::new(move |outcome| {
            // A panic elsewhere cannot leave the counts half changed: go on with them.
            let mut outcomes = publication.outcomes.lock().unwrap_or_else(|lock| lock.into_inner());
            match outcome {
                Ok(()) => outcomes.applied += 1,
                Err(reason) => outcomes.failure = Some(reason),
            }
        })
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        let outcomes = self.outcomes.get_mut().unwrap_or_else(|lock| lock.into_inner());
        let Some((mut reply, reply_to)) = outcomes.reply.take() else { return };
        if outcomes.applied < self.shards {
            let reason = outcomes.failure.take();
            let reason = reason.unwrap_or_else(|| "a shard has stopped".to_owned());
            tracing::error!(%reason, "a shard did not apply a change of the cluster's metadata");
            match &mut reply {
                ControlReply::Topics(results) => {
                    for result in results.iter_mut().filter(|result| result.is_ok()) {
                        *result = Err(TopicError::NotApplied(reason.clone()));
                    }
                }
                ControlReply::Altered(results) => {
                    for result in results.iter_mut().filter(|result| result.is_ok()) {
                        *result = Err(AlterError::NotApplied(reason.clone()));
                    }
                }
                ControlReply::ProducerIds(_) | ControlReply::Failed(_) => {}
            }
        }
        reply_to(reply);
    }
}
