//! The transactions of one producer, as a state machine without sockets or clock: what may be sent, and when the
//! coordinator is asked for what.
//!
//! | phase    | records leave       | ends when                                                |
//! |----------|---------------------|----------------------------------------------------------|
//! | idle     | the first begins it | a batch is taken                                         |
//! | open     | yes                 | it has its number of records, or lasts its time          |
//! | draining | none but lost ones  | every batch has its answer: EndTxn is sent               |
//! | ending   | no                  | EndTxn is answered: idle again, the next one's number on |
//!
//! Of old, a partition is added to a transaction by AddPartitionsToTxn before its first batch leaves; with
//! `transaction.version` 2 the broker adds it by itself when that batch arrives (KIP-890).
//!
//! Whether a transaction will be committed is decided before it begins, so that its records can say it themselves:
//! a reader of committed records knows one that should not have come.

use std::collections::BTreeSet;

use crate::clock::Nanos;
use crate::schedule::mix;

/// What a run's transactions are like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Records after which one ends.
    pub records_max: u64,
    /// Time after which one ends.
    pub duration: Option<Nanos>,
    /// Percent of them that are aborted.
    pub abort_percent: f64,
    /// Partitions are added by the broker (KIP-890).
    pub adds_by_itself: bool,
}

/// What the coordinator is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// To add partitions.
    Add(Vec<i32>),
    /// To end the transaction.
    End {
        /// For good, and not for nothing.
        commit: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Open,
    Draining,
    Ending,
}

/// A transaction that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Whether it was committed.
    pub committed: bool,
    /// Its records.
    pub records: u64,
    /// When its first record was meant to leave.
    pub began: Nanos,
}

/// The transactions of one producer.
#[derive(Debug)]
pub struct Transactions {
    rules: Rules,
    seed: u64,
    number: u64,
    phase: Phase,
    /// Partitions of this transaction, and those that want to be.
    added: BTreeSet<i32>,
    wanted: BTreeSet<i32>,
    records: u64,
    /// Batches without an answer.
    open_batches: u32,
    began: Nanos,
    /// When it ends by time.
    ends_at: Nanos,
    /// The coordinator has not answered.
    asked: bool,
    finishing: bool,
}

impl Transactions {
    /// Of a producer; `seed` decides which are aborted.
    pub fn new(rules: Rules, seed: u64) -> Self {
        Self {
            rules,
            seed,
            number: 0,
            phase: Phase::Idle,
            added: BTreeSet::new(),
            wanted: BTreeSet::new(),
            records: 0,
            open_batches: 0,
            began: 0,
            ends_at: Nanos::MAX,
            asked: false,
            finishing: false,
        }
    }

    /// Whether the transaction that is open, or else the next, will be aborted.
    pub fn is_doomed(&self) -> bool {
        let share = (mix(self.seed ^ mix(self.number)) >> 11) as f64 / (1u64 << 53) as f64;
        share * 100.0 < self.rules.abort_percent
    }

    /// Whether it takes records at all, or partitions.
    pub fn is_taking(&self) -> bool {
        !self.asked && matches!(self.phase, Phase::Idle | Phase::Open)
    }

    /// How many new records may leave to a partition. If it has to be added first, that is asked for.
    pub fn room(&mut self, partition: i32) -> u64 {
        match self.phase {
            Phase::Draining | Phase::Ending => 0,
            Phase::Idle | Phase::Open if self.rules.adds_by_itself || self.added.contains(&partition) => {
                self.rules.records_max.saturating_sub(self.records)
            }
            Phase::Idle | Phase::Open => {
                self.wanted.insert(partition);
                0
            }
        }
    }

    /// A batch of that many records leaves at `now`; its first was meant to at `intended`.
    pub fn took(&mut self, records: u64, intended: Nanos, now: Nanos) {
        assert!(matches!(self.phase, Phase::Idle | Phase::Open), "{:?}", self.phase);
        if self.phase == Phase::Idle {
            self.phase = Phase::Open;
            self.began = intended;
            self.ends_at = self.rules.duration.map_or(Nanos::MAX, |duration| now.saturating_add(duration));
        }
        self.records += records;
        self.open_batches += 1;
        if self.records >= self.rules.records_max {
            self.phase = Phase::Draining;
        }
    }

    /// A batch has been appended.
    pub fn appended(&mut self) {
        self.open_batches = self.open_batches.checked_sub(1).expect("an answer to nothing");
    }

    /// When the open one ends by time.
    pub fn ends_at(&self) -> Option<Nanos> {
        Some(self.ends_at).filter(|at| self.phase == Phase::Open && *at < Nanos::MAX)
    }

    /// It is `now`.
    pub fn expire(&mut self, now: Nanos) {
        if self.ends_at().is_some_and(|at| now >= at) {
            self.phase = Phase::Draining;
        }
    }

    /// No record will follow.
    pub fn finish(&mut self) {
        self.finishing = true;
        self.wanted.clear();
        if self.phase == Phase::Open {
            self.phase = Phase::Draining;
        }
    }

    /// Whether no record will follow and none is in a transaction.
    pub fn is_over(&self) -> bool {
        self.finishing && self.phase == Phase::Idle && !self.asked && self.added.is_empty()
    }

    /// What to ask the coordinator now; it then waits for [`added`](Self::added), [`ended`](Self::ended) or
    /// [`again`](Self::again).
    pub fn next_request(&mut self) -> Option<Request> {
        if self.asked {
            return None;
        }
        // Partitions were added for records that will not come.
        if self.finishing && self.phase == Phase::Idle && !self.added.is_empty() {
            self.phase = Phase::Draining;
        }
        let request = match self.phase {
            Phase::Draining if self.open_batches == 0 => {
                self.phase = Phase::Ending;
                Request::End { commit: !self.is_doomed() }
            }
            Phase::Idle | Phase::Open if !self.wanted.is_empty() => {
                Request::Add(self.wanted.iter().copied().collect())
            }
            _ => return None,
        };
        self.asked = true;
        Some(request)
    }

