//! Copying and checksumming, one core.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::gb_per_s;

/// Fits into the first caches.
const HOT_BYTES: usize = 16 << 10;
/// Fits into no cache.
const COLD_BYTES: usize = 256 << 20;
/// What a checksum is taken of: a batch.
const CRC_BYTES: usize = 64 << 10;

/// Gigabytes per second of one core.
#[derive(Debug, Serialize, Deserialize)]
pub struct Memory {
    copy_hot_gb_per_s: f64,
    copy_cold_gb_per_s: f64,
    crc32c_gb_per_s: f64,
}

impl Memory {
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in [
            (format!("copy of {} KiB, in cache", HOT_BYTES >> 10), self.copy_hot_gb_per_s),
            (format!("copy of {} MiB", COLD_BYTES >> 20), self.copy_cold_gb_per_s),
            (format!("CRC-32C of {} KiB", CRC_BYTES >> 10), self.crc32c_gb_per_s),
        ] {
            let _ = writeln!(text, "{name:<32}{value:>10.2} GB/s");
        }
        text
    }
}

pub fn measure(step: Duration) -> Memory {
    let copy = |bytes: usize| {
        let (from, mut to) = (vec![1_u8; bytes], vec![2_u8; bytes]);
        repeat(step, bytes, || black_box(&mut to).copy_from_slice(black_box(&from)))
    };
    let batch = vec![3_u8; CRC_BYTES];
    Memory {
        copy_hot_gb_per_s: copy(HOT_BYTES),
        copy_cold_gb_per_s: copy(COLD_BYTES),
        crc32c_gb_per_s: repeat(step, CRC_BYTES, || {
            black_box(crc32c::crc32c(black_box(&batch)));
        }),
    }
}

fn repeat(step: Duration, bytes: usize, mut work: impl FnMut()) -> f64 {
    work();
    let began = Instant::now();
    let mut times = 0;
    while times == 0 || began.elapsed() < step {
        work();
        times += 1;
    }
    gb_per_s(times * bytes as u64, began.elapsed())
}
