//! `corelane tune`: what of the host matters to a broker, knob by knob: check, apply, undo.
//!
//! The room reads and writes files of the host below one root (`host.rs`), and knows nothing of a running broker.
//! In the order to read them: `knob.rs` (what a knob is), `knobs/` (one file each), `change.rs` and `record.rs`
//! (how a change is made so that it can be taken back, also after `kill -9`), `work.rs` (all knobs at once),
//! `profile.rs`, `device.rs` (from the data directory to its disks), `report.rs`; `disk.rs` measures,
//! `doctor.rs` explains; `at_start.rs` is what the broker itself says of the host.

mod at_start;
mod change;
mod device;
mod disk;
mod doctor;
mod host;
mod knob;
mod knobs;
mod profile;
mod record;
mod report;
mod work;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

pub use at_start::warnings;

use self::{
    change::{Change, Undone},
    host::Host,
    knob::{Knob, Scene},
    knobs::KNOBS,
    profile::{PROFILES, Wanted},
    record::RECORD,
    work::{Applied, Look, TuneError},
};

/// What is to be done with the host.
#[derive(Debug, clap::Subcommand)]
pub enum TuneCommand {
    /// Show what is there and what is wanted; exit 1 if they differ
    Check(CheckArgs),
    /// Change what differs, and record what was found
    Apply(ApplyArgs),
    /// Restore exactly what apply found
    Undo(UndoArgs),
    /// Measure the data directory's disk; writes io-properties.toml there
    Disk(DiskArgs),
    /// List the knobs and the profiles
    List,
}

/// Which host, which disk, what is wanted.
#[derive(Debug, clap::Args)]
pub struct Scope {
    /// Data directory: the disks below it are meant
    #[arg(long, value_name = "DIR", default_value = "./corelane-data")]
    pub data: PathBuf,
    /// A profile, by name or file; its [host] section says what is wanted
    #[arg(long, value_name = "NAME|FILE")]
    pub profile: Option<String>,
    /// Only these knobs
    #[arg(long, value_name = "KNOB,...", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Not these knobs
    #[arg(long, value_name = "KNOB,...", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Directory that is taken for /
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
}

/// Of `corelane tune check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// What is looked at.
    #[command(flatten)]
    pub scope: Scope,
    /// Say whether a broker can run here, and what exactly helps if not
    #[arg(long, conflicts_with = "json")]
    pub explain: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Of `corelane tune apply`.
#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    /// What is changed.
    #[command(flatten)]
    pub scope: Scope,
    /// Print the commands, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The record [default: /var/lib/corelane/tune.toml]
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// Of `corelane tune undo`.
#[derive(Debug, clap::Args)]
pub struct UndoArgs {
    /// Print the commands, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The record [default: /var/lib/corelane/tune.toml]
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Directory that is taken for /
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
}

