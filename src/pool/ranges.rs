//! Page numbers that wait for something, as runs: a thousand pages of a scan are one entry.

use std::collections::VecDeque;

/// A queue of pages, kept as runs of neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRanges {
    runs: VecDeque<Run>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u32,
    last: u32,
}

impl PageRanges {
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn len(&self) -> u32 {
        self.runs.iter().map(|run| run.last - run.first + 1).sum()
    }

    /// Adds a page at the end.
    pub fn push(&mut self, page: u32) {
        if let Some(run) = self.runs.back_mut()
            && run.last.checked_add(1) == Some(page)
        {
            run.last = page;
            return;
        }
        self.runs.push_back(Run { first: page, last: page });
    }

    /// Puts `count` pages from `first` at the front: they were taken and came back.
    pub fn put_back(&mut self, first: u32, count: u32) {
        if count == 0 {
            return;
        }
        let last = first + (count - 1);
        if let Some(run) = self.runs.front_mut()
            && last.checked_add(1) == Some(run.first)
        {
            run.first = first;
            return;
        }
        self.runs.push_front(Run { first, last });
    }

    /// Takes up to `limit` neighbouring pages from the front: the first one and how many.
    pub fn take(&mut self, limit: u32) -> Option<(u32, u32)> {
        let run = self.runs.front_mut()?;
        let first = run.first;
        let count = (run.last - first + 1).min(limit);
        if first + (count - 1) == run.last {
            self.runs.pop_front();
        } else {
            run.first += count;
        }
        Some((first, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages 1 to `count`.
    fn up_to(count: u32) -> PageRanges {
        let mut ranges = PageRanges::default();
        ranges.put_back(1, count);
        ranges
    }

    #[test]
    fn neighbours_make_one_run() {
        let mut ranges = PageRanges::default();
        for page in [1, 2, 3, 7, 8] {
            ranges.push(page);
        }
        assert_eq!(ranges.runs.len(), 2);
        assert_eq!(ranges.len(), 5);
        assert_eq!(ranges.take(2), Some((1, 2)));
        assert_eq!(ranges.take(16), Some((3, 1)));
        assert_eq!(ranges.take(16), Some((7, 2)));
        assert_eq!(ranges.take(16), None);
    }

    #[test]
    fn what_comes_back_joins_the_front() {
        let mut ranges = up_to(100);
        assert_eq!(ranges.take(16), Some((1, 16)));
        ranges.put_back(8, 9);
        assert_eq!(ranges.runs.len(), 1);
        assert_eq!(ranges.take(1), Some((8, 1)));
        assert_eq!(ranges.len(), 92);
    }

    #[test]
    fn the_highest_page_number_is_no_trouble() {
        let mut ranges = up_to(u32::MAX);
        ranges.put_back(u32::MAX, 0);
        assert_eq!(ranges.len(), u32::MAX);
        assert_eq!(up_to(0), PageRanges::default());
    }
}
