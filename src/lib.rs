//! A Kafka-compatible streaming broker: one pinned thread per core, io_uring, direct I/O.
//!
//! The rooms, in the order to read them:
//!
//! - [`model`]: words that all rooms share
//! - [`record`]: the record batch, validated and compressed
//! - [`wire`]: Kafka protocol, bytes to messages and back
//! - [`io`]: the kernel's side: rings, sockets, disks, clocks, cores
//! - [`config`]: every setting once, text to checked values
//! - [`metrics`]: what a shard counts
//! - [`startup`]: what must hold before the first shard starts
//! - [`cli`]: the command line

pub use corelane_model as model;
pub use corelane_record as record;
pub use corelane_wire as wire;

pub mod cli;
pub mod config;
pub mod io;
pub mod metrics;
pub mod startup;
