//! Door plate.
