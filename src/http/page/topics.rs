//! What the page asks a broker: over its listener, as any client does.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use corelane_bench::client::{
    StrBytes,
    admin::AdminError,
    connection::Connection,
    messages::{
        FetchRequest, ListOffsetsRequest, MetadataRequest,
        fetch_request::{FetchPartition, FetchTopic},
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        metadata_request::MetadataRequestTopic,
        metadata_response::MetadataResponseTopic,
    },
};
use serde::Serialize;

use super::shown::{Form, Shown};
use crate::record::{
    batch::{RecordBatch, batches},
    records::{Record, Records},
};

/// Records of one answer.
pub(super) const RECORDS_MAX: usize = 200;
/// Topics of one answer, and partitions of one topic.
const TOPICS_MAX: usize = 5_000;
const PARTITIONS_MAX: usize = 5_000;
/// Headers of a record that are shown.
const HEADERS_MAX: usize = 64;
/// Bytes that are asked for at a time; a broker may send one batch that is larger.
const FETCH_BYTES_MAX: i32 = 1 << 20;
/// Fetches on the way from one offset: where transactions' markers are all there is, none of them brings a record.
/// To the last record there may be several ways, each at most half as long as the one before.
const FETCHES_MAX: usize = 16;
/// Bytes that one batch may unpack to.
const UNPACKED_BYTES_MAX: usize = 32 << 20;
/// Bytes of records in one answer; the record that passes it is the last. Where the last record is wanted, the
/// first ones make room for it.
const ANSWER_BYTES_MAX: usize = 2 << 20;

/// Versions that name topics by their names.
const METADATA_VERSION_MAX: i16 = 9;
const LIST_OFFSETS_VERSION_MAX: i16 = 7;
const FETCH_VERSION_MAX: i16 = 11;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

const NONE: i16 = 0;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_TOPIC: i16 = 17;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrowseError {
    /// What was asked for makes no sense; the same question will be refused again.
    #[error("{0}")]
    Question(String),
    /// There is no such topic or partition.
    #[error("there is no {0}")]
    Unknown(String),
    /// Too many ask at this moment.
    #[error("others are asking; try again")]
    Busy,
    /// The broker was not reached, or not understood.
    #[error(transparent)]
    Broker(#[from] AdminError),
    /// The broker refused.
    #[error("{what}: Kafka error {code}")]
    Refused { what: String, code: i16 },
    /// What is stored cannot be read.
    #[error("batch at offset {offset}: {why}")]
    Damaged { offset: i64, why: String },
    /// The question was not asked to its end.
    #[error("{0}")]
    Ended(String),
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// The first record there is.
    Earliest,
    /// So that the last of them is the last record, if that is among the last `records_max` offsets.
    Latest,
    /// This offset, or the nearest there is.
    Offset(i64),
}

/// Which records, how many, and how they are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) from: From,
    pub(super) records_max: usize,
    pub(super) form: Form,
}

/// All topics.
#[derive(Debug, Serialize)]
pub(super) struct Topics {
    topics: Vec<TopicRow>,
    /// Topics beyond [`TOPICS_MAX`].
    left_off: usize,
}

#[derive(Debug, Serialize)]
struct TopicRow {
    name: String,
    internal: bool,
    partitions: usize,
}

/// One topic.
#[derive(Debug, Serialize)]
pub(super) struct Topic {
    name: String,
    partitions: Vec<PartitionRow>,
    /// Partitions beyond [`PARTITIONS_MAX`].
    left_off: usize,
}

#[derive(Debug, Serialize)]
struct PartitionRow {
    partition: i32,
    leader: i32,
    leader_epoch: i32,
    log_start_offset: Option<i64>,
    high_watermark: Option<i64>,
}

/// Records of one partition.
#[derive(Debug, Default, Serialize)]
pub(super) struct Page {
    log_start_offset: i64,
    high_watermark: i64,
    /// Where reading began, or the first record that was kept.
    from: i64,
    /// Where to read on; `high_watermark` where all is read.
    next: i64,
    records: VecDeque<RecordRow>,
    #[serde(skip)]
    shown_bytes: usize,
}

#[derive(Debug, Serialize)]
struct RecordRow {
    offset: i64,
    timestamp: i64,
    key: Option<Shown>,
    value: Option<Shown>,
    headers: Vec<HeaderRow>,
}

#[derive(Debug, Serialize)]
struct HeaderRow {
    key: String,
    value: Option<Shown>,
}

/// A connection to the broker.
pub(super) struct Kafka(Connection);

fn refused(what: &str, code: i16) -> Result<(), BrowseError> {
    match code {
        NONE => Ok(()),
        UNKNOWN_TOPIC_OR_PARTITION | INVALID_TOPIC => Err(BrowseError::Unknown(what.to_owned())),
        code => Err(BrowseError::Refused { what: what.to_owned(), code }),
    }
}

impl Kafka {
    pub(super) fn reach(address: SocketAddr) -> Result<Self, BrowseError> {
        Ok(Self(Connection::connect(&address.to_string())?))
    }

