//! `file-processor-worker`: files in S3 become searchable documents in OpenSearch. See README.md.

mod aws;
mod config;
mod document;
mod event;
mod index;
mod pool;
mod queue;
mod store;

fn main() {}
