//! One batch in another codec, for topics whose `compression.type` is not `producer`.

use corelane_model::{CompressionType, TopicSettings};

use crate::{
    batch::{Codec, HEADER_BYTES, LENGTH_OVERHEAD, RecordBatch, set_codec_and_length},
    compression::{CompressionError, compress, decompress},
    validate::DECOMPRESSED_BYTES_MAX,
};

/// The codec a topic's batches are stored in; `None` for "as the producer sent them".
#[must_use]
pub fn stored_codec(setting: CompressionType) -> Option<Codec> {
    match setting {
        CompressionType::Producer => None,
        CompressionType::Uncompressed => Some(Codec::None),
        CompressionType::Gzip => Some(Codec::Gzip),
        CompressionType::Snappy => Some(Codec::Snappy),
        CompressionType::Lz4 => Some(Codec::Lz4),
        CompressionType::Zstd => Some(Codec::Zstd),
    }
}

/// The level of the codec that a topic's batches are stored in; `None` for the codec's own.
#[must_use]
pub fn stored_level(settings: &TopicSettings) -> Option<i32> {
    match settings.compression_type {
        // -1 is gzip's word for its own.
        CompressionType::Gzip => Some(settings.gzip_level).filter(|level| *level >= 0),
        CompressionType::Zstd => Some(settings.zstd_level),
        CompressionType::Lz4 => Some(settings.lz4_level),
        CompressionType::Snappy | CompressionType::Producer | CompressionType::Uncompressed => None,
    }
}

/// The same records in `codec`, at its `level`: header as before, but for codec, length and CRC.
///
/// # Errors
/// The records cannot be unpacked, or come to more than [`DECOMPRESSED_BYTES_MAX`].
pub fn recompress(
    batch: &RecordBatch<'_>,
    from: Codec,
    codec: Codec,
    level: Option<i32>,
) -> Result<Vec<u8>, CompressionError> {
    let mut plain = Vec::new();
    let records = if from == Codec::None {
        batch.payload()
    } else {
        decompress(from, batch.payload(), DECOMPRESSED_BYTES_MAX, &mut plain)?;
        &plain
    };
    let mut out = Vec::with_capacity(HEADER_BYTES + records.len());
    out.extend_from_slice(&batch.as_bytes()[..HEADER_BYTES]);
    compress(codec, level, records, &mut out)?;
    let length = out.len() - LENGTH_OVERHEAD;
    set_codec_and_length(&mut out, codec, length);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, for_each_record};

    #[test]
    fn a_topics_level_is_that_of_its_codec_and_a_higher_one_packs_tighter() {
        let of = |compression_type, gzip_level, zstd_level| {
            stored_level(&TopicSettings {
                compression_type,
                gzip_level,
                lz4_level: 12,
                zstd_level,
                ..TopicSettings::default()
            })
        };
        assert_eq!(of(CompressionType::Gzip, -1, 5), None);
        assert_eq!(of(CompressionType::Gzip, 9, 5), Some(9));
        assert_eq!(of(CompressionType::Zstd, 9, -5), Some(-5));
        assert_eq!(of(CompressionType::Lz4, 9, 5), Some(12));
        assert_eq!(of(CompressionType::Snappy, 9, 5), None);
        let mut builder = BatchBuilder::new(Codec::None);
        for i in 0..3_000_i64 {
            builder.push(1_000, None, Some(format!("{} and {}", i * 7_919 % 1_000, i % 13).as_bytes()), &[]);
        }
        let mut plain = Vec::new();
        builder.finish(&mut plain).expect("plain");
        let batch = RecordBatch::first(&plain).expect("sound").expect("whole");
        let packed =
            |codec, level| recompress(&batch, Codec::None, codec, Some(level)).expect("packed").len();
        assert!(packed(Codec::Gzip, 9) < packed(Codec::Gzip, 1));
        assert!(packed(Codec::Lz4, 12) < packed(Codec::Lz4, 9));
        assert!(packed(Codec::Zstd, 19) < packed(Codec::Zstd, -50));
    }

    #[test]
    fn records_are_the_same_in_every_codec() {
        let mut builder = BatchBuilder::new(Codec::None);
        for i in 0..50_i64 {
            let value = format!("value {i} value {i}");
            builder.push(1_000 + i, Some(b"key"), Some(value.as_bytes()), &[("h", Some(b"x"))]);
        }
        let mut plain = Vec::new();
        builder.finish(&mut plain).expect("plain");
        let read = |bytes: &[u8]| {
            let batch = RecordBatch::first(bytes).expect("sound").expect("whole");
            assert!(batch.crc_matches());
            let mut seen = Vec::new();
            for_each_record(&batch, &mut Vec::new(), 1 << 20, |record| {
                seen.push((record.timestamp, record.value.map(<[u8]>::to_vec)));
            })
            .expect("records");
            (batch.codec().expect("codec"), seen)
        };
        for from in Codec::ALL {
            let batch = RecordBatch::first(&plain).expect("sound").expect("whole");
            let first = recompress(&batch, Codec::None, from, None).expect("recompressed");
            for to in Codec::ALL {
                let batch = RecordBatch::first(&first).expect("sound").expect("whole");
                let second = recompress(&batch, from, to, None).expect("recompressed");
                assert_eq!(read(&second), (to, read(&plain).1), "{from:?} to {to:?}");
            }
        }
    }
}
