//! Checkpoints of which most are changes only: nothing is lost with the power, nor with any one file.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Broker, DATA, Ledger, next_of, open, run, small};
use crate::io::{
    clock::Clock,
    sim::{Random, SimDisk},
};

const LOGS: std::ops::Range<i32> = 0..16;
const FILES: [&str; 4] = ["checkpoint.0", "checkpoint.1", "changes.0", "changes.1"];

/// Writes to a few logs for a while, then to all of them, and so on; with checkpoints all the time.
async fn load(broker: &Broker, disk: &SimDisk, seed: u64) {
    let mut random = Random::new(seed);
    for i in 0..260 {
        let index = if i % 100 < 80 { random.below(3) } else { random.below(16) } as i32;
        if broker.append(index, 80 + random.below(5_000) as usize, 1, random.below(2) == 0).is_err() {
            return;
        }
        broker.log(index).0.wait_for_room().await;
        disk.sleep(Duration::from_millis(random.below(6))).await;
    }
}

fn loaded(seed: u64, stop_after: Option<u64>) -> (SimDisk, Ledger) {
    let (disk, ledger) = (SimDisk::new(seed), Ledger::default());
    if let Some(operations) = stop_after {
        disk.stop_after(operations);
    }
    let theirs = ledger.clone();
    run(&disk, async move |sim, disk| {
        let broker = Broker::start(&sim, &disk, 1, LOGS, &theirs).await.expect("a fresh start");
        load(&broker, &disk, seed).await;
        broker.drained(&disk).await;
    });
    (disk, ledger)
}

fn path(name: &str) -> PathBuf {
    Path::new(DATA).join("shards/1-0").join(name)
}

fn is_there(disk: &SimDisk, name: &str) -> bool {
    disk.files(&path(name)).iter().any(|(found, _)| *found == path(name))
}

/// Starts, and finds of every log what was promised and nothing else; `written`: what was written is kept too.
fn check_start(disk: &SimDisk, ledger: &Ledger, shards: u32, written: bool, case: &str) {
    let promised = ledger.borrow().clone();
    let (ledger, case) = (ledger.clone(), case.to_owned());
    let done = run(disk, async move |sim, disk| {
        let broker = Broker::start(&sim, &disk, shards, LOGS, &ledger).await;
        let broker = broker.unwrap_or_else(|error| panic!("{error}: {case}"));
        for (&index, kept) in &promised {
            let served = broker.read_all(index, 9_000).await.unwrap_or_else(|e| panic!("{e}: {case}"));
            let end = served.last().map_or(0, |last| next_of(last));
            let told = if written { kept.written_end } else { kept.durable_end };
            assert!(end >= told, "log {index} ends at {end}, promised {told}: {case}");
            assert!(kept.batches.starts_with(&served), "log {index} serves what it was not given: {case}");
        }
        load(&broker, &disk, 3).await;
        broker.drained(&disk).await;
        for index in LOGS {
            let served = broker.read_all(index, 9_000).await.unwrap_or_else(|e| panic!("{e}: {case}"));
            assert!(served == ledger.borrow()[&index].batches, "log {index}: {case}");
        }
    });
    assert!(done.is_some());
}

#[test]
fn nothing_durable_is_lost_with_the_power_and_any_one_file_of_a_checkpoint() {
    let (mut with_changes, operations) = (0, loaded(71, None).0.operations());
    for (case, stop_after) in (150..operations).step_by(7).enumerate() {
        let (disk, ledger) = loaded(71, Some(stop_after));
        let power = case % 3 > 0;
        if power {
            disk.power_loss()
        } else {
            disk.kill()
        }
        let lost = FILES[case % 4];
        // Of the first whole checkpoint there is no other yet.
        let is_redundant = is_there(&disk, FILES[1]);
        if is_redundant && is_there(&disk, lost) {
            let middle = disk.files(&path(lost)).first().map_or(0, |(_, bytes)| bytes.len() / 2);
            disk.flip(&path(lost), middle);
        }
        with_changes += u32::from(is_there(&disk, FILES[3]));
        let shards = 1 + (case % 2) as u32;
        let case =
            format!("after {stop_after} of {operations}, power {power}, without {lost}, {shards} shards");
        check_start(&disk, &ledger, shards, !power, &case);
    }
    assert!(with_changes > 20, "only {with_changes} cases had changes in two files");
}

#[test]
fn a_shard_of_which_two_files_are_damaged_is_not_opened() {
    for (one, other) in [(0, 1), (0, 2), (1, 3), (2, 3)] {
        let (disk, _) = loaded(72, None);
        disk.kill();
        assert!(FILES.iter().all(|name| is_there(&disk, name)), "all four are in use");
        [one, other].iter().for_each(|&file| disk.flip(&path(FILES[file]), 50));
        let opened = run(&disk, async move |_, disk| open(&disk, 1, LOGS, small).await.map(|_| ()));
        let error = opened.expect("no crash").expect_err("it must not open").to_string();
        assert!(error.contains(FILES[other]), "{error}");
    }
}

#[test]
fn an_idle_log_is_not_written_again() {
    let (disk, _) = loaded(73, None);
    let bytes_of = |name| disk.files(&path(name)).first().map_or(0, |(_, bytes)| bytes.len());
    let (whole, changes) =
        (bytes_of(FILES[0]).max(bytes_of(FILES[1])), bytes_of(FILES[2]).min(bytes_of(FILES[3])));
    assert!(changes > 0 && changes < whole, "{changes} bytes of changes, {whole} of all");
}
