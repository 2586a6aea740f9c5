//! One pinned executor per core, and the task queues that share it.

use std::{
    cell::OnceCell,
    future::Future,
    io,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use glommio::{
    CpuSet, ExecutorJoinHandle, Latency, LocalExecutorBuilder, Placement, PoolPlacement, Shares,
    TaskQueueHandle,
};

use super::{
    clock::{Clock, start},
    direct::DirectDisk,
    disk::{Disk, DiskFuture},
    doorbell::Doorbell,
    ring::{DiskBounds, Ring, RingOptions},
};

/// glommio's own registered memory per core; hot I/O does not use it.
const GLOMMIO_IO_MEMORY_BYTES: usize = 64 << 10;
/// Entries of glommio's own rings; they carry timers and the park of the driver.
const GLOMMIO_RING_ENTRIES: usize = 64;
/// Threads for calls that block: one may wait for a computation (`idle.rs`), files are opened by the other.
const BLOCKING_THREADS: usize = 2;
/// Far away: the driver gives way by itself (`ring.rs`, `let_reactor_turn`).
const PREEMPT_TIMER: Duration = Duration::from_secs(3600);

/// Which share of the core a task gets. More important ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// The driver, connections, appends, the journal.
    Foreground,
    /// Settling, checkpoints, removal of files.
    Housekeeping,
}

struct Queues {
    foreground: TaskQueueHandle,
    housekeeping: TaskQueueHandle,
}

thread_local! {
    static QUEUES: OnceCell<Queues> = const { OnceCell::new() };
}

/// A core's thread.
pub struct Core(ExecutorJoinHandle<()>);

/// Weights of the queues where they compete for their core: 1 to 1000 each.
#[derive(Debug, Clone, Copy)]
pub struct QueueShares {
    /// Of [`Queue::Foreground`].
    pub foreground: usize,
    /// Of [`Queue::Housekeeping`].
    pub housekeeping: usize,
}

impl Default for QueueShares {
    fn default() -> Self {
        Self { foreground: 1000, housekeeping: 100 }
    }
}

