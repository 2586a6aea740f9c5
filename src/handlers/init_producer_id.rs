//! InitProducerId (22), versions 0 to 5: a producer id for idempotence.
//!
//! A producer without a transactional id always gets a new id with epoch 0, whichever id and epoch it
//! says it had: it asks so after an error that it cannot recover from, and a new id has no past.
//!
//! A transactional id is answered with TRANSACTIONAL_ID_AUTHORIZATION_FAILED while transactions
//! are absent. Of the codes a client knows here it is the one that ends the producer at once, with a
//! text that says "transactional id", in Java and in librdkafka alike. COORDINATOR_NOT_AVAILABLE
//! would have both retry without end; UNSUPPORTED_VERSION is retried without end by librdkafka.
//!
//! Source: Kafka 4.1, `KafkaApis.handleInitProducerIdRequest`,
//! `TransactionCoordinator.handleInitProducerId`, `TransactionManager.InitProducerIdHandler`;
//! librdkafka, `rd_kafka_idemp_check_error`.

use super::Context;
use crate::{
    control::ControlFailure,
    model::{ErrorCode, ProducerId},
    wire::messages::{InitProducerIdRequest, InitProducerIdResponse},
};

const NO_EPOCH: i16 = -1;

/// Hands out a producer id.
pub async fn handle(
    request: InitProducerIdRequest,
    _version: i16,
    context: &Context<'_>,
) -> InitProducerIdResponse {
    let no_id = request.producer_id == ProducerId::NONE.get();
    let outcome = match &request.transactional_id {
        // An id without an epoch, or an epoch without an id.
        _ if no_id != (request.producer_epoch == NO_EPOCH) => Err(ErrorCode::InvalidRequest),
        Some(id) if id.is_empty() => Err(ErrorCode::InvalidRequest),
        Some(_) => Err(ErrorCode::TransactionalIdAuthorizationFailed),
        None => context.producer_ids.next(context.control).await.map_err(|failure| code(&failure)),
    };
    let mut response = InitProducerIdResponse::default();
    match outcome {
        Ok(id) => {
            response.producer_id = id.get();
            response.producer_epoch = 0;
        }
        Err(code) => {
            response.error_code = code.number();
            response.producer_id = ProducerId::NONE.get();
            response.producer_epoch = NO_EPOCH;
        }
    }
    response
}

/// Both are retried by every client, after a pause.
fn code(failure: &ControlFailure) -> ErrorCode {
    match failure {
        ControlFailure::Storage(_) => ErrorCode::CoordinatorNotAvailable,
        ControlFailure::Unavailable => ErrorCode::CoordinatorLoadInProgress,
    }
}
