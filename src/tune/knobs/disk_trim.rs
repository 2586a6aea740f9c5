//! Telling a solid state drive which blocks are free, once a week: systemd's fstrim.timer.

use std::path::{Path, PathBuf};

use crate::tune::{
    change::Change,
    device::mount_of,
    knob::{Finding, Knob, NoFinding, Scene, not_here},
};

pub(super) const KNOB: Knob = Knob {
    name: "disk-trim",
    wanted: "weekly",
    why: "a drive that does not know which blocks are free copies dead ones around, and its writes grow slow; \
          the mount option \"discard\" does it too, but within the writes",
    look,
};

const TIMER: &str = "fstrim.timer";
const UNITS: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];
const WANTS: &str = "/etc/systemd/system/timers.target.wants";

fn look(scene: &Scene<'_>, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    if wanted != KNOB.wanted {
        return Err(NoFinding::BadWanted(KNOB.wanted.to_owned()));
    }
    let host = scene.host;
    let discards = |disk: &crate::tune::device::BlockDevice| {
        host.value(&disk.queue("discard_max_bytes")).is_ok_and(|bytes| bytes != "0")
    };
    if !scene.disks()?.iter().any(discards) {
        return not_here("the disk takes no discards");
    }
    let mount = mount_of(host, scene.data).map_err(NoFinding::NotHere)?;
    if mount.options.split(',').any(|option| option == "discard" || option.starts_with("discard=")) {
        let place = mount.point.display().to_string();
        return Ok(vec![Finding::judged(place, "mounted with discard", wanted, true, Vec::new())]);
    }
    let Some(unit) = UNITS.iter().map(|units| Path::new(units).join(TIMER)).find(|unit| host.exists(unit))
    else {
        return not_here("there is no fstrim.timer; run fstrim once a week by other means");
    };
    let link = Path::new(WANTS).join(TIMER);
    // A link out of a scratch root leads nowhere, and is one all the same.
    let enabled = host.link(&link).map_err(|error| NoFinding::Unreadable(error.to_string()))?.is_some();
    let mut changes = Vec::new();
    if !host.exists(Path::new(WANTS)) {
        changes.push(Change::Directory { path: PathBuf::from(WANTS) });
    }
    changes.push(Change::Link { path: link.clone(), target: unit });
    let value = if enabled { wanted } else { "never" };
    Ok(vec![Finding::judged(link.display().to_string(), value, wanted, enabled, changes)])
}
