//! Transactions as a client asks for them: who coordinates, which id and epoch, and the requests of each.
//!
//! Clients speak AddPartitionsToTxn up to version 3; 4 and later are among brokers. With `transaction.version` 2
//! finalized, Produce of version 12 adds partitions by itself, and EndTxn of version 5 answers with the epoch of the next
//! transaction, whose sequences begin at 0 (KIP-890).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_wire::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse,
    FindCoordinatorRequest, InitProducerIdRequest, add_partitions_to_txn_request,
};
use kafka_wire_core::StrBytes;

use super::admin::{Admin, AdminError, check};
use super::connection::Connection;
use super::request::{self, WireError};
use super::versions::key;

/// The broker aborts a transaction that is open for longer. Kafka's default for clients.
pub const TIMEOUT_MS: i32 = 60_000;
/// Longest wait for a coordinator that is not ready, or still ends an earlier transaction of the same id.
const READY_MAX: Duration = Duration::from_secs(60);
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// `transaction.version` from which partitions add themselves.
const ADDS_BY_ITSELF: i16 = 2;
/// First version of Produce that adds partitions, and the first of EndTxn that raises the epoch.
const PRODUCE_ADDS: i16 = 12;
const END_RAISES_EPOCH: i16 = 5;

/// COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, CONCURRENT_TRANSACTIONS: another try may
/// succeed.
const NOT_YET: [i16; 4] = [14, 15, 16, CONCURRENT_TRANSACTIONS];
/// The transaction before is still being ended.
pub const CONCURRENT_TRANSACTIONS: i16 = 51;
/// What a coordinator says that is to be asked again as it is: it loads, it is busy, it does not know the topic
/// yet, or another partition of the request was refused.
const ASK_AGAIN: [i16; 4] = [14, CONCURRENT_TRANSACTIONS, 3, 55];

/// A transactional producer that is ready.
#[derive(Debug, Clone)]
pub struct Transactional {
    /// Its name.
    pub id: StrBytes,
    /// Id and epoch.
    pub producer: (i64, i16),
    /// `host:port` of the broker that coordinates it.
    pub coordinator: String,
    /// Whether the broker adds partitions by itself (KIP-890).
    pub adds_by_itself: bool,
    add_version: i16,
    end_version: i16,
}

/// What the coordinator said.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; id and epoch of the next transaction, if they have changed.
    Done(Option<(i64, i16)>),
    /// To be asked again.
    Again,
    /// Kafka's error code: it cannot go on.
    Refused(i16),
}

impl Admin {
    /// Makes `count` transactional producers ready: `PREFIX-0`, `PREFIX-1`, ... Whatever an earlier producer of such
    /// an id has left open is aborted by that.
    ///
    /// # Errors
    /// [`AdminError`]; of a broker without transactions [`AdminError::NotServed`].
    pub fn transactional_producers(
        &self,
        prefix: &str,
        count: u32,
        produce_version: i16,
    ) -> Result<Vec<Transactional>, AdminError> {
        let mut any = self.any_broker()?;
        for (api, api_key) in [("AddPartitionsToTxn", key::ADD_PARTITIONS_TO_TXN), ("EndTxn", key::END_TXN)] {
            if !any.serves(api_key) {
                return Err(AdminError::NotServed { what: "transactions", api });
            }
        }
        let mut coordinators: HashMap<String, Connection> = HashMap::new();
        (0..count)
            .map(|nth| {
                let id = StrBytes::from(format!("{prefix}-{nth}").as_str());
                let deadline = Instant::now() + READY_MAX;
                loop {
                    let found = find(&mut any, &id).and_then(|address| {
                        let coordinator = match coordinators.entry(address.clone()) {
                            Entry::Occupied(known) => known.into_mut(),
                            Entry::Vacant(new) => new.insert(Connection::connect(&address)?),
                        };
                        begin(coordinator, address, &id, produce_version)
                    });
                    match found {
                        Err(AdminError::Broker { code, .. })
                            if NOT_YET.contains(&code) && Instant::now() < deadline =>
                        {
                            thread::sleep(RETRY_PAUSE);
                        }
                        found => return found,
                    }
                }
            })
            .collect()
    }
}

fn find(broker: &mut Connection, id: &StrBytes) -> Result<String, AdminError> {
    let version = broker.versions.common(key::FIND_COORDINATOR)?;
    let mut request = FindCoordinatorRequest::default();
    request.key = id.clone();
    // 1: of transactions.
    request.key_type = 1;
    let answer = broker.call(&request, version)?;
    check("FindCoordinator", id, answer.error_code, answer.error_message.as_ref())?;
    Ok(format!("{}:{}", answer.host, answer.port))
}

