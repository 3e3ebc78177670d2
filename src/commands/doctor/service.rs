//! The service around the worker: its unit, the running daemon's own word, and the agent that ships its log.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::finding::Finding;
use crate::config::Settings;

const SERVICE: &str = "service";
const DAEMON: &str = "daemon";
const AGENT: &str = "CloudWatch agent";
const UNIT: &str = "file-processor-worker.service";
const AGENT_UNIT: &str = "amazon-cloudwatch-agent.service";
/// Where the agent's configuration is, as it is given and as the agent translates it.
const AGENT_FOLDER: &str = "/opt/aws/amazon-cloudwatch-agent/etc";
/// EX_CONFIG: the unit does not start again after it.
const CONFIGURATION_IS_WRONG: &str = "78";
/// A status page is a few kilobytes.
const MAX_PAGE_BYTES: u64 = 1024 * 1024;

pub async fn examine(settings: &Settings, limit: Duration) -> Vec<Finding> {
    let log_file = settings.telemetry.log_file.clone();
    let units = tokio::task::spawn_blocking(move || [service(), agent(log_file.as_deref())]);
    let (units, daemon) = tokio::join!(tokio::time::timeout(limit, units), async {
        match settings.telemetry.status_address {
            Some(address) => daemon(address, limit).await,
            None => Finding::skipped(DAEMON, "its status pages are off (STATUS_ADDRESS)"),
        }
    });
    let [service, agent] = match units {
        Ok(Ok(found)) => found,
        _ => [SERVICE, AGENT]
            .map(|name| Finding::warn(name, "systemctl does not answer", "look at systemd: journalctl -b _PID=1")),
    };
    vec![service, daemon, agent]
}

/// Properties of a unit; `None` where there is no systemd that runs.
fn properties(unit: &str, names: &str) -> Option<BTreeMap<String, String>> {
    let output = Command::new("systemctl").args(["show", unit, "--property", names]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    (output.status.success() && !found.is_empty()).then_some(found)
}

fn service() -> Finding {
    const NAMES: &str =
        "LoadState,ActiveState,SubState,Result,NRestarts,StatusText,ExecMainStatus,ConditionResult,UnitFileState";
    match properties(UNIT, NAMES) {
        Some(found) => judge_service(&found),
        None => Finding::skipped(SERVICE, "no systemd runs here"),
    }
}

fn judge_service(properties: &BTreeMap<String, String>) -> Finding {
    let value = |name: &str| properties.get(name).map_or("", String::as_str);
    if value("LoadState") != "loaded" {
        return Finding::fail(SERVICE, format!("{UNIT} is not installed"), "install the package file-processor-worker");
    }
    let restarts = value("NRestarts");
    let found = format!(
        "{} ({}), {restarts} restarts{}{}",
        value("ActiveState"),
        value("SubState"),
        if value("StatusText").is_empty() { "" } else { ": " },
        value("StatusText"),
    );
    match (value("ActiveState"), value("Result")) {
        ("active" | "reloading", _) if restarts.parse().unwrap_or(0) > 0 => {
            Finding::warn(SERVICE, found, format!("find out why it was restarted: journalctl -u {UNIT} -p warning"))
        }
        ("active" | "reloading", _) => Finding::ok(SERVICE, found),
        ("activating", result) if !matches!(result, "" | "success") => Finding::fail(
            SERVICE,
            format!("{found}; it failed before ({result}, exit code {})", value("ExecMainStatus")),
            format!("read its last lines: journalctl -u {UNIT} -n 100; systemd starts it again by itself"),
        ),
        ("activating", _) => Finding::warn(
            SERVICE,
            found,
            "it is not ready yet; the other failed lines say what it waits for, and so does systemctl status",
        ),
        ("deactivating", _) => Finding::warn(SERVICE, found, "it drains; this ends by itself"),
        (_, "start-limit-hit") => Finding::fail(
            SERVICE,
            format!("{found}; it failed too often and is not started any more"),
            format!(
                "mend what the log says (journalctl -u {UNIT} -n 100), then: systemctl reset-failed {UNIT}; systemctl start {UNIT}"
            ),
        ),
        ("failed", result) if value("ExecMainStatus") == CONFIGURATION_IS_WRONG => Finding::fail(
            SERVICE,
            format!("{found}; {result}: the configuration is wrong (exit code 78)"),
            format!("mend /etc/file-processor/env (the log names the variable), then: systemctl restart {UNIT}"),
        ),
        ("failed", result) => Finding::fail(
            SERVICE,
            format!("{found}; {result}, exit code {}", value("ExecMainStatus")),
            format!("read its last lines: journalctl -u {UNIT} -n 100; then: systemctl restart {UNIT}"),
        ),
        _ if value("ConditionResult") == "no" => Finding::fail(
            SERVICE,
            format!("{found}; it waits for /etc/file-processor/env"),
            "user data writes that file: read /var/log/user-data.log and /var/log/cloud-init-output.log",
        ),
        _ => Finding::fail(SERVICE, found, format!("systemctl start {UNIT}")),
    }
}

/// What the running daemon says of itself.
async fn daemon(address: SocketAddr, limit: Duration) -> Finding {
    let asked = async {
        let (status, _) = page(address, "/readyz").await?;
        let (_, body) = page(address, "/status").await?;
        let report: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        io::Result::Ok((status, report["status"].as_str().unwrap_or("no status").to_owned()))
    };
    match tokio::time::timeout(limit, asked).await {
        Err(_) => Finding::fail(
            DAEMON,
            format!("{address} takes connections and does not answer"),
            format!("it hangs; its watchdog restarts it within 30 s, otherwise: systemctl restart {UNIT}"),
        ),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Finding::skipped(DAEMON, format!("none answers on {address} (not running, or with another STATUS_ADDRESS)"))
        }
        Ok(Err(error)) => {
            Finding::warn(DAEMON, format!("{address}: {error}"), "something else listens there? check STATUS_ADDRESS")
        }
        Ok(Ok((200, sentence))) => Finding::ok(DAEMON, format!("ready; {sentence}")),
        Ok(Ok((_, sentence))) => {
            Finding::warn(DAEMON, format!("not ready; {sentence}"), "mend what it waits for; it goes on by itself")
        }
    }
}

