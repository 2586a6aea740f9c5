//! The record batch (magic 2): beside the wire, not inside it. No sockets, no files, no clock.
//!
//! Read it in this order: [`batch`] (borrowed view of one batch, every header field at its byte position),
//! [`records`] (the records inside), [`compression`] (the codecs behind one bounded `decompress`; `lz4_high.rs` is
//! lz4 at its levels), [`validate`] (all a batch must satisfy before a log may hold it), [`recompress`] (another
//! codec), [`retain`] (some records left out), [`builder`] (writes batches, for clients and tests).

pub mod batch;
pub mod builder;
pub mod compression;
mod lz4_high;
pub mod recompress;
pub mod records;
pub mod retain;
pub mod validate;
mod varint;

#[cfg(test)]
mod golden;

pub use batch::{
    BatchError, Codec, HEADER_BYTES, LENGTH_OVERHEAD, RecordBatch, StoredHeader, batches,
    set_log_append_time, set_max_timestamp, stamp, stamp_header,
};
pub use builder::BatchBuilder;
pub use compression::{CompressionError, compress, decompress};
pub use recompress::{recompress, stored_codec, stored_level};
pub use records::{Record, Records, RecordsError, for_each_record};
pub use retain::{RetainRules, RetainScratch, Retained, retain};
pub use validate::{DECOMPRESSED_BYTES_MAX, RecordError, Refusal, Rules, Sound, validate};