    pub(super) fn topics(&mut self) -> Result<Topics, BrowseError> {
        let row = |topic: MetadataResponseTopic| TopicRow {
            name: topic.name.map(|name| name.to_string()).unwrap_or_default(),
            internal: topic.is_internal,
            partitions: topic.partitions.len(),
        };
        let mut topics: Vec<_> = self.metadata(None)?.into_iter().map(row).collect();
        topics.sort_by(|one, other| (one.internal, &one.name).cmp(&(other.internal, &other.name)));
        let left_off = topics.len().saturating_sub(TOPICS_MAX);
        topics.truncate(TOPICS_MAX);
        Ok(Topics { topics, left_off })
    }

    fn metadata(&mut self, name: Option<&str>) -> Result<Vec<MetadataResponseTopic>, BrowseError> {
        let asked = |name| {
            let mut topic = MetadataRequestTopic::default();
            topic.name = Some(StrBytes::from(name));
            topic
        };
        let mut request = MetadataRequest::default();
        request.allow_auto_topic_creation = false;
        request.topics = name.map(|name| vec![asked(name)]);
        Ok(self.0.ask(&request, METADATA_VERSION_MAX)?.topics)
    }

    pub(super) fn topic(&mut self, name: &str) -> Result<Topic, BrowseError> {
        let what = format!("topic {name}");
        let found = self.metadata(Some(name))?.into_iter().next();
        let mut found = found.ok_or_else(|| BrowseError::Unknown(what.clone()))?;
        refused(&what, found.error_code)?;
        found.partitions.sort_by_key(|partition| partition.partition_index);
        let left_off = found.partitions.len().saturating_sub(PARTITIONS_MAX);
        found.partitions.truncate(PARTITIONS_MAX);
        let indexes: Vec<_> = found.partitions.iter().map(|partition| partition.partition_index).collect();
        let starts = self.offsets(name, &indexes, EARLIEST)?;
        let ends = self.offsets(name, &indexes, LATEST)?;
        let row = |index, leader, leader_epoch| PartitionRow {
            partition: index,
            leader,
            leader_epoch,
            log_start_offset: starts.get(&index).and_then(|found| found.as_ref().ok().copied()),
            high_watermark: ends.get(&index).and_then(|found| found.as_ref().ok().copied()),
        };
        let partitions =
            found.partitions.iter().map(|one| row(one.partition_index, one.leader_id, one.leader_epoch));
        Ok(Topic { name: name.to_owned(), partitions: partitions.collect(), left_off })
    }

    /// The offset that a time stands for, or Kafka's error code, by partition.
    fn offsets(
        &mut self,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
    ) -> Result<BTreeMap<i32, Result<i64, i16>>, BrowseError> {
        let asked = |index: &i32| {
            let mut asked = ListOffsetsPartition::default();
            (asked.partition_index, asked.current_leader_epoch, asked.timestamp) = (*index, -1, timestamp);
            asked
        };
        let mut of_topic = ListOffsetsTopic::default();
        (of_topic.name, of_topic.partitions) =
            (StrBytes::from(topic), partitions.iter().map(asked).collect());
        let mut request = ListOffsetsRequest::default();
        (request.replica_id, request.topics) = (-1, vec![of_topic]);
        let answer = self.0.ask(&request, LIST_OFFSETS_VERSION_MAX)?;
        let found = answer.topics.into_iter().flat_map(|topic| topic.partitions);
        let offset = |code, offset| if code == NONE { Ok(offset) } else { Err(code) };
        Ok(found.map(|one| (one.partition_index, offset(one.error_code, one.offset))).collect())
    }

    fn offset(&mut self, topic: &str, partition: i32, timestamp: i64) -> Result<i64, BrowseError> {
        let what = format!("partition {partition} of topic {topic}");
        let found = self.offsets(topic, &[partition], timestamp)?.remove(&partition);
        let found = found.unwrap_or(Err(UNKNOWN_TOPIC_OR_PARTITION));
        found.or_else(|code| refused(&what, code).map(|()| LATEST))
    }

    pub(super) fn records(
        &mut self,
        topic: &str,
        partition: i32,
        wanted: &Wanted,
    ) -> Result<Page, BrowseError> {
        let log_start_offset = self.offset(topic, partition, EARLIEST)?;
        let high_watermark = self.offset(topic, partition, LATEST)?.max(log_start_offset);
        let from = match wanted.from {
            From::Earliest => log_start_offset,
            From::Latest => high_watermark.saturating_sub(wanted.records_max as i64),
            From::Offset(offset) => offset,
        };
        let mut from = from.clamp(log_start_offset, high_watermark);
        loop {
            let mut page = Page { log_start_offset, high_watermark, from, next: from, ..Page::default() };
            self.fill(topic, partition, &mut page, wanted)?;
            let (reached, wide) = (page.next - from, high_watermark - from);
            if wanted.from != From::Latest || page.next >= high_watermark || wide <= 1 {
                return Ok(page);
            }
            // As many offsets as fetches have just come over, and half of those wanted at most.
            from = high_watermark - reached.min(wide / 2).max(1);
        }
    }

