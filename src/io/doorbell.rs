//! Wakes a parked core from another thread.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering, fence},
};

use rustix::event::{EventfdFlags, eventfd};

/// An eventfd and whether anybody needs it. The ring of the core signals the same descriptor, so that
/// a parked driver waits for one thing.
pub struct Doorbell {
    descriptor: OwnedFd,
    parked: AtomicBool,
}

impl Doorbell {
    /// A bell nobody waits for yet.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn new() -> io::Result<Self> {
        let descriptor = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { descriptor, parked: AtomicBool::new(false) })
    }

    /// Wakes the core if it is parked. Call it *after* the message is in its queue.
    pub fn ring(&self) {
        // Pairs with the fence in `set_parked`: either the core sees the message, or we see the flag.
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) {
            // Full (EAGAIN) means that it rings already.
            let _ = rustix::io::write(&self.descriptor, &1_u64.to_ne_bytes());
        }
    }

    pub(super) fn set_parked(&self, parked: bool) {
        self.parked.store(parked, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(super) fn clear(&self) {
        let _ = rustix::io::read(&self.descriptor, &mut [0; 8]);
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}
