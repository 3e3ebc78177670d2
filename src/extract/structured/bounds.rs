//! What reading a container may cost, whatever the container says about itself.
//!
//! Declared sizes are never trusted: bytes are counted as they come out. One budget serves a file and everything that
//! is nested in it, so that many small bombs are one large one.

use std::io::Read;

use crate::document::{Failure, Reason};

/// Bytes that come out of all containers of one file.
const MAX_UNPACKED_BYTES: u64 = 256 * 1024 * 1024;
/// Bytes of one entry: it is held in memory.
const MAX_ENTRY_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes that may come out for each byte that went in, once more than [`RATIO_COUNTS_FROM`] have come out.
const MAX_RATIO: u64 = 200;
const RATIO_COUNTS_FROM: u64 = 8 * 1024 * 1024;
/// Entries of all containers of one file.
const MAX_ENTRIES: u64 = 20_000;
/// Containers in containers.
const MAX_DEPTH: u32 = 3;

/// What is left to one file.
#[derive(Debug)]
pub struct Budget {
    /// The size of the file itself.
    packed_bytes: u64,
    unpacked_bytes: u64,
    entries: u64,
    depth: u32,
    /// `ARCHIVE_CONTENTS`
    archive_contents: bool,
}

impl Budget {
    pub fn new(packed_bytes: u64) -> Self {
        Self { packed_bytes, unpacked_bytes: 0, entries: 0, depth: 0, archive_contents: false }
    }

    /// The same, with or without leave to read what is in archives.
    pub fn with_archive_contents(self, archive_contents: bool) -> Self {
        Self { archive_contents, ..self }
    }

    /// Whether the entries of archives are read, or only listed.
    pub fn wants_archive_contents(&self) -> bool {
        self.archive_contents
    }

    /// Whether nothing more may come out: what is left need not be tried.
    pub fn is_used_up(&self) -> bool {
        let allowed = self.packed_bytes.saturating_mul(MAX_RATIO).max(RATIO_COUNTS_FROM);
        self.unpacked_bytes > allowed.min(MAX_UNPACKED_BYTES)
    }

    /// Bytes that came out so far.
    pub fn unpacked_bytes(&self) -> u64 {
        self.unpacked_bytes
    }

    /// Counts an entry of a container.
    ///
    /// # Errors
    /// `archive_bomb`
    pub fn count_entry(&mut self) -> Result<(), Failure> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(bomb(format!("more than {MAX_ENTRIES} entries")));
        }
        Ok(())
    }

    /// Enters a container inside a container; to be left by [`Budget::ascend`].
    ///
    /// # Errors
    /// `archive_bomb`
    pub fn descend(&mut self) -> Result<(), Failure> {
        if self.depth >= MAX_DEPTH {
            return Err(bomb(format!("containers nested more than {MAX_DEPTH} deep")));
        }
        self.depth += 1;
        Ok(())
    }

    pub fn ascend(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Counts bytes that came out.
    ///
    /// # Errors
    /// `archive_bomb`
    pub fn count_bytes(&mut self, bytes: u64) -> Result<(), Failure> {
        self.unpacked_bytes = self.unpacked_bytes.saturating_add(bytes);
        if self.unpacked_bytes > MAX_UNPACKED_BYTES {
            return Err(bomb(format!("more than {MAX_UNPACKED_BYTES} bytes unpacked")));
        }
        if self.is_used_up() {
            return Err(bomb(format!("unpacked to more than {MAX_RATIO} times its size")));
        }
        Ok(())
    }

    /// Reads one entry to its end, counting what comes out.
    ///
    /// # Errors
    /// `archive_bomb`, or `corrupt` with `what` (the entry's name) when the reader fails.
    pub fn read_entry(&mut self, reader: impl Read, what: &str) -> Result<Vec<u8>, Failure> {
        const CHUNK: u64 = 256 * 1024;
        let mut bytes = Vec::new();
        let mut reader = reader.take(MAX_ENTRY_BYTES + 1);
        loop {
            let read = (&mut reader)
                .take(CHUNK)
                .read_to_end(&mut bytes)
                .map_err(|error| Failure::new(Reason::Corrupt, format!("{what} could not be unpacked: {error}.")))?;
            self.count_bytes(read as u64)?;
            if bytes.len() as u64 > MAX_ENTRY_BYTES {
                return Err(bomb(format!("{what} unpacks to more than {MAX_ENTRY_BYTES} bytes")));
            }
            if (read as u64) < CHUNK {
                return Ok(bytes);
            }
        }
    }
}

fn bomb(what: String) -> Failure {
    Failure::new(Reason::ArchiveBomb, format!("The file was not read to its end: {what}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_unpacks_to_too_much_is_a_bomb_whatever_it_said() {
        let mut budget = Budget::new(1024);
        let endless = std::io::repeat(0);
        assert_eq!(budget.read_entry(endless, "a").unwrap_err().reason, Reason::ArchiveBomb);
    }

    #[test]
    fn an_ordinary_entry_is_read_whole() {
        let mut budget = Budget::new(1024);
        let bytes = vec![7; 1_000_000];
        assert_eq!(budget.read_entry(bytes.as_slice(), "a").unwrap(), bytes);
    }

    #[test]
    fn entries_and_depth_are_counted_over_all_containers() {
        let mut budget = Budget::new(1024);
        for _ in 0..MAX_ENTRIES {
            budget.count_entry().unwrap();
        }
        assert_eq!(budget.count_entry().unwrap_err().reason, Reason::ArchiveBomb);
        for _ in 0..MAX_DEPTH {
            budget.descend().unwrap();
        }
        assert_eq!(budget.descend().unwrap_err().reason, Reason::ArchiveBomb);
        budget.ascend();
        budget.descend().unwrap();
    }
}
