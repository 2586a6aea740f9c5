//! What the user sees of a run: [`table`] (rows while it runs and at its end), [`json`] (the same for
//! machines), [`hlog`] (every second's histograms).

pub mod hlog;
pub mod json;
pub mod table;
