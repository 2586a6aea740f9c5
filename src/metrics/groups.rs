//! How far groups are behind, as their coordinators say it every so often.

use std::sync::Arc;

use super::topics::OTHERS;

/// Groups and topics that one core shows; it sums up the others, which are those with the least lag.
pub const GROUP_LAGS_MAX: usize = 256;

/// How far a group is behind in a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupLag {
    /// The group; none for all that are not shown.
    pub of: Option<(Arc<str>, Arc<str>)>,
    /// Records between what it has committed and the high watermark, of all partitions.
    pub records: u64,
    /// Age of the first record that it has not committed, in the partition where it is furthest behind; none if
    /// that is not known.
    pub seconds: Option<f64>,
}

/// Keeps the largest, and puts the others together.
#[must_use]
pub fn bounded(mut lags: Vec<GroupLag>) -> Vec<GroupLag> {
    for lag in &mut lags {
        // One of that name would be taken for the others.
        if lag.of.as_ref().is_some_and(|(group, topic)| &**group == OTHERS && &**topic == OTHERS) {
            lag.of = None;
        }
    }
    lags.sort_by(|a, b| b.records.cmp(&a.records).then_with(|| a.of.cmp(&b.of)));
    if lags.len() > GROUP_LAGS_MAX {
        let records = lags.drain(GROUP_LAGS_MAX..).map(|lag| lag.records).sum();
        lags.push(GroupLag { of: None, records, seconds: None });
    }
    lags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_lags_are_shown_and_the_others_are_one() {
        let lag = |records: u64| {
            let of = Some((format!("g{records}").into(), "t".into()));
            GroupLag { of, records, seconds: Some(1.0) }
        };
        let few = bounded(vec![lag(1), lag(3), lag(2)]);
        assert_eq!(few.iter().map(|lag| lag.records).collect::<Vec<_>>(), [3, 2, 1]);
        let of = Some(("other".into(), "other".into()));
        let named_so = bounded(vec![GroupLag { of, records: 1, seconds: None }]);
        assert_eq!(named_so[0].of, None);
        let many = bounded((0..300).map(lag).collect());
        assert_eq!(many.len(), GROUP_LAGS_MAX + 1);
        assert_eq!(many[0].records, 299);
        let others = (0..300 - GROUP_LAGS_MAX as u64).sum();
        assert_eq!(many.last(), Some(&GroupLag { of: None, records: others, seconds: None }));
    }
}
