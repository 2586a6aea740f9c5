//! Bounded reader and writer: integers, varints, strings, arrays and tagged fields, compact or not.
//!
//! Each primitive has two encodings; which one holds is a property of the message's version, so reader
//! and writer are told once, at their start, whether the version is *flexible* (KIP-482).
//!
//! Source: Kafka protocol guide, "Protocol Primitive Types"; KIP-482 for compact types and tagged fields.

use bytes::{BufMut, BytesMut};

/// Longest frame that may be written or read: a size prefix is a signed 32-bit number.
pub const FRAME_BYTES_MAX: usize = i32::MAX as usize;

/// Most elements of all arrays of one message that is read here: an element takes more memory than the few
/// bytes it may have on the wire.
pub const ELEMENTS_MAX: usize = 200_000;

/// Why bytes are no message. The same bytes will fail again; the connection they came on is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The frame ends before a value does.
    #[error("{needed} bytes needed at byte {at}, {left} left")]
    UnexpectedEnd {
        /// Where the value starts.
        at: usize,
        /// Its size.
        needed: usize,
        /// What the frame still has.
        left: usize,
    },
    /// A varint of more than five bytes, or above 2^32-1.
    #[error("malformed varint at byte {at}")]
    Varint {
        /// Where it starts.
        at: usize,
    },
    /// A length or count below zero that does not stand for "null", or null where null is not allowed.
    #[error("illegal length {length} at byte {at}")]
    Length {
        /// Where it stands.
        at: usize,
        /// What it says; -1 for null.
        length: i64,
    },
    /// More elements are announced than the bytes left can hold, or than [`ELEMENTS_MAX`] in all.
    #[error("{count} elements announced at byte {at}, the frame has {left} bytes left")]
    Count {
        /// Where the count stands.
        at: usize,
        /// What it says.
        count: usize,
        /// What the frame still has.
        left: usize,
    },
    /// A string is not UTF-8.
    #[error("string at byte {at} is not UTF-8")]
    Utf8 {
        /// Where its bytes start.
        at: usize,
    },
    /// Tagged fields out of order, doubled, or longer than their value.
    #[error("malformed tagged field {tag} at byte {at}")]
    TaggedField {
        /// Its number.
        tag: u32,
        /// Where it starts.
        at: usize,
    },
    /// A message is asked for in a version it is not served in.
    #[error("{api} is not served in version {version}")]
    Version {
        /// Kafka's name of the API.
        api: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A generated message refused its bytes.
    #[error("malformed message: {0}")]
    Decode(#[from] kafka_wire_core::DecodeError),
    /// A generated message cannot be written: a field has no place in that version, or is too long.
    #[error("message cannot be written: {0}")]
    Encode(#[from] kafka_wire_core::EncodeError),
}

/// Reads one message front to back. Every value read is a slice of the input.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    flexible: bool,
    elements_left: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte; `flexible` says whether the version has compact types and tagged fields.
    #[must_use]
    pub fn new(bytes: &'a [u8], flexible: bool) -> Self {
        Self { bytes, at: 0, flexible, elements_left: ELEMENTS_MAX }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`WireError::UnexpectedEnd`] if the input is shorter.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..count) else {
            return Err(WireError::UnexpectedEnd { at: self.at, needed: count, left: rest.len() });
        };
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (at, left) = (self.at, self.left());
        self.take(N)?.try_into().map_err(|_| WireError::UnexpectedEnd { at, needed: N, left })
    }

    /// INT8.
    ///
    /// # Errors
    /// [`WireError::UnexpectedEnd`]
    pub fn int8(&mut self) -> Result<i8, WireError> {
        self.array().map(i8::from_be_bytes)
    }

    /// INT16.
    ///
    /// # Errors
    /// [`WireError::UnexpectedEnd`]
    pub fn int16(&mut self) -> Result<i16, WireError> {
        self.array().map(i16::from_be_bytes)
    }

    /// INT32.
    ///
    /// # Errors
    /// [`WireError::UnexpectedEnd`]
    pub fn int32(&mut self) -> Result<i32, WireError> {
        self.array().map(i32::from_be_bytes)
    }

    /// INT64.
    ///
    /// # Errors
    /// [`WireError::UnexpectedEnd`]
    pub fn int64(&mut self) -> Result<i64, WireError> {
        self.array().map(i64::from_be_bytes)
    }

    /// UUID.
    ///
    /// # Errors
    /// [`WireError::UnexpectedEnd`]
    pub fn uuid(&mut self) -> Result<[u8; 16], WireError> {
        self.array()
    }

    /// UNSIGNED_VARINT of at most 32 bits.
    ///
    /// # Errors
    /// [`WireError::Varint`] if it is longer than five bytes or larger, [`WireError::UnexpectedEnd`].
    pub fn unsigned_varint(&mut self) -> Result<u32, WireError> {
        let at = self.at;
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Varint { at })
    }

    /// A length or count in this version's encoding; `None` for null.
    fn length(
        &mut self,
        read_fixed: fn(&mut Self) -> Result<i64, WireError>,
    ) -> Result<Option<usize>, WireError> {
        let at = self.at;
        let length = if self.flexible { i64::from(self.unsigned_varint()?) - 1 } else { read_fixed(self)? };
        if length == -1 {
            return Ok(None);
        }
        usize::try_from(length).map(Some).map_err(|_| WireError::Length { at, length })
    }

    fn text(&mut self, length: usize) -> Result<&'a str, WireError> {
        let at = self.at;
        std::str::from_utf8(self.take(length)?).map_err(|_| WireError::Utf8 { at })
    }

    /// (COMPACT_)NULLABLE_STRING.
    ///
    /// # Errors
    /// [`WireError`] if the length is illegal, the bytes are too few or not UTF-8.
    pub fn nullable_string(&mut self) -> Result<Option<&'a str>, WireError> {
        let length = self.length(|r| r.int16().map(i64::from))?;
        length.map(|length| self.text(length)).transpose()
    }

    /// (COMPACT_)STRING.
    ///
    /// # Errors
    /// As [`Self::nullable_string`]; null is refused.
    pub fn string(&mut self) -> Result<&'a str, WireError> {
        let at = self.at;
        self.nullable_string()?.ok_or(WireError::Length { at, length: -1 })
    }

    /// NULLABLE_STRING with its 16-bit length, whatever the version: the client id of a request header.
    ///
    /// # Errors
    /// As [`Self::nullable_string`].
    pub fn fixed_nullable_string(&mut self) -> Result<Option<&'a str>, WireError> {
        let flexible = std::mem::replace(&mut self.flexible, false);
        let text = self.nullable_string();
        self.flexible = flexible;
        text
    }

    /// (COMPACT_)NULLABLE_BYTES, also of type RECORDS.
    ///
    /// # Errors
    /// [`WireError`] if the length is illegal or the bytes are too few.
    pub fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, WireError> {
        let length = self.length(|r| r.int32().map(i64::from))?;
        length.map(|length| self.take(length)).transpose()
    }

    /// Count of an array whose elements take at least `element_bytes_min` each; `None` for null.
    ///
    /// A count that passes may be allocated: the bytes for that many elements are there.
    ///
    /// # Errors
    /// [`WireError::Count`] if the bytes left cannot hold that many.
    pub fn nullable_count(&mut self, element_bytes_min: usize) -> Result<Option<usize>, WireError> {
        let at = self.at;
        let Some(count) = self.length(|r| r.int32().map(i64::from))? else {
            return Ok(None);
        };
        if count > self.elements_left.min(self.left() / element_bytes_min.max(1)) {
            return Err(WireError::Count { at, count, left: self.left() });
        }
        self.elements_left -= count;
        Ok(Some(count))
    }

    /// As [`Self::nullable_count`], where null is not allowed.
    ///
    /// # Errors
    /// As [`Self::nullable_count`]; null is refused.
    pub fn count(&mut self, element_bytes_min: usize) -> Result<usize, WireError> {
        let at = self.at;
        self.nullable_count(element_bytes_min)?.ok_or(WireError::Length { at, length: -1 })
    }

    /// Reads the tagged fields that end a structure; nothing in a version that has none.
    ///
    /// `known` is given each tag and a reader of its value, and says whether it read that value; what it
    /// does not know is skipped, not stored.
    ///
    /// # Errors
    /// [`WireError::TaggedField`] unless tags ascend strictly and a known value fills its size.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Reader<'a>) -> Result<bool, WireError>,
    ) -> Result<(), WireError> {
        if !self.flexible {
            return Ok(());
        }
        let at = self.at;
        let count = self.unsigned_varint()? as usize;
        if count > self.left() / 2 {
            return Err(WireError::Count { at, count, left: self.left() });
        }
        let mut previous = None;
        for _ in 0..count {
            let at = self.at;
            let tag = self.unsigned_varint()?;
            if previous.is_some_and(|previous| tag <= previous) {
                return Err(WireError::TaggedField { tag, at });
            }
            previous = Some(tag);
            let size = self.unsigned_varint()? as usize;
            let mut value = Reader::new(self.take(size)?, true);
            if known(tag, &mut value)? && value.left() > 0 {
                return Err(WireError::TaggedField { tag, at });
            }
        }
        Ok(())
    }

    /// Skips the tagged fields that end a structure; nothing in a version that has none.
    ///
    /// # Errors
    /// As [`Self::tagged_fields`].
    pub fn skip_tagged_fields(&mut self) -> Result<(), WireError> {
        self.tagged_fields(|_, _| Ok(false))
    }
}

