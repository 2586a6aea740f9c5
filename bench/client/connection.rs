//! One blocking connection: a request, its answer, in a version that both sides speak.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::Bytes;
use kafka_wire::{ApiVersionsRequest, ApiVersionsResponse, KafkaRequest, RequestResponsePair};
use kafka_wire_core::StrBytes;

use super::admin::AdminError;
use super::frame::FRAME_BYTES_MAX;
use super::request;
use super::versions::Versions;

/// Longest wait for a connection and for each answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const UNSUPPORTED_VERSION: i16 = 35;

/// Features of a broker by name (KIP-584): the highest level of each.
#[derive(Debug, Clone, Default)]
pub struct Features {
    /// What its software can do.
    pub supported: BTreeMap<String, i16>,
    /// What its cluster has agreed to.
    pub finalized: BTreeMap<String, i16>,
}

/// One blocking connection to a broker, with the versions that it speaks.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    pub(super) versions: Versions,
    pub(super) features: Features,
    correlation: i32,
}

impl Connection {
    /// Connects, and asks for the versions.
    ///
    /// # Errors
    /// The broker cannot be reached, or answers with what cannot be read.
    pub fn connect(address: &str) -> Result<Self, AdminError> {
        let stream = connect(address, CALL_TIMEOUT)
            .map_err(|source| AdminError::Unreachable { address: address.to_owned(), source })?;
        let (versions, features) = (Versions::default(), Features::default());
        let mut broker = Self { stream, versions, features, correlation: 0 };
        broker.ask_versions()?;
        Ok(broker)
    }

    /// Asks for the versions again: whether the connection still works.
    ///
    /// # Errors
    /// It does not.
    pub fn ask_versions(&mut self) -> Result<(), AdminError> {
        let mut request = ApiVersionsRequest::default();
        request.client_software_name = StrBytes::from(super::CLIENT_ID);
        request.client_software_version = StrBytes::from(env!("CARGO_PKG_VERSION"));
        // Version 4 names the features whose lowest level is 0 as well. A broker that does not know a version answers
        // in version 0 with error 35 (KIP-511).
        let mut answer = ApiVersionsResponse::default();
        for version in [4, 3, 0] {
            let frame = if version > 0 {
                self.round_trip(&request, version)?
            } else {
                self.round_trip(&ApiVersionsRequest::default(), version)?
            };
            match request::decode::<ApiVersionsRequest, ApiVersionsResponse>(frame, version) {
                Ok((_, said)) if said.error_code != UNSUPPORTED_VERSION => {
                    answer = said;
                    break;
                }
                Err(error) if version == 0 => return Err(error.into()),
                _ => {}
            }
        }
        self.versions =
            Versions::new(answer.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)));
        let supported = answer.supported_features.iter();
        let finalized = answer.finalized_features.iter();
        self.features = Features {
            supported: supported.map(|one| (one.name.to_string(), one.max_version)).collect(),
            finalized: finalized.map(|one| (one.name.to_string(), one.max_version_level)).collect(),
        };
        Ok(())
    }

    fn round_trip<R: KafkaRequest>(&mut self, request: &R, version: i16) -> Result<Bytes, AdminError> {
        self.correlation += 1;
        let frame = request::encode(request, version, self.correlation)?;
        self.stream.write_all(&frame)?;
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let size = u32::from_be_bytes(size) as usize;
        if size > FRAME_BYTES_MAX {
            return Err(io::Error::other(format!("a response declares {size} bytes")).into());
        }
        let mut frame = Vec::new();
        Read::take(&mut self.stream, size as u64).read_to_end(&mut frame)?;
        if frame.len() < size {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(Bytes::from(frame))
    }

    /// Asks in the highest version up to `version_max` that the broker speaks.
    ///
    /// # Errors
    /// It speaks none of them, the connection broke, or the answer cannot be read.
    pub fn ask<R: RequestResponsePair>(
        &mut self,
        request: &R,
        version_max: i16,
    ) -> Result<R::Response, AdminError> {
        let version = self.versions.up_to(R::API_KEY.value(), version_max)?;
        self.call(request, version)
    }

    /// Whether the broker serves an API at all.
    #[must_use]
    pub fn serves(&self, api_key: i16) -> bool {
        self.versions.up_to(api_key, i16::MAX).is_ok()
    }

    pub(super) fn call<R: RequestResponsePair>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, AdminError> {
        let frame = self.round_trip(request, version)?;
        let (correlation, answer) = request::decode::<R, R::Response>(frame, version)?;
        if correlation != self.correlation {
            let text = format!("answer {correlation} to request {}", self.correlation);
            return Err(io::Error::other(text).into());
        }
        Ok(answer)
    }
}

/// Connects within `timeout`, without Nagle's delay.
///
/// # Errors
/// A name that does not resolve, or what the last address said.
pub fn connect(address: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name resolves to no address");
    for resolved in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(CALL_TIMEOUT))?;
                stream.set_write_timeout(Some(CALL_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
