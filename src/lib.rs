//! A Kafka-compatible streaming broker: one pinned thread per core, io_uring, direct I/O.
//!
//! The rooms, in the order to read them:
//!
//! - [`model`]: words that all rooms share
//! - [`record`]: the record batch, validated and compressed
//! - [`wire`]: Kafka protocol, bytes to messages and back
//! - [`log`]: segments and the journal on disk; knows bytes, offsets and epochs, not who leads or reads
//! - [`io`]: the kernel's side: rings, sockets, disks, clocks, cores

pub use corelane_model as model;
pub use corelane_record as record;
pub use corelane_wire as wire;

pub mod io;
pub mod log;
