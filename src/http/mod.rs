//! Metrics and health over HTTP, for whoever watches the broker. Aside from the way of the data: a thread of its
//! own, which no core waits for and which reads what cores count.
//!
//! | path            | answer                                                                    |
//! |-----------------|---------------------------------------------------------------------------|
//! | `/metrics`      | everything that is counted, for Prometheus or as OpenMetrics: see [`mod@format`]|
//! | `/debug/slowest`| the slowest requests of the last minutes, as JSON: see [`slowest`]           |
//! | `/health/live`  | 200 as long as the process answers                                         |
//! | `/health/ready` | 200 while every core serves and its disk takes writes; else 503 and why not |
//! | `/`, `/api/`    | the same for people, with topics and records: [`page`]                    |
//!
//! `/debug/slowest` and `/api/` are answered on a loopback address only.
//!
//! The number of time series is bounded: [`SERIES_PER_CORE_MAX`] for each core; four for each of
//! [`TOPICS_SHOWN_MAX`](crate::metrics::TOPICS_SHOWN_MAX) topics and for all others together; two for each of
//! [`GROUP_LAGS_MAX`](crate::metrics::GROUP_LAGS_MAX) groups and topics of each core, which are those that are
//! furthest behind. What each metric means is in `tuning/metrics.md`. Read [`text`] for what
//! is answered, `serving` for the bounds of connections.

mod cpu;
#[cfg(test)]
mod documents;
pub mod format;
mod page;
mod serving;
pub mod slowest;
pub mod text;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE, VARY},
    },
    response::IntoResponse,
    routing::get,
};

use self::{cpu::CpuClocks, format::Format, page::Door};
use crate::metrics::{Gauge, GroupLag, ShardMetrics, TopicTable};

/// Time series of one core, at most: counters, gauges, requests by API, their errors
/// ([`ERROR_PAIRS_MAX`](crate::metrics::ERROR_PAIRS_MAX)), and the buckets of stages and stalls.
pub const SERIES_PER_CORE_MAX: usize = 1024;

/// What is watched.
pub struct Watched {
    /// The counters of every core.
    pub shards: Vec<Arc<ShardMetrics>>,
    /// What numbers are called.
    pub names: Names,
    /// A listener of this process, for the page's questions about topics.
    pub kafka: SocketAddr,
    topics: Mutex<TopicTable>,
    start: Instant,
}

impl Watched {
    /// Cores that are watched from now on.
    #[must_use]
    pub fn new(shards: Vec<Arc<ShardMetrics>>, names: Names, kafka: SocketAddr) -> Self {
        Self { shards, names, kafka, topics: Mutex::default(), start: Instant::now() }
    }
}

/// What Kafka calls the numbers that were counted.
#[derive(Clone, Copy)]
pub struct Names {
    /// An API.
    pub api: fn(i16) -> Option<&'static str>,
    /// An error code.
    pub error: fn(i16) -> String,
}

impl Names {
    fn api(self, key: i16) -> &'static str {
        (self.api)(key).unwrap_or("other")
    }
}

/// Binds the address; if somebody else has it and `may_move`, any other port of that host.
///
/// # Errors
/// It cannot be bound.
pub fn bind(host: &str, port: u16, may_move: bool) -> io::Result<TcpListener> {
    match TcpListener::bind((host, port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && may_move => {
            let listener = TcpListener::bind((host, 0))?;
            tracing::warn!("port {port} for metrics is in use; they are on {}", listener.local_addr()?);
            Ok(listener)
        }
        bound => bound,
    }
}

/// Serves until the process ends. Returns the address.
///
/// # Errors
/// The thread or its runtime cannot be made.
pub fn serve(listener: TcpListener, watched: Watched) -> io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let clocks = Arc::new(CpuClocks::find(watched.shards.len()));
    let (kafka, door) = (watched.kafka, Door { bound: address });
    let answer = async move |State(watched): State<Arc<Watched>>, headers: HeaderMap| {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        metrics(&watched, &clocks, Format::of_accept(accept.unwrap_or_default()))
    };
    let watched = Arc::new(watched);
    let slowest = Router::new().route("/debug/slowest", get(slowest_requests)).with_state(watched.clone());
    let router = Router::new()
        .route("/metrics", get(answer))
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .with_state(watched)
        .merge(page::private(slowest, door))
        .merge(page::routes(kafka, door));
    let router = page::guarded(router, door);
    thread::Builder::new().name("http".to_owned()).spawn(move || {
        let Err(error) = runtime.block_on(serving::serve(listener, router, serving::BOUNDS));
        tracing::error!(%error, "metrics and health are no longer served");
    })?;
    Ok(address)
}

fn metrics(watched: &Watched, clocks: &CpuClocks, format: Format) -> impl IntoResponse + use<> {
    let shards: Vec<_> = watched.shards.iter().map(|shard| shard.snapshot()).collect();
    let counts: Vec<_> = watched.shards.iter().map(|shard| shard.topics()).collect();
    let lags: Vec<_> = watched.shards.iter().flat_map(|shard| shard.lags().to_vec()).collect();
    let mut topics = watched.topics.lock().unwrap_or_else(PoisonError::into_inner);
    topics.update(&counts, watched.start.elapsed());
    let text = text::encode(format, &shards, &topics, &of_all_cores(lags), watched.names, clocks);
    ([(CONTENT_TYPE, format.content_type()), (VARY, "accept")], text)
}

/// Each core has its own groups; only what is beyond its bound may come from several.
fn of_all_cores(lags: Vec<GroupLag>) -> Vec<GroupLag> {
    let (mut shown, others): (Vec<_>, Vec<_>) = lags.into_iter().partition(|lag| lag.of.is_some());
    if !others.is_empty() {
        let records = others.iter().map(|lag| lag.records).sum();
        shown.push(GroupLag { of: None, records, seconds: None });
    }
    shown
}

async fn slowest_requests(State(watched): State<Arc<Watched>>) -> impl IntoResponse {
    let shards: Vec<_> = watched.shards.iter().map(|shard| shard.slowest()).collect();
    ([(CONTENT_TYPE, "application/json")], slowest::encode(&shards, watched.names))
}

async fn ready(State(watched): State<Arc<Watched>>) -> (StatusCode, String) {
    let mut why = Vec::new();
    for (index, shard) in watched.shards.iter().enumerate() {
        let shard = shard.snapshot();
        for (gauge, text) in [
            (Gauge::Failed, "its disk has failed"),
            (Gauge::DiskFull, "its disk is full: appends are refused"),
        ] {
            if shard.gauge(gauge) != 0 {
                why.push(format!("shard {index}: {text}\n"));
            }
        }
        if shard.gauge(Gauge::Serving) == 0 {
            why.push(format!("shard {index} does not serve\n"));
        }
    }
    match why.is_empty() {
        true => (StatusCode::OK, "ready\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, why.concat()),
    }
}
