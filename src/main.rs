//! Arguments, settings, one shard per core, wait for a signal; no logic.

use std::{net::SocketAddr, process::ExitCode};

use corelane::{
    admin_tool::{self, Task},
    broker,
    cli::{self, Command, ServeArgs},
    config::Settings,
    log_tool, top, tune,
};

// Chosen by measurement: bench/RESULTS.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::parse() {
        Command::Serve(args) => serve(&args),
        Command::Config(args) => args.run(),
        Command::Topic(args) => admin_tool::run(&args.target, &Task::Topic(&args.command)),
        Command::Group(args) => admin_tool::run(&args.target, &Task::Group(&args.command)),
        Command::Cluster(args) => admin_tool::run(&args.target, &Task::Cluster(&args.command)),
        Command::Bench(args) => corelane_bench::run(args),
        Command::Log(command) => log_tool::run(&command),
        Command::Tune(command) => tune::run(&command),
        Command::Top(args) => top::run(&args),
    }
}

fn serve(args: &ServeArgs) -> ExitCode {
    let settings = match Settings::from_args(args) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("corelane: {error}");
            return ExitCode::FAILURE;
        }
    };
    if args.check {
        let disk = match broker::disk_sentences(&settings) {
            Ok(disk) => disk,
            Err(error) => {
                eprintln!("corelane: {error}");
                return ExitCode::FAILURE;
            }
        };
        print!("{}{}", settings.to_toml(), settings.per_core());
        disk.iter().for_each(|share| println!("# {share}"));
        settings.warnings().iter().for_each(|warning| println!("# {warning}"));
        return ExitCode::SUCCESS;
    }
    cli::start_logging(args.log.as_deref());
    settings.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    tune::warnings(settings.shards.len()).iter().for_each(|warning| tracing::warn!("{warning}"));
    let cores: Vec<_> = settings.cores.iter().map(ToString::to_string).collect();
    let (shards, cores, data) = (settings.shards.len(), cores.join(","), settings.data_dir.clone());
    let ready = move |address, http: Option<SocketAddr>| {
        let metrics = http.map(|http| format!("; metrics on http://{http}/metrics")).unwrap_or_default();
        println!(
            "corelane ready on {address}, {shards} shards (cores {cores}), data in {}{metrics}; try: kcat -b {address} -L",
            data.display()
        );
    };
    let again = args.clone();
    match broker::run(settings, move || Settings::from_args(&again), ready) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corelane: {error}");
            ExitCode::FAILURE
        }
    }
}
