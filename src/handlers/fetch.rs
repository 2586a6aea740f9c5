//! Fetch: reads whole batches, waits for enough of them, sends them as they lie.

use std::{cell::RefCell, rc::Rc, time::Duration};

use bytes::Bytes;

use crate::{
    log::Piece,
    metrics::{Counter, Laps, Stage},
    model::{
        ClusterView, ErrorCode, LeaderEpoch, Offset, PartitionIndex, ShardId, TopicPartition, TopicView,
    },
    partition::{ReadError, ReadOutcome},
    shard::{
        Shard,
        work::{PartitionRead, ReadLimits, ReadWork},
    },
    wire::fetch::{
        FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse, FetchTopicResponse, FramePiece,
    },
};

use super::{
    account::Account,
    dispatch::{Answer, Close, Head, Response, log_error_code},
    fetch_sessions::{FetchSessions, Mode, Told, TopicKey, Wanted},
};

/// First version that names topics by their ids. Source: KIP-516.
const FIRST_WITH_TOPIC_IDS: i16 = 13;
/// Most bytes of one response (`fetch.max.bytes`); its first batch is always whole.
const FETCH_BYTES_MAX: usize = 55 << 20;
/// Most bytes of one response that are held in memory until they are sent; more than this comes from
/// files, or with the next fetch. Also the most that `min_bytes` can wait for.
const FETCH_MEMORY_BYTES_MAX: usize = 1 << 20;
/// Isolation level "read committed".
const READ_COMMITTED: i8 = 1;

impl FramePiece for Piece {
    fn frame_bytes(&self) -> usize {
        self.len()
    }
}

/// Topic and partition, as places in the request.
type Place = (usize, usize);

struct Topic {
    key: TopicKey,
    partitions: Vec<FetchPartitionResponse<Piece>>,
}

/// What is read by one core.
struct Group {
    owner: ShardId,
    reads: Vec<PartitionRead>,
    places: Vec<Place>,
}

/// Answers one fetch. All of it happens when the response is due: fetches of a connection run in turn.
pub fn handle(
    shard: &Rc<Shard>,
    sessions: &Rc<RefCell<FetchSessions>>,
    account: Account,
    head: Head,
    body: Bytes,
    mut laps: Laps,
) -> Response {
    let (shard, sessions) = (shard.clone(), sessions.clone());
    Box::pin(async move {
        shard.lap(&mut laps, Stage::Queue);
        let pieces = fetch(&shard, &sessions, &account, head, &body, &mut laps).await?;
        Ok(Answer { pieces, laps })
    })
}

async fn fetch(
    shard: &Rc<Shard>,
    sessions: &RefCell<FetchSessions>,
    account: &Account,
    head: Head,
    body: &Bytes,
    laps: &mut Laps,
) -> Result<Vec<Piece>, Close> {
    let request = FetchRequest::parse(body, head.version)?;
    let by_ids = head.version >= FIRST_WITH_TOPIC_IDS;
    let begun = sessions.borrow_mut().begin(&request, by_ids, laps.now_us() / 1000);
    let (mode, wanted) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            shard.metrics().count_errors(head.api.key, error.number(), 1);
            return Ok(respond(head, error, Mode::Full, Vec::new(), 0));
        }
    };
    let view = shard.view();
    let (mut topics, groups) = plan(shard, &view, wanted, by_ids);
    let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).min(FETCH_BYTES_MAX);
    // Every core reads by itself.
    let memory_max = FETCH_MEMORY_BYTES_MAX / groups.len().max(1);
    let bytes_min = usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max).min(memory_max);
    let wait_max = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let refused =
        topics.iter().flat_map(|topic| &topic.partitions).any(|answer| answer.error != ErrorCode::None);
    let (until_bytes, wait_max) = if refused { (0, Duration::ZERO) } else { (bytes_min, wait_max) };
    let (works, places): (Vec<_>, Vec<_>) =
        groups.into_iter().map(|group| ((group.owner, group.reads), group.places)).unzip();
    let limits = ReadLimits { bytes_max, memory_max, ranges: true };
    shard.lap(laps, Stage::Parse);
    let (answers, waited_us) =
        shard.read(works, ReadWork { reads: Vec::new(), limits, until_bytes, wait_max }).await;
    shard.lap(laps, Stage::Read);
    laps.excuse(waited_us);
    let committed = request.isolation_level == READ_COMMITTED;
    let mut left = ReadLimits { memory_max: FETCH_MEMORY_BYTES_MAX, ..limits };
    let mut found = false;
    for (answer, places) in answers.into_iter().zip(places) {
        for (result, (topic, partition)) in answer.results.into_iter().zip(places) {
            let answer = &mut topics[topic].partitions[partition];
            let result = result.map(|mut outcome| {
                // Several cores may together have read more than was asked for; the rest comes next time.
                let bytes = outcome.bytes();
                let memory = outcome.memory_bytes();
                if found && (bytes > left.bytes_max || memory > left.memory_max) {
                    outcome.records.clear();
                } else {
                    left.bytes_max = left.bytes_max.saturating_sub(bytes);
                    left.memory_max = left.memory_max.saturating_sub(memory);
                    found |= bytes > 0;
                }
                outcome
            });
            let memory = result.as_ref().map_or(0, ReadOutcome::memory_bytes);
            shard.metrics().add(Counter::FetchMemoryBytes, memory as u64);
            fill(answer, result, committed);
            if answer.error != ErrorCode::None {
                shard.metrics().count_errors(head.api.key, answer.error.number(), 1);
            }
        }
    }
    let mut sessions = sessions.borrow_mut();
    for Topic { key, partitions } in &mut topics {
        partitions.retain(|answer| {
            let told = Told { high_watermark: answer.high_watermark, log_start: answer.log_start_offset };
            let news = answer.error != ErrorCode::None || !answer.records.is_empty();
            sessions.tells(mode, key, answer.index, news, told)
        });
    }
    topics.retain(|topic| !topic.partitions.is_empty());
    let partitions = topics.iter().flat_map(|topic| &topic.partitions);
    let bytes = partitions.flat_map(|answer| &answer.records).map(Piece::len).sum();
    for Topic { key, partitions } in &topics {
        let bytes: usize = partitions.iter().flat_map(|answer| &answer.records).map(Piece::len).sum();
        if bytes == 0 {
            continue;
        }
        let id = if by_ids { Some(key.id) } else { view.topic(&key.name).map(|topic| topic.id) };
        if let Some(id) = id {
            shard.traffic().fetched(id, bytes as u64);
        }
    }
    let throttle_ms = account.charge(shard, bytes);
    Ok(respond(head, ErrorCode::None, mode, topics, throttle_ms))
}

