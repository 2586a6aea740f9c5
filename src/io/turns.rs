//! A bounded number of operations at a time: the rest wait, in the order in which they came.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

/// Who may have an operation under way. Used by the tasks of one core only.
#[derive(Debug)]
pub(super) struct Turns {
    max: usize,
    taken: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
    waits: Cell<u64>,
}

#[derive(Debug, Default)]
struct Waiter {
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// The right to one operation; given back when dropped, which must not be before the kernel is done with it.
#[derive(Debug)]
pub(super) struct Turn(Rc<Turns>);

impl Turns {
    /// At most `max` at a time, at least one.
    pub(super) fn new(max: usize) -> Rc<Self> {
        let (taken, waiting, waits) = (Cell::new(0), RefCell::default(), Cell::new(0));
        Rc::new(Self { max: max.max(1), taken, waiting, waits })
    }

    /// Waits for a turn.
    pub(super) async fn turn(self: &Rc<Self>) -> Turn {
        if self.taken.get() < self.max {
            self.taken.set(self.taken.get() + 1);
            return Turn(self.clone());
        }
        self.waits.set(self.waits.get() + 1);
        let place = Place { of: self, waiter: Rc::default(), is_over: Cell::new(false) };
        self.waiting.borrow_mut().push_back(place.waiter.clone());
        poll_fn(|context| {
            if place.waiter.granted.get() {
                return Poll::Ready(());
            }
            *place.waiter.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        place.is_over.set(true);
        Turn(self.clone())
    }

    /// How often somebody had to wait.
    pub(super) fn waits(&self) -> u64 {
        self.waits.get()
    }

    /// Hands a turn on to whoever waits longest.
    fn give_back(&self) {
        let next = self.waiting.borrow_mut().pop_front();
        match next {
            Some(waiter) => {
                waiter.granted.set(true);
                let waker = waiter.waker.take();
                waker.into_iter().for_each(Waker::wake);
            }
            None => self.taken.set(self.taken.get() - 1),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// A place in the queue; whoever gives up leaves it, and what it was granted to the next.
struct Place<'a> {
    of: &'a Turns,
    waiter: Rc<Waiter>,
    is_over: Cell<bool>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_over.get() {
            return;
        }
        if self.waiter.granted.get() {
            self.of.give_back();
        } else {
            self.of.waiting.borrow_mut().retain(|other| !Rc::ptr_eq(other, &self.waiter));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn no_more_are_under_way_than_allowed_and_who_came_first_goes_first() {
        block_on(async {
            let turns = Turns::new(2);
            let (first, second) = (turns.turn().await, turns.turn().await);
            let (mut third, mut fourth) = (Box::pin(turns.turn()), Box::pin(turns.turn()));
            assert!(poll_once(&mut third).await.is_none() && poll_once(&mut fourth).await.is_none());
            drop(first);
            assert!(poll_once(&mut fourth).await.is_none(), "the third came before");
            let third = poll_once(&mut third).await.expect("its turn");
            drop((second, third));
            assert!(poll_once(&mut fourth).await.is_some());
            assert_eq!((turns.waits(), turns.taken.get()), (2, 0));
        });
    }

    #[test]
    fn who_gives_up_waiting_keeps_nobody_from_a_turn() {
        block_on(async {
            let turns = Turns::new(1);
            let first = turns.turn().await;
            let (mut gone, mut granted, mut last) =
                (Box::pin(turns.turn()), Box::pin(turns.turn()), Box::pin(turns.turn()));
            assert!(poll_once(&mut gone).await.is_none());
            assert!(poll_once(&mut granted).await.is_none());
            assert!(poll_once(&mut last).await.is_none());
            drop(gone);
            drop(first);
            drop(granted);
            assert!(poll_once(&mut last).await.is_some());
            assert_eq!(turns.taken.get(), 0);
        });
    }
}
