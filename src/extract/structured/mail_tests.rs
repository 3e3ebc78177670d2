//! Mail as Japan writes it, the corpus' mail, and mail that was made to hurt.

use std::env;
use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use encoding_rs::{Encoding, ISO_2022_JP, SHIFT_JIS, UTF_8};

use super::bounds::Budget;
use super::{StructuredFile, email, outlook};
use crate::document::{MetadataValue, Reason};

fn read(mail: &[u8]) -> StructuredFile {
    email::read(&mut Cursor::new(mail), &mut Budget::new(mail.len() as u64)).expect("mail")
}

fn texts(mail: &[u8]) -> Vec<String> {
    read(mail).sections.into_iter().map(|section| section.text).collect()
}

const HEADERS: &str = "From: =?ISO-2022-JP?B?GyRCOzNFRBsoQg==?= <yamada@example.jp>\r\nTo: a@example.jp,\r\n b@example.jp\r\n\
                       Cc: c@example.jp\r\nSubject: =?UTF-8?B?6YGT6Lev5Y+w5biz?=\r\nDate: Wed, 31 Jan 2024 12:00:00 +0900\r\n\
                       MIME-Version: 1.0\r\n";

const HEADER_LINES: &str = "From: 山田 <yamada@example.jp>\nTo: a@example.jp, b@example.jp\nCc: c@example.jp\nSubject: 道路台帳\n\
                            Date: 2024-01-31T12:00:00+09:00";

#[test]
fn bodies_are_read_whatever_their_label_says() {
    let body = "お世話になります。①工区の件です";
    let plain = body.replace('①', "1");
    for (encoding, text) in [(UTF_8, body), (SHIFT_JIS, body), (ISO_2022_JP, plain.as_str())] {
        for label in ["utf-8", "Shift_JIS", "ISO-2022-JP", "us-ascii", "iso-8859-1"] {
            for transfer in ["8bit", "base64"] {
                let encoding: &'static Encoding = encoding;
                let bytes = encoding.encode(text).0.into_owned();
                let bytes = if transfer == "8bit" { bytes } else { BASE64_STANDARD.encode(bytes).into_bytes() };
                let head = format!(
                    "{HEADERS}Content-Type: text/plain; charset={label}\r\nContent-Transfer-Encoding: {transfer}\r\n\r\n"
                );
                let read = texts(&[head.as_bytes(), &bytes].concat());
                assert_eq!(read, [format!("{HEADER_LINES}\n\n{text}")], "{} as {label}, {transfer}", encoding.name());
            }
        }
    }
}

#[test]
fn raw_japanese_in_headers_is_read_and_metadata_is_filled() {
    let mail =
        SHIFT_JIS.encode("From: 山田太郎の代理\r\nSubject: 橋梁点検のお知らせ\r\nMessage-ID: <1@x>\r\n\r\n本文です").0;
    let file = read(&mail);
    assert_eq!(file.sections[0].text, "From: 山田太郎の代理\nSubject: 橋梁点検のお知らせ\n\n本文です");
    assert_eq!(file.metadata.get("subject"), Some(&MetadataValue::Text("橋梁点検のお知らせ".to_owned())));
}

fn multipart(kind: &str, parts: &[String]) -> String {
    let mut mail = format!("{HEADERS}Content-Type: multipart/{kind}; boundary=\"b1\"\r\n\r\n");
    for part in parts {
        mail.push_str(&format!("--b1\r\n{part}\r\n"));
    }
    mail + "--b1--\r\n"
}

fn attachment(disposition: &str, bytes: &[u8]) -> String {
    let content = BASE64_STANDARD.encode(bytes);
    format!(
        "Content-Type: application/octet-stream\r\nContent-Disposition: attachment; {disposition}\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{content}"
    )
}

#[test]
fn the_plain_body_is_preferred_to_the_html_one_which_is_read_where_it_is_alone() {
    let plain = "Content-Type: text/plain; charset=utf-8\r\n\r\n本文".to_owned();
    let html = "Content-Type: text/html; charset=utf-8\r\n\r\n<style>x</style><p>道路の<b>件</b></p>".to_owned();
    assert_eq!(texts(multipart("alternative", &[plain, html.clone()]).as_bytes()), [format!("{HEADER_LINES}\n\n本文")]);
    let blank = "Content-Type: text/plain\r\n\r\n \r\n".to_owned();
    for parts in [vec![html.clone()], vec![blank, html]] {
        let read = texts(multipart("alternative", &parts).as_bytes());
        assert_eq!(read, [format!("{HEADER_LINES}\n\n道路の件")]);
    }
}

