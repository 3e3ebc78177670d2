//! One module a command; each returns its exit code (contract §2).

pub mod create_index;
pub mod search;
