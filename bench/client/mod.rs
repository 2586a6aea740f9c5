//! The generator's side of the protocol: what it says and understands, apart from the sockets of the load.
//!
//! [`versions`] (what both sides speak), [`frame`] (bytes of a connection to whole responses), [`request`]
//! (Produce and Fetch as they go out, their answers), [`admin`] (the blocking calls before and between the
//! load: who leads what, create a topic, where a log ends).

pub mod admin;
pub mod frame;
pub mod request;
pub mod versions;

/// Name by which the generator presents itself.
pub const CLIENT_ID: &str = "corelane-bench";
