//! What the broker's process writes to its disk during a run: `/proc/PID/io`, before and after.
//!
//! Which process that is, `--broker-pid` says; else it is who listens on the first broker's port, if its
//! address is one of this host. Where that cannot be found out, or belongs to another user, the answer is
//! "unknown", never a guess.

use std::fs;
use std::net::ToSocketAddrs;
use std::thread;
use std::time::{Duration, Instant};

/// The counter is read again after this long, to see whether the broker still writes.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// As many equal looks in a row mean that it has come to rest.
const RESTING_LOOKS: u32 = 5;
/// Longest wait for that.
const REST_MAX: Duration = Duration::from_secs(5);
/// `st` of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// A process being watched.
#[derive(Debug)]
pub struct Writes {
    pid: u32,
    before: u64,
}

impl Writes {
    /// Takes down what the broker has written so far. `None`: it cannot be seen.
    pub fn begin(bootstrap: &str, pid: Option<u32>) -> Option<Self> {
        let pid = pid.or_else(|| listener_of(bootstrap))?;
        Some(Self { pid, before: written(pid)? })
    }

    /// Bytes written since, once the broker has come to rest.
    pub fn end(&self) -> Option<u64> {
        let until = Instant::now() + REST_MAX;
        let (mut last, mut equal) = (written(self.pid)?, 0);
        while equal < RESTING_LOOKS && Instant::now() < until {
            thread::sleep(LOOK_AGAIN);
            let now = written(self.pid)?;
            equal = if now == last { equal + 1 } else { 0 };
            last = now;
        }
        last.checked_sub(self.before)
    }
}

/// Bytes that a process caused to be sent to the storage layer.
fn written(pid: u32) -> Option<u64> {
    parse_written(&fs::read_to_string(format!("/proc/{pid}/io")).ok()?)
}

fn parse_written(io: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
}

/// The process that listens on the first address of `host:port,...`, if that is this host's.
pub fn listener_of(bootstrap: &str) -> Option<u32> {
    let address = bootstrap.split(',').next()?.trim().to_socket_addrs().ok()?.next()?;
    // Only an address of this host can be bound, and none can be bound to find out without a port of its own.
    std::net::UdpSocket::bind((address.ip(), 0)).ok()?;
    let inodes: Vec<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listening_inodes(&table, address.port()))
        .collect();
    let processes = fs::read_dir("/proc").ok()?;
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|pid| owns(*pid, &inodes))
}

/// Inodes of the sockets that listen on a port.
fn listening_inodes(table: &str, port: u16) -> Vec<u64> {
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, at) = fields.get(1)?.rsplit_once(':')?;
        let listens = *fields.get(3)? == LISTENING && u16::from_str_radix(at, 16) == Ok(port);
        listens.then(|| fields.get(9)?.parse().ok())?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn owns(pid: u32, inodes: &[u64]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let inode = |link: &str| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok();
    files
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .filter_map(|link| inode(link.to_str()?))
        .any(|inode| inodes.contains(&inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_of_a_port_is_found_and_its_writes_are_read() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = socket.local_addr().expect("it is bound").to_string();
        assert_eq!(listener_of(&address), Some(std::process::id()));
        let writes = Writes::begin(&address, None).expect("own counters can be read");
        assert!(writes.end().is_some());
        drop(socket);
        assert_eq!(listener_of(&address), None);
    }

    #[test]
    fn another_host_s_broker_and_an_unreadable_process_are_unknown() {
        assert_eq!(listener_of("192.0.2.1:9092"), None);
        assert!(Writes::begin("192.0.2.1:9092", Some(u32::MAX)).is_none());
    }

    #[test]
    fn the_kernel_s_tables_are_read() {
        assert_eq!(parse_written("rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n"), Some(4096));
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:2384 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 123 1 0\n\
            1: 0100007F:2384 0100007F:9999 01 00000000:00000000 00:00000000 00000000 0 0 124 1 0\n";
        assert_eq!(listening_inodes(table, 0x2384), [123]);
        assert_eq!(listening_inodes(table, 0x2385), [0_u64; 0]);
    }
}
