//! The knobs together, on a host in a scratch directory.

use std::io::ErrorKind;

use proptest::prelude::*;

use super::{
    scratch::{Scratch, scene},
    *,
};

fn look(host: &Host) -> Vec<Look> {
    // The ballast is real space of a real disk.
    let wanted = Wanted::parse("small", "[host]\nballast = 65536\n").unwrap();
    work::look(&scene(host), KNOBS, &wanted).unwrap()
}

/// A place for the record outside the host, so that a host can be compared with itself.
fn record() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lib/tune.toml");
    (directory, path)
}

fn findings<'a>(looks: &'a [Look], name: &str) -> &'a [knob::Finding] {
    let look = looks.iter().find(|look| look.knob.name == name).unwrap();
    look.found.as_deref().unwrap_or_else(|why| panic!("{name}: {why:?}"))
}

#[test]
fn every_knob_finds_what_is_wrong_with_an_untuned_host() {
    let scratch = Scratch::new();
    let host = scratch.host();
    let looks = look(&host);
    let differing: Vec<_> = looks
        .iter()
        .filter(|look| look.found.iter().flatten().any(|finding| finding.state == knob::State::Differs))
        .map(|look| look.knob.name)
        .collect();
    let told = ["disk-write-cache", "cpu-idle"];
    let expected: Vec<_> = KNOBS.iter().map(|knob| knob.name).filter(|name| !told.contains(name)).collect();
    assert_eq!(differing, expected);
    assert_eq!(findings(&looks, "disk-write-cache")[0].value, "write back");
    assert_eq!(findings(&looks, "cpu-idle")[0].value, "C6: 133 us to wake");
    assert_eq!(findings(&looks, "socket-buffers").len(), 4);
    assert!(!work::all_fits(&looks));
}

#[test]
fn after_apply_everything_fits_and_nothing_is_left_to_do() {
    let scratch = Scratch::new();
    let host = scratch.host();
    let (_directory, record) = record();
    let applied = work::apply(&host, &look(&host), &record).unwrap();
    assert!(applied.refused.is_empty());
    let looks = look(&host);
    assert!(work::all_fits(&looks), "{}", report::table(&looks));
    assert_eq!(work::changes(&looks).count(), 0);
    let value = |path: &str| host.read(Path::new(path)).unwrap();
    assert_eq!(value("/sys/block/nvme0n1/queue/scheduler"), "[none] mq-deadline kyber");
    assert_eq!(value("/proc/sys/net/ipv4/tcp_rmem"), "4096 131072 16777216");
    assert_eq!(value("/proc/sys/net/core/wmem_max"), "33554432", "more than wanted is left alone");
    assert_eq!(value("/proc/irq/25/smp_affinity_list"), "1");
    assert_eq!(value("/sys/class/net/eth0/queues/rx-1/rps_flow_cnt"), "16384");
    assert_eq!(value("/sys/class/net/eth0/queues/tx-1/xps_cpus"), "a");
    assert_eq!(work::apply(&host, &looks, &record).unwrap().changed, []);
}

/// Goal: whenever `apply` dies, `undo` leaves the host as found; and `undo` may die as often as it likes.
/// Method: cut the power after step n of `apply`, for every n; then after step m of `undo`; then let undo end.
fn check_power_loss(apply_steps: u32, undo_steps: u32) -> bool {
    let scratch = Scratch::new();
    let found = scratch.tree();
    let (_directory, record) = record();
    let (host, left) = scratch.dying_after(apply_steps);
    let looks = look(&host);
    let _ = work::apply(&host, &looks, &record);
    let came_to_its_end = left.get() > 0;
    let _ = work::undo(&scratch.dying_after(undo_steps).0, &record);
    work::undo(&scratch.host(), &record).unwrap();
    let case = format!("apply cut off after {apply_steps} steps, undo after {undo_steps}");
    assert_eq!(scratch.tree(), found, "{case}");
    assert_eq!(std::fs::read_dir(record.parent().unwrap()).unwrap().count(), 0, "{case}");
    came_to_its_end
}

