//! DescribeCluster (60), versions 0 and 1: brokers, controller, cluster id.
//!
//! Source: Kafka 4.1, `AuthHelper.computeDescribeClusterResponse`, KIP-919 (endpoint types).

use super::{Context, metadata::CLUSTER_OPERATIONS, text};
use crate::{
    model::{Broker, ErrorCode},
    wire::messages::{
        DescribeClusterRequest, DescribeClusterResponse, describe_cluster_response::DescribeClusterBroker,
    },
};

const ENDPOINT_BROKER: i8 = 1;
const ENDPOINT_CONTROLLER: i8 = 2;

/// Describes the cluster.
pub async fn handle(
    request: DescribeClusterRequest,
    _version: i16,
    context: &Context<'_>,
) -> DescribeClusterResponse {
    let mut response = DescribeClusterResponse::default();
    match request.endpoint_type {
        ENDPOINT_BROKER => {}
        ENDPOINT_CONTROLLER => {
            let message = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
            response.error_code = ErrorCode::MismatchedEndpointType.number();
            response.error_message = Some(text(message));
            return response;
        }
        other => {
            response.error_code = ErrorCode::UnsupportedEndpointType.number();
            response.error_message = Some(text(format!("Unsupported endpoint type {other}")));
            return response;
        }
    }
    response.cluster_id = text(&context.view.cluster_id);
    response.controller_id = context.view.controller;
    response.brokers = context.view.brokers.iter().map(broker).collect();
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

fn broker(broker: &Broker) -> DescribeClusterBroker {
    let mut answer = DescribeClusterBroker::default();
    answer.broker_id = broker.id;
    answer.host = text(&broker.host);
    answer.port = i32::from(broker.port);
    answer
}
