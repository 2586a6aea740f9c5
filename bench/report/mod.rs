//! What the user sees of runs.
//!
//! While one runs and at its end: [`table`] (rows on a screen), [`json`] (the same for machines), [`hlog`] (every
//! second's histograms), [`hgrm`] (percentiles as text). Afterwards, of any results: [`read`], [`compare`] (ratios),
//! [`cluster`] (whose they are and in what settings they differ), [`html`] (a page), [`plot`] (its drawings),
//! [`command`] (`bench report` and `bench compare`).

pub mod cluster;
pub mod command;
pub mod compare;
pub mod hgrm;
pub mod hlog;
pub mod html;
pub mod json;
pub mod plot;
pub mod read;
pub mod table;
