//! Consumer groups and their committed offsets.
//!
//! The room turns requests of members, and the time, into answers and into records that are to be stored.
//! It knows no socket, no error code and no other core. Read [`classic`] (a group under the classic
//! protocol), [`offsets`], [`records`] (what is stored of both, in Kafka's format).

pub mod classic;
pub mod offsets;
pub mod records;
