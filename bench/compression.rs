//! The codecs, as the `record` room implements them, behind the command line's names.

use std::io;

use corelane_record as record;

/// Codec of produced batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Uncompressed.
    None,
    /// As Kafka's attributes number it.
    Gzip,
    /// As Kafka's attributes number it.
    Snappy,
    /// As Kafka's attributes number it.
    Lz4,
    /// As Kafka's attributes number it.
    Zstd,
}

/// A codec and how hard it tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// Codec.
    pub codec: Codec,
    /// On the codec's own scale; `None` is its default.
    pub level: Option<i32>,
}

impl Compression {
    /// Uncompressed.
    pub const NONE: Self = Self { codec: Codec::None, level: None };

    /// From `none`, `snappy`, or `gzip`, `lz4`, `zstd` with or without `:LEVEL`. The bounds of levels are Kafka's.
    ///
    /// # Errors
    /// Another text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, level) = text.split_once(':').map_or((text, None), |(name, level)| (name, Some(level)));
        let (codec, levels) = match name {
            "none" => (Codec::None, None),
            "snappy" => (Codec::Snappy, None),
            "gzip" => (Codec::Gzip, Some(1..=9)),
            "lz4" => (Codec::Lz4, Some(1..=17)),
            "zstd" => (Codec::Zstd, Some(-131_072..=22)),
            _ => return Err("codecs are none, gzip, snappy, lz4 and zstd".into()),
        };
        let level =
            match (level, levels) {
                (None, _) => None,
                (Some(_), None) => return Err(format!("{name} has no levels")),
                (Some(level), Some(levels)) => {
                    let level = level.parse().ok().filter(|level| levels.contains(level));
                    Some(level.ok_or_else(|| {
                        format!("levels of {name} are {} to {}", levels.start(), levels.end())
                    })?)
                }
            };
        Ok(Self { codec, level })
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&format!("{:?}", self.codec).to_lowercase())?;
        self.level.map_or(Ok(()), |level| write!(f, ":{level}"))
    }
}

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
pub fn attribute(compression: Compression) -> i16 {
    i16::from(codec(compression.codec).number())
}

/// Appends `records` compressed.
///
/// # Errors
/// What the codec says.
pub fn compress(compression: Compression, records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    record::compress(codec(compression.codec), compression.level, records, out).map_err(io::Error::other)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codec_is_named_with_or_without_its_level() {
        for text in ["none", "snappy", "gzip:9", "lz4", "lz4:17", "zstd:-5", "zstd:22"] {
            assert_eq!(Compression::parse(text).map(|c| c.to_string()), Ok(text.to_owned()));
        }
        for text in ["snappy:1", "gzip:10", "lz4:x", "zstd:23", "brotli", ""] {
            assert!(Compression::parse(text).is_err(), "{text}");
        }
    }
}
