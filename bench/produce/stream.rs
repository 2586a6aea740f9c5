//! One stream: an ordered sequence of records to one partition, as a state machine without sockets or clock.
//!
//! A refusal that says "nothing was appended" (a moved leader, a topic not known yet) makes the stream wait
//! for its other requests and then go back to the first refused record, so that nothing is lost or reordered.
//! If a later request was accepted meanwhile, going back would reorder: the refused records are given up and
//! counted. A request whose outcome is unknown is never sent again.
//!
//! The stream of an idempotent producer is another matter: the broker keeps its order and knows what it has, so
//! that whatever was refused, or lost with its connection, is sent again as it was (`again.rs`).

use std::collections::VecDeque;

use crate::clock::Nanos;
use crate::produce::again::Again;
use crate::produce::plan::{BatchValues, Plan, Seat, Times};
use crate::schedule::Arrivals;

/// The next step of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A batch may leave now.
    Ready,
    /// A batch is complete at that time.
    At(Nanos),
    /// Nothing before an answer arrives, or a record is dealt.
    Waits,
    /// All records have been sent.
    Finished,
}

/// A record that a producer made for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dealt {
    /// When it was meant to leave.
    pub intended: Nanos,
    /// Number of its key.
    pub key: Option<u64>,
}

/// Where a stream's records come from.
#[derive(Debug)]
pub enum Supply {
    /// There is always another one: closed loop.
    Endless,
    /// One at each time of a schedule, before `end`.
    Scheduled {
        /// The next record's.
        arrivals: Arrivals,
        /// The first moment at which none is due any more.
        end: Nanos,
    },
    /// A producer makes them one by one, for all its streams.
    Dealt(Backlog),
}

/// What a producer has dealt to a stream and no answer has settled.
#[derive(Debug, Default)]
pub struct Backlog {
    records: VecDeque<Dealt>,
    /// Sequence of the first of `records`.
    oldest: u64,
    /// Bytes that the records without a request take in a batch.
    waiting_bytes: usize,
    /// No more will come.
    closed: bool,
    /// What waits leaves with the next request, full batch or not.
    flush: bool,
}

/// The records of a request.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// Sequence of the first.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// Their times, if a schedule says them.
    pub arrivals: Option<Arrivals>,
    /// When they were sent first, if they are sent again.
    pub sent_before: Option<Nanos>,
    /// What the records say of themselves.
    pub named: Named,
}

/// As what the records of a batch present themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// Their transaction will be aborted.
    pub doomed: bool,
    /// How many of the stream's records of the same fate went before the first.
    pub sequence: u64,
}

/// The state of a stream.
#[derive(Debug)]
pub struct Stream {
    /// Its place in the run.
    pub seat: Seat,
    supply: Supply,
    next: u64,
    /// Records among those before `next` whose transactions are to be aborted.
    doomed: u64,
    quota: u64,
    in_flight: u32,
    /// The first refused record to go back to, once nothing is in flight.
    go_back: Option<Taken>,
    /// Records refused, to be given up should a later one be accepted.
    refused: u64,
    passed_refusal: bool,
    /// Of an idempotent producer, in place of the three before.
    again: Option<Again>,
}

/// What the last answer of a stream means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Go on.
    Continue,
    /// It has gone back: ask who leads, then send again after a pause.
    SendAgain,
    /// That many records were refused and cannot be sent again in order.
    GaveUp(u64),
}

impl Stream {
    /// With at most `quota` records to send.
    pub fn new(seat: Seat, quota: u64, supply: Supply) -> Self {
        Self {
            seat,
            supply,
            next: 0,
            doomed: 0,
            quota,
            in_flight: 0,
            go_back: None,
            refused: 0,
            passed_refusal: false,
            again: None,
        }
    }

    /// The same, of an idempotent producer.
    pub fn idempotent(mut self) -> Self {
        self.again = Some(Again::default());
        self
    }

    /// When the next batch may leave.
    pub fn next_step(&self, plan: &Plan, now: Nanos) -> Next {
        if self.waits() {
            return Next::Waits;
        }
        if self.unsettled_first().is_some() {
            return Next::Ready;
        }
        let at = match &self.supply {
            _ if self.is_exhausted() => {
                return if self.in_flight > 0 { Next::Waits } else { Next::Finished };
            }
            Supply::Endless => return Next::Ready,
            Supply::Scheduled { arrivals, .. } if plan.linger == 0 => arrivals.at(),
            Supply::Scheduled { arrivals, .. } => {
                let count = plan.fit(self.seat, self.next, self.quota - self.next);
                arrivals.batch_ready(u64::from(count), plan.linger)
            }
            Supply::Dealt(backlog) => {
                let Some(first) = backlog.records.get(self.place(backlog, self.next)) else {
                    return Next::Waits;
                };
                if backlog.closed || backlog.flush || backlog.waiting_bytes > plan.batch_room() {
                    return Next::Ready;
                }
                // A closed loop has no time to wait for: its producer fills the batch, or says to flush.
                if plan.schedule.is_none() {
                    return Next::Waits;
                }
                first.intended + plan.linger
            }
        };
        if at <= now { Next::Ready } else { Next::At(at) }
    }

