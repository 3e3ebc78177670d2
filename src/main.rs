//! `file-processor-worker`: files in S3 become searchable documents in OpenSearch. See README.md.

mod cli;
mod commands;
mod config;
mod document;
mod event;
mod health;
mod index;
mod pool;
mod queue;
mod store;

use std::io;
use std::process::ExitCode;

use cli::Action;
use config::ConfigSources;

fn main() -> ExitCode {
    let cli = cli::parse();
    let sources = ConfigSources::from_process(cli.config_file.clone(), cli.env_file.clone());
    match cli.action() {
        Action::Config(arguments) => {
            let shown = commands::config::run(&sources, &arguments, &mut io::stdout().lock(), &mut io::stderr().lock());
            // A reader that went away (`config | head`) is no failure worth a message.
            ExitCode::from(shown.unwrap_or(cli::exit::FAILED))
        }
        _ => ExitCode::from(cli::exit::FAILED),
    }
}
