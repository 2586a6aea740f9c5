//! Reading as a consumer group: each member reads what it is assigned, from the committed offsets, and commits.
//!
//! A member is a thread that speaks to the coordinator, and beside it one that reads. When the group deals anew, the
//! member stops reading, commits, joins again and goes on. Members that have read all they were assigned stay until
//! all have, so that their leaving does not move the others' partitions.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::reporter::Reporter;
use super::{Context, Outcome, Stop, consume};
use crate::args::{ConsumeArgs, Start};
use crate::client::admin::{Admin, Isolation, Topology};
use crate::client::group::{Member, Standing};
use crate::clock::{Clock, MILLISECOND, Nanos, SECOND};
use crate::consume::pace::Pace;
use crate::consume::partition::Partition;
use crate::consume::worker::{self, Positions, Task, Until};
use crate::pin::pin;
use crate::stats::{Event, Meter, Role};
use crate::verify::PartitionVerifier;

/// Time between heartbeats.
const BEAT: Nanos = SECOND;
/// How often a member looks whether something is to be done.
const LOOK: Duration = Duration::from_millis(20);

/// Members at work.
#[derive(Debug)]
pub struct Running {
    members: Vec<JoinHandle<Result<Outcome, String>>>,
}

impl Running {
    /// Waits for the members and takes down what they found.
    pub fn join(self, outcome: &mut Outcome) {
        for member in self.members {
            match member.join() {
                Ok(Ok(found)) => outcome.add(found),
                Ok(Err(problem)) => outcome.problems.push(problem),
                Err(_) => outcome.problems.push("a member's thread panicked".into()),
            }
        }
    }
}

/// What every member is given.
#[derive(Debug, Clone)]
struct Seat {
    clock: Clock,
    start: Nanos,
    admin: Admin,
    topology: Topology,
    group: String,
    /// Offsets to begin with where nothing is committed, and to end at.
    first: Arc<Vec<i64>>,
    end: Option<Arc<Vec<i64>>>,
    until: Until,
    stop: Stop,
    commit_every: Nanos,
    pace: Option<Pace>,
    isolation: Isolation,
    skips_deleted: bool,
    /// Members that still have something to read.
    busy: Arc<AtomicUsize>,
    /// To the reporter.
    events: mpsc::Sender<Event>,
    core: Option<usize>,
}

/// Starts the members.
///
/// # Errors
/// The cluster cannot be asked.
pub fn start(context: &mut Context, args: &ConsumeArgs, reporter: &mut Reporter) -> Result<Running, String> {
    let text = |e: crate::client::admin::AdminError| e.to_string();
    let common = context.common.clone();
    let topology = context.admin.topology(&common.topic, None).map_err(text)?;
    let first = context.admin.offsets(&topology, consume::EARLIEST).map_err(text)?;
    let end = context.admin.offsets_seen(&topology, consume::LATEST, args.isolation).map_err(text)?;
    let bounded = args.from == Start::Beginning && common.duration.is_none() && common.records.is_none();
    context.start = context.clock.now();
    let stop_at =
        common.duration.map(|d| context.start + Nanos::try_from(d.as_nanos()).unwrap_or(Nanos::MAX / 4));
    let (first, end) =
        (Arc::new(if args.from == Start::Beginning { first } else { end.clone() }), Arc::new(end));
    let mut seat = Seat {
        clock: context.clock,
        start: context.start,
        admin: context.admin.clone(),
        topology,
        group: args.group.clone().unwrap_or_default(),
        first,
        end: bounded.then_some(end),
        until: consume::until(context, stop_at),
        stop: Arc::clone(&context.stop),
        commit_every: args.commit_ms * MILLISECOND,
        pace: Pace::new(args.rate, context.start).map(|pace| pace.shared_by(u32::from(args.members))),
        isolation: args.isolation,
        skips_deleted: args.skip_deleted,
        busy: Arc::new(AtomicUsize::new(usize::from(args.members))),
        events: reporter.add_worker(Role::Consume),
        core: None,
    };
    let members = (0..args.members).map(|nth| {
        seat.core = context.pins.deal();
        if nth > 0 {
            reporter.add_worker(Role::Consume);
        }
        reporter.add_worker(Role::Commit);
        let seat = seat.clone();
        thread::spawn(move || {
            let mut busy = Busy::new(Arc::clone(&seat.busy));
            pin(seat.core).map_err(|e| e.to_string())?;
            seat.read_until_done(&mut busy)
        })
    });
    Ok(Running { members: members.collect() })
}

