//! The command line as a person and as a program use it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{World, binary, fixture};
use crate::pdf;

/// The binary with an empty environment but for what finds programs and caches.
fn command() -> Command {
    let mut command = Command::new(binary());
    command.env_clear();
    for name in ["PATH", "HOME", "XDG_CACHE_HOME", "PDFIUM_LIBRARY_PATH", "TESSDATA_PREFIX"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("MAX_WORKERS", "1");
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("run the binary")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json_lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
    std::fs::write(path, bytes).expect("write");
}

#[test]
fn a_wrong_value_is_one_line_that_names_variable_value_and_what_is_accepted() {
    let output = run(command().arg("config").env("MAX_WORKERS", "many"));
    assert_eq!(output.status.code(), Some(78));
    let text = stderr(&output);
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(text.contains("MAX_WORKERS") && text.contains("many"), "{text}");
}

#[test]
fn the_daemon_without_its_required_variables_says_which_and_ends_with_78() {
    let output = run(&mut command());
    assert_eq!(output.status.code(), Some(78));
    let text = stderr(&output);
    assert!(text.contains("SQS_QUEUE_URL"), "{text}");
}

#[test]
fn validate_only_reports_a_missing_variable_as_its_first_failed_check() {
    let output = run(command().arg("--validate-only"));
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.lines().next().is_some_and(|line| line.contains("SQS_QUEUE_URL")), "{text}");
}

#[test]
fn wrong_usage_ends_with_2() {
    assert_eq!(run(command().arg("--no-such-flag")).status.code(), Some(2));
}