fn respond(head: Head, error: ErrorCode, mode: Mode, topics: Vec<Topic>, throttle_ms: i32) -> Vec<Piece> {
    let mut topics = topics;
    let topics = topics
        .iter_mut()
        .map(|topic| FetchTopicResponse {
            name: &topic.key.name,
            topic_id: topic.key.id,
            partitions: std::mem::take(&mut topic.partitions),
        })
        .collect();
    let session_id = mode.session_id();
    let response = FetchResponse { throttle_ms, error, session_id, topics, node_endpoints: Vec::new() };
    response.into_frame(head.correlation_id, head.version)
}

/// Which core reads what, in the order wanted; and an answer for what cannot be read at all.
fn plan(shard: &Shard, view: &ClusterView, wanted: Vec<Wanted>, by_ids: bool) -> (Vec<Topic>, Vec<Group>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut topics: Vec<Topic> = Vec::new();
    let unknown = if by_ids { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
    for Wanted { topic: key, partition: wanted } in wanted {
        if topics.last().is_none_or(|last| last.key != key) {
            topics.push(Topic { key: key.clone(), partitions: Vec::new() });
        }
        let at = topics.len() - 1;
        let known = if by_ids { view.topic_by_id(key.id) } else { view.topic(&key.name) };
        let owner = match known {
            Some(known) => owner_of(shard, known, &wanted),
            None => Err(unknown),
        };
        let error = match owner {
            Ok((owner, partition)) => {
                let place = (at, topics[at].partitions.len());
                add(&mut groups, owner, read_of(partition, &wanted), place);
                ErrorCode::None
            }
            Err(error) => error,
        };
        topics[at].partitions.push(FetchPartitionResponse::refused(wanted.index, error));
    }
    (topics, groups)
}

fn owner_of(
    shard: &Shard,
    topic: &TopicView,
    wanted: &FetchPartition,
) -> Result<(ShardId, TopicPartition), ErrorCode> {
    let placed =
        topic.partition(PartitionIndex::new(wanted.index)).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if !shard.settings().is_own(placed.leader) {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    Ok((placed.shard, TopicPartition { topic: topic.id, partition: placed.index }))
}

fn read_of(partition: TopicPartition, wanted: &FetchPartition) -> PartitionRead {
    PartitionRead {
        partition,
        from: Offset::new(wanted.fetch_offset),
        bytes_max: usize::try_from(wanted.partition_max_bytes).unwrap_or(0),
        leader_epoch: (wanted.current_leader_epoch >= 0)
            .then(|| LeaderEpoch::new(wanted.current_leader_epoch)),
    }
}

fn add(groups: &mut Vec<Group>, owner: ShardId, read: PartitionRead, place: Place) {
    if let Some(group) = groups.iter_mut().find(|group| group.owner == owner) {
        group.reads.push(read);
        group.places.push(place);
    } else {
        groups.push(Group { owner, reads: vec![read], places: vec![place] });
    }
}

fn fill(answer: &mut FetchPartitionResponse<Piece>, result: Result<ReadOutcome, ReadError>, committed: bool) {
    match result {
        Ok(outcome) => {
            answer.high_watermark = outcome.offsets.high_watermark.get();
            answer.last_stable_offset = outcome.offsets.last_stable_offset.get();
            answer.log_start_offset = outcome.offsets.log_start_offset.get();
            answer.aborted_transactions = committed.then(Vec::new);
            answer.records = outcome.records;
        }
        Err(error) => answer.error = read_error_code(&error),
    }
}

/// What a client is told of a read that failed.
pub(super) fn read_error_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::NotLeader => ErrorCode::NotLeaderOrFollower,
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
        ReadError::UnknownLeaderEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
        ReadError::Log(error) => log_error_code(error),
    }
}
