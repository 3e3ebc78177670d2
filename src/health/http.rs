//! `/livez /readyz /metrics /status` on `STATUS_ADDRESS` (loopback): for operators with curl, for the agent that
//! scrapes, and for scripts that wait for a deployment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use jiff::Timestamp;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::bounded_listener::BoundedListener;
use super::events::StatusServerUnavailable;
use super::metrics::TimeCounter;
use super::outage::{OutageCause, advice};
use super::status::{Dependency, DependencyState, Phase, PoolState, Snapshot, Status};
use crate::document::Outcome;

/// Connections open at once; the next ones wait. Each is an open file of a daemon that has better uses for them.
pub const MAX_CONNECTIONS: usize = 64;

const PATHS: &str = "/livez /readyz /metrics /status\n";

#[derive(Clone)]
struct Shared {
    status: Arc<Status>,
    metrics: PrometheusHandle,
}

/// Listens on the address. A port in use must not keep documents from being indexed: it is told to the log and the
/// daemon runs without these pages (`None`).
pub async fn bind(address: SocketAddr) -> Option<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            StatusServerUnavailable { address, error: &error.to_string() }.emit();
            None
        }
    }
}

/// Answers until `stop`.
pub async fn serve(listener: TcpListener, status: Arc<Status>, metrics: PrometheusHandle, stop: CancellationToken) {
    let router = Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(render_metrics))
        .route("/status", get(report))
        .fallback(async || (StatusCode::NOT_FOUND, PATHS))
        .with_state(Shared { status, metrics });
    let served = axum::serve(BoundedListener::new(listener, MAX_CONNECTIONS), router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        log::warn!(error:%; "status pages ended");
    }
}

/// 200 while the poll loop turns and no child is stuck: what a restart would mend, and nothing else.
async fn live(State(shared): State<Shared>) -> impl IntoResponse {
    match shared.status.health() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// 200 while messages are being taken, else 503 with the state in words.
async fn ready(State(shared): State<Shared>) -> impl IntoResponse {
    let code = match shared.status.snapshot().phase() {
        Phase::Ready => StatusCode::OK,
        Phase::Starting | Phase::Paused | Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, format!("{}\n", shared.status.status_line()))
}

async fn render_metrics(State(shared): State<Shared>) -> impl IntoResponse {
    shared.status.set_gauges();
    let busy_time = shared.status.snapshot().pool.busy_time;
    let body = shared.metrics.render() + &TimeCounter::ChildrenBusy.rendered(busy_time);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], body)
}

