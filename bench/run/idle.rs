//! Connections that are held and do nothing, and the descriptors that many connections take.

use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Stop;
use crate::client::admin::Topology;
use crate::client::connection::Connection;
use crate::report::json::{IdleConnections, summary};
use crate::stats::Times;

/// Connections held open.
#[derive(Debug)]
pub struct Idle {
    connections: Vec<Connection>,
    opening: Times,
    seconds: f64,
}

impl Idle {
    /// Opens `count` connections, dealt over the leaders, and asks each for its versions.
    ///
    /// # Errors
    /// The first that cannot be opened, and how many could.
    pub fn open(topology: &Topology, count: u32, stop: &Stop) -> Result<Self, String> {
        let mut leaders = topology.leaders.clone();
        leaders.sort_unstable();
        leaders.dedup();
        let (mut connections, mut opening) = (Vec::with_capacity(count as usize), Times::default());
        let began = Instant::now();
        for leader in leaders.iter().cycle().take(count as usize) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let at = Instant::now();
            let connection = Connection::connect(leader);
            let connection =
                connection.map_err(|e| format!("after {} idle connections: {e}", connections.len()))?;
            opening.record(u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX), 1);
            connections.push(connection);
        }
        Ok(Self { connections, opening, seconds: began.elapsed().as_secs_f64() })
    }

    /// Asks each once more, and closes it.
    pub fn check(&mut self) -> IdleConnections {
        let count = self.connections.len() as u64;
        let lost = self.connections.drain(..).map(|mut c| u64::from(c.ask_versions().is_err())).sum();
        IdleConnections {
            count,
            lost,
            opened_per_second: count as f64 / self.seconds.max(1e-9),
            open_us: summary(&self.opening),
        }
    }
}

/// Sees to it that this process may have so many descriptors.
///
/// # Errors
/// It may not, and how to change that.
pub fn allow_descriptors(needed: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        return Err(format!(
            "the connections need {needed} file descriptors, the limit is {}: raise it with `ulimit -n` (as root) \
             or LimitNOFILE, or take fewer",
            limit.maximum.unwrap_or_default()
        ));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum })
        .map_err(|errno| format!("cannot raise the limit of file descriptors to {needed}: {errno}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_allowed_up_to_the_hard_limit_and_refused_with_a_word_on_it_beyond() {
        assert_eq!(allow_descriptors(1), Ok(()));
        let limit = getrlimit(Resource::Nofile);
        if let Some(maximum) = limit.maximum.filter(|maximum| *maximum < u64::MAX) {
            assert!(allow_descriptors(maximum + 1).is_err_and(|why| why.contains("ulimit -n")));
        }
        let now = getrlimit(Resource::Nofile).current;
        assert!(limit.current.is_none() || now >= limit.current, "never lowered");
    }
}
