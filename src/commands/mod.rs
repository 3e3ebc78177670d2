//! The commands, one file each. A command builds its parts from the settings, runs, and says how it ended;
//! results go to stdout, everything else to stderr.
//!
//! * [`parts`]: settings → children, queue, store, index

pub mod config;
pub mod create_index;
pub mod doctor;
pub mod extract;
pub mod local;
pub mod parts;
pub mod run;
pub mod search;
pub mod smoke_test;
pub mod validate;
pub mod version;
