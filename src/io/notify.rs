//! Waking tasks of the same thread when something has changed.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

/// Wakes every task that waits, at most one entry per waiting task. Not a queue: nothing is remembered
/// for those who come later, so a waiter checks its condition first, and the two lie in one turn:
///
/// ```text
/// while !condition() { notify.notified().await }
/// ```
#[derive(Default)]
pub struct Notify {
    calls: Cell<u64>,
    next_id: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, Waker>>,
}

impl Notify {
    /// Wakes everyone who waits now.
    pub fn notify(&self) {
        self.calls.set(self.calls.get() + 1);
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_values().for_each(Waker::wake);
    }

    /// Ready after the next [`Notify::notify`].
    pub fn notified(&self) -> Notified<'_> {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        Notified { notify: self, seen: self.calls.get(), id }
    }
}

/// See [`Notify::notified`].
pub struct Notified<'a> {
    notify: &'a Notify,
    seen: u64,
    id: u64,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.notify.calls.get() != self.seen {
            return Poll::Ready(());
        }
        self.notify.waiting.borrow_mut().insert(self.id, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        self.notify.waiting.borrow_mut().remove(&self.id);
    }
}
