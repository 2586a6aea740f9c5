//! The broker's settings in the form that Kafka's tools expect: plain numbers in the base unit.

use super::{
    Place, Settings,
    table::{Kind, Row},
    topic::{ConfigType, TopicDefaults},
    value::Unit,
};

/// One setting as `DescribeConfigs` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerSetting {
    /// Kafka's name, or a dotted one of ours.
    pub name: &'static str,
    /// The value in force.
    pub value: String,
    /// The value if none were given.
    pub default: String,
    /// Whether a file or a flag gave the value.
    pub given: bool,
    /// Type of its values.
    pub kind: ConfigType,
    /// Whether it cannot change while the broker runs.
    pub read_only: bool,
    /// One sentence.
    pub documentation: &'static str,
}

impl Settings {
    /// Every setting of the broker; what holds for one core only is left out.
    #[must_use]
    pub fn broker_settings(&self) -> Vec<BrokerSetting> {
        let of_all_cores = self.effective().iter().filter(|effective| effective.core.is_none());
        let setting = |effective: &super::Effective| BrokerSetting {
            name: effective.row.name,
            value: effective.row.plain(&effective.value),
            default: effective.row.plain(effective.row.default),
            given: effective.place != Place::Default,
            kind: effective.row.config_type(),
            read_only: !effective.row.live,
            documentation: effective.row.about,
        };
        of_all_cores.map(setting).collect()
    }

    /// What the given settings say about topics that do not say it themselves.
    #[must_use]
    pub fn topic_texts(&self) -> TopicDefaults {
        self.topic_texts.clone()
    }
}

impl Row {
    fn unit(&self) -> Option<Unit> {
        match self.kind {
            Kind::Number { unit, .. } => Some(unit),
            Kind::PowerOfTwo { .. } => Some(Unit::Count),
            Kind::Topic(key) => key.kind.is_whole().then(|| Unit::of_name(key.name)),
            Kind::Flag { .. } | Kind::Text { .. } => None,
        }
    }

    /// A value of this setting without its unit.
    fn plain(&self, value: &str) -> String {
        let number = self.unit().and_then(|unit| unit.parse(value));
        number.map_or_else(|| value.to_owned(), |number| number.to_string())
    }

    fn config_type(&self) -> ConfigType {
        match &self.kind {
            Kind::Number { range, .. } | Kind::PowerOfTwo { range, .. } => {
                if i32::try_from(*range.end()).is_ok() { ConfigType::Int } else { ConfigType::Long }
            }
            Kind::Flag { .. } => ConfigType::Boolean,
            Kind::Text { .. } => ConfigType::String,
            Kind::Topic(key) => key.kind,
        }
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
        load(None, &flags, &[0]).expect("sound settings")
    }

    #[test]
    fn values_are_told_without_units_and_with_where_they_come_from() {
        let settings = loaded(&[("log.retention.ms", "2h")]).broker_settings();
        let find = |name: &str| settings.iter().find(|setting| setting.name == name);
        let retention = find("log.retention.ms").expect("a row");
        assert_eq!((&*retention.value, &*retention.default), ("7200000", "604800000"));
        assert!(retention.given && retention.kind == ConfigType::Long);
        let factor = find("default.replication.factor").expect("Connect looks for it");
        assert_eq!((&*factor.value, factor.given, factor.kind), ("1", false, ConfigType::Int));
        assert_eq!(settings.len(), TABLE.len());
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
