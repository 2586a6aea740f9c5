//! How deep idle processors sleep. Told only: it is the machine's owner who pays for the power.

use std::path::Path;

use crate::tune::knob::{Finding, Knob, NoFinding, Scene, not_here};

pub(super) const KNOB: Knob = Knob {
    name: "cpu-idle",
    wanted: "",
    why: "waking from a deep state costs each request that finds its core asleep this long; shards.spin.us keeps \
          cores awake, or: kernel parameters intel_idle.max_cstate=1, processor.max_cstate=1",
    look,
};

/// Longest wake-up that does not show in a latency of 100 us.
const WAKE_UP_US_MAX: u64 = 10;

const STATES: &str = "/sys/devices/system/cpu/cpu0/cpuidle";

fn look(scene: &Scene<'_>, _: &str) -> Result<Vec<Finding>, NoFinding> {
    let states = scene.host.names(Path::new(STATES)).into_iter().filter_map(|name| {
        let state = Path::new(STATES).join(name);
        let says = |file: &str| scene.host.value(&state.join(file)).ok();
        if says("disable").as_deref() == Some("1") {
            return None;
        }
        let latency_us: u64 = says("latency")?.parse().ok()?;
        Some((latency_us, says("name")?))
    });
    match states.max() {
        Some((us, name)) => Ok(vec![Finding::told(
            STATES,
            format!("{name}: {us} us to wake"),
            format!("at most {WAKE_UP_US_MAX} us"),
        )]),
        None => not_here("the sleep of processors is not this system's to choose (no cpuidle)"),
    }
}
