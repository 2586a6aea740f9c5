//! The value of a synthetic record: a header that names it, then a body that follows from the name.
//!
//! | bytes  | field      | meaning                                                            |
//! |--------|------------|--------------------------------------------------------------------|
//! | 0..4   | magic      | `CLB1`                                                             |
//! | 4..8   | check      | CRC-32C of bytes 8..36                                             |
//! | 8..16  | run        | random number of the producing run                                 |
//! | 16..20 | stream     | producer within the run; its records to one partition are in order |
//! | 20..28 | sequence   | 0, 1, 2, ... within the stream                                     |
//! | 28..36 | intended   | Unix nanoseconds at which the record was meant to leave            |
//! | 36..   | body       | pattern block, from a position that follows from the sequence      |
//!
//! Integers are big-endian. Filling a body is one copy from a block that stays in cache and checking it one
//! comparison, so every byte of every record is verified at full speed.

use std::sync::OnceLock;

/// First bytes of every synthetic value.
pub const MAGIC: [u8; 4] = *b"CLB1";

/// Bytes before the body: the smallest synthetic value.
pub const HEADER_BYTES: usize = 36;

/// Bytes of the pattern block; small enough to stay in a core's cache beside a batch.
const BLOCK_BYTES: usize = 16 * 1024;

/// Step of the body's start from one sequence to the next; odd multiple of a cache line, so that neighbours
/// differ and the starts walk over the whole block.
const STEP_BYTES: usize = 64 * 5;

const _: () = assert!(BLOCK_BYTES.is_multiple_of(64));

/// What names a synthetic record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Random number of the producing run.
    pub run: u64,
    /// Producer within the run.
    pub stream: u32,
    /// Position within the stream.
    pub sequence: u64,
    /// Unix nanoseconds at which the record was meant to leave.
    pub intended: u64,
}

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueFault {
    /// It does not begin with [`MAGIC`]: not made by this generator, or changed there.
    Foreign,
    /// The header's check does not match it.
    Header,
    /// Byte `at` of the value is not what its identity says.
    Body {
        /// Position of the first changed byte, from the start of the value.
        at: usize,
    },
}

/// The pattern: `BLOCK_BYTES` of a fixed pseudo-random sequence.
fn block() -> &'static [u8] {
    static BLOCK: OnceLock<Vec<u8>> = OnceLock::new();
    BLOCK.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(BLOCK_BYTES);
        while bytes.len() < BLOCK_BYTES {
            // splitmix64: every 8 bytes are independent enough not to compress.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
        }
        bytes
    })
}

/// The pieces of the pattern block that make up a body of `len` bytes, in order.
fn body_pieces(sequence: u64, len: usize) -> impl Iterator<Item = &'static [u8]> {
    let block = block();
    let slots = (BLOCK_BYTES / 64) as u64;
    let step = (STEP_BYTES / 64) as u64;
    let mut at = usize::try_from((sequence % slots) * step % slots).unwrap_or(0) * 64;
    let mut left = len;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let piece = &block[at..BLOCK_BYTES.min(at + left)];
        left -= piece.len();
        at = 0;
        Some(piece)
    })
}

/// Appends the value of `bytes` bytes that `identity` names.
pub fn write(out: &mut Vec<u8>, identity: &Identity, bytes: usize) {
    assert!(bytes >= HEADER_BYTES, "a value of {bytes} bytes has no room for its header");
    let mut header = [0u8; HEADER_BYTES];
    header[8..16].copy_from_slice(&identity.run.to_be_bytes());
    header[16..20].copy_from_slice(&identity.stream.to_be_bytes());
    header[20..28].copy_from_slice(&identity.sequence.to_be_bytes());
    header[28..36].copy_from_slice(&identity.intended.to_be_bytes());
    let check = crc32c::crc32c(&header[8..]);
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&check.to_be_bytes());
    out.extend_from_slice(&header);
    body_pieces(identity.sequence, bytes - HEADER_BYTES).for_each(|piece| out.extend_from_slice(piece));
}

/// Reads a value's identity and checks every byte of it.
///
/// # Errors
/// The first fault found, and where.
pub fn read(value: &[u8]) -> Result<Identity, ValueFault> {
    if !value.starts_with(&MAGIC) {
        return Err(ValueFault::Foreign);
    }
    let Some((header, body)) = value.split_first_chunk::<HEADER_BYTES>() else {
        return Err(ValueFault::Header);
    };
    if crc32c::crc32c(&header[8..]).to_be_bytes() != header[4..8] {
        return Err(ValueFault::Header);
    }
    let identity = Identity {
        run: be_u64(header, 8),
        stream: u32::from_be_bytes([header[16], header[17], header[18], header[19]]),
        sequence: be_u64(header, 20),
        intended: be_u64(header, 28),
    };
    let mut at = HEADER_BYTES;
    for piece in body_pieces(identity.sequence, body.len()) {
        let found = &value[at..at + piece.len()];
        if found != piece {
            let inside = found.iter().zip(piece).take_while(|(a, b)| a == b).count();
            return Err(ValueFault::Body { at: at + inside });
        }
        at += piece.len();
    }
    Ok(identity)
}

fn be_u64(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_identity() -> impl Strategy<Value = Identity> {
        (any::<u64>(), any::<u32>(), any::<u64>(), any::<u64>())
            .prop_map(|(run, stream, sequence, intended)| Identity { run, stream, sequence, intended })
    }

    proptest! {
        #[test]
        fn a_value_says_who_it_is_and_any_changed_byte_is_found(
            identity in any_identity(), bytes in HEADER_BYTES..40_000, place in any::<usize>(), flip in 1u8..=255,
        ) {
            let mut value = Vec::new();
            write(&mut value, &identity, bytes);
            prop_assert_eq!(value.len(), bytes);
            prop_assert_eq!(read(&value), Ok(identity));
            let place = place % bytes;
            value[place] ^= flip;
            let fault = match place {
                0..4 => ValueFault::Foreign,
                4..HEADER_BYTES => ValueFault::Header,
                at => ValueFault::Body { at },
            };
            prop_assert_eq!(read(&value), Err(fault));
        }
    }

    #[test]
    fn neighbouring_records_have_different_bodies() {
        let body = |sequence| body_pieces(sequence, 64).flatten().copied().collect::<Vec<_>>();
        (0..256u64)
            .for_each(|sequence| assert_ne!(body(sequence), body(sequence + 1), "sequence {sequence}"));
    }
}
