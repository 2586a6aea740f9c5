//! A run's settings as its result repeats them, by flag name.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::args::{CommonArgs, LoadArgs, Mode};

/// Of a mode.
pub fn of(mode: &Mode) -> BTreeMap<&'static str, Value> {
    let (common, load) = mode.shared();
    let mut settings = settings_of(common, load);
    match mode {
        Mode::Produce(args) => settings.extend([
            ("reconnect", json!(args.reconnect)),
            ("transactional-id", json!(args.transactions.transactional_id)),
            ("transaction-size", json!(args.transactions.transaction_size)),
            ("transaction-duration", json!(args.transactions.transaction_duration.map(|d| d.as_secs_f64()))),
            ("abort-share", json!(args.transactions.abort_share)),
        ]),
        Mode::Consume(args) => settings.extend([
            ("from", json!(format!("{:?}", args.from).to_lowercase())),
            ("rate", json!(args.rate)),
            ("skip-deleted", json!(args.skip_deleted)),
            ("isolation", json!(format!("{:?}", args.isolation))),
            ("group", json!(args.group)),
            ("members", json!(args.members)),
            ("commit-ms", json!(args.commit_ms)),
        ]),
        Mode::E2e(_) => {}
        Mode::Mixed(args) => settings.extend([
            ("tails", json!(args.tails)),
            ("catch-up", json!(args.catch_up)),
            ("catch-up-rate", json!(args.catch_up_rate)),
            ("skip-deleted", json!(args.skip_deleted)),
        ]),
        Mode::Sweep(args) => settings.extend([
            ("factor", json!(args.factor)),
            ("precision", json!(args.precision)),
            ("end-to-end", json!(args.end_to_end)),
        ]),
        Mode::Connections(args) => settings.extend([("idle", json!(args.idle))]),
    }
    settings
}

fn settings_of(common: &CommonArgs, load: Option<&LoadArgs>) -> BTreeMap<&'static str, Value> {
    let mut settings = BTreeMap::from([
        ("bootstrap", json!(common.bootstrap)),
        ("topic", json!(common.topic)),
        ("connections", json!(common.connections)),
        ("threads", json!(common.threads)),
        ("duration", json!(common.duration.map(|d| d.as_secs_f64()))),
        ("records", json!(common.records)),
        ("pin", json!(common.pin)),
        ("payload-file", json!(common.payload_file)),
    ]);
    if let Some(load) = load {
        settings.extend([
            ("partitions", json!(load.partitions)),
            ("rate", json!(load.rate)),
            ("schedule", json!(format!("{:?}", load.schedule).to_lowercase())),
            ("record-size", json!(format!("{:?}", load.record_size).to_lowercase())),
            ("entropy", json!(load.entropy)),
            ("keys", json!(format!("{:?}", load.keys).to_lowercase())),
            ("by-record", json!(load.makes_records())),
            ("idempotent", json!(load.idempotent)),
            ("topic-config", json!(load.topic_config)),
            ("batch-size", json!(load.batch_size)),
            ("linger-ms", json!(load.linger_ms)),
            ("acks", json!(load.acks)),
            ("compression", json!(load.compression.to_string())),
            ("in-flight", json!(load.in_flight)),
        ]);
    }
    settings
}
