//! A core's memory for requests in flight: taken before a body is read, given back with the response.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::{Poll, Waker},
};

/// Bytes that all connections of a core share.
pub struct Budget {
    total: usize,
    free: Cell<usize>,
    /// Whoever asked first is served first, so that a large request is not starved by small ones.
    waiting: RefCell<VecDeque<(u64, Waker)>>,
    next_waiter: Cell<u64>,
}

/// A part of the budget; given back when dropped.
pub struct Permit {
    budget: Rc<Budget>,
    bytes: usize,
}

impl Budget {
    /// A budget of `total` bytes.
    #[must_use]
    pub fn new(total: usize) -> Rc<Self> {
        Rc::new(Self {
            total,
            free: Cell::new(total),
            waiting: RefCell::default(),
            next_waiter: Cell::new(0),
        })
    }

    /// All that can be taken.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// Bytes taken at the moment.
    #[must_use]
    pub fn used(&self) -> usize {
        self.total - self.free.get()
    }

    /// Takes `bytes`, once they are free; a request above the whole budget takes all of it.
    pub async fn take(self: &Rc<Self>, bytes: usize) -> Permit {
        let bytes = bytes.min(self.total);
        let mut place = Place { budget: self, waiter: None };
        std::future::poll_fn(|context| {
            let first = match (place.waiter, self.waiting.borrow().front()) {
                (_, None) => true,
                (Some(mine), Some((front, _))) => mine == *front,
                (None, Some(_)) => false,
            };
            if first && self.free.get() >= bytes {
                self.free.set(self.free.get() - bytes);
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            match place.waiter.and_then(|mine| waiting.iter_mut().find(|(other, _)| *other == mine)) {
                Some((_, waker)) => waker.clone_from(context.waker()),
                None => {
                    let mine = self.next_waiter.replace(self.next_waiter.get() + 1);
                    waiting.push_back((mine, context.waker().clone()));
                    place.waiter = Some(mine);
                }
            }
            Poll::Pending
        })
        .await;
        drop(place);
        Permit { budget: self.clone(), bytes }
    }

    fn wake_first(&self) {
        if let Some((_, waker)) = self.waiting.borrow().front() {
            waker.wake_by_ref();
        }
    }
}

/// A place in the queue; left when the wait ends, also by being dropped.
struct Place<'a> {
    budget: &'a Budget,
    waiter: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(mine) = self.waiter {
            self.budget.waiting.borrow_mut().retain(|(other, _)| *other != mine);
            self.budget.wake_first();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.free.set(self.budget.free.get() + self.bytes);
        self.budget.wake_first();
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn a_large_request_is_not_overtaken_by_small_ones_and_a_dropped_one_leaves_its_place() {
        block_on(async {
            let budget = Budget::new(100);
            let held = budget.take(60).await;
            let mut large = Box::pin(budget.take(80));
            assert!(poll_once(&mut large).await.is_none());
            let mut small = Box::pin(budget.take(10));
            assert!(poll_once(&mut small).await.is_none(), "overtaken");
            drop(large);
            let small = poll_once(&mut small).await.expect("the large one has left");
            assert_eq!(budget.used(), 70);
            drop((held, small));
            assert_eq!(budget.used(), 0);
            assert_eq!(budget.take(1000).await.bytes, 100);
        });
    }
}
