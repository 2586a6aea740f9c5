//! How long a client has to wait so that it keeps to its quota.
//!
//! A payer's account says until when what it has moved is paid for. It may be behind by [`BURST`]; what it
//! moves beyond that puts its end into the future, and the client waits for that. Every core charges the same
//! accounts: a client's connections may lie on any of them. The lock is taken for clients with a quota only.
//!
//! Source: the virtual scheduling form of ITU-T I.371, annex A; KIP-219 (who waits, and how it is told).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::model::quotas::{Payer, QuotaKind};

/// What may be moved at once after a rest, as time at the allowed rate.
pub const BURST: Duration = Duration::from_secs(1);
/// Longest wait that is told at once; what is owed beyond it is waited for later.
pub const WAIT_MAX: Duration = Duration::from_secs(10);
/// Most accounts. Beyond them clients share one.
pub const ACCOUNTS_MAX: usize = 10_000;

/// The accounts of all payers, shared by all cores.
#[derive(Debug, Default)]
pub struct Throttles {
    /// Until when each has paid, in ms by the cores' clock.
    paid_until_ms: Mutex<HashMap<(QuotaKind, Payer), f64>>,
}

impl Throttles {
    /// Charges a payer for bytes. Returns for how long its client has to wait, whole milliseconds.
    pub fn charge(
        &self,
        kind: QuotaKind,
        payer: Payer,
        bytes_per_second: u64,
        bytes: usize,
        now_ms: u64,
    ) -> Duration {
        let now_ms = now_ms as f64;
        let begin_ms = now_ms - BURST.as_millis() as f64;
        let mut accounts = self.paid_until_ms.lock().unwrap_or_else(PoisonError::into_inner);
        let mut account = (kind, payer);
        if accounts.len() >= ACCOUNTS_MAX && !accounts.contains_key(&account) {
            accounts.retain(|_, paid_until_ms| *paid_until_ms > begin_ms);
            if accounts.len() >= ACCOUNTS_MAX {
                account.1 = (None, None);
            }
        }
        let paid_until_ms = accounts.entry(account).or_insert(begin_ms);
        let cost_ms = bytes as f64 * 1_000.0 / bytes_per_second.max(1) as f64;
        *paid_until_ms = paid_until_ms.max(begin_ms) + cost_ms;
        let owed_ms = (*paid_until_ms - now_ms).max(0.0).ceil();
        Duration::from_millis(owed_ms as u64).min(WAIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payer(name: &str) -> Payer {
        (None, Some(name.to_owned()))
    }

    #[test]
    fn a_burst_is_free_and_what_goes_beyond_it_is_waited_for() {
        let throttles = Throttles::default();
        let charge = |bytes, now_ms| throttles.charge(QuotaKind::Produce, payer("a"), 1_000, bytes, now_ms);
        assert_eq!(charge(1_000, 5_000), Duration::ZERO);
        assert_eq!(charge(500, 5_000), Duration::from_millis(500));
        assert_eq!(charge(0, 5_500), Duration::ZERO);
        assert_eq!(charge(1_000_000, 5_500), WAIT_MAX);
    }

    #[test]
    fn payers_and_kinds_have_accounts_of_their_own() {
        let throttles = Throttles::default();
        let charge = |kind, name| throttles.charge(kind, payer(name), 1, 100, 0);
        assert!(charge(QuotaKind::Produce, "a") > Duration::ZERO);
        let twice = charge(QuotaKind::Fetch, "a").min(charge(QuotaKind::Produce, "b"));
        assert_eq!(twice, WAIT_MAX, "each from the same beginning");
    }

    #[test]
    fn accounts_are_bounded() {
        let throttles = Throttles::default();
        for n in 0..ACCOUNTS_MAX + 10 {
            throttles.charge(QuotaKind::Fetch, payer(&n.to_string()), 1, 100, 0);
        }
        assert!(throttles.paid_until_ms.lock().unwrap().len() <= ACCOUNTS_MAX + 1);
    }

    proptest! {
        /// Whoever waits as told moves, over any span, no more than the rate and one burst and one request.
        #[test]
        fn a_client_that_waits_keeps_to_its_rate(
            rate in 1_u64..1_000_000,
            requests in proptest::collection::vec((0_usize..100_000, 0_u64..2_000), 1..60),
        ) {
            let throttles = Throttles::default();
            let (mut now_ms, mut moved, begun_ms) = (10_000_u64, 0.0, 10_000.0);
            for (bytes, rest_ms) in requests {
                loop {
                    // What is owed beyond the longest wait is asked for again.
                    let wait = throttles.charge(QuotaKind::Produce, payer("a"), rate, 0, now_ms);
                    if wait.is_zero() { break; }
                    now_ms += wait.as_millis() as u64;
                }
                let allowed = rate as f64 * (now_ms as f64 - begun_ms + BURST.as_millis() as f64) / 1_000.0;
                prop_assert!(moved <= allowed + 1.0, "{moved} of {allowed}");
                throttles.charge(QuotaKind::Produce, payer("a"), rate, bytes, now_ms);
                moved += bytes as f64;
                now_ms += rest_ms;
            }
        }
    }
}
