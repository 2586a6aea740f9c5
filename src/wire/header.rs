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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::ApiKey;

    #[test]
    fn a_client_id_keeps_its_16_bit_length_in_a_flexible_header() {
        // ApiVersions 3, correlation id 5, client id "ab", one tagged field 9 of two bytes, then the body.
        let frame = [0, 18, 0, 3, 0, 0, 0, 5, 0, 2, b'a', b'b', 1, 9, 2, 0xee, 0xee, 0xcc];
        let header = RequestHeader { api_key: 18, api_version: 3, correlation_id: 5, client_id: Some("ab") };
        assert_eq!(parse_request_header(&frame), Ok((header, 17)));
        // The same in version 2 has no tagged fields, so that the body starts right behind the client id.
        let mut frame = frame;
        frame[3] = 2;
        assert_eq!(parse_request_header(&frame), Ok((RequestHeader { api_version: 2, ..header }, 12)));
        // A null client id.
        let frame = [0, 18, 0, 3, 0, 0, 0, 5, 0xff, 0xff, 0];
        assert_eq!(parse_request_header(&frame), Ok((RequestHeader { client_id: None, ..header }, 11)));
    }

    #[test]
    fn of_what_is_not_served_only_the_fixed_part_is_read() {
        let garbage = [0xff; 20];
        for (api_key, api_version) in [(18, 99), (18, -1), (999, 0), (-1, 3), (0, 2), (0, 12), (1, 3)] {
            let mut frame = Vec::new();
            frame.extend(i16::to_be_bytes(api_key));
            frame.extend(i16::to_be_bytes(api_version));
            frame.extend([0, 0, 0, 1]);
            frame.extend(garbage);
            let header = RequestHeader { api_key, api_version, correlation_id: 1, client_id: None };
            assert_eq!(parse_request_header(&frame), Ok((header, 8)));
        }
    }

    #[test]
    fn a_header_cut_off_anywhere_is_refused() {
        let frame = [0, 18, 0, 3, 0, 0, 0, 5, 0, 2, b'a', b'b', 1, 9, 2, 0xee, 0xee];
        for cut in 0..frame.len() {
            assert!(parse_request_header(&frame[..cut]).is_err(), "{cut}");
        }
        // A client id of -2 bytes, of bytes that are no text, and more tagged fields than bytes.
        assert!(parse_request_header(&[0, 18, 0, 3, 0, 0, 0, 5, 0xff, 0xfe, 0]).is_err());
        assert!(parse_request_header(&[0, 18, 0, 3, 0, 0, 0, 5, 0, 1, 0xff, 0]).is_err());
        assert!(parse_request_header(&[0, 18, 0, 3, 0, 0, 0, 5, 0, 0, 0xff, 0xff, 0x03]).is_err());
    }

    #[test]
    fn a_response_frame_counts_its_bytes_and_api_versions_has_the_old_header() {
        for (api, version, header) in [
            (&api::PRODUCE, 8, &[0, 0, 0, 7][..]),
            (&api::PRODUCE, 9, &[0, 0, 0, 7, 0]),
            (&api::API_VERSIONS, 0, &[0, 0, 0, 7]),
            (&api::API_VERSIONS, 4, &[0, 0, 0, 7]),
            (&api::DESCRIBE_CLUSTER, 0, &[0, 0, 0, 7, 0]),
        ] {
            let mut out = BytesMut::new();
            begin_response(&mut out, api, version, 7);
            out.put_slice(b"body");
            finish_response(&mut out);
            let size = header.len() as u8 + 4;
            assert_eq!(out, [&[0, 0, 0, size], header, b"body"].concat(), "{} {version}", api.name);
        }
    }

    proptest! {
        #[test]
        fn any_frame_has_a_header_or_is_refused(
            mut frame in proptest::collection::vec(any::<u8>(), 0..80),
            known in prop::sample::select(&[ApiKey::PRODUCE, ApiKey::FETCH, ApiKey::API_VERSIONS][..]),
            version in 0..20_u8,
        ) {
            if frame.len() >= 4 {
                frame[..2].copy_from_slice(&known.to_be_bytes());
                frame[2..4].copy_from_slice(&[0, version]);
            }
            if let Ok((_, body_at)) = parse_request_header(&frame) {
                prop_assert!((8..=frame.len()).contains(&body_at));
            }
        }
    }
}
