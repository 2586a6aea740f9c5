//! The generator's side of the protocol: what it says and understands, apart from the sockets of the load.
//!
//! [`versions`] (what both sides speak), [`frame`] (bytes of a connection to whole responses), [`request`]
//! (Produce and Fetch as they go out, their answers), [`connection`] and [`admin`] (the blocking calls before and
//! between the load: who leads what, create a topic, where a log ends), [`describe`] (what a cluster says of itself),
//! [`group`] (a member of a consumer group), [`transactions`].

pub mod admin;
pub mod connection;
pub mod describe;
#[cfg(test)]
pub mod fake;
pub mod frame;
pub mod group;
pub mod request;
pub mod transactions;
pub mod versions;

/// The messages, and the types of their fields.
pub use {kafka_wire as messages, kafka_wire_core::StrBytes, kafka_wire_core::Uuid};

/// Name by which the generator presents itself.
pub const CLIENT_ID: &str = "corelane-bench";
