//! One connection: frames in, responses out in request order, a bounded number in flight.
//!
//! Two tasks share it. The reader takes a frame, dispatches it (a produce has its offsets then) and
//! queues what will become its response; the writer waits for the responses in order, and sends those
//! that are ready together.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::SocketAddr,
    rc::Rc,
};

use futures_lite::{FutureExt, future::poll_once};

use crate::{
    handlers::{Answer, Close, Handlers, Peer, Response},
    io::{
        net::Connection,
        send::{Piece, Sent},
        signal::Signal,
    },
    metrics::{Counter, Laps, Slow, Stage},
    shard::{Shard, budget::Permit},
};

use super::frames::{FrameError, FrameReader};

/// Pieces of responses that are sent together.
const PIECES_TOGETHER_MAX: usize = 256;
/// Responses are gathered up to this many bytes: what the connection holds while its peer does not read.
const BYTES_TOGETHER_MAX: usize = 64 << 10;

/// A connection as the listener knows it.
pub struct Served {
    connection: Connection,
    peer: Rc<Peer>,
    active_ms: Cell<u64>,
    queue: RefCell<VecDeque<InFlight>>,
    queued: Signal,
    taken: Signal,
    /// No more frames are read.
    finishing: Cell<bool>,
    finish: Signal,
    /// The reader has ended: no more will be queued.
    read_all: Cell<bool>,
    /// The writer has ended: nothing more will be taken.
    written_all: Cell<bool>,
}

struct InFlight {
    response: Response,
    /// Of the request.
    bytes: u64,
    _permit: Permit,
}

impl Served {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(connection: Connection, now_ms: u64) -> Self {
        Self {
            peer: Rc::new(Peer::new(connection.peer())),
            connection,
            active_ms: Cell::new(now_ms),
            queue: RefCell::default(),
            queued: Signal::default(),
            taken: Signal::default(),
            finishing: Cell::new(false),
            finish: Signal::default(),
            read_all: Cell::new(false),
            written_all: Cell::new(false),
        }
    }

    /// The other side.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer.address
    }

    /// When it last received or sent, by the core's clock.
    #[must_use]
    pub fn active_ms(&self) -> u64 {
        self.active_ms.get()
    }

    /// Ends it at once.
    pub fn close(&self) {
        self.connection.shut_down();
    }

    /// Reads no more; what is in flight is still answered.
    pub fn finish(&self) {
        self.finishing.set(true);
        self.finish.raise();
    }
}

/// Serves one connection to its end.
pub async fn serve_connection(handlers: Rc<Handlers>, served: Rc<Served>) {
    let write = async {
        let ended = write_responses(handlers.shard(), &served).await;
        served.connection.shut_down();
        served.written_all.set(true);
        served.taken.raise();
        ended
    };
    let read = async {
        let ended = read_requests(&handlers, &served).await;
        served.read_all.set(true);
        served.queued.raise();
        ended
    };
    // Both run in this task; the reader ends first, or is ended by the writer's shutdown.
    let (read, written) = futures_lite::future::zip(read, write).await;
    for closed in [read, written].into_iter().filter_map(Result::err) {
        closed.log(served.peer());
    }
}

enum Closed {
    Frame(FrameError),
    Request(Close),
    Send(std::io::Error),
}

impl Closed {
    fn log(&self, peer: Option<SocketAddr>) {
        match self {
            Self::Frame(FrameError::Closed) => {}
            Self::Frame(FrameError::Io(error)) | Self::Send(error) => {
                tracing::debug!(?peer, %error, "connection lost");
            }
            Self::Frame(error @ FrameError::Length { .. }) => tracing::warn!(?peer, %error, "closed"),
            Self::Request(close) => tracing::warn!(?peer, reason = %close, "closed"),
        }
    }
}

