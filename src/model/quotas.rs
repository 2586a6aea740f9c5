//! Client quotas: who may send or fetch how many bytes a second.
//!
//! A quota belongs to an entity: a user, a client id, or both; either by name or as the default of those that
//! have none of their own. There is no authentication yet: every client is the user [`ANONYMOUS`].
//!
//! Source: KIP-13, KIP-55, KIP-546; Kafka, `ClientQuotaManager` (the order of precedence, and who shares).

use std::collections::BTreeMap;

/// The user of a connection that has not said who it is.
pub const ANONYMOUS: &str = "ANONYMOUS";
/// Entity type of a user.
pub const USER: &str = "user";
/// Entity type of a client id.
pub const CLIENT_ID: &str = "client-id";

/// Entity types with their names; no name is the default of that type.
pub type QuotaEntity = BTreeMap<String, Option<String>>;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaKind {
    /// Bytes of Produce requests.
    Produce,
    /// Bytes of Fetch responses.
    Fetch,
}

impl QuotaKind {
    /// Kafka's key: bytes per second.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Produce => "producer_byte_rate",
            Self::Fetch => "consumer_byte_rate",
        }
    }
}

/// Those who share one quota: a user, a client id, or a client id of a user.
pub type Payer = (Option<String>, Option<String>);

/// All quotas: by entity and key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quotas {
    by_entity: BTreeMap<QuotaEntity, BTreeMap<String, u64>>,
}

impl Quotas {
    /// Whether nobody is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_entity.is_empty()
    }

    /// How many entities have quotas.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_entity.len()
    }

    /// The quotas of an entity.
    #[must_use]
    pub fn of(&self, entity: &QuotaEntity) -> Option<&BTreeMap<String, u64>> {
        self.by_entity.get(entity)
    }

    /// Every entity with its quotas.
    pub fn iter(&self) -> impl Iterator<Item = (&QuotaEntity, &BTreeMap<String, u64>)> {
        self.by_entity.iter()
    }

    /// These quotas, and no others, are the entity's.
    pub fn set(&mut self, entity: QuotaEntity, quotas: BTreeMap<String, u64>) {
        if quotas.is_empty() {
            self.by_entity.remove(&entity);
        } else {
            self.by_entity.insert(entity, quotas);
        }
    }

    /// The limit of a client in bytes per second, and with whom it shares it.
    #[must_use]
    pub fn limit(&self, user: &str, client_id: &str, kind: QuotaKind) -> Option<(Payer, u64)> {
        if self.is_empty() {
            return None;
        }
        let (named_user, any_user) = (Some(Some(user)), Some(None));
        let (named_client, any_client) = (Some(Some(client_id)), Some(None));
        // The most particular first.
        [
            (named_user, named_client),
            (named_user, any_client),
            (named_user, None),
            (any_user, named_client),
            (any_user, any_client),
            (any_user, None),
            (None, named_client),
            (None, any_client),
        ]
        .into_iter()
        .find_map(|(of_user, of_client)| {
            let mut entity = QuotaEntity::new();
            let mut add = |kind: &str, name: Option<Option<&str>>| {
                if let Some(name) = name {
                    entity.insert(kind.to_owned(), name.map(str::to_owned));
                }
            };
            add(USER, of_user);
            add(CLIENT_ID, of_client);
            let limit = *self.by_entity.get(&entity)?.get(kind.key())?;
            let payer = (of_user.map(|_| user.to_owned()), of_client.map(|_| client_id.to_owned()));
            Some((payer, limit))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(user: Option<Option<&str>>, client_id: Option<Option<&str>>) -> QuotaEntity {
        let parts = [(USER, user), (CLIENT_ID, client_id)];
        let named = |(kind, name): (&str, Option<Option<&str>>)| {
            name.map(|name| (kind.to_owned(), name.map(str::to_owned)))
        };
        parts.into_iter().filter_map(named).collect()
    }

    fn quotas(all: &[(QuotaEntity, u64)]) -> Quotas {
        let mut quotas = Quotas::default();
        for (entity, rate) in all {
            quotas.set(entity.clone(), [("producer_byte_rate".to_owned(), *rate)].into());
        }
        quotas
    }

    #[test]
    fn the_most_particular_quota_counts() {
        // From the least particular to the most.
        let levels = [
            entity(None, Some(None)),
            entity(None, Some(Some("c"))),
            entity(Some(None), None),
            entity(Some(None), Some(None)),
            entity(Some(None), Some(Some("c"))),
            entity(Some(Some("u")), None),
            entity(Some(Some("u")), Some(None)),
            entity(Some(Some("u")), Some(Some("c"))),
        ];
        let mut all = Vec::new();
        for (level, entity) in (1..).zip(levels) {
            all.push((entity, level));
            let found = quotas(&all).limit("u", "c", QuotaKind::Produce).map(|(_, limit)| limit);
            assert_eq!(found, Some(level));
        }
    }

    #[test]
    fn a_default_is_each_clients_own_and_a_users_is_shared_by_its_clients() {
        let by_default = quotas(&[(entity(None, Some(None)), 5)]);
        let payer = |quotas: &Quotas, user, client| quotas.limit(user, client, QuotaKind::Produce).unwrap().0;
        assert_ne!(payer(&by_default, "u", "a"), payer(&by_default, "u", "b"));
        assert_eq!(payer(&by_default, "u", "a"), payer(&by_default, "v", "a"));
        let of_user = quotas(&[(entity(Some(Some("u")), None), 5)]);
        assert_eq!(payer(&of_user, "u", "a"), payer(&of_user, "u", "b"));
        assert_eq!(of_user.limit("v", "a", QuotaKind::Produce), None);
    }

    #[test]
    fn what_is_not_limited_is_free_and_no_quota_is_no_entity() {
        let mut some = quotas(&[(entity(None, Some(Some("c"))), 5)]);
        assert_eq!(some.limit("u", "c", QuotaKind::Fetch), None);
        assert_eq!(some.limit("u", "d", QuotaKind::Produce), None);
        some.set(entity(None, Some(Some("c"))), BTreeMap::new());
        assert!(some.is_empty());
    }
}
