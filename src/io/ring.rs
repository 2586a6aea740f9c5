//! One shard's ring: all hot I/O of a core, sockets and direct file I/O alike.
//!
//! The ring lives inside the core's glommio executor beside glommio's own rings, because glommio 0.9
//! knows no provided buffers, no RWF_DSYNC and no deferred task work. One task, [`Ring::drive`], polls
//! it: yield while there is work, spin a bounded while, then park on the ring's eventfd. While it is
//! parked nobody else submits, so an operation pushed then is submitted at once.
//!
//! An operation is a future ([`Operation`]) that owns what the kernel uses: buffers, addresses, the
//! socket. Dropping the future does not stop the kernel, so what it owned moves into the slot and lives
//! until the completion.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    io,
    ops::Deref,
    os::fd::{AsRawFd, FromRawFd},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use futures_lite::AsyncReadExt;
use io_uring::{IoUring, cqueue, squeue, types::BufRingEntry};

use super::{
    clock::start,
    doorbell::Doorbell,
    turns::{Turn, Turns},
};

/// Group number of the one pool of provided receive buffers.
pub(super) const RECEIVE_GROUP: u16 = 0;

/// A driver that has work lets glommio look at its timers and cold completions this often.
const REACTOR_EVERY: Duration = Duration::from_micros(200);

/// `IORING_ENTER_GETEVENTS`: run deferred work and fill the completion queue.
const ENTER_GETEVENTS: u32 = 1;

/// What a ring is made of.
#[derive(Debug, Clone)]
pub struct RingOptions {
    /// Submission queue entries; the completion queue has four times as many.
    pub entries: u32,
    /// Receive buffers that all connections of the core share; a power of two, at most 32,768.
    pub receive_buffers: u16,
    /// Bytes of one receive buffer: the largest request that is parsed where it landed.
    pub receive_buffer_bytes: usize,
    /// Longest spin before parking.
    pub spin_max: Duration,
    /// Reads and writes of files under way at once.
    pub disk: DiskBounds,
}

/// How many operations on files a core has under way at once. Writes of the journal are not among them: there is
/// one at a time, and clients wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskBounds {
    /// Reads, at least 1.
    pub reads_max: usize,
    /// Writes, at least 1.
    pub writes_max: usize,
}

impl DiskBounds {
    /// As many as are asked for.
    pub const NONE: Self = Self { reads_max: usize::MAX, writes_max: usize::MAX };
}

/// A core's ring. Used by the tasks of that core only.
pub struct Ring {
    uring: RefCell<IoUring>,
    slots: RefCell<Slots>,
    /// Pushed and not yet submitted.
    pushed: Cell<u32>,
    parked: Cell<bool>,
    doorbell: Arc<Doorbell>,
    buffers: ReceiveBuffers,
    buffer_waiters: RefCell<Vec<Waker>>,
    /// Counts the buffers that were given back.
    buffers_returned: Cell<u64>,
    spin_max: Duration,
    parks: Cell<u64>,
    /// Computations beside the core: see [`Beside`].
    beside: Rc<Cell<usize>>,
    turned_us: Cell<u64>,
    bulk: RefCell<BulkTurns>,
    reads: Rc<Turns>,
    writes: Rc<Turns>,
}

/// Large sends that one turn of the driver lets through: a few hundred microseconds of copying.
const BULK_SENDS_PER_TURN_MAX: usize = 4;

/// Who may do a large piece of work before the driver looks at the ring again.
#[derive(Default)]
struct BulkTurns {
    left: usize,
    /// Whoever asked first goes first; the flag says that it may.
    waiting: VecDeque<(Rc<Cell<bool>>, Waker)>,
}

#[derive(Default)]
struct Slots {
    states: Vec<Slot>,
    free: Vec<u32>,
}

