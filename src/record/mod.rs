//! The record batch (magic 2): beside the wire, not inside it. No sockets, no files, no clock.
//!
//! Read it in this order: [`batch`] (borrowed view of one batch, every header field at its byte position),
//! [`records`] (the records inside), [`compression`] (the codecs behind one bounded `decompress`),
//! [`validate`] (all a batch must satisfy before a log may hold it), [`builder`] (writes batches, for
//! clients and tests).

pub mod batch;
pub mod builder;
pub mod compression;
pub mod records;
pub mod validate;
mod varint;

#[cfg(test)]
mod golden;

pub use batch::{BatchError, Codec, HEADER_BYTES, LENGTH_OVERHEAD, RecordBatch, batches};
pub use builder::BatchBuilder;
pub use compression::{CompressionError, compress, decompress};
pub use records::{Record, Records, RecordsError, for_each_record};
pub use validate::{RecordError, Refusal, Rules, Sound, validate};
