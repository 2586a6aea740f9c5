//! How much memory a process may lock.

use super::limits::{self, Limit};
use crate::tune::knob::{Finding, Knob, NoFinding, Scene};

pub(super) const KNOB: Knob = Knob {
    name: "memlock-limit",
    wanted: "8388608",
    why: "the rings' buffers are locked memory (in bytes); under a tight limit io_uring refuses them",
    look,
};

fn look(scene: &Scene<'_>, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    limits::look(scene, &Limit { title: "Max locked memory", item: "memlock", unit: 1024 }, wanted)
}
