//! Changes of settings by clients: of topics and of brokers, key by key or all at once.
//!
//! What a change comes to is judged against the settings in force then; the whole of what is set on a resource
//! is what the metadata log keeps.
//!
//! Source: Kafka 4.1, `ConfigurationControlManager`, `ConfigAdminManager` (rules, their order and texts);
//! KIP-133, KIP-226, KIP-339.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    cluster::Cluster,
    command::{Command, Id},
};
use crate::{
    config::{self, Overrides, group, topic, topic::TopicKey},
    model::{TopicName, TopicNameError},
};

/// Groups on which clients may have set something.
const GROUPS_CONFIGURED_MAX: usize = 10_000;

/// What is changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// A topic, by its name.
    Topic(String),
    /// Brokers: by its id one, by the empty name all.
    Broker(String),
    /// A group, by its id; it need not be there yet.
    Group(String),
}

/// How a value is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// This is the value.
    Set,
    /// There is none any more.
    Delete,
    /// These items are added to a list.
    Append,
    /// These items are taken from a list.
    Subtract,
}

/// Changes of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alteration {
    /// Of what.
    pub resource: Resource,
    /// In their order: key, what is done, value.
    pub changes: Vec<(String, Operation, Option<String>)>,
    /// What is not named loses its value.
    pub replace: bool,
}

/// Why the changes of one resource were refused; none was made. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlterError {
    /// The request names the resource twice.
    #[error("Each resource must appear at most once.")]
    Duplicate,
    /// The request names a key of it twice.
    #[error("Error due to duplicate config keys")]
    DuplicateKey,
    /// A value is missing.
    #[error("Null value not supported for : {0}")]
    Null(String),
    /// The name is none of a topic.
    #[error("{0}")]
    TopicName(#[from] TopicNameError),
    /// There is no such topic.
    #[error("The topic '{0}' does not exist.")]
    UnknownTopic(String),
    /// There is no such broker.
    #[error("{0}")]
    UnknownBroker(String),
    /// A group has a name.
    #[error("Default group resources are not allowed.")]
    NoGroup,
    /// There is no room for settings of another group.
    #[error("Settings of at most {0} groups are kept.")]
    TooManyGroups(usize),
    /// A key or a value is unsound.
    #[error("{0}")]
    Invalid(String),
    /// A quota is unsound, or its entity.
    #[error("{0}")]
    Quota(String),
    /// It was made durable, but a shard could not follow; it does on restart.
    #[error("The change is durable, but a shard could not apply it: {0}")]
    NotApplied(String),
}

impl Cluster {
    /// Judges the changes of one resource.
    ///
    /// # Errors
    /// [`AlterError`] for the client.
    pub fn plan_alteration(&self, alteration: &Alteration) -> Result<Command, AlterError> {
        let mut seen = BTreeSet::new();
        if alteration.changes.iter().any(|(key, ..)| !seen.insert(key)) {
            return Err(AlterError::DuplicateKey);
        }
        let is_null = |change: &&(String, Operation, Option<String>)| {
            change.1 != Operation::Delete && change.2.is_none()
        };
        let nulls: Vec<_> = alteration.changes.iter().filter(is_null).map(|(key, ..)| key.as_str()).collect();
        if !nulls.is_empty() {
            return Err(AlterError::Null(nulls.join(",")));
        }
        match &alteration.resource {
            Resource::Topic(name) => self.plan_topic(name, alteration),
            Resource::Broker(name) => self.plan_broker(name, alteration),
            Resource::Group(id) => self.plan_group(id, alteration),
        }
    }

    fn plan_topic(&self, name: &str, alteration: &Alteration) -> Result<Command, AlterError> {
        TopicName::new(name)?;
        let unknown = || AlterError::UnknownTopic(name.to_owned());
        let topic = self.view().topic(name).ok_or_else(unknown)?;
        let list_of = |key: &str| topic::key(key).filter(|row| is_list(row)).map(|row| row.default);
        let overrides = changed(&topic.overrides, alteration, list_of)?;
        let checked = topic::validate(&overrides, self.topic_defaults());
        checked.map_err(|error| AlterError::Invalid(error.to_string()))?;
        Ok(Command::TopicConfigured { topic: Id(topic.id), overrides })
    }

    fn plan_broker(&self, name: &str, alteration: &Alteration) -> Result<Command, AlterError> {
        let own = self.broker_id();
        let broker = match name {
            "" => None,
            id => match id.parse::<i32>() {
                Ok(id) if self.given().is_own(id) => Some(own),
                Ok(id) => {
                    let why = format!("Unexpected broker id, expected {own}, but received {id}");
                    return Err(AlterError::UnknownBroker(why));
                }
                Err(_) => {
                    let why = format!("Node id must be an integer, but it is: {id}");
                    return Err(AlterError::UnknownBroker(why));
                }
            },
        };
        let known = self.overrides();
        let before = if broker.is_some() { &known.own } else { &known.all };
        let list_of = |key: &str| {
            topic::TABLE.iter().find(|row| row.broker_key == Some(key) && is_list(row)).map(|row| row.default)
        };
        let overrides = changed(before, alteration, list_of)?;
        let after = match broker {
            Some(_) => Overrides { own: overrides.clone(), ..known.clone() },
            None => Overrides { all: overrides.clone(), ..known.clone() },
        };
        let checked = config::overlay(self.given(), &after);
        checked.map_err(|error| AlterError::Invalid(error.to_string()))?;
        Ok(Command::BrokerConfigured { broker, overrides })
    }
}

