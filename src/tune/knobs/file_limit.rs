//! How many files and connections a process may have open.

use super::limits::{self, Limit};
use crate::tune::knob::{Finding, Knob, NoFinding, Scene};

pub(super) const KNOB: Knob = Knob {
    name: "file-limit",
    wanted: "65536",
    why: "each connection and each open partition takes one; at the limit the broker turns clients away",
    look,
};

fn look(scene: &Scene<'_>, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    limits::look(scene, &Limit { title: "Max open files", item: "nofile", unit: 1 }, wanted)
}