enum Slot {
    Free,
    InFlight(Option<Waker>),
    Done(i32, u32),
    /// The future is gone; the kernel still uses this.
    Abandoned(#[allow(dead_code, reason = "held for its Drop")] Box<dyn Any>),
}

/// While one of these lives the driver parks at once instead of spinning: a spin gives the CPU to whoever wants it, and
/// gets it back from a thread that computes only milliseconds later, whereas a driver that wakes takes it at once.
pub(super) struct Beside(Rc<Cell<usize>>);

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn micros(at: Instant) -> u64 {
    at.saturating_duration_since(start()).as_micros() as u64
}

impl Ring {
    /// Sets a ring up for the calling thread.
    ///
    /// # Errors
    /// What the kernel refuses; `probe` says why in words.
    pub fn new(options: &RingOptions, doorbell: Arc<Doorbell>) -> io::Result<Rc<Self>> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(options.entries * 4)
            .build(options.entries)?;
        uring.submitter().register_eventfd(doorbell.as_raw_fd())?;
        let buffers = ReceiveBuffers::new(&uring, options)?;
        Ok(Rc::new(Self {
            uring: RefCell::new(uring),
            slots: RefCell::default(),
            pushed: Cell::new(0),
            parked: Cell::new(false),
            doorbell,
            buffers,
            buffer_waiters: RefCell::default(),
            buffers_returned: Cell::new(0),
            spin_max: options.spin_max,
            parks: Cell::new(0),
            beside: Rc::default(),
            turned_us: Cell::new(micros(Instant::now())),
            bulk: RefCell::default(),
            reads: Turns::new(options.disk.reads_max),
            writes: Turns::new(options.disk.writes_max),
        }))
    }

    /// When the driver has last looked for completed operations, or has woken to do so: as the core's clock counts.
    /// `None` while it is parked: what runs then was woken by something else, such as a timer.
    pub(super) fn turned_us(&self) -> Option<u64> {
        (!self.parked.get()).then(|| self.turned_us.get())
    }

    /// Something is computed on this CPU by a thread that gives way, for as long as the result lives.
    pub(super) fn computes_beside(&self) -> Beside {
        self.beside.set(self.beside.get() + 1);
        Beside(self.beside.clone())
    }

    /// How often the driver has parked.
    #[must_use]
    pub fn parks(&self) -> u64 {
        self.parks.get()
    }

    /// Entries of its submission queue.
    #[must_use]
    pub fn entries(&self) -> u32 {
        self.uring.borrow().params().sq_entries()
    }

    /// How often a read and a write of a file had to wait for others.
    #[must_use]
    pub fn disk_waits(&self) -> (u64, u64) {
        (self.reads.waits(), self.writes.waits())
    }

    /// Waits until one more read of a file may be under way.
    pub(super) async fn read_turn(&self) -> Turn {
        self.reads.turn().await
    }

    /// Waits until one more write of a file may be under way.
    pub(super) async fn write_turn(&self) -> Turn {
        self.writes.turn().await
    }

