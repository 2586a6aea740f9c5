//! A Kafka-compatible streaming broker: one pinned thread per core, io_uring, direct I/O.
//!
//! The rooms, in the order to read them:
//!
//! - [`model`]: words that all rooms share
//! - [`record`]: the record batch, validated and compressed
//! - [`wire`]: Kafka protocol, bytes to messages and back
//! - [`io`]: the kernel's side: rings, sockets, disks, clocks, cores
//! - [`control`]: aside: cluster metadata, published as [`model::ClusterView`]
//! - [`config`]: every setting once, text to checked values

pub use corelane_model as model;
pub use corelane_record as record;
pub use corelane_wire as wire;

/// Every setting once, from text to checked values.
pub mod config {
    pub mod topic;
}
pub mod control;
pub mod io;
