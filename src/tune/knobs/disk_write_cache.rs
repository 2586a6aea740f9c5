//! Whether the drive says that it has a volatile cache. Told only: what is true of a drive, nobody may set.

use crate::tune::knob::{Finding, Knob, NoFinding, Scene};

pub(super) const KNOB: Knob = Knob {
    name: "disk-write-cache",
    wanted: "",
    why: "with a volatile cache each durable commit waits for a flush of the drive; one with power-loss \
          protection says \"write through\" and answers at once",
    look,
};

fn look(scene: &Scene<'_>, _: &str) -> Result<Vec<Finding>, NoFinding> {
    scene.each_queue("write_cache", |_, file| {
        Ok(Finding::told(file.display().to_string(), scene.value(file)?, "write through"))
    })
}
