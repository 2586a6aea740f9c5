//! A worker's connections: to whom, opened, and opened again when leaders have moved.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::{Link, Queued, RETRY_PAUSE, Worker};
use crate::client::admin;
use crate::clock::Nanos;
use crate::produce::connection::Connection;
use crate::produce::plan::Seat;

/// Longest wait for a connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

impl Worker {
    /// The connection of a seat, to the present leader of its partition.
    pub(super) fn link_for(&mut self, seat: Seat) -> usize {
        let leader = usize::try_from(seat.partition).ok().and_then(|p| self.task.topology.leaders.get(p));
        let address = leader.cloned().unwrap_or_default();
        if let Some(found) = self.links.iter().position(|l| l.slot == seat.slot && l.address == address) {
            return found;
        }
        self.links.push(Link {
            address,
            slot: seat.slot,
            socket: None,
            connection: Connection::default(),
            ready: VecDeque::new(),
            maker: None,
        });
        self.links.len() - 1
    }

    pub(super) fn connect(&mut self, link: usize) -> io::Result<()> {
        let address = &self.links[link].address;
        let socket = admin::connect(address, CONNECT_TIMEOUT)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot reach {address}: {e}")))?;
        socket.set_nonblocking(true)?;
        self.poller.add(&socket, link)?;
        self.links[link].socket = Some(socket);
        self.dirty.push(link);
        Ok(())
    }

    /// Asks who leads, moves idle streams to their leaders and opens what is closed. Blocks this worker's
    /// other connections meanwhile; what that costs shows in their latency.
    pub(super) fn refresh(&mut self, now: Nanos) {
        self.refresh_at = None;
        let topic = self.task.plan.topic.clone();
        match self.task.admin.topology(&topic, None) {
            Ok(topology) if topology.leaders.len() >= self.task.topology.leaders.len() => {
                self.task.topology.leaders = topology.leaders;
            }
            _ => {
                self.refresh_at = Some(now + RETRY_PAUSE);
                return;
            }
        }
        let mut complete = true;
        for index in 0..self.lanes.len() {
            let link = self.link_for(self.lanes[index].stream.seat);
            let lane = &mut self.lanes[index];
            if lane.stream.in_flight() > 0 {
                complete &= lane.link == link;
                continue;
            }
            if lane.link != link && lane.queued == Queued::Connection {
                self.links[lane.link].ready.retain(|waiting| *waiting != index);
                self.links[link].ready.push_back(index);
            }
            lane.link = link;
            // In a closed loop a producer makes its records when this connection has room for them.
            self.links[link].maker = lane.maker.filter(|_| self.task.plan.schedule.is_none());
        }
        for link in 0..self.links.len() {
            let used = self.lanes.iter().any(|lane| lane.link == link);
            if used && self.links[link].socket.is_none() {
                complete &= self.connect(link).is_ok();
            }
        }
        if !complete {
            self.refresh_at = Some(now + RETRY_PAUSE);
        }
    }
}
