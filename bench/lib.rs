//! `corelane bench`: the load generator. A Kafka client of its own over plain sockets, for any Kafka broker.
//!
//! It measures honestly and it verifies. In an open loop every record has an intended send time, fixed before
//! the run; latency counts from there, so a stall of the broker shows with its whole weight, and the
//! generator's own lateness is recorded beside it. Everything consumed is checked byte by byte.
//!
//! In the order to read them:
//! - [`args`], [`run`]: the command line, and how a run is put together and reported;
//! - [`clock`], [`schedule`], [`stats`]: time, when records are due, what is counted;
//! - [`sizes`], [`keys`], [`value`], [`payload`], [`batch`], [`compression`]: what is sent;
//! - [`client`]: the protocol, as a client speaks it;
//! - [`produce`]: streams, connections, the sending thread;
//! - [`reader`], [`verify`], [`ack_log`], [`consume`]: what is read, and what is checked of it;
//! - [`validity`]: whether a run was the load that it claims to be;
//! - [`writes`]: what the broker's process writes to its disk meanwhile; [`resources`]: what else it costs; [`limits`]:
//!   what this host can do at all;
//! - [`workload`]: runs written down in files; [`sweep`]: the search for the rate at which latency bends;
//! - [`poll`]: epoll; [`pin`]: threads on cores; [`report`]: tables, JSON, interval logs, pages.
//!
//! State machines ([`schedule`], [`produce::stream`], [`produce::connection`], [`verify`], [`ack_log`]) know
//! neither sockets nor a clock; the two `worker` modules own those. No thread shares anything while it measures.

mod ack_log;
mod args;
mod batch;
pub mod client;
mod clock;
mod compression;
mod consume;
mod keys;
mod limits;
mod payload;
mod pin;
mod poll;
mod produce;
mod reader;
mod report;
mod resources;
mod run;
mod schedule;
mod sizes;
mod stats;
mod sweep;
mod validity;
mod value;
mod verify;
mod workload;
mod writes;

pub use args::Args;
use args::Task;

use std::process::ExitCode;

/// Runs the load generator. Exit status 0: done and everything verified; 1: it failed, or a violation was
/// found; 2: arguments that mean nothing.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    let done = match &args.task {
        Task::Run(mode) => {
            if let Err(text) = args::validate(mode) {
                eprintln!("error: {text}");
                return ExitCode::from(2);
            }
            run::run(mode)
        }
        Task::Workload(args) => run::run_workload(args),
        Task::Limits(args) => limits::run(args),
        Task::Report(args) => report::command::report(args),
        Task::Compare(args) => report::command::compared(args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}
