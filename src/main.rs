//! `file-processor-worker`: files in S3 become searchable documents in OpenSearch. See README.md.
//!
//! Command line → settings (without touching the network) → logging → the command. Everything else has a room of
//! its own.

mod allocator;
mod aws;
mod cli;
mod commands;
mod config;
mod document;
mod event;
mod extract;
mod health;
mod index;
mod job;
mod lifecycle;
mod ocr;
mod pool;
mod queue;
mod store;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use cli::{Action, Cli};
use config::{ConfigSources, EX_CONFIG, Loaded, Origin, Settings, TelemetrySettings};
use health::events::{ConfigurationIgnored, ConfigurationWarning, Starting};
use index::embedded::EmbeddedError;
use lifecycle::interruption::{Budgets, Interruptions};
use lifecycle::signals;

/// How long the end waits for what cannot be cancelled.
const LEFT_BEHIND: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let cli = cli::parse();
    let action = cli.action();
    // A child has no environment and no configuration: it is told everything through its socket.
    if action == Action::Child {
        return pool::child::run();
    }
    allocator::give_back_at_once();
    match start(cli, action) {
        Ok(exit_code) => exit_code,
        Err(error) => {
            eprintln!("file-processor-worker: {error:#}");
            let is_busy = matches!(error.downcast_ref(), Some(EmbeddedError::Busy(_)));
            ExitCode::from(if is_busy { cli::exit::BUSY } else { cli::exit::FAILED })
        }
    }
}

fn start(cli: Cli, action: Action) -> Result<ExitCode> {
    let sources = ConfigSources::from_process(cli.config_file, cli.env_file);
    if let Action::Config(arguments) = &action {
        let shown = commands::config::run(&sources, arguments, &mut io::stdout().lock(), &mut io::stderr().lock());
        // A reader that went away (`config | head`) is no failure worth a message.
        return Ok(ExitCode::from(shown.unwrap_or(cli::exit::FAILED)));
    }
    let loaded = match (Settings::load(&sources, action.needs_servers()), &action) {
        (Ok(loaded), _) => loaded,
        (Err(errors), Action::ValidateOnly { .. }) => return Ok(commands::validate::report_configuration(&errors)),
        (Err(errors), Action::Doctor(arguments)) => return commands::doctor::report_configuration(&errors, arguments),
        (Err(_), Action::Version) => {
            print!("{}", commands::version::text(None));
            return Ok(ExitCode::SUCCESS);
        }
        (Err(errors), _) => {
            eprintln!("{errors}");
            return Ok(ExitCode::from(EX_CONFIG));
        }
    };
    if action == Action::Version {
        print!("{}", commands::version::text(Some(&loaded.settings)));
        return Ok(ExitCode::SUCCESS);
    }
    // SAFETY: no other thread runs yet.
    unsafe { loaded.export_foreign_variables() };
    health::logging::init(&telemetry(&loaded, &action)).context("start logging")?;
    announce(&loaded, &action);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Everything heavy happens in the children; two threads keep the parent small.
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let exit_code = runtime.block_on(run(loaded, action, &sources));
    health::logging::flush();
    // A look-up of a name that hangs in the C library must not hold up the end.
    runtime.shutdown_timeout(LEFT_BEHIND);
    exit_code
}

/// The daemon's log is its record; a person at a terminal wants to read warnings only, unless `LOG_LEVEL` was set.
fn telemetry(loaded: &Loaded, action: &Action) -> TelemetrySettings {
    let mut telemetry = loaded.settings.telemetry.clone();
    let is_default =
        loaded.values.iter().any(|value| value.variable.name == "LOG_LEVEL" && value.origin == Some(Origin::Default));
    if *action != Action::Run && is_default {
        telemetry.log_level = log::LevelFilter::Warn;
    }
    telemetry
}

/// What start-up has to say (contract §2): the daemon says that it starts, every command what of its configuration is
/// doubtful or ignored.
fn announce(loaded: &Loaded, action: &Action) {
    if *action == Action::Run {
        Starting { version: env!("CARGO_PKG_VERSION"), commit: env!("BUILD_COMMIT"), command: "run" }.emit();
        for ignored in &loaded.ignored {
            ConfigurationIgnored { variable: ignored.variable, why: ignored.why }.emit();
        }
    }
    // The doctor's report says it.
    if matches!(action, Action::Doctor(_)) {
        return;
    }
    for text in &loaded.warnings {
        ConfigurationWarning { text }.emit();
    }
}

async fn run(loaded: Loaded, action: Action, sources: &ConfigSources) -> Result<ExitCode> {
    let settings = loaded.settings;
    match action {
        Action::Run => {
            let interruptions = listen_to_signals(&settings)?;
            commands::run::run(settings, interruptions).await
        }
        Action::ValidateOnly { offline } => commands::validate::run(&settings, offline).await,
        Action::CreateIndex => commands::create_index::run(&settings).await,
        Action::Extract(arguments) => {
            let stop = listen_to_signals(&settings)?.stop().clone();
            commands::extract::run(&settings, &arguments, stop).await
        }
        Action::Local(arguments) => {
            let interruptions = listen_to_signals(&settings)?;
            commands::local::run(settings, &arguments, interruptions).await
        }
        Action::Search(arguments) => Ok(commands::search::run(&arguments)),
        Action::SmokeTest(arguments) => commands::smoke_test::run(&settings, &arguments).await,
        Action::Doctor(arguments) => {
            let env_file = sources.env_file.as_deref();
            commands::doctor::run(&settings, &arguments, env_file, &loaded.warnings).await
        }
        Action::Version | Action::Config(_) | Action::Child => unreachable!("handled before the runtime started"),
    }
}

fn listen_to_signals(settings: &Settings) -> Result<Interruptions> {
    let interruptions = Interruptions::new(Budgets::of_settings(settings));
    signals::listen(&interruptions).context("listen to SIGTERM and SIGINT")?;
    Ok(interruptions)
}