/// Writes one message front to back.
#[derive(Debug)]
pub struct Writer<'a> {
    /// What has been written.
    pub out: &'a mut BytesMut,
    flexible: bool,
}

impl<'a> Writer<'a> {
    /// Appends to `out`; `flexible` says whether the version has compact types and tagged fields.
    pub fn new(out: &'a mut BytesMut, flexible: bool) -> Self {
        Self { out, flexible }
    }

    /// INT8.
    pub fn int8(&mut self, value: i8) {
        self.out.put_i8(value);
    }

    /// INT16.
    pub fn int16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    /// INT32.
    pub fn int32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    /// INT64.
    pub fn int64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    /// UUID.
    pub fn uuid(&mut self, value: [u8; 16]) {
        self.out.put_slice(&value);
    }

    /// UNSIGNED_VARINT.
    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    /// A count or length of four bytes, or compact: one more than it is.
    fn length(&mut self, length: usize) {
        assert!(length < FRAME_BYTES_MAX, "no frame holds {length} elements");
        if self.flexible {
            self.unsigned_varint(length as u32 + 1);
        } else {
            self.int32(length as i32);
        }
    }

    /// Count of an ARRAY, before its elements.
    pub fn count(&mut self, count: usize) {
        self.length(count);
    }

    /// Null in place of an ARRAY or of BYTES.
    pub fn null(&mut self) {
        if self.flexible { self.unsigned_varint(0) } else { self.int32(-1) }
    }

