//! Kafka's protocol: bytes to messages and back. No sockets, no clock, no state.
//!
//! Read it in this order: [`codec`] (the bounded reader and writer), [`api`] (one row per API: the only
//! source for ApiVersions, dispatch and header versions), [`header`] (request and response headers),
//! [`produce`] and [`fetch`] (the two hot messages as borrowed views), [`messages`] (all others, from the
//! generated crate, behind explicit limits).
//!
//! What a peer declares never allocates: a count or length is believed only as far as bytes back it.

pub mod api;
pub mod codec;
pub mod fetch;
pub mod header;
pub mod messages;
pub mod produce;

#[cfg(test)]
mod differential;

pub use api::{Api, ApiKey};
pub use codec::WireError;
pub use header::{RequestHeader, begin_response, finish_response, parse_request_header};
