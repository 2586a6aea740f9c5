use std::path::Path;

use super::*;
use crate::tune::{
    host::Host,
    knob::{Finding, NoFinding, State},
    scratch::{Scratch, scene},
};

fn look(scratch: &Scratch, name: &str, wanted: Option<&str>) -> Result<Vec<Finding>, NoFinding> {
    let knob = KNOBS.iter().find(|knob| knob.name == name).unwrap();
    let host: Host = scratch.host();
    (knob.look)(&scene(&host), wanted.unwrap_or(knob.wanted))
}

/// One file of the untuned host is another, and the knob comes to another conclusion.
fn check(name: &str, wanted: Option<&str>, file: &str, text: &str, expected: &str) {
    let scratch = Scratch::new();
    scratch.write(file, text);
    let found = match look(&scratch, name, wanted) {
        Ok(findings) => {
            let differs = findings.iter().any(|finding| finding.state == State::Differs);
            format!("{}: {}", if differs { "differs" } else { "fits" }, findings[0].value)
        }
        Err(NoFinding::NotHere(why)) => format!("not here: {why}"),
        Err(NoFinding::Unreadable(why)) => format!("unreadable: {why}"),
        Err(NoFinding::BadWanted(why)) => format!("bad: {why}"),
    };
    assert!(found.starts_with(expected), "{name} with {file} = {text:?}: {found}, expected {expected}");
}

const QUEUE: &str = "/sys/block/nvme0n1/queue";
const LIMITS: &str = "/proc/self/limits";

#[test]
fn every_knob_has_a_name_of_its_own_and_says_why() {
    for (at, knob) in KNOBS.iter().enumerate() {
        assert!(KNOBS[..at].iter().all(|other| other.name != knob.name), "{} twice", knob.name);
        assert!(knob.why.len() > 30, "{}", knob.name);
    }
}

#[test]
fn disks_are_told_apart() {
    let file = |name: &str| format!("{QUEUE}/{name}");
    check("disk-scheduler", None, &file("scheduler"), "[none] mq-deadline\n", "fits: none");
    check("disk-scheduler", None, &file("scheduler"), "[none]\n", "fits: none");
    check("disk-scheduler", Some("bfq"), &file("scheduler"), "[none] kyber\n", "not here: ");
    check("disk-scheduler", None, &file("rotational"), "1\n", "fits: mq-deadline");
    check("disk-nomerges", None, &file("rotational"), "1\n", "not here: nvme0n1 has a head");
    check("disk-nomerges", Some("1"), &file("nomerges"), "1\n", "fits: 1");
    check("disk-nomerges", None, &file("nomerges"), "?\n", "unreadable: ");
    check("disk-read-ahead", None, &file("read_ahead_kb"), "8192\n", "fits: 8192");
    check("disk-write-cache", None, &file("write_cache"), "write through\n", "fits: write through");
    check("disk-trim", None, &file("discard_max_bytes"), "0\n", "not here: the disk takes no discards");
    let mounts = "2 1 259:1 / /srv rw - xfs /dev/nvme0n1p1 rw,discard=async\n";
    check("disk-trim", None, "/proc/self/mountinfo", mounts, "fits: mounted with discard");
    let mounts = "2 1 0:40 / /srv rw - tmpfs tmpfs rw\n";
    check("disk-scheduler", None, "/proc/self/mountinfo", mounts, "not here: /srv/corelane is on tmpfs");
}

#[test]
fn the_ballast_is_in_proportion_to_its_disk() {
    let scratch = Scratch::new();
    let free = crate::io::disk::disk_space(scratch.path()).unwrap();
    let found = look(&scratch, "ballast", Some(&u64::MAX.to_string()));
    match found {
        Ok(findings) => assert_eq!(findings[0].wanted, (free.total / 50).to_string()),
        Err(why) => assert!(free.usable / 2 < free.total / 50, "{why:?}"),
    }
    check("ballast", None, "/srv/corelane/ballast", "here", "fits: 4");
    std::fs::remove_dir_all(scratch.path().join("srv/corelane")).unwrap();
    assert!(matches!(look(&scratch, "ballast", None), Err(NoFinding::NotHere(_))));
}

