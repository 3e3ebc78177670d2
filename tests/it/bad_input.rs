//! Files that nobody vetted: each ends in its documented outcome and takes nobody down.

use serde_json::Value;

use crate::harness::{World, read_fixture};
use crate::pdf;

/// A PNG of the given size whose pixels are all white: a few kilobytes for gigabytes of pixels.
fn white_png(width: u32, height: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png_chunks::Encoder::new(&mut file, width, height);
    encoder.white_rows();
    file
}

/// Just enough of PNG to write one that no encoder library would: rows are compressed one by one, so that the
/// maker needs no memory for the pixels either.
mod png_chunks {
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use std::io::Write;

    pub struct Encoder<'a> {
        file: &'a mut Vec<u8>,
        width: u32,
        height: u32,
    }

    impl<'a> Encoder<'a> {
        pub fn new(file: &'a mut Vec<u8>, width: u32, height: u32) -> Self {
            Self { file, width, height }
        }

        pub fn white_rows(&mut self) {
            self.file.extend_from_slice(b"\x89PNG\r\n\x1a\n");
            let mut header = Vec::new();
            header.extend_from_slice(&self.width.to_be_bytes());
            header.extend_from_slice(&self.height.to_be_bytes());
            header.extend_from_slice(&[1, 0, 0, 0, 0]); // one bit a pixel, grey
            self.chunk(b"IHDR", &header);
            let mut compressed = ZlibEncoder::new(Vec::new(), Compression::fast());
            let mut row = vec![0xff; 1 + self.width.div_ceil(8) as usize];
            row[0] = 0;
            for _ in 0..self.height {
                compressed.write_all(&row).expect("memory takes everything");
            }
            let data = compressed.finish().expect("memory takes everything");
            self.chunk(b"IDAT", &data);
            self.chunk(b"IEND", &[]);
        }

        fn chunk(&mut self, kind: &[u8; 4], data: &[u8]) {
            self.file.extend_from_slice(&(data.len() as u32).to_be_bytes());
            let mut checksum = flate2::Crc::new();
            checksum.update(kind);
            checksum.update(data);
            self.file.extend_from_slice(kind);
            self.file.extend_from_slice(data);
            self.file.extend_from_slice(&checksum.sum().to_be_bytes());
        }
    }
}

#[tokio::test]
async fn every_bad_file_ends_in_its_outcome_and_the_daemon_goes_on() {
    let world = World::new("bad-files").await;
    let daemon = world.daemon().await;
    let truncated = {
        let whole = pdf::scan(2);
        whole[..whole.len() / 3].to_vec()
    };
    let cases: Vec<(&str, Vec<u8>, &str, Option<&str>)> = vec![
        ("truncated.pdf", truncated, "indexed_without_text", Some("corrupt")),
        ("really-html.pdf", b"<!DOCTYPE html><html><body>404 Not Found</body></html>".to_vec(), "indexed", None),
        ("damaged.zip", b"PK\x03\x04 and then nothing".to_vec(), "indexed_without_text", Some("corrupt")),
        ("encrypted.pdf", read_fixture("bad/encrypted.pdf"), "indexed_without_text", Some("encrypted")),
        ("one-pixel.png", white_png(1, 1), "indexed_without_text", Some("no_text")),
        ("huge.png", white_png(30_000, 30_000), "indexed_without_text", Some("too_many_pixels")),
        ("bomb.png", white_png(60_000, 60_000), "indexed_without_text", Some("too_many_pixels")),
        ("garbage.pdf", b"%PDF-1.7\n\x00\x01\x02garbage".to_vec(), "indexed_without_text", Some("corrupt")),
        ("binary.txt", (0..=255).cycle().take(5_000).collect(), "indexed_without_text", Some("unsupported_format")),
        ("a pdf called.txt", pdf::scan(1), "indexed", None),
    ];
    for (key, bytes, _, _) in &cases {
        world.upload(key, bytes.clone()).await;
    }
    for (key, _, outcome, reason) in &cases {
        let document = world.wait_for_document(key).await;
        assert_eq!(document["outcome"], *outcome, "{key}: {document}");
        assert_eq!(document["reason"].as_str(), *reason, "{key}");
        if *reason != Some("no_text") && *outcome != "indexed" {
            assert_eq!(document["success"], false, "{key}");
            assert!(document["error_message"].as_str().is_some_and(|text| text.len() > 10), "{key}: {document}");
        }
    }
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
    assert!(daemon.is_ready().await);
}

#[tokio::test]
async fn a_pdf_that_unfolds_without_end_ends_in_a_reason() {
    let world = World::new("unfolding").await;
    let daemon = world.daemon_with(&[("OCR_TIMEOUT", "20"), ("PROCESSING_TIMEOUT", "60")]).await;
    let cases = [("draws-itself.pdf", pdf::unfolding(0)), ("a-thousand-million-forms.pdf", pdf::unfolding(9))];
    for (key, bytes) in &cases {
        world.upload(key, bytes.clone()).await;
    }
    for (key, _) in &cases {
        let document = world.wait_for_document(key).await;
        assert_eq!(document["outcome"], "indexed_without_text", "{key}: {document}");
        let reason = document["reason"].as_str().unwrap_or_default();
        assert!(["out_of_memory", "crashed", "timeout"].contains(&reason), "{key}: {document}");
    }
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
    assert!(daemon.is_ready().await);
}

#[tokio::test]
async fn a_pdf_of_a_hundred_thousand_pages_is_read_up_to_the_limit() {
    let world = World::new("many-pages").await;
    let _daemon = world.daemon_with(&[("MAX_PDF_PAGES", "50")]).await;
    world.upload("empty-pages.pdf", pdf::empty_pages(100_000)).await;
    let document = world.wait_for_document("empty-pages.pdf").await;
    assert_eq!(document["outcome"], "indexed_partial", "{document}");
    assert_eq!(document["reason"], "too_many_pages");
    assert_eq!(document["page_count"], 100_000);

    world.upload("scan.pdf", pdf::scan(52)).await;
    let partial = world.wait_for_document("scan.pdf").await;
    assert_eq!(partial["outcome"], "indexed_partial", "{partial}");
    assert_eq!(partial["reason"], "too_many_pages");
    assert_eq!(partial["success"], true);
    assert_eq!(partial["pages_ocr"], 50);
    world.wait_until_settled().await;
}

#[tokio::test]
async fn a_text_of_half_a_gigabyte_is_refused_by_its_size_without_being_fetched() {
    let world = World::new("huge-text").await;
    let _daemon = world.daemon().await;
    world.upload("huge.txt", vec![b'a'; 500 * 1024 * 1024]).await;
    let document = world.wait_for_document("huge.txt").await;
    assert_eq!(document["outcome"], "indexed_without_text");
    assert_eq!(document["reason"], "too_large");
    assert!(document["error_message"].as_str().is_some_and(|text| text.contains("MAX_FILE_SIZE_MB")), "{document}");
    assert_eq!(document["content_sha256"], Value::Null);
    world.wait_until_settled().await;
}