    /// Whether nothing may leave before what is in flight has its answers.
    fn waits(&self) -> bool {
        self.go_back.is_some() || self.again.as_ref().is_some_and(Again::waits)
    }

    /// The first record that is to be sent again.
    fn unsettled_first(&self) -> Option<u64> {
        self.again.as_ref().and_then(Again::first)
    }

    fn is_exhausted(&self) -> bool {
        match &self.supply {
            _ if self.next >= self.quota => true,
            Supply::Endless => false,
            Supply::Scheduled { arrivals, end } => arrivals.at() >= *end,
            Supply::Dealt(backlog) => backlog.closed && self.waiting(backlog) == 0,
        }
    }

    fn place(&self, backlog: &Backlog, sequence: u64) -> usize {
        usize::try_from(sequence - backlog.oldest).unwrap_or(usize::MAX)
    }

    fn waiting(&self, backlog: &Backlog) -> u64 {
        backlog.oldest + backlog.records.len() as u64 - self.next
    }

    /// Takes the records of the next batch, if any is due.
    #[cfg(test)]
    pub fn take(&mut self, plan: &Plan, now: Nanos) -> Option<Taken> {
        self.take_up_to(plan, now, u64::MAX, false)
    }

    /// Takes the records of the next batch, if any is due; at most `limit` that have not been sent before, of a
    /// transaction that is `doomed` or not.
    pub fn take_up_to(&mut self, plan: &Plan, now: Nanos, limit: u64, doomed: bool) -> Option<Taken> {
        if self.waits() {
            return None;
        }
        if let Some(taken) = self.again.as_mut().and_then(Again::take) {
            self.in_flight += 1;
            return Some(taken);
        }
        let left = self.quota.saturating_sub(self.next).min(limit);
        if left == 0 {
            return None;
        }
        let sequence = if doomed { self.doomed } else { self.next - self.doomed };
        let named = Named { doomed, sequence };
        let mut taken = Taken { first: self.next, count: 0, arrivals: None, sent_before: None, named };
        taken.count = match &mut self.supply {
            Supply::Endless => plan.fit(self.seat, self.next, left),
            Supply::Scheduled { arrivals, end } => {
                taken.arrivals = Some(*arrivals);
                let is_due = |arrivals: &Arrivals| arrivals.at() <= now && arrivals.at() < *end;
                plan.fit_while(self.seat, self.next, left, || {
                    let due = is_due(arrivals);
                    if due {
                        arrivals.advance();
                    }
                    due
                })
            }
            Supply::Dealt(backlog) => {
                let waiting = backlog.oldest + backlog.records.len() as u64 - self.next;
                plan.fit(self.seat, self.next, left.min(waiting))
            }
        };
        if taken.count == 0 {
            return None;
        }
        self.next += u64::from(taken.count);
        self.doomed += if doomed { u64::from(taken.count) } else { 0 };
        self.in_flight += 1;
        self.measure(plan);
        Some(taken)
    }

    /// Takes the bytes of what waits down anew, after a batch was taken or given back.
    fn measure(&mut self, plan: &Plan) {
        let (seat, next) = (self.seat, self.next);
        let Supply::Dealt(backlog) = &mut self.supply else { return };
        let from = usize::try_from(next - backlog.oldest).unwrap_or(usize::MAX);
        let waiting = backlog.records.range(from..);
        backlog.waiting_bytes = (0u32..)
            .zip(waiting)
            .map(|(nth, dealt)| plan.record_bytes(seat, nth, next + u64::from(nth), dealt.key))
            .sum();
        backlog.flush &= backlog.waiting_bytes > 0;
    }

    /// A producer's next record for this stream. Returns the bytes that it adds to what waits.
    pub fn deal(&mut self, plan: &Plan, dealt: Dealt) -> usize {
        let (seat, next) = (self.seat, self.next);
        let Supply::Dealt(backlog) = &mut self.supply else { return 0 };
        let sequence = backlog.oldest + backlog.records.len() as u64;
        let nth = u32::try_from(sequence - next).unwrap_or(u32::MAX);
        let bytes = plan.record_bytes(seat, nth, sequence, dealt.key);
        backlog.waiting_bytes += bytes;
        backlog.records.push_back(dealt);
        bytes
    }

    /// Bytes dealt and not yet in a request.
    pub fn waiting_bytes(&self) -> usize {
        if let Supply::Dealt(backlog) = &self.supply { backlog.waiting_bytes } else { 0 }
    }

    /// Lets what waits leave without a full batch.
    pub fn flush(&mut self) {
        if let Supply::Dealt(backlog) = &mut self.supply {
            backlog.flush = backlog.waiting_bytes > 0;
        }
    }

    /// The producer will deal nothing more.
    pub fn close(&mut self) {
        if let Supply::Dealt(backlog) = &mut self.supply {
            backlog.closed = true;
        }
    }

