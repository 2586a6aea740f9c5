//! The kernel's side: the only room that names glommio or io_uring, or writes `unsafe`.
//!
//! Everything that touches a socket, a disk or a clock ends here, behind plain functions and narrow
//! traits. The room knows no Kafka: no batch, no offset, no topic.

#![allow(unsafe_code, reason = "the one room where the kernel is spoken to; each use has its SAFETY line")]

pub mod buffer;
pub mod clock;
pub mod cores;
pub mod direct;
pub mod disk;
pub mod doorbell;
pub mod file_range;
mod idle;
pub mod mailbox;
pub mod net;
pub mod notify;
pub mod probe;
pub mod ring;
pub mod send;
pub mod signal;
pub mod sim;
mod turns;
