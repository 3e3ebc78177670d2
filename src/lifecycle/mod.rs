//! From READY to the last message: receiving, and the drain.
//!
//! * [`service`]: the receive loop; the same for the daemon and for `local`
//! * [`jobs`]: what is in flight
//! * [`memory`]: fewer children while memory is short; [`open_files`]: as many files as may be open
//! * [`signals`]: SIGTERM and SIGINT
//! * [`drain`]: stop receiving → finish what fits → release the rest → stop the lease keeper last

pub mod drain;
pub mod jobs;
pub mod memory;
pub mod open_files;
pub mod service;
pub mod signals;
