//! What is worth a line in the log when a broker starts: faults of the host that do not keep it from starting and that
//! nobody would look for.

use std::path::Path;

use super::{
    doctor::quota,
    host::Host,
    knob::{NoFinding, Scene, State},
    profile::find,
};

/// Knobs that are cheap to look at and that hardly anybody leaves alone on purpose.
const KNOBS: [&str; 1] = ["clocksource"];

/// A sentence for each fault, with its remedy. `cores` is how many of them the broker uses.
#[must_use]
pub fn warnings(cores: usize) -> Vec<String> {
    of(&Host::at(Path::new("/")), cores)
}

fn of(host: &Host, cores: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(quota) = quota(host).filter(|&quota| quota < cores as f64) {
        warnings.push(format!(
            "a CPU quota of {quota:.1} cores is on this process and its {cores} shards: the kernel stops all of them once \
             it is used up; give whole cores instead (AllowedCPUs=, --cpuset-cpus), or fewer shards (--cores)"
        ));
    }
    let scene = Scene { host, data: Path::new("/"), disks: Err("not asked for".to_owned()) };
    for knob in KNOBS.iter().filter_map(|name| find(name).ok()) {
        let found: Result<_, NoFinding> = (knob.look)(&scene, knob.wanted);
        for finding in found.iter().flatten().filter(|finding| finding.state == State::Differs) {
            warnings.push(format!(
                "{} is {}, not {}: {}; change it with: corelane tune apply --only {}",
                knob.name, finding.value, finding.wanted, knob.why, knob.name
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::scratch::Scratch;

    #[test]
    fn a_quota_and_a_slow_clock_are_named_with_their_remedies() {
        let scratch = Scratch::new();
        let clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        let [slow] = &of(&scratch.host(), 2)[..] else { panic!("the clock of the host is slow") };
        assert!(
            slow.contains("clocksource is hpet, not tsc") && slow.contains("--only clocksource"),
            "{slow}"
        );
        scratch.write(clock, "tsc\n");
        assert_eq!(of(&scratch.host(), 2), [""; 0]);
        std::fs::create_dir_all(scratch.path().join("sys/fs/cgroup")).unwrap();
        scratch.write("/sys/fs/cgroup/cpu.max", "150000 100000\n");
        let [quota] = &of(&scratch.host(), 2)[..] else { panic!("a quota below the cores") };
        assert!(quota.contains("1.5 cores") && quota.contains("--cpuset-cpus"), "{quota}");
        assert_eq!(of(&scratch.host(), 1), [""; 0]);
    }
}
