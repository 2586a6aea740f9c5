//! Text of one value to what it means, and back: quantities with units, endpoints, lists of cores.

use std::{fmt, str::FromStr};

/// What a number counts. The base unit is the last part of the setting's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes; also `KiB`, `MiB`, `GiB`, `TiB`.
    Bytes,
    /// Milliseconds; also `s`, `min`, `h`, `d`.
    Milliseconds,
    /// Microseconds; also `ms`, `s`.
    Microseconds,
}

impl Unit {
    /// Suffixes a value may carry, and what they are worth in the base unit, which comes first.
    const fn suffixes(self) -> &'static [(&'static str, i64)] {
        match self {
            Self::Count => &[],
            Self::Bytes => {
                &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)]
            }
            Self::Milliseconds => {
                &[("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)]
            }
            Self::Microseconds => &[("us", 1), ("ms", 1_000), ("s", 1_000_000)],
        }
    }

    /// The unit that a setting's name ends with.
    pub(super) fn of_name(name: &str) -> Self {
        match name.rsplit('.').next() {
            Some("bytes") => Self::Bytes,
            Some("ms") => Self::Milliseconds,
            Some("us") => Self::Microseconds,
            _ => Self::Count,
        }
    }

    /// Reads `64MiB`, `50 ms` or a plain number in the base unit. `None` if it is none of these.
    #[must_use]
    pub fn parse(self, text: &str) -> Option<i64> {
        let text = text.trim();
        let digits_end = text
            .char_indices()
            .find(|&(at, c)| !(c.is_ascii_digit() || at == 0 && c == '-'))
            .map_or(text.len(), |(at, _)| at);
        let (number, suffix) = text.split_at(digits_end);
        let number: i64 = number.parse().ok()?;
        let suffix = suffix.trim_start();
        if suffix.is_empty() {
            return Some(number);
        }
        let &(_, factor) = self.suffixes().iter().find(|(name, _)| *name == suffix)?;
        number.checked_mul(factor)
    }

    /// The number in the largest unit that divides it, so that it reads back as the same number.
    #[must_use]
    pub fn format(self, number: i64) -> String {
        let fits = |&&(_, factor): &&(&str, i64)| number != 0 && number % factor == 0;
        match self.suffixes().iter().rev().find(fits) {
            Some((suffix, factor)) if number > 0 && number != i64::MAX => {
                format!("{}{suffix}", number / factor)
            }
            _ => number.to_string(),
        }
    }
}

/// A host and a port, as clients are told or as we listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name, or an address without brackets.
    pub host: String,
    /// 0: any free port.
    pub port: u16,
}

impl Endpoint {
    /// Whether the host means "every address of this machine", which no client can connect to.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host.as_str(), "0.0.0.0" | "::")
    }
}

impl FromStr for Endpoint {
    type Err = String;

    /// `HOST:PORT`, `[ADDRESS]:PORT`, or either as Kafka writes it, after `PLAINTEXT://`.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "HOST:PORT, for example 127.0.0.1:9092".to_owned();
        if text.contains(',') {
            return Err("one HOST:PORT: several listeners are not supported".to_owned());
        }
        let plain = text.strip_prefix("PLAINTEXT://").unwrap_or(text);
        if plain.contains("://") {
            return Err("PLAINTEXT://HOST:PORT: no other security protocol is supported".to_owned());
        }
        let (host, port) = plain.rsplit_once(':').ok_or_else(expected)?;
        let port = port.parse().map_err(|_| expected())?;
        let host = match host.strip_prefix('[') {
            Some(bracketed) => bracketed.strip_suffix(']').ok_or_else(expected)?,
            None if host.contains(':') => return Err("[ADDRESS]:PORT for an IPv6 address".to_owned()),
            // Kafka: an empty host is every address.
            None if host.is_empty() => "0.0.0.0",
            None => host,
        };
        if host.chars().any(|c| c.is_whitespace() || c == '/') {
            return Err(expected());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How bytes of sealed segments reach consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchPath {
    /// `sendfile` for what the page cache has or several consumers want; else direct reads.
    Auto,
    /// Through the page cache, by `sendfile`.
    Sendfile,
    /// Past the page cache, by direct reads.
    Direct,
}

impl FromStr for FetchPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "sendfile" => Ok(Self::Sendfile),
            "direct" => Ok(Self::Direct),
            _ => Err("auto, sendfile or direct".to_owned()),
        }
    }
}

/// Which way groups with live members may go over to the other protocol (`group.consumer.migration.policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupMigration {
    /// From the classic protocol to the consumer protocol.
    pub upgrade: bool,
    /// Back.
    pub downgrade: bool,
}

impl FromStr for GroupMigration {
    type Err = String;

