//! lz4 at its higher levels: slower to write, as fast to read.
//!
//! The same frame that the fast writer makes, 64 KiB independent blocks without checksums. Where the fast one
//! looks at one earlier place with the same 4 bytes, this one follows the chain of all such places as far as
//! its level allows, and waits one byte if the next place has a longer match.
//!
//! The work is bounded: a level says how many places are looked at for one byte, [`STEPS_MAX`] how many for a
//! block; one that has used them up goes on with one place for each.
//!
//! Source: lz4, "LZ4 Block Format Description" (the rules at a block's end), "LZ4 Frame Format Description".

/// Magic; version 1, independent blocks; blocks up to 64 KiB; checksum of the latter two.
const FRAME_HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const FRAME_END: [u8; 4] = [0; 4];
/// In a block's length: it is not compressed.
const STORED_BIT: u32 = 1 << 31;

const BLOCK_BYTES_MAX: usize = 64 * 1024;
// The offset of a match has 16 bits.
const _: () = assert!(BLOCK_BYTES_MAX - 1 <= u16::MAX as usize);

const MATCH_BYTES_MIN: usize = 4;
/// The last match of a block starts at least this far from its end.
const MATCH_START_MARGIN: usize = 12;
/// The last bytes of a block are literals.
const LITERALS_AT_END: usize = 5;

const HASH_BITS: u32 = 15;
/// Highest level; each looks at twice as many places as the one below.
const LEVEL_MAX: u32 = 10;
/// Places looked at for one block.
const STEPS_MAX: u32 = 2 << 20;

/// Appends a frame with `input` at `level`, 1 to 17 on Kafka's scale; those above 10 are as 10.
pub(crate) fn write(level: i32, input: &[u8], out: &mut Vec<u8>) {
    let level = u32::try_from(level).unwrap_or(1).clamp(1, LEVEL_MAX);
    let mut finder = Finder::new(1 << (level - 1));
    out.extend_from_slice(&FRAME_HEADER);
    for block in input.chunks(BLOCK_BYTES_MAX) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        write_block(block, &mut finder, out);
        let mut length = (out.len() - start - 4) as u32;
        if length as usize >= block.len() {
            out.truncate(start + 4);
            out.extend_from_slice(block);
            length = block.len() as u32 | STORED_BIT;
        }
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
    out.extend_from_slice(&FRAME_END);
}

fn write_block(block: &[u8], finder: &mut Finder, out: &mut Vec<u8>) {
    finder.reset();
    let (mut at, mut literals_from) = (0, 0);
    while at + MATCH_START_MARGIN <= block.len() {
        let Some(mut found) = finder.longest(block, at, MATCH_BYTES_MIN - 1) else {
            at += 1;
            continue;
        };
        while at + 1 + MATCH_START_MARGIN <= block.len()
            && let Some(better) = finder.longest(block, at + 1, found.bytes)
        {
            at += 1;
            found = better;
        }
        write_sequence(&block[literals_from..at], Some((at - found.position, found.bytes)), out);
        at += found.bytes;
        literals_from = at;
    }
    write_sequence(&block[literals_from..], None, out);
}

/// Literals, then a match: how far back, and how many bytes.
fn write_sequence(literals: &[u8], copied: Option<(usize, usize)>, out: &mut Vec<u8>) {
    let beyond_min = copied.map_or(0, |(_, bytes)| bytes - MATCH_BYTES_MIN);
    out.push((literals.len().min(15) as u8) << 4 | beyond_min.min(15) as u8);
    write_rest_of_length(literals.len(), out);
    out.extend_from_slice(literals);
    if let Some((back, _)) = copied {
        assert!((1..BLOCK_BYTES_MAX).contains(&back), "a match {back} bytes back");
        out.extend_from_slice(&(back as u16).to_le_bytes());
        write_rest_of_length(beyond_min, out);
    }
}

/// What of a length does not fit into its 4 bits of the token.
fn write_rest_of_length(length: usize, out: &mut Vec<u8>) {
    let Some(mut rest) = length.checked_sub(15) else { return };
    while rest >= 255 {
        out.push(255);
        rest -= 255;
    }
    out.push(rest as u8);
}

struct Match {
    position: usize,
    bytes: usize,
}

/// Earlier places with the same first 4 bytes, the latest first. Places are stored plus 1, so that 0 is none.
struct Finder {
    latest: Vec<u32>,
    before: Vec<u32>,
    /// The first place that is not known yet.
    next: usize,
    places_max: u32,
    steps_left: u32,
}

impl Finder {
    fn new(places_max: u32) -> Self {
        let (latest, before) = (vec![0; 1 << HASH_BITS], vec![0; BLOCK_BYTES_MAX]);
        Self { latest, before, next: 0, places_max, steps_left: STEPS_MAX }
    }

    fn reset(&mut self) {
        self.latest.fill(0);
        self.next = 0;
        self.steps_left = STEPS_MAX;
    }