impl Cluster {
    fn plan_group(&self, id: &str, alteration: &Alteration) -> Result<Command, AlterError> {
        if id.is_empty() {
            return Err(AlterError::NoGroup);
        }
        let known = &self.view().groups;
        if !known.contains_key(id) && known.len() >= GROUPS_CONFIGURED_MAX {
            return Err(AlterError::TooManyGroups(GROUPS_CONFIGURED_MAX));
        }
        let before = known.get(id).map(|overrides| overrides.0.clone()).unwrap_or_default();
        let overrides = changed(&before, alteration, |_| None)?;
        group::validate(&overrides, self.settings()).map_err(AlterError::Invalid)?;
        Ok(Command::GroupConfigured { group: id.to_owned(), overrides })
    }
}

fn is_list(row: &TopicKey) -> bool {
    row.kind == topic::ConfigType::List
}

/// What is set after the changes. `list_of`: the default of a key whose values are lists.
fn changed(
    before: &BTreeMap<String, String>,
    alteration: &Alteration,
    list_of: impl Fn(&str) -> Option<&'static str>,
) -> Result<BTreeMap<String, String>, AlterError> {
    let mut after = if alteration.replace { BTreeMap::new() } else { before.clone() };
    for (key, operation, value) in &alteration.changes {
        let value = value.as_deref().unwrap_or_default();
        match operation {
            Operation::Set => {
                after.insert(key.clone(), value.to_owned());
            }
            Operation::Delete => {
                after.remove(key);
            }
            Operation::Append | Operation::Subtract => {
                let verb = if *operation == Operation::Append { "APPEND" } else { "SUBTRACT" };
                let default = list_of(key).ok_or_else(|| {
                    AlterError::Invalid(format!("Can't {verb} to key {key} because its type is not LIST."))
                })?;
                let list = after.get(key).map_or(default, String::as_str);
                let mut items = items(list);
                for item in self::items(value) {
                    let at = items.iter().position(|known| *known == item);
                    match (operation, at) {
                        (Operation::Append, None) => items.push(item),
                        (Operation::Subtract, Some(at)) => {
                            items.remove(at);
                        }
                        _ => {}
                    }
                }
                let list = items.join(",");
                after.insert(key.clone(), list);
            }
        }
    }
    Ok(after)
}

fn items(list: &str) -> Vec<&str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(before: &[(&str, &str)], changes: &[(&str, Operation, &str)], replace: bool) -> Vec<String> {
        let before = before.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let changes = changes
            .iter()
            .map(|(key, operation, value)| ((*key).to_owned(), *operation, Some((*value).to_owned())));
        let changes = changes.collect();
        let alteration = Alteration { resource: Resource::Topic("t".to_owned()), changes, replace };
        let list_of = |key: &str| topic::key(key).filter(|row| is_list(row)).map(|row| row.default);
        match changed(&before, &alteration, list_of) {
            Ok(after) => after.into_iter().map(|(key, value)| format!("{key}={value}")).collect(),
            Err(error) => vec![error.to_string()],
        }
    }

    #[test]
    fn keys_are_set_deleted_and_lists_grow_and_shrink_from_their_default_on() {
        use Operation::{Append, Delete, Set, Subtract};
        let before = [("retention.ms", "1"), ("segment.ms", "2")];
        assert_eq!(
            apply(&before, &[("retention.ms", Delete, ""), ("flush.ms", Set, "3")], false),
            ["flush.ms=3", "segment.ms=2"]
        );
        assert_eq!(apply(&before, &[("flush.ms", Set, "3")], true), ["flush.ms=3"]);
        assert_eq!(
            apply(&[], &[("cleanup.policy", Append, "compact")], false),
            ["cleanup.policy=delete,compact"]
        );
        let both = [("cleanup.policy", "compact,delete")];
        assert_eq!(
            apply(&both, &[("cleanup.policy", Append, "delete")], false),
            ["cleanup.policy=compact,delete"]
        );
        assert_eq!(
            apply(&both, &[("cleanup.policy", Subtract, "delete")], false),
            ["cleanup.policy=compact"]
        );
        assert_eq!(
            apply(&both, &[("retention.ms", Append, "7")], false),
            ["Can't APPEND to key retention.ms because its type is not LIST."]
        );
    }
}
