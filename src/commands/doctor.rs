//! `doctor`: what keeps the worker from working, and what to do about it.
//!
//! `--validate-only` says whether everything is in place; this goes on where that stops: each permission by itself, the
//! way to each server stage by stage, the clock, the machine, the service. Its checks are `--validate-only`'s own where
//! both ask the same. Nothing it tries leaves a trace, and no check takes longer than its time: a server that swallows
//! packets costs that time once and leaves the others to be looked at.
//!
//! * [`finding`]: one line; [`report`]: the table, the JSON, secrets masked
//! * [`reach`]: name, connection and answer told apart; the servers' clocks
//! * [`queue`], [`store`], [`index`]: the permissions
//! * [`machine`]: disk, memory, engine, files; [`service`]: unit, daemon, agent; [`instance`]: credentials, metadata, hook

mod finding;
mod index;
mod instance;
mod machine;
mod queue;
mod reach;
mod report;
mod service;
mod store;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use aws_config::SdkConfig;

use crate::aws;
use crate::cli::DoctorArgs;
use crate::config::{ConfigErrors, ServerSettings, Settings};

use finding::Finding;
use reach::ClockReading;
use report::{Report, Secrets};

/// What the checks of the servers share.
struct Servers<'a> {
    settings: &'a Settings,
    servers: &'a ServerSettings,
    sdk_config: &'a SdkConfig,
    /// What one check may take.
    limit: Duration,
}

/// What the checks of one server came to.
struct Examined {
    findings: Vec<Finding>,
    /// The server's clock beside ours; `None` when no answer came.
    clock: Option<ClockReading>,
}

/// Runs every check and reports. Exit 0, or 1 when one failed.
pub async fn run(
    settings: &Settings,
    arguments: &DoctorArgs,
    env_file: Option<&Path>,
    warnings: &[String],
) -> Result<ExitCode> {
    let limit = Duration::from_secs(u64::from(arguments.timeout));
    let mut findings = machine::configuration(warnings);
    findings.extend(env_file.map(machine::env_file));
    let (machine, service, servers) = tokio::join!(
        machine::examine(settings),
        service::examine(settings, limit),
        examine_servers(settings, arguments.offline, limit),
    );
    findings.extend(servers);
    findings.extend(machine);
    findings.extend(service);
    Report::new(findings, Secrets::of(settings)).print(arguments.json)
}

/// Nothing can be tried with a configuration that is wrong; what is wrong is told in full.
pub fn report_configuration(errors: &ConfigErrors, arguments: &DoctorArgs) -> Result<ExitCode> {
    let mut findings: Vec<Finding> = errors
        .errors
        .iter()
        .map(|error| {
            let action = "mend the variable (on an instance: /etc/file-processor/env), then: systemctl restart file-processor-worker";
            Finding::fail("configuration", error.to_string(), action)
        })
        .collect();
    findings.push(Finding::skipped("everything else", "not tried with a configuration that is wrong"));
    Report::new(findings, Secrets::of_environment()).print(arguments.json)
}

/// Credentials first, since nothing else can be tried without; then the servers side by side.
async fn examine_servers(settings: &Settings, offline: bool, limit: Duration) -> Vec<Finding> {
    let Some(servers) = settings.servers.as_ref().filter(|_| !offline) else {
        return vec![Finding::skipped("servers", "left out (--offline)")];
    };
    let sdk_config = aws::sdk_config(&settings.region).await;
    let (credentials, has_credentials) = instance::credentials(&sdk_config, limit).await;
    let context = Servers { settings, servers, sdk_config: &sdk_config, limit };
    let (queue, store, index, lifecycle) = tokio::join!(
        queue::examine(&context, has_credentials),
        store::examine(&context, has_credentials),
        index::examine(&context, has_credentials),
        instance::examine(settings, limit, has_credentials),
    );
    let clock = reach::clock_finding(&[("SQS", queue.clock), ("S3", store.clock), ("OpenSearch", index.clock)]);
    let mut findings = vec![credentials];
    findings.extend(queue.findings);
    findings.extend(store.findings);
    findings.extend(index.findings);
    findings.push(clock);
    findings.extend(lifecycle);
    findings
}
