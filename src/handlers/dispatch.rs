//! From a frame to what will become its response: one plain match from API key to handler.

use std::{cell::RefCell, future::Future, pin::Pin, rc::Rc, sync::Arc};

use bytes::Bytes;

use super::{
    Client, Context, ControlClient, GroupClient, HandlerSettings, Peer, ProducerIds,
    account::Account,
    alter_configs, alter_partition_reassignments, api_versions, client_quotas, create_partitions,
    create_topics, delete_records, delete_topics, describe_cluster, describe_configs, describe_log_dirs,
    describe_producers, describe_topic_partitions, elect_leaders,
    errors::Errors,
    fetch,
    fetch_sessions::FetchSessions,
    groups::{
        consumer_describe, consumer_heartbeat, delete_groups, describe_groups, find_coordinator, heartbeat,
        join_group, leave_group, list_groups, offset_commit, offset_delete, offset_fetch, sync_group,
    },
    init_producer_id, list_offsets, list_partition_reassignments, metadata, offset_for_leader_epoch, produce,
};
use crate::{
    config::Settings,
    control::{ControlFailure, ControlReply, ControlRequest},
    coordinator::{
        messages::{CoordinatorError, GroupRequest, GroupResult, Listed},
        service::Coordinator,
    },
    log::{LogError, Piece},
    metrics::{Laps, RequestKind, ShardMetrics, Stage, Timing},
    model::{ErrorCode, PartitionIndex, PartitionView, ShardId, TopicView, quotas::QuotaKind},
    shard::Shard,
    wire::{
        api::{self, Api, ApiKey},
        codec::WireError,
        header::parse_request_header,
        messages::{KafkaResponse, decode_body, encode_response},
    },
};

/// What will become a response. Polled when the responses before it are out.
pub type Response = Pin<Box<dyn Future<Output = Result<Answer, Close>>>>;

/// A response.
pub struct Answer {
    /// Its frame; none if the client wants no answer.
    pub pieces: Vec<Piece>,
    /// Where its time went so far.
    pub laps: Laps,
}

/// Why a connection is closed instead of an answer.
#[derive(Debug, thiserror::Error)]
pub enum Close {
    /// The request cannot be read, so its answer could not be trusted either.
    #[error("malformed request: {0}")]
    Malformed(#[from] WireError),
    /// No such API, or not in this version; Kafka closes as well.
    #[error("API key {api_key} version {version} is not served")]
    Unsupported {
        /// The API's number.
        api_key: i16,
        /// The version asked for.
        version: i16,
    },
    /// A produce that wants no answer failed: closing is the only way to tell.
    #[error("produce with acks=0 failed: {0:?}")]
    ProduceUnanswered(ErrorCode),
}

/// What a handler has to know of its request's header.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// The API's row.
    pub api: &'static Api,
    /// The version of request and response.
    pub version: i16,
    /// Names the request in its response.
    pub correlation_id: i32,
}

/// The handlers of one core: its shard, and what they keep between requests.
pub struct Handlers {
    shard: Rc<Shard>,
    settings: RefCell<Shown>,
    producer_ids: ProducerIds,
    fetch_sessions: Rc<RefCell<FetchSessions>>,
    groups: Rc<Coordinator>,
}

/// Settings with what handlers make of them.
struct Shown {
    of: Arc<Settings>,
    made: Rc<HandlerSettings>,
}

impl Shown {
    fn of(settings: Arc<Settings>) -> Self {
        Self { made: Rc::new(HandlerSettings::new(&settings)), of: settings }
    }
}

impl ControlClient for Shard {
    fn call(&self, request: ControlRequest) -> Pin<Box<dyn Future<Output = ControlReply> + '_>> {
        Box::pin(async move {
            let stopped = ControlReply::Failed(ControlFailure::Unavailable);
            self.ask_control(request).await.unwrap_or(stopped)
        })
    }
}

impl GroupClient for Rc<Coordinator> {
    fn ask<'a>(
        &'a self,
        group: &'a str,
        request: GroupRequest,
    ) -> Pin<Box<dyn Future<Output = GroupResult> + 'a>> {
        Box::pin(Coordinator::ask(self, group, request))
    }

    fn list_all(&self) -> Pin<Box<dyn Future<Output = Result<Vec<Listed>, CoordinatorError>> + '_>> {
        Box::pin(Coordinator::list_all(self))
    }
}

impl Handlers {
    /// Handlers that ask `shard` for work, and `groups` for groups.
    #[must_use]
    pub fn new(shard: Rc<Shard>, groups: Rc<Coordinator>) -> Rc<Self> {
        let of = shard.settings();
        let sessions_max = of.fetch_sessions_max.div_ceil(of.shards.len());
        let mut first_id = [0; 4];
        // Without random bits sessions count from 1: a client of an earlier start is then told by its epoch.
        let _ = getrandom::fill(&mut first_id);
        let first_id = i32::from_ne_bytes(first_id) & i32::MAX;
        Rc::new(Self {
            shard,
            settings: RefCell::new(Shown::of(of)),
            producer_ids: ProducerIds::default(),
            fetch_sessions: Rc::new(RefCell::new(FetchSessions::new(sessions_max, first_id))),
            groups,
        })
    }

