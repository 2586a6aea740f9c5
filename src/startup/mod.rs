//! What must hold before the first shard starts; each thing that does not is one sentence with its remedy.
//!
//! The room knows the settings and asks the kernel; it starts nothing and keeps nothing but the lock of the
//! data directory. Read [`prepare`] for the order, then `data_directory`, `directories` (of a broker that has
//! several), `disk_bounds` (what was measured of them), then `limits`; `notify` tells the service manager that
//! the start has come to its end.

mod data_directory;
mod directories;
mod disk_bounds;
mod limits;
mod notify;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
};

use crate::{
    config::{Endpoint, Settings, io_properties::IoPropertiesError},
    io::probe::{RingRefusal, probe_io_uring},
    model::ShardId,
};

pub use data_directory::{DataLock, FORMAT_VERSION};
pub use directories::{DataDirectories, lock_data_directories, open_data_directories};
pub use disk_bounds::{DiskShare, disk_bounds};
pub use limits::{available_cores, raise_open_files_max};
pub use notify::{Pulse, ServiceManager};

/// Why the broker was not started. Nothing but the lock and the format of the data directory was touched.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel refuses the rings.
    #[error(transparent)]
    Ring(#[from] RingRefusal),
    /// What was measured of a disk cannot be gone by.
    #[error(transparent)]
    IoProperties(#[from] IoPropertiesError),
    /// Someone listens there.
    #[error(
        "{endpoint} is in use by another process; stop it (find it with: ss -ltnp 'sport = :{}'), \
         or choose another port with --listen HOST:PORT",
        endpoint.port
    )]
    PortInUse {
        /// Where we were to listen.
        endpoint: Endpoint,
    },
    /// The address cannot be listened on for another reason.
    #[error(
        "cannot listen on {endpoint}: {source}; choose an address of this machine with --listen HOST:PORT"
    )]
    Listen {
        /// Where we were to listen.
        endpoint: Endpoint,
        /// What the system said.
        source: io::Error,
    },
    /// A step on the data directory failed.
    #[error("data directory {}: cannot {step}: {source}", path.display())]
    DataDirectory {
        /// The data directory.
        path: PathBuf,
        /// What we were at.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another broker runs on it.
    #[error(
        "data directory {} is in use by process {holder}; stop that broker, or choose another directory \
         with --data DIR",
        path.display()
    )]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// Process id of the holder, as it wrote it down.
        holder: String,
    },
    /// It would not survive a reboot.
    #[error(
        "data directory {} is in memory (tmpfs) and would not survive a reboot; choose one on a disk with \
         --data DIR, or accept it with --allow-tmpfs",
        path.display()
    )]
    Tmpfs {
        /// The data directory.
        path: PathBuf,
    },
    /// The file system only writes through the page cache.
    #[error(
        "data directory {} is on a file system without direct I/O (O_DIRECT); choose one on ext4 or XFS \
         with --data DIR",
        path.display()
    )]
    NoDirectIo {
        /// The data directory.
        path: PathBuf,
    },
    /// There is something in it that is not ours.
    #[error(
        "directory {} holds \"{entry}\" but is no corelane data directory (it has no file \"format\"); choose an \
         empty or a new one with --data DIR",
        path.display()
    )]
    Foreign {
        /// The data directory.
        path: PathBuf,
        /// One of the names in it.
        entry: String,
    },
    /// A later corelane wrote it.
    #[error(
        "data directory {} has format {found}, this corelane knows up to {known}; run the version that \
         wrote it, or a later one",
        path.display()
    )]
    NewerFormat {
        /// The data directory.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// The listeners of two cores are one address under two names.
    #[error("listeners: {endpoint} is {address}, which another core listens on; give each core its own")]
    SameAddress {
        /// As configured.
        endpoint: Endpoint,
        /// What it is.
        address: SocketAddr,
    },
    /// No broker has ever used it.
    #[error("{} is no corelane data directory: it has no file \"format\"", path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
    },
    /// It was given for cores of one broker, or as its first, and belongs to another.
    #[error(
        "directory {} belongs to the broker whose data directory is {}; start that one with --data {}, or choose an \
         empty or a new one",
        path.display(), first.display(), first.display()
    )]
    OfAnother {
        /// The directory.
        path: PathBuf,
        /// The first directory of the broker that has used it.
        first: PathBuf,
    },
    /// It was given for a core and is the first directory of a broker.
    #[error(
        "shards.log.dir: {} is the data directory of a broker of its own; choose an empty or a new one",
        path.display()
    )]
    First {
        /// The directory.
        path: PathBuf,
    },
    /// Logs may lie in it, and it is gone or empty.
    #[error(
        "{} may hold logs of the broker with data directory {}, and is not there (or empty); mount its disk, or, if \
         its name has changed, give the new one to a core as log.dir",
        path.display(), first.display()
    )]
    Missing {
        /// The directory.
        path: PathBuf,
        /// The broker's first directory.
        first: PathBuf,
    },
    /// The file that says its version cannot be understood.
    #[error(
        "data directory {}: the file \"format\" is damaged; it should be {{\"version\":{known}}} if this \
         version of corelane wrote the directory",
        path.display()
    )]
    BadFormat {
        /// The data directory.
        path: PathBuf,
        /// Our version.
        known: u64,
    },
}

