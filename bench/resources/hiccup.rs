//! How late this host wakes a thread: what no broker on it can be better than.
//!
//! Source: G. Tene's jHiccup.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::stats::Times;

/// Time between two looks at the clock.
const INTERVAL: Duration = Duration::from_millis(1);

/// A measurement that goes on beside a run.
#[derive(Debug)]
pub struct Hiccups {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Times>>,
}

impl Hiccups {
    /// Begins.
    pub fn begin() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let body = move || {
            // The kernel's default slack of 50 us would be found in every value; without it they are smaller.
            let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
            let mut times = Times::default();
            while !told.load(Ordering::Relaxed) {
                let slept = Instant::now();
                std::thread::sleep(INTERVAL);
                let late = slept.elapsed().saturating_sub(INTERVAL);
                times.record(late.as_nanos() as u64, 1);
            }
            times
        };
        // Without it the run is as good; the histogram is empty then.
        let thread = std::thread::Builder::new().name("hiccup".to_owned()).spawn(body).ok();
        Self { stop, thread }
    }

    /// Ends, with how late each wake was.
    pub fn end(self) -> Times {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}
