//! Bytes of a connection to whole frames.

use std::io;
use std::os::fd::AsFd;

use bytes::Bytes;

/// Largest response that is accepted; a broker answers a Fetch with little more than its `max_bytes`.
pub const FRAME_BYTES_MAX: usize = 128 << 20;

/// Bytes read at a time while no frame says how much is to come.
const READ_BYTES: usize = 32 << 10;

/// Gathers one connection's incoming bytes.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Bytes at the front that have been handed out.
    taken: usize,
}

/// What a read of the socket brought.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Bytes; there may be more in the socket.
    Some,
    /// Nothing more for now.
    Drained,
    /// The peer has closed.
    Closed,
}

impl FrameReader {
    /// Reads once from a non-blocking socket.
    ///
    /// # Errors
    /// What the socket says, other than "nothing there".
    pub fn read_from(&mut self, socket: impl AsFd) -> io::Result<ReadOutcome> {
        let wanted = self.missing().unwrap_or(0).max(READ_BYTES);
        if self.buffer.capacity() - self.buffer.len() < wanted {
            self.buffer.drain(..self.taken);
            self.taken = 0;
            self.buffer.reserve(wanted);
        }
        match rustix::io::read(socket, rustix::buffer::spare_capacity(&mut self.buffer)) {
            Ok(0) => Ok(ReadOutcome::Closed),
            // A short read of a stream socket has emptied it; the next arrival is a new edge.
            Ok(_) if self.buffer.len() < self.buffer.capacity() => Ok(ReadOutcome::Drained),
            Ok(_) => Ok(ReadOutcome::Some),
            Err(rustix::io::Errno::AGAIN) => Ok(ReadOutcome::Drained),
            Err(rustix::io::Errno::INTR) => Ok(ReadOutcome::Some),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Bytes of the frame in progress that have not arrived; `None` while its length is unknown.
    fn missing(&self) -> Option<usize> {
        let rest = &self.buffer[self.taken..];
        let size = rest.first_chunk::<4>()?;
        let total = (u32::from_be_bytes(*size) as usize).min(FRAME_BYTES_MAX) + 4;
        Some(total.saturating_sub(rest.len()))
    }

    /// The next whole frame without its length field, if it has arrived. A frame that fills the buffer is
    /// handed out without a copy; give its buffer back with [`recycle`](Self::recycle).
    ///
    /// # Errors
    /// A declared length that is negative or above [`FRAME_BYTES_MAX`].
    pub fn next_frame(&mut self) -> io::Result<Option<Bytes>> {
        let rest = &self.buffer[self.taken..];
        let Some(size) = rest.first_chunk::<4>() else { return Ok(None) };
        let declared = i32::from_be_bytes(*size);
        let size = usize::try_from(declared).ok().filter(|size| *size <= FRAME_BYTES_MAX);
        let size = size.ok_or_else(|| io::Error::other(format!("a response declares {declared} bytes")))?;
        let Some(frame) = rest.get(4..4 + size) else { return Ok(None) };
        if self.taken == 0 && rest.len() == 4 + size {
            return Ok(Some(Bytes::from(std::mem::take(&mut self.buffer)).slice(4..)));
        }
        let frame = Bytes::copy_from_slice(frame);
        self.taken += 4 + size;
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
        }
        Ok(Some(frame))
    }

    /// Takes a frame's buffer back for the next one, if nobody else holds it.
    pub fn recycle(&mut self, mut frame: Bytes) {
        if self.buffer.capacity() == 0 && frame.is_unique() {
            frame.clear();
            self.buffer = Vec::from(frame);
        }
    }

    /// Forgets everything: the connection is gone.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    /// Goal: whatever the pieces in which bytes arrive, the same frames come out.
    #[test]
    fn frames_come_out_whole_however_they_arrive() {
        let frames: Vec<Vec<u8>> = [0usize, 1, 5, 40_000, 3].iter().map(|n| vec![7; *n]).collect();
        let mut wire = Vec::new();
        for frame in &frames {
            wire.extend_from_slice(&u32::try_from(frame.len()).expect("small").to_be_bytes());
            wire.extend_from_slice(frame);
        }
        for step in [1, 3, 4, 1000, wire.len()] {
            let (mut near, far) = UnixStream::pair().expect("socket pair");
            far.set_nonblocking(true).expect("non-blocking");
            let mut reader = FrameReader::default();
            let mut seen = Vec::new();
            for piece in wire.chunks(step) {
                near.write_all(piece).expect("fits the socket buffer");
                reader.read_from(&far).expect("readable");
                while let Some(frame) = reader.next_frame().expect("sound") {
                    seen.push(frame.to_vec());
                    reader.recycle(frame);
                }
            }
            while reader.read_from(&far).expect("readable") == ReadOutcome::Some {}
            while let Some(frame) = reader.next_frame().expect("sound") {
                seen.push(frame.to_vec());
            }
            assert_eq!(seen, frames, "pieces of {step}");
        }
    }

    #[test]
    fn an_absurd_length_is_an_error() {
        let mut reader = FrameReader { buffer: vec![0xff, 0xff, 0xff, 0xff, 0], taken: 0 };
        assert!(reader.next_frame().is_err());
    }
}