#[test]
fn apply_cut_off_after_any_step_is_undone_to_what_was_found() {
    let steps = (0..).find(|&steps| check_power_loss(steps, u32::MAX)).unwrap();
    assert!(steps > 30, "only {steps} steps: the cut-off is not counted");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn undo_cut_off_anywhere_can_be_run_again(apply_steps in 0_u32..60, undo_steps in 0_u32..60) {
        check_power_loss(apply_steps, undo_steps);
    }
}

#[test]
fn a_second_apply_keeps_what_the_first_one_found() {
    let scratch = Scratch::new();
    let found = scratch.tree();
    let host = scratch.host();
    let (_directory, record) = record();
    work::apply(&host, &look(&host), &record).unwrap();
    scratch.write("/proc/sys/vm/swappiness", "30\n");
    work::apply(&host, &look(&host), &record).unwrap();
    assert_eq!(host.read(Path::new("/proc/sys/vm/swappiness")).unwrap(), "1");
    work::undo(&host, &record).unwrap();
    assert_eq!(scratch.tree(), found);
}

#[test]
fn a_reboot_takes_values_back_and_undo_takes_the_rest() {
    let scratch = Scratch::new();
    let host = scratch.host();
    let (_directory, record) = record();
    work::apply(&host, &look(&host), &record).unwrap();
    scratch.write("/proc/sys/kernel/random/boot_id", "b-2\n");
    scratch.write("/proc/sys/vm/swappiness", "45\n");
    work::undo(&host, &record).unwrap();
    assert_eq!(host.read(Path::new("/proc/sys/vm/swappiness")).unwrap(), "45");
    assert!(!host.exists(Path::new("/srv/corelane/ballast")));
    assert!(!host.exists(Path::new("/etc/security/limits.d/90-corelane-nofile.conf")));
}

#[test]
fn a_right_that_is_missing_leaves_nothing_changed_and_is_explained() {
    let scratch = Scratch::new();
    let found = scratch.tree();
    let swappiness = "/proc/sys/vm/swappiness";
    // Refused at the write only, as the kernel does for the root of a container.
    let host = scratch.refusing(&[(swappiness, ErrorKind::PermissionDenied)]);
    let (_directory, record) = record();
    let error = work::apply(&host, &look(&host), &record).unwrap_err();
    assert!(matches!(error, TuneError::TakenBack { .. }), "{error}");
    assert!(error.to_string().contains("/proc/sys/vm/swappiness"), "{error}");
    assert!(error.to_string().contains("taken back"), "{error}");
    assert_eq!(scratch.tree(), found);
    assert!(!record.exists());
}

#[test]
fn what_the_kernel_does_not_take_is_told_and_the_rest_is_done() {
    let scratch = Scratch::new();
    let (thp, irq) = ("/sys/kernel/mm/transparent_hugepage/enabled", "/proc/irq/24/smp_affinity_list");
    let refuses = [(thp, ErrorKind::InvalidInput), (irq, ErrorKind::Other)];
    let host = scratch.refusing(&refuses);
    let (_directory, record) = record();
    let applied = work::apply(&host, &look(&host), &record).unwrap();
    let refused: Vec<_> = applied.refused.iter().map(|(change, _)| change.path()).collect();
    assert_eq!(refused, [Path::new(thp)]);
    assert!(applied.changed.len() > 20);
}

#[test]
fn a_device_that_is_gone_does_not_stand_in_the_way_of_undo() {
    let scratch = Scratch::new();
    let host = scratch.host();
    let (_directory, record) = record();
    work::apply(&host, &look(&host), &record).unwrap();
    std::fs::remove_dir_all(scratch.path().join("sys/devices/pci")).unwrap();
    let undone = work::undo(&host, &record).unwrap().unwrap();
    assert!(undone.iter().any(|(_, what)| *what == Undone::Gone));
    assert!(!record.exists());
}

