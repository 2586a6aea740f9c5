//! One thread's epoll: edge-triggered sockets and waits with nanosecond resolution.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::clock::{Nanos, SECOND};

/// Most events taken at a time.
const EVENTS_MAX: usize = 256;

/// An epoll instance of one thread.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poller").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

impl Poller {
    /// For the calling thread, whose timer slack it lowers: the kernel's default of 50 us would make every
    /// open-loop send that late.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new() -> io::Result<Self> {
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Reports `socket` as `token` whenever it becomes readable or writable. Closing it ends that.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn add(&self, socket: impl AsFd, token: usize) -> io::Result<()> {
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(token as u64), flags)?)
    }

    /// Waits until a socket is ready, or for `timeout`, and calls `ready(token)` for each.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&mut self, timeout: Nanos, mut ready: impl FnMut(usize)) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout / SECOND).unwrap_or(i64::MAX),
            tv_nsec: (timeout % SECOND) as _,
        };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.events.iter().for_each(|event| ready(event.data.u64() as usize));
        Ok(())
    }
}