/// Whether a member still has something to read, counted among all of them.
#[derive(Debug)]
struct Busy {
    all: Arc<AtomicUsize>,
    is_busy: bool,
}

impl Busy {
    /// Of a member that `all` already counts.
    fn new(all: Arc<AtomicUsize>) -> Self {
        Self { all, is_busy: true }
    }

    fn set(&mut self, is_busy: bool) {
        match (self.is_busy, is_busy) {
            (true, false) => drop(self.all.fetch_sub(1, Ordering::Relaxed)),
            (false, true) => drop(self.all.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }
        self.is_busy = is_busy;
    }

    fn is_anybody(&self) -> bool {
        self.all.load(Ordering::Relaxed) > 0
    }
}

/// The others must not wait for a member that is gone, whatever it was doing.
impl Drop for Busy {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// What of `reached` is to be committed: all of it, if the group has anything else.
fn to_commit(reached: Vec<(i32, i64)>, has: &BTreeMap<i32, i64>) -> Option<Vec<(i32, i64)>> {
    let is_known = |(index, offset): &(i32, i64)| has.get(index) == Some(offset);
    (!reached.iter().all(is_known)).then_some(reached)
}

impl Seat {
    /// A member's whole life.
    fn read_until_done(self, busy: &mut Busy) -> Result<Outcome, String> {
        let mut outcome = Outcome::default();
        let mut commits = Meter::new(Role::Commit, self.start, self.events.clone());
        let count = u32::try_from(self.topology.leaders.len()).unwrap_or(u32::MAX);
        let text = |e: crate::client::admin::AdminError| format!("group {}: {e}", self.group);
        let mut member = Member::new(&self.admin, &self.group, &self.topology.topic).map_err(text)?;
        loop {
            let assigned = member.join(count).map_err(text)?;
            let committed = member.committed(&assigned).map_err(text)?;
            // What the group has, and not where reading begins: whatever is read is to be committed.
            let mut done: BTreeMap<i32, i64> = committed.iter().copied().collect();
            let partitions: Vec<_> =
                committed.into_iter().map(|(index, at)| self.partition(index, at)).collect();
            let positions = Arc::new(Positions::new(&partitions));
            let rebalance = Arc::new(AtomicBool::new(false));
            let reader = self.read(partitions, &positions, &rebalance);
            let (mut beat_at, mut commit_at) =
                (self.clock.now() + BEAT, self.clock.now() + self.commit_every);
            let mut standing = Standing::Stable;
            while standing == Standing::Stable && !self.is_over(&reader, busy) {
                let now = self.clock.now();
                commits.roll(now);
                if now >= commit_at {
                    commit_at = now + self.commit_every;
                    standing = self.commit(&mut member, &positions, &mut done, &mut commits).map_err(text)?;
                } else if now >= beat_at {
                    beat_at = now + BEAT;
                    standing = member.beat().map_err(text)?;
                } else {
                    thread::sleep(LOOK);
                }
            }
            rebalance.store(true, Ordering::Relaxed);
            match reader.join() {
                Ok(Ok(worker)) => consume::take(Role::Consume, worker, &mut outcome),
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err("a reading thread panicked".into()),
            }
            // Before the others go on from what is committed. Too late for that if the group has dealt already.
            self.commit(&mut member, &positions, &mut done, &mut commits).map_err(text)?;
            if standing == Standing::Stable {
                break;
            }
        }
        let now = self.clock.now();
        outcome.ended.insert(Role::Commit, now);
        commits.finish(now);
        // A coordinator that does not hear it notices by itself.
        let _ = member.leave();
        Ok(outcome)
    }

