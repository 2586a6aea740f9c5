//! The broker's settings in the form that Kafka's tools expect: plain numbers in the base unit.

use super::{
    Place, Settings,
    kafka::Stance,
    table::{Kind, Row},
    topic::{ConfigType, TopicDefaults},
    value::Unit,
};

/// Where a value of a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client set it for this broker.
    ThisBroker,
    /// A client set it for all brokers.
    AllBrokers,
    /// A file or a flag gave it.
    Given,
    /// Nobody did.
    Default,
}

/// One setting as `DescribeConfigs` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerSetting {
    /// Kafka's name, or a dotted one of ours.
    pub name: &'static str,
    /// The value in force; none if there is none, and never that of a secret.
    pub value: Option<String>,
    /// The value if none were given.
    pub default: Option<String>,
    /// Where values of it come from, the one in force first, the default last: name, value, origin.
    pub synonyms: Vec<(&'static str, Option<String>, Origin)>,
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
    let layers = std::iter::successors(given.then_some(effective), |layer| layer.below.as_deref());
    let given = layers.map(|layer| {
        let value = (!sensitive).then(|| row.plain(&layer.value));
        (layer.given_as, value, origin(&layer.place))
    });
    let synonyms = given.chain([(row.name, default.clone(), Origin::Default)]).collect();
    BrokerSetting {
        name: row.name,
        value,
        default,
        synonyms,
        kind: row.config_type(),
        read_only: !row.live,
        sensitive,
        documentation: row.documentation(),
    }
}

fn origin(place: &Place) -> Origin {
    match place {
        Place::ThisBroker => Origin::ThisBroker,
        Place::AllBrokers => Origin::AllBrokers,
        Place::Default => Origin::Default,
        Place::File { .. } | Place::Flag(_) => Origin::Given,
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
    use crate::config::{Assignment, Overrides, load, overlay, overlay_what_fits, topic};

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
        let given = ("log.retention.ms", Some("7200000".to_owned()), Origin::Given);
        assert_eq!((&retention.synonyms[0], retention.kind), (&given, ConfigType::Long));
        let factor = find("default.replication.factor").expect("Connect looks for it");
        assert_eq!(
            (factor.value.as_deref(), factor.synonyms[0].2, factor.kind),
            (Some("1"), Origin::Default, ConfigType::Int)
        );
        let secret = find("ssl.key.password").expect("a row");
        assert!(secret.sensitive && secret.value.is_none() && !factor.sensitive);
        assert_eq!(settings.len(), TABLE.len());
        let hours = loaded(&[("log.retention.hours", "2")]).broker_settings();
        let find = |name: &str| hours.iter().find(|setting| setting.name == name);
        let retention = find("log.retention.ms").expect("a row");
        assert_eq!(
            (retention.value.as_deref(), retention.synonyms[0].0),
            (Some("7200000"), "log.retention.hours")
        );
        assert_eq!(find("log.retention.hours").and_then(|hours| hours.value.as_deref()), Some("2"));
    }

    #[test]
    fn what_clients_set_lies_over_what_was_given_and_their_broker_over_all() {
        let text = |value: &str| value.to_owned();
        let overrides = Overrides {
            all: [("log.retention.ms", "5"), ("max.connections", "7")]
                .map(|(key, value)| (text(key), text(value)))
                .into(),
            own: [(text("log.retention.ms"), text("6"))].into(),
        };
        let given = loaded(&[("log.retention.ms", "4")]);
        let settings = overlay(&given, &overrides).expect("live and sound");
        assert_eq!((settings.topic_defaults.retention_ms, settings.connections_max), (6, 7));
        let shown = settings.broker_settings();
        let retention = shown.iter().find(|setting| setting.name == "log.retention.ms").expect("a row");
        let layers: Vec<_> =
            retention.synonyms.iter().map(|(_, value, origin)| (value.as_deref(), *origin)).collect();
        assert_eq!(
            layers,
            [
                (Some("6"), Origin::ThisBroker),
                (Some("5"), Origin::AllBrokers),
                (Some("4"), Origin::Given),
                (Some("604800000"), Origin::Default)
            ]
        );
        let unsound = Overrides { own: [(text("node.id"), text("6"))].into(), ..overrides };
        assert!(overlay(&given, &unsound).is_err());
        assert_eq!(overlay_what_fits(&given, &unsound).topic_defaults.retention_ms, 5);
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