#[test]
fn a_card_with_enough_queues_steers_by_itself() {
    check(
        "packet-steering",
        None,
        "/sys/devices/system/cpu/online",
        "0-1\n",
        "not here: every processor has",
    );
    check(
        "packet-steering",
        None,
        "/sys/devices/system/cpu/online",
        "0\n",
        "not here: there is one processor",
    );
    check("irq-affinity", None, "/sys/devices/system/cpu/online", "0\n", "fits: 0-3");
    check("irq-affinity", None, "/sys/devices/system/cpu/online", "many\n", "unreadable: ");
    check("irq-affinity", Some("0"), "/proc/irq/24/smp_affinity_list", "0\n", "bad: spread");
    let scratch = Scratch::new();
    let irqs = look(&scratch, "irq-affinity", None).unwrap();
    assert_eq!(irqs.iter().map(|irq| irq.wanted.as_str()).collect::<Vec<_>>(), ["0", "1"]);
    std::fs::remove_file(scratch.path().join("sys/class/net/eth0")).unwrap();
    for name in ["irq-affinity", "packet-steering"] {
        let Err(NoFinding::NotHere(why)) = look(&scratch, name, None) else { panic!("{name} found a card") };
        assert_eq!(why, "there is no network interface of hardware");
    }
}

#[test]
fn more_than_wanted_is_as_good_as_wanted() {
    let (somaxconn, backlog) = ("/proc/sys/net/core/somaxconn", "/proc/sys/net/ipv4/tcp_max_syn_backlog");
    check("listen-backlog", Some("512"), somaxconn, "9000\n", "fits: 9000");
    check("listen-backlog", None, backlog, "9000\n", "differs: 128");
    check("socket-buffers", Some("4096"), "/proc/sys/net/core/rmem_max", "4096\n", "fits: 4096");
    check("socket-buffers", None, "/proc/sys/net/ipv4/tcp_rmem", "4096\n", "unreadable: ");
    check("swappiness", None, "/proc/sys/vm/swappiness", "0\n", "fits: 0");
    check("io-uring", None, "/proc/sys/kernel/io_uring_disabled", "0\n", "fits: 0");
    check("file-limit", None, LIMITS, "Max open files 9 unlimited files\n", "fits: unlimited");
    check("memlock-limit", None, LIMITS, "Max locked memory unlimited unlimited bytes\n", "fits: unlimited");
    check("memlock-limit", Some("unlimited"), LIMITS, "Max locked memory 1 2 bytes\n", "differs: 2");
    check("file-limit", None, LIMITS, "nothing\n", "unreadable: ");
}

#[test]
fn limits_are_written_in_the_unit_of_their_file() {
    let scratch = Scratch::new();
    for (name, wanted, line) in [
        ("memlock-limit", "8388608", "* - memlock 8192\n"),
        ("memlock-limit", "unlimited", "* - memlock unlimited\n"),
        ("file-limit", "65536", "root - nofile 65536\n"),
    ] {
        let found = look(&scratch, name, Some(wanted)).unwrap();
        assert!(found[0].changes[0].command().unwrap().contains(line.trim_end()), "{found:?}");
    }
    std::fs::remove_dir_all(scratch.path().join("etc/security")).unwrap();
    assert!(matches!(look(&scratch, "file-limit", None), Err(NoFinding::NotHere(_))));
}

#[test]
fn processors_and_memory() {
    let clock = "/sys/devices/system/clocksource/clocksource0";
    check("clocksource", None, &format!("{clock}/current_clocksource"), "kvm-clock\n", "fits: kvm-clock");
    check("clocksource", None, &format!("{clock}/available_clocksource"), "hpet\n", "not here: ");
    let governors = "/sys/devices/system/cpu/cpufreq/policy0/scaling_available_governors";
    check("cpu-governor", None, governors, "schedutil\n", "not here: ");
    check("cpu-idle", None, "/sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "1\n", "fits: POLL: 0 us");
    let pages = "/sys/kernel/mm/transparent_hugepage/enabled";
    check("huge-pages", None, pages, "always [madvise] never\n", "fits: madvise");
    check("huge-pages", Some("sometimes"), pages, "always [madvise] never\n", "not here: ");
    let scratch = Scratch::new();
    std::fs::remove_dir_all(scratch.path().join("sys/devices/system/cpu/cpufreq")).unwrap();
    let Err(NoFinding::NotHere(why)) = look(&scratch, "cpu-governor", None) else { panic!("a governor") };
    assert!(why.contains("no cpufreq"), "{why}");
    assert!(!scratch.host().exists(Path::new("/sys/devices/system/cpu/cpufreq")));
}