    /// In upper or lower case, as Kafka takes it.
    fn from_str(text: &str) -> Result<Self, String> {
        let (upgrade, downgrade) = match text.to_ascii_lowercase().as_str() {
            "disabled" => (false, false),
            "upgrade" => (true, false),
            "downgrade" => (false, true),
            "bidirectional" => (true, true),
            _ => return Err("disabled, upgrade, downgrade or bidirectional".to_owned()),
        };
        Ok(Self { upgrade, downgrade })
    }
}

/// Which of the cores that the process may use get a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CoreChoice {
    /// Every one.
    All,
    /// The first so many.
    First(usize),
    /// These, in this order.
    These(Vec<usize>),
}

impl FromStr for CoreChoice {
    type Err = String;

    /// `all`; `N`, a number of cores; or a list of core ids and ranges that has a `,` or a `-`.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "all, a number of cores, or a list of core ids such as 0,2 or 0-3".to_owned();
        let number = |text: &str| text.trim().parse::<u16>().map(usize::from).map_err(|_| expected());
        if text == "all" {
            return Ok(Self::All);
        }
        if !text.contains([',', '-']) {
            return match number(text)? {
                0 => Err("at least one core".to_owned()),
                count => Ok(Self::First(count)),
            };
        }
        let mut cores = Vec::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            cores.extend(number(first)?..=number(last)?);
        }
        let mut sorted = cores.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if cores.is_empty() {
            Err(expected())
        } else if sorted.len() < cores.len() {
            Err("each core once".to_owned())
        } else {
            Ok(Self::These(cores))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNITS: [Unit; 4] = [Unit::Count, Unit::Bytes, Unit::Milliseconds, Unit::Microseconds];

    #[test]
    fn quantities_are_read_with_and_without_their_unit() {
        for (unit, text, number) in [
            (Unit::Bytes, "64MiB", Some(64 << 20)),
            (Unit::Bytes, "1 GiB", Some(1 << 30)),
            (Unit::Bytes, "4096", Some(4096)),
            (Unit::Bytes, "64MB", None),
            (Unit::Bytes, "64 m", None),
            (Unit::Bytes, "9000000000GiB", None),
            (Unit::Milliseconds, "50ms", Some(50)),
            (Unit::Milliseconds, "7d", Some(604_800_000)),
            (Unit::Milliseconds, "-1", Some(-1)),
            (Unit::Milliseconds, "9223372036854775807", Some(i64::MAX)),
            (Unit::Milliseconds, "9223372036854775808", None),
            (Unit::Milliseconds, "50us", None),
            (Unit::Microseconds, "2ms", Some(2_000)),
            (Unit::Count, "12", Some(12)),
            (Unit::Count, "12B", None),
            (Unit::Count, "1-2", None),
            (Unit::Count, "", None),
            (Unit::Count, "-", None),
            (Unit::Count, "1.5", None),
        ] {
            assert_eq!(unit.parse(text), number, "{unit:?} {text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_number_reads_back_as_it_was_written(number: i64, small in -2000_i64..2000) {
            for unit in UNITS {
                for number in [number, small, small << 20, small * 3_600_000] {
                    prop_assert_eq!(unit.parse(&unit.format(number)), Some(number));
                }
            }
        }

        #[test]
        fn no_text_is_too_strange_to_be_refused(text: String) {
            for unit in UNITS {
                let _ = unit.parse(&text);
            }
            let _ = text.parse::<Endpoint>();
            let _ = text.parse::<CoreChoice>();
        }
    }

    #[test]
    fn an_endpoint_reads_back_from_its_text() {
        for (text, host, port) in [
            ("127.0.0.1:9092", "127.0.0.1", 9092),
            ("PLAINTEXT://broker.example:1", "broker.example", 1),
            ("[::1]:9092", "::1", 9092),
            (":9092", "0.0.0.0", 9092),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint, Endpoint { host: host.to_owned(), port });
            assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
        }
        for text in
            ["", "9092", "host", "host:65536", "::1:9092", "[::1:9092", "SSL://h:1", "a:1,b:2", "a b:1"]
        {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_bare_number_of_cores_is_a_count_and_a_list_names_cores() {
        assert_eq!("all".parse(), Ok(CoreChoice::All));
        assert_eq!("2".parse(), Ok(CoreChoice::First(2)));
        assert_eq!("3,".parse(), Ok(CoreChoice::These(vec![3])));
        assert_eq!("0-2,5".parse(), Ok(CoreChoice::These(vec![0, 1, 2, 5])));
        for text in ["", "0", ",", "x", "1,1", "3-1", "0-99999"] {
            assert!(text.parse::<CoreChoice>().is_err(), "{text:?}");
        }
    }
}
