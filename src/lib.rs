//! A Kafka-compatible streaming broker: one pinned thread per core, io_uring, direct I/O.
//!
//! The rooms, in the order to read them:
//!
//! - [`model`]: words that all rooms share
//! - [`record`]: the record batch, validated and compressed
//! - [`wire`]: Kafka protocol, bytes to messages and back
//! - [`server`]: sockets to requests
//! - [`handlers`]: one file per API; the only room that chooses Kafka error codes
//! - [`shard`]: one per core, owns its partitions
//! - [`partition`]: one replica of one partition
//! - [`log`]: segments and the journal on disk
//! - [`io`]: the kernel's side: rings, sockets, disks, clocks, cores
//! - [`coordinator`]: consumer groups and their offsets
//! - [`control`]: cluster metadata, aside from the way of the data
//! - [`config`]: every setting once, text to checked values
//! - [`startup`]: what must hold before the first shard starts
//! - [`logging`]: log lines, and from which level on
//! - [`metrics`]: what a shard counts
//! - [`http`]: metrics and health for whoever watches
//! - [`broker`]: puts the rooms together: cores, control, signals
//! - [`log_tool`]: `corelane log`: what a stopped data directory holds, and whether it is sound
//! - [`admin_tool`]: `corelane topic`, `group`, `config`, `cluster`: administration of any Kafka cluster
//! - [`tune`]: `corelane tune`: what of the host matters to a broker, knob by knob
//! - [`top`]: `corelane top`: what the cores of a broker do, in a terminal
//! - [`cli`]: the command line
//! - [`docs`]: guides: architecture, operating, every setting, compatibility, metrics, benchmarking, migrating

pub use corelane_model as model;
pub use corelane_record as record;
pub use corelane_wire as wire;

pub mod admin_tool;
pub mod broker;
pub mod cli;
pub mod config;
pub mod control;
pub mod coordinator;
pub mod docs;
pub mod handlers;
pub mod http;
pub mod io;
pub mod log;
pub mod log_tool;
pub mod logging;
pub mod metrics;
pub mod partition;
pub mod server;
pub mod shard;
pub mod startup;
pub mod top;
pub mod tune;
