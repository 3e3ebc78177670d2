//! The embedded index as its users see it, on a real folder.

use super::*;
use crate::document::Outcome;

struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(".file-processor/index")
    }

    fn open(&self) -> EmbeddedIndex {
        EmbeddedIndex::open(&self.path()).unwrap()
    }

    /// Keys of the hits, best first.
    fn found(&self, query: &str) -> Vec<String> {
        self.hits(query).into_iter().map(|hit| hit.key).collect()
    }

    fn hits(&self, query: &str) -> Vec<Hit> {
        Searcher::open(&self.path()).unwrap().search(query, 10).unwrap()
    }
}

fn document(key: &str, text: &str) -> Document {
    Document {
        success: true,
        outcome: Some(Outcome::Indexed),
        file_key: key.to_owned(),
        file_path: Some(format!("file:///data/{key}")),
        file_name: key.rsplit('/').next().unwrap().to_owned(),
        extracted_text: Some(text.to_owned()),
        page_count: Some(2),
        etag: Some(format!("etag of {text}")),
        ..Document::default()
    }
}

fn at(last_modified_ms: i64) -> ObjectOrder {
    ObjectOrder { sequencer: None, last_modified_ms }
}

async fn put_all(index: &EmbeddedIndex, documents: &[(&str, &str)]) {
    for (key, text) in documents {
        assert_eq!(index.put(&document(key, text), &at(1), false).await.unwrap(), Verdict::Written);
    }
    index.flush().await.unwrap();
}

async fn searchable(documents: &[(&str, &str)]) -> Folder {
    let folder = Folder::new();
    put_all(&folder.open(), documents).await;
    folder
}

#[tokio::test]
async fn japanese_and_latin_words_are_found_however_they_are_written() {
    let folder = searchable(&[
        ("設計/報告書.pdf", "道路橋示方書の解説。ｶﾞｰﾄﾞﾚｰﾙの点検"),
        ("memo.txt", "Bridge inspection, ＰＣ橋 2024年"),
        ("other.txt", "無関係な文書"),
    ])
    .await;
    for query in ["道路橋", "橋示方", "解説", "ガードレール", "道路 点検", "方"] {
        assert_eq!(folder.found(query), ["設計/報告書.pdf"], "{query}");
    }
    for query in ["bridge", "BRIDGE inspection", "pc橋", "ＰＣ", "\"bridge inspection\"", "2024年"] {
        assert_eq!(folder.found(query), ["memo.txt"], "{query}");
    }
    assert_eq!(folder.found("橋").len(), 2, "one character");
    for query in ["示橋", "道橋", "bridges", "\"inspection bridge\"", "道路 bridge", "brid"] {
        assert_eq!(folder.found(query), Vec::<String>::new(), "{query}");
    }
}

#[tokio::test]
async fn names_and_paths_are_searched_and_count_more() {
    let folder = searchable(&[
        ("b.txt", "台帳について書く長い文章。台帳"),
        ("台帳.txt", "中身"),
        ("台帳フォルダ/a.txt", "中身"),
    ])
    .await;
    assert_eq!(folder.found("台帳")[0], "台帳.txt");
    assert_eq!(folder.found("台帳").len(), 3);
    assert_eq!(folder.found("フォルダ 中身"), ["台帳フォルダ/a.txt"], "each part in a field of its own");
    assert_eq!(folder.hits("フォルダ")[0].path.marked("[", "]"), "/data/台帳[フォルダ]/a.txt");
}

#[tokio::test]
async fn no_query_is_an_error() {
    let folder = searchable(&[("a.txt", "本文 text")]).await;
    for query in ["", " ", "\"", "\"\"", "AND", "text AND (", "+-*/:^~[]{}", "field:value", "😀", "ﾞ", "\u{0}"] {
        Searcher::open(&folder.path()).unwrap().search(query, 10).unwrap_or_else(|error| panic!("{query}: {error}"));
    }
    assert_eq!(folder.found("\"本文 text"), ["a.txt"], "an open quotation mark quotes the rest");
    assert!(Searcher::open(&folder.path()).unwrap().search("text", 0).unwrap().is_empty());
}

#[tokio::test]
async fn a_hit_tells_what_a_reader_needs() {
    let folder = searchable(&[("設計/橋 梁.pdf", "はじめに。\n耐震補\n強工事の記録。")]).await;
    let hit = folder.hits("耐震補強").remove(0);
    assert_eq!(hit.key, "設計/橋 梁.pdf");
    assert_eq!(hit.path.text, "/data/設計/橋 梁.pdf");
    assert_eq!(hit.page_count, Some(2));
    assert_eq!(hit.outcome.as_deref(), Some("indexed"));
    assert_eq!(hit.snippet.marked("【", "】"), "…【耐震補強】工事の記録。");
    assert!(hit.score > 0.0);
}

#[tokio::test]
async fn a_document_is_replaced_and_removed() {
    let folder = Folder::new();
    let index = folder.open();
    put_all(&index, &[("a.txt", "古い本文"), ("b.txt", "別の本文")]).await;
    put_all(&index, &[("a.txt", "新しい本文")]).await;
    assert_eq!(folder.found("古い"), Vec::<String>::new());
    assert_eq!(folder.found("新しい"), ["a.txt"]);
    assert_eq!(index.delete("a.txt", None).await.unwrap(), Verdict::Written);
    assert_eq!(index.delete("absent", None).await.unwrap(), Verdict::Written);
    index.flush().await.unwrap();
    assert_eq!(folder.found("本文"), ["b.txt"]);
    assert_eq!(Searcher::open(&folder.path()).unwrap().document_count(), 1);
}

