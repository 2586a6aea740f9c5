//! The record batch (magic 2): beside the wire, not inside it. No sockets, no files, no clock.
//!
//! Read it in this order: [`batch`] (borrowed view of one batch, every header field at its byte position),
//! [`records`] (the records inside), [`compression`] (the codecs behind one bounded `decompress`),
//! [`validate`] (all a batch must satisfy before a log may hold it), [`builder`] (writes batches, for
//! clients and tests).

pub mod batch;

pub use batch::{BatchError, Codec, HEADER_BYTES, LENGTH_OVERHEAD, RecordBatch, batches};
