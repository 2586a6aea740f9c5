//! The switch that forbids io_uring; there since Linux 6.6.

use std::path::Path;

use crate::tune::knob::{Bound, Finding, Knob, NoFinding, Scene, number};

pub(super) const KNOB: Knob = Knob {
    name: "io-uring",
    wanted: "0",
    why: "the broker does all its input and output through io_uring and does not start without it",
    look,
};

fn look(scene: &Scene<'_>, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    let file = Path::new("/proc/sys/kernel/io_uring_disabled");
    scene.number_in(file, Bound::Exactly(number(wanted)?)).map(|finding| vec![finding])
}
