//! The batches of a data directory as text, a line each, in the words of Kafka's own dump tool.

use std::{fmt::Write as _, io::Write};

use serde_json::{Value, json};

use super::{DumpArgs, Opened, ToolError, open, progress};
use crate::{
    log::offline::OfflineLog,
    model::{Offset, TimestampType},
    record::{
        batch::RecordBatch,
        records::{Record, Records},
    },
};

/// Most bytes that one batch is unpacked to.
const UNPACKED_BYTES_MAX: usize = 1 << 30;

/// Prints what is asked for; false if some of it could not be read.
pub(super) fn dump(args: &DumpArgs, out: &mut impl Write) -> Result<bool, ToolError> {
    let opened = open(&args.data)?;
    let wanted = |log: &&OfflineLog| {
        let topic = opened.names.get(&log.partition.topic);
        !opened.is_deleted(log)
            && args.topic.as_ref().is_none_or(|wanted| topic == Some(wanted))
            && args.partition.is_none_or(|wanted| log.partition.partition.get() == wanted)
    };
    let logs: Vec<_> = opened.survey.logs.iter().filter(wanted).collect();
    if logs.is_empty() && (args.topic.is_some() || args.partition.is_some()) {
        return Err(ToolError::NoSuchPartition);
    }
    let bytes = logs.iter().flat_map(|log| &log.segments).map(|segment| segment.length).sum();
    let bar = progress::bar(bytes);
    let mut is_sound = opened.metadata.is_none() && opened.survey.damages.is_empty();
    for log in &logs {
        is_sound &= dump_log(args, &opened, log, &bar, out)?;
    }
    bar.finish_and_clear();
    if !is_sound {
        eprintln!("corelane: some of it is damaged; `corelane log verify` says what");
    }
    Ok(is_sound)
}

fn dump_log(
    args: &DumpArgs,
    opened: &Opened,
    log: &OfflineLog,
    bar: &indicatif::ProgressBar,
    out: &mut impl Write,
) -> Result<bool, ToolError> {
    let name = opened.name(log.partition);
    let from = Offset::new(args.offset.unwrap_or(log.log_start.get()));
    let mut is_sound = true;
    for segment in log.segments.iter().filter(|segment| segment.end > from) {
        if !args.json {
            writeln!(out, "Dumping {} ({name})", segment.path.display())?;
        }
        let mut failed = Ok(());
        let damages = segment.verify(
            |position, bytes| {
                if failed.is_ok() {
                    failed = dump_batch(args, &name, Some(position), from, bytes, out);
                }
            },
            |read| bar.inc(read),
        );
        failed?;
        let damages = damages.map_err(|source| ToolError::Io { path: segment.path.clone(), source })?;
        for damage in damages {
            is_sound = false;
            let (bytes, what) = (&damage.bytes, &damage.what);
            match args.json {
                true => writeln!(
                    out,
                    "{}",
                    json!({"partition": name, "damaged": what, "from": bytes.start, "to": bytes.end})
                )?,
                false => writeln!(out, "damaged: bytes {} to {}: {what}", bytes.start, bytes.end)?,
            }
        }
    }
    if !log.journaled.is_empty() && !args.json {
        writeln!(out, "Dumping the journal ({name})")?;
    }
    for bytes in &log.journaled {
        dump_batch(args, &name, None, from, bytes, out)?;
    }
    Ok(is_sound)
}

fn dump_batch(
    args: &DumpArgs,
    name: &str,
    position: Option<u64>,
    from: Offset,
    bytes: &[u8],
    out: &mut impl Write,
) -> std::io::Result<()> {
    let Ok(Some(batch)) = RecordBatch::first(bytes) else {
        return writeln!(out, "no batch can be read from {} bytes", bytes.len());
    };
    if batch.next_offset() <= from {
        return Ok(());
    }
    let mut scratch = Vec::new();
    let records = args.records.then(|| {
        Records::decompressed(&batch, &mut scratch, UNPACKED_BYTES_MAX)
            .and_then(|records| records.collect::<Result<Vec<_>, _>>())
    });
    if args.json {
        let records = records.map(|records| match records {
            Ok(records) => Value::Array(records.iter().map(record_json).collect()),
            Err(error) => json!({"error": error.to_string()}),
        });
        return writeln!(out, "{}", batch_json(name, position, &batch, records));
    }
    writeln!(out, "{}", batch_line(position, &batch))?;
    match records {
        None => Ok(()),
        Some(Ok(records)) => {
            records.iter().try_for_each(|record| writeln!(out, "{}", record_line(&batch, record)))
        }
        Some(Err(error)) => writeln!(out, "| {error}"),
    }
}

