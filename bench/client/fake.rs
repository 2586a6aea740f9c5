//! A broker for tests, which answers what the test says.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use kafka_wire::{ApiVersionsResponse, api_versions_response};
use kafka_wire_core::{ApiVersion, KafkaEncode};

const API_VERSIONS: i16 = 18;

/// Listens on a free loopback port until the process ends, and returns the address. `served`: API keys with the one
/// version of each, none of them flexible. `answer` has the body for an API key; without one the connection is closed.
pub fn start(
    served: &'static [(i16, i16)],
    answer: impl Fn(i16) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                // Its client says what went wrong.
                let _ = serve(client, served, &*answer);
            });
        }
    });
    address
}

fn serve(
    mut client: TcpStream,
    served: &[(i16, i16)],
    answer: &dyn Fn(i16) -> Option<Vec<u8>>,
) -> io::Result<()> {
    loop {
        let mut size = [0; 4];
        client.read_exact(&mut size)?;
        let mut request = vec![0; u32::from_be_bytes(size) as usize];
        client.read_exact(&mut request)?;
        let (key, version) =
            (i16::from_be_bytes([request[0], request[1]]), i16::from_be_bytes([request[2], request[3]]));
        let body = if key == API_VERSIONS { Some(versions(served, version)) } else { answer(key) };
        let Some(body) = body else { return Ok(()) };
        let mut frame = (body.len() as u32 + 4).to_be_bytes().to_vec();
        frame.extend_from_slice(&request[4..8]);
        frame.extend_from_slice(&body);
        client.write_all(&frame)?;
    }
}

fn versions(served: &[(i16, i16)], version: i16) -> Vec<u8> {
    let mut response = ApiVersionsResponse::default();
    for (key, version) in served {
        let mut api = api_versions_response::ApiVersion::default();
        (api.api_key, api.min_version, api.max_version) = (*key, *version, *version);
        response.api_keys.push(api);
    }
    encoded(&response, version)
}

/// The bytes of a body.
pub fn encoded<M: KafkaEncode>(message: &M, version: i16) -> Vec<u8> {
    message.encode_to_bytes(ApiVersion::new(version)).expect("encodes").to_vec()
}