#[tokio::test]
async fn an_older_state_never_overwrites_a_newer_one_committed_or_not() {
    let folder = Folder::new();
    let index = folder.open();
    index.put(&document("a", "new"), &at(10), false).await.unwrap();
    for _ in 0..2 {
        assert_eq!(index.put(&document("a", "old"), &at(9), false).await.unwrap(), Verdict::Superseded);
        assert_eq!(index.delete("a", Some(&at(9))).await.unwrap(), Verdict::Superseded);
        assert_eq!(index.state("a").await.unwrap().unwrap().etag.as_deref(), Some("etag of new"));
        index.flush().await.unwrap();
    }
    assert_eq!(index.put(&document("a", "old"), &at(9), true).await.unwrap(), Verdict::Written);
    assert_eq!(index.delete("a", Some(&at(9))).await.unwrap(), Verdict::Written);
}

#[tokio::test]
async fn state_sees_what_is_not_committed_yet_and_survives_a_restart() {
    let folder = Folder::new();
    let index = folder.open();
    let mut written = document("a", "text");
    written.ocr_engine = Some("engine 1".to_owned());
    written.converted_etag = Some("etag of a PDF".to_owned());
    written.s3_last_modified = Some("2024-05-01T00:00:00Z".to_owned());
    written.nas_path = Some(r"\\ts-server3\share\a".to_owned());
    written.modified_at = Some("2020-05-01T00:00:00Z".to_owned());
    index.put(&written, &at(1), false).await.unwrap();
    let expected = IndexedState {
        etag: Some("etag of text".to_owned()),
        converted_etag: Some("etag of a PDF".to_owned()),
        ocr_engine: Some("engine 1".to_owned()),
        outcome: Some("indexed".to_owned()),
        s3_last_modified: Some("2024-05-01T00:00:00Z".to_owned()),
        nas_path: Some(r"\\ts-server3\share\a".to_owned()),
        modified_at: Some("2020-05-01T00:00:00Z".to_owned()),
    };
    assert_eq!(index.state("a").await.unwrap(), Some(expected.clone()));
    assert_eq!(index.state("b").await.unwrap(), None);
    drop(index);
    let again = folder.open();
    assert_eq!(again.state("a").await.unwrap(), Some(expected), "dropping commits");
    again.delete("a", None).await.unwrap();
    assert_eq!(again.state("a").await.unwrap(), None);
}

#[tokio::test]
async fn every_key_is_listed_once() {
    let folder = Folder::new();
    let index = folder.open();
    put_all(&index, &[("b", "1"), ("a", "2"), ("設計/橋.pdf", "3")]).await;
    put_all(&index, &[("a", "4")]).await;
    index.delete("b", None).await.unwrap();
    let mut listed: Vec<(String, Option<String>)> =
        index.keys().await.unwrap().map(|entry| entry.unwrap()).map(|(key, state)| (key, state.etag)).collect();
    listed.sort();
    let expected = [("a", "etag of 4"), ("設計/橋.pdf", "etag of 3")];
    assert_eq!(listed, expected.map(|(key, etag)| (key.to_owned(), Some(etag.to_owned()))));
}

#[tokio::test]
async fn only_one_writes_while_anybody_may_search() {
    let folder = Folder::new();
    let index = folder.open();
    put_all(&index, &[("a", "本文")]).await;
    assert!(matches!(EmbeddedIndex::open(&folder.path()), Err(EmbeddedError::Busy(_))));
    assert_eq!(folder.found("本文"), ["a"]);
    drop(index);
    folder.open();
}

#[test]
fn what_is_no_index_of_ours_is_said_so() {
    let folder = Folder::new();
    assert!(matches!(Searcher::open(&folder.path()), Err(EmbeddedError::Missing(_))));
    std::fs::create_dir_all(folder.path()).unwrap();
    assert!(matches!(Searcher::open(&folder.path()), Err(EmbeddedError::Missing(_))));

    let mut builder = tantivy::schema::Schema::builder();
    builder.add_text_field("title", tantivy::schema::TEXT);
    TantivyIndex::create_in_dir(folder.path(), builder.build()).unwrap();
    for error in [Searcher::open(&folder.path()).err(), EmbeddedIndex::open(&folder.path()).err()] {
        let error = error.unwrap();
        assert!(matches!(error, EmbeddedError::Incompatible { .. }), "{error}");
        assert!(error.to_string().contains("delete that folder and index again"), "{error}");
    }
    std::fs::write(folder.path().join("meta.json"), "not json").unwrap();
    assert!(matches!(Searcher::open(&folder.path()), Err(EmbeddedError::Incompatible { .. })));
}

#[tokio::test]
async fn a_huge_text_is_found_by_its_last_word() {
    let text = format!("{}耐震補強", "道路橋示方書の解説。".repeat(99_000));
    let folder = searchable(&[("huge.txt", &text)]).await;
    let hit = folder.hits("耐震補強").remove(0);
    assert!(hit.snippet.marked("[", "]").ends_with("[耐震補強]"), "{:?}", hit.snippet);
}
