//! The value of a synthetic record: a header that names it, then a body that follows from the name.
//!
//! | bytes  | field      | meaning                                                            |
//! |--------|------------|--------------------------------------------------------------------|
//! | 0..3   | magic      | `CLB`                                                              |
//! | 3      | entropy    | percent of the body that does not compress                         |
//! | 4..8   | check      | CRC-32C of bytes 3 and 8..36                                       |
//! | 8..16  | run        | random number of the producing run                                 |
//! | 16..20 | stream     | producer within the run; its records to one partition are in order; [`DOOMED`] |
//! | 20..28 | sequence   | 0, 1, 2, ... within the stream                                     |
//! | 28..36 | intended   | Unix nanoseconds at which the record was meant to leave            |
//! | 36..   | body       | pattern block, from a position and under a mask that follow from the sequence |
//!
//! Integers are big-endian. Filling a body is one pass over a block that stays in cache and checking it another,
//! so every byte of every record is verified at full speed. The block is random for the first `entropy` percent of
//! each [`UNIT_BYTES`] and zero after; the mask, eight bytes that differ from record to record and from one passage of
//! the block to the next, keeps a codec from finding in one record what it has seen in another.

use std::sync::OnceLock;

use crate::schedule::mix;

/// First bytes of every synthetic value.
pub const MAGIC: [u8; 3] = *b"CLB";

/// Bytes before the body: the smallest synthetic value.
pub const HEADER_BYTES: usize = 36;

/// Bytes of the pattern block; small enough to stay in a core's cache beside a batch.
const BLOCK_BYTES: usize = 16 * 1024;

/// Step of the body's start from one sequence to the next; odd multiple of a cache line, so that neighbours
/// differ and the starts walk over the whole block.
const STEP_BYTES: usize = 64 * 5;

/// Piece of the block whose first part is random and whose rest is not: large enough for a codec to notice.
const UNIT_BYTES: usize = 512;

/// Bit of a stream's number that says of its records: their transactions will be aborted. They are a stream beside the
/// one that remains, each with its own sequence, so that both can be checked for gaps.
pub const DOOMED: u32 = 1 << 31;

/// Entropy of a body of which nothing compresses.
pub const ENTROPY_MAX: u8 = 100;

const _: () = assert!(BLOCK_BYTES.is_multiple_of(UNIT_BYTES) && UNIT_BYTES.is_multiple_of(64));

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
    /// Percent of the body that does not compress.
    pub entropy: u8,
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

/// The pattern of an entropy: `BLOCK_BYTES` of a fixed pseudo-random sequence, with zeros in between.
fn block(entropy: u8) -> &'static [u8] {
    static BLOCKS: [OnceLock<Vec<u8>>; ENTROPY_MAX as usize + 1] =
        [const { OnceLock::new() }; ENTROPY_MAX as usize + 1];
    BLOCKS[usize::from(entropy.min(ENTROPY_MAX))].get_or_init(|| {
        let random = (0u64..).flat_map(|word| mix(word).to_le_bytes());
        let filled = UNIT_BYTES * usize::from(entropy) / usize::from(ENTROPY_MAX);
        random
            .take(BLOCK_BYTES)
            .enumerate()
            .map(|(at, byte)| if at % UNIT_BYTES < filled { byte } else { 0 })
            .collect()
    })
}

/// The pieces of the pattern block that make up a body of `len` bytes, in order, each with its mask.
fn body_pieces(entropy: u8, sequence: u64, len: usize) -> impl Iterator<Item = (&'static [u8], [u8; 8])> {
    let block = block(entropy);
    let slots = (BLOCK_BYTES / 64) as u64;
    let step = (STEP_BYTES / 64) as u64;
    let mut at = usize::try_from((sequence % slots) * step % slots).unwrap_or(0) * 64;
    let mut left = len;
    let mut mask = mix(sequence);
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let piece = &block[at..BLOCK_BYTES.min(at + left)];
        left -= piece.len();
        at = 0;
        mask = mix(mask);
        Some((piece, mask.to_le_bytes()))
    })
}

/// Appends a piece of the block under its mask.
fn push_masked(out: &mut Vec<u8>, piece: &[u8], mask: [u8; 8]) {
    let (words, rest) = piece.as_chunks::<8>();
    let mask_word = u64::from_ne_bytes(mask);
    let start = out.len();
    out.resize(start + piece.len(), 0);
    let (to, to_rest) = out[start..].as_chunks_mut::<8>();
    for (to, word) in to.iter_mut().zip(words) {
        *to = (u64::from_ne_bytes(*word) ^ mask_word).to_ne_bytes();
    }
    to_rest.iter_mut().zip(rest).zip(mask).for_each(|((to, byte), mask)| *to = byte ^ mask);
}