    /// Where a partition is read from: the committed offset, if there is one.
    fn partition(&self, index: i32, committed: i64) -> Partition {
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        let first = self.first.get(place).copied().unwrap_or(0);
        let start = if committed >= 0 { committed } else { first };
        let end = self.end.as_ref().and_then(|end| end.get(place)).copied();
        let verifier = PartitionVerifier::new(index, start, start == 0);
        Partition::new(index, start, end, verifier).seen(self.isolation)
    }

    fn read(
        &self,
        partitions: Vec<Partition>,
        positions: &Arc<Positions>,
        rebalance: &Arc<AtomicBool>,
    ) -> JoinHandle<std::io::Result<worker::Outcome>> {
        let until = Until { stop: Arc::clone(rebalance), ..self.until.clone() };
        let task = Task {
            clock: self.clock,
            partitions,
            slots: 1,
            topology: self.topology.clone(),
            admin: self.admin.clone(),
            until,
            pace: self.pace,
            isolation: self.isolation,
            skips_deleted: self.skips_deleted,
            positions: Some(Arc::clone(positions)),
        };
        let meter = Meter::join_at(Role::Consume, self.start, self.clock.now(), self.events.clone());
        let core = self.core;
        thread::spawn(move || {
            pin(core)?;
            worker::run(task, meter)
        })
    }

    /// Whether this member may end: it was told to, or nobody has anything left to read.
    fn is_over(&self, reader: &JoinHandle<std::io::Result<worker::Outcome>>, busy: &mut Busy) -> bool {
        busy.set(!reader.is_finished());
        self.stop.load(Ordering::Relaxed) || !busy.is_anybody()
    }

    /// Commits where reading has got to, if the group does not have it.
    fn commit(
        &self,
        member: &mut Member,
        positions: &Positions,
        done: &mut BTreeMap<i32, i64>,
        commits: &mut Meter,
    ) -> Result<Standing, crate::client::admin::AdminError> {
        let Some(all) = to_commit(positions.all(), done) else { return Ok(Standing::Stable) };
        let before = self.clock.now();
        let standing = member.commit(&all)?;
        let now = self.clock.now();
        if standing == Standing::Stable {
            done.extend(all);
            commits.roll(now);
            commits.counts.requests += 1;
            commits.counts.service.record(now - before, 1);
        }
        Ok(standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A member that has read everything before it first looks has committed none of it.
    #[test]
    fn what_the_group_does_not_have_is_committed_however_early_it_was_read() {
        let mut has = BTreeMap::from([(0, 7), (1, -1)]);
        assert_eq!(to_commit(vec![(0, 7), (1, 5)], &has), Some(vec![(0, 7), (1, 5)]));
        has.extend([(0, 7), (1, 5)]);
        assert_eq!(to_commit(vec![(1, 5), (0, 7)], &has), None, "whatever the order");
        assert_eq!(to_commit(vec![(0, 8), (1, 5)], &has), Some(vec![(0, 8), (1, 5)]));
        assert_eq!(to_commit(Vec::new(), &has), None, "a member without partitions");
    }

    #[test]
    fn a_member_that_has_read_all_and_then_fails_is_counted_out_once() {
        let all = Arc::new(AtomicUsize::new(2));
        let (mut one, other) = (Busy::new(Arc::clone(&all)), Busy::new(Arc::clone(&all)));
        one.set(false);
        drop(one);
        assert!(other.is_anybody(), "the other still reads");
        drop(other);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_member_that_is_dealt_more_is_busy_again() {
        let all = Arc::new(AtomicUsize::new(1));
        let mut one = Busy::new(Arc::clone(&all));
        one.set(false);
        one.set(false);
        assert!(!one.is_anybody());
        one.set(true);
        assert!(one.is_anybody());
    }
}