    /// Starts one operation.
    ///
    /// `resource` is all memory and descriptors that the entry points to.
    pub(super) fn start<R: 'static>(self: &Rc<Self>, entry: squeue::Entry, resource: R) -> Operation<R> {
        let slot = self.take_slot();
        self.push(&[entry.user_data(u64::from(slot))]);
        Operation { ring: self.clone(), slot, resource: Some(resource) }
    }

    /// Starts two operations of which the second runs once the first has succeeded.
    pub(super) fn start_linked<R: 'static>(
        self: &Rc<Self>,
        first: squeue::Entry,
        resource: R,
        second: squeue::Entry,
    ) -> (Operation<R>, Operation<()>) {
        let (one, two) = (self.take_slot(), self.take_slot());
        self.push(&[
            first.flags(squeue::Flags::IO_LINK).user_data(u64::from(one)),
            second.user_data(u64::from(two)),
        ]);
        (
            Operation { ring: self.clone(), slot: one, resource: Some(resource) },
            Operation { ring: self.clone(), slot: two, resource: Some(()) },
        )
    }

    fn take_slot(&self) -> u32 {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.states.push(Slot::Free);
            (slots.states.len() - 1) as u32
        });
        slots.states[slot as usize] = Slot::InFlight(None);
        slot
    }

    /// Queues entries as one run, so that a link is never torn by a full queue.
    fn push(&self, entries: &[squeue::Entry]) {
        let mut uring = self.uring.borrow_mut();
        // SAFETY: what the entries point to is owned by their `Operation` or, once that is dropped, by
        // the slot, until the kernel has completed them.
        while unsafe { uring.submission().push_multiple(entries) }.is_err() {
            // Full: hand over what is there. An error (EBUSY, EINTR) leaves the queue as it is.
            if uring.submit().is_ok() {
                self.pushed.set(0);
            }
        }
        self.pushed.set(self.pushed.get() + entries.len() as u32);
        if self.parked.get() && uring.submit().is_ok() {
            self.pushed.set(0);
        }
    }

    /// Submits what was pushed, takes completions, wakes their tasks. Says how many there were.
    fn turn(&self) -> usize {
        let mut woken = 0;
        let mut wakers: [Option<Waker>; 64] = [const { None }; 64];
        loop {
            let mut count = 0;
            {
                let mut uring = self.uring.borrow_mut();
                let pushed = self.pushed.get();
                if pushed > 0 || uring.submission().taskrun() {
                    // SAFETY: no argument is passed; the flag only asks for completions.
                    let entered = unsafe {
                        uring.submitter().enter::<libc::sigset_t>(pushed, 0, ENTER_GETEVENTS, None)
                    };
                    if let Ok(submitted) = entered {
                        self.pushed.set(pushed.saturating_sub(submitted as u32));
                    }
                }
                let mut slots = self.slots.borrow_mut();
                let completions = uring.completion();
                for completion in completions.take(wakers.len()) {
                    wakers[count] = self.complete(&mut slots, &completion);
                    count += 1;
                }
            }
            for waker in &mut wakers[..count] {
                if let Some(waker) = waker.take() {
                    waker.wake();
                }
            }
            woken += count;
            if count < wakers.len() {
                return woken;
            }
        }
    }

    fn complete(&self, slots: &mut Slots, completion: &cqueue::Entry) -> Option<Waker> {
        let slot = completion.user_data() as u32;
        let done = Slot::Done(completion.result(), completion.flags());
        match std::mem::replace(&mut slots.states[slot as usize], done) {
            Slot::InFlight(waker) => waker,
            Slot::Abandoned(_) => {
                if let Some(buffer) = cqueue::buffer_select(completion.flags()) {
                    self.give_buffer(buffer);
                }
                slots.states[slot as usize] = Slot::Free;
                slots.free.push(slot);
                None
            }
            Slot::Free | Slot::Done(..) => panic!("completion for idle slot {slot}"),
        }
    }

    /// Waits for a share of this turn of the driver: asked before each piece of work that takes the core
    /// a large part of a millisecond, so that many such pieces never stand between two looks at the ring.
    pub(super) async fn bulk_turn(&self) {
        let granted: Rc<Cell<bool>> = Rc::default();
        std::future::poll_fn(|context| {
            let mut bulk = self.bulk.borrow_mut();
            if granted.get() {
                return Poll::Ready(());
            }
            if bulk.waiting.is_empty() && bulk.left > 0 {
                bulk.left -= 1;
                return Poll::Ready(());
            }
            bulk.waiting.retain(|(other, _)| !Rc::ptr_eq(other, &granted));
            bulk.waiting.push_back((granted.clone(), context.waker().clone()));
            if self.parked.get() {
                self.doorbell.ring();
            }
            Poll::Pending
        })
        .await;
    }

    /// Lets the next large pieces of work go. Says whether there was any.
    fn grant_bulk_turns(&self) -> bool {
        let mut bulk = self.bulk.borrow_mut();
        let any = !bulk.waiting.is_empty();
        bulk.left = BULK_SENDS_PER_TURN_MAX;
        while bulk.left > 0
            && let Some((granted, waker)) = bulk.waiting.pop_front()
        {
            granted.set(true);
            bulk.left -= 1;
            waker.wake();
        }
        any
    }

    /// Polls the ring for the life of the core.
    ///
    /// `drain` takes what came from other cores and says how much that was; it is called every turn.
    /// `turned` is told how long the work that a turn found may have waited: the time since the turn
    /// before, or since the driver's wake if it was parked in between. The longest is the reactor's stall.
    pub async fn drive(self: Rc<Self>, mut drain: impl FnMut() -> usize, mut turned: impl FnMut(Duration)) {
        let mut spin = self.spin_max;
        let mut last_work = Instant::now();
        let mut last_reactor = last_work;
        let mut last_turn = last_work;
        loop {
            let work = self.turn() + drain();
            let bulk = self.grant_bulk_turns();
            let now = Instant::now();
            if work > 0 || bulk {
                last_work = now;
                turned(now - last_turn);
            }
            last_turn = now;
            self.turned_us.set(micros(now));
            let spins = now - last_work < spin && self.beside.get() == 0;
            if self.pushed.get() > 0 || bulk || spins {
                if work == 0 && self.pushed.get() == 0 {
                    // Whoever else wants this CPU goes first: the kernel's worker that completes a synced
                    // write runs here too, and would wait for the end of our time slice.
                    std::thread::yield_now();
                }
                if now - last_reactor < REACTOR_EVERY {
                    glommio::executor().yield_now().await;
                } else {
                    last_reactor = now;
                    let_reactor_turn().await;
                }
                continue;
            }
            self.doorbell.set_parked(true);
            self.doorbell.clear();
            // What came in before the flag was seen has rung no bell: look once more.
            if self.turn() + drain() > 0 || self.pushed.get() > 0 {
                self.doorbell.set_parked(false);
                last_work = Instant::now();
                glommio::executor().yield_now().await;
                continue;
            }
            let parked_at = Instant::now();
            self.parks.set(self.parks.get() + 1);
            self.parked.set(true);
            wait_readable(&self.doorbell).await;
            self.parked.set(false);
            self.doorbell.set_parked(false);
            // A spin pays if work comes within it. It is cut while parks are long, and back at once
            // when work comes close together again.
            last_work = Instant::now();
            last_reactor = last_work;
            last_turn = last_work;
            self.turned_us.set(micros(last_turn));
            spin = if last_work - parked_at < 2 * self.spin_max { self.spin_max } else { spin / 2 };
        }
    }

    fn give_buffer(&self, buffer: u16) {
        self.buffers.give(buffer);
        self.buffers_returned.set(self.buffers_returned.get() + 1);
        // All of them: one that has given up must not swallow the wake of another.
        self.buffer_waiters.take().into_iter().for_each(Waker::wake);
    }

    /// Takes over the buffer that a completion names.
    pub(super) fn lease(self: &Rc<Self>, flags: u32, length: usize) -> Option<ReceiveLease> {
        let buffer = cqueue::buffer_select(flags)?;
        Some(ReceiveLease { ring: self.clone(), buffer, length })
    }

    /// How many buffers have been given back so far.
    pub(super) fn buffers_returned(&self) -> u64 {
        self.buffers_returned.get()
    }

    /// Waits until more buffers have been given back than `seen`: asked before an operation that found
    /// none, so that one that came back in between is not missed.
    pub(super) async fn more_buffers_than(&self, seen: u64) {
        std::future::poll_fn(|context| {
            if self.buffers_returned.get() != seen {
                return Poll::Ready(());
            }
            self.buffer_waiters.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Leaves the executor nothing to run for a moment, so that it looks at its own rings and timers.
///
/// While a task keeps yielding, glommio 0.9 does so only when its preempt timer fires, and a short
/// preempt timer is no way out: if it fires between the executor's look at the rings and its first task
/// (the thread was descheduled there), the executor takes itself for idle and sleeps with tasks ready to
/// run, until some other timer wakes it. So there is no preempt timer to speak of (`cores.rs`), and the
/// driver gives way by itself.
async fn let_reactor_turn() {
    glommio::timer::sleep(Duration::from_micros(1)).await;
}

/// glommio has no public wait for a descriptor. A stream made of a duplicate waits for readability when
/// it is read and then fails, since an eventfd is no socket; only the wait matters.
async fn wait_readable(doorbell: &Doorbell) {
    let Ok(duplicate) = rustix::io::dup(doorbell) else {
        return; // out of descriptors: the driver polls instead of parking until one is free
    };
    let descriptor = std::os::fd::IntoRawFd::into_raw_fd(duplicate);
    // SAFETY: the descriptor was just made and is owned by the stream alone.
    let mut stream = unsafe { glommio::net::UnixStream::from_raw_fd(descriptor) };
    let mut byte = [0; 1];
    let _ = stream.read(&mut byte).await;
}

/// One operation in flight. Resolves to the kernel's result, its flags, and the resource.
pub(super) struct Operation<R: 'static> {
    ring: Rc<Ring>,
    slot: u32,
    resource: Option<R>,
}

impl<R: Unpin + 'static> Future for Operation<R> {
    type Output = (i32, u32, R);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ring = self.ring.clone();
        let mut slots = ring.slots.borrow_mut();
        let slot = self.slot;
        match &mut slots.states[slot as usize] {
            Slot::InFlight(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            &mut Slot::Done(result, flags) => {
                slots.states[slot as usize] = Slot::Free;
                slots.free.push(slot);
                let resource = self.resource.take().expect("an operation is finished once");
                Poll::Ready((result, flags, resource))
            }
            Slot::Free | Slot::Abandoned(_) => panic!("operation polled after its end"),
        }
    }
}

impl<R: 'static> Drop for Operation<R> {
    fn drop(&mut self) {
        let Some(resource) = self.resource.take() else { return };
        let mut slots = self.ring.slots.borrow_mut();
        match slots.states[self.slot as usize] {
            Slot::Done(_, flags) => {
                slots.states[self.slot as usize] = Slot::Free;
                slots.free.push(self.slot);
                drop(slots);
                if let Some(buffer) = cqueue::buffer_select(flags) {
                    self.ring.give_buffer(buffer);
                }
            }
            _ => slots.states[self.slot as usize] = Slot::Abandoned(Box::new(resource)),
        }
    }
}

