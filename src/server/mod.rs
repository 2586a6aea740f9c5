//! Sockets to requests: accepts, reads frames, answers in order.
//!
//! It knows frames and their sizes, no message and no partition: a frame goes to `handlers::dispatch`
//! and comes back as the pieces of a response. Read [`listener`], [`frames`], [`connection`].

pub mod connection;
pub mod frames;
pub mod listener;

pub use listener::serve;
