//! Campaigns: a busy life of a data directory on the simulated disk, broken off, disturbed or rotten in as many
//! ways as are asked for. `cargo test` runs a short form of each; `scripts/powerloss`, `scripts/faults` and
//! `scripts/rot` run the long ones, by these variables:
//!
//! | variable            | meaning                                                        |
//! |---------------------|----------------------------------------------------------------|
//! | `CORELANE_STATES`   | how many states, failures or damages                           |
//! | `CORELANE_SEED`     | the first seed; a failure prints the seed that shows it again  |

mod faults;
mod life;
mod powerloss;
mod rot;

/// A bound from the environment.
fn bound(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

/// Says how far a campaign is, every so often.
fn progress(what: &str, done: u64, all: u64) {
    if done.is_multiple_of(200) && done > 0 {
        println!("{what}: {done} of {all}");
    }
}
