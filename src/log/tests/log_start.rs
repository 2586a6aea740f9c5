//! A raised log start is kept, and takes whole segments with it.

use std::{cell::Cell, path::Path, rc::Rc, time::Duration};

use super::{Broker, DATA, Ledger, base_of, partition, run};
use crate::{
    io::{clock::Clock, sim::SimDisk},
    log::{LogError, format::partition_directory},
    model::Offset,
};

/// Appends 40 batches of 6,000 bytes, six to a segment, and raises the log start between them. `told`: the
/// last start that was promised.
async fn load(broker: &Broker, disk: &SimDisk, told: &Cell<i64>) -> Result<(), LogError> {
    let (store, log) = broker.log(0);
    for i in 0..40 {
        broker.append(0, 6_000, 1, i % 3 == 0)?;
        store.wait_for_room().await;
        if i % 8 == 7 {
            broker.drained(disk).await;
            let start = i64::from(i) - 2;
            store.raise_log_start(log, Offset::new(start)).await?;
            told.set(start);
        }
    }
    broker.drained(disk).await;
    Ok(())
}

#[test]
fn a_raised_log_start_is_never_taken_back_and_what_lies_above_stays() {
    let mut states = 0;
    for stop_after in (1..).step_by(3) {
        let disk = SimDisk::new(stop_after);
        let (ledger, told) = (Ledger::default(), Rc::new(Cell::new(0)));
        disk.stop_after(stop_after);
        let (theirs, told_there) = (ledger.clone(), told.clone());
        let ended = run(&disk, async move |sim, disk| {
            let broker = Broker::start(&sim, &disk, 1, 0..1, &theirs).await.expect("a fresh start");
            load(&broker, &disk, &told_there).await.expect("nothing fails")
        });
        if stop_after % 2 == 0 {
            disk.kill()
        } else {
            disk.power_loss()
        }
        let promised = ledger.borrow().get(&0).cloned().unwrap_or_default();
        let told = told.get();
        run(&disk, async move |sim, disk| {
            let broker = Broker::start(&sim, &disk, 1, 0..1, &ledger).await.expect("it opens");
            let (store, log) = broker.log(0);
            let start = store.log_start_offset(log).expect("there").get();
            assert!(start >= told, "start {start}, promised {told}, seed {stop_after}");
            let served = broker.read_all(0, 20_000).await.expect("readable");
            let kept: Vec<_> = promised.batches.iter().filter(|one| base_of(one) >= start).collect();
            assert!(served.iter().eq(kept[..served.len()].iter().copied()), "seed {stop_after}");
            let end = store.log_end_offset(log).expect("there").get();
            assert!(end >= promised.durable_end, "end {end}, seed {stop_after}");
            load_more(&broker, &disk).await;
        })
        .expect("it runs to its end");
        states += 1;
        if ended.is_some() {
            break;
        }
    }
    assert!(states > 50, "{states} states");
}

async fn load_more(broker: &Broker, disk: &SimDisk) {
    for _ in 0..20 {
        broker.append(0, 6_000, 1, true).expect("room");
        broker.log(0).0.wait_for_room().await;
    }
    broker.drained(disk).await;
}

#[test]
fn segments_below_the_log_start_leave_the_disk_and_reads_below_are_out_of_range() {
    super::behaviour::with_broker(9, 0..1, async |broker, disk| {
        load(&broker, &disk, &Cell::new(0)).await.expect("nothing fails");
        let (store, log) = broker.log(0);
        store.request_checkpoint();
        disk.sleep(Duration::from_secs(1)).await;
        store.raise_log_start(log, Offset::new(39)).await.expect("within the log");
        let there = || {
            let files = disk.files(&partition_directory(Path::new(DATA), partition(0)));
            files.iter().filter(|(path, _)| path.to_string_lossy().ends_with(".log")).count()
        };
        disk.sleep(Duration::from_secs(1)).await;
        assert_eq!(there(), 1);
        let below = store.read(log, Offset::new(38), Offset::new(40), 9_000, true).await;
        assert!(matches!(below, Err(LogError::OffsetOutOfRange { .. })));
        assert_eq!(store.raise_log_start(log, Offset::new(3)).await.ok(), Some(()));
        assert_eq!(store.log_start_offset(log).ok(), Some(Offset::new(39)));
        let above = store.raise_log_start(log, Offset::new(41)).await;
        assert!(matches!(above, Err(LogError::OffsetOutOfRange { .. })));
    });
}