async fn report(State(shared): State<Shared>) -> impl IntoResponse {
    let report = Report::new(&shared.status.snapshot(), shared.status.status_line());
    match serde_json::to_string_pretty(&report) {
        Ok(json) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], json + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The body of `/status`. Times are RFC 3339 in UTC.
#[derive(Serialize)]
struct Report {
    /// The state in words.
    status: String,
    phase: Phase,
    version: &'static str,
    commit: &'static str,
    pid: u32,
    started_at: String,
    uptime_seconds: i64,
    jobs_in_flight: u64,
    messages_held: u64,
    /// By name, since the start.
    outcomes: BTreeMap<&'static str, u64>,
    last_document_at: Option<String>,
    dependencies: Vec<DependencyReport>,
    children: PoolState,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct DependencyReport {
    name: Dependency,
    /// null: not proven yet; those that READY does not wait for then count as working.
    up: Option<bool>,
    down_since: Option<String>,
    cause: Option<OutageCause>,
    reason: Option<String>,
    /// What a person can do about it, where the cause tells.
    advice: Option<&'static str>,
}

impl Report {
    fn new(snapshot: &Snapshot, status: String) -> Self {
        Self {
            status,
            phase: snapshot.phase(),
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("BUILD_COMMIT"),
            pid: std::process::id(),
            started_at: snapshot.started_at.to_string(),
            uptime_seconds: snapshot.now.duration_since(snapshot.started_at).as_secs(),
            jobs_in_flight: snapshot.jobs_in_flight,
            messages_held: snapshot.messages_held,
            outcomes: Outcome::ALL.iter().map(|outcome| (outcome.as_str(), snapshot.count(*outcome))).collect(),
            last_document_at: snapshot.last_document_at.as_ref().map(Timestamp::to_string),
            dependencies: snapshot
                .dependencies
                .iter()
                .map(|(name, state)| DependencyReport::new(*name, state))
                .collect(),
            children: snapshot.pool.clone(),
            notes: snapshot.notes.clone(),
        }
    }
}

impl DependencyReport {
    fn new(name: Dependency, state: &DependencyState) -> Self {
        let well = |up| Self { name, up, down_since: None, cause: None, reason: None, advice: None };
        match state {
            DependencyState::Unproven => well(None),
            DependencyState::Up => well(Some(true)),
            DependencyState::Down { since, outage } => Self {
                up: Some(false),
                down_since: Some(since.to_string()),
                cause: Some(outage.cause),
                reason: Some(outage.detail.clone()),
                advice: advice(name, outage.cause),
                ..well(None)
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::health::outage::Outage;

    fn unreachable(detail: &str) -> Outage {
        Outage::new(OutageCause::Unreachable, detail)
    }

    /// The pages of a status, on a free port.
    struct Served {
        status: Arc<Status>,
        address: SocketAddr,
        stop: CancellationToken,
    }

    impl Served {
        async fn new() -> Self {
            let status = Arc::new(Status::new(Duration::from_secs(20)));
            let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
            let address = listener.local_addr().unwrap();
            let stop = CancellationToken::new();
            let handle = PrometheusBuilder::new().build_recorder().handle();
            tokio::spawn(serve(listener, status.clone(), handle, stop.clone()));
            Self { status, address, stop }
        }

        async fn get(&self, path: &str) -> (u16, String) {
            let response = reqwest::get(format!("http://{}{path}", self.address)).await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        }
    }

    impl Drop for Served {
        fn drop(&mut self) {
            self.stop.cancel();
        }
    }

    #[tokio::test]
    async fn ready_only_while_messages_are_taken_and_otherwise_says_why() {
        let served = Served::new().await;
        let (code, text) = served.get("/readyz").await;
        assert_eq!(code, 503);
        assert!(text.starts_with("starting: not yet proven"), "{text}");
        served.status.set_ready();
        assert_eq!(served.get("/readyz").await.0, 200);
        served.status.dependency_down(Dependency::Index, &unreachable("connection refused"));
        let (code, text) = served.get("/readyz").await;
        assert_eq!(code, 503);
        assert!(text.contains("OpenSearch down since") && text.contains("connection refused"), "{text}");
    }

    #[tokio::test]
    async fn an_outage_does_not_make_the_daemon_dead_but_a_stuck_child_does() {
        let served = Served::new().await;
        served.status.poll_loop_turned();
        served.status.dependency_down(Dependency::Queue, &unreachable("timeout"));
        assert_eq!(served.get("/livez").await, (200, "ok\n".to_owned()));
        served.status.watch_pool(|| PoolState { over_limit: true, ..PoolState::default() });
        assert_eq!(served.get("/livez").await.0, 503);
    }

    #[tokio::test]
    async fn the_report_is_json_with_phase_outcomes_and_dependencies() {
        let served = Served::new().await;
        served.status.dependency_up(Dependency::Queue);
        served.status.dependency_down(Dependency::Store, &unreachable("no credentials"));
        let (code, text) = served.get("/status").await;
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(code, 200);
        assert_eq!(report["phase"], "starting");
        assert_eq!(report["outcomes"]["indexed"], 0);
        let dependencies = report["dependencies"].as_array().unwrap();
        let up: Vec<_> = dependencies.iter().map(|dependency| dependency["up"].as_bool()).collect();
        assert_eq!(up, [None, Some(true), None, Some(false), None, None]);
        assert_eq!(dependencies[3]["cause"], "unreachable");
        assert_eq!(dependencies[3]["reason"], "no credentials");
    }

    #[tokio::test]
    async fn how_long_children_worked_is_shown_in_fractions_of_a_second() {
        let served = Served::new().await;
        let busy_time = Duration::from_millis(12_345);
        served.status.watch_pool(move || PoolState { busy_time, ..PoolState::default() });
        let (_, metrics) = served.get("/metrics").await;
        let sample = "# TYPE file_processor_children_busy_seconds_total counter\n\
                      file_processor_children_busy_seconds_total 12.345000\n";
        assert!(metrics.contains(sample), "{metrics}");
        let report: serde_json::Value = serde_json::from_str(&served.get("/status").await.1).unwrap();
        assert_eq!(report["children"]["busy_seconds"], 12.345);
    }

    #[tokio::test]
    async fn an_unknown_page_names_the_known_ones() {
        assert_eq!(Served::new().await.get("/").await, (404, PATHS.to_owned()));
    }

    #[tokio::test]
    async fn a_client_beyond_the_bound_waits_until_another_leaves() {
        let served = Served::new().await;
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            silent.push(tokio::net::TcpStream::connect(served.address).await.unwrap());
        }
        let mut waiting = Box::pin(served.get("/livez"));
        let answered_early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_ok();
        assert!(!answered_early, "every place is taken");
        drop(silent);
        assert_eq!(waiting.await.0, 200);
    }

    #[tokio::test]
    async fn a_port_in_use_is_not_fatal() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(bind(taken.local_addr().unwrap()).await.is_none());
    }
}
