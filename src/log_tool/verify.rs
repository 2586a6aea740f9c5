//! Every byte of a data directory against its checksum.

use std::io::Write;

use serde_json::json;

use super::{Opened, ToolError, VerifyArgs, open, progress};
use crate::log::offline::Damage;

/// Says what is damaged; true if nothing is.
pub(super) fn verify(args: &VerifyArgs, out: &mut impl Write) -> Result<bool, ToolError> {
    let opened = open(&args.data)?;
    let mut damages = 0_u64;
    if let Some(error) = &opened.metadata {
        damages += 1;
        match args.json {
            true => writeln!(out, "{}", json!({"damaged": error.to_string()}))?,
            false => writeln!(out, "damaged: {error}")?,
        }
    }
    for damage in &opened.survey.damages {
        damages += 1;
        report(&opened, damage, args.json, out)?;
    }
    let logs: Vec<_> = opened.survey.logs.iter().filter(|log| !opened.is_deleted(log)).collect();
    let segments = || logs.iter().flat_map(|log| &log.segments);
    let bar = progress::bar(segments().map(|segment| segment.length).sum());
    let (mut batches, mut bytes) = (0_u64, 0_u64);
    for segment in segments() {
        let found = segment.verify(
            |_, _| batches += 1,
            |read| {
                bytes += read;
                bar.inc(read);
            },
        );
        let found = found.map_err(|source| ToolError::Io { path: segment.path.clone(), source })?;
        damages += found.len() as u64;
        bar.suspend(|| found.iter().try_for_each(|damage| report(&opened, damage, args.json, out)))?;
    }
    bar.finish_and_clear();
    let journaled: u64 = logs.iter().map(|log| log.journaled.len() as u64).sum();
    if args.json {
        let whole = json!({"partitions": logs.len(), "segments": segments().count(), "batches": batches,
            "bytes": bytes, "journaled_batches": journaled, "damages": damages});
        writeln!(out, "{whole}")?;
    } else {
        writeln!(
            out,
            "{} partitions, {} segments, {batches} batches, {bytes} bytes; {journaled} batches in the journal; {}",
            logs.len(),
            segments().count(),
            if damages == 0 { "all sound".to_owned() } else { format!("{damages} damaged ranges") }
        )?;
    }
    Ok(damages == 0)
}

fn report(opened: &Opened, damage: &Damage, as_json: bool, out: &mut impl Write) -> std::io::Result<()> {
    let partition = damage.partition.map(|partition| opened.name(partition));
    let (bytes, offsets) = (&damage.bytes, &damage.offsets);
    if as_json {
        let line = json!({"damaged": damage.what, "file": damage.path.display().to_string(),
            "from": bytes.start, "to": bytes.end, "partition": partition,
            "first_offset": offsets.start.get(), "next_offset": offsets.end.get()});
        return writeln!(out, "{line}");
    }
    write!(out, "damaged: {}", damage.path.display())?;
    if !bytes.is_empty() {
        write!(out, " bytes {} to {}", bytes.start, bytes.end)?;
    }
    if let Some(partition) = partition {
        write!(out, ", {partition}")?;
    }
    if !offsets.is_empty() {
        write!(out, " offsets {} to {}", offsets.start, offsets.end)?;
    }
    writeln!(out, ": {}", damage.what)
}
