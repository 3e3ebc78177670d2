//! `file-processor-worker`: files in S3 become searchable documents in OpenSearch. See README.md.

mod config;
mod document;
mod event;
mod extract;
mod index;
mod ocr;
mod pool;
mod queue;
mod store;

fn main() {}
