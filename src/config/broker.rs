//! The broker's settings in the form that Kafka's tools expect: plain numbers in the base unit.

use super::{
    Place, Settings,
    kafka::Stance,
    table::{Kind, Row},
    topic::{ConfigType, TopicDefaults},
    value::Unit,
};

/// One setting as `DescribeConfigs` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerSetting {
    /// Kafka's name, or a dotted one of ours.
    pub name: &'static str,
    /// The value in force; none if there is none, and never that of a secret.
    pub value: Option<String>,
    /// The value if none were given.
    pub default: Option<String>,
    /// The name under which a file or a flag gave the value.
    pub given_as: Option<&'static str>,
    /// Type of its values.
    pub kind: ConfigType,
    /// Whether it cannot change while the broker runs.
    pub read_only: bool,
    /// Whether its value is a secret.
    pub sensitive: bool,
    /// One sentence, and whether the broker behaves by it.
    pub documentation: String,
}

impl Settings {
    /// Every setting of the broker; what holds for some cores only is left out.
    #[must_use]
    pub fn broker_settings(&self) -> Vec<BrokerSetting> {
        let of_all_cores = self.effective().iter().filter(|effective| effective.of.is_none());
        of_all_cores.map(broker_setting).collect()
    }

    /// What the given settings say about topics that do not say it themselves.
    #[must_use]
    pub fn topic_texts(&self) -> TopicDefaults {
        self.topic_texts.clone()
    }
}

fn broker_setting(effective: &super::Effective) -> BrokerSetting {
    let row = effective.row;
    let given = effective.place != Place::Default;
    let sensitive = row.config_type() == ConfigType::Password;
    let without = match row.kind {
        Kind::Kafka { is_null, .. } => is_null,
        Kind::SecondName { .. } => row.default.is_empty(),
        _ => false,
    };
    let default = (!without && !sensitive).then(|| row.plain(row.default));
    let value = if sensitive || !given { default.clone() } else { Some(row.plain(&effective.value)) };
    BrokerSetting {
        name: row.name,
        value,
        default,
        given_as: given.then_some(effective.given_as),
        kind: row.config_type(),
        read_only: !row.live,
        sensitive,
        documentation: row.documentation(),
    }
}

impl Row {
    fn unit(&self) -> Option<Unit> {
        match self.kind {
            Kind::Number { unit, .. } => Some(unit),
            Kind::PowerOfTwo { .. } => Some(Unit::Count),
            Kind::Topic(key) => key.kind.is_whole().then(|| Unit::of_name(key.name)),
            Kind::Flag { .. } | Kind::Text { .. } | Kind::Kafka { .. } | Kind::SecondName { .. } => None,
        }
    }

    /// A value of this setting without its unit.
    fn plain(&self, value: &str) -> String {
        let number = self.unit().and_then(|unit| unit.parse(value));
        number.map_or_else(|| value.to_owned(), |number| number.to_string())
    }

    pub(super) fn config_type(&self) -> ConfigType {
        match &self.kind {
            Kind::Number { range, .. } | Kind::PowerOfTwo { range, .. } => {
                if i32::try_from(*range.end()).is_ok() { ConfigType::Int } else { ConfigType::Long }
            }
            Kind::Flag { .. } => ConfigType::Boolean,
            Kind::Text { .. } => ConfigType::String,
            Kind::Topic(key) => key.kind,
            Kind::Kafka { of, .. } => *of,
            Kind::SecondName { factor: Some(_), .. } | Kind::SecondName { of: "node.id", .. } => {
                ConfigType::Int
            }
            Kind::SecondName { .. } => ConfigType::String,
        }
    }

    /// The sentence, and whether the broker behaves by it.
    pub(super) fn documentation(&self) -> String {
        let rest = match self.kind {
            Kind::Kafka { stance: Stance::NotSupported, .. } => {
                " Not supported: only the default is accepted."
            }
            _ if !self.acted_on() => " Accepted, not acted on.",
            _ => "",
        };
        format!("{}{rest}", self.about)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::table::TABLE, *};
    use crate::config::{Assignment, load, topic};

    fn loaded(flags: &[(&str, &str)]) -> Settings {
        let assignment = |(key, value): &(&str, &str)| Assignment {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            place: Place::Flag("--set"),
        };
        let flags: Vec<_> = flags.iter().map(assignment).collect();
        load(None, &flags, &[crate::config::Cpu { core: 0, numa_node: 0 }]).expect("sound settings")
    }

    #[test]
    fn values_are_told_without_units_and_with_where_they_come_from() {
        let settings = loaded(&[("log.retention.ms", "2h")]).broker_settings();
        let find = |name: &str| settings.iter().find(|setting| setting.name == name);
        let retention = find("log.retention.ms").expect("a row");
        assert_eq!(
            (retention.value.as_deref(), retention.default.as_deref()),
            (Some("7200000"), Some("604800000"))
        );
        assert_eq!((retention.given_as, retention.kind), (Some("log.retention.ms"), ConfigType::Long));
        let factor = find("default.replication.factor").expect("Connect looks for it");
        assert_eq!(
            (factor.value.as_deref(), factor.given_as, factor.kind),
            (Some("1"), None, ConfigType::Int)
        );
        let secret = find("ssl.key.password").expect("a row");
        assert!(secret.sensitive && secret.value.is_none() && !factor.sensitive);
        assert_eq!(settings.len(), TABLE.len());
        let hours = loaded(&[("log.retention.hours", "2")]).broker_settings();
        let find = |name: &str| hours.iter().find(|setting| setting.name == name);
        let retention = find("log.retention.ms").expect("a row");
        assert_eq!(
            (retention.value.as_deref(), retention.given_as),
            (Some("7200000"), Some("log.retention.hours"))
        );
        assert_eq!(find("log.retention.hours").and_then(|hours| hours.value.as_deref()), Some("2"));
    }

    #[test]
    fn the_brokers_settings_reach_topics_with_the_same_meaning() {
        let settings = loaded(&[
            ("log.retention.ms", "2h"),
            ("log.segment.bytes", "2MiB"),
            ("log.cleanup.policy", "compact"),
            ("compression.type", "zstd"),
            ("message.max.bytes", "1MiB"),
            ("log.message.timestamp.type", "LogAppendTime"),
            ("write.caching", "true"),
        ]);
        let defaults = settings.topic_texts();
        assert_eq!(topic::settings(&[].into(), &defaults), settings.topic_defaults);
    }
}
