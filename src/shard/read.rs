//! Reads of partitions of this core, with the long poll.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use futures_lite::FutureExt;

use crate::{
    io::signal::Signal,
    log::ReadLimits,
    model::ShardId,
    partition::{ReadError, ReadOutcome},
};

use super::{
    Shard,
    router::ShardCall,
    work::{Answer, PartitionRead, ReadAnswer, ReadWork, Work},
};

/// Bytes that count against what a fetch waits for. A partition that has more than its limit lets out counts with
/// that limit, as in Kafka (`DelayedFetch`): whole batches may never add up to it.
fn counted(results: &[Result<ReadOutcome, ReadError>], reads: &[PartitionRead]) -> usize {
    let of = |(result, read): (&Result<ReadOutcome, ReadError>, &PartitionRead)| match result {
        Ok(outcome) if outcome.is_cut() => outcome.bytes().max(read.bytes_max),
        Ok(outcome) => outcome.bytes(),
        Err(_) => 0,
    };
    results.iter().zip(reads).map(of).sum()
}

impl Shard {
    /// Reads, and reads again as more comes, until there is enough, something is wrong, the time is
    /// over, or nobody waits any more.
    pub(super) async fn read_here(&self, work: &ReadWork, cancel: Option<Rc<Signal>>) -> ReadAnswer {
        let mut waited_us = 0;
        let deadline_ms = self.clock.monotonic_ms() + work.wait_max.as_millis() as u64;
        let waiter = Rc::new(Signal::default());
        let mut waiting = false;
        loop {
            if waiting {
                // Registered before the read, so that nothing that comes meanwhile is missed.
                for read in &work.reads {
                    if let Some(partition) = self.partition(read.partition) {
                        partition.wait_for_more(&waiter);
                    }
                }
            }
            let results = self.read_once(work).await;
            let bytes: usize = results.iter().flatten().map(ReadOutcome::bytes).sum();
            let left_ms = deadline_ms.saturating_sub(self.clock.monotonic_ms());
            let enough = bytes >= work.until_bytes || results.iter().any(Result::is_err);
            if enough
                || counted(&results, &work.reads) >= work.until_bytes
                || left_ms == 0
                || self.stopping.is_asked()
            {
                return ReadAnswer { results, waited_us };
            }
            if !waiting {
                waiting = true;
                continue;
            }
            let more = async {
                waiter.seen().await;
                true
            };
            let time_is_over = async {
                self.clock.sleep(Duration::from_millis(left_ms)).await;
                true
            };
            let cancelled = async {
                match &cancel {
                    Some(cancel) => cancel.seen().await,
                    None => std::future::pending().await,
                }
                false
            };
            let from_us = self.clock.monotonic_us();
            let goes_on = more.or(time_is_over).or(cancelled).await;
            waited_us += self.clock.monotonic_us() - from_us;
            if !goes_on {
                return ReadAnswer { results, waited_us };
            }
        }
    }

    async fn read_once(&self, work: &ReadWork) -> Vec<Result<ReadOutcome, ReadError>> {
        let mut left = work.limits;
        let mut found = false;
        let mut results = Vec::with_capacity(work.reads.len());
        for read in &work.reads {
            let result = self.read_partition(read, left, !found).await;
            if let Ok(outcome) = &result {
                let bytes = outcome.bytes();
                found |= bytes > 0;
                left.bytes_max = left.bytes_max.saturating_sub(bytes);
                left.memory_max = left.memory_max.saturating_sub(outcome.memory_bytes());
            }
            results.push(result);
        }
        results
    }

    async fn read_partition(
        &self,
        read: &PartitionRead,
        left: ReadLimits,
        at_least_one: bool,
    ) -> Result<ReadOutcome, ReadError> {
        let partition = self.partition(read.partition).ok_or(ReadError::NotLeader)?;
        partition.validate_epoch(read.leader_epoch)?;
        if let Some(error) = partition.failure() {
            return Err(error.into());
        }
        let limits = ReadLimits { bytes_max: read.bytes_max.min(left.bytes_max), ..left };
        partition.read(read.from, limits, at_least_one).await
    }
}

/// How long nobody had anything to do: while one core reads, the wait of another is not the client's.
fn waited_by_all(answers: &[ReadAnswer]) -> u64 {
    answers.iter().map(|answer| answer.waited_us).min().unwrap_or(0)
}