fn begin(
    coordinator: &mut Connection,
    address: String,
    id: &StrBytes,
    produce_version: i16,
) -> Result<Transactional, AdminError> {
    let version = coordinator.versions.common(key::INIT_PRODUCER_ID)?;
    let mut request = InitProducerIdRequest::default();
    request.transactional_id = Some(id.clone());
    request.transaction_timeout_ms = TIMEOUT_MS;
    request.producer_id = -1;
    request.producer_epoch = -1;
    let answer = coordinator.call(&request, version)?;
    check("InitProducerId", id, answer.error_code, None)?;
    let end_version = coordinator.versions.common(key::END_TXN)?;
    let level = coordinator.features.finalized.get("transaction.version").copied().unwrap_or(0);
    let adds_by_itself =
        level >= ADDS_BY_ITSELF && produce_version >= PRODUCE_ADDS && end_version >= END_RAISES_EPOCH;
    Ok(Transactional {
        id: id.clone(),
        producer: (answer.producer_id, answer.producer_epoch),
        coordinator: address,
        adds_by_itself,
        add_version: coordinator.versions.common(key::ADD_PARTITIONS_TO_TXN)?,
        // EndTxn 5 says that the producer counts its epochs by the new rules.
        end_version: if adds_by_itself { end_version } else { end_version.min(END_RAISES_EPOCH - 1) },
    })
}

impl Transactional {
    /// A frame of AddPartitionsToTxn.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn add(&self, correlation: i32, topic: &str, partitions: &[i32]) -> Result<BytesMut, WireError> {
        let mut added = add_partitions_to_txn_request::AddPartitionsToTxnTopic::default();
        added.name = StrBytes::from(topic);
        added.partitions = partitions.to_vec();
        let mut request = AddPartitionsToTxnRequest::default();
        request.v3_and_below_transactional_id = self.id.clone();
        (request.v3_and_below_producer_id, request.v3_and_below_producer_epoch) = self.producer;
        request.v3_and_below_topics = vec![added];
        request::encode(&request, self.add_version, correlation)
    }

    /// What the answer to [`add`](Self::add) says.
    ///
    /// # Errors
    /// Bytes that are none.
    pub fn added(&self, frame: Bytes) -> Result<Answer, WireError> {
        let (_, answer) = request::decode::<AddPartitionsToTxnRequest, AddPartitionsToTxnResponse>(
            frame,
            self.add_version,
        )?;
        let partitions = answer.results_by_topic_v3_and_below.iter().flat_map(|t| &t.results_by_partition);
        let codes = partitions.map(|partition| partition.partition_error_code);
        Ok(judge(codes.chain([answer.error_code]), None))
    }

    /// A frame of EndTxn.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn end(&self, correlation: i32, commit: bool) -> Result<BytesMut, WireError> {
        let mut request = EndTxnRequest::default();
        request.transactional_id = self.id.clone();
        (request.producer_id, request.producer_epoch) = self.producer;
        request.committed = commit;
        request::encode(&request, self.end_version, correlation)
    }

    /// What the answer to [`end`](Self::end) says.
    ///
    /// # Errors
    /// Bytes that are none.
    pub fn ended(&self, frame: Bytes) -> Result<Answer, WireError> {
        let (_, answer) = request::decode::<EndTxnRequest, EndTxnResponse>(frame, self.end_version)?;
        let next = (answer.producer_id, answer.producer_epoch);
        let raised = self.end_version >= END_RAISES_EPOCH && next.0 >= 0;
        Ok(judge([answer.error_code].into_iter(), raised.then_some(next)))
    }
}

/// The gravest of what was said.
fn judge(codes: impl Iterator<Item = i16>, next: Option<(i64, i16)>) -> Answer {
    let wrong: Vec<i16> = codes.filter(|code| *code != 0).collect();
    match wrong.iter().find(|code| !ASK_AGAIN.contains(code)) {
        Some(code) => Answer::Refused(*code),
        None if wrong.is_empty() => Answer::Done(next),
        None => Answer::Again,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_of_several_codes_counts() {
        assert_eq!(judge([0, 0].into_iter(), Some((1, 2))), Answer::Done(Some((1, 2))));
        assert_eq!(judge([0, CONCURRENT_TRANSACTIONS].into_iter(), None), Answer::Again);
        // OPERATION_NOT_ATTEMPTED beside the one that is the reason.
        assert_eq!(judge([55, 29, 55].into_iter(), None), Answer::Refused(29));
    }
}