    fn learn_up_to(&mut self, block: &[u8], end: usize) {
        for at in self.next..end {
            let latest = &mut self.latest[hash(block, at)];
            self.before[at] = *latest;
            *latest = at as u32 + 1;
        }
        self.next = self.next.max(end);
    }

    /// The longest earlier match for what starts at `at`, if it has more than `floor` bytes.
    fn longest(&mut self, block: &[u8], at: usize, floor: usize) -> Option<Match> {
        self.learn_up_to(block, at);
        let matchable = &block[..block.len() - LITERALS_AT_END];
        let (mut found, mut bytes_max) = (None, floor);
        let mut place = self.latest[hash(block, at)];
        let mut places_left = self.places_max.min(self.steps_left.max(1));
        while place > 0 && places_left > 0 && at + bytes_max < matchable.len() {
            let position = place as usize - 1;
            // Only what also agrees in the byte after the best so far can be longer.
            if matchable[position + bytes_max] == matchable[at + bytes_max] {
                let pairs = matchable[position..].iter().zip(&matchable[at..]);
                let bytes = pairs.take_while(|(earlier, now)| earlier == now).count();
                if bytes > bytes_max {
                    bytes_max = bytes;
                    found = Some(Match { position, bytes });
                }
            }
            place = self.before[position];
            places_left -= 1;
            self.steps_left = self.steps_left.saturating_sub(1);
        }
        found
    }
}

fn hash(block: &[u8], at: usize) -> usize {
    let four = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    (four.wrapping_mul(2_654_435_761) >> (u32::BITS - HASH_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{batch::Codec, compression::decompress};

    fn written(level: i32, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(level, input, &mut out);
        out
    }

    fn read(frame: &[u8], output_max: usize) -> Vec<u8> {
        let mut out = Vec::new();
        decompress(Codec::Lz4, frame, output_max, &mut out).expect("another reader takes it");
        out
    }

    fn text() -> Vec<u8> {
        (0..30_000_u32)
            .flat_map(|i| format!("{} ", i.wrapping_mul(2_654_435_761) >> 22).into_bytes())
            .collect()
    }

    #[test]
    fn a_higher_level_packs_tighter_and_all_pack_tighter_than_the_fast_one() {
        let text = text();
        let sizes: Vec<_> = [1, 4, 8, 12].map(|level| written(level, &text).len()).into();
        assert!(sizes.is_sorted_by(|lower, higher| lower >= higher), "{sizes:?}");
        assert!(sizes[3] < sizes[0], "{sizes:?}");
        let mut fast = Vec::new();
        crate::compress(Codec::Lz4, None, &text, &mut fast).expect("compresses");
        assert!(sizes[2] < fast.len(), "{sizes:?} against {}", fast.len());
    }

    #[test]
    fn what_cannot_be_packed_is_stored_and_grows_only_by_its_frame() {
        let mut state = 88_172_645_463_325_252_u64;
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        });
        let noise: Vec<u8> = noise.take(200_000).collect();
        let frame = written(12, &noise);
        assert!(frame.len() <= noise.len() + 7 + 4 * 4 + 4, "{}", frame.len());
        assert_eq!(read(&frame, noise.len()), noise);
    }

    #[test]
    fn lengths_around_the_rules_of_a_blocks_end_are_read_back() {
        for bytes in (0..40).chain(BLOCK_BYTES_MAX - 14..BLOCK_BYTES_MAX + 14) {
            for input in [vec![7; bytes], text()[..bytes].to_vec()] {
                let frame = written(8, &input);
                assert_eq!(read(&frame, bytes), input, "{bytes} bytes");
            }
        }
    }

    #[test]
    fn a_block_of_nothing_but_short_matches_costs_no_more_than_its_steps() {
        let mut finder = Finder::new(1 << (LEVEL_MAX - 1));
        // The same 4 bytes over and over, what follows them differs.
        let hostile: Vec<u8> = (0..BLOCK_BYTES_MAX as u32 / 8)
            .flat_map(|i| [b"abcd".as_slice(), &i.wrapping_mul(2_654_435_761).to_be_bytes()].concat())
            .collect();
        write_block(&hostile, &mut finder, &mut Vec::new());
        assert_eq!(finder.steps_left, 0);
        assert_eq!(read(&written(17, &hostile), hostile.len()), hostile);
    }

    proptest! {
        #[test]
        fn anything_is_read_back_by_another_reader(
            pieces in proptest::collection::vec(
                (proptest::collection::vec(0_u8..4, 1..20), 1_usize..400), 0..60),
            level in 1..18_i32,
        ) {
            let input: Vec<u8> = pieces.iter().flat_map(|(piece, times)| piece.repeat(*times)).collect();
            prop_assert_eq!(read(&written(level, &input), input.len()), input);
        }
    }
}