    /// The values of a request; `times` is overwritten, `now` counts in a closed loop.
    pub fn values<'a>(
        &'a self,
        plan: &'a Plan,
        taken: &Taken,
        now: Nanos,
        times: &'a mut Vec<Nanos>,
    ) -> BatchValues<'a> {
        let now = taken.sent_before.unwrap_or(now);
        let times = match (&self.supply, taken.arrivals) {
            (Supply::Dealt(backlog), _) => Times::Dealt(&backlog.records, self.place(backlog, taken.first)),
            (_, None) => Times::All(now),
            (_, Some(arrivals)) => {
                times.clear();
                times.extend(arrivals.take(taken.count as usize));
                Times::Each(times)
            }
        };
        let Taken { first, count, named, .. } = *taken;
        BatchValues { plan, seat: self.seat, first, count, named, times }
    }

    /// Calls `each` with the intended times of a request's records; `sent_at` stands for them in a closed loop.
    /// Before the request is settled.
    pub fn for_each_time(&self, taken: &Taken, sent_at: Nanos, mut each: impl FnMut(Nanos, u64)) {
        match (&self.supply, taken.arrivals) {
            (Supply::Dealt(backlog), _) => {
                let from = self.place(backlog, taken.first.max(backlog.oldest));
                let records = backlog.records.range(from..).take(taken.count as usize);
                records.for_each(|dealt| each(dealt.intended, 1));
            }
            (_, None) => each(taken.sent_before.unwrap_or(sent_at), u64::from(taken.count)),
            (_, Some(arrivals)) => arrivals.take(taken.count as usize).for_each(|at| each(at, 1)),
        }
    }

    /// A request was accepted.
    pub fn accepted(&mut self, plan: &Plan, taken: &Taken) -> Settled {
        self.passed_refusal |= self.go_back.is_some();
        self.forget(taken.first + u64::from(taken.count));
        self.answered(plan)
    }

    /// A request's outcome is an error after which its records are given up, or unknown. They are not sent
    /// again, so neither are those that were refused before them.
    pub fn given_up(&mut self, plan: &Plan, taken: &Taken) -> Settled {
        self.accepted(plan, taken)
    }

    /// A request was refused, and nothing of it was appended.
    pub fn refused(&mut self, plan: &Plan, taken: &Taken, sent_at: Nanos) -> Settled {
        if self.again.is_some() {
            return self.lost(plan, taken, sent_at);
        }
        self.go_back.get_or_insert(*taken);
        self.refused += u64::from(taken.count);
        self.answered(plan)
    }

    /// The answer to a request of an idempotent producer is lost, and its records may have been appended or not.
    pub fn lost(&mut self, plan: &Plan, taken: &Taken, sent_at: Nanos) -> Settled {
        let again = self.again.as_mut().expect("only an idempotent producer may send twice");
        again.put(Taken { sent_before: taken.sent_before.or(Some(sent_at)), ..*taken });
        self.answered(plan)
    }

    /// Whether no earlier request is still to be settled. Answers come in order.
    pub fn is_oldest(&self, taken: &Taken) -> bool {
        self.unsettled_first().is_none_or(|first| taken.first <= first)
    }

    /// Records that were sent, and of which nobody knows whether they arrived.
    pub fn unsettled(&self) -> u64 {
        self.again.as_ref().map_or(0, Again::records)
    }

    /// Nobody asks for the times and keys of records before `sequence` any more.
    fn forget(&mut self, sequence: u64) {
        let sequence = self.unsettled_first().map_or(sequence, |first| first.min(sequence));
        if let Supply::Dealt(backlog) = &mut self.supply {
            while backlog.oldest < sequence {
                backlog.records.pop_front();
                backlog.oldest += 1;
            }
        }
    }

    fn answered(&mut self, plan: &Plan) -> Settled {
        self.in_flight = self.in_flight.checked_sub(1).expect("an answer to nothing");
        if self.in_flight > 0 {
            return Settled::Continue;
        }
        if let Some(again) = &mut self.again {
            return if again.release() { Settled::SendAgain } else { Settled::Continue };
        }
        let Some(first) = self.go_back.take() else { return Settled::Continue };
        let refused = std::mem::take(&mut self.refused);
        if std::mem::take(&mut self.passed_refusal) {
            self.forget(self.next);
            return Settled::GaveUp(refused);
        }
        self.next = first.first;
        if let (Supply::Scheduled { arrivals, .. }, Some(before)) = (&mut self.supply, first.arrivals) {
            *arrivals = before;
        }
        self.measure(plan);
        Settled::SendAgain
    }

    /// Sends nothing more. Returns how many records were due by `now` and have not left.
    pub fn stop(&mut self, now: Nanos) -> u64 {
        let left = self.quota.saturating_sub(self.next);
        self.quota = self.next;
        match &mut self.supply {
            Supply::Endless => 0,
            Supply::Scheduled { arrivals, end } => {
                let end = (*end).min(now);
                arrivals.take_while(|at| *at < end).take(usize::try_from(left).unwrap_or(usize::MAX)).count()
                    as u64
            }
            Supply::Dealt(backlog) => {
                backlog.closed = true;
                backlog.oldest + backlog.records.len() as u64 - self.next
            }
        }
    }

    /// Number of the next new record.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Requests without an answer.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }
}

#[cfg(test)]
mod tests;
