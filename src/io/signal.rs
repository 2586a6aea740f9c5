//! A flag that one task waits for.

use std::{
    cell::{Cell, RefCell},
    task::{Poll, Waker},
};

/// Raised by anybody on the core, waited for by one task. It stays up until that task has seen it, so
/// that nothing is missed between a look at the state and the wait.
#[derive(Default)]
pub struct Signal {
    raised: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    /// Wakes the one who waits, now or when it next waits.
    pub fn raise(&self) {
        self.raised.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether it is up and has not been seen yet.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.raised.get()
    }

    /// Waits until it is up, and takes it down.
    pub async fn seen(&self) {
        std::future::poll_fn(|context| {
            if self.raised.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
