//! The executor of a simulated run.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Wake, Waker},
};

use super::{SimDisk, world::World};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// One run of a process on a [`SimDisk`].
pub struct Sim {
    disk: SimDisk,
    tasks: RefCell<Vec<Option<Task>>>,
    ready: Arc<Mutex<Vec<usize>>>,
}

struct TaskWaker {
    task: usize,
    ready: Arc<Mutex<Vec<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(&self.task) {
            ready.push(self.task);
        }
    }
}

impl Sim {
    /// An executor without tasks.
    #[must_use]
    pub fn new(disk: &SimDisk) -> Self {
        Self { disk: disk.clone(), tasks: RefCell::default(), ready: Arc::default() }
    }

    /// Starts a task; it ends with the run.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(tasks.len());
        tasks.push(Some(Box::pin(task)));
    }

    /// Runs until `main` is done; `None` if the disk stopped the run before.
    ///
    /// # Panics
    /// If everyone waits for someone else.
    pub fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> Option<T> {
        let result = Rc::new(RefCell::new(None));
        let theirs = result.clone();
        self.spawn(async move { *theirs.borrow_mut() = Some(main.await) });
        loop {
            if let Some(result) = result.borrow_mut().take() {
                return Some(result);
            }
            if self.disk.stopped() {
                return None;
            }
            let next = {
                let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
                let count = ready.len() as u64;
                let chosen = self.disk.world.borrow_mut().random.below(count) as usize;
                (count > 0).then(|| ready.swap_remove(chosen))
            };
            match next {
                Some(task) => self.poll(task),
                None => self.pass_time(),
            }
        }
    }

    /// Drops every task, in the middle of whatever it does.
    pub fn end(&self) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
    }

    fn poll(&self, task: usize) {
        let Some(mut future) = self.tasks.borrow_mut()[task].take() else { return };
        let waker = Waker::from(Arc::new(TaskWaker { task, ready: self.ready.clone() }));
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.tasks.borrow_mut()[task] = Some(future);
        }
    }

    fn pass_time(&self) {
        let mut world = self.disk.world.borrow_mut();
        if world.under_way.is_empty() {
            let next = world.timers.iter().map(|timer| timer.0).min();
            world.now_us = next.unwrap_or_else(|| panic!("every task waits for another")).max(world.now_us);
        } else {
            drop(world);
            World::complete_one(&self.disk.world);
            world = self.disk.world.borrow_mut();
        }
        let now = world.now_us;
        let (due, later) = std::mem::take(&mut world.timers).into_iter().partition(|timer| timer.0 <= now);
        world.timers = later;
        drop(world);
        let due: Vec<(u64, Waker)> = due;
        due.into_iter().for_each(|timer| timer.1.wake());
    }
}
