//! Tells the service manager how we are: ready, alive, stopping. systemd's protocol: datagrams of `KEY=value`.
//!
//! Source: sd_notify(3), sd_watchdog_enabled(3). Nobody who started us by hand gives `NOTIFY_SOCKET`: then there
//! is nobody to tell.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{ffi::OsStrExt as _, net::SocketAddr, net::UnixDatagram},
    },
    time::Duration,
};

const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_US: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// The way to the service manager.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that started this process, if one did that wants to be told.
    #[must_use]
    pub fn of_environment() -> Option<Self> {
        let address = env::var_os(SOCKET)?;
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        // The variables are inherited: they may be meant for who started us.
        let for_us = number(WATCHDOG_PID).is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number(WATCHDOG_US).filter(|&us| for_us && us > 0).map(Duration::from_micros);
        match Self::connect(&address, watchdog) {
            Ok(manager) => Some(manager),
            Err(error) => {
                tracing::warn!("{SOCKET}={}: {error}; nobody is told that we run", address.display());
                None
            }
        }
    }

    fn connect(address: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match address.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        Self::over(socket, watchdog)
    }

    /// Over a socket that is connected already.
    fn over(socket: UnixDatagram, watchdog: Option<Duration>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, watchdog })
    }

    /// How long it waits for a sign of life before it ends us; `None`: for ever.
    #[must_use]
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// We serve; `status` is shown to people.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", status.replace('\n', " ")));
    }

    /// A sign of life.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// We are ending, in order.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=finishing what is in flight");
    }

    fn send(&self, message: &str) {
        if let Err(error) = self.socket.send(message.as_bytes()) {
            tracing::debug!("the service manager could not be told {message:?}: {error}");
        }
    }
}

/// Whether all cores move: each has a counter that stands still while its core hangs.
#[derive(Debug, Default)]
pub struct Pulse {
    /// The count of each core, and when it last moved.
    seen: Vec<(u64, Duration)>,
}

impl Pulse {
    /// Looks at the counts, at a time from any start; false once one of them has stood still for longer than
    /// `still_max`.
    pub fn beats(&mut self, counts: impl Iterator<Item = u64>, now: Duration, still_max: Duration) -> bool {
        for (core, count) in counts.enumerate() {
            match self.seen.get_mut(core) {
                Some(seen) if seen.0 != count => *seen = (count, now),
                Some(_) => {}
                None => self.seen.push((count, now)),
            }
        }
        self.seen.iter().all(|(_, moved)| now.saturating_sub(*moved) <= still_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(by: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let length = by.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn the_manager_hears_ready_alive_and_stopping() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let manager = ServiceManager::over(ours, Some(Duration::from_secs(30))).unwrap();
        manager.ready("on 127.0.0.1:9092\n2 shards");
        manager.alive();
        manager.stopping();
        assert_eq!(received(&theirs), "READY=1\nSTATUS=on 127.0.0.1:9092 2 shards");
        assert_eq!(received(&theirs), "WATCHDOG=1");
        assert!(received(&theirs).starts_with("STOPPING=1\n"));
        assert_eq!(manager.watchdog(), Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_socket_is_found_by_its_path_and_by_its_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("corelane-test-{}", std::process::id());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (address, theirs) in [(path.into_os_string(), by_path), (format!("@{name}").into(), by_name)] {
            ServiceManager::connect(&address, None).unwrap().alive();
            assert_eq!(received(&theirs), "WATCHDOG=1");
        }
        assert!(ServiceManager::connect(OsStr::new("/nowhere/notify"), None).is_err());
    }

    #[test]
    fn one_core_that_stands_still_for_too_long_stops_the_pulse() {
        let mut pulse = Pulse::default();
        let mut beats = |counts: [u64; 2], second| {
            pulse.beats(counts.into_iter(), Duration::from_secs(second), Duration::from_secs(20))
        };
        assert!(beats([0, 0], 100));
        assert!(beats([1, 0], 110));
        assert!(beats([2, 0], 120));
        assert!(!beats([3, 0], 121));
        assert!(beats([4, 1], 122));
    }

    #[test]
    fn a_manager_that_does_not_listen_holds_nobody_up() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let manager = ServiceManager::over(ours, None).unwrap();
        // More than the socket holds.
        (0..10_000).for_each(|_| manager.alive());
        drop(theirs);
        manager.stopping();
    }
}
