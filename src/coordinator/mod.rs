//! Consumer groups and their committed offsets.
//!
//! The room turns requests of members, and the time, into answers and into records that are to be stored.
//! It knows no socket and no error code. Read [`classic`] (members under the classic protocol), [`consumer`] (under
//! the newer one), [`consumer_protocol`] (what consumers say in the former), [`migration`] (from one to the other),
//! [`offsets`], `group` (all of it together), [`records`] (what is stored, in Kafka's format), [`service`] (the groups
//! of a core, and the way to those of other cores), [`messages`] (what is asked of it), [`lag`].

pub mod classic;
pub mod consumer;
pub mod consumer_protocol;
mod group;
pub mod lag;
pub mod messages;
pub mod migration;
pub mod offsets;
pub mod records;
pub mod service;
