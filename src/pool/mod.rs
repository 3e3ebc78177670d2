//! Children and the pages they work on.
//!
//! Parent's side, from the outside in:
//! * [`handle`]: [`Pool`], what the rest of the program uses
//! * [`extraction`]: what goes in and comes out for one file
//! * [`snapshot`]: the pool as numbers
//! * [`dispatcher`]: the task that brings documents and children together; [`caller`]: who waits for one
//! * [`scheduler`], [`work`], [`ranges`], [`assembly`]: what it decides and knows, as plain data
//! * [`slot`]: the task that keeps one child alive, fed and within its limits
//! * [`spawn`], [`dialogue`], [`verdict`]: a child's start, its replies, its end
//!
//! Between the two: [`protocol`] and [`frames`].
//!
//! Child's side: [`child`], [`sandbox`], [`seccomp`].

mod assembly;
mod caller;
pub mod child;
mod dialogue;
mod dispatcher;
pub mod extraction;
mod frames;
pub mod handle;
#[cfg(debug_assertions)]
mod misbehave;
pub mod protocol;
mod ranges;
mod sandbox;
mod scheduler;
mod seccomp;
mod slot;
pub mod snapshot;
mod spawn;
mod verdict;
mod work;

#[cfg(test)]
mod tests;

pub use extraction::{Care, Extraction, Observer, Source};
pub use handle::{OWN_PROGRAM, Pool, PoolSettings};
pub use work::Progress;

/// The hidden command with which the binary becomes a child.
pub const CHILD_ARGUMENT: &str = "child";
