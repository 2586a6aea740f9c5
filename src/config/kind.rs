//! What a value of one of Kafka's keys may be: its type, and bounds beyond it.

/// Type of a value, as DescribeConfigs numbers it.
///
/// Source: Kafka, `DescribeConfigsResponse.ConfigType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean = 1,
    /// Any text.
    String = 2,
    /// 32 bits, signed.
    Int = 3,
    /// 16 bits, signed.
    Short = 4,
    /// 64 bits, signed.
    Long = 5,
    /// A floating-point number.
    Double = 6,
    /// Texts separated by commas.
    List = 7,
    /// Name of a Java class.
    Class = 8,
    /// A text that is never told.
    Password = 9,
}

impl ConfigType {
    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }

    /// Whether its values are whole numbers.
    pub(super) const fn is_whole(self) -> bool {
        matches!(self, Self::Int | Self::Short | Self::Long)
    }

    /// Whether a text without blanks around it reads as this type.
    pub(super) fn reads(self, text: &str) -> bool {
        match self {
            Self::Boolean => boolean(text).is_some(),
            Self::Short => text.parse::<i16>().is_ok(),
            Self::Int => text.parse::<i32>().is_ok(),
            Self::Long => text.parse::<i64>().is_ok(),
            Self::Double => text.parse::<f64>().is_ok(),
            Self::String | Self::List | Self::Class | Self::Password => true,
        }
    }
}

/// What a key's values must satisfy beyond their type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bounds {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    /// gzip's levels, or -1 for the codec's own default.
    BetweenOrMinusOne(i64, i64),
    DoubleBetween(f64, f64),
    OneOf(&'static [&'static str]),
    EachOf(&'static [&'static str]),
    /// `partition:broker` pairs, or `*`.
    ThrottledReplicas,
    /// The feature is absent; a value that asks for it must not be accepted in silence.
    OnlyFalse,
}

impl Bounds {
    /// Whether a text of the key's type lies within.
    pub(super) fn hold(self, text: &str) -> bool {
        let number = || text.parse::<i64>().unwrap_or(i64::MIN);
        match self {
            Self::Any => true,
            Self::AtLeast(min) => number() >= min,
            Self::Between(min, max) => (min..=max).contains(&number()),
            Self::BetweenOrMinusOne(min, max) => number() == -1 || (min..=max).contains(&number()),
            Self::DoubleBetween(min, max) => text.parse().is_ok_and(|n: f64| n >= min && n <= max),
            Self::OneOf(texts) => texts.contains(&text),
            Self::EachOf(texts) => items(text).all(|item| texts.contains(&item)),
            Self::ThrottledReplicas => text == "*" || items(text).all(is_replica),
            Self::OnlyFalse => boolean(text) == Some(false),
        }
    }

    /// What would lie within.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Any => "any".to_owned(),
            Self::AtLeast(min) => format!("at least {min}"),
            Self::Between(min, max) => format!("between {min} and {max}"),
            Self::BetweenOrMinusOne(min, max) => format!("between {min} and {max}, or -1"),
            Self::DoubleBetween(min, max) => format!("between {min} and {max}"),
            Self::OneOf(texts) => format!("one of {}", texts.join(", ")),
            Self::EachOf(texts) => format!("a list of {}", texts.join(", ")),
            Self::ThrottledReplicas => {
                "the literal '*' or a list of replicas in the form [partitionId]:[brokerId]".to_owned()
            }
            Self::OnlyFalse => "false: tiered storage is not available in this broker".to_owned(),
        }
    }
}

/// The items of a list value; an empty text has none.
pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(move |_| !text.is_empty())
}

fn is_replica(text: &str) -> bool {
    let number = |part: &str| part.parse::<u32>().is_ok();
    text.split_once(':').is_some_and(|(partition, broker)| number(partition) && number(broker))
}

/// `true` or `false`, in any case.
pub(super) fn boolean(text: &str) -> Option<bool> {
    [("true", true), ("false", false)]
        .into_iter()
        .find(|(word, _)| text.eq_ignore_ascii_case(word))
        .map(|(_, value)| value)
}
