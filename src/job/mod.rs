//! One object's way through the worker.
//!
//! * [`plan`]: what is done with an object, before a byte of it is fetched

pub mod plan;