#[test]
fn only_one_tune_works_with_a_record_and_a_damaged_one_is_left_alone() {
    let scratch = Scratch::new();
    let host = scratch.host();
    let (_directory, record) = record();
    let held = record::Record::open(&host, &record).unwrap();
    let error = work::apply(&host, &look(&host), &record).unwrap_err();
    assert!(error.to_string().contains("another `corelane tune`"), "{error}");
    drop(held);
    for text in ["version = 2\nboot_id = \"\"\n", "gibberish", "version = 1\nboot_id = \"b\"\n[[change]]\n"] {
        std::fs::write(&record, text).unwrap();
        let error = work::undo(&host, &record).unwrap_err().to_string();
        assert!(error.contains("cannot be understood"), "{error}");
        assert_eq!(std::fs::read_to_string(&record).unwrap(), text);
    }
}

#[test]
fn commands_say_what_is_changed_and_how_it_is_taken_back() {
    let scratch = Scratch::new();
    let host = scratch.host();
    let looks = look(&host);
    let commands: Vec<_> = work::changes(&looks).filter_map(|(change, _)| change.command()).collect();
    for expected in [
        "echo none > /sys/block/nvme0n1/queue/scheduler",
        "echo '4096 131072 16777216' > /proc/sys/net/ipv4/tcp_rmem",
        "mkdir /etc/systemd/system/timers.target.wants",
        "ln -s /usr/lib/systemd/system/fstrim.timer /etc/systemd/system/timers.target.wants/fstrim.timer",
    ] {
        assert!(commands.iter().any(|command| command == expected), "{expected} not in {commands:#?}");
    }
    assert!(commands.iter().all(|command| !command.contains("iosched")), "{commands:#?}");
    assert!(commands.iter().any(|command| command.starts_with("fallocate -l ")), "{commands:#?}");
    let undo: Vec<_> = work::changes(&looks).map(|(change, _)| change.undo_command()).collect();
    assert_eq!(undo[0], "echo mq-deadline > /sys/block/nvme0n1/queue/scheduler");
    assert!(undo.contains(&"echo 333 > /sys/block/nvme0n1/queue/iosched/read_expire".to_owned()));
    assert!(undo.contains(&"rm -f /srv/corelane/ballast".to_owned()));
}

#[test]
fn the_table_and_the_json_name_every_knob_with_its_reason() {
    let scratch = Scratch::new();
    let looks = look(&scratch.host());
    let (table, json) = (report::table(&looks), report::as_json(&looks));
    for knob in KNOBS {
        assert!(table.contains(knob.name) && table.contains(knob.why), "{}", knob.name);
        assert!(json.as_array().unwrap().iter().any(|one| one["knob"] == knob.name), "{}", knob.name);
    }
    assert!(table.contains("CHANGE disk-scheduler    mq-deadline"), "{table}");
    assert!(table.contains("rx-0/rps_cpus and 1 more"), "{table}");
}

#[test]
fn a_host_without_anything_is_not_tuned_and_not_blamed() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("proc/self")).unwrap();
    std::fs::write(root.path().join("proc/self/limits"), "Max open files 99999 99999 files\n").unwrap();
    let host = Host::at(root.path());
    let knobs = KNOBS.iter().filter(|knob| knob.name != "memlock-limit");
    let looks = work::look(&scene(&host), knobs, &Wanted::default()).unwrap();
    assert!(work::all_fits(&looks), "{}", report::table(&looks));
    assert_eq!(work::changes(&looks).count(), 0);
}

#[test]
fn a_profile_that_asks_for_nonsense_is_refused() {
    let scratch = Scratch::new();
    let host = scratch.host();
    let file = scratch.path().join("p.toml");
    for (text, sentence) in [
        ("[host]\nswappiness = \"low\"\n", "swappiness is to be \"low\", expected a number"),
        ("[host]\ndisk-nomerges = 3\n", "expected 0, 1 or 2"),
        ("[host]\nfile-limit = \"many\"\n", "expected a number, or unlimited"),
    ] {
        std::fs::write(&file, text).unwrap();
        let wanted = Wanted::of(file.to_str().unwrap()).unwrap();
        let Err(error) = work::look(&scene(&host), KNOBS, &wanted) else { panic!("{text} accepted") };
        assert!(error.to_string().contains(sentence), "{error}");
    }
}