    /// Length of (COMPACT_)BYTES or RECORDS, before the bytes themselves.
    pub fn bytes_length(&mut self, length: usize) {
        self.length(length);
    }

    /// (COMPACT_)BYTES.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.out.put_slice(bytes);
    }

    /// (COMPACT_)STRING; what exceeds 32,767 bytes, the most a STRING can hold, is cut off.
    pub fn string(&mut self, text: &str) {
        const STRING_BYTES_MAX: usize = i16::MAX as usize;
        let mut end = text.len().min(STRING_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = &text[..end];
        if self.flexible {
            self.unsigned_varint(text.len() as u32 + 1);
        } else {
            self.int16(text.len() as i16);
        }
        self.out.put_slice(text.as_bytes());
    }

    /// (COMPACT_)NULLABLE_STRING.
    pub fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None if self.flexible => self.unsigned_varint(0),
            None => self.int16(-1),
        }
    }

    /// The tagged fields of a structure that has none set; nothing in a version without them.
    pub fn no_tagged_fields(&mut self) {
        if self.flexible {
            self.unsigned_varint(0);
        }
    }

    /// Whether this version has compact types and tagged fields.
    #[must_use]
    pub fn is_flexible(&self) -> bool {
        self.flexible
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(flexible: bool, write: impl FnOnce(&mut Writer<'_>)) -> BytesMut {
        let mut out = BytesMut::new();
        write(&mut Writer::new(&mut out, flexible));
        out
    }

    #[test]
    fn primitives_have_the_bytes_of_the_protocol_guide() {
        assert_eq!(&written(false, |w| w.string("ab"))[..], [0, 2, b'a', b'b']);
        assert_eq!(&written(true, |w| w.string("ab"))[..], [3, b'a', b'b']);
        assert_eq!(&written(false, |w| w.nullable_string(None))[..], [0xff, 0xff]);
        assert_eq!(&written(true, |w| w.nullable_string(None))[..], [0]);
        assert_eq!(&written(false, |w| w.count(0))[..], [0, 0, 0, 0]);
        assert_eq!(&written(true, |w| w.count(0))[..], [1]);
        assert_eq!(&written(true, |w| w.count(127))[..], [0x80, 1]);
        assert_eq!(&written(false, |w| w.null())[..], [0xff; 4]);
        assert_eq!(&written(true, |w| w.null())[..], [0]);
        assert_eq!(&written(false, |w| w.no_tagged_fields())[..], []);
        assert_eq!(&written(true, |w| w.no_tagged_fields())[..], [0]);
        assert_eq!(&written(true, |w| w.unsigned_varint(300))[..], [0xac, 2]);
    }

    #[test]
    fn a_string_too_long_is_cut_between_characters() {
        let long = "ü".repeat(20_000);
        for flexible in [false, true] {
            let out = written(flexible, |w| w.string(&long));
            let read = Reader::new(&out, flexible).string().expect("sound").len();
            assert_eq!(read, 32_766);
        }
    }

    #[test]
    fn a_count_is_believed_only_as_far_as_bytes_back_it() {
        let bytes = [0, 0, 0, 3, 9, 9, 9, 9, 9, 9];
        assert_eq!(Reader::new(&bytes, false).count(2), Ok(3));
        let error = WireError::Count { at: 0, count: 3, left: 6 };
        assert_eq!(Reader::new(&bytes, false).count(3), Err(error));
        let huge = [0x7f, 0xff, 0xff, 0xff];
        let error = WireError::Count { at: 0, count: 0x7fff_ffff, left: 0 };
        assert_eq!(Reader::new(&huge, false).count(1), Err(error));
        let negative = [0xff, 0xff, 0xff, 0xfe];
        assert_eq!(Reader::new(&negative, false).count(1), Err(WireError::Length { at: 0, length: -2 }));
        assert_eq!(Reader::new(&[0xff; 4], false).nullable_count(1), Ok(None));
        assert_eq!(Reader::new(&[0xff; 4], false).count(1), Err(WireError::Length { at: 0, length: -1 }));
        assert_eq!(Reader::new(&[0], true).count(1), Err(WireError::Length { at: 0, length: -1 }));
    }

    #[test]
    fn all_arrays_of_a_message_share_one_maximum() {
        let half = (ELEMENTS_MAX as i32 / 2).to_be_bytes();
        let bytes = [&half[..], &half, &1_i32.to_be_bytes(), &vec![0; ELEMENTS_MAX]].concat();
        let mut reader = Reader::new(&bytes, false);
        assert_eq!(reader.count(1), Ok(ELEMENTS_MAX / 2));
        assert_eq!(reader.count(1), Ok(ELEMENTS_MAX / 2));
        assert!(matches!(reader.count(1), Err(WireError::Count { at: 8, count: 1, .. })));
    }

    #[test]
    fn tagged_fields_ascend_and_known_ones_fill_their_size() {
        let read = |bytes: &[u8]| {
            let mut seen = Vec::new();
            let mut reader = Reader::new(bytes, true);
            reader
                .tagged_fields(|tag, value| {
                    seen.push(tag);
                    if tag == 1 { value.int8().map(|_| true) } else { Ok(false) }
                })
                .map(|()| seen)
        };
        assert_eq!(read(&[0]), Ok(vec![]));
        assert_eq!(read(&[2, 1, 1, 7, 5, 3, 9, 9, 9]), Ok(vec![1, 5]));
        assert!(matches!(read(&[2, 5, 0, 5, 0]), Err(WireError::TaggedField { tag: 5, at: 3 })));
        assert!(matches!(read(&[2, 5, 0, 4, 0]), Err(WireError::TaggedField { tag: 4, at: 3 })));
        assert!(matches!(read(&[1, 1, 2, 7, 7]), Err(WireError::TaggedField { tag: 1, at: 1 })));
        assert!(matches!(read(&[1, 1, 0]), Err(WireError::UnexpectedEnd { .. })));
        assert!(matches!(read(&[1, 9, 3, 0, 0]), Err(WireError::UnexpectedEnd { .. })));
        assert!(matches!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Err(WireError::Count { .. })));
        // A version without tagged fields has no byte for them.
        assert_eq!(Reader::new(&[], false).skip_tagged_fields(), Ok(()));
    }

    proptest! {
        #[test]
        fn a_varint_reads_back_and_is_refused_above_32_bits(value: u32, more in 0x10_u8..) {
            let out = written(true, |w| w.unsigned_varint(value));
            let mut reader = Reader::new(&out, true);
            prop_assert_eq!(reader.unsigned_varint(), Ok(value));
            prop_assert_eq!(reader.left(), 0);
            for cut in 0..out.len() {
                prop_assert!(Reader::new(&out[..cut], true).unsigned_varint().is_err());
            }
            let over = [0xff, 0xff, 0xff, 0xff, more, 0];
            prop_assert_eq!(Reader::new(&over, true).unsigned_varint(), Err(WireError::Varint { at: 0 }));
        }
    }
}