/// What the checks leave behind.
#[derive(Debug)]
pub struct Prepared {
    /// Held as long as the broker runs.
    pub directories: DataDirectories,
    /// How many reads and writes of files each shard has under way at once, by its number.
    pub disk: Vec<DiskShare>,
    /// What each shard listens on, by its number; the port is never 0. All the same unless each core has its own.
    pub addresses: Vec<SocketAddr>,
    /// Files and sockets that this process may have open.
    pub open_files_max: u64,
}

/// How often a port in use is tried again: the kernel closes the sockets of a broker that was killed only
/// once it has taken its rings apart, some milliseconds after the process is gone.
const PORT_TRIES_MAX: u32 = 10;
/// Pause between these.
const PORT_TRY_INTERVAL: std::time::Duration = std::time::Duration::from_millis(50);

/// All checks, in an order in which the plainest reason is found first.
///
/// # Errors
/// The first one that fails.
pub fn prepare(settings: &Settings) -> Result<Prepared, StartError> {
    probe_io_uring()?;
    let directories = open_data_directories(settings)?;
    let disk = disk_bounds(settings)?;
    let addresses = check_addresses(settings)?;
    let open_files_max = raise_open_files_max();
    let wanted = limits::open_files_wanted(settings);
    if open_files_max < wanted {
        tracing::warn!(
            "this process may open {open_files_max} files, but max.connections and shards.open.files.max allow \
             {wanted}; raise the limit (ulimit -Hn, LimitNOFILE=) or lower the settings"
        );
    }
    Ok(Prepared { directories, disk, addresses, open_files_max })
}

fn check_addresses(settings: &Settings) -> Result<Vec<SocketAddr>, StartError> {
    let shards = settings.shards.len();
    if !settings.per_core_listeners {
        return Ok(vec![check_listen(&settings.listen)?; shards]);
    }
    let mut addresses = Vec::with_capacity(shards);
    while addresses.len() < shards {
        let endpoint = settings.listen_of(ShardId(addresses.len() as u16));
        let address = check_listen(&endpoint)?;
        if !addresses.contains(&address) {
            addresses.push(address);
        } else if endpoint.port != 0 {
            return Err(StartError::SameAddress { endpoint, address });
        }
        // A free port is free until it is listened on, and may be found twice.
    }
    Ok(addresses)
}

/// The address to listen on, if nobody else does; for port 0, with a port that is free.
///
/// Shards share their port (`SO_REUSEPORT`), and so would a second broker of the same user: hence the question
/// is asked here, with a socket that shares nothing.
///
/// # Errors
/// [`StartError::PortInUse`] or [`StartError::Listen`].
pub fn check_listen(endpoint: &Endpoint) -> Result<SocketAddr, StartError> {
    let mut tries = 0;
    loop {
        match try_listen(endpoint) {
            Err(StartError::PortInUse { .. }) if tries < PORT_TRIES_MAX => tries += 1,
            result => return result,
        }
        std::thread::sleep(PORT_TRY_INTERVAL);
    }
}

fn try_listen(endpoint: &Endpoint) -> Result<SocketAddr, StartError> {
    TcpListener::bind((endpoint.host.as_str(), endpoint.port))
        .and_then(|listener| listener.local_addr())
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => StartError::PortInUse { endpoint: endpoint.clone() },
            _ => StartError::Listen { endpoint: endpoint.clone(), source },
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint { host: host.to_owned(), port }
    }

    #[test]
    fn a_port_in_use_is_refused_even_if_its_owner_shares_it() {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket, sockopt};
        let holder = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseport(&holder, true).unwrap();
        bind(&holder, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listen(&holder, 1).unwrap();
        let port = SocketAddr::try_from(getsockname(&holder).unwrap()).unwrap().port();
        let error = check_listen(&endpoint("127.0.0.1", port)).unwrap_err();
        assert!(matches!(error, StartError::PortInUse { .. }), "{error}");
        assert!(error.to_string().contains(&format!("127.0.0.1:{port} is in use")), "{error}");
        assert!(error.to_string().contains("--listen"), "{error}");
    }

    #[test]
    fn cores_whose_listeners_are_one_address_under_two_names_are_refused() {
        let port = check_listen(&endpoint("127.0.0.1", 0)).unwrap().port();
        let own = |core, host, port| format!("[[shard]]\ncore = {core}\nlisteners = \"{host}:{port}\"\n");
        let text = format!(
            "per_core_listeners = true\nadvertised.listeners = \"a:1\"\n{}{}",
            own(0, "127.1", port),
            own(1, "127.0.0.1", port)
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let cpus = [0, 1].map(|core| crate::config::Cpu { core, numa_node: 0 });
        let none: &[crate::config::Assignment] = &[];
        let settings = crate::config::load(Some(file.path()), none, &cpus).unwrap();
        let error = check_addresses(&settings).unwrap_err();
        assert!(matches!(error, StartError::SameAddress { .. }), "{error}");
    }

    #[test]
    fn port_0_becomes_a_free_port_and_a_foreign_address_is_refused() {
        assert_ne!(check_listen(&endpoint("127.0.0.1", 0)).unwrap().port(), 0);
        // TEST-NET-1: no machine has it.
        let error = check_listen(&endpoint("192.0.2.1", 0)).unwrap_err();
        assert!(matches!(error, StartError::Listen { .. }), "{error}");
    }
}
