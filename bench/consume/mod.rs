//! The reading side: [`partition`] (one partition's place, its verification and where its values go), [`aborted`] (what
//! of it belongs to aborted transactions), [`pace`] (a
//! reader's own rate), [`session`] (what the broker remembers of a connection's fetches), [`worker`] (one thread's loop
//! of fetches over its connections).

pub mod aborted;
pub mod pace;
pub mod partition;
pub mod session;
pub mod worker;
