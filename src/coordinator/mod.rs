//! Consumer groups and their committed offsets.
//!
//! The room turns requests of members, and the time, into answers and into records that are to be stored.
//! It knows no socket and no error code. Read [`classic`] (a group under the classic protocol), [`consumer`] (under the newer one), [`offsets`],
//! `group` (both together), [`records`] (what is stored of them, in Kafka's format), [`service`] (the groups of a
//! core, and the way to those of other cores), [`messages`] (what is asked of it), [`subscription`],
//! [`lag`].

pub mod classic;
pub mod consumer;
mod group;
pub mod lag;
pub mod messages;
pub mod offsets;
pub mod records;
pub mod service;
pub mod subscription;
