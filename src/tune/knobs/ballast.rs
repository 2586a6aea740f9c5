//! A file that holds space, to be removed by hand when the disk is full and nothing else can be.

use std::fs;

use crate::{
    io::disk::disk_space,
    tune::{
        change::Change,
        knob::{Finding, Knob, NoFinding, Scene, not_here, number, unreadable},
    },
};

pub(super) const KNOB: Knob = Knob {
    name: "ballast",
    wanted: "1073741824",
    why: "removing this file frees space (in bytes) at once on a disk that is full for everybody, the broker's \
          own reserve included",
    look,
};

/// Its name in the data directory.
const BALLAST: &str = "ballast";

/// It takes at most this part of the disk.
const SHARE: u64 = 50;

fn look(scene: &Scene<'_>, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    let wanted = number(wanted)?;
    let path = scene.data.join(BALLAST);
    let held = match fs::metadata(scene.host.real(&path)) {
        Ok(file) => Some(file.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(unreadable(&path, &error)),
    };
    if !scene.host.exists(scene.data) {
        return not_here(format!("{} is not there yet", scene.data.display()));
    }
    let space = disk_space(&scene.host.real(scene.data)).map_err(|error| unreadable(scene.data, &error))?;
    let wanted = wanted.min(space.total / SHARE);
    if held.is_none() && space.usable / 2 < wanted {
        return not_here(format!("{} bytes are free, too few to set {wanted} aside", space.usable));
    }
    let changes =
        if held.is_none() { vec![Change::Space { path: path.clone(), bytes: wanted }] } else { vec![] };
    let value = held.map_or_else(|| "none".to_owned(), |bytes| bytes.to_string());
    Ok(vec![Finding::judged(path.display().to_string(), value, wanted.to_string(), held.is_some(), changes)])
}
