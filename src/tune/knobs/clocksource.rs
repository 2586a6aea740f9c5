//! Where the time comes from.

use std::path::Path;

use crate::tune::knob::{Finding, Knob, NoFinding, Scene};

pub(super) const KNOB: Knob = Knob {
    name: "clocksource",
    wanted: "tsc",
    why: "the broker reads the time for every request: 20 ns from these clocks, a system call of a microsecond \
          from any other",
    look,
};

/// Read without a system call. Source: the kernel's vDSO (arch/*/include/asm/vdso/clocksource.h).
const FAST: [&str; 4] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

const DIRECTORY: &str = "/sys/devices/system/clocksource/clocksource0";

fn look(scene: &Scene<'_>, wanted: &str) -> Result<Vec<Finding>, NoFinding> {
    let current = Path::new(DIRECTORY).join("current_clocksource");
    let value = scene.value(&current)?;
    if FAST.contains(&value.as_str()) {
        return Ok(vec![Finding::judged(
            current.display().to_string(),
            value,
            "a fast one",
            true,
            Vec::new(),
        )]);
    }
    let offered = Path::new(DIRECTORY).join("available_clocksource");
    scene.word_in(&current, &offered, wanted).map(|finding| vec![finding])
}