/// The kernel's result as Rust has it.
pub(super) fn check(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// The pool of buffers that the kernel takes from when data arrives: an idle connection owns none.
struct ReceiveBuffers {
    entries: *mut BufRingEntry,
    start: *mut u8,
    _memory: super::buffer::AlignedBuffer,
    _entries_memory: super::buffer::AlignedBuffer,
    count: u16,
    buffer_bytes: usize,
    tail: Cell<u16>,
}

impl ReceiveBuffers {
    fn new(uring: &IoUring, options: &RingOptions) -> io::Result<Self> {
        let count = options.receive_buffers;
        assert!(count.is_power_of_two() && count <= 1 << 15, "receive_buffers is {count}");
        let bytes = usize::from(count) * options.receive_buffer_bytes;
        let mut memory = super::buffer::AlignedBuffer::with_capacity(bytes);
        let entry_bytes = usize::from(count) * std::mem::size_of::<BufRingEntry>();
        let mut entries_memory = super::buffer::AlignedBuffer::with_capacity(entry_bytes);
        entries_memory.extend(&vec![0; entry_bytes]);
        let entries = entries_memory.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: the entries are block-aligned, zeroed, and live as long as the ring (same struct).
        unsafe { uring.submitter().register_buf_ring_with_flags(entries as u64, count, RECEIVE_GROUP, 0)? };
        let buffers = Self {
            entries,
            start: memory.as_mut_ptr(),
            _memory: memory,
            _entries_memory: entries_memory,
            count,
            buffer_bytes: options.receive_buffer_bytes,
            tail: Cell::new(0),
        };
        (0..count).for_each(|buffer| buffers.give(buffer));
        Ok(buffers)
    }

    fn start(&self, buffer: u16) -> *const u8 {
        assert!(buffer < self.count, "buffer {buffer} of {}", self.count);
        // SAFETY: within the allocation, by the assertion.
        unsafe { self.start.add(usize::from(buffer) * self.buffer_bytes) }
    }

    fn give(&self, buffer: u16) {
        let tail = self.tail.get();
        let place = usize::from(tail & (self.count - 1));
        // SAFETY: `place` is below `count`; the entry is written before the tail that publishes it, and
        // the kernel only reads entries below the tail.
        unsafe {
            let entry = &mut *self.entries.add(place);
            entry.set_addr(self.start(buffer) as u64);
            entry.set_len(self.buffer_bytes as u32);
            entry.set_bid(buffer);
            let shared = BufRingEntry::tail(self.entries).cast::<std::sync::atomic::AtomicU16>();
            (*shared).store(tail.wrapping_add(1), std::sync::atomic::Ordering::Release);
        }
        self.tail.set(tail.wrapping_add(1));
    }
}

/// Received bytes in a buffer of the shared pool; given back when dropped.
pub struct ReceiveLease {
    ring: Rc<Ring>,
    buffer: u16,
    length: usize,
}

impl Deref for ReceiveLease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the kernel has filled `length` bytes and handed the buffer over; it is not given back
        // before the lease is dropped.
        unsafe { std::slice::from_raw_parts(self.ring.buffers.start(self.buffer), self.length) }
    }
}

