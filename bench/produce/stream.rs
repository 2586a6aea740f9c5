//! One stream: an ordered sequence of records to one partition, as a state machine without sockets or clock.
//!
//! A refusal that says "nothing was appended" (a moved leader, a topic not known yet) makes the stream wait
//! for its other requests and then go back to the first refused record, so that nothing is lost or reordered.
//! If a later request was accepted meanwhile, going back would reorder: the refused records are given up and
//! counted. A request whose outcome is unknown is never sent again.

use crate::clock::Nanos;
use crate::produce::plan::{Plan, Seat};

/// The next step of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A batch may leave now.
    Ready,
    /// A batch is complete at that time.
    At(Nanos),
    /// Nothing before an answer arrives.
    Waits,
    /// All records have been sent.
    Finished,
}

/// The state of a stream.
#[derive(Debug)]
pub struct Stream {
    /// Its place in the run.
    pub seat: Seat,
    next: u64,
    quota: u64,
    in_flight: u32,
    /// The first refused record to go back to, once nothing is in flight.
    go_back: Option<u64>,
    /// Records refused, to be given up should a later one be accepted.
    refused: u64,
    accepted_after_refusal: bool,
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
    /// With `quota` records to send.
    pub fn new(seat: Seat, quota: u64) -> Self {
        Self { seat, next: 0, quota, in_flight: 0, go_back: None, refused: 0, accepted_after_refusal: false }
    }

    /// When the next batch may leave.
    pub fn next_step(&self, plan: &Plan, now: Nanos) -> Next {
        if self.go_back.is_some() {
            return Next::Waits;
        }
        if self.next >= self.quota {
            return if self.in_flight > 0 { Next::Waits } else { Next::Finished };
        }
        let Some(schedule) = &plan.schedule else { return Next::Ready };
        let count = plan.fit(self.seat.partition, self.next, self.quota - self.next);
        let at = schedule.batch_ready(u64::from(self.seat.stream), self.next, u64::from(count), plan.linger);
        if at <= now { Next::Ready } else { Next::At(at) }
    }

    /// Takes the records of the next batch: first sequence and count; zero if none is due.
    pub fn take(&mut self, plan: &Plan, now: Nanos) -> (u64, u32) {
        let due = plan.schedule.as_ref().map_or(u64::MAX, |s| s.due(u64::from(self.seat.stream), now));
        let available = due.min(self.quota).saturating_sub(self.next);
        let count =
            if self.go_back.is_some() { 0 } else { plan.fit(self.seat.partition, self.next, available) };
        let first = self.next;
        self.next += u64::from(count);
        self.in_flight += u32::from(count > 0);
        (first, count)
    }

    /// A request was accepted.
    pub fn accepted(&mut self) -> Settled {
        self.accepted_after_refusal |= self.go_back.is_some();
        self.answered()
    }

    /// A request's outcome is an error after which its records are given up, or unknown.
    pub fn given_up(&mut self) -> Settled {
        self.answered()
    }

    /// A request was refused, and nothing of it was appended.
    pub fn refused(&mut self, first: u64, count: u32) -> Settled {
        self.go_back = Some(self.go_back.map_or(first, |earlier| earlier.min(first)));
        self.refused += u64::from(count);
        self.answered()
    }

    fn answered(&mut self) -> Settled {
        self.in_flight = self.in_flight.checked_sub(1).expect("an answer to nothing");
        let Some(first) = self.go_back.filter(|_| self.in_flight == 0) else { return Settled::Continue };
        let refused = std::mem::take(&mut self.refused);
        self.go_back = None;
        if std::mem::take(&mut self.accepted_after_refusal) {
            return Settled::GaveUp(refused);
        }
        self.next = first;
        Settled::SendAgain
    }

    /// Sends nothing more. Returns how many records were still to be sent.
    pub fn stop(&mut self) -> u64 {
        let left = self.quota.saturating_sub(self.next);
        self.quota = self.next;
        left
    }

    /// Requests without an answer.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Codec;
    use crate::clock::{Clock, SECOND};
    use crate::produce::plan::Source;
    use crate::schedule::Schedule;

    fn plan(rate: Option<u64>, linger: Nanos) -> Plan {
        Plan {
            clock: Clock::start(),
            topic: "t".into(),
            run: 1,
            source: Source::Synthetic(100),
            start: 0,
            schedule: rate.map(|rate| Schedule::new(0, rate, 1)),
            batch_bytes: 61 + 3 * 110,
            linger,
            acks: 1,
            codec: Codec::None,
            in_flight_max: 5,
            stop_at: None,
            reconnect: false,
        }
    }

    fn stream(quota: u64) -> Stream {
        Stream::new(Seat { stream: 0, partition: 0, slot: 0 }, quota)
    }

    #[test]
    fn a_closed_loop_sends_full_batches_until_the_quota() {
        let (plan, mut stream) = (plan(None, 0), stream(5));
        assert_eq!(stream.next_step(&plan, 0), Next::Ready);
        assert_eq!(stream.take(&plan, 0), (0, 3));
        assert_eq!(stream.take(&plan, 0), (3, 2));
        assert_eq!(stream.next_step(&plan, 0), Next::Waits);
        assert_eq!((stream.accepted(), stream.accepted()), (Settled::Continue, Settled::Continue));
        assert_eq!(stream.next_step(&plan, 0), Next::Finished);
    }

    #[test]
    fn an_open_loop_sends_what_is_due_however_late_it_is() {
        let (plan, mut stream) = (plan(Some(1000), 1_500_000), stream(100));
        assert_eq!(stream.next_step(&plan, 0), Next::At(1_500_000), "linger");
        assert_eq!(stream.take(&plan, 1_500_000), (0, 2));
        assert_eq!(stream.next_step(&plan, 1_500_000), Next::At(3_500_000));
        assert_eq!(stream.take(&plan, SECOND), (2, 3), "a late batch is a full one");
        assert_eq!(stream.next_step(&plan, SECOND), Next::Ready, "and the next is late too");
    }

    #[test]
    fn refused_records_are_sent_again_in_order() {
        let (plan, mut stream) = (plan(None, 0), stream(6));
        stream.take(&plan, 0);
        stream.take(&plan, 0);
        assert_eq!(stream.refused(0, 3), Settled::Continue);
        assert_eq!(stream.next_step(&plan, 0), Next::Waits, "the second request is still out");
        assert_eq!(stream.refused(3, 3), Settled::SendAgain);
        assert_eq!(stream.take(&plan, 0), (0, 3));
    }

    #[test]
    fn refused_records_are_given_up_when_a_later_one_was_accepted() {
        let (plan, mut stream) = (plan(None, 0), stream(9));
        stream.take(&plan, 0);
        stream.take(&plan, 0);
        stream.refused(0, 3);
        assert_eq!(stream.accepted(), Settled::GaveUp(3));
        assert_eq!(stream.take(&plan, 0), (6, 3));
    }
}