/// What one core reads.
type Reads = (ShardId, Vec<PartitionRead>);

impl Shard {
    /// Reads from any number of cores, each as `like` says, and waits for enough of all together.
    /// One answer per core, in the order of `cores`, and the microseconds that all of them waited.
    pub async fn read(self: &Rc<Self>, cores: Vec<Reads>, like: ReadWork) -> (Vec<ReadAnswer>, u64) {
        // One core waits by itself for the exact number of bytes.
        if cores.len() <= 1 {
            let answers = self.read_all(&cores, &like, &[like.until_bytes]).await;
            let waited_us = waited_by_all(&answers);
            return (answers, waited_us);
        }
        let deadline_ms = self.clock.monotonic_ms() + like.wait_max.as_millis() as u64;
        let mut round = ReadWork { wait_max: Duration::ZERO, ..like.clone() };
        let mut until = vec![0; cores.len()];
        let mut waited_us = 0;
        loop {
            let answers = self.read_all(&cores, &round, &until).await;
            waited_us += waited_by_all(&answers);
            let results = || answers.iter().flat_map(|answer| &answer.results);
            let bytes: usize = results().flatten().map(ReadOutcome::bytes).sum();
            let is_last = bytes >= like.until_bytes || results().any(Result::is_err);
            let left_ms = deadline_ms.saturating_sub(self.clock.monotonic_ms());
            if is_last || left_ms == 0 || self.stopping.is_asked() {
                return (answers, waited_us);
            }
            let counts: Vec<usize> =
                answers.iter().zip(&cores).map(|(of, (_, reads))| counted(&of.results, reads)).collect();
            if counts.iter().sum::<usize>() >= like.until_bytes {
                return (answers, waited_us);
            }
            // Whichever core has more than now ends the next round for all.
            until = counts.iter().map(|count| count + 1).collect();
            round.wait_max = Duration::from_millis(left_ms);
        }
    }

    /// One round: all cores read at once; the first to have enough hurries the others.
    async fn read_all(self: &Rc<Self>, cores: &[Reads], like: &ReadWork, until: &[usize]) -> Vec<ReadAnswer> {
        let cancel = Rc::new(Signal::default());
        let mut calls: Vec<_> = cores
            .iter()
            .zip(until)
            .map(|((owner, reads), &until_bytes)| {
                let work = ReadWork { reads: reads.clone(), until_bytes, ..like.clone() };
                self.start_read(*owner, work, &cancel)
            })
            .collect();
        let mut results: Vec<Option<ReadAnswer>> = calls.iter().map(|_| None).collect();
        let mut hurried = false;
        std::future::poll_fn(|context| {
            let mut left = 0;
            for (call, result) in calls.iter_mut().zip(&mut results) {
                if result.is_none() {
                    match call.poll(context) {
                        Poll::Ready(ready) => *result = Some(ready),
                        Poll::Pending => left += 1,
                    }
                }
            }
            if left == 0 {
                return Poll::Ready(());
            }
            if left < results.len() && !hurried {
                hurried = true;
                cancel.raise();
                calls
                    .iter()
                    .zip(&results)
                    .filter(|(_, result)| result.is_none())
                    .for_each(|(call, _)| call.hurry());
            }
            Poll::Pending
        })
        .await;
        results.into_iter().flatten().collect()
    }

    fn start_read(self: &Rc<Self>, owner: ShardId, work: ReadWork, cancel: &Rc<Signal>) -> Reading {
        if owner == self.id {
            let (shard, cancel) = (self.clone(), cancel.clone());
            return Reading::Here(Box::pin(async move { shard.read_here(&work, Some(cancel)).await }));
        }
        Reading::Elsewhere(self.router.call(owner, Work::Read(work), self.stamp()))
    }
}

/// A read under way.
enum Reading {
    Here(Pin<Box<dyn Future<Output = ReadAnswer>>>),
    Elsewhere(ShardCall),
}

impl Reading {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ReadAnswer> {
        match self {
            Self::Here(read) => read.as_mut().poll(context),
            Self::Elsewhere(call) => Pin::new(call).poll(context).map(|answer| match answer {
                Answer::Read(read) => read,
                _ => panic!("another answer than that to a read"),
            }),
        }
    }

    fn hurry(&self) {
        if let Self::Elsewhere(call) = self {
            call.hurry();
        }
    }
}
