//! Bits turn, blocks vanish or change places, files are cut short, in every kind of file: it is noticed, or it does
//! no harm. Nothing wrong is served, nothing committed is cut.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    super::{DATA, run},
    bound,
    life::Life,
    progress,
};
use crate::{
    io::{
        clock::Clock,
        sim::{Random, SimDisk},
    },
    model::Offset,
};

/// What a file is for, by its name.
fn class(path: &Path) -> &'static str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name.rsplit_once('.').map_or(name, |(_, kind)| kind) {
        "log" => "data",
        "index" => "index",
        "crc" => "sidecar",
        _ if name.starts_with("journal") => "journal",
        _ if name.starts_with("checkpoint") || name.starts_with("changes") => "checkpoint",
        _ => "other",
    }
}

/// Damages a file somewhere; says how.
fn damage(contents: &mut Vec<u8>, random: &mut Random) -> String {
    const BLOCK: usize = 4096;
    let blocks = contents.len() / BLOCK;
    match random.below(8) {
        0 if blocks > 1 => {
            let (a, b) = (random.below(blocks as u64) as usize, random.below(blocks as u64) as usize);
            let first = contents[a * BLOCK..(a + 1) * BLOCK].to_vec();
            contents.copy_within(b * BLOCK..(b + 1) * BLOCK, a * BLOCK);
            contents[b * BLOCK..(b + 1) * BLOCK].copy_from_slice(&first);
            format!("blocks {a} and {b} changed places")
        }
        1 if blocks > 0 => {
            let at = random.below(blocks as u64) as usize;
            contents[at * BLOCK..(at + 1) * BLOCK].fill(0);
            format!("block {at} zeroed")
        }
        2 => {
            let length = random.below(contents.len() as u64) as usize;
            contents.truncate(length);
            format!("cut to {length} bytes")
        }
        _ => {
            let (at, bit) = (random.below(contents.len() as u64) as usize, random.below(8));
            contents[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} turned")
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Verdict {
    /// The start was refused, or some reads were.
    Detected,
    Harmless,
}

/// Starts on a damaged disk and reads everything, past whatever is refused.
fn judge(disk: &SimDisk, life: &Life, case: &str) -> Verdict {
    let (life, case) = (life.copy(), case.to_owned());
    let given = (*life.ledger).clone().into_inner();
    let verdict = run(disk, async move |sim, disk| {
        let Ok(broker) = life.start(&sim, &disk, 2).await else { return Verdict::Detected };
        let mut verdict = Verdict::Harmless;
        for index in life.partitions() {
            let Some(kept) = given.get(&index) else { continue };
            let (store, log) = broker.log(index);
            let end = store.log_end_offset(log).map_or(-1, Offset::get);
            assert!(
                end >= kept.durable_end,
                "partition {index} was cut to {end} of {}: {case}",
                kept.durable_end
            );
            let bytes: BTreeMap<i64, &Vec<u8>> =
                kept.batches.iter().map(|batch| (super::super::base_of(batch), batch)).collect();
            let mut from = store.log_start_offset(log).map_or(0, Offset::get);
            while from < kept.durable_end {
                let end = Offset::new(kept.durable_end);
                match store.read(log, Offset::new(from), end, 5_000, true).await {
                    Err(_) => {
                        verdict = Verdict::Detected;
                        from = bytes.range(from + 1..).next().map_or(kept.durable_end, |(base, _)| *base);
                    }
                    Ok(slices) => match life.judge_bytes(index, &bytes, from, &slices.concat(), &case) {
                        Some(next) => from = next,
                        None => break,
                    },
                }
            }
        }
        verdict
    });
    verdict.expect("nothing stops it")
}

impl Life {
    /// What was served from an offset on is what was given; says where it ends.
    fn judge_bytes(
        &self,
        index: i32,
        given: &BTreeMap<i64, &Vec<u8>>,
        from: i64,
        served: &[u8],
        case: &str,
    ) -> Option<i64> {
        if served.is_empty() {
            return None;
        }
        let mut rest = served;
        let mut next = from;
        while !rest.is_empty() {
            let length = rest
                .get(8..12)
                .map(|length| i32::from_be_bytes([length[0], length[1], length[2], length[3]]));
            let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0) + 12;
            let one = rest
                .get(..length)
                .unwrap_or_else(|| panic!("partition {index} at {next}: no batch served: {case}"));
            let base = super::super::base_of(one);
            let same = given.get(&base).is_some_and(|batch| batch[..] == *one);
            // A compacted batch may have lost records; its own checksum covers those that are left.
            let rewritten = self.is_compacted(index)
                && given.contains_key(&base)
                && one[17..21] == crc32c::crc32c(&one[21..]).to_be_bytes();
            assert!(same || rewritten, "WRONG bytes served: partition {index} at {base}: {case}");
            next = super::super::next_of(one);
            rest = &rest[length..];
        }
        Some(next)
    }
}

/// A life that was closed properly, or killed.
fn image(seed: u64) -> (SimDisk, Life) {
    let disk = SimDisk::new(seed);
    let life = Life::new();
    let theirs = life.clone();
    run(&disk, async move |sim, disk| {
        let mut broker = theirs.start(&sim, &disk, 2).await.expect("a fresh start");
        theirs.live(&mut broker, &disk, seed, 260).await.expect("nothing fails");
        // Data rots at rest: until the journal's last frames are vouched for, damage to them is a torn tail.
        disk.sleep(Duration::from_millis(100)).await;
        if seed.is_multiple_of(2) {
            for store in &broker.stores {
                store.close(true).await.expect("closes");
            }
        }
        disk.monotonic_ms()
    })
    .expect("it runs to its end");
    disk.kill();
    (disk, life)
}

#[test]
fn rot_is_noticed_or_does_no_harm() {
    let (damages, first) = (bound("CORELANE_STATES", 60), bound("CORELANE_SEED", 1));
    let mut counts: BTreeMap<(&str, Verdict), u64> = BTreeMap::new();
    for number in 0..damages {
        progress("damages", number, damages);
        let seed = first + number;
        // A few images serve many damages.
        let (disk, life) = image(seed % 8);
        let mut random = Random::new(seed);
        let copy = disk.copy(seed);
        let mut files: BTreeMap<&str, Vec<(PathBuf, Vec<u8>)>> = BTreeMap::new();
        for (path, bytes) in copy.files(Path::new(DATA)).into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
            files.entry(class(&path)).or_default().push((path, bytes));
        }
        let classes: Vec<&str> = files.keys().copied().collect();
        let class = classes[random.below(classes.len() as u64) as usize];
        let of_class = &files[class];
        let (path, bytes) = &of_class[random.below(of_class.len() as u64) as usize];
        let mut contents = bytes.clone();
        let what = damage(&mut contents, &mut random);
        if contents == *bytes {
            continue;
        }
        copy.replace(path, contents);
        let case = format!("{}: {what}; CORELANE_SEED={seed} CORELANE_STATES=1", path.display());
        *counts.entry((class, judge(&copy, &life, &case))).or_default() += 1;
    }
    println!(
        "rot: {damages} damages from seed {first}: {counts:?}; 0 wrong bytes served, 0 committed records cut"
    );
}
