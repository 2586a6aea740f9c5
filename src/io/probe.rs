//! Asks the kernel, once at start, for the ring that every shard will need; names the reason if it refuses.

use std::{fs, io};

use io_uring::{IoUring, Probe, opcode};
use rustix::io::Errno;

/// Why this process cannot have the rings it needs, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingRefusal {
    /// `ENOSYS`.
    #[error("this kernel has no io_uring; corelane needs Linux 6.1 or newer with CONFIG_IO_URING")]
    NoRing,
    /// `EPERM` under `kernel.io_uring_disabled` = 2.
    #[error(
        "io_uring is switched off for everyone (kernel.io_uring_disabled = 2); \
         allow it with: sysctl kernel.io_uring_disabled=0"
    )]
    DisabledForAll,
    /// `EPERM` under `kernel.io_uring_disabled` = 1.
    #[error(
        "io_uring is reserved for one group (kernel.io_uring_disabled = 1); run corelane in the group of \
         kernel.io_uring_group, or allow it with: sysctl kernel.io_uring_disabled=0"
    )]
    DisabledForGroup,
    /// `EPERM`, or `ENOSYS` from a kernel that has io_uring, and no switch of the kernel says so.
    #[error(
        "io_uring is forbidden here, most likely by the seccomp profile of a container; allow io_uring_setup, \
         io_uring_enter and io_uring_register in it (docker run --security-opt seccomp=FILE, or =unconfined)"
    )]
    Forbidden,
    /// `ENOMEM`: `RLIMIT_MEMLOCK`.
    #[error(
        "the limit of locked memory is too low for an io_uring; raise it with ulimit -l unlimited, \
         LimitMEMLOCK=infinity (systemd) or --ulimit memlock=-1 (docker)"
    )]
    LockedMemory,
    /// `EINVAL`: a flag that it does not know.
    #[error("the io_uring of this kernel is too old (no DEFER_TASKRUN); corelane needs Linux 6.1 or newer")]
    TooOld,
    /// A ring, but not every operation.
    #[error("the io_uring of this kernel lacks {0}; corelane needs Linux 6.1 or newer")]
    Lacks(&'static str),
    /// Anything else.
    #[error("the kernel refuses an io_uring: {0}")]
    Other(Errno),
}

const OPERATIONS: &[(&str, u8)] = &[
    ("ACCEPT", opcode::Accept::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
    ("FSYNC", opcode::Fsync::CODE),
    ("MSG_RING", opcode::MsgRingData::CODE),
    ("READ", opcode::Read::CODE),
    ("RECV", opcode::Recv::CODE),
    ("SEND", opcode::Send::CODE),
    ("SENDMSG", opcode::SendMsg::CODE),
    ("WRITE", opcode::Write::CODE),
];

/// Sets up a small ring as the shards do, and drops it again.
///
/// # Errors
/// The reason with its remedy.
pub fn probe_io_uring() -> Result<(), RingRefusal> {
    let refused = |error: io::Error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        classify(errno, io_uring_disabled())
    };
    let ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .build(8)
        .map_err(refused)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(refused)?;
    match OPERATIONS.iter().find(|&&(_, code)| !probe.is_supported(code)) {
        Some(&(name, _)) => Err(RingRefusal::Lacks(name)),
        None => Ok(()),
    }
}

/// `kernel.io_uring_disabled`; there since Linux 6.6.
fn io_uring_disabled() -> Option<u8> {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

/// Source: io_uring_setup(2), ERRORS; the kernel's sysctl documentation on `io_uring_disabled`.
fn classify(errno: Errno, disabled: Option<u8>) -> RingRefusal {
    match (errno, disabled) {
        (Errno::PERM | Errno::ACCESS, Some(2)) => RingRefusal::DisabledForAll,
        (Errno::PERM | Errno::ACCESS, Some(1)) => RingRefusal::DisabledForGroup,
        // A kernel with the switch has the calls: a filter answers in its place.
        (Errno::PERM | Errno::ACCESS, _) | (Errno::NOSYS, Some(_)) => RingRefusal::Forbidden,
        (Errno::NOSYS, None) => RingRefusal::NoRing,
        (Errno::NOMEM, _) => RingRefusal::LockedMemory,
        (Errno::INVAL, _) => RingRefusal::TooOld,
        (other, _) => RingRefusal::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_forbid_a_ring_is_told_apart_and_names_its_remedy() {
        for (errno, disabled, refusal, remedy) in [
            (Errno::PERM, Some(2), RingRefusal::DisabledForAll, "sysctl kernel.io_uring_disabled=0"),
            (Errno::PERM, Some(1), RingRefusal::DisabledForGroup, "kernel.io_uring_group"),
            (Errno::PERM, Some(0), RingRefusal::Forbidden, "seccomp"),
            (Errno::PERM, None, RingRefusal::Forbidden, "seccomp"),
            (Errno::NOSYS, Some(0), RingRefusal::Forbidden, "seccomp"),
            (Errno::NOSYS, None, RingRefusal::NoRing, "Linux 6.1"),
            (Errno::NOMEM, Some(0), RingRefusal::LockedMemory, "ulimit -l"),
            (Errno::INVAL, Some(0), RingRefusal::TooOld, "Linux 6.1"),
            (Errno::MFILE, Some(0), RingRefusal::Other(Errno::MFILE), ""),
        ] {
            assert_eq!(classify(errno, disabled), refusal);
            assert!(refusal.to_string().contains(remedy), "{refusal}");
        }
    }

    /// Goal: where the sockets and disks of the other tests work, the probe does not stand in the way.
    #[test]
    fn a_kernel_that_gives_a_plain_ring_passes_the_probe_or_is_too_old() {
        if IoUring::new(8).is_ok() {
            let answer = probe_io_uring();
            assert!(
                matches!(answer, Ok(()) | Err(RingRefusal::TooOld | RingRefusal::Lacks(_))),
                "{answer:?}"
            );
        }
    }
}