    /// Adds what fetches bring, until the page is full, the end is reached, or they are too many.
    fn fill(
        &mut self,
        topic: &str,
        partition: i32,
        page: &mut Page,
        wanted: &Wanted,
    ) -> Result<(), BrowseError> {
        for _ in 0..FETCHES_MAX {
            if page.next >= page.high_watermark || page.is_full(wanted) {
                break;
            }
            let fetched = self.fetch(topic, partition, page.next)?;
            let before = page.next;
            page.add(&fetched, wanted)?;
            if page.next == before {
                break;
            }
        }
        Ok(())
    }

    fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> Result<bytes::Bytes, BrowseError> {
        let mut asked = FetchPartition::default();
        (asked.partition, asked.current_leader_epoch) = (partition, -1);
        (asked.fetch_offset, asked.partition_max_bytes) = (offset, FETCH_BYTES_MAX);
        let mut of_topic = FetchTopic::default();
        (of_topic.topic, of_topic.partitions) = (StrBytes::from(topic), vec![asked]);
        let mut request = FetchRequest::default();
        (request.max_wait_ms, request.min_bytes, request.max_bytes) = (0, 0, FETCH_BYTES_MAX);
        (request.session_id, request.session_epoch) = (0, -1);
        request.topics = vec![of_topic];
        let answer = self.0.ask(&request, FETCH_VERSION_MAX)?;
        let found = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
        let what = format!("partition {partition} of topic {topic}");
        let found = found.ok_or_else(|| BrowseError::Unknown(what.clone()))?;
        refused(&what, found.error_code)?;
        Ok(found.records.unwrap_or_default())
    }
}

impl Page {
    /// Never where the last record is wanted: then the first ones make room.
    fn is_full(&self, wanted: &Wanted) -> bool {
        wanted.from != From::Latest
            && (self.records.len() >= wanted.records_max || self.shown_bytes >= ANSWER_BYTES_MAX)
    }

    fn push(&mut self, row: RecordRow, wanted: &Wanted) {
        self.next = row.offset.saturating_add(1);
        self.shown_bytes += row.len();
        self.records.push_back(row);
        let is_over = |page: &Self| {
            page.records.len() > wanted.records_max
                || (page.shown_bytes > ANSWER_BYTES_MAX && page.records.len() > 1)
        };
        while wanted.from == From::Latest && is_over(self) {
            self.shown_bytes -= self.records.pop_front().map_or(0, |first| first.len());
            self.from = self.records.front().map_or(self.from, |first| first.offset);
        }
    }

    /// Adds the records of a fetch, as many as there is room for.
    fn add(&mut self, fetched: &[u8], wanted: &Wanted) -> Result<(), BrowseError> {
        for batch in batches(fetched) {
            let next = self.next;
            let damaged = |why: String| BrowseError::Damaged { offset: next, why };
            let batch = batch.map_err(|error| damaged(error.to_string()))?;
            if !batch.crc_matches() {
                return Err(damaged("its checksum does not match".to_owned()));
            }
            // Markers of transactions are no records of anybody.
            if !batch.is_control() && !self.add_batch(&batch, wanted).map_err(damaged)? {
                return Ok(());
            }
            self.next = self.next.max(batch.next_offset().get());
        }
        Ok(())
    }

    /// False if there is no room for all of it.
    fn add_batch(&mut self, batch: &RecordBatch<'_>, wanted: &Wanted) -> Result<bool, String> {
        let mut scratch = Vec::new();
        let records = Records::decompressed(batch, &mut scratch, UNPACKED_BYTES_MAX);
        for record in records.map_err(|error| error.to_string())? {
            let record = record.map_err(|error| error.to_string())?;
            if record.offset.get() < self.next {
                continue;
            }
            if self.is_full(wanted) {
                return Ok(false);
            }
            self.push(RecordRow::of(&record, wanted.form), wanted);
        }
        Ok(true)
    }
}

impl RecordRow {
    fn of(record: &Record<'_>, form: Form) -> Self {
        let shown = |bytes: &[u8]| Shown::of(bytes, form);
        let header = |(key, value): (&[u8], Option<&[u8]>)| HeaderRow {
            key: String::from_utf8_lossy(&key[..key.len().min(super::shown::SHOWN_BYTES_MAX)]).into_owned(),
            value: value.map(shown),
        };
        Self {
            offset: record.offset.get(),
            timestamp: record.timestamp,
            key: record.key.map(shown),
            value: record.value.map(shown),
            headers: record.headers().take(HEADERS_MAX).map(header).collect(),
        }
    }

    fn len(&self) -> usize {
        let len = |shown: &Option<Shown>| shown.as_ref().map_or(0, Shown::len);
        let headers = self.headers.iter().map(|header| header.key.len() + len(&header.value));
        len(&self.key) + len(&self.value) + headers.sum::<usize>()
    }
}
