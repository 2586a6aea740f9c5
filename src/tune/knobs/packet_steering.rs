//! RPS, RFS and XPS: packets to the processor that their socket lives on, where the hardware has too few queues.

use std::path::Path;

use super::interfaces::{interfaces, mask, processors, same_mask};
use crate::tune::knob::{Bound, Finding, Knob, NoFinding, Scene, number, set, some_of};

pub(super) const KNOB: Knob = Knob {
    name: "packet-steering",
    wanted: "32768",
    why: "with fewer queues than cores, packets are worked on where they land and then wake the core of their \
          socket; steering (a table of this many flows) sends them there first",
    look,
};

/// Entries of the table that all interfaces share.
const FLOWS: &str = "/proc/sys/net/core/rps_sock_flow_entries";

fn look(scene: &Scene<'_>, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    // The kernel rounds up to a power of two.
    let flows = number(wanted)?.next_power_of_two();
    let processors = processors(scene)?;
    if processors.len() < 2 {
        return Err(NoFinding::NotHere("there is one processor".to_owned()));
    }
    let everybody = mask(&processors);
    let mut found = Vec::new();
    for interface in interfaces(scene)? {
        let queues = interface.join("queues");
        let names = scene.host.names(&queues);
        let receive: Vec<_> = names.iter().filter(|name| name.starts_with("rx-")).collect();
        let send: Vec<_> = names.iter().filter(|name| name.starts_with("tx-")).collect();
        if receive.len() >= processors.len() {
            continue; // the hardware steers
        }
        for queue in &receive {
            found.push(mask_in(scene, &queues.join(queue).join("rps_cpus"), &everybody));
            let each = (flows / receive.len() as u64).next_power_of_two();
            found.push(scene.number_in(&queues.join(queue).join("rps_flow_cnt"), Bound::Exactly(each)));
        }
        // One queue has nothing to choose from.
        for (turn, queue) in send.iter().enumerate().filter(|_| send.len() > 1) {
            let own: Vec<_> = processors.iter().copied().filter(|one| one % send.len() == turn).collect();
            let file = queues.join(queue).join("xps_cpus");
            found.push(mask_in(scene, &file, &mask(&own)).map(Finding::refusable));
        }
    }
    if found.is_empty() {
        return Err(NoFinding::NotHere("every processor has a queue of its own".to_owned()));
    }
    found.insert(0, scene.number_in(Path::new(FLOWS), Bound::AtLeast(flows)));
    some_of(found.into_iter())
}

fn mask_in(scene: &Scene<'_>, file: &Path, wanted: &str) -> Result<Finding, NoFinding> {
    let found = scene.value(file)?;
    let change = set(file, &found, wanted);
    let fits = same_mask(&found, wanted);
    Ok(Finding::judged(file.display().to_string(), found, wanted, fits, vec![change]))
}
