//! Producer ids that one shard may hand out: a block from control at a time.

use std::{cell::Cell, ops::Range};

use super::ControlClient;
use crate::{
    control::{ControlFailure, ControlReply, ControlRequest},
    model::ProducerId,
};

/// What is left of this shard's block. Blocks never overlap and are never given twice; what a stop
/// leaves of one is lost.
#[derive(Debug, Default)]
pub struct ProducerIds {
    first: Cell<i64>,
    end: Cell<i64>,
}

impl ProducerIds {
    /// A producer id that nobody else has.
    ///
    /// # Errors
    /// [`ControlFailure`] if a new block was needed and control gave none.
    pub async fn next(&self, control: &dyn ControlClient) -> Result<ProducerId, ControlFailure> {
        if let Some(id) = self.take() {
            return Ok(id);
        }
        match control.call(ControlRequest::ReserveProducerIds).await {
            ControlReply::ProducerIds(block) => Ok(self.refill(block)),
            ControlReply::Failed(failure) => Err(failure),
            ControlReply::Topics(_) | ControlReply::Altered(_) => {
                panic!("control answered another request")
            }
        }
    }

    fn take(&self) -> Option<ProducerId> {
        let first = self.first.get();
        (first < self.end.get()).then(|| {
            self.first.set(first + 1);
            ProducerId::new(first)
        })
    }

    /// Takes the first of a new block. Two waiting requests bring two blocks; the later one stays.
    fn refill(&self, block: Range<i64>) -> ProducerId {
        assert!(!block.is_empty(), "a block holds producer ids");
        self.first.set(block.start + 1);
        self.end.set(block.end);
        ProducerId::new(block.start)
    }
}
