//! `corelane group list | describe | reset-offsets | delete`

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};
use corelane_bench::client::{
    StrBytes,
    messages::{
        DeleteGroupsRequest, FindCoordinatorRequest, ListGroupsRequest, OffsetCommitRequest,
        OffsetFetchRequest,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    },
};
use serde_json::Value;

use super::{
    Cluster, Report, ToolError,
    lag::{self, Offsets},
    refusal,
};

const FIND_COORDINATOR_MAX: i16 = 3;
const LIST_GROUPS_MAX: i16 = 5;
const OFFSET_FETCH_MAX: i16 = 7;
const OFFSET_COMMIT_MAX: i16 = 8;
const DELETE_GROUPS_MAX: i16 = 2;
/// How often a coordinator that is still loading is asked again, and how long that may take in all.
const LOADING_PAUSE: Duration = Duration::from_millis(200);
const LOADING_TRIES_MAX: u32 = 50;
const LOADING: [i16; 2] = [14, 15];

/// `corelane group`
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// All groups
    List,
    /// How far a group has come, and how far it is behind
    Describe {
        /// Its id
        group: String,
    },
    /// Let a group without members read on from elsewhere
    ResetOffsets(ResetOffsets),
    /// Forget groups without members
    Delete {
        /// Ids
        #[arg(required = true)]
        groups: Vec<String>,
    },
}

/// `corelane group reset-offsets`
#[derive(Debug, Args)]
pub struct ResetOffsets {
    /// Its id
    group: String,
    /// Topics; none: all that it has offsets of
    #[arg(long = "topic", value_name = "NAME")]
    topics: Vec<String>,
    #[command(flatten)]
    to: Place,
    /// Do it; otherwise only show what would be done
    #[arg(long)]
    execute: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// The first offset there is
    #[arg(long)]
    to_earliest: bool,
    /// The end
    #[arg(long)]
    to_latest: bool,
    /// The first record at or after: 2026-05-01T12:00:00Z, or milliseconds since 1970
    #[arg(long, value_name = "TIME", value_parser = time_ms)]
    to_datetime: Option<i64>,
    /// This offset
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// So many records on, or back if negative
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    shift_by: Option<i64>,
}

pub(super) fn run(cluster: &mut Cluster, command: &GroupCommand) -> Result<Report, ToolError> {
    match command {
        GroupCommand::List => list(cluster),
        GroupCommand::Describe { group } => describe(cluster, group),
        GroupCommand::ResetOffsets(reset) => reset_offsets(cluster, reset),
        GroupCommand::Delete { groups } => delete(cluster, groups),
    }
}

fn list(cluster: &mut Cluster) -> Result<Report, ToolError> {
    let mut report = Report::new(&["group", "state", "type", "protocol"]);
    let brokers = cluster.metadata(Some(&[]))?.brokers;
    let mut groups = Vec::new();
    for broker in brokers {
        let address = format!("{}:{}", broker.host, broker.port);
        let answer = patiently(|| {
            let answer = cluster.at(&address)?.ask(&ListGroupsRequest::default(), LIST_GROUPS_MAX)?;
            Ok((answer.error_code, answer))
        })?;
        if let Some(error) = refusal("groups", answer.error_code, None) {
            return Err(error);
        }
        groups.extend(answer.groups);
    }
    groups.sort_by(|a, b| a.group_id.as_str().cmp(b.group_id.as_str()));
    for group in groups {
        let text = |text: &StrBytes| match text.as_str() {
            "" => Value::Null,
            text => text.into(),
        };
        report.row([
            text(&group.group_id),
            text(&group.group_state),
            text(&group.group_type),
            text(&group.protocol_type),
        ]);
    }
    Ok(report)
}

/// Asks again while a coordinator loads its groups. The first of what comes back is its error code.
fn patiently<T>(mut ask: impl FnMut() -> Result<(i16, T), ToolError>) -> Result<T, ToolError> {
    for _ in 1..LOADING_TRIES_MAX {
        let (code, answer) = ask()?;
        if !LOADING.contains(&code) {
            return Ok(answer);
        }
        std::thread::sleep(LOADING_PAUSE);
    }
    ask().map(|(_, answer)| answer)
}

fn coordinator(cluster: &mut Cluster, group: &str) -> Result<String, ToolError> {
    let mut request = FindCoordinatorRequest::default();
    request.key = StrBytes::from(group);
    let answer = patiently(|| {
        let answer = cluster.any().ask(&request, FIND_COORDINATOR_MAX)?;
        Ok((answer.error_code, answer))
    })?;
    match refusal(format!("coordinator of group {group}"), answer.error_code, answer.error_message.as_ref()) {
        Some(error) => Err(error),
        None => Ok(format!("{}:{}", answer.host, answer.port)),
    }
}

