//! Threads of the generator on cores of their own, so that they neither wander nor meet the broker's.

use std::io;

use rustix::thread::{CpuSet, sched_setaffinity};

/// The cores of `--pin`, dealt one after the other.
#[derive(Debug, Clone, Default)]
pub struct Pins {
    cores: Vec<usize>,
    next: usize,
}

impl Pins {
    /// Cores to deal; none leaves threads where they are.
    pub fn new(cores: &[usize]) -> Self {
        Self { cores: cores.to_vec(), next: 0 }
    }

    /// The core of the next thread; with fewer cores than threads they are shared.
    pub fn deal(&mut self) -> Option<usize> {
        let core = self.cores.get(self.next % self.cores.len().max(1)).copied();
        self.next += 1;
        core
    }
}

/// Keeps the calling thread on a core, if one is given.
///
/// # Errors
/// A core that this process may not use.
pub fn pin(core: Option<usize>) -> io::Result<()> {
    let Some(core) = core else { return Ok(()) };
    let failed = |e: io::Error| io::Error::new(e.kind(), format!("--pin: core {core}: {e}"));
    if core >= CpuSet::MAX_CPU {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|errno| failed(errno.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_dealt_in_turn_and_without_any_threads_stay_free() {
        let mut pins = Pins::new(&[4, 7]);
        assert_eq!([pins.deal(), pins.deal(), pins.deal()], [Some(4), Some(7), Some(4)]);
        assert_eq!(Pins::new(&[]).deal(), None);
    }

    #[test]
    fn a_pinned_thread_runs_on_its_core_only() {
        let run = || {
            let allowed = rustix::thread::sched_getaffinity(None).expect("readable");
            let core = (0..CpuSet::MAX_CPU).rfind(|core| allowed.is_set(*core)).expect("some core");
            pin(Some(core)).expect("an allowed core");
            let now = rustix::thread::sched_getaffinity(None).expect("readable");
            assert_eq!((now.count(), now.is_set(core)), (1, true));
            assert!(pin(Some(CpuSet::MAX_CPU)).is_err());
        };
        std::thread::spawn(run).join().expect("as asserted");
    }
}