    /// The coordinator has added partitions.
    pub fn added(&mut self, partitions: &[i32]) {
        self.asked = false;
        self.added.extend(partitions);
        self.wanted.retain(|partition| !partitions.contains(partition));
    }

    /// The coordinator has ended the transaction.
    pub fn ended(&mut self) -> Ended {
        assert_eq!(self.phase, Phase::Ending);
        let ended = Ended { committed: !self.is_doomed(), records: self.records, began: self.began };
        self.number += 1;
        (self.phase, self.asked, self.records) = (Phase::Idle, false, 0);
        // What waits for its turn asks again.
        self.added.clear();
        self.wanted.clear();
        ended
    }

    /// The coordinator wants to be asked again.
    pub fn again(&mut self) {
        self.asked = false;
        if self.phase == Phase::Ending {
            self.phase = Phase::Draining;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(records_max: u64, adds_by_itself: bool) -> Rules {
        Rules { records_max, duration: None, abort_percent: 0.0, adds_by_itself }
    }

    #[test]
    fn a_transaction_ends_when_it_has_its_records_and_all_are_appended() {
        let mut one = Transactions::new(rules(5, true), 0);
        assert_eq!(one.room(0), 5);
        one.took(3, 7, 8);
        assert_eq!((one.room(1), one.next_request()), (2, None));
        one.took(2, 9, 9);
        assert_eq!((one.room(1), one.next_request()), (0, None), "two batches are out");
        one.appended();
        assert_eq!(one.next_request(), None);
        one.appended();
        assert_eq!(one.next_request(), Some(Request::End { commit: true }));
        assert_eq!((one.next_request(), one.room(0)), (None, 0), "until that is answered");
        assert_eq!(one.ended(), Ended { committed: true, records: 5, began: 7 });
        assert_eq!(one.room(0), 5);
    }

    #[test]
    fn partitions_are_added_before_their_first_batch_and_for_each_transaction_anew() {
        let mut one = Transactions::new(rules(2, false), 0);
        assert_eq!((one.room(4), one.room(2)), (0, 0));
        assert_eq!(one.next_request(), Some(Request::Add(vec![2, 4])));
        assert_eq!(one.room(9), 0, "asked for later");
        one.again();
        assert_eq!(one.next_request(), Some(Request::Add(vec![2, 4, 9])));
        one.added(&[2, 4, 9]);
        assert_eq!((one.room(4), one.next_request()), (2, None));
        one.took(2, 0, 0);
        one.appended();
        assert_eq!(one.next_request(), Some(Request::End { commit: true }));
        one.again();
        assert_eq!(one.next_request(), Some(Request::End { commit: true }), "as the coordinator wished");
        one.ended();
        assert_eq!((one.room(4), one.next_request()), (0, Some(Request::Add(vec![4]))));
    }

    #[test]
    fn a_transaction_lasts_its_time_from_its_first_record_on() {
        let mut one = Transactions::new(Rules { duration: Some(10), ..rules(u64::MAX, true) }, 0);
        one.expire(100);
        assert_eq!((one.ends_at(), one.next_request()), (None, None), "nothing has begun");
        one.took(1, 95, 100);
        assert_eq!(one.ends_at(), Some(110));
        one.appended();
        one.expire(109);
        assert_eq!(one.room(0), u64::MAX - 1);
        one.expire(110);
        assert_eq!((one.room(0), one.next_request()), (0, Some(Request::End { commit: true })));
    }

    #[test]
    fn the_last_one_is_ended_however_short_it_is() {
        let mut one = Transactions::new(rules(100, true), 0);
        one.took(1, 0, 0);
        one.finish();
        assert!(!one.is_over());
        one.appended();
        assert!(one.next_request().is_some() && !one.is_over());
        one.ended();
        assert!(one.is_over());
        let mut never = Transactions::new(rules(100, true), 0);
        never.finish();
        assert!(never.is_over() && never.next_request().is_none(), "none was begun");
    }

    #[test]
    fn partitions_that_were_added_for_nothing_are_not_left_in_a_transaction() {
        let mut one = Transactions::new(rules(100, false), 0);
        one.room(3);
        one.next_request();
        one.finish();
        assert!(!one.is_over(), "the coordinator has not answered");
        one.added(&[3]);
        assert!(matches!(one.next_request(), Some(Request::End { .. })));
        assert_eq!(one.ended().records, 0);
        assert!(one.is_over());
    }

    proptest! {
        #[test]
        fn as_many_are_aborted_as_is_asked_for(seed in any::<u64>(), percent in 0.0..100.0f64) {
            let mut one = Transactions::new(Rules { abort_percent: percent, ..rules(1, true) }, seed);
            let (mut aborted, total) = (0, 4000);
            for _ in 0..total {
                one.took(1, 0, 0);
                let doomed = one.is_doomed();
                one.appended();
                prop_assert_eq!(one.next_request(), Some(Request::End { commit: !doomed }));
                prop_assert_eq!(one.ended().committed, !doomed);
                aborted += u64::from(doomed);
            }
            // Five standard deviations of a share are less than 4 percent.
            prop_assert!((aborted as f64 / f64::from(total) * 100.0 - percent).abs() < 4.0, "{} of {}", aborted, total);
        }
    }
}
