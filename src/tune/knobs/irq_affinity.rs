//! Which processor takes the interrupts of the network: a different one for each queue.

use std::path::{Path, PathBuf};

use super::interfaces::{interfaces, processors};
use crate::tune::knob::{Finding, Knob, NoFinding, Scene, set, unreadable};

pub(super) const KNOB: Knob = Knob {
    name: "irq-affinity",
    wanted: "spread",
    why: "interrupts of all queues on one processor take that core from its shard while the others wait for \
          it (irqbalance, where it runs, moves them again)",
    look,
};

fn look(scene: &Scene<'_>, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    if wanted != KNOB.wanted {
        return Err(NoFinding::BadWanted(KNOB.wanted.to_owned()));
    }
    let processors = processors(scene)?;
    let mut findings = Vec::new();
    for interface in interfaces(scene)? {
        for (turn, file) in irqs(scene, &interface).into_iter().enumerate() {
            let found = scene.host.read(&file).map_err(|error| unreadable(&file, &error))?;
            let wanted = processors[turn % processors.len()].to_string();
            let fits = found == wanted || processors.len() == 1;
            let change = set(&file, &found, wanted.clone());
            // Drivers that manage their interrupts refuse, and have spread them already.
            findings.push(
                Finding::judged(file.display().to_string(), found, wanted, fits, vec![change]).refusable(),
            );
        }
    }
    if findings.is_empty() {
        return Err(NoFinding::NotHere("the network shows no interrupts of its own".to_owned()));
    }
    Ok(findings)
}

/// The interrupts of an interface's device, or of what the device sits on (virtio).
fn irqs(scene: &Scene<'_>, interface: &Path) -> Vec<PathBuf> {
    let Ok(device) = scene.host.resolve(&interface.join("device")) else { return Vec::new() };
    let lists = [Some(device.as_path()), device.parent()];
    let numbers = lists.into_iter().flatten().map(|device| scene.host.names(&device.join("msi_irqs")));
    let numbers = numbers.into_iter().find(|numbers| !numbers.is_empty()).unwrap_or_default();
    let files = numbers.iter().map(|number| Path::new("/proc/irq").join(number).join("smp_affinity_list"));
    files.filter(|file| scene.host.exists(file)).collect()
}
