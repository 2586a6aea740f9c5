//! A broker that keeps nothing: it takes Produce requests of one partition and acknowledges them at once. What the
//! generator reaches against it is the generator's own ceiling.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use kafka_wire::{
    ApiVersionsResponse, MetadataResponse, ProduceResponse, api_versions_response, metadata_response,
    produce_response,
};
use kafka_wire_core::{ApiVersion, KafkaEncode, StrBytes};

use crate::client::frame::FRAME_BYTES_MAX;
use crate::client::versions::key;

/// The only topic; it has one partition.
pub const TOPIC: &str = "sink";
/// Not flexible: its header and its answer have their fields at fixed places.
const PRODUCE_VERSION: i16 = 8;
const METADATA_VERSION: i16 = 8;
/// Never asked for, but the client wants to know.
const FETCH_VERSION: i16 = 4;
const API_VERSIONS: i16 = 18;
/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;

/// Listens on a free loopback port; serves until the process ends.
///
/// # Errors
/// There is no port.
pub fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
        for client in listener.incoming().flatten() {
            let body = move || {
                // The client's side tells of it, if anything goes wrong.
                let _ = serve(client, address);
            };
            let _ = std::thread::Builder::new().name("sink".to_owned()).spawn(body);
        }
    })?;
    Ok(address)
}

fn serve(mut client: TcpStream, address: SocketAddr) -> io::Result<()> {
    client.set_nodelay(true)?;
    let produced = produced()?;
    let (mut read, mut filled) = (vec![0; READ_BYTES], 0);
    let (mut answers, mut skip, mut offset) = (Vec::new(), 0, 0_i64);
    loop {
        let bytes = client.read(&mut read[filled..])?;
        if bytes == 0 {
            return Ok(());
        }
        filled += bytes;
        let mut at = 0;
        while at < filled {
            // The rest of a request that has been answered.
            let skipped = skip.min(filled - at);
            (at, skip) = (at + skipped, skip - skipped);
            let Some(head) = read[at..filled].first_chunk::<12>() else { break };
            let size = i32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            let size = usize::try_from(size).ok().filter(|size| (8..=FRAME_BYTES_MAX).contains(size));
            let size = size.ok_or_else(|| io::Error::other("no request"))?;
            let (api_key, version) =
                (i16::from_be_bytes([head[4], head[5]]), i16::from_be_bytes([head[6], head[7]]));
            let correlation = [head[8], head[9], head[10], head[11]];
            match api_key {
                key::PRODUCE => {
                    append(&mut answers, correlation, &produced);
                    let base = answers.len() - produced.len() + BASE_OFFSET_AT;
                    answers[base..base + 8].copy_from_slice(&offset.to_be_bytes());
                    offset += 1;
                }
                API_VERSIONS => append(&mut answers, correlation, &versions(version)?),
                key::METADATA => append(&mut answers, correlation, &metadata(address)?),
                other => return Err(io::Error::other(format!("API {other} is not for a sink"))),
            }
            skip = size + 4;
        }
        read.copy_within(at..filled, 0);
        filled -= at;
        client.write_all(&answers)?;
        answers.clear();
    }
}

fn append(answers: &mut Vec<u8>, correlation: [u8; 4], body: &[u8]) {
    answers.extend((body.len() as u32 + 4).to_be_bytes());
    answers.extend(correlation);
    answers.extend(body);
}

/// Where the base offset lies in the answer to Produce 8: behind the counts, the topic's name, the partition's
/// index and its error code.
const BASE_OFFSET_AT: usize = 4 + 2 + TOPIC.len() + 4 + 4 + 2;

fn encoded<M: KafkaEncode>(message: &M, version: i16) -> io::Result<Vec<u8>> {
    let bytes = message.encode_to_bytes(ApiVersion::new(version)).map_err(io::Error::other)?;
    Ok(bytes.to_vec())
}

fn produced() -> io::Result<Vec<u8>> {
    let mut partition = produce_response::PartitionProduceResponse::default();
    partition.log_append_time_ms = -1;
    let mut topic = produce_response::TopicProduceResponse::default();
    topic.name = StrBytes::from(TOPIC);
    topic.partition_responses = vec![partition];
    let mut response = ProduceResponse::default();
    response.responses = vec![topic];
    encoded(&response, PRODUCE_VERSION)
}

fn versions(version: i16) -> io::Result<Vec<u8>> {
    let served =
        [(key::PRODUCE, PRODUCE_VERSION), (key::METADATA, METADATA_VERSION), (key::FETCH, FETCH_VERSION)];
    let mut response = ApiVersionsResponse::default();
    for (api_key, version) in served {
        let mut api = api_versions_response::ApiVersion::default();
        (api.api_key, api.min_version, api.max_version) = (api_key, version, version);
        response.api_keys.push(api);
    }
    encoded(&response, version)
}

fn metadata(address: SocketAddr) -> io::Result<Vec<u8>> {
    let mut broker = metadata_response::MetadataResponseBroker::default();
    (broker.node_id, broker.host, broker.port) =
        (1, StrBytes::from(address.ip().to_string()), i32::from(address.port()));
    let mut partition = metadata_response::MetadataResponsePartition::default();
    (partition.leader_id, partition.replica_nodes, partition.isr_nodes) = (1, vec![1], vec![1]);
    let mut topic = metadata_response::MetadataResponseTopic::default();
    (topic.name, topic.partitions) = (Some(StrBytes::from(TOPIC)), vec![partition]);
    let mut response = MetadataResponse::default();
    (response.brokers, response.topics) = (vec![broker], vec![topic]);
    encoded(&response, METADATA_VERSION)
}
