//! The codecs, as the `record` room implements them, behind the command line's names.

use std::io;

use corelane_record as record;

use crate::args::Codec;

fn codec(codec: Codec) -> record::Codec {
    match codec {
        Codec::None => record::Codec::None,
        Codec::Gzip => record::Codec::Gzip,
        Codec::Snappy => record::Codec::Snappy,
        Codec::Lz4 => record::Codec::Lz4,
        Codec::Zstd => record::Codec::Zstd,
    }
}

/// Compression bits of a batch's attributes.
pub fn attribute(named: Codec) -> i16 {
    i16::from(codec(named).number())
}

/// Appends `records` compressed.
///
/// # Errors
/// What the codec says.
pub fn compress(named: Codec, records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    record::compress(codec(named), None, records, out).map_err(io::Error::other)
}

/// Appends `packed` unpacked, at most `bytes_max`; `number` is the codec's in the batch's attributes.
///
/// # Errors
/// An unknown codec, or what the codec says.
pub fn decompress(number: u8, packed: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> io::Result<()> {
    let codec = record::Codec::from_number(number);
    let codec = codec.ok_or_else(|| io::Error::other(format!("codec {number} is unknown")))?;
    record::decompress(codec, packed, bytes_max, out).map_err(io::Error::other)
}
