//! How far the buffers of one connection may grow.

use std::path::Path;

use crate::tune::knob::{Bound, Finding, Knob, NoFinding, Scene, number, set, some_of};

pub(super) const KNOB: Knob = Knob {
    name: "socket-buffers",
    wanted: "16777216",
    why: "one connection moves at most one buffer (in bytes) per round trip: 16 MiB fill 10 Gbit/s at 13 ms",
    look,
};

/// Most that a program may ask for.
const ASKED: [&str; 2] = ["/proc/sys/net/core/rmem_max", "/proc/sys/net/core/wmem_max"];
/// Least, first and most of what the kernel chooses by itself.
const CHOSEN: [&str; 2] = ["/proc/sys/net/ipv4/tcp_rmem", "/proc/sys/net/ipv4/tcp_wmem"];

fn look(scene: &Scene<'_>, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    let wanted = number(wanted)?;
    let asked = ASKED.iter().map(|file| scene.number_in(Path::new(file), Bound::AtLeast(wanted)));
    let chosen = CHOSEN.iter().map(|file| most_of_three(scene, Path::new(file), wanted));
    some_of(asked.chain(chosen))
}

fn most_of_three(scene: &Scene<'_>, file: &Path, most: u64) -> Result<Finding, NoFinding> {
    let found = scene.value(file)?;
    let numbers: Vec<u64> = found.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [least, first, held] = numbers[..] else {
        return Err(NoFinding::Unreadable(format!("{} holds \"{found}\"", file.display())));
    };
    let change = set(file, &found, format!("{least} {first} {}", held.max(most)));
    let bound = Bound::AtLeast(most);
    let place = file.display().to_string();
    Ok(Finding::judged(place, held.to_string(), bound.to_string(), held >= most, vec![change]))
}
