//! `file-processor-worker`: files in S3 become searchable documents in OpenSearch. See README.md.

mod config;
mod document;
mod event;
mod extract;
mod index;
mod pool;
mod queue;
mod store;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == pool::CHILD_ARGUMENT) {
        return pool::child::run();
    }
    ExitCode::SUCCESS
}