/// What the group has committed.
fn committed(cluster: &mut Cluster, group: &str) -> Result<Offsets, ToolError> {
    let address = coordinator(cluster, group)?;
    let mut request = OffsetFetchRequest::default();
    (request.group_id, request.topics) = (StrBytes::from(group), None);
    let answer = patiently(|| {
        let answer = cluster.at(&address)?.ask(&request, OFFSET_FETCH_MAX)?;
        Ok((answer.error_code, answer))
    })?;
    if let Some(error) = refusal(format!("offsets of group {group}"), answer.error_code, None) {
        return Err(error);
    }
    let mut offsets = Offsets::new();
    for topic in &answer.topics {
        for partition in topic.partitions.iter().filter(|partition| partition.committed_offset >= 0) {
            offsets.insert((topic.name.to_string(), partition.partition_index), partition.committed_offset);
        }
    }
    Ok(offsets)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn describe(cluster: &mut Cluster, group: &str) -> Result<Report, ToolError> {
    let offsets = committed(cluster, group)?;
    let mut report = Report::new(&["topic", "partition", "offset", "log_end", "lag", "lag_seconds"]);
    if offsets.is_empty() {
        report.note(format!("group {group} has committed no offsets"));
        return Ok(report);
    }
    let topics: Vec<String> =
        offsets.keys().map(|place| place.0.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    let answer = cluster.metadata(Some(&topics))?;
    let known: BTreeSet<(String, i32)> = answer
        .topics
        .iter()
        .flat_map(|topic| {
            let name = topic.name.as_ref().map(ToString::to_string).unwrap_or_default();
            topic.partitions.iter().map(move |partition| (name.clone(), partition.partition_index))
        })
        .collect();
    let here: Vec<_> = offsets.keys().filter(|place| known.contains(place)).cloned().collect();
    let ends = lag::offsets(cluster, &answer, &here, lag::LATEST)?;
    let behind: Offsets = offsets
        .iter()
        .filter(|(place, offset)| ends.get(*place).is_some_and(|end| end > offset))
        .map(|(place, offset)| (place.clone(), *offset))
        .collect();
    let written = lag::written_ms(cluster, &answer, &behind)?;
    let now_ms = now_ms();
    for (place, offset) in &offsets {
        let end = ends.get(place);
        let seconds = match (end, written.get(place)) {
            (Some(end), _) if end <= offset => Value::from(0),
            (_, Some(written_ms)) => Value::from((now_ms - written_ms).max(0) / 1000),
            _ => Value::Null,
        };
        report.row([
            place.0.clone().into(),
            place.1.into(),
            (*offset).into(),
            end.map_or(Value::Null, |end| (*end).into()),
            end.map_or(Value::Null, |end| (end - offset).max(0).into()),
            seconds,
        ]);
    }
    Ok(report)
}

fn reset_offsets(cluster: &mut Cluster, reset: &ResetOffsets) -> Result<Report, ToolError> {
    let before = committed(cluster, &reset.group)?;
    let topics: BTreeSet<String> = match reset.topics.is_empty() {
        true => before.keys().map(|place| place.0.clone()).collect(),
        false => reset.topics.iter().cloned().collect(),
    };
    if topics.is_empty() {
        let why = format!("group {} has committed no offsets: name topics with --topic", reset.group);
        return Err(ToolError::Usage(why));
    }
    let topics: Vec<String> = topics.into_iter().collect();
    let answer = cluster.metadata(Some(&topics))?;
    let mut partitions = Vec::new();
    for topic in &answer.topics {
        let name = topic.name.as_ref().map(ToString::to_string).unwrap_or_default();
        if let Some(error) = refusal(format!("topic {name}"), topic.error_code, None) {
            return Err(error);
        }
        partitions.extend(topic.partitions.iter().map(|partition| (name.clone(), partition.partition_index)));
    }
    partitions.sort();
    let starts = lag::offsets(cluster, &answer, &partitions, lag::EARLIEST)?;
    let ends = lag::offsets(cluster, &answer, &partitions, lag::LATEST)?;
    let timed = match reset.to.to_datetime {
        Some(time_ms) => lag::offsets(cluster, &answer, &partitions, time_ms)?,
        None => Offsets::new(),
    };
    let mut after = Offsets::new();
    for place in &partitions {
        let (start, end) = (starts.get(place).copied().unwrap_or(0), ends.get(place).copied().unwrap_or(0));
        let wanted = if reset.to.to_earliest {
            start
        } else if reset.to.to_latest {
            end
        } else if let Some(offset) = reset.to.to_offset {
            offset
        } else if let Some(records) = reset.to.shift_by {
            // Who has committed nothing stays so.
            let Some(offset) = before.get(place) else { continue };
            offset.saturating_add(records)
        } else {
            // No record so late: the end.
            timed.get(place).copied().filter(|offset| *offset >= 0).unwrap_or(end)
        };
        after.insert(place.clone(), wanted.clamp(start, end));
    }
    let mut report = Report::new(&["topic", "partition", "before", "after"]);
    for (place, offset) in &after {
        let before = before.get(place).map_or(Value::Null, |offset| (*offset).into());
        report.row([place.0.clone().into(), place.1.into(), before, (*offset).into()]);
    }
    if reset.execute {
        commit(cluster, &reset.group, &after)?;
    } else {
        report.note("nothing was changed; --execute does it");
    }
    Ok(report)
}

fn commit(cluster: &mut Cluster, group: &str, offsets: &Offsets) -> Result<(), ToolError> {
    let address = coordinator(cluster, group)?;
    let mut request = OffsetCommitRequest::default();
    (request.group_id, request.generation_id_or_member_epoch) = (StrBytes::from(group), -1);
    for ((topic, index), offset) in offsets {
        let mut partition = OffsetCommitRequestPartition::default();
        (partition.partition_index, partition.committed_offset) = (*index, *offset);
        partition.committed_leader_epoch = -1;
        partition.committed_metadata = Some(StrBytes::from(""));
        match request.topics.last_mut().filter(|last| last.name.as_str() == topic) {
            Some(last) => last.partitions.push(partition),
            None => {
                let mut of_topic = OffsetCommitRequestTopic::default();
                (of_topic.name, of_topic.partitions) = (StrBytes::from(topic.as_str()), vec![partition]);
                request.topics.push(of_topic);
            }
        }
    }
    let answer = cluster.at(&address)?.ask(&request, OFFSET_COMMIT_MAX)?;
    let codes =
        answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
    for code in codes {
        let what = format!("offsets of group {group} (it must have no members)");
        if let Some(error) = refusal(what, code, None) {
            return Err(error);
        }
    }
    Ok(())
}

fn delete(cluster: &mut Cluster, groups: &[String]) -> Result<Report, ToolError> {
    let mut report = Report::new(&["group", "result"]);
    for group in groups {
        let address = coordinator(cluster, group)?;
        let mut request = DeleteGroupsRequest::default();
        request.groups_names = vec![StrBytes::from(group.as_str())];
        let answer = cluster.at(&address)?.ask(&request, DELETE_GROUPS_MAX)?;
        for result in &answer.results {
            if result.error_code == 0 {
                report.row([group.as_str().into(), "deleted".into()]);
            } else {
                report.fail();
                report.row([group.as_str().into(), super::code_text(result.error_code).into()]);
            }
        }
    }
    Ok(report)
}

/// Milliseconds since 1970 from themselves, or from `YYYY-MM-DD[Thh:mm[:ss]][Z]` in UTC.
fn time_ms(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let expected = || "expected a time like 2026-05-01T12:00:00Z, or milliseconds since 1970".to_owned();
    let (date, time) =
        text.trim_end_matches('Z').split_once('T').unwrap_or((text.trim_end_matches('Z'), "00:00"));
    let numbers = |text: &str, by: char| {
        text.split(by).map(|part| part.parse::<i64>().ok()).collect::<Option<Vec<_>>>()
    };
    let date = numbers(date, '-').ok_or_else(expected)?;
    let time = numbers(time, ':').ok_or_else(expected)?;
    let (&[year, month, day], &[hour, minute, ..]) = (&date[..], &time[..]) else { return Err(expected()) };
    let second = time.get(2).copied().unwrap_or(0);
    let fits = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && time.len() <= 3;
    if !fits {
        return Err(expected());
    }
    // Days since 1970 of a civil date. Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let (shifted, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let era = shifted.div_euclid(400);
    let of_era = shifted - era * 400;
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Ok((days * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_utc() {
        assert_eq!(time_ms("0"), Ok(0));
        assert_eq!(time_ms("1970-01-01T00:00:01Z"), Ok(1_000));
        assert_eq!(time_ms("2000-03-01"), Ok(951_868_800_000));
        assert_eq!(time_ms("2026-11-21T06:30"), Ok(1_795_242_600_000));
        for wrong in ["soon", "2026-13-01", "2026-01-01T25:00", "2026-01", "2026-01-01T1"] {
            assert!(time_ms(wrong).is_err(), "{wrong}");
        }
    }
}