/// Of `corelane tune disk`.
#[derive(Debug, clap::Args)]
pub struct DiskArgs {
    /// Data directory: it must exist
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Size of the file that is written and read meanwhile
    #[arg(long, value_name = "MIB", default_value = "512", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub file_mib: u64,
    /// How long each pattern runs at each depth
    #[arg(long, value_name = "MS", default_value = "500", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub each_ms: u64,
    /// Where to write [default: DIR/io-properties.toml]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Why a command ended with status 1.
#[derive(Debug, thiserror::Error)]
enum ToolError {
    #[error(transparent)]
    Tune(#[from] TuneError),
    #[error("{0}")]
    Usage(String),
}

/// Runs a command; its exit status is the process's.
#[must_use]
pub fn run(command: &TuneCommand) -> ExitCode {
    let done = match command {
        TuneCommand::Check(args) => check(args),
        TuneCommand::Apply(args) => apply(args),
        TuneCommand::Undo(args) => undo(args),
        TuneCommand::Disk(args) => measure(args),
        TuneCommand::List => {
            list();
            Ok(true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("corelane: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Scope {
    fn look(&self, host: &Host) -> Result<Vec<Look>, ToolError> {
        let wanted = self.profile.as_deref().map(Wanted::of).transpose().map_err(ToolError::Usage)?;
        let data = self.data()?;
        let scene = Scene { host, data: &data, disks: device::disks_of(host, &data) };
        Ok(work::look(&scene, self.knobs()?, &wanted.unwrap_or_default())?)
    }

    fn data(&self) -> Result<PathBuf, ToolError> {
        std::path::absolute(&self.data).map_err(|error| ToolError::Usage(error.to_string()))
    }

    fn knobs(&self) -> Result<Vec<&'static Knob>, ToolError> {
        let named = |names: &[String]| -> Result<Vec<&'static str>, ToolError> {
            names
                .iter()
                .map(|name| profile::find(name).map(|knob| knob.name).map_err(ToolError::Usage))
                .collect()
        };
        let (only, skip) = (named(&self.only)?, named(&self.skip)?);
        let is_meant =
            |knob: &&Knob| (only.is_empty() || only.contains(&knob.name)) && !skip.contains(&knob.name);
        Ok(KNOBS.iter().filter(is_meant).collect())
    }
}

fn check(args: &CheckArgs) -> Result<bool, ToolError> {
    let host = Host::at(&args.scope.root);
    if args.explain {
        let (symptoms, remedies) = doctor::judge(&doctor::examine(&host, &args.scope.data()?));
        print!("{}", doctor::text(&symptoms, &remedies));
        return Ok(doctor::is_well(&symptoms));
    }
    let looks = args.scope.look(&host)?;
    if args.json {
        println!("{:#}", report::as_json(&looks));
    } else {
        print!("{}", report::table(&looks));
    }
    Ok(work::all_fits(&looks))
}

fn record_path(given: Option<&PathBuf>, host: &Host) -> PathBuf {
    given.cloned().unwrap_or_else(|| host.real(Path::new(RECORD)))
}

fn apply(args: &ApplyArgs) -> Result<bool, ToolError> {
    let host = Host::at(&args.scope.root);
    let looks = args.scope.look(&host)?;
    if args.dry_run {
        work::changes(&looks).filter_map(|(change, _)| change.command()).for_each(|line| println!("{line}"));
        return Ok(true);
    }
    let record = record_path(args.record.as_ref(), &host);
    let Applied { changed, refused } = work::apply(&host, &looks, &record)?;
    changed.iter().filter_map(Change::command).for_each(|line| println!("{line}"));
    for (change, error) in &refused {
        eprintln!("corelane: the kernel does not take it: {}: {error}", change.path().display());
    }
    if changed.is_empty() && refused.is_empty() {
        println!("nothing to change");
    } else {
        println!("{} changed; what was found is in {}", changed.len(), record.display());
    }
    Ok(refused.is_empty())
}

fn undo(args: &UndoArgs) -> Result<bool, ToolError> {
    let host = Host::at(&args.root);
    let path = record_path(args.record.as_ref(), &host);
    if args.dry_run {
        let record = record::Record::open_existing(&host, &path).map_err(TuneError::from)?;
        let changes = record.as_ref().map(record::Record::changes).unwrap_or_default();
        changes.iter().for_each(|change| println!("{}", change.undo_command()));
        return Ok(true);
    }
    let Some(undone) = work::undo(&host, &path)? else {
        println!("nothing to undo: there is no {}", path.display());
        return Ok(true);
    };
    for (change, what) in &undone {
        match what {
            Undone::Restored => println!("{}", change.undo_command()),
            Undone::AsFound => {}
            Undone::Gone => println!("# {} is there no more", change.path().display()),
        }
    }
    let restored = undone.iter().filter(|(_, what)| *what == Undone::Restored).count();
    println!("{restored} restored; everything is as it was found");
    Ok(true)
}

fn measure(args: &DiskArgs) -> Result<bool, ToolError> {
    if !args.data.is_dir() {
        let place = args.data.display();
        return Err(ToolError::Usage(format!("{place} is no directory; make it first: mkdir -p {place}")));
    }
    let plan = disk::Plan {
        directory: args.data.clone(),
        file_bytes: args.file_mib << 20,
        each: Duration::from_millis(args.each_ms),
    };
    let properties = disk::measure(plan, |one| println!("{}", disk::line(one))).map_err(ToolError::Usage)?;
    let out = args.out.clone().unwrap_or_else(|| disk::default_out(&args.data));
    disk::write(&properties, &out)
        .map_err(|error| ToolError::Usage(format!("{}: {error}", out.display())))?;
    let bounds = properties.bounds;
    println!(
        "worth having in flight: {} reads, {} writes; written to {}",
        bounds.reads_in_flight_max,
        bounds.writes_in_flight_max,
        out.display()
    );
    Ok(true)
}

fn list() {
    for knob in KNOBS {
        let wanted = if knob.wanted.is_empty() { "(told)" } else { knob.wanted };
        println!("{:<17} {wanted:<12} {}", knob.name, knob.why);
    }
    let names: Vec<_> = PROFILES.iter().map(|(name, _)| *name).collect();
    println!("profiles: {}", names.join(", "));
}

#[cfg(test)]
mod scratch;
#[cfg(test)]
mod tests;
