//! The sending side: [`plan`] (who sends what where), [`stream`] (one ordered sequence of records), [`again`] (what it
//! has to send again), [`producer`] (records made one by one), [`transaction`] (what leaves
//! together or not at all), [`connection`] (requests out, answers in, in order), [`worker`] (one thread's loop over them).

pub mod again;
pub mod connection;
pub mod plan;
pub mod producer;
pub mod stream;
pub mod transaction;
pub mod worker;
