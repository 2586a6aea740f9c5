//! Transparent huge pages: for whoever asks, not for everybody.

use std::path::Path;

use crate::tune::knob::{Finding, Knob, NoFinding, Scene};

pub(super) const KNOB: Knob = Knob {
    name: "huge-pages",
    wanted: "madvise",
    why: "given to everybody, they swell sparse memory, and the kernel stops a core to make them",
    look,
};

fn look(scene: &Scene<'_>, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    let file = Path::new("/sys/kernel/mm/transparent_hugepage/enabled");
    scene.word_in(file, file, wanted).map(|finding| vec![finding])
}
