//! Reading as a consumer group: each member reads what it is assigned, from the committed offsets, and commits.
//!
//! A member is a thread that speaks to the coordinator, and beside it one that reads. When the group deals anew, the
//! member stops reading, commits, joins again and goes on. Members that have read all they were assigned stay until
//! all have, so that their leaving does not move the others' partitions.

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
            pin(seat.core).map_err(|e| e.to_string())?;
            let busy = Arc::clone(&seat.busy);
            let found = seat.read_until_done();
            if found.is_err() {
                // The others must not wait for a member that is gone.
                busy.fetch_sub(1, Ordering::Relaxed);
            }
            found
        })
    });
    Ok(Running { members: members.collect() })
}

impl Seat {
    /// A member's whole life.
    fn read_until_done(self) -> Result<Outcome, String> {
        let mut outcome = Outcome::default();
        let mut commits = Meter::new(Role::Commit, self.start, self.events.clone());
        let count = u32::try_from(self.topology.leaders.len()).unwrap_or(u32::MAX);
        let text = |e: crate::client::admin::AdminError| format!("group {}: {e}", self.group);
        let mut member = Member::new(&self.admin, &self.group, &self.topology.topic).map_err(text)?;
        let mut was_busy = true;
        loop {
            let assigned = member.join(count).map_err(text)?;
            let committed = member.committed(&assigned).map_err(text)?;
            let partitions: Vec<_> =
                committed.into_iter().map(|(index, at)| self.partition(index, at)).collect();
            let positions = Arc::new(Positions::new(&partitions));
            let rebalance = Arc::new(AtomicBool::new(false));
            // Before anything is read: what is read before the first look is to be committed too.
            let mut done = positions.all();
            let reader = self.read(partitions, &positions, &rebalance);
            let (mut beat_at, mut commit_at) =
                (self.clock.now() + BEAT, self.clock.now() + self.commit_every);
            let mut standing = Standing::Stable;
            while standing == Standing::Stable && !self.is_over(&reader, &mut was_busy) {
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
        commits.finish(self.clock.now());
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
    fn is_over(&self, reader: &JoinHandle<std::io::Result<worker::Outcome>>, was_busy: &mut bool) -> bool {
        let is_busy = !reader.is_finished();
        match (*was_busy, is_busy) {
            (true, false) => drop(self.busy.fetch_sub(1, Ordering::Relaxed)),
            (false, true) => drop(self.busy.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }
        *was_busy = is_busy;
        self.stop.load(Ordering::Relaxed) || self.busy.load(Ordering::Relaxed) == 0
    }

    /// Commits what has been read since the last commit, if anything.
    fn commit(
        &self,
        member: &mut Member,
        positions: &Positions,
        done: &mut Vec<(i32, i64)>,
        commits: &mut Meter,
    ) -> Result<Standing, crate::client::admin::AdminError> {
        let all = positions.all();
        if all == *done {
            return Ok(Standing::Stable);
        }
        let before = self.clock.now();
        let standing = member.commit(&all)?;
        let now = self.clock.now();
        if standing == Standing::Stable {
            *done = all;
            commits.roll(now);
            commits.counts.requests += 1;
            commits.counts.service.record(now - before, 1);
        }
        Ok(standing)
    }
}
