//! A Kafka-compatible streaming broker: one pinned thread per core, io_uring, direct I/O.
//!
//! The rooms, in the order to read them:
//!
//! - [`model`]: words that all rooms share
//! - [`record`]: the record batch, validated and compressed
//! - [`wire`]: Kafka protocol, bytes to messages and back
//! - [`io`]: the kernel's side: rings, sockets, disks, clocks, cores
//! - [`handlers`]: one file per API; the only room that chooses Kafka's error codes
//! - [`control`]: aside: cluster metadata, published as [`model::ClusterView`]
//! - [`config`]: every setting once, text to checked values

pub use corelane_model as model;
pub use corelane_record as record;
pub use corelane_wire as wire;

pub mod config;
pub mod control;
pub mod handlers;
pub mod io;
