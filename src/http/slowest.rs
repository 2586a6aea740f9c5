//! The slowest requests of the last minute or two, as JSON: of all cores together, the slowest first.
//!
//! A request is as slow as its time less what its client has asked to wait: a fetch that finds nothing and waits
//! for `max_wait_ms` is not slow.

use serde_json::{Value, json};

use super::Names;
use crate::metrics::{SLOWEST_MAX, Slow};

/// The answer, from the lists of all cores in the order of their shards.
#[must_use]
pub fn encode(shards: &[Vec<Slow>], names: Names) -> String {
    let mut all: Vec<(usize, &Slow)> = shards
        .iter()
        .enumerate()
        .flat_map(|(shard, list)| list.iter().map(move |one| (shard, one)))
        .collect();
    all.sort_by_key(|(_, one)| std::cmp::Reverse(one.laps.slow_us()));
    let requests: Vec<Value> = all.into_iter().map(|(shard, one)| request(shard, one, names)).collect();
    json!({ "per_core_and_minute_max": SLOWEST_MAX, "requests": requests }).to_string()
}

fn request(shard: usize, slow: &Slow, names: Names) -> Value {
    let stages: serde_json::Map<String, Value> =
        slow.laps.stages().map(|(stage, us)| (format!("{}_us", stage.name()), us.into())).collect();
    json!({
        "shard": shard,
        "api": names.api(slow.laps.api_key()),
        "client_id": &*slow.client_id,
        "peer": slow.peer.map(|peer| peer.to_string()),
        "ended_ms": slow.ended_ms,
        "request_bytes": slow.bytes_in,
        "response_bytes": slow.bytes_out,
        "total_us": slow.laps.total_us(),
        "slow_us": slow.laps.slow_us(),
        "stages": stages,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Laps, RequestKind, Stage, Timing};

    fn slow(us: u64) -> Slow {
        let mut laps = Laps::new(0, RequestKind::Produce, Timing::Counted, 0);
        laps.lap(Stage::Parse, 1);
        laps.lap(Stage::Flush, us);
        let client_id = "a \"client\"".into();
        Slow { laps, client_id, peer: None, bytes_in: 70, bytes_out: 50, ended_ms: 1_700 }
    }

    #[test]
    fn the_slowest_of_all_cores_comes_first_with_its_stages() {
        let names = Names { api: |_| Some("Produce"), error: |_| String::new() };
        let text = encode(&[vec![slow(10)], vec![slow(500), slow(20)]], names);
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        let totals: Vec<_> = (0..3).map(|at| answer["requests"][at]["total_us"].as_u64()).collect();
        assert_eq!(totals, [Some(500), Some(20), Some(10)]);
        let first = &answer["requests"][0];
        assert_eq!((&first["shard"], &first["api"]), (&json!(1), &json!("Produce")));
        assert_eq!((&first["client_id"], &first["peer"]), (&json!("a \"client\""), &Value::Null));
        assert_eq!(first["stages"], json!({ "parse_us": 1, "flush_us": 499 }));
    }
}
