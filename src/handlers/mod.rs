//! One file per API; the only room that chooses Kafka error codes.
//!
//! A handler turns a request's body into its response: it asks the shard for work and control for
//! changes. It knows no socket; which responses go out together is the server's. Read this file
//! ([`dispatch`]: one plain match from API key to handler), then [`produce`] and [`fetch`], then any.

pub mod fetch;
pub mod list_offsets;
pub mod offset_for_leader_epoch;
pub mod produce;

use std::{future::Future, net::SocketAddr, pin::Pin, rc::Rc, sync::Arc};

use bytes::Bytes;

use crate::{
    log::LogError,
    model::{ErrorCode, PartitionIndex, PartitionView, ShardId, TopicView},
    shard::Shard,
    wire::{
        api::{self, Api, ApiKey},
        codec::WireError,
        header::parse_request_header,
        messages::{KafkaResponse, encode_response},
    },
};

/// What will become a response: the pieces of its frame, none if the client wants no answer. Polled
/// when the responses before it are out.
pub type Response = Pin<Box<dyn Future<Output = Result<Vec<Bytes>, Close>>>>;

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

/// From a frame to what will become its response.
///
/// A produce is handed over within this call, in the order of the connection's requests; everything
/// else happens when its response is due.
///
/// # Errors
/// [`Close`]: nothing of the request was done.
pub async fn dispatch(shard: &Rc<Shard>, peer: Option<SocketAddr>, frame: Bytes) -> Result<Response, Close> {
    let (header, body_at) = parse_request_header(&frame)?;
    let (api_key, version) = (header.api_key, header.api_version);
    let unsupported = Close::Unsupported { api_key, version };
    let Some(api) = api::find(api_key) else { return Err(unsupported) };
    let head = Head { api, version, correlation_id: header.correlation_id };
    shard.metrics().request(api_key);
    if !api.serves(version) {
        if api_key == ApiKey::ApiVersions {
            tracing::debug!(?peer, version, "ApiVersions answered in version 0");
            return ready(api_versions::unsupported_version(head));
        }
        return Err(unsupported);
    }
    let body = frame.slice(body_at..);
    match api_key {
        ApiKey::Produce => produce::handle(shard, head, &body).await,
        ApiKey::Fetch => Ok(fetch::handle(shard, head, body)),
        _ => {
            let shard = shard.clone();
            Ok(Box::pin(async move { cold(&shard, head, body).await.map(|frame| vec![frame]) }))
        }
    }
}

fn frame_of<M: KafkaResponse>(head: Head, message: &M) -> Result<Bytes, Close> {
    Ok(encode_response(head.api, head.version, head.correlation_id, message)?)
}

/// Groups questions by the core that owns their partition, each with its place in the response.
fn by_owner<Q, P>(questions: Vec<(ShardId, Q, P)>) -> Vec<(ShardId, Vec<Q>, Vec<P>)> {
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
fn leader_here<'a>(
    shard: &Shard,
    topic: Option<&'a Arc<TopicView>>,
    index: PartitionIndex,
) -> Result<(&'a TopicView, &'a PartitionView), ErrorCode> {
    let topic = topic.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let placed = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if placed.leader != shard.settings().broker_id {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    Ok((topic, placed))
}

/// What a client is told of a log that fails.
fn log_error_code(error: &LogError) -> ErrorCode {
    match error {
        LogError::Deleted => ErrorCode::UnknownTopicOrPartition,
        _ => ErrorCode::KafkaStorageError,
    }
}
