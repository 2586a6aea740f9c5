//! A thread that computes while its core has nothing else to do.
//!
//! It is pinned as its core's thread is, and of the class `SCHED_IDLE`: the kernel runs it when nothing else
//! wants the core, and takes the core from it the moment something does. A core that is busy all the time
//! leaves it next to nothing.

use std::{
    cell::RefCell,
    io,
    sync::mpsc::{self, Sender},
    thread,
};

type Job = Box<dyn FnOnce() + Send>;

/// The thread, started with its first job; it ends with its owner, after the job it is at.
#[derive(Default)]
pub(super) struct IdleThread {
    jobs: RefCell<Option<Sender<Job>>>,
}

impl IdleThread {
    /// A closure that has `work` done on the thread and returns once it is: for where blocking is allowed.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn doing(&self, work: Job) -> io::Result<impl FnOnce() -> io::Result<()> + Send + use<>> {
        let mut jobs = self.jobs.borrow_mut();
        let jobs = match &*jobs {
            Some(jobs) => jobs.clone(),
            None => jobs.insert(start()?).clone(),
        };
        Ok(move || {
            let (done, is_done) = mpsc::channel();
            let job = Box::new(move || {
                work();
                let _ = done.send(());
            });
            let gone = || io::Error::other("the thread for computations has ended");
            jobs.send(job).map_err(|_| gone())?;
            is_done.recv().map_err(|_| gone())
        })
    }
}

fn start() -> io::Result<Sender<Job>> {
    let (jobs, received) = mpsc::channel::<Job>();
    thread::Builder::new().name("corelane-idle".to_owned()).spawn(move || {
        if let Err(error) = become_idle() {
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
    use std::sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    };

    use super::*;

    #[test]
    fn jobs_are_done_one_by_one_on_a_thread_that_gives_way() {
        let idle = IdleThread::default();
        let class = Arc::new(AtomicI32::new(-1));
        for _ in 0..2 {
            let theirs = class.clone();
            let job = move || {
                // SAFETY: takes no pointer; 0 names the calling thread.
                theirs.store(unsafe { libc::sched_getscheduler(0) }, Ordering::Relaxed);
            };
            let wait = idle.doing(Box::new(job)).expect("a thread");
            thread::spawn(wait).join().expect("no panic").expect("done");
            assert_eq!(class.swap(-1, Ordering::Relaxed), libc::SCHED_IDLE);
        }
    }
}
