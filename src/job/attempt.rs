//! The ladder of guilty attempts: what is still tried with a document that has cost children, or the whole daemon.
//!
//! Receives say nothing about a document: drains, spot interruptions and outages raise their count too. What counts
//! are guilty attempts: one in which the document's own page crashed, hung or ran out of memory, or over which the
//! daemon died. The count is kept in a [`GuiltRecord`] beside the page checkpoints. The last rung writes the document
//! without text and with its reason, so that nothing ends as a message that nobody can find by name.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::document::{Failure, Reason};
use crate::pool::Care;

/// Guilty attempts after which nothing more is tried. With a start marker from the second receive on, a document
/// that takes every daemon with it gets here at its fifth receive: maxReceiveCount must not be less.
const GUILTY_ATTEMPTS_AT_MOST: u32 = 3;

/// What the next attempt may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rung {
    Read(Care),
    /// Nothing: the document is written without text.
    GiveUp(Failure),
}

impl Rung {
    /// In logs and metrics; `None`: nothing out of the ordinary.
    pub fn measure(&self) -> Option<&'static str> {
        match self {
            Rung::Read(Care::Normal) => None,
            Rung::Read(Care::Alone) => Some("alone"),
            Rung::Read(Care::TextLayerOnly(_)) => Some("text_layer_only"),
            Rung::GiveUp(_) => Some("given_up"),
        }
    }
}

/// What is known of a state of an object from earlier attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guilt {
    pub attempts: u32,
    /// The last failure seen.
    pub failure: Option<Failure>,
}

impl Guilt {
    /// How the next attempt goes about it.
    pub fn rung(&self) -> Rung {
        let failure = || self.failure.clone().unwrap_or_else(daemon_died);
        let explained = |words: &str| Failure::new(failure().reason, format!("{words}: {}", failure().detail));
        match self.attempts {
            0 => Rung::Read(Care::Normal),
            1 => Rung::Read(Care::Alone),
            2 => Rung::Read(Care::TextLayerOnly(explained("not tried again, two attempts had failed"))),
            GUILTY_ATTEMPTS_AT_MOST.. => {
                Rung::GiveUp(explained(&format!("given up after {} failed attempts", self.attempts)))
            }
        }
    }

    /// With one guilty attempt more.
    pub fn with(&self, failure: Failure) -> Guilt {
        Guilt { attempts: self.attempts.saturating_add(1), failure: Some(failure) }
    }
}

/// The guilt as it is stored, with a marker while an attempt runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuiltRecord {
    /// The object, for a person who finds this.
    pub bucket: String,
    pub key: String,
    /// Another content begins anew.
    pub etag: String,
    pub guilty_attempts: u32,
    pub failure: Option<Failure>,
    /// Set from the moment a child has the document until the attempt has ended in good order. Found by the next
    /// attempt it means that the daemon died over it.
    pub running: Option<Running>,
}

/// The attempt that runs, or that nobody ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub host: String,
    pub pid: u32,
    /// RFC 3339, for a person.
    pub since: String,
}

impl Running {
    pub fn now() -> Self {
        Self {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            since: Timestamp::now().to_string(),
        }
    }
}

impl GuiltRecord {
    /// What it says to an attempt at this state of the object.
    pub fn guilt(&self, etag: &str) -> Guilt {
        if self.etag != etag {
            return Guilt::default();
        }
        let known = Guilt { attempts: self.guilty_attempts, failure: self.failure.clone() };
        if self.running.is_some() { known.with(daemon_died()) } else { known }
    }
}

fn daemon_died() -> Failure {
    Failure::new(Reason::Crashed, "the worker died while it read the document")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guilt(attempts: u32) -> Guilt {
        Guilt { attempts, failure: Some(Failure::new(Reason::OutOfMemory, "page 3: too large")) }
    }

    fn record(guilty_attempts: u32, running: Option<Running>) -> GuiltRecord {
        let (bucket, key, etag) = ("b".to_owned(), "k".to_owned(), "e".to_owned());
        GuiltRecord { bucket, key, etag, guilty_attempts, failure: None, running }
    }

    #[test]
    fn each_guilty_attempt_leaves_less_to_try_and_the_last_one_keeps_the_reason() {
        assert_eq!(guilt(0).rung(), Rung::Read(Care::Normal));
        assert_eq!(guilt(1).rung(), Rung::Read(Care::Alone));
        assert!(
            matches!(guilt(2).rung(), Rung::Read(Care::TextLayerOnly(failure)) if failure.reason == Reason::OutOfMemory)
        );
        for attempts in [3, 4, u32::MAX] {
            let Rung::GiveUp(failure) = guilt(attempts).rung() else { panic!("went on after {attempts}") };
            assert_eq!(failure.reason, Reason::OutOfMemory);
            assert!(failure.detail.contains("page 3"), "{}", failure.detail);
        }
    }

    #[test]
    fn a_marker_that_nobody_removed_is_a_guilty_attempt() {
        assert_eq!(record(0, None).guilt("e").attempts, 0);
        let found = record(1, Some(Running::now())).guilt("e");
        assert_eq!((found.attempts, found.failure.map(|failure| failure.reason)), (2, Some(Reason::Crashed)));
    }

    #[test]
    fn another_content_is_not_guilty_of_what_the_former_did() {
        assert_eq!(record(3, Some(Running::now())).guilt("another"), Guilt::default());
    }
}
