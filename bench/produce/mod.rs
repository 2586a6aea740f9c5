//! The sending side: [`plan`] (who sends what where), [`stream`] (one ordered sequence of records),
//! [`connection`] (requests out, answers in, in order), [`worker`] (one thread's loop over them).

pub mod connection;
pub mod plan;
pub mod stream;
pub mod worker;
