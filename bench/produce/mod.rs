//! The sending side: [`plan`] (who sends what where), [`stream`] (one ordered sequence of records), [`again`] (what it
//! has to send again), [`producer`] (records made one by one), [`connection`] (requests out, answers in, in order), [`worker`] (one thread's loop over them).

pub mod again;
pub mod connection;
pub mod plan;
pub mod producer;
pub mod stream;
pub mod worker;
