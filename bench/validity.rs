//! Whether an open-loop run is what it claims to be: the load that was asked for, and no less.
//!
//! A generator that sends less than its target, for whatever reason, has measured another load, and its
//! percentiles must not be read as those of the target.

use serde::Serialize;

use crate::clock::{MILLISECOND, Nanos, SECOND};

/// Smallest share of the target that makes a run valid.
pub const SHARE_MIN: f64 = 0.99;

/// Time by which the last answer may come after the last record was due without counting as lag: it is that
/// record's latency, and a short run must not fail for it.
const SETTLE: Nanos = 100 * MILLISECOND;

/// What was asked for, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offered {
    /// Records that the schedule held.
    pub records: u64,
    /// From the start to when the last of them was due.
    pub span: Nanos,
    /// Of them acknowledged.
    pub acknowledged: u64,
    /// From the start to the last acknowledgement.
    pub elapsed: Nanos,
}

/// The judgement of an open-loop run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Validity {
    /// Whether [`SHARE_MIN`] of the target was achieved.
    pub valid: bool,
    /// Records per second that the schedule held.
    pub target_rate: f64,
    /// Records per second that were acknowledged.
    pub achieved_rate: f64,
    /// Why it is not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Judges a run.
pub fn judge(offered: &Offered) -> Validity {
    let seconds = |time: Nanos| time.max(1) as f64 / SECOND as f64;
    let needed = offered.span.max(offered.elapsed.saturating_sub(SETTLE));
    let target_rate = offered.records as f64 / seconds(offered.span);
    let achieved_rate = offered.acknowledged as f64 / seconds(needed);
    let share = if offered.records == 0 { 1.0 } else { achieved_rate / target_rate };
    let valid = share >= SHARE_MIN;
    let reason = (!valid).then(|| {
        let mut reason = format!(
            "achieved {achieved_rate:.0} of {target_rate:.0} records/s, {:.1} % (at least {:.0} % are needed)",
            share * 100.0,
            SHARE_MIN * 100.0
        );
        if offered.acknowledged < offered.records {
            reason += &format!("; {} of {} records not acknowledged", offered.records - offered.acknowledged, offered.records);
        }
        if needed > offered.span {
            reason += &format!("; the last answer came {:.2} s late", seconds(offered.elapsed - offered.span));
        }
        reason
    });
    Validity { valid, target_rate, achieved_rate, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offered(acknowledged: u64, elapsed: Nanos) -> Offered {
        Offered { records: 10_000, span: 10 * SECOND, acknowledged, elapsed }
    }

    #[test]
    fn a_run_that_keeps_up_is_valid_and_one_that_lags_or_loses_is_not() {
        assert!(judge(&offered(10_000, 10 * SECOND + 5 * MILLISECOND)).valid);
        assert!(judge(&offered(9_901, 10 * SECOND)).valid);
        let lost = judge(&offered(9_899, 10 * SECOND));
        assert!(lost.reason.is_some_and(|reason| reason.contains("101 of 10000 records not acknowledged")));
        let late = judge(&offered(10_000, 10_300 * MILLISECOND));
        assert!(late.reason.is_some_and(|reason| reason.contains("0.30 s late")));
    }

    #[test]
    fn a_short_run_does_not_fail_for_the_latency_of_its_last_record() {
        let short =
            Offered { records: 100, span: 100 * MILLISECOND, acknowledged: 100, elapsed: 180 * MILLISECOND };
        assert!(judge(&short).valid);
    }

    proptest! {
        #[test]
        fn more_acknowledged_or_sooner_is_never_worse(
            records in 1u64..1_000_000, span in 1u64..100 * SECOND, lost in 0u64..1_000_000, fewer in 0u64..1000,
            late in 0u64..10 * SECOND, later in 0u64..SECOND,
        ) {
            let acknowledged = records.saturating_sub(lost);
            let better = Offered { records, span, acknowledged, elapsed: span + late };
            let worse = Offered {
                acknowledged: acknowledged.saturating_sub(fewer), elapsed: better.elapsed + later, ..better
            };
            prop_assert!(judge(&better).achieved_rate >= judge(&worse).achieved_rate);
            prop_assert!(judge(&better).valid || !judge(&worse).valid);
            prop_assert_eq!(judge(&worse).valid, judge(&worse).reason.is_none());
        }
    }
}
