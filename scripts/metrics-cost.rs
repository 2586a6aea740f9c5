//! What counting costs one produce request, in nanoseconds: the calls that its way through the broker makes of the
//! core's metrics, with the clock reads that are made for them alone. Prints the number. `scripts/metrics-cost` sets
//! it against what a request costs in all.

use std::{cell::Cell, hint::black_box, sync::Arc};

use corelane::{
    io::{clock::Clock, cores::CoreClock},
    metrics::{Counter, Laps, RequestKind, ShardMetrics, Slow, Stage, Timing},
    model::TopicId,
    shard::traffic::Traffic,
};

const PRODUCE: i16 = 0;
const WARM_UP: u64 = 1_000_000;
const REQUESTS: u64 = 10_000_000;
/// Requests of one turn of the core.
const TURN: u64 = 32;

/// The core's clock, with the time of a turn at hand as its ring has it.
struct Turns {
    exact: CoreClock,
    turn_us: Cell<u64>,
}

impl Turns {
    fn now_us(&self, laps: &Laps) -> u64 {
        if laps.is_exact() { self.exact.monotonic_us() } else { self.turn_us.get() }
    }
}

fn one_request(metrics: &ShardMetrics, traffic: &Traffic, clock: &Turns, client: &Arc<str>) {
    let whole_us = clock.turn_us.get();
    metrics.add(Counter::BytesIn, 200);
    let timing = Timing::of(metrics.count_request(PRODUCE), 200);
    let mut laps = Laps::new(PRODUCE, RequestKind::Produce, timing, whole_us);
    laps.lap(Stage::Parse, clock.now_us(&laps));
    laps.lap(Stage::Append, clock.now_us(&laps));
    metrics.add(Counter::RecordsIn, 1);
    traffic.produced(TopicId::ZERO, 168, 1);
    laps.lap(Stage::Flush, clock.now_us(&laps));
    metrics.add(Counter::BytesOut, 60);
    laps.lap(Stage::Send, clock.now_us(&laps)); // the time of a send is taken for idle connections too
    metrics.request_over(&laps, || Slow {
        laps,
        client_id: client.clone(),
        peer: None,
        bytes_in: 200,
        bytes_out: 60,
        ended_ms: clock.exact.wall_ms(),
    });
}

/// CPU time of this thread: what else the machine does is not counted.
fn cpu_ns() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn main() {
    let clock = Turns { exact: CoreClock::new(), turn_us: Cell::new(0) };
    let (metrics, traffic) = (ShardMetrics::default(), Traffic::default());
    let client: Arc<str> = "client".into();
    let mut began = cpu_ns();
    for request in 0..WARM_UP + REQUESTS {
        if request == WARM_UP {
            began = cpu_ns();
        }
        if request.is_multiple_of(TURN) {
            clock.turn_us.set(clock.exact.monotonic_us()); // taken for the reactor's stalls, once a turn
        }
        one_request(black_box(&metrics), black_box(&traffic), black_box(&clock), black_box(&client));
    }
    println!("{:.1}", (cpu_ns() - began) as f64 / REQUESTS as f64);
}
