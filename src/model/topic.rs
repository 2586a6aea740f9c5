//! Names and ids of topics and partitions.

use std::{fmt, str::FromStr, sync::Arc};

/// Longest topic name in bytes. Source: Kafka, `Topic.MAX_NAME_LENGTH`.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// A legal topic name: 1 to 249 of `[a-zA-Z0-9._-]`, neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a text is no topic name. The same text will fail again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// The name has no characters.
    #[error("topic name is empty")]
    Empty,
    /// The name is `.` or `..`.
    #[error("topic name cannot be '.' or '..'")]
    Dots,
    /// The name is longer than [`TOPIC_NAME_BYTES_MAX`].
    #[error("topic name is longer than {TOPIC_NAME_BYTES_MAX} characters")]
    TooLong,
    /// A character other than ASCII letters, digits, `.`, `_` and `-`.
    #[error("topic name has a character other than ASCII letters, digits, '.', '_' and '-'")]
    IllegalCharacter,
}

impl TopicName {
    /// Checks the name as Kafka does (`Topic.validate`).
    ///
    /// # Errors
    /// [`TopicNameError`] names the first rule that is broken.
    pub fn new(name: &str) -> Result<Self, TopicNameError> {
        if name.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if name == "." || name == ".." {
            return Err(TopicNameError::Dots);
        }
        if name.len() > TOPIC_NAME_BYTES_MAX {
            return Err(TopicNameError::TooLong);
        }
        let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        if !name.bytes().all(legal) {
            return Err(TopicNameError::IllegalCharacter);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the two are equal once `.` is taken for `_`: such topics would collide in metric names.
    ///
    /// Source: Kafka, `Topic.unifyCollisionChars`.
    #[must_use]
    pub fn collides_with(&self, other: &Self) -> bool {
        let unified = |c: u8| if c == b'.' { b'_' } else { c };
        let mut pairs = self.0.bytes().zip(other.0.bytes());
        self.0.len() == other.0.len() && pairs.all(|(one, other)| unified(one) == unified(other))
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one incarnation of a topic: a re-created topic gets a new one (KIP-516).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId([u8; 16]);

/// A text that is no topic id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a topic id (22 characters of URL-safe base64)")]
pub struct TopicIdError;

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl TopicId {
    /// "No topic id" on the wire.
    pub const ZERO: Self = Self([0; 16]);

    /// The 16 bytes as they stand on the wire.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes as they stand on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

/// Kafka's text form of a UUID: 22 characters of URL-safe base64 without padding.
///
/// Source: Kafka, `org.apache.kafka.common.Uuid.toString`.
#[must_use]
pub fn base64_uuid(bytes: &[u8; 16]) -> String {
    let number = u128::from_be_bytes(*bytes);
    // 22 digits of 6 bits are 132 bits: the number stands in the upper 128 of them.
    let digit = |place: u32| {
        let shift = 122_i32 - 6 * place as i32;
        let six = if shift >= 0 { number >> shift } else { number << -shift };
        char::from(BASE64_URL[(six & 63) as usize])
    };
    (0..22).map(digit).collect()
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64_uuid(&self.0))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TopicId {
    type Err = TopicIdError;

    fn from_str(text: &str) -> Result<Self, TopicIdError> {
        if text.len() != 22 {
            return Err(TopicIdError);
        }
        let mut number: u128 = 0;
        for (place, c) in text.bytes().enumerate() {
            let six = BASE64_URL.iter().position(|&b| b == c).ok_or(TopicIdError)? as u128;
            if place < 21 {
                number = number << 6 | six;
            } else if six & 15 == 0 {
                number = number << 2 | six >> 4;
            } else {
                return Err(TopicIdError);
            }
        }
        Ok(Self(number.to_be_bytes()))
    }
}

/// Number of a partition within its topic, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PartitionIndex(i32);

impl PartitionIndex {
    /// Wraps the number as it stands on the wire.
    #[must_use]
    pub const fn new(index: i32) -> Self {
        Self(index)
    }

    /// The number as it stands on the wire.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl fmt::Display for PartitionIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for PartitionIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One partition of one incarnation of a topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Which incarnation of which topic.
    pub topic: TopicId,
    /// Which of its partitions.
    pub partition: PartitionIndex,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_kafka_checks_them() {
        assert!(TopicName::new("orders.v1_EU-west").is_ok());
        assert_eq!(TopicName::new(""), Err(TopicNameError::Empty));
        assert_eq!(TopicName::new(".."), Err(TopicNameError::Dots));
        assert_eq!(TopicName::new("a b"), Err(TopicNameError::IllegalCharacter));
        assert_eq!(TopicName::new("ü"), Err(TopicNameError::IllegalCharacter));
        assert!(TopicName::new(&"x".repeat(249)).is_ok());
        assert_eq!(TopicName::new(&"x".repeat(250)), Err(TopicNameError::TooLong));
    }

    #[test]
    fn a_topic_id_reads_back_from_its_text() {
        for bytes in [[0; 16], [0xff; 16], *b"0123456789abcdef"] {
            let text = TopicId::from_bytes(bytes).to_string();
            assert_eq!(text.len(), 22);
            assert_eq!(text.parse(), Ok(TopicId::from_bytes(bytes)));
        }
        // Kafka prints Uuid(0, 1), its METADATA_TOPIC_ID, so.
        let mut one = [0; 16];
        one[15] = 1;
        assert_eq!(TopicId::from_bytes(one).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!("AAAAAAAAAAAAAAAAAAAAAR".parse::<TopicId>(), Err(TopicIdError));
    }
}