#[test]
fn version_names_commit_engine_and_pdfium() {
    let output = run(command().arg("--version"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for word in [env!("CARGO_PKG_VERSION"), "commit", "tesseract", "pdfium"] {
        assert!(text.to_lowercase().contains(word), "{word}: {text}");
    }
}

#[test]
fn config_shows_where_each_value_came_from_and_masks_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let env_file = folder.path().join("env");
    write(&env_file, "OPENSEARCH_PASSWORD=\"very secret\"\nOPENSEARCH_USERNAME=admin\nPDF_DPI='200'\n");
    let output = run(command().args(["--env-file", env_file.to_str().unwrap(), "config"]).env("OCR_TIMEOUT", "99"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(!text.contains("very secret"));
    let line =
        |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}\n{text}"));
    assert!(line("PDF_DPI").contains("200") && line("PDF_DPI").contains("env"));
    assert!(line("OCR_TIMEOUT").contains("99") && line("OCR_TIMEOUT").contains("environment"));
    assert!(line("SQS_WAIT_TIME").contains("20") && line("SQS_WAIT_TIME").contains("default"));
}

#[test]
fn extract_answers_one_json_line_a_file_in_the_order_given() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("b/2.txt"), "二番目");
    write(&folder.path().join("b/10.txt"), "十番目");
    write(&folder.path().join("b/.hidden.txt"), "hidden");
    write(&folder.path().join("b/.file-processor/index/x.txt"), "ours");
    write(&folder.path().join("a.pdf"), pdf::scan(1));
    std::os::unix::fs::symlink(folder.path().join("a.pdf"), folder.path().join("b/link.pdf")).unwrap();
    let output = run(command().current_dir(folder.path()).args([
        "extract",
        "--json",
        "--pages",
        "b",
        "no-such-file.txt",
        "a.pdf",
    ]));
    assert_eq!(output.status.code(), Some(1), "a path that cannot be read: {}", stderr(&output));
    let lines = json_lines(&output);
    let keys: Vec<_> = lines.iter().map(|line| line["file_key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["b/10.txt", "b/2.txt", "no-such-file.txt", "a.pdf"]);
    assert_eq!(lines[0]["extracted_text"], "十番目");
    assert_eq!(lines[0]["bucket"], Value::Null);
    assert!(lines[0]["s3_url"].as_str().is_some_and(|url| url.starts_with("file://") && url.ends_with("/b/10.txt")));
    assert_eq!((&lines[2]["outcome"], &lines[2]["reason"]), (&"skipped".into(), &"not_found".into()));
    let scan = &lines[3];
    assert_eq!(scan["outcome"], "indexed");
    assert_eq!(scan["pages"][0]["number"], 1);
    assert_eq!(scan["pages"][0]["source"], "ocr");
    assert!(scan["pages"][0]["confidence"].as_f64().is_some_and(|value| value > 50.0));
    assert!(scan["pages"][0]["text"].as_str().is_some_and(|text| text.contains("道路橋")), "{scan}");
    let names: Vec<_> = lines[0].as_object().unwrap().keys().cloned().collect();
    for line in &lines {
        let own: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
        assert_eq!(own, names, "every line has all fields");
    }
}

#[test]
fn extract_of_bad_files_is_no_failure_of_the_command() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("empty.txt"), "");
    write(&folder.path().join("broken.pdf"), "%PDF-1.7 nothing");
    write(&folder.path().join("x.docx"), "PK\u{3}\u{4}");
    let output = run(command().args(["extract", "--json", folder.path().to_str().unwrap()]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let outcomes: Vec<_> = json_lines(&output)
        .iter()
        .map(|line| format!("{} {}", line["outcome"].as_str().unwrap(), line["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(outcomes, ["indexed_without_text corrupt", "skipped empty", "indexed_without_text corrupt"]);
}

#[test]
fn extract_reads_every_encoding_of_the_same_text_alike() {
    let folder = fixture("text");
    let output = run(command().args(["extract", "--json", folder.to_str().unwrap()]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let (vendor, lines): (Vec<_>, Vec<_>) =
        json_lines(&output).into_iter().partition(|line| line["file_name"] == "cp932-vendor.txt");
    assert!(lines.len() >= 6, "{}", lines.len());
    let truth = std::fs::read_to_string(fixture("truth/cp932-vendor.truth.txt")).unwrap();
    assert_eq!(vendor[0]["extracted_text"].as_str().unwrap().trim(), truth.trim());
    let first = lines[0]["extracted_text"].as_str().unwrap().trim().to_owned();
    assert!(first.chars().any(|character| ('\u{3040}'..'\u{30ff}').contains(&character)), "{first}");
    for line in &lines {
        assert_eq!(line["extracted_text"].as_str().unwrap().trim(), first, "{}", line["file_key"]);
    }
}

#[test]
fn local_makes_a_folder_searchable_and_again_reads_only_what_changed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(&root.join("documents/road/ts-server3/橋梁/1987.pdf"), pdf::scan(1));
    write(&root.join("メモ.txt"), "トンネルの換気について。The ventilation fan was replaced.");
    write(&root.join("gone.txt"), "まもなく消える");
    let local = || run(command().args(["local", root.to_str().unwrap()]).env("XDG_STATE_HOME", root.join(".state")));
    let index = root.join(".file-processor/index");
    let search = |query: &str| {
        let output = run(command().args(["search", query, "--json", "--index", index.to_str().unwrap()]));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        json_lines(&output)
    };

    let output = local();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let summary = stdout(&output);
    assert!(summary.contains("indexed") && summary.contains('3'), "{summary}");
    let hits = search("道路橋");
    assert_eq!(hits.len(), 1, "words that stand only in the picture: {hits:?}");
    assert!(hits[0]["path"].as_str().is_some_and(|path| path.ends_with("1987.pdf")));
    assert_eq!(hits[0]["page_count"], 1);
    assert_eq!(search("換気").len(), 1);
    assert_eq!(search("ventilation").len(), 1);
    assert_eq!(search("消える").len(), 1);
    assert_eq!(search("存在しない語句").len(), 0);

    std::fs::remove_file(root.join("gone.txt")).unwrap();
    write(&root.join("メモ.txt"), "排水について");
    let output = local();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(search("消える").len(), 0, "deleted files leave the index");
    assert_eq!(search("換気").len(), 0);
    assert_eq!(search("排水").len(), 1);
    assert_eq!(search("道路橋").len(), 1);
    let summary = stdout(&output);
    assert!(summary.contains("unchanged") && summary.contains("deleted"), "{summary}");
}

#[test]
fn local_writes_nothing_into_the_folder_when_the_index_is_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    write(&folder.path().join("a.txt"), "本文");
    let index = elsewhere.path().join("index");
    let arguments = ["local", folder.path().to_str().unwrap(), "--index", index.to_str().unwrap()];
    let output = run(command().args(arguments).env("XDG_STATE_HOME", elsewhere.path()));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["a.txt"]);

    // Without --index, `search` takes the index that `local` wrote last, and says so.
    let output = run(command()
        .current_dir(elsewhere.path())
        .args(["search", "本文", "--json"])
        .env("XDG_STATE_HOME", elsewhere.path()));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(json_lines(&output).len(), 1);
    assert!(stderr(&output).contains(index.to_str().unwrap()), "{}", stderr(&output));
}

#[test]
fn search_without_any_index_says_which_command_makes_one() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(command().current_dir(folder.path()).args(["search", "x"]).env("XDG_STATE_HOME", folder.path()));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("file-processor-worker local"), "{}", stderr(&output));
}

#[tokio::test]
async fn validate_only_proves_every_part_one_line_each() {
    let world = World::new("validate").await;
    let output = run(world.command().arg("--validate-only"));
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}\n{}", stderr(&output));
    for part in ["configuration", "queue", "dead-letter", "bucket", "index", "models", "pdfium", "sandbox", "disk"] {
        assert!(text.to_lowercase().contains(part), "{part}:\n{text}");
    }
}

#[tokio::test]
async fn validate_only_names_what_failed() {
    let world = World::without_index("validate-fails", 30).await;
    let output = run(world.command().arg("--validate-only").env("S3_BUCKET", "no-such-bucket-here"));
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let failed: Vec<_> = text.lines().filter(|line| line.to_lowercase().starts_with("fail")).collect();
    assert!(failed.iter().any(|line| line.contains("bucket")), "{text}");
    assert!(failed.iter().any(|line| line.contains("index")), "{text}");
    assert!(!failed.iter().any(|line| line.contains("models")), "{text}");
}

#[tokio::test]
async fn create_index_makes_the_index_of_the_contract_and_adds_what_is_missing() {
    let world = World::new("create-index").await;
    let mapping = world.http.get(format!("{}/{}", world.opensearch, world.index)).send().await.unwrap();
    let mapping: Value = mapping.json().await.unwrap();
    let index = &mapping[&world.index];
    assert_eq!(index["mappings"]["properties"]["extracted_text"]["index_options"], "offsets");
    assert_eq!(index["mappings"]["properties"]["extracted_text"]["analyzer"], "japanese_analyzer");
    assert_eq!(index["settings"]["index"]["number_of_shards"], "2");
    let again = run(world.command().arg("--create-index"));
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));

    let other = World::without_index("create-index-conflict", 30).await;
    let body = serde_json::json!({ "mappings": { "properties": { "file_size": { "type": "text" } } } });
    other.opensearch_put(&other.index, body).await;
    let conflict = run(other.command().arg("--create-index"));
    assert_eq!(conflict.status.code(), Some(1));
    assert!(format!("{}{}", stdout(&conflict), stderr(&conflict)).contains("file_size"));
}