impl Core {
    /// Starts a thread pinned to `cpu` and runs what `start` makes there, in the foreground queue.
    ///
    /// # Errors
    /// The thread, the pinning or glommio's rings are refused.
    pub fn start<F>(cpu: usize, name: &str, start: impl FnOnce() -> F + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = ()> + 'static,
    {
        Self::start_with(cpu, name, QueueShares::default(), start)
    }

    /// As [`Core::start`], with these weights of its queues.
    ///
    /// # Errors
    /// As [`Core::start`].
    pub fn start_with<F>(
        cpu: usize,
        name: &str,
        shares: QueueShares,
        start: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = ()> + 'static,
    {
        let own = CpuSet::online().map_err(io::Error::from)?.filter(|one| one.cpu == cpu);
        let thread = LocalExecutorBuilder::new(Placement::Fixed(cpu))
            .name(name)
            .io_memory(GLOMMIO_IO_MEMORY_BYTES)
            .ring_depth(GLOMMIO_RING_ENTRIES)
            .preempt_timer(PREEMPT_TIMER)
            .blocking_thread_pool_placement(PoolPlacement::Custom(vec![own; BLOCKING_THREADS]))
            .spawn(move || async move {
                QUEUES.with(|queues| {
                    let executor = glommio::executor();
                    let made = queues.set(Queues {
                        foreground: executor.create_task_queue(
                            Shares::Static(shares.foreground),
                            Latency::NotImportant,
                            "foreground",
                        ),
                        housekeeping: executor.create_task_queue(
                            Shares::Static(shares.housekeeping),
                            Latency::NotImportant,
                            "housekeeping",
                        ),
                    });
                    assert!(made.is_ok(), "one executor per thread");
                });
                run(Queue::Foreground, start()).await;
                super::direct::let_calls_return().await;
            })
            .map_err(io::Error::from)?;
        Ok(Self(thread))
    }

    /// Waits for the core's end.
    ///
    /// # Errors
    /// It has panicked.
    pub fn join(self) -> io::Result<()> {
        self.0.join().map_err(io::Error::from)
    }
}

fn handle(queue: Queue) -> TaskQueueHandle {
    QUEUES.with(|queues| {
        let queues = queues.get().expect("called on a core");
        match queue {
            Queue::Foreground => queues.foreground,
            Queue::Housekeeping => queues.housekeeping,
        }
    })
}

async fn run<T: 'static>(queue: Queue, future: impl Future<Output = T> + 'static) -> T {
    glommio::spawn_local_into(future, handle(queue)).expect("the queue lives as long as the core").await
}

/// Starts a task of this core that nobody waits for.
pub fn spawn(queue: Queue, future: impl Future<Output = ()> + 'static) {
    glommio::spawn_local_into(future, handle(queue)).expect("the queue lives as long as the core").detach();
}

/// The weights that this core's queues have.
#[must_use]
pub fn queue_shares() -> QueueShares {
    let shares = |queue| {
        let stats = glommio::executor().task_queue_stats(handle(queue));
        stats.map_or(0, |stats| stats.current_shares())
    };
    QueueShares { foreground: shares(Queue::Foreground), housekeeping: shares(Queue::Housekeeping) }
}

/// Waits. Late by less than half a millisecond while the core is busy.
pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// Lets the other tasks of this core run.
pub async fn yield_now() {
    glommio::executor().yield_now().await;
}

/// The CPUs this process may run on, ascending.
#[must_use]
pub fn allowed_cpus() -> Vec<usize> {
    rustix::thread::sched_getaffinity(None)
        .map(|set| (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
        .unwrap_or_else(|_| vec![0])
}

/// The core's clock. All cores count from the same moment.
pub struct CoreClock {
    start: Instant,
    ring: Option<Rc<Ring>>,
}

impl CoreClock {
    /// Counts from when the first one was made.
    #[must_use]
    pub fn new() -> Self {
        Self { start: start(), ring: None }
    }

    /// The clock of a core with this ring, whose driver takes the time of its turns.
    #[must_use]
    pub fn of(ring: Rc<Ring>) -> Self {
        Self { ring: Some(ring), ..Self::new() }
    }
}

impl Default for CoreClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for CoreClock {
    fn monotonic_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    fn turn_us(&self) -> u64 {
        let turned_us = self.ring.as_ref().and_then(|ring| ring.turned_us());
        turned_us.unwrap_or_else(|| self.monotonic_us())
    }

    fn wall_ms(&self) -> i64 {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since_1970.map_or(0, |since_1970| since_1970.as_millis() as i64)
    }

    fn sleep<'a>(&'a self, duration: Duration) -> DiskFuture<'a, ()> {
        Box::pin(sleep(duration))
    }
}

/// Runs one future on a core of its own, beside a disk, and waits for it: for the steps of the start
/// that come before or between those of the shards.
///
/// # Errors
/// The core or its ring cannot be made.
pub fn run_once<T, F>(cpu: usize, body: impl FnOnce(Rc<dyn Disk>) -> F + Send + 'static) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let options = RingOptions {
        entries: 8,
        receive_buffers: 1,
        receive_buffer_bytes: super::buffer::BLOCK,
        spin_max: Duration::ZERO,
        disk: DiskBounds::NONE,
    };
    run_once_with(cpu, options, body)
}

/// As [`run_once`], on such a ring.
///
/// # Errors
/// As [`run_once`].
pub fn run_once_with<T, F>(
    cpu: usize,
    options: RingOptions,
    body: impl FnOnce(Rc<dyn Disk>) -> F + Send + 'static,
) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let (sender, receiver) = std::sync::mpsc::channel();
    let core = Core::start(cpu, "start", move || async move {
        let ring = Doorbell::new().and_then(|doorbell| Ring::new(&options, Arc::new(doorbell)));
        let result = match ring {
            Ok(ring) => {
                spawn(Queue::Foreground, ring.clone().drive(|| 0, |_| {}));
                Ok(body(Rc::new(DirectDisk::new(ring))).await)
            }
            Err(error) => Err(error),
        };
        let _ = sender.send(result);
    })?;
    let result = receiver.recv();
    core.join()?;
    result.map_err(io::Error::other)?
}