/// Position of the first byte of `found` that is not the piece's under its mask.
fn first_difference(found: &[u8], piece: &[u8], mask: [u8; 8]) -> Option<usize> {
    let (words, rest) = piece.as_chunks::<8>();
    let (found_words, found_rest) = found.as_chunks::<8>();
    let mask_word = u64::from_ne_bytes(mask);
    let differs = |(a, b): (&[u8; 8], &[u8; 8])| u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b) ^ mask_word;
    // Without a branch for each word: a difference is rare, and looked for only then.
    let any = found_words.iter().zip(words).fold(0, |all, pair| all | differs(pair));
    let same_rest = found_rest.iter().zip(rest).zip(mask).all(|((a, b), mask)| *a == b ^ mask);
    if any == 0 && same_rest {
        return None;
    }
    found.iter().zip(piece).zip(mask.iter().cycle()).position(|((a, b), mask)| *a != b ^ mask)
}

fn check(header: &[u8; HEADER_BYTES]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(&header[3..4]), &header[8..]).to_be_bytes()
}

/// Appends the value of `bytes` bytes that `identity` names.
pub fn write(out: &mut Vec<u8>, identity: &Identity, bytes: usize) {
    assert!(bytes >= HEADER_BYTES, "a value of {bytes} bytes has no room for its header");
    let mut header = [0u8; HEADER_BYTES];
    header[8..16].copy_from_slice(&identity.run.to_be_bytes());
    header[16..20].copy_from_slice(&identity.stream.to_be_bytes());
    header[20..28].copy_from_slice(&identity.sequence.to_be_bytes());
    header[28..36].copy_from_slice(&identity.intended.to_be_bytes());
    header[..3].copy_from_slice(&MAGIC);
    header[3] = identity.entropy;
    let check = check(&header);
    header[4..8].copy_from_slice(&check);
    out.extend_from_slice(&header);
    body_pieces(identity.entropy, identity.sequence, bytes - HEADER_BYTES)
        .for_each(|(piece, mask)| push_masked(out, piece, mask));
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
    if check(header) != header[4..8] {
        return Err(ValueFault::Header);
    }
    let identity = Identity {
        run: be_u64(header, 8),
        stream: u32::from_be_bytes([header[16], header[17], header[18], header[19]]),
        sequence: be_u64(header, 20),
        intended: be_u64(header, 28),
        entropy: header[3],
    };
    let mut at = HEADER_BYTES;
    for (piece, mask) in body_pieces(identity.entropy, identity.sequence, body.len()) {
        if let Some(inside) = first_difference(&value[at..at + piece.len()], piece, mask) {
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
        (any::<u64>(), any::<u32>(), any::<u64>(), any::<u64>(), 0..=ENTROPY_MAX).prop_map(
            |(run, stream, sequence, intended, entropy)| Identity {
                run,
                stream,
                sequence,
                intended,
                entropy,
            },
        )
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
                0..3 => ValueFault::Foreign,
                3..HEADER_BYTES => ValueFault::Header,
                at => ValueFault::Body { at },
            };
            prop_assert_eq!(read(&value), Err(fault));
        }
    }

    fn body(entropy: u8, sequence: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        body_pieces(entropy, sequence, len).for_each(|(piece, mask)| push_masked(&mut bytes, piece, mask));
        bytes
    }

    #[test]
    fn neighbouring_records_have_different_bodies() {
        for sequence in 0..256u64 {
            assert_ne!(body(100, sequence, 64), body(100, sequence + 1, 64), "sequence {sequence}");
        }
    }

    /// Over many records and far more bytes than the block has, so that its repetition would show.
    #[test]
    fn a_codec_takes_away_what_is_not_entropy_and_no_more() {
        for (entropy, least, most) in [(100, 0.99, 1.01), (50, 0.48, 0.60), (10, 0.09, 0.22), (0, 0.0, 0.10)]
        {
            let bodies: Vec<u8> = (0..400).flat_map(|sequence| body(entropy, sequence, 1000)).collect();
            let mut packed = Vec::new();
            let zstd = crate::compression::Compression::parse("zstd").expect("a codec");
            crate::compression::compress(zstd, &bodies, &mut packed).expect("compresses");
            let ratio = packed.len() as f64 / bodies.len() as f64;
            assert!((least..=most).contains(&ratio), "entropy {entropy} %: {ratio:.3}");
        }
    }
}
