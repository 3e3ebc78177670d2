//! From READY to the last message: receiving, and the drain.
//!
//! * [`service`]: the receive loop; the same for the daemon and for `local`
//! * [`jobs`]: what is in flight; [`window`]: how many of them at once
//! * [`memory`]: fewer children while memory is short; [`open_files`]: as many files as may be open
//! * [`interruption`]: why the daemon has to end, and by when
//! * [`signals`]: SIGTERM and SIGINT
//! * [`metadata`]: the instance's metadata service: spot notices, rebalance recommendations, Auto Scaling
//! * [`lifecycle_action`]: telling Auto Scaling that the drain goes on, and that it is over
//! * [`instance`]: the two above, side by side with the daemon
//! * [`drain`]: stop receiving → finish what fits → release the rest → stop the lease keeper last

pub mod drain;
pub mod instance;
pub mod interruption;
pub mod jobs;
pub mod lifecycle_action;
pub mod memory;
pub mod metadata;
pub mod open_files;
#[cfg(test)]
mod schedule_tests;
pub mod service;
pub mod signals;
pub mod window;
