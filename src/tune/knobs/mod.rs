//! Every knob, one file each. To add one: a file, and its line in [`KNOBS`].

mod ballast;
mod clocksource;
mod cpu_governor;
mod cpu_idle;
mod disk_nomerges;
mod disk_read_ahead;
mod disk_scheduler;
mod disk_trim;
mod disk_write_cache;
mod file_limit;
mod huge_pages;
pub(super) mod interfaces;
mod irq_affinity;
pub(super) mod limits;
mod listen_backlog;
mod memlock_limit;
mod packet_steering;
mod ring_switch;
mod socket_buffers;
mod swappiness;

use super::knob::Knob;

/// All of them, in the order of the table: disk, network, processors, memory, process.
pub const KNOBS: &[Knob] = &[
    disk_scheduler::KNOB,
    disk_nomerges::KNOB,
    disk_read_ahead::KNOB,
    disk_write_cache::KNOB,
    disk_trim::KNOB,
    ballast::KNOB,
    irq_affinity::KNOB,
    packet_steering::KNOB,
    listen_backlog::KNOB,
    socket_buffers::KNOB,
    cpu_governor::KNOB,
    cpu_idle::KNOB,
    clocksource::KNOB,
    swappiness::KNOB,
    huge_pages::KNOB,
    file_limit::KNOB,
    memlock_limit::KNOB,
    ring_switch::KNOB,
];

#[cfg(test)]
mod tests;
