//! Headers of requests and responses, by hand: they are read before anything is known of the peer.
//!
//! A request is `api key, api version, correlation id, client id`, from header version 2 on ended by
//! tagged fields; the client id keeps its 16-bit length even there (KIP-482). A response is the
//! correlation id, from header version 1 on ended by tagged fields.

use bytes::{BufMut, BytesMut};

use crate::{
    api::{self, Api},
    codec::{FRAME_BYTES_MAX, Reader, WireError},
};

/// What stands before the body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// Number of the API; not necessarily one that is served.
    pub api_key: i16,
    /// Version of the request; not necessarily one that is served.
    pub api_version: i16,
    /// The client's number for this request, returned in the response.
    pub correlation_id: i32,
    /// How the client calls itself. Not read, hence `None`, in a version that is not served.
    pub client_id: Option<&'a str>,
}

/// Reads the header of a frame, given without its size prefix; returns it and where the body starts.
///
/// Of an API or version that is not served only the fixed part is read, since what follows it may have
/// any form: the caller answers ApiVersions in version 0 (KIP-511) and closes the connection of all others.
///
/// # Errors
/// [`WireError`] if the frame is too short or the client id or the tagged fields are malformed.
pub fn parse_request_header(frame: &[u8]) -> Result<(RequestHeader<'_>, usize), WireError> {
    let mut reader = Reader::new(frame, true);
    let mut header = RequestHeader {
        api_key: reader.int16()?,
        api_version: reader.int16()?,
        correlation_id: reader.int32()?,
        client_id: None,
    };
    let served = api::find(header.api_key).filter(|api| api.serves(header.api_version));
    if let Some(api) = served {
        header.client_id = reader.fixed_nullable_string()?;
        if api.request_header_version(header.api_version) >= 2 {
            reader.skip_tagged_fields()?;
        }
    }
    Ok((header, reader.position()))
}

/// Bytes of the size prefix of every frame.
pub const SIZE_PREFIX_BYTES: usize = 4;

/// Starts a response frame in an empty buffer: room for the size, then the header.
///
/// `version` is that of the request, or 0 in answer to ApiVersions of a version that is not served.
pub fn begin_response(out: &mut BytesMut, api: &Api, version: i16, correlation_id: i32) {
    assert!(out.is_empty(), "a response starts its frame");
    out.put_i32(0);
    out.put_i32(correlation_id);
    if api.response_header_version(version) >= 1 {
        out.put_u8(0);
    }
}

/// Ends a response frame: writes its size into the room that [`begin_response`] left.
pub fn finish_response(out: &mut BytesMut) {
    set_frame_size(out, 0);
}

/// Writes the size of a frame of which `out` is the start and `bytes_elsewhere` follow it.
pub(crate) fn set_frame_size(out: &mut BytesMut, bytes_elsewhere: usize) {
    let size = out.len() - SIZE_PREFIX_BYTES + bytes_elsewhere;
    assert!(size <= FRAME_BYTES_MAX, "no frame holds {size} bytes");
    out[..SIZE_PREFIX_BYTES].copy_from_slice(&(size as i32).to_be_bytes());
}
