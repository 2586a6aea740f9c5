//! Zigzag varints of records: base 128, little end first, the lowest bit holds the sign.
//!
//! Source: Kafka, `ByteUtils.readVarint` and `readVarlong`; Protocol Buffers, "Encoding".

/// Reads a varlong off the front of `bytes`; `None` if it is cut off or does not fit in 64 bits.
#[inline]
pub(crate) fn read_long(bytes: &mut &[u8]) -> Option<i64> {
    let (&first, rest) = bytes.split_first()?;
    // Most are one byte: attributes, deltas, lengths of keys, counts of headers.
    if first < 0x80 {
        *bytes = rest;
        return Some(unzigzag(u64::from(first)));
    }
    let mut value = u64::from(first & 0x7f);
    for (at, &byte) in rest.iter().take(9).enumerate() {
        if at == 8 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * (at + 1));
        if byte < 0x80 {
            *bytes = &rest[at + 1..];
            return Some(unzigzag(value));
        }
    }
    None
}

/// Reads a varint off the front of `bytes`; `None` if it is cut off or does not fit in 32 bits.
#[inline]
pub(crate) fn read_int(bytes: &mut &[u8]) -> Option<i32> {
    let mut rest = *bytes;
    let value = i32::try_from(read_long(&mut rest)?).ok()?;
    *bytes = rest;
    Some(value)
}

/// Appends a varlong; a varint of the same value is the same bytes.
#[inline]
pub(crate) fn write(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// How many bytes [`write`] appends.
#[inline]
pub(crate) fn bytes(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_reads_back_from_its_bytes(value: i64) {
            let mut out = Vec::new();
            write(&mut out, value);
            prop_assert_eq!(out.len(), bytes(value));
            let mut rest = &out[..];
            prop_assert_eq!(read_long(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
            let mut rest = &out[..];
            prop_assert_eq!(read_int(&mut rest), i32::try_from(value).ok());
            for cut in 0..out.len() {
                prop_assert_eq!(read_long(&mut &out[..cut]), None);
            }
        }

        #[test]
        fn any_bytes_are_a_number_or_refused(input: [u8; 12]) {
            let mut rest = &input[..];
            let long = read_long(&mut rest);
            let taken = input.len() - rest.len();
            prop_assert_eq!(long.is_some(), (1..=10).contains(&taken));
        }
    }

    #[test]
    fn the_bytes_are_those_of_kafkas_own_test() {
        // Kafka, `ByteUtilsTest.testVarlongSerde`.
        for (value, expected) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (8191, &[0xfe, 0x7f]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            let mut out = Vec::new();
            write(&mut out, value);
            assert_eq!(out, expected, "{value}");
        }
        assert_eq!(read_int(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), None);
        assert_eq!(read_long(&mut &[0xff; 10][..]), None);
    }
}
