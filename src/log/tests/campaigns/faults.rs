//! The k-th operation of the disk fails, for every k, for want of space and for no reason at all.

use std::{io, rc::Rc};

use super::{
    super::run,
    bound,
    life::{End, Life},
    progress,
};
use crate::{
    io::{clock::Clock, sim::SimDisk},
    log::LogError,
};

/// Steps of a life that has somewhat more operations than are asked for.
fn steps(operations: u64) -> u32 {
    (operations / 2) as u32 + 60
}

fn failing(k: u64, kind: io::ErrorKind, operations: u64, seed: u64) {
    let disk = SimDisk::new(seed);
    let life = Life::new();
    let theirs = life.clone();
    let steps = steps(operations);
    let case = format!("operation {k} fails with {kind:?}, seed {seed}");
    let there = case.clone();
    run(&disk, async move |sim, disk| {
        disk.fail_at(k, kind);
        let Ok(mut broker) = theirs.start(&sim, &disk, 2).await else { return };
        // A store that refuses ends the life; whoever was told before that must not have been told too much.
        let lived = theirs.live(&mut broker, &disk, seed, steps).await;
        let fenced = broker.stores.iter().any(|store| store.failure().is_some());
        let full_only = kind == io::ErrorKind::StorageFull && !fenced;
        // A log that was not made, or not removed, is its caller's to hear of; the store goes on.
        let told = matches!(lived, Err(LogError::Io { .. }));
        assert!(lived.is_ok() || fenced || full_only || told, "{lived:?}: {there}");
    });
    let ended_ms = disk.monotonic_ms();
    disk.power_loss();
    life.check(&disk, 2, End::PowerLoss, ended_ms, &case);
}

#[test]
fn faults_lead_to_no_false_acknowledgement() {
    let (operations, seed) = (bound("CORELANE_STATES", 0), bound("CORELANE_SEED", 5));
    let (operations, step) = if operations == 0 { (600, 23) } else { (operations, 1) };
    let lasts = {
        let disk = SimDisk::new(seed);
        let life = Life::new();
        run(&disk, async move |sim, disk| {
            let mut broker = life.start(&sim, &disk, 2).await.expect("nothing fails");
            life.live(&mut broker, &disk, seed, steps(operations)).await.expect("nothing fails");
            disk.operations()
        })
    };
    let lasts = lasts.expect("it runs to its end");
    assert!(lasts >= operations, "the life has only {lasts} operations");
    let ks = Rc::new((1..=operations).step_by(step).collect::<Vec<_>>());
    for (number, &k) in ks.iter().enumerate() {
        progress("failures", number as u64, ks.len() as u64);
        failing(k, io::ErrorKind::Other, operations, seed);
        failing(k, io::ErrorKind::StorageFull, operations, seed);
    }
    println!("faults: {} operations of {operations} failed, twice each, 0 false acknowledgements", ks.len());
}
