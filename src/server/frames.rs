//! From a stream of bytes to frames: an `i32` length, then that many bytes.
//!
//! What arrives lies in a buffer of the core's pool. A frame that is whole there is copied out (at
//! most [`crate::io::ring::RingOptions::receive_buffer_bytes`]); the rest of a larger one is received
//! straight into its own memory. That memory follows the bytes that have come, never the length that
//! was declared: it grows eightfold from 128 KiB. So does the claim on the core's budget: a frame of which
//! 128 KiB have come takes its whole length, so that it cannot get stuck half way, and one that only
//! announces itself holds back nobody.

use std::{io, rc::Rc};

use bytes::{Bytes, BytesMut};

use crate::{
    io::{net::Connection, ring::ReceiveLease},
    shard::budget::{Budget, Permit},
};

/// First memory of a frame that is larger than a receive buffer.
const BODY_FIRST_BYTES: usize = 128 << 10;
/// Memory grows to this many times the bytes that have come.
const BODY_GROWTH: usize = 8;
/// A frame holds at least a request header: key, version, correlation id.
pub const FRAME_BYTES_MIN: usize = 8;

/// Why no frame comes any more.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side closed between two frames.
    #[error("closed")]
    Closed,
    /// The length cannot be: the stream is not Kafka's, or the frame is larger than allowed.
    #[error("a frame of {declared} bytes, allowed are {FRAME_BYTES_MIN} to {bytes_max}")]
    Length {
        /// What the four bytes say.
        declared: i32,
        /// `socket.request.max.bytes`
        bytes_max: usize,
    },
    /// The connection broke, perhaps within a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads frames of one connection.
pub struct FrameReader {
    connection: Connection,
    budget: Rc<Budget>,
    bytes_max: usize,
    /// Received and not yet consumed, from `position`.
    lease: Option<(ReceiveLease, usize)>,
}

impl FrameReader {
    /// Frames of at most `bytes_max` bytes; their memory is taken from `budget`.
    #[must_use]
    pub fn new(connection: Connection, budget: Rc<Budget>, bytes_max: usize) -> Self {
        Self { connection, budget, bytes_max, lease: None }
    }

    /// The next frame without its length, and the memory that is held for it.
    ///
    /// # Errors
    /// See [`FrameError`]; the connection is of no more use then.
    pub async fn next(&mut self) -> Result<(Bytes, Permit), FrameError> {
        let length = self.length().await?;
        let mut permit = self.budget.take(length.min(BODY_FIRST_BYTES)).await;
        if let Some(here) = self.buffered()
            && here.len() >= length
        {
            let frame = Bytes::copy_from_slice(&here[..length]);
            self.consume(length);
            return Ok((frame, permit));
        }
        let mut body = BytesMut::with_capacity(length.min(BODY_FIRST_BYTES));
        let mut claimed = length <= BODY_FIRST_BYTES;
        while body.len() < length {
            if body.len() == body.capacity() {
                if !std::mem::replace(&mut claimed, true) {
                    drop(permit);
                    permit = self.budget.take(length).await;
                }
                body.reserve((length - body.len()).min(body.len() * (BODY_GROWTH - 1)));
            }
            let room = (length - body.len()).min(body.capacity() - body.len());
            if let Some(here) = self.buffered() {
                let part = room.min(here.len());
                body.extend_from_slice(&here[..part]);
                self.consume(part);
            } else {
                body = self.connection.receive_into(body, room).await?;
            }
        }
        Ok((body.freeze(), permit))
    }

    async fn length(&mut self) -> Result<usize, FrameError> {
        let mut bytes = [0; 4];
        let mut have = 0;
        while have < bytes.len() {
            match self.buffered() {
                Some(here) => {
                    let part = here.len().min(bytes.len() - have);
                    bytes[have..have + part].copy_from_slice(&here[..part]);
                    self.consume(part);
                    have += part;
                }
                None => match self.connection.receive().await? {
                    Some(lease) => self.lease = Some((lease, 0)),
                    None if have == 0 => return Err(FrameError::Closed),
                    None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                },
            }
        }
        let declared = i32::from_be_bytes(bytes);
        match usize::try_from(declared) {
            Ok(length) if (FRAME_BYTES_MIN..=self.bytes_max).contains(&length) => Ok(length),
            _ => Err(FrameError::Length { declared, bytes_max: self.bytes_max }),
        }
    }

    fn buffered(&self) -> Option<&[u8]> {
        self.lease.as_ref().map(|(lease, position)| &lease[*position..])
    }

    fn consume(&mut self, bytes: usize) {
        if let Some((lease, position)) = &mut self.lease {
            *position += bytes;
            if *position == lease.len() {
                self.lease = None;
            }
        }
    }
}