async fn read_requests(handlers: &Rc<Handlers>, served: &Rc<Served>) -> Result<(), Closed> {
    let shard = handlers.shard();
    let settings = shard.settings();
    let bytes_max = settings.socket_request_max_bytes;
    let mut frames = FrameReader::new(served.connection.clone(), shard.budget().clone(), bytes_max);
    loop {
        let finished = async {
            while !served.finishing.get() {
                served.finish.seen().await;
            }
            None
        };
        let next = async { Some(frames.next().await) }.or(finished).await;
        let Some(next) = next else { return Ok(()) };
        let (frame, permit) = next.map_err(Closed::Frame)?;
        let now_ms = shard.clock().turn_us() / 1000;
        served.active_ms.set(now_ms);
        let bytes = frame.len() as u64 + 4;
        shard.metrics().add(Counter::BytesIn, bytes);
        if !muted(shard, served, now_ms).await {
            return Ok(());
        }
        // A quota's wait is no work of the request.
        let whole_us = shard.clock().turn_us();
        let response = handlers.dispatch(&served.peer, frame, whole_us).map_err(Closed::Request)?;
        served.queue.borrow_mut().push_back(InFlight { response, bytes, _permit: permit });
        served.queued.raise();
        while served.queue.borrow().len() >= settings.in_flight_max {
            if served.written_all.get() {
                return Ok(());
            }
            served.taken.seen().await;
        }
    }
}

/// Waits until the peer has kept to its quotas; false if the connection ends before.
async fn muted(shard: &Shard, served: &Served, mut now_ms: u64) -> bool {
    loop {
        let wait = served.peer.is_muted_for(now_ms);
        if wait.is_zero() || served.written_all.get() {
            return !served.written_all.get();
        }
        if served.finishing.get() {
            return false;
        }
        served.finish.seen().or(shard.clock().sleep(wait)).await;
        now_ms = shard.clock().monotonic_ms();
    }
}

async fn write_responses(shard: &Rc<Shard>, served: &Rc<Served>) -> Result<(), Closed> {
    let mut waiting: Option<InFlight> = None;
    loop {
        let mut in_flight = match waiting.take() {
            Some(in_flight) => in_flight,
            None => match take_next(served).await {
                Some(in_flight) => in_flight,
                None => return Ok(()),
            },
        };
        let Answer { mut pieces, laps } = (&mut in_flight.response).await.map_err(Closed::Request)?;
        // Whatever else is ready goes out with it.
        let mut bytes = bytes_of(&pieces);
        let mut answered = vec![Answered { bytes, laps, of: in_flight }];
        while pieces.len() < PIECES_TOGETHER_MAX && bytes < BYTES_TOGETHER_MAX {
            let Some(mut next) = served.queue.borrow_mut().pop_front() else { break };
            match poll_once(&mut next.response).await {
                Some(more) => {
                    let more = more.map_err(Closed::Request)?;
                    let of_it = bytes_of(&more.pieces);
                    bytes += of_it;
                    pieces.extend(more.pieces);
                    answered.push(Answered { bytes: of_it, laps: more.laps, of: next });
                }
                None => {
                    waiting = Some(next);
                    break;
                }
            }
        }
        served.taken.raise();
        if !pieces.is_empty() {
            shard.metrics().add(Counter::BytesOut, bytes as u64);
            let sent = served.connection.send(pieces).await.map_err(Closed::Send)?;
            count_sent(shard, &sent);
        }
        let now_us = shard.clock().monotonic_us();
        served.active_ms.set(now_us / 1000);
        for mut one in answered {
            one.laps.lap(Stage::Send, now_us);
            shard.metrics().request_over(&one.laps, || Slow {
                laps: one.laps,
                client_id: served.peer.client_id(),
                peer: served.peer(),
                bytes_in: one.of.bytes,
                bytes_out: one.bytes as u64,
                ended_ms: shard.clock().wall_ms(),
            });
        }
    }
}

/// A response on its way out; holds its request's memory until it is sent.
struct Answered {
    of: InFlight,
    bytes: usize,
    laps: Laps,
}

fn bytes_of(pieces: &[Piece]) -> usize {
    pieces.iter().map(Piece::len).sum()
}

fn count_sent(shard: &Shard, sent: &Sent) {
    let counts = [
        (Counter::FetchSendfileBytes, sent.sendfile),
        (Counter::FetchDirectBytes, sent.direct),
        (Counter::FetchCacheHits, sent.cache_hits),
        (Counter::FetchReadAheads, sent.read_aheads),
    ];
    for (counter, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        shard.metrics().add(counter, count);
    }
}

async fn take_next(served: &Served) -> Option<InFlight> {
    loop {
        if let Some(next) = served.queue.borrow_mut().pop_front() {
            return Some(next);
        }
        if served.read_all.get() {
            return None;
        }
        served.queued.seen().await;
    }
}