impl Drop for ReceiveLease {
    fn drop(&mut self) {
        self.ring.give_buffer(self.buffer);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        io::{Read, Write},
        net::{SocketAddr, TcpStream},
        sync::mpsc,
    };

    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::io::{
        buffer::AlignedBuffer,
        clock::Clock,
        cores::{Core, CoreClock, Queue, spawn},
        direct::DirectDisk,
        disk::{Disk, Open, Sync},
        net::{Listener, listen},
        send::{FilePath, Piece, Sending},
    };

    fn options() -> RingOptions {
        RingOptions {
            entries: 64,
            receive_buffers: 4,
            receive_buffer_bytes: 4096,
            spin_max: Duration::from_micros(20),
            disk: DiskBounds { reads_max: 2, writes_max: 2 },
        }
    }

    /// Runs `body` on a pinned core beside the driver of a ring.
    pub(crate) fn on_a_core<F: Future<Output = ()> + 'static>(
        body: impl FnOnce(Rc<Ring>) -> F + Send + 'static,
    ) {
        let cpu = crate::io::cores::allowed_cpus()[0];
        let core = Core::start(cpu, "test", move || async move {
            let doorbell = Arc::new(Doorbell::new().expect("eventfd"));
            let ring = Ring::new(&options(), doorbell).expect("ring");
            spawn(Queue::Foreground, ring.clone().drive(|| 0, |_| {}));
            body(ring).await;
        });
        core.expect("core starts").join().expect("core ends well");
    }

    #[test]
    fn what_is_received_is_sent_back_whole_by_many_connections_over_few_buffers() {
        let (sender, receiver) = mpsc::channel::<SocketAddr>();
        let clients = std::thread::spawn(move || {
            let address = receiver.recv().expect("address");
            let mut sockets: Vec<_> =
                (0..16).map(|_| TcpStream::connect(address).expect("connect")).collect();
            for round in 0..20_u8 {
                let sent = vec![round; 9_000];
                sockets.iter_mut().for_each(|socket| socket.write_all(&sent).expect("write"));
                for socket in &mut sockets {
                    let mut back = vec![0; sent.len()];
                    socket.read_exact(&mut back).expect("read");
                    assert_eq!(back, sent);
                }
            }
        });
        on_a_core(move |ring| async move {
            let socket = listen("127.0.0.1:0".parse().expect("address")).expect("listen");
            sender.send(socket.local_addr().expect("address")).expect("send");
            let listener = Listener::new(ring, socket, Sending::new(FilePath::Auto, 1));
            let open = Rc::new(Cell::new(16));
            for _ in 0..16 {
                let connection = listener.accept().await.expect("accept");
                let open = open.clone();
                spawn(Queue::Foreground, async move {
                    while let Some(lease) = connection.receive().await.expect("receive") {
                        let (head, tail) = lease.split_at(lease.len() / 2);
                        let pieces = [head, tail].map(|part| Piece::Memory(Bytes::copy_from_slice(part)));
                        drop(lease);
                        connection.send(pieces.into()).await.expect("send");
                    }
                    open.set(open.get() - 1);
                });
            }
            while open.get() > 0 {
                crate::io::cores::sleep(Duration::from_millis(1)).await;
            }
        });
        clients.join().expect("clients saw their bytes");
    }

    #[test]
    fn a_large_body_is_received_where_it_will_stay() {
        let (sender, receiver) = mpsc::channel::<SocketAddr>();
        let client = std::thread::spawn(move || {
            let mut socket = TcpStream::connect(receiver.recv().expect("address")).expect("connect");
            let body: Vec<u8> = (0..1_000_000_u32).map(|i| i as u8).collect();
            socket.write_all(&body).expect("write");
        });
        on_a_core(move |ring| async move {
            let socket = listen("127.0.0.1:0".parse().expect("address")).expect("listen");
            sender.send(socket.local_addr().expect("address")).expect("send");
            let connection =
                Listener::new(ring, socket, Sending::new(FilePath::Auto, 1)).accept().await.expect("accept");
            let body = connection.receive_into(BytesMut::with_capacity(1_000_000), 1_000_000).await;
            let body = body.expect("whole body");
            assert!(body.iter().enumerate().all(|(i, &byte)| byte == i as u8));
            let more = connection.receive_into(BytesMut::with_capacity(1), 1).await;
            assert_eq!(more.expect_err("closed").kind(), io::ErrorKind::UnexpectedEof);
        });
        client.join().expect("client");
    }

    #[test]
    fn what_a_timer_wakes_while_the_driver_is_parked_does_not_take_the_time_from_before() {
        on_a_core(|ring| async move {
            let clock = CoreClock::of(ring);
            for _ in 0..5 {
                let before_us = clock.monotonic_us();
                crate::io::cores::sleep(Duration::from_millis(10)).await;
                assert!(clock.turn_us() >= before_us + 10_000);
            }
        });
    }

    #[test]
    fn written_blocks_read_back_with_every_kind_of_sync() {
        let directory = tempfile::tempdir_in(".").expect("a directory that takes direct I/O");
        let path = directory.path().join("blocks");
        on_a_core(move |ring| async move {
            let disk = DirectDisk::new(ring);
            let file = disk.open(&path, Open::OrCreate).await.expect("open");
            file.allocate(1 << 20).await.expect("allocate");
            for (place, sync) in [Sync::None, Sync::Data, Sync::DataAndEarlier].into_iter().enumerate() {
                let mut buffer = AlignedBuffer::with_capacity(8192);
                buffer.extend(&[place as u8 + 1; 8192]);
                file.write_at(buffer.freeze(), place as u64 * 8192, sync).await.expect("write");
            }
            file.sync_data().await.expect("sync");
            file.set_length(3 * 8192 - 100).await.expect("set length");
            let read = file.read_at(AlignedBuffer::with_capacity(65536), 8192).await.expect("read");
            assert_eq!(read.len(), 2 * 8192 - 100);
            assert!(read[..8192].iter().all(|&byte| byte == 2) && read[8192..].iter().all(|&byte| byte == 3));
            disk.write_small(&directory.path().join("small"), b"abc".to_vec()).await.expect("write small");
            let small = disk.read_small(&directory.path().join("small"), 10).await.expect("read small");
            assert_eq!(small, b"abc");
        });
    }

    /// Starts all of them, then waits for all.
    async fn all<T>(futures: impl Iterator<Item = Pin<Box<dyn Future<Output = T> + '_>>>) -> Vec<T> {
        let mut futures: Vec<_> = futures.map(|future| (future, None)).collect();
        std::future::poll_fn(|context| {
            for (future, result) in futures.iter_mut().filter(|(_, result)| result.is_none()) {
                if let Poll::Ready(value) = future.as_mut().poll(context) {
                    *result = Some(value);
                }
            }
            if futures.iter().all(|(_, result)| result.is_some()) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        futures.into_iter().filter_map(|(_, result)| result).collect()
    }

    #[test]
    fn no_more_reads_and_writes_are_under_way_than_allowed_but_the_journal_goes_past() {
        let directory = tempfile::tempdir_in(".").expect("a directory that takes direct I/O");
        let path = directory.path().join("blocks");
        on_a_core(move |ring| async move {
            let disk = DirectDisk::new(ring.clone());
            let file = disk.open(&path, Open::OrCreate).await.expect("open");
            let journal = disk.open_journal(&directory.path().join("journal"), Open::OrCreate).await;
            let journal = journal.expect("open");
            let block = || {
                let mut buffer = AlignedBuffer::with_capacity(4096);
                buffer.extend(&[7; 4096]);
                buffer.freeze()
            };
            let write = |place: u64| file.write_at(block(), place * 4096, Sync::None);
            let writes = all((0..8).map(write));
            let to_journal = |place: u64| journal.write_at(block(), place * 4096, Sync::Data);
            let of_journal = all((0..4).map(to_journal));
            let (writes, of_journal) = futures_lite::future::zip(writes, of_journal).await;
            assert!(writes.into_iter().chain(of_journal).all(|written| written.is_ok()));
            assert_eq!(ring.disk_waits(), (0, 6), "two went at once, the journal's were not asked to wait");
            let read = |place: u64| file.read_at(AlignedBuffer::with_capacity(4096), place * 4096);
            let reads = all((0..5).map(read)).await;
            assert!(reads.into_iter().all(|read| read.expect("read").iter().all(|&byte| byte == 7)));
            assert_eq!(ring.disk_waits(), (3, 6));
        });
    }
}
