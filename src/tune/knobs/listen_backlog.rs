//! Connections that have been asked for and not yet accepted.

use std::path::Path;

use crate::tune::knob::{Bound, Finding, Knob, NoFinding, Scene, number, some_of};

pub(super) const KNOB: Knob = Knob {
    name: "listen-backlog",
    wanted: "4096",
    why: "after a restart all clients connect at once; what finds no place in the queue waits a second and longer",
    look,
};

const FILES: [&str; 2] = ["/proc/sys/net/core/somaxconn", "/proc/sys/net/ipv4/tcp_max_syn_backlog"];

fn look(scene: &Scene<'_>, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    let wanted = number(wanted)?;
    some_of(FILES.iter().map(|file| scene.number_in(Path::new(file), Bound::AtLeast(wanted))))
}