fn codec_name(batch: &RecordBatch<'_>) -> String {
    batch.codec().map_or_else(|error| error.to_string(), |codec| format!("{codec:?}").to_lowercase())
}

fn time_name(batch: &RecordBatch<'_>) -> &'static str {
    match batch.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

/// In the words and the order of Kafka's `DumpLogSegments`.
fn batch_line(position: Option<u64>, batch: &RecordBatch<'_>) -> String {
    let last_sequence = match batch.base_sequence().get() {
        -1 => -1,
        base => ((i64::from(base) + i64::from(batch.last_offset_delta())) & i64::from(i32::MAX)) as i32,
    };
    let mut line = format!(
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {last_sequence} producerId: {} \
         producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {} isControl: {}",
        batch.base_offset(),
        batch.last_offset(),
        batch.record_count(),
        batch.base_sequence().get(),
        batch.producer_id().get(),
        batch.producer_epoch().get(),
        batch.leader_epoch().get(),
        batch.is_transactional(),
        batch.is_control(),
    );
    let horizon =
        batch.delete_horizon_ms().map_or("OptionalLong.empty".to_owned(), |ms| format!("OptionalLong[{ms}]"));
    let position = position.map_or("journal".to_owned(), |position| position.to_string());
    let _ = write!(
        line,
        " deleteHorizonMs: {horizon} position: {position} {}: {} size: {} magic: {} compresscodec: {} crc: {} isvalid: {}",
        time_name(batch),
        batch.max_timestamp(),
        batch.as_bytes().len(),
        batch.magic(),
        codec_name(batch),
        batch.stored_crc(),
        batch.crc_matches(),
    );
    line
}

fn batch_json(name: &str, position: Option<u64>, batch: &RecordBatch<'_>, records: Option<Value>) -> Value {
    let mut object = json!({
        "partition": name, "position": position, "baseOffset": batch.base_offset().get(),
        "lastOffset": batch.last_offset().get(), "count": batch.record_count(),
        "baseSequence": batch.base_sequence().get(), "producerId": batch.producer_id().get(),
        "producerEpoch": batch.producer_epoch().get(), "partitionLeaderEpoch": batch.leader_epoch().get(),
        "isTransactional": batch.is_transactional(), "isControl": batch.is_control(),
        "timestampType": time_name(batch), "maxTimestamp": batch.max_timestamp(),
        "size": batch.as_bytes().len(), "codec": codec_name(batch), "crc": batch.stored_crc(),
        "isValid": batch.crc_matches(),
    });
    if let Some(records) = records {
        object["records"] = records;
    }
    object
}

fn record_line(batch: &RecordBatch<'_>, record: &Record<'_>) -> String {
    let size = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i64);
    let headers: Vec<String> =
        record.headers().map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect();
    let mut line = format!(
        "| offset: {} {}: {} keySize: {} valueSize: {} headerKeys: [{}]",
        record.offset,
        time_name(batch),
        record.timestamp,
        size(record.key),
        size(record.value),
        headers.join(",")
    );
    for (what, bytes) in [("key", record.key), ("payload", record.value)] {
        if let Some(bytes) = bytes {
            let _ = write!(line, " {what}: {}", text_or_hex(bytes));
        }
    }
    line
}

fn record_json(record: &Record<'_>) -> Value {
    let headers: Vec<Value> =
        record.headers().map(|(key, value)| json!([text_or_hex(key), value.map(text_or_hex)])).collect();
    json!({"offset": record.offset.get(), "timestamp": record.timestamp, "key": record.key.map(text_or_hex),
        "value": record.value.map(text_or_hex), "headers": headers})
}

/// Text of one line as it is, everything else as `0x` and hex.
fn text_or_hex(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.iter().fold("0x".to_owned(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_of_one_line_or_hex() {
        assert_eq!(text_or_hex("käse".as_bytes()), "käse");
        assert_eq!(text_or_hex(b"a\nb"), "0x610a62");
        assert_eq!(text_or_hex(&[0xff, 0]), "0xff00");
        assert_eq!(text_or_hex(b""), "");
    }
}