/// One page over HTTP/1.0: the answer ends with the connection.
async fn page(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_PAGE_BYTES).read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split_whitespace().nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))?;
    Ok((status, body.to_owned()))
}

fn agent(log_file: Option<&Path>) -> Finding {
    let Some(found) = properties(AGENT_UNIT, "LoadState,ActiveState,SubState") else {
        return Finding::skipped(AGENT, "no systemd runs here");
    };
    let value = |name: &str| found.get(name).map_or("", String::as_str);
    if value("LoadState") != "loaded" {
        return Finding::warn(
            AGENT,
            "not installed: logs and metrics stay on this machine",
            "dnf install amazon-cloudwatch-agent, then let user data write its configuration",
        );
    }
    if value("ActiveState") != "active" {
        return Finding::warn(
            AGENT,
            format!("{} ({}): logs and metrics stay on this machine", value("ActiveState"), value("SubState")),
            format!(
                "systemctl restart {AGENT_UNIT}; its log: /opt/aws/amazon-cloudwatch-agent/logs/amazon-cloudwatch-agent.log"
            ),
        );
    }
    match log_file {
        Some(file) if configuration_names(Path::new(AGENT_FOLDER), file) == Some(false) => Finding::warn(
            AGENT,
            format!("active, but no configuration in {AGENT_FOLDER} names {}", file.display()),
            "let file_path in the agent's configuration be LOG_FILE, then restart the agent",
        ),
        _ => Finding::ok(AGENT, "active"),
    }
}

/// Whether some file below `folder` names the log file or its folder; `None` when none could be read.
fn configuration_names(folder: &Path, log_file: &Path) -> Option<bool> {
    let place = log_file.parent()?.to_str()?;
    let mut texts = walkdir::WalkDir::new(folder)
        .max_depth(2)
        .into_iter()
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
        .peekable();
    texts.peek()?;
    Some(texts.any(|text| text.contains(place)))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn judged(text: &str) -> (Verdict, String) {
        let properties = text
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let finding = judge_service(&properties);
        (finding.verdict, format!("{} {}", finding.found, finding.action.unwrap_or_default()))
    }

    #[test]
    fn each_state_of_the_unit_has_its_own_advice() {
        for (state, verdict, words) in [
            ("LoadState=not-found", Verdict::Fail, "install the package"),
            ("LoadState=loaded ActiveState=active SubState=running NRestarts=0 StatusText=idle", Verdict::Ok, "idle"),
            ("LoadState=loaded ActiveState=active SubState=running NRestarts=3", Verdict::Warn, "why it was restarted"),
            ("LoadState=loaded ActiveState=activating SubState=start NRestarts=0", Verdict::Warn, "not ready yet"),
            (
                "LoadState=loaded ActiveState=activating SubState=auto-restart Result=exit-code NRestarts=2",
                Verdict::Fail,
                "failed before",
            ),
            ("LoadState=loaded ActiveState=failed Result=start-limit-hit", Verdict::Fail, "reset-failed"),
            (
                "LoadState=loaded ActiveState=failed Result=exit-code ExecMainStatus=78",
                Verdict::Fail,
                "/etc/file-processor/env",
            ),
            ("LoadState=loaded ActiveState=failed Result=watchdog ExecMainStatus=6", Verdict::Fail, "watchdog"),
            ("LoadState=loaded ActiveState=inactive ConditionResult=no", Verdict::Fail, "user-data.log"),
            ("LoadState=loaded ActiveState=inactive ConditionResult=yes", Verdict::Fail, "systemctl start"),
        ] {
            let (judged_verdict, text) = judged(state);
            assert_eq!(judged_verdict, verdict, "{state}");
            assert!(text.contains(words), "{state}: {text}");
        }
    }

    #[test]
    fn the_agents_configuration_is_searched_for_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = Path::new("/var/log/file-processor/worker.log");
        assert_eq!(configuration_names(folder.path(), log), None);
        fs::write(folder.path().join("a.json"), r#"{"file_path": "/var/log/other.log"}"#).unwrap();
        assert_eq!(configuration_names(folder.path(), log), Some(false));
        fs::create_dir(folder.path().join("agent.d")).unwrap();
        fs::write(folder.path().join("agent.d/b.json"), r#"{"file_path": "/var/log/file-processor/worker.log*"}"#)
            .unwrap();
        assert_eq!(configuration_names(folder.path(), log), Some(true));
    }
}