#[test]
fn attachments_are_found_by_name_and_by_their_text() {
    let body = "Content-Type: text/plain; charset=utf-8\r\n\r\n本文".to_owned();
    let inner = format!("{HEADERS}Content-Type: text/plain; charset=utf-8\r\n\r\n転送された本文");
    let mail = multipart(
        "mixed",
        &[
            body,
            attachment(
                "filename=\"=?ISO-2022-JP?B?GyRCRjtPKRsoQg==?=.csv\"",
                &SHIFT_JIS.encode("品名,数量\n橋の桁,1").0,
            ),
            attachment(
                "filename*=UTF-8''%E5%9B%B3%E9%9D%A2.html",
                "<html><body>図面の<i>頁</i></body></html>".as_bytes(),
            ),
            attachment("filename=photo.bin", &[0, 159, 146, 150, 255, 0, 1, 2]),
            attachment("filename=forward.eml", inner.as_bytes()),
            format!("Content-Type: message/rfc822\r\n\r\n{inner}"),
        ],
    );
    let nested = format!("{HEADER_LINES}\n\n転送された本文");
    assert_eq!(
        texts(mail.as_bytes()),
        [
            format!("{HEADER_LINES}\n\n本文"),
            "道路.csv\n品名,数量\n橋の桁,1".to_owned(),
            "図面.html\n図面の頁".to_owned(),
            "photo.bin".to_owned(),
            format!("forward.eml\n{nested}"),
            format!("道路台帳\n{nested}"),
        ]
    );
}

#[test]
fn mail_in_mail_ends_at_the_depth_and_the_rest_is_read() {
    let mut mail = "Subject: core\r\nFrom: a@b\r\n\r\ncore body".to_owned();
    for depth in 0..20 {
        mail = format!("Subject: level {depth}\r\nFrom: a@b\r\n{}", attachment("filename=inner.eml", mail.as_bytes()));
    }
    let file = read(mail.as_bytes());
    assert!(file.sections.iter().any(|section| section.truncated) && file.sections[0].text.contains("level 19"));
    assert!(!file.sections.iter().any(|section| section.text.contains("core body")));

    for bomb in [
        format!("From: a@b\r\n{}", "Content-Type: message/rfc822\r\n\r\n".repeat(100_000)),
        format!("From: a@b\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n{}", "--x\r\n\r\n".repeat(300_000)),
    ] {
        let error = email::read(&mut Cursor::new(bomb.as_bytes()), &mut Budget::new(1)).unwrap_err();
        assert_eq!(error.reason, Reason::ArchiveBomb, "{}", error.detail);
    }
    let boundaries: String = (0..10_000)
        .map(|depth| format!("Content-Type: multipart/mixed; boundary=x{depth}\r\n\r\n--x{depth}\r\n"))
        .collect();
    assert!(!read(format!("From: a@b\r\n{boundaries}\r\nend").as_bytes()).sections.is_empty());
}

/// The corpus' mail folder; `None` with a printed message where there is no corpus.
fn corpus() -> Option<PathBuf> {
    let folder =
        env::var_os("CORPUS_DIR").map_or_else(|| PathBuf::from("../shared/corpus"), PathBuf::from).join("email");
    if !folder.is_dir() {
        println!("skipped: no corpus at {}", folder.display());
        return None;
    }
    Some(folder)
}

#[test]
fn every_mail_of_the_corpus_is_read() {
    let Some(folder) = corpus() else { return };
    for (name, expected) in [
        (
            "complex_headers.eml",
            vec!["Subject: Complex Email with Multiple Recipients", "To: recipient1@example.com, recipient2"],
        ),
        ("html_email_multipart.eml", vec!["Date: 2024-02-20T10:15:00", "fallback for email clients"]),
        ("mailgun_pdf_attachment.eml", vec!["Test - body content", "test.pdf"]),
        ("fake_email.msg", vec!["Subject: ", "From: "]),
        ("fake_email_attachment.msg", vec!["Subject: ", "From: "]),
    ] {
        let bytes = fs::read(folder.join(name)).expect("corpus");
        let mut budget = Budget::new(bytes.len() as u64);
        let file = if name.ends_with(".msg") {
            outlook::read(&mut Cursor::new(&bytes), &mut budget)
        } else {
            email::read(&mut Cursor::new(&bytes), &mut budget)
        }
        .unwrap_or_else(|failure| panic!("{name}: {}", failure.detail));
        let text = file.sections.iter().map(|section| section.text.as_str()).collect::<Vec<_>>().join("\n\n");
        println!("== {name}: {:?}\n{text}", file.metadata);
        for words in expected {
            assert!(text.contains(words), "{name} has no {words:?}:\n{text}");
        }
    }
}

#[test]
fn a_damaged_outlook_message_is_corrupt() {
    let Some(folder) = corpus() else { return };
    let bytes = fs::read(folder.join("fake_email.msg")).expect("corpus");
    for cut in [100, 600] {
        let error = outlook::read(&mut Cursor::new(&bytes[..cut]), &mut Budget::new(cut as u64)).unwrap_err();
        assert_eq!(error.reason, Reason::Corrupt, "{}", error.detail);
    }
}