    /// The core's shard.
    #[must_use]
    pub fn shard(&self) -> &Rc<Shard> {
        &self.shard
    }

    /// Takes one frame, without its length.
    ///
    /// A produce is handed over within this call, in the order of the connection's requests;
    /// everything else happens when its response is due. The frame was whole at `whole_us`, by the core's
    /// clock.
    ///
    /// # Errors
    /// [`Close`]: nothing of the request was done.
    pub fn dispatch(
        self: &Rc<Self>,
        peer: &Rc<Peer>,
        frame: Bytes,
        whole_us: u64,
    ) -> Result<Response, Close> {
        let (header, body_at) = parse_request_header(&frame)?;
        let (api_key, version) = (header.api_key, header.api_version);
        let unsupported = Close::Unsupported { api_key, version };
        let Some(api) = api::find(api_key) else { return Err(unsupported) };
        let head = Head { api, version, correlation_id: header.correlation_id };
        let timing = Timing::of(self.shard.metrics().count_request(api_key), frame.len());
        peer.called(header.client_id);
        if !api.serves(version) {
            if api_key != ApiKey::API_VERSIONS {
                return Err(unsupported);
            }
            tracing::debug!(peer = ?peer.address, version, "ApiVersions answered in version 0");
            let head = Head { version: 0, ..head };
            let pieces = frame_of(self.shard.metrics(), head, &api_versions::unsupported_version())?;
            let laps = Laps::new(api_key, RequestKind::Other, Timing::Exact, whole_us);
            return Ok(Box::pin(async move { Ok(Answer { pieces, laps }) }));
        }
        let body = frame.slice(body_at..);
        match api_key {
            ApiKey::PRODUCE => {
                let account = Account::new(&self.shard, peer, header.client_id, QuotaKind::Produce);
                let laps = Laps::new(api_key, RequestKind::Produce, timing, whole_us);
                produce::handle(&self.shard, &account, head, &body, laps)
            }
            ApiKey::FETCH => {
                let account = Account::new(&self.shard, peer, header.client_id, QuotaKind::Fetch);
                let laps = Laps::new(api_key, RequestKind::Fetch, timing, whole_us);
                Ok(fetch::handle(&self.shard, &self.fetch_sessions, account, head, body, laps))
            }
            _ => {
                let handlers = self.clone();
                let client = Client {
                    id: header.client_id.unwrap_or_default().to_owned(),
                    host: peer.address.map(|peer| format!("/{}", peer.ip())).unwrap_or_default(),
                };
                let mut laps = Laps::new(api_key, RequestKind::Other, Timing::Exact, whole_us);
                Ok(Box::pin(async move {
                    let clock = handlers.shard.clock();
                    laps.lap(Stage::Queue, clock.monotonic_us());
                    let pieces = handlers.answer(head, body, client).await?;
                    laps.lap(Stage::Answer, clock.monotonic_us());
                    Ok(Answer { pieces, laps })
                }))
            }
        }
    }

    /// What handlers make of the settings as they are now.
    fn settings(&self) -> Rc<HandlerSettings> {
        let now = self.shard.settings();
        let mut shown = self.settings.borrow_mut();
        if !Arc::ptr_eq(&shown.of, &now) {
            *shown = Shown::of(now);
        }
        shown.made.clone()
    }

