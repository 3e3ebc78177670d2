//! Children and the pages they work on.
//!
//! * [`protocol`]: the frames between parent and child
//! * [`extraction`]: what comes out for one file

pub mod extraction;
pub mod protocol;

pub use extraction::{Extraction, Source};
