#![allow(missing_docs)]
use clap::Parser;
#[derive(Parser)]
struct C {
    #[command(flatten)]
    a: corelane_bench::Args,
}
fn main() -> std::process::ExitCode {
    corelane_bench::run(C::parse().a)
}
