//! Threads that compute while their core has nothing else to do, or beside it where it always has.
//!
//! They are pinned as their core's thread is. The first is of the class `SCHED_IDLE`: the kernel runs it when nothing
//! else wants the core, and takes the core from it the moment something does. A core that is busy all the time leaves
//! it less than a hundredth. So after a job that took too long, the next ones are done by a second thread that has a
//! share of a few hundredths whatever the core does: what is computed here may be late, but must not starve.

use std::{
    cell::RefCell,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Sender},
    },
    thread,
    time::{Duration, Instant},
};

type Job = Box<dyn FnOnce() + Send>;

/// A job is to take milliseconds: one that took this long on the idle thread has starved.
const PATIENCE: Duration = Duration::from_secs(1);
/// Jobs that the second thread does before the idle one is tried again.
const SHARED_JOBS: u32 = 32;
/// The second thread's nice value: a weight of 36 beside the 1024 of the core's thread.
const SHARED_NICE: i32 = 15;

/// How a thread gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Idle,
    Shared,
}

/// The threads, each started with its first job; they end with their owner, after the job they are at.
#[derive(Default)]
pub(super) struct IdleThreads {
    idle: RefCell<Option<Sender<Job>>>,
    shared: RefCell<Option<Sender<Job>>>,
    left_to_shared: Arc<AtomicU32>,
}

impl IdleThreads {
    /// A closure that has `work` done on one of the threads and returns once it is: for where blocking is allowed.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn doing(&self, work: Job) -> io::Result<impl FnOnce() -> io::Result<()> + Send + use<>> {
        let left = self.left_to_shared.clone();
        let class = if left.load(Ordering::Relaxed) > 0 { Class::Shared } else { Class::Idle };
        let jobs = match class {
            Class::Idle => &self.idle,
            Class::Shared => &self.shared,
        };
        let mut jobs = jobs.borrow_mut();
        let jobs = match &*jobs {
            Some(jobs) => jobs.clone(),
            None => jobs.insert(start(class)?).clone(),
        };
        Ok(move || {
            let (done, is_done) = mpsc::channel();
            let began = Instant::now();
            let job = Box::new(move || {
                work();
                let _ = done.send(());
            });
            let gone = || io::Error::other("the thread for computations has ended");
            jobs.send(job).map_err(|_| gone())?;
            is_done.recv().map_err(|_| gone())?;
            left.store(left_after(class, left.load(Ordering::Relaxed), began.elapsed()), Ordering::Relaxed);
            Ok(())
        })
    }
}

/// How many of the next jobs are the second thread's, after one that took so long.
const fn left_after(class: Class, left: u32, took: Duration) -> u32 {
    match class {
        Class::Idle if took.as_nanos() >= PATIENCE.as_nanos() => SHARED_JOBS,
        Class::Idle => left,
        Class::Shared => left.saturating_sub(1),
    }
}

fn start(class: Class) -> io::Result<Sender<Job>> {
    let (jobs, received) = mpsc::channel::<Job>();
    let name = match class {
        Class::Idle => "corelane-idle",
        Class::Shared => "corelane-late",
    };
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let given_way = match class {
            Class::Idle => become_idle(),
            Class::Shared => rustix::process::setpriority_process(None, SHARED_NICE).map_err(io::Error::from),
        };
        if let Err(error) = given_way {
            tracing::warn!(%error, "computations beside the core get a full share of it");
        }
        while let Ok(job) = received.recv() {
            job();
        }
    })?;
    Ok(jobs)
}

/// Puts the calling thread into the class that runs only when nothing else wants its core.
fn become_idle() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameters` lives through the call, which only reads it; 0 names the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI32;

    use super::*;

    /// The class and the nice value of the thread that does a job.
    fn place(threads: &IdleThreads) -> (i32, i32) {
        let (class, nice) = (Arc::new(AtomicI32::new(-1)), Arc::new(AtomicI32::new(-1)));
        let (their_class, their_nice) = (class.clone(), nice.clone());
        let job = move || {
            // SAFETY: takes no pointer; 0 names the calling thread.
            their_class.store(unsafe { libc::sched_getscheduler(0) }, Ordering::Relaxed);
            let nice = rustix::process::getpriority_process(None).expect("its own");
            their_nice.store(nice, Ordering::Relaxed);
        };
        let wait = threads.doing(Box::new(job)).expect("a thread");
        thread::spawn(wait).join().expect("no panic").expect("done");
        (class.load(Ordering::Relaxed), nice.load(Ordering::Relaxed))
    }

    #[test]
    fn jobs_are_done_by_a_thread_that_gives_way_and_by_one_with_a_share_after_one_has_starved() {
        let threads = IdleThreads::default();
        assert_eq!(place(&threads).0, libc::SCHED_IDLE);
        threads.left_to_shared.store(left_after(Class::Idle, 0, PATIENCE), Ordering::Relaxed);
        for _ in 0..SHARED_JOBS {
            assert_eq!(place(&threads), (libc::SCHED_OTHER, SHARED_NICE));
        }
        assert_eq!(place(&threads).0, libc::SCHED_IDLE, "it is tried again");
        assert_eq!(left_after(Class::Idle, 0, PATIENCE / 2), 0);
    }
}
