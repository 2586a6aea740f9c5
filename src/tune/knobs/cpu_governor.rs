//! Who chooses the clock of the processors.

use std::path::Path;

use crate::tune::knob::{Finding, Knob, NoFinding, Scene, not_here, some_of};

pub(super) const KNOB: Knob = Knob {
    name: "cpu-governor",
    wanted: "performance",
    why: "a governor that saves power lets the clock fall between requests, and the next one runs at half speed",
    look,
};

const POLICIES: &str = "/sys/devices/system/cpu/cpufreq";

fn look(scene: &Scene<'_>, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    let names = scene.host.names(Path::new(POLICIES));
    let is_policy = |name: &&String| name.starts_with("policy");
    let found = names.iter().filter(is_policy).map(|name| {
        let policy = Path::new(POLICIES).join(name);
        let offered = policy.join("scaling_available_governors");
        let finding = scene.word_in(&policy.join("scaling_governor"), &offered, wanted)?;
        // intel_pstate sets it together with the governor.
        Ok(finding.along_with(scene.host, [policy.join("energy_performance_preference")]))
    });
    if names.iter().filter(is_policy).count() == 0 {
        return not_here("the clock is not this system's to choose (no cpufreq)");
    }
    some_of(found)
}
