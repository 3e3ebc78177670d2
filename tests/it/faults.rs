//! What must not lose, duplicate or falsify anything: outages, kill -9, SIGTERM, stale handles, long jobs.

use std::time::{Duration, Instant};

use crate::harness::{World, repository};
use crate::pdf;
use crate::relay::Cable;

#[tokio::test]
async fn an_outage_of_the_index_deletes_nothing_dead_letters_nothing_and_work_resumes_by_itself() {
    let world = World::new("index-outage").await;
    let cable = Cable::to(&world.opensearch);
    let daemon = world.daemon_with(&[("OPENSEARCH_ENDPOINT", &cable.address)]).await;
    world.upload("before.txt", "before").await;
    world.wait_for_document("before.txt").await;
    world.wait_until_settled().await;

    cable.cut();
    for number in 0..5 {
        world.upload(&format!("during-{number}.txt"), format!("during {number}")).await;
    }
    world.wait_for("a paused daemon", async || daemon.get("/readyz").await.filter(|(status, _)| *status == 503)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (visible, in_flight) = world.queue_counts().await;
    assert_eq!(visible + in_flight, 5, "nothing was deleted");
    assert_eq!(world.dead_letter_count().await, 0);

    cable.mend();
    for number in 0..5 {
        world.wait_for_document(&format!("during-{number}.txt")).await;
    }
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
    assert!(daemon.is_ready().await);
}

#[tokio::test]
async fn an_outage_of_the_store_is_not_the_messages_fault() {
    let world = World::new("store-outage").await;
    let cable = Cable::to(&crate::harness::testbed().s3);
    let daemon = world.daemon_with(&[("AWS_ENDPOINT_URL_S3", &cable.address)]).await;
    cable.cut();
    world.upload("a.txt", "text").await;
    world.wait_for("a paused daemon", async || daemon.get("/readyz").await.filter(|(status, _)| *status == 503)).await;
    cable.mend();
    world.wait_for_document("a.txt").await;
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
}

#[tokio::test]
async fn a_missing_index_is_an_outage_and_is_never_created_by_a_write() {
    let world = World::new("missing-index").await;
    let _daemon = world.daemon().await;
    world.http.delete(format!("{}/{}", world.opensearch, world.index)).send().await.expect("delete the index");
    world.upload("a.txt", "text").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let head = world.http.head(format!("{}/{}", world.opensearch, world.index)).send().await.expect("head");
    assert_eq!(head.status(), 404, "a bulk request must not create the index");
    let (visible, in_flight) = world.queue_counts().await;
    assert_eq!((visible + in_flight, world.dead_letter_count().await), (1, 0));
    let created = world.command().arg("--create-index").status().expect("run");
    assert!(created.success());
    world.wait_for_document("a.txt").await;
    world.wait_until_settled().await;
}

#[tokio::test]
async fn a_daemon_killed_in_the_middle_of_a_document_leaves_it_to_the_next_one() {
    let world = World::without_index("kill-9", 6).await;
    assert!(world.command().arg("--create-index").status().expect("run").success());
    let variables = [("SQS_VISIBILITY_TIMEOUT", "6")];
    let mut first = world.daemon_with(&variables).await;
    world.upload("scan.pdf", pdf::scan(4)).await;
    world
        .wait_for("a busy child", async || {
            let (_, status) = first.get("/status").await?;
            let status: serde_json::Value = serde_json::from_str(&status).ok()?;
            (status["children"]["busy"].as_u64() > Some(0)).then_some(())
        })
        .await;
    let children = first.children();
    assert!(!children.is_empty());
    first.signal(libc::SIGKILL);
    first.wait_for_exit().await;
    world
        .wait_for("the children to die with their parent", async || {
            children.iter().all(|pid| !is_running(*pid)).then_some(())
        })
        .await;
    assert!(world.document("scan.pdf").await.is_none(), "nothing half-done was written");

    let _second = world.daemon_with(&variables).await;
    let document = world.wait_for_document("scan.pdf").await;
    assert_eq!(document["page_count"], 4);
    assert_eq!(document["pages_ocr"], 4);
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
}

fn is_running(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

#[tokio::test]
async fn sigterm_in_the_middle_of_ocr_releases_the_message_at_once_and_writes_nothing() {
    let world = World::without_index("sigterm", 600).await;
    assert!(world.command().arg("--create-index").status().expect("run").success());
    let mut daemon = world.daemon_with(&[("DRAIN_TIMEOUT", "6"), ("SQS_VISIBILITY_TIMEOUT", "600")]).await;
    world.upload("scan.pdf", pdf::scan(60)).await;
    world
        .wait_for("pages done", async || {
            let (_, status) = daemon.get("/status").await?;
            let status: serde_json::Value = serde_json::from_str(&status).ok()?;
            (status["children"]["busy"].as_u64() > Some(0)).then_some(())
        })
        .await;
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait_for_exit().await, Some(0), "{}", daemon.log_text());
    assert!(world.document("scan.pdf").await.is_none(), "no empty and no half document");
    world.wait_for("a visible message", async || (world.queue_counts().await == (1, 0)).then_some(())).await;
    assert_eq!(world.dead_letter_count().await, 0);
}

#[tokio::test]
async fn sigterm_lets_a_short_job_finish_and_an_idle_daemon_goes_at_once() {
    let world = World::new("drain").await;
    let mut daemon = world.daemon().await;
    world.upload("scan.pdf", pdf::scan(1)).await;
    world.wait_for("a job in flight", async || (world.queue_counts().await.1 > 0).then_some(())).await;
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait_for_exit().await, Some(0));
    let document = world.document("scan.pdf").await.expect("finished before the exit");
    assert_eq!(document["outcome"], "indexed");
    assert_eq!(world.queue_counts().await, (0, 0));

    let mut idle = world.daemon().await;
    let asked = Instant::now();
    idle.signal(libc::SIGTERM);
    assert_eq!(idle.wait_for_exit().await, Some(0));
    eprintln!("an idle daemon drained in {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_job_longer_than_the_visibility_timeout_keeps_its_message() {
    let world = World::without_index("long-job", 2).await;
    assert!(world.command().arg("--create-index").status().expect("run").success());
    let _daemon = world.daemon_with(&[("SQS_VISIBILITY_TIMEOUT", "2")]).await;
    world.upload("scan.pdf", pdf::scan(100)).await;
    let document = world.wait_for_document("scan.pdf").await;
    assert_eq!(document["pages_ocr"], 100);
    assert!(document["processing_time_seconds"].as_f64() > Some(2.0), "the job must outlast the timeout");
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
}

#[tokio::test]
async fn a_receipt_handle_gone_stale_harms_nobody() {
    let world = World::without_index("stale-handle", 600).await;
    assert!(world.command().arg("--create-index").status().expect("run").success());
    world.upload("a.txt", "text").await;
    // Somebody else held the message and let it go: the daemon's handle is another one, ours is stale.
    let received = world.sqs.receive_message().queue_url(&world.queue_url).send().await.expect("receive");
    let stale = received.messages.unwrap_or_default()[0].receipt_handle.clone().unwrap_or_default();
    let change = world.sqs.change_message_visibility().queue_url(&world.queue_url).visibility_timeout(0);
    change.receipt_handle(&stale).send().await.expect("release");
    let daemon = world.daemon().await;
    world.wait_for_document("a.txt").await;
    world.wait_until_settled().await;

    // Deleted under the daemon's hands: its own handle is stale when it settles.
    world.upload("scan.pdf", pdf::scan(2)).await;
    world.wait_for("a job in flight", async || (world.queue_counts().await.1 > 0).then_some(())).await;
    world.sqs.purge_queue().queue_url(&world.queue_url).send().await.expect("purge");
    world.upload("after.txt", "after").await;
    world.wait_for_document("after.txt").await;
    world.wait_until_settled().await;
    assert_eq!(world.dead_letter_count().await, 0);
    assert!(daemon.is_ready().await);
}

#[tokio::test]
async fn children_that_are_killed_while_they_read_cost_no_document() {
    let world = World::new("killed-children").await;
    let daemon = world.daemon().await;
    world.upload("scan.pdf", pdf::scan(3)).await;
    let mut killed = 0;
    while world.document("scan.pdf").await.is_none() && killed < 1 {
        let (_, status) = daemon.get("/status").await.expect("status");
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        if status["children"]["busy"].as_u64() > Some(0) {
            for pid in daemon.children() {
                // SAFETY: a worker of our own daemon.
                unsafe { libc::kill(pid, libc::SIGSEGV) };
                killed += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let document = world.wait_for_document("scan.pdf").await;
    assert_eq!(document["outcome"], "indexed", "the page is read again by a fresh child: {document}");
    assert_eq!(document["pages_ocr"], 3);
    world.wait_until_settled().await;
    assert!(daemon.is_ready().await);
}

#[tokio::test]
async fn the_daemon_speaks_the_notify_protocol() {
    let world = World::new("notify").await;
    let socket_path = world.temp.path().join("notify.socket");
    let socket = std::os::unix::net::UnixDatagram::bind(&socket_path).expect("bind");
    socket.set_nonblocking(true).expect("nonblocking");
    let mut daemon =
        world.daemon_with(&[("NOTIFY_SOCKET", socket_path.to_str().unwrap()), ("WATCHDOG_USEC", "1000000")]).await;
    let mut said = String::new();
    let mut buffer = [0; 4096];
    let mut listen = |said: &mut String| {
        while let Ok(count) = socket.recv(&mut buffer) {
            said.push_str(&String::from_utf8_lossy(&buffer[..count]));
            said.push('\n');
        }
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while !(said.contains("READY=1") && said.contains("STATUS=") && said.contains("WATCHDOG=1")) {
        assert!(Instant::now() < deadline, "{said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        listen(&mut said);
    }
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait_for_exit().await, Some(0));
    listen(&mut said);
    assert!(said.contains("STOPPING=1"), "{said}");
}

#[tokio::test]
async fn the_status_pages_answer() {
    let world = World::new("status-pages").await;
    let daemon = world.daemon().await;
    world.upload("a.txt", "text").await;
    world.wait_for_document("a.txt").await;
    world.wait_until_settled().await;
    assert_eq!(daemon.get("/livez").await.map(|(status, _)| status), Some(200));
    let (_, metrics) = daemon.get("/metrics").await.expect("metrics");
    assert!(metrics.contains("indexed"), "{metrics}");
    let (_, status) = daemon.get("/status").await.expect("status");
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    assert!(status.is_object(), "{status}");
}

#[test]
fn the_unit_file_is_where_the_operators_expect_it() {
    let unit = std::fs::read_to_string(repository().join("systemd/file-processor-worker.service")).expect("unit");
    for line in ["Type=notify", "EnvironmentFile=", "/etc/file-processor/env", "RestartPreventExitStatus=2 78"] {
        assert!(unit.contains(line), "{line}");
    }
}
