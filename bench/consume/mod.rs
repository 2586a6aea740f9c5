//! The reading side: [`partition`] (one partition's place, its verification and where its values go),
//! [`worker`] (one thread's loop of fetches over its connections).

pub mod partition;
pub mod worker;
