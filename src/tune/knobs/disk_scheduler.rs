//! Order of requests: none on solid state, by deadline where a head moves.

use crate::tune::knob::{Finding, Knob, NoFinding, Scene};

pub(super) const KNOB: Knob = Knob {
    name: "disk-scheduler",
    wanted: "none",
    why: "the broker's writes are large and in order already; a scheduler adds its lock and its delay to each",
    look,
};

/// What a head that moves needs whatever is wanted of solid state.
const WITH_A_HEAD: &str = "mq-deadline";

/// What the kernel sets anew together with the scheduler.
/// Source: block/elevator.c (`elevator_switch`, `blk_mq_init_sched`), block/blk-wbt.c.
const ALONG: [&str; 2] = ["nr_requests", "wbt_lat_usec"];

fn look(scene: &Scene<'_>, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    scene.each_queue("scheduler", |disk, file| {
        let wanted = if disk.has_a_head(scene.host) { WITH_A_HEAD } else { wanted };
        let finding = scene.word_in(file, file, wanted)?;
        let own = disk.queue("iosched");
        let of_scheduler = scene.host.names(&own).into_iter().map(|name| own.join(name));
        let along = ALONG.iter().map(|name| disk.queue(name)).chain(of_scheduler);
        Ok(finding.along_with(scene.host, along))
    })
}
