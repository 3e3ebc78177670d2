//! `smoke-test`: sends a smoke message through the queue and waits for the document that a worker makes of it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;

use crate::cli::SmokeTestArgs;
use crate::config::Settings;

use super::parts;

const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Exit 0 when the document appeared, 1 when it did not within the time given.
pub async fn run(settings: &Settings, arguments: &SmokeTestArgs) -> Result<ExitCode> {
    let parts = parts::connect(settings).await?;
    let id = format!("smoke-{}", uuid::Uuid::new_v4());
    let body = json!({ "test": true, "bucket": "test-bucket", "key": "test.pdf", "id": id }).to_string();
    let started = Instant::now();
    parts.queue.send(&body).await.context("send the smoke message")?;
    eprintln!("smoke message sent, id={id}; waiting for its document for up to {} s", arguments.timeout);

    let deadline = Duration::from_secs(u64::from(arguments.timeout));
    let mut last_trouble = None;
    while started.elapsed() < deadline {
        match parts.index.has_smoke_test(&id).await {
            Ok(true) => {
                report(&id, true, started.elapsed(), arguments.json);
                return Ok(ExitCode::SUCCESS);
            }
            Ok(false) => {}
            Err(error) => last_trouble = Some(error),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    report(&id, false, started.elapsed(), arguments.json);
    let queue_url = &parts::servers(settings)?.queue_url;
    let trouble = last_trouble.map_or_else(
        || anyhow!("no worker wrote the document; is one running on {queue_url}?"),
        |error| anyhow!(error).context("the index did not answer"),
    );
    eprintln!("{trouble:#}");
    Ok(ExitCode::FAILURE)
}

fn report(id: &str, passed: bool, waited: Duration, as_json: bool) {
    let seconds = waited.as_secs_f64();
    if as_json {
        println!("{}", json!({ "id": id, "passed": passed, "seconds": seconds }));
    } else {
        println!("smoke test {} id={id} after {seconds:.1} s", if passed { "passed" } else { "failed" });
    }
}
