//! Changes of client quotas.
//!
//! Quotas that would not be enforced are refused rather than kept: a limit that is shown is a limit that holds.
//!
//! Source: Kafka 4.1, `ClientQuotaControlManager`, `QuotaConfig` (rules, their order and texts); KIP-546.

use std::collections::BTreeMap;

use super::{alter::AlterError, cluster::Cluster, command::Command};
use crate::model::quotas::{CLIENT_ID, QuotaEntity, QuotaKind, USER};

/// Most entities with quotas.
pub const ENTITIES_MAX: usize = 10_000;

const IP: &str = "ip";
/// What Kafka limits and this broker does not, for users and clients, and for addresses.
const NOT_ENFORCED: [(bool, &str); 3] =
    [(false, "request_percentage"), (false, "controller_mutation_rate"), (true, "connection_creation_rate")];

/// Changes of one entity.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaAlteration {
    /// Types with their names, as the request has them.
    pub entity: Vec<(String, Option<String>)>,
    /// Key and value; no value takes the quota away.
    pub changes: Vec<(String, Option<f64>)>,
}

impl Cluster {
    /// Judges the changes of one entity.
    ///
    /// # Errors
    /// [`AlterError::Quota`] for the client.
    pub fn plan_quotas(&self, alteration: &QuotaAlteration) -> Result<(QuotaEntity, Command), AlterError> {
        let entity = entity_of(&alteration.entity)?;
        let known = &self.view().quotas;
        let mut quotas = known.of(&entity).cloned().unwrap_or_default();
        let mut changed = BTreeMap::new();
        for (key, value) in &alteration.changes {
            if changed.insert(key, value).is_some() {
                return refuse(format!("Duplicate quota key {key} not updating quota for this entity"));
            }
            match value {
                None => {
                    quotas.remove(key);
                }
                Some(value) => {
                    let rate = rate_of(entity.contains_key(IP), key, *value)?;
                    quotas.insert(key.clone(), rate);
                }
            }
        }
        if !quotas.is_empty() && known.of(&entity).is_none() && known.len() >= ENTITIES_MAX {
            return refuse(format!("No more than {ENTITIES_MAX} entities can have quotas"));
        }
        Ok((entity.clone(), Command::QuotaConfigured { entity, quotas }))
    }
}

fn refuse<T>(why: String) -> Result<T, AlterError> {
    Err(AlterError::Quota(why))
}

fn entity_of(parts: &[(String, Option<String>)]) -> Result<QuotaEntity, AlterError> {
    let mut entity = QuotaEntity::new();
    for (kind, name) in parts {
        if ![USER, CLIENT_ID, IP].contains(&kind.as_str()) {
            return refuse(format!("Unhandled client quota entity type: {kind}"));
        }
        if name.as_deref() == Some("") {
            return refuse(format!("Empty {kind} not supported"));
        }
        if entity.insert(kind.clone(), name.clone()).is_some() {
            return refuse(format!("Invalid client quota entity, duplicate entity entry {kind}"));
        }
    }
    if entity.is_empty() {
        return refuse("Invalid empty client quota entity".to_owned());
    }
    if entity.contains_key(IP) && entity.len() > 1 {
        let why = "Invalid quota entity combination, IP entity should not be combined with User or ClientId";
        return refuse(why.to_owned());
    }
    Ok(entity)
}

/// Bytes per second.
fn rate_of(of_address: bool, key: &str, value: f64) -> Result<u64, AlterError> {
    if NOT_ENFORCED.contains(&(of_address, key)) {
        return refuse(format!("Quota {key} is not enforced by this broker"));
    }
    let known = [QuotaKind::Produce, QuotaKind::Fetch].iter().any(|kind| kind.key() == key);
    if of_address || !known {
        return refuse(format!("Invalid configuration key {key}"));
    }
    if value.is_nan() || value <= 0.0 {
        return refuse(format!("Quota {key} must be greater than 0"));
    }
    if value > i64::MAX as f64 {
        return refuse(format!("Proposed value for {key} is too large for a LONG."));
    }
    if (value % 1.0).abs() > 1e-6 {
        return refuse(format!("{key} cannot be a fractional value."));
    }
    Ok((value as u64).max(1))
}
