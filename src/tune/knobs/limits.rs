//! What the two knobs for limits of a process share.

use std::path::{Path, PathBuf};

use crate::tune::{
    change::Change,
    knob::{Finding, NoFinding, Scene, not_here, unreadable},
};

/// Limits of this process.
pub(in crate::tune) const OWN_LIMITS: &str = "/proc/self/limits";
const FILES: &str = "/etc/security/limits.d";

/// A limit of a process.
pub(super) struct Limit {
    /// As in /proc/self/limits.
    pub(super) title: &'static str,
    /// As in limits.conf(5).
    pub(super) item: &'static str,
    /// What one unit of limits.conf(5) is in /proc/self/limits.
    pub(super) unit: u64,
}

/// Looks at a limit; `wanted` is in the unit of /proc/self/limits.
pub(super) fn look(scene: &Scene<'_>, limit: &Limit, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    let bad = || NoFinding::BadWanted("a number, or unlimited".to_owned());
    let wanted = parse(wanted).ok_or_else(bad)?;
    let own = Path::new(OWN_LIMITS);
    let text = scene.host.read(own).map_err(|error| unreadable(own, &error))?;
    let Some(hard) = hard_limit(&text, limit.title) else {
        return Err(NoFinding::Unreadable(format!("{OWN_LIMITS} has no \"{}\"", limit.title)));
    };
    let place = format!("{} of this process", limit.title);
    if hard >= wanted {
        return Ok(vec![Finding::judged(place, show(hard), show(wanted), true, Vec::new())]);
    }
    if !scene.host.exists(Path::new(FILES)) {
        return not_here(format!("there is no {FILES}; give the limit to whatever starts the broker"));
    }
    let file = PathBuf::from(FILES).join(format!("90-corelane-{}.conf", limit.item));
    let in_file = if wanted == u64::MAX { show(wanted) } else { (wanted / limit.unit).to_string() };
    let text = format!("# Written by corelane tune.\n* - {0} {in_file}\nroot - {0} {in_file}\n", limit.item);
    let found = match scene.host.read(&file) {
        Ok(_) => {
            Some(std::fs::read_to_string(scene.host.real(&file)).map_err(|error| unreadable(&file, &error))?)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(unreadable(&file, &error)),
    };
    let written = found.as_ref() == Some(&text);
    let value = if written { format!("{}, more from the next login on", show(hard)) } else { show(hard) };
    let change = Change::File { path: file, found, wanted: text };
    Ok(vec![Finding::judged(place, value, format!("at least {}", show(wanted)), written, vec![change])])
}

/// The hard limit of that title in the text of /proc/self/limits.
pub(in crate::tune) fn hard_limit(text: &str, title: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(title))?;
    line.split_whitespace().nth(1).and_then(parse)
}

fn parse(text: &str) -> Option<u64> {
    if text == "unlimited" { Some(u64::MAX) } else { text.parse().ok() }
}

/// As people write it.
pub(in crate::tune) fn show(limit: u64) -> String {
    if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() }
}
