//! Shards with data directories of their own: logs are found where they were made, whoever has them later.

use std::{io, path::PathBuf, time::Duration};

use super::{Broker, DATA, Ledger, partition, run, small};
use crate::{
    io::{clock::Clock as _, sim::SimDisk},
    log::{
        Elsewhere, OpenError, StoreOptions, current_generation, format::partition_directory, remove_others,
    },
};

const OTHER: &str = "/other";

/// Shard n has its data in the n-th of these directories, the last of them if there are fewer; all are searched.
fn in_directories(all: &'static [&'static str]) -> impl Fn(&mut StoreOptions) {
    move |options: &mut StoreOptions| {
        small(options);
        let own = all[(options.shard as usize).min(all.len() - 1)];
        options.data = PathBuf::from(own);
        let others = [DATA, OTHER].into_iter().filter(|other| *other != own);
        options.elsewhere =
            others.map(|other| Elsewhere { data: PathBuf::from(other), reserve_bytes: 0 }).collect();
    }
}

fn has_files(disk: &SimDisk, data: &str, index: i32) -> bool {
    !disk.files(&partition_directory(PathBuf::from(data).as_path(), partition(index))).is_empty()
}

#[test]
fn logs_are_found_in_every_directory_by_any_number_of_shards_after_a_crash() {
    let disk = SimDisk::new(11);
    let ledger = Ledger::default();
    // Two disks, one core; the same two, exchanged; one core whose disk is the second.
    let lives: [(u32, &[&str]); 5] =
        [(2, &[DATA, OTHER]), (1, &[DATA]), (2, &[OTHER, DATA]), (1, &[OTHER]), (3, &[DATA, OTHER, OTHER])];
    for (life, (shards, directories)) in lives.into_iter().enumerate() {
        let theirs = ledger.clone();
        run(&disk, async move |sim, disk| {
            let current = current_generation(&disk, DATA.as_ref()).await.expect("sound");
            remove_others(&disk, OTHER.as_ref(), current).await.expect("removed");
            let tune = in_directories(directories);
            let broker = Broker::start_with(&sim, &disk, shards, 0..4, &theirs, tune).await.expect("a start");
            for index in 0..4 {
                let served = broker.read_all(index, 100_000).await.expect("readable");
                assert!(served == theirs.borrow()[&index].batches, "life {life}, partition {index}");
                assert!(life == 0 || !served.is_empty(), "life {life}, partition {index}");
            }
            for i in 0..80 {
                // Some go by the journal, some to their segment at once.
                broker.append(i % 4, if i % 3 == 0 { 9_000 } else { 700 }, 1, true).expect("room");
                disk.sleep(Duration::from_millis(1)).await;
            }
            broker.drained(&disk).await;
        });
        disk.kill();
        for index in 0..4 {
            let made_in = if index % 2 == 0 { DATA } else { OTHER };
            for data in [DATA, OTHER] {
                assert_eq!(has_files(&disk, data, index), data == made_in, "life {life}, partition {index}");
            }
        }
    }
}

#[test]
fn a_partition_that_lies_in_two_directories_is_refused() {
    let disk = SimDisk::new(12);
    let life = |disk: &SimDisk, directories, expected: Option<&'static str>| {
        run(disk, async move |sim, disk| {
            let tune = in_directories(directories);
            let started = Broker::start_with(&sim, &disk, 1, 0..1, &Ledger::default(), tune).await;
            match (started, expected) {
                (Ok(broker), None) => {
                    broker.append(0, 9_000, 1, true).expect("room");
                    broker.drained(&disk).await;
                    disk.sleep(Duration::from_millis(100)).await;
                }
                (Err(OpenError::Damaged { why, .. }), Some(sentence)) => {
                    assert!(why.contains(sentence), "{why}");
                }
                (started, _) => panic!("{:?}, expected {expected:?}", started.err()),
            }
        });
        disk.kill();
    };
    life(&disk, &[DATA], None);
    run(&disk, async move |_, disk| {
        use crate::io::disk::Disk as _;
        let copy = partition_directory(OTHER.as_ref(), partition(0));
        disk.create_directories(&copy).await.expect("made");
        disk.write_small(&copy.join("copy"), b"x".to_vec()).await.expect("written");
    });
    assert_eq!([DATA, OTHER].map(|data| has_files(&disk, data, 0)), [true; 2], "two copies");
    life(&disk, &[DATA], Some("the partition has files in"));
}

#[test]
fn a_directory_that_cannot_be_listed_is_not_taken_for_absent() {
    let disk = SimDisk::new(13);
    run(&disk, async move |sim, disk| {
        let tune = in_directories(&[OTHER]);
        let broker =
            Broker::start_with(&sim, &disk, 1, 0..2, &Ledger::default(), tune).await.expect("a start");
        broker.append(0, 9_000, 1, true).expect("room");
        broker.drained(&disk).await;
    });
    disk.kill();
    let mut refused = 0;
    for k in 1..60 {
        let disk = disk.copy(k);
        let error = run(&disk, async move |sim, disk| {
            disk.fail_at(k, io::ErrorKind::PermissionDenied);
            Broker::start_with(&sim, &disk, 1, 0..2, &Ledger::default(), in_directories(&[DATA])).await.err()
        });
        match error.expect("no crash") {
            Some(OpenError::Damaged { path, why }) => panic!("operation {k}: {}: {why}", path.display()),
            error => refused += u32::from(error.is_some()),
        }
    }
    assert!(refused > 10, "{refused} starts were refused");
}