    async fn answer(&self, head: Head, body: Bytes, client: Client) -> Result<Vec<Piece>, Close> {
        let (shard, version) = (&self.shard, head.version);
        let metrics = shard.metrics();
        let settings = self.settings();
        let context = Context {
            view: shard.view(),
            settings: &settings,
            control: &**shard,
            producer_ids: &self.producer_ids,
            groups: &self.groups,
            client,
        };
        macro_rules! cold {
            ($handler:ident) => {
                frame_of(
                    metrics,
                    head,
                    &$handler::handle(decode_body(body, version)?, version, &context).await,
                )
            };
        }
        match head.api.key {
            ApiKey::LIST_OFFSETS => frame_of(metrics, head, &list_offsets::handle(shard, head, body).await?),
            ApiKey::DELETE_RECORDS => {
                frame_of(metrics, head, &delete_records::handle(shard, head, body).await?)
            }
            ApiKey::OFFSET_FOR_LEADER_EPOCH => {
                frame_of(metrics, head, &offset_for_leader_epoch::handle(shard, head, body).await?)
            }
            ApiKey::ALTER_CONFIGS => frame_of(
                metrics,
                head,
                &alter_configs::replacing(decode_body(body, version)?, &context).await,
            ),
            ApiKey::INCREMENTAL_ALTER_CONFIGS => frame_of(
                metrics,
                head,
                &alter_configs::incremental(decode_body(body, version)?, &context).await,
            ),
            ApiKey::DESCRIBE_CLIENT_QUOTAS => {
                frame_of(metrics, head, &client_quotas::describe(decode_body(body, version)?, &context).await)
            }
            ApiKey::ALTER_CLIENT_QUOTAS => {
                frame_of(metrics, head, &client_quotas::alter(decode_body(body, version)?, &context).await)
            }
            ApiKey::DESCRIBE_LOG_DIRS => {
                frame_of(metrics, head, &describe_log_dirs::handle(shard, head, body).await?)
            }
            ApiKey::DESCRIBE_PRODUCERS => {
                frame_of(metrics, head, &describe_producers::handle(shard, head, body).await?)
            }
            ApiKey::DESCRIBE_TOPIC_PARTITIONS => cold!(describe_topic_partitions),
            ApiKey::ELECT_LEADERS => cold!(elect_leaders),
            ApiKey::ALTER_PARTITION_REASSIGNMENTS => cold!(alter_partition_reassignments),
            ApiKey::LIST_PARTITION_REASSIGNMENTS => cold!(list_partition_reassignments),
            ApiKey::API_VERSIONS => cold!(api_versions),
            ApiKey::METADATA => cold!(metadata),
            ApiKey::CREATE_TOPICS => cold!(create_topics),
            ApiKey::DELETE_TOPICS => cold!(delete_topics),
            ApiKey::CREATE_PARTITIONS => cold!(create_partitions),
            ApiKey::DESCRIBE_CONFIGS => cold!(describe_configs),
            ApiKey::INIT_PRODUCER_ID => cold!(init_producer_id),
            ApiKey::DESCRIBE_CLUSTER => cold!(describe_cluster),
            ApiKey::FIND_COORDINATOR => cold!(find_coordinator),
            ApiKey::CONSUMER_GROUP_HEARTBEAT => cold!(consumer_heartbeat),
            ApiKey::CONSUMER_GROUP_DESCRIBE => cold!(consumer_describe),
            ApiKey::JOIN_GROUP => cold!(join_group),
            ApiKey::HEARTBEAT => cold!(heartbeat),
            ApiKey::LEAVE_GROUP => cold!(leave_group),
            ApiKey::SYNC_GROUP => cold!(sync_group),
            ApiKey::DESCRIBE_GROUPS => cold!(describe_groups),
            ApiKey::LIST_GROUPS => cold!(list_groups),
            ApiKey::DELETE_GROUPS => cold!(delete_groups),
            ApiKey::OFFSET_COMMIT => cold!(offset_commit),
            ApiKey::OFFSET_FETCH => cold!(offset_fetch),
            ApiKey::OFFSET_DELETE => cold!(offset_delete),
            api_key => Err(Close::Unsupported { api_key, version }),
        }
    }
}

fn frame_of<M: KafkaResponse + Errors>(
    metrics: &ShardMetrics,
    head: Head,
    message: &M,
) -> Result<Vec<Piece>, Close> {
    message.each_error(&mut |code| {
        if code != 0 {
            metrics.count_errors(head.api.key, code, 1);
        }
    });
    Ok(vec![encode_response(head.api, head.version, head.correlation_id, message)?.into()])
}

/// Groups questions by the core that owns their partition, each with its place in the response.
pub(super) fn by_owner<Q, P>(questions: Vec<(ShardId, Q, P)>) -> Vec<(ShardId, Vec<Q>, Vec<P>)> {
    let mut groups: Vec<(ShardId, Vec<Q>, Vec<P>)> = Vec::new();
    for (owner, question, place) in questions {
        if let Some((_, questions, places)) = groups.iter_mut().find(|(other, ..)| *other == owner) {
            questions.push(question);
            places.push(place);
        } else {
            groups.push((owner, vec![question], vec![place]));
        }
    }
    groups
}

/// The partition, if this broker leads it.
pub(super) fn leader_here<'a>(
    shard: &Shard,
    topic: Option<&'a Arc<TopicView>>,
    index: PartitionIndex,
) -> Result<(&'a TopicView, &'a PartitionView), ErrorCode> {
    let topic = topic.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let placed = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if !shard.settings().is_own(placed.leader) {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    Ok((topic, placed))
}

/// What a client is told of a log that fails.
pub(super) fn log_error_code(error: &LogError) -> ErrorCode {
    match error {
        LogError::UnknownLog => ErrorCode::UnknownTopicOrPartition,
        LogError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        LogError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        LogError::Failed { .. }
        | LogError::DiskFull
        | LogError::Closing
        | LogError::Quarantined { .. }
        | LogError::Damaged { .. }
        | LogError::Io { .. } => ErrorCode::KafkaStorageError,
    }
}
