//! Whether the kernel looks for neighbours of each request to merge it with.

use crate::tune::knob::{Bound, Finding, Knob, NoFinding, Scene, not_here, number};

pub(super) const KNOB: Knob = Knob {
    name: "disk-nomerges",
    wanted: "2",
    why: "journal and segment writes find no neighbour to merge with, so looking for one is spent time",
    look,
};

fn look(scene: &Scene<'_>, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    let wanted = match number(wanted)? {
        level @ 0..=2 => level,
        _ => return Err(NoFinding::BadWanted("0, 1 or 2".to_owned())),
    };
    scene.each_queue("nomerges", |disk, file| {
        if disk.has_a_head(scene.host) {
            return not_here(format!("{} has a head to move: merging pays there", disk.name));
        }
        scene.number_in(file, Bound::Exactly(wanted))
    })
}
