//! How readily memory of programs is swapped out for the page cache.

use std::path::Path;

use crate::tune::knob::{Bound, Finding, Knob, NoFinding, Scene, number};

pub(super) const KNOB: Knob = Knob {
    name: "swappiness",
    wanted: "1",
    why: "a core that waits for a page from swap holds up every partition it owns",
    look,
};

fn look(scene: &Scene<'_>, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    let bound = Bound::AtMost(number(wanted)?);
    scene.number_in(Path::new("/proc/sys/vm/swappiness"), bound).map(|finding| vec![finding])
}
