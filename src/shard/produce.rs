//! Produce, in two stages: an ordered hand-over that fixes offsets, then completion.
//!
//! A hand-over happens in the call, or waits in the core's queue while storage is under pressure; the
//! queue keeps the order, and its memory is that of the requests' own budget.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    rc::Rc,
};

use crate::{
    io::cores::{Queue, spawn},
    model::ShardId,
    partition::{
        AppendError, Appended,
        waiters::{Gate, Opened},
    },
};

use super::{
    Shard,
    router::ShardCall,
    work::{Answer, ProduceWork, Work},
};

type Results = Vec<Result<Appended, AppendError>>;

/// Hand-overs that wait for room, in order.
#[derive(Default)]
pub struct ProduceQueue {
    waiting: RefCell<VecDeque<Rc<Job>>>,
    pumping: Cell<bool>,
}

struct Job {
    work: RefCell<ProduceWork>,
    results: RefCell<Results>,
    gate: Rc<Gate>,
}

/// A produce that was handed over to the owner of its partitions.
pub enum HandedOver {
    /// To this core.
    Here(ProduceDone),
    /// To another; its answer.
    Elsewhere(ShardCall),
}

impl HandedOver {
    /// Waits until every batch is as safe as was asked for. One result per part, in order.
    pub async fn done(self) -> Results {
        match self {
            Self::Here(done) => done.await,
            Self::Elsewhere(call) => match call.await {
                Answer::Produce(results) => results,
                _ => panic!("another answer than that to a produce"),
            },
        }
    }
}

/// Waits for a hand-over on this core.
pub type ProduceDone = std::pin::Pin<Box<dyn Future<Output = Results>>>;

impl Shard {
    /// Hands batches to the core that owns them. When this returns, their place in the order of this
    /// core's produces is fixed.
    pub fn produce(self: &Rc<Self>, owner: ShardId, work: ProduceWork) -> HandedOver {
        if owner == self.id {
            return HandedOver::Here(self.hand_over(work));
        }
        HandedOver::Elsewhere(self.router.call(owner, Work::Produce(work), self.stamp()))
    }

    pub(super) async fn produce_here(self: &Rc<Self>, work: ProduceWork) -> Results {
        self.hand_over(work).await
    }

    pub(super) fn hand_over(self: &Rc<Self>, work: ProduceWork) -> ProduceDone {
        let gate = Rc::new(Gate::default());
        let results = RefCell::new(Vec::with_capacity(work.parts.len()));
        let job = Rc::new(Job { work: RefCell::new(work), results, gate });
        job.gate.add(); // closed until the hand-over itself
        if self.produces.waiting.borrow().is_empty() && !self.store.under_pressure() {
            self.append_all(&job);
        } else {
            self.produces.waiting.borrow_mut().push_back(job.clone());
            self.pump();
        }
        let shard = self.clone();
        Box::pin(async move {
            Opened(job.gate.clone()).await;
            shard.results_of(&job)
        })
    }

    /// Appends what waits, as room comes.
    fn pump(self: &Rc<Self>) {
        if self.produces.pumping.replace(true) {
            return;
        }
        let shard = self.clone();
        spawn(Queue::Foreground, async move {
            loop {
                shard.store.wait_for_room().await;
                let Some(job) = shard.produces.waiting.borrow_mut().pop_front() else { break };
                shard.append_all(&job);
            }
            shard.produces.pumping.set(false);
        });
    }

    fn append_all(&self, job: &Job) {
        let work = job.work.borrow();
        let mut results = job.results.borrow_mut();
        for part in &work.parts {
            results.push(match self.partition(part.partition) {
                Some(partition) => {
                    partition.append(&part.batch, &part.sound, work.acks, &job.gate, work.now_ms)
                }
                None => Err(AppendError::NotLeader),
            });
        }
        drop(results);
        job.gate.done();
    }

    /// The results, once the gate is open; a partition that failed meanwhile has kept no promise.
    fn results_of(&self, job: &Job) -> Results {
        let work = job.work.borrow();
        let mut results = job.results.take();
        for (part, result) in work.parts.iter().zip(&mut results) {
            if result.is_ok() {
                match self.partition(part.partition).map(|partition| partition.failure()) {
                    Some(None) => {}
                    Some(Some(error)) => *result = Err(error.into()),
                    None => *result = Err(AppendError::NotLeader),
                }
            }
        }
        results
    }
}
