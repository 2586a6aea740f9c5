//! What changes the cluster: the commands that the metadata log holds, as JSON.
//!
//! A command says what *is* from then on, never what was asked for: replaying it needs no setting,
//! no clock and no random number. A field's name and meaning never change once written; a new
//! meaning is a new command. An unknown command refuses start instead of being skipped.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::model::{TopicId, TopicName, TopicNameError, quotas::QuotaEntity};

/// Where one partition lives, and the epoch its leader has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// Shard of this node.
    pub shard: u16,
    /// Counts the partition's leaders.
    pub leader_epoch: i32,
}

/// One change of the cluster's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// The first command of every log.
    ClusterCreated {
        /// Kafka's 22-character cluster id.
        cluster_id: String,
    },
    /// The node runs with this many shards from now on; no partition lies on a higher one.
    ShardsCounted {
        /// How many.
        shards: u16,
    },
    /// A topic exists.
    TopicCreated {
        /// Its name.
        name: Name,
        /// Its incarnation.
        id: Id,
        /// Kept by the broker for itself.
        internal: bool,
        /// Its partitions, by index.
        partitions: Vec<Placement>,
        /// What was set on the topic itself.
        overrides: BTreeMap<String, String>,
    },
    /// A topic has more partitions, numbered on from those it had.
    PartitionsAdded {
        /// The topic.
        topic: Id,
        /// The new ones.
        partitions: Vec<Placement>,
    },
    /// A partition lives on another shard.
    PartitionPlaced {
        /// The topic.
        topic: Id,
        /// The partition's index.
        partition: i32,
        /// Its new shard.
        shard: u16,
    },
    /// These settings, and no others, are set on a topic.
    TopicConfigured {
        /// The topic.
        topic: Id,
        /// All of them.
        overrides: BTreeMap<String, String>,
    },
    /// These settings, and no others, are set for a broker by clients.
    BrokerConfigured {
        /// Which; none for all.
        broker: Option<i32>,
        /// All of them.
        overrides: BTreeMap<String, String>,
    },
    /// These settings, and no others, are set on a group by clients.
    GroupConfigured {
        /// Its id.
        group: String,
        /// All of them; none takes the group away.
        overrides: BTreeMap<String, String>,
    },
    /// These quotas, and no others, are an entity's: bytes per second by key.
    QuotaConfigured {
        /// Entity types with their names; no name is the default of that type.
        entity: QuotaEntity,
        /// All of them; none takes the entity away.
        quotas: BTreeMap<String, u64>,
    },
    /// A topic is gone.
    TopicDeleted {
        /// The topic.
        topic: Id,
    },
    /// Producer ids below this one may have been handed out.
    ProducerIdsReserved {
        /// The first that was not.
        next: i64,
    },
}

/// A topic id as its 22 characters.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(pub TopicId);

impl TryFrom<String> for Id {
    type Error = <TopicId as FromStr>::Err;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0.to_string()
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A topic name as its text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(pub TopicName);

impl TryFrom<String> for Name {
    type Error = TopicNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        TopicName::new(&text).map(Self)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_str().to_owned()
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_as_it_was_written_in_the_first_version() {
        let golden = r#"{"command":"topic_created","name":"orders","id":"AAAAAAAAAAAAAAAAAAAAAQ","internal":false,"partitions":[{"shard":1,"leader_epoch":0}],"overrides":{"retention.ms":"1"}}"#;
        let mut one = [0; 16];
        one[15] = 1;
        let command = Command::TopicCreated {
            name: Name(TopicName::new("orders").expect("a legal name")),
            id: Id(TopicId::from_bytes(one)),
            internal: false,
            partitions: vec![Placement { shard: 1, leader_epoch: 0 }],
            overrides: [("retention.ms".to_owned(), "1".to_owned())].into(),
        };
        assert_eq!(serde_json::from_str::<Command>(golden).expect("golden text"), command);
        assert_eq!(serde_json::to_string(&command).expect("serializes"), golden);
    }

    #[test]
    fn an_unknown_command_an_illegal_name_and_an_unknown_field_are_refused() {
        for text in [
            r#"{"command":"topic_renamed","topic":"AAAAAAAAAAAAAAAAAAAAAQ"}"#,
            r#"{"command":"topic_deleted","topic":"short"}"#,
            r#"{"command":"producer_ids_reserved","next":1,"extra":2}"#,
        ] {
            assert!(serde_json::from_str::<Command>(text).is_err(), "{text}");
        }
    }
}
