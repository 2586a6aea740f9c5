//! Fetches that wait for bytes, produces that wait for their bytes to be safe.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
};

use crate::{io::signal::Signal, model::Offset};

/// Opens once all that it counts has happened. One produce request has one, however many partitions.
#[derive(Default)]
pub struct Gate {
    outstanding: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl Gate {
    /// One more thing to wait for.
    pub fn add(&self) {
        self.outstanding.set(self.outstanding.get() + 1);
    }

    /// One of them has happened.
    pub fn done(&self) {
        let left = self.outstanding.get().checked_sub(1).expect("done once for each add");
        self.outstanding.set(left);
        if left == 0
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }
}

/// Waits until a gate is open.
pub struct Opened(pub Rc<Gate>);

impl Future for Opened {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0.outstanding.get() == 0 {
            return Poll::Ready(());
        }
        *self.0.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Produces of one partition that wait for an offset, in the order of their offsets.
#[derive(Default)]
pub struct ProduceWaiters {
    waiting: VecDeque<(Offset, Rc<Gate>)>,
}

impl ProduceWaiters {
    /// Opens `gate` once everything below `end` is safe.
    pub fn wait(&mut self, end: Offset, gate: Rc<Gate>) {
        gate.add();
        // Appends come in order; only the second try of a duplicate waits for an earlier offset.
        let place = self.waiting.iter().rposition(|(other, _)| *other <= end).map_or(0, |i| i + 1);
        self.waiting.insert(place, (end, gate));
    }

    /// Everything below `safe` is safe now.
    pub fn progressed(&mut self, safe: Offset) {
        while self.waiting.front().is_some_and(|(end, _)| *end <= safe) {
            if let Some((_, gate)) = self.waiting.pop_front() {
                gate.done();
            }
        }
    }

    /// Nothing more will become safe: all are let through, and find the partition failed.
    pub fn release_all(&mut self) {
        for (_, gate) in self.waiting.drain(..) {
            gate.done();
        }
    }
}

/// Fetches that wait for the high watermark of one partition to move.
#[derive(Default)]
pub struct FetchWaiters {
    waiting: Vec<Weak<Signal>>,
    sweep_at: usize,
}

impl FetchWaiters {
    /// Notifies `waiter` at the next move, if it still exists then.
    pub fn wait(&mut self, waiter: &Rc<Signal>) {
        // Those that gave up are dropped each time the list has doubled: at most twice the live ones.
        if self.waiting.len() >= self.sweep_at {
            self.waiting.retain(|waiter| waiter.strong_count() > 0);
            self.sweep_at = 8.max(2 * self.waiting.len());
        }
        self.waiting.push(Rc::downgrade(waiter));
    }

    /// Whether anybody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.iter().all(|waiter| waiter.strong_count() == 0)
    }

    /// Notifies all, once.
    pub fn notify(&mut self) {
        for waiter in self.waiting.drain(..) {
            if let Some(waiter) = waiter.upgrade() {
                waiter.raise();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_opens_when_every_partition_has_come_far_enough() {
        let (gate, mut one, mut two) =
            (Rc::new(Gate::default()), ProduceWaiters::default(), ProduceWaiters::default());
        one.wait(Offset::new(5), gate.clone());
        two.wait(Offset::new(9), gate.clone());
        one.wait(Offset::new(3), gate.clone());
        one.progressed(Offset::new(4));
        assert_eq!(gate.outstanding.get(), 2);
        one.progressed(Offset::new(5));
        two.release_all();
        assert_eq!(gate.outstanding.get(), 0);
    }

    #[test]
    fn waiters_that_gave_up_do_not_pile_up() {
        let mut waiters = FetchWaiters::default();
        let live = Rc::new(Signal::default());
        waiters.wait(&live);
        for _ in 0..1000 {
            waiters.wait(&Rc::new(Signal::default()));
        }
        assert!(waiters.waiting.len() <= 16, "{}", waiters.waiting.len());
        assert!(!waiters.is_empty());
        waiters.notify();
        assert!(live.is_raised());
    }
}
