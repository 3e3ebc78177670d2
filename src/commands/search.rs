//! `search QUERY`: ranked hits of an embedded index, for people on a terminal or as JSON lines.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use unicode_width::UnicodeWidthStr;

use crate::cli::SearchArgs;
use crate::index::embedded::{EmbeddedError, Hit, Searcher, Snippet, last};

/// Where `local` puts its index below the folder that it indexes.
const INDEX_BELOW_FOLDER: &str = ".file-processor/index";
/// Paths longer than this, in columns, are not padded to.
const WIDEST_PATH: usize = 72;

/// Exit 0 with or without hits; 1 when there is no index or it cannot be read.
pub fn run(args: &SearchArgs) -> ExitCode {
    match search(args) {
        Ok(hits) => print(args, &hits),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn search(args: &SearchArgs) -> anyhow::Result<Vec<Hit>> {
    let path = match &args.index {
        Some(path) => path.clone(),
        None => default_index(Path::new("."), last::last_index())
            .ok_or_else(|| anyhow::anyhow!("there is no index yet: `file-processor-worker local DIR` makes one"))?,
    };
    let searcher = match Searcher::open(&path) {
        Err(error @ EmbeddedError::Missing(_)) => {
            anyhow::bail!("{error}: `file-processor-worker local DIR --index {}` makes one", path.display())
        }
        opened => opened?,
    };
    let query = args.query();
    let hits = searcher.search(&query, usize::from(args.limit))?;
    if hits.is_empty() {
        eprintln!("nothing found for {:?} among {} documents", query, searcher.document_count());
    }
    Ok(hits)
}

/// The index below the folder, else the one written last; says on stderr which.
fn default_index(folder: &Path, last: Option<PathBuf>) -> Option<PathBuf> {
    let below = folder.join(INDEX_BELOW_FOLDER);
    if below.is_dir() {
        eprintln!("searching {}", below.display());
        return Some(below);
    }
    let last = last?;
    eprintln!("searching {}, the index written last", last.display());
    Some(last)
}

/// A reader that closed the pipe (`| head`) has seen enough.
fn print(args: &SearchArgs, hits: &[Hit]) -> ExitCode {
    let stdout = io::stdout();
    let marks =
        Marks::choose(stdout.is_terminal(), std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()));
    let mut out = BufWriter::new(stdout.lock());
    let written = if args.json { write_json(&mut out, hits) } else { write_text(&mut out, hits, marks) };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("write results: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// What stands around a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marks {
    before: &'static str,
    after: &'static str,
}

impl Marks {
    fn choose(terminal: bool, no_color: bool) -> Self {
        if terminal && !no_color {
            return Marks { before: "\x1b[1m", after: "\x1b[0m" };
        }
        Marks { before: "【", after: "】" }
    }

    /// Control characters, which file names may hold, would reach the terminal as commands.
    fn on(self, snippet: &Snippet) -> String {
        let harmless = |character: char| if character.is_control() { '\u{FFFD}' } else { character };
        let text = snippet.text.chars().map(harmless).collect();
        Snippet { text, highlights: snippet.highlights.clone() }.marked(self.before, self.after)
    }
}

fn write_json(out: &mut impl Write, hits: &[Hit]) -> io::Result<()> {
    for hit in hits {
        let highlights: Vec<[usize; 2]> = hit.snippet.highlights.iter().map(|range| [range.start, range.end]).collect();
        let line = json!({
            "score": hit.score,
            "file_key": hit.key,
            "path": hit.path.text,
            "page_count": hit.page_count,
            "outcome": hit.outcome,
            "snippet": hit.snippet.text,
            "highlights": highlights,
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// A line of rank, path and pages, and the snippet below it.
fn write_text(out: &mut impl Write, hits: &[Hit], marks: Marks) -> io::Result<()> {
    let rank_width = hits.len().to_string().len();
    let path_width = hits.iter().map(|hit| hit.path.text.width()).filter(|width| *width <= WIDEST_PATH).max();
    for (hit, rank) in hits.iter().zip(1..) {
        let padding = path_width.unwrap_or_default().saturating_sub(hit.path.text.width());
        let path = marks.on(&hit.path);
        let pages = match hit.page_count {
            Some(1) => "  1 page".to_owned(),
            Some(count) => format!("  {count} pages"),
            None => String::new(),
        };
        let line = format!("{rank:>rank_width$}  {path}{:padding$}{pages}", "");
        writeln!(out, "{}", line.trim_end())?;
        if !hit.snippet.text.is_empty() {
            writeln!(out, "{:rank_width$}  {}", "", marks.on(&hit.snippet))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(path: &str, pages: Option<u32>, text: &str, highlight: std::ops::Range<usize>) -> Hit {
        Hit {
            score: 1.5,
            key: path.to_owned(),
            path: Snippet { text: path.to_owned(), highlights: Vec::new() },
            page_count: pages,
            outcome: Some("indexed".to_owned()),
            snippet: Snippet { text: text.to_owned(), highlights: vec![highlight] },
        }
    }

    fn two_hits() -> Vec<Hit> {
        vec![hit("設計/橋.pdf", Some(12), "道路橋の図", 0..2), hit("memo.txt", None, "a bridge", 2..8)]
    }

    #[test]
    fn hits_are_aligned_by_display_width() {
        let mut out = Vec::new();
        let marks = Marks { before: "[", after: "]" };
        write_text(&mut out, &two_hits(), marks).unwrap();
        let expected = "1  設計/橋.pdf  12 pages\n   [道路]橋の図\n2  memo.txt\n   a [bridge]\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn json_is_one_object_a_line_with_highlights_in_characters() {
        let mut out = Vec::new();
        write_json(&mut out, &two_hits()).unwrap();
        let lines: Vec<serde_json::Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["highlights"], json!([[0, 2]]));
        assert_eq!(lines[0]["page_count"], 12);
        assert_eq!(lines[1]["page_count"], serde_json::Value::Null);
    }

    #[test]
    fn a_file_name_cannot_command_the_terminal() {
        let marks = Marks { before: "[", after: "]" };
        let name = Snippet { text: "a\x1b[2Jb".to_owned(), highlights: std::iter::once(0..1).collect() };
        assert_eq!(marks.on(&name), "[a]\u{FFFD}[2Jb");
    }

    #[test]
    fn bold_is_for_terminals_only() {
        assert_eq!(Marks::choose(true, false).before, "\x1b[1m");
        assert_eq!(Marks::choose(true, true).before, "【");
        assert_eq!(Marks::choose(false, false).before, "【");
    }

    #[test]
    fn the_index_here_comes_before_the_last_one() {
        let folder = tempfile::tempdir().unwrap();
        let last = PathBuf::from("/elsewhere");
        assert_eq!(default_index(folder.path(), None), None);
        assert_eq!(default_index(folder.path(), Some(last.clone())), Some(last.clone()));
        std::fs::create_dir_all(folder.path().join(INDEX_BELOW_FOLDER)).unwrap();
        assert_eq!(default_index(folder.path(), Some(last)), Some(folder.path().join(INDEX_BELOW_FOLDER)));
    }
}
