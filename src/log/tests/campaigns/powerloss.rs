//! The power goes, or the process is killed, at any moment; also in the middle of the recovery from that.

use super::{
    super::run,
    bound,
    life::{End, Life},
    progress,
};
use crate::io::{
    clock::Clock,
    sim::{Random, SimDisk},
};

fn end(disk: &SimDisk, how: End) {
    match how {
        End::Kill => disk.kill(),
        End::PowerLoss => disk.power_loss(),
    }
}

/// Up to three starts on one disk, each broken off somewhere, each checked.
fn state(seed: u64) {
    let mut random = Random::new(seed);
    let disk = SimDisk::new(seed);
    let life = Life::new();
    for round in 0..1 + random.below(3) {
        let shards = 1 + random.below(3) as u32;
        disk.stop_after(1 + random.below(900));
        let (theirs, steps) = (life.clone(), 40 + random.below(160) as u32);
        run(&disk, async move |sim, disk| {
            // A stop in the middle of a start is a crash as well.
            let Ok(mut broker) = theirs.start(&sim, &disk, shards).await else {
                panic!("seed {seed}: refused")
            };
            let lived = theirs.live(&mut broker, &disk, seed ^ round, steps).await;
            lived.unwrap_or_else(|error| panic!("{error}: seed {seed}"));
        });
        let how = if random.below(4) == 0 { End::Kill } else { End::PowerLoss };
        let ended_ms = disk.monotonic_ms();
        end(&disk, how);
        // Recovery itself is broken off, now and then more than once.
        while random.below(3) == 0 {
            let (theirs, shards) = (life.copy(), 1 + random.below(3) as u32);
            disk.stop_after(1 + random.below(120));
            run(&disk, async move |sim, disk| {
                let started = theirs.start(&sim, &disk, shards).await;
                started.map(drop).unwrap_or_else(|error| panic!("{error}: seed {seed}"));
            });
            end(&disk, how);
        }
        let case = format!(
            "seed {seed}, round {round}, {how:?} at {ended_ms} ms; CORELANE_SEED={seed} CORELANE_STATES=1"
        );
        life.check(&disk, 1 + random.below(3) as u32, how, ended_ms, &case);
    }
}

#[test]
fn powerloss_loses_nothing_that_was_promised() {
    let (states, first) = (bound("CORELANE_STATES", 40), bound("CORELANE_SEED", 1));
    for number in 0..states {
        progress("states", number, states);
        state(first + number);
    }
    println!("powerloss: {states} states from seed {first}, 0 acks=all records lost, acks=1 within the law");
}
