//! Accepts connections of one core and looks after them: at most so many, none idle too long.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use futures_lite::FutureExt;

use crate::{
    handlers::Handlers,
    io::{
        cores::{Queue, spawn},
        net::{Connection, Listener},
    },
    metrics::Counter,
    shard::Shard,
};

use super::connection::{Served, serve_connection};

/// How often idle connections are looked for.
const IDLE_SWEEP: Duration = Duration::from_secs(10);
/// How long a stop waits for requests in flight.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Pause after a failed accept (out of descriptors), so that the core is not spent on trying.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections of one core.
#[derive(Default)]
struct Connections {
    open: RefCell<HashMap<u64, Rc<Served>>>,
    next: Cell<u64>,
}

/// Serves connections until the core is asked to stop; then lets what is in flight finish.
pub async fn serve(handlers: Rc<Handlers>, listener: Listener) {
    let shard = handlers.shard().clone();
    let connections = Rc::new(Connections::default());
    spawn(Queue::Housekeeping, close_idle(shard.clone(), Rc::downgrade(&connections)));
    loop {
        let accepted = async { Some(listener.accept().await) };
        let stopped = async {
            shard.stopping().asked().await;
            None
        };
        match accepted.or(stopped).await {
            Some(Ok(connection)) => admit(&handlers, &connections, connection),
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot accept a connection");
                shard.clock().sleep(ACCEPT_PAUSE).await;
            }
            None => break,
        }
    }
    listener.close();
    drain(&shard, &connections).await;
}

fn admit(handlers: &Rc<Handlers>, connections: &Rc<Connections>, connection: Connection) {
    let shard = handlers.shard();
    let most = shard.settings().connections_max / shard.settings().shards.len().max(1);
    if connections.open.borrow().len() >= most.max(1) {
        tracing::warn!(peer = ?connection.peer(), most, "refused a connection: the core has its most");
        connection.shut_down();
        return;
    }
    let id = connections.next.replace(connections.next.get() + 1);
    let served = Rc::new(Served::new(connection, shard.clock().monotonic_ms()));
    connections.open.borrow_mut().insert(id, served.clone());
    shard.metrics().count(Counter::ConnectionsOpened);
    let (handlers, connections) = (handlers.clone(), connections.clone());
    spawn(Queue::Foreground, async move {
        serve_connection(handlers.clone(), served).await;
        connections.open.borrow_mut().remove(&id);
        handlers.shard().metrics().count(Counter::ConnectionsClosed);
    });
}

async fn close_idle(shard: Rc<Shard>, connections: std::rc::Weak<Connections>) {
    loop {
        shard.clock().sleep(IDLE_SWEEP).await;
        let Some(connections) = connections.upgrade() else { return };
        let idle_max_ms = shard.settings().connections_max_idle_ms;
        let now_ms = shard.clock().monotonic_ms();
        for served in connections.open.borrow().values() {
            if idle_max_ms > 0 && now_ms.saturating_sub(served.active_ms()) >= idle_max_ms {
                served.close();
            }
        }
    }
}

async fn drain(shard: &Rc<Shard>, connections: &Rc<Connections>) {
    let deadline_ms = shard.clock().monotonic_ms() + DRAIN_MAX.as_millis() as u64;
    for served in connections.open.borrow().values() {
        served.finish();
    }
    while !connections.open.borrow().is_empty() && shard.clock().monotonic_ms() < deadline_ms {
        shard.clock().sleep(Duration::from_millis(1)).await;
    }
    for served in connections.open.borrow().values() {
        tracing::warn!(peer = ?served.peer(), "closed with requests in flight");
        served.close();
    }
}
