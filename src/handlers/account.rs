//! Who sent a request, and what its quota still allows it.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use crate::{
    metrics::Counter,
    model::quotas::{ANONYMOUS, Payer, QuotaKind},
    shard::Shard,
};

/// The other side of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Its address, where it has one.
    pub address: Option<SocketAddr>,
    muted_until_ms: Cell<u64>,
    client_id: RefCell<Arc<str>>,
}

impl Peer {
    /// A peer that may send.
    #[must_use]
    pub fn new(address: Option<SocketAddr>) -> Self {
        Self { address, muted_until_ms: Cell::new(0), client_id: RefCell::new("".into()) }
    }

    /// `client.id` as its last request gave it: clients keep to one on a connection.
    #[must_use]
    pub fn client_id(&self) -> Arc<str> {
        self.client_id.borrow().clone()
    }

    /// A request of it gives this `client.id`.
    pub fn called(&self, client_id: Option<&str>) {
        let client_id = client_id.unwrap_or_default();
        if **self.client_id.borrow() != *client_id {
            *self.client_id.borrow_mut() = client_id.into();
        }
    }

    /// For how long no more of its requests are taken, by the core's clock.
    #[must_use]
    pub fn is_muted_for(&self, now_ms: u64) -> Duration {
        Duration::from_millis(self.muted_until_ms.get().saturating_sub(now_ms))
    }
}

/// What a request may move under its client's quota, if that has one.
pub struct Account {
    peer: Rc<Peer>,
    kind: QuotaKind,
    limit: Option<(Payer, u64)>,
}

impl Account {
    /// Of a request by this client; quotas as they are now.
    #[must_use]
    pub fn new(shard: &Shard, peer: &Rc<Peer>, client_id: Option<&str>, kind: QuotaKind) -> Self {
        let limit = shard.view().quotas.limit(ANONYMOUS, client_id.unwrap_or_default(), kind);
        Self { peer: peer.clone(), kind, limit }
    }

    /// Counts bytes. Returns the ms that the client is told to wait; until they have passed nothing more is
    /// taken from its connection. Source: KIP-219.
    pub fn charge(&self, shard: &Shard, bytes: usize) -> i32 {
        let Some((payer, bytes_per_second)) = self.limit.clone() else { return 0 };
        let now_ms = shard.clock().monotonic_ms();
        let wait = shard.throttles().charge(self.kind, payer, bytes_per_second, bytes, now_ms);
        let wait_ms = wait.as_millis() as u64;
        if wait_ms > 0 {
            shard.metrics().count(Counter::Throttled);
            let until_ms = self.peer.muted_until_ms.get().max(now_ms + wait_ms);
            self.peer.muted_until_ms.set(until_ms);
        }
        wait_ms as i32
    }
}
