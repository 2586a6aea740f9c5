//! How far the kernel reads ahead of a reader that goes through the page cache.

use crate::tune::knob::{Bound, Finding, Knob, NoFinding, Scene, number};

pub(super) const KNOB: Knob = Knob {
    name: "disk-read-ahead",
    wanted: "512",
    why: "a consumer far behind is sent 256 KiB at a time: twice that (in KiB) keeps the next piece on its way",
    look,
};

fn look(scene: &Scene<'_>, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    let wanted = number(wanted)?;
    scene.each_queue("read_ahead_kb", |_, file| scene.number_in(file, Bound::AtLeast(wanted)))
}
