//! `file-processor-worker`: files in S3 become searchable documents in OpenSearch. See README.md.

mod commands;
mod config;
mod document;
mod event;
mod index;
mod pool;
mod queue;
mod store;

fn main() {}
