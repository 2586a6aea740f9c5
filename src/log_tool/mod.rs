//! `corelane log`: what a stopped data directory holds (`dump`), and whether it is sound (`verify`).
//!
//! Knows the files through `log` and `control`, changes none of them, and no running broker: the data
//! directory's lock is held meanwhile. In the order to read them: `verify.rs`, `dump.rs`, `progress.rs`.

mod dump;
mod progress;
mod verify;

use std::{
    collections::HashMap,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use crate::{
    control::metadata_log::{MetadataLog, MetadataLogError, topic_names},
    log::offline::{OfflineLog, Survey},
    model::{TopicId, TopicPartition},
    startup::{self, StartError},
};

/// What is to be done with a data directory.
#[derive(Debug, clap::Subcommand)]
pub enum LogCommand {
    /// Compare every byte with its checksum; exit 1 and a line per damaged range
    Verify(VerifyArgs),
    /// Print batches, and with --records what is in them
    Dump(DumpArgs),
}

/// Of `corelane log verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Data directory of a broker that is stopped
    pub data: PathBuf,
    /// One JSON object per damaged range, and one for the whole
    #[arg(long)]
    pub json: bool,
}

/// Of `corelane log dump`.
#[derive(Debug, clap::Args)]
pub struct DumpArgs {
    /// Data directory of a broker that is stopped
    pub data: PathBuf,
    /// Only this topic
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,
    /// Only this partition
    #[arg(long, value_name = "INDEX")]
    pub partition: Option<i32>,
    /// From the batch that holds this offset on
    #[arg(long, value_name = "OFFSET")]
    pub offset: Option<i64>,
    /// Print keys and values too, as text, or as hex where they are none
    #[arg(long)]
    pub records: bool,
    /// One JSON object per batch
    #[arg(long)]
    pub json: bool,
}

/// Why nothing, or not all, was looked at.
#[derive(Debug, thiserror::Error)]
enum ToolError {
    #[error(transparent)]
    Directory(#[from] StartError),
    #[error(transparent)]
    Metadata(#[from] MetadataLogError),
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("no partition here is called so; leave --topic and --partition out to see what there is")]
    NoSuchPartition,
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Runs a command; its exit status is the process's.
#[must_use]
pub fn run(command: &LogCommand) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = match command {
        LogCommand::Verify(args) => verify::verify(args, &mut out),
        LogCommand::Dump(args) => dump::dump(args, &mut out),
    };
    match done.and_then(|sound| Ok(out.flush().map(|()| sound)?)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever read has seen enough.
        Err(ToolError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corelane: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A data directory that is ours alone for now.
struct Opened {
    _directories: startup::DataDirectories,
    survey: Survey,
    names: HashMap<TopicId, String>,
    /// What is wrong with the metadata log.
    metadata: Option<MetadataLogError>,
}

fn open(data: &std::path::Path) -> Result<Opened, ToolError> {
    let directories = startup::lock_data_directories(data)?;
    let (names, metadata) = match MetadataLog::read(data) {
        Ok(commands) => (topic_names(&commands), None),
        Err(error @ MetadataLogError::Damaged { .. }) => (HashMap::new(), Some(error)),
        Err(error) => return Err(error.into()),
    };
    let survey = Survey::of(directories.all());
    Ok(Opened { _directories: directories, survey, names, metadata })
}

impl Opened {
    /// `name-index`; of a topic that the metadata log does not know, its id.
    fn name(&self, partition: TopicPartition) -> String {
        let topic = self.names.get(&partition.topic).cloned();
        format!("{}-{}", topic.unwrap_or_else(|| partition.topic.to_string()), partition.partition)
    }

    /// Whether the partition's topic has been deleted, as far as is known.
    fn is_deleted(&self, log: &OfflineLog) -> bool {
        self.metadata.is_none() && !self.names.contains_key(&log.partition.topic)
    }
}
