//! Probing what is down until it is back.
//!
//! An outage is never a message's fault (contract §4). A job that meets one reports it to the [`Status`] and waits
//! there; the receive loop stops asking for messages while store or index are down; one task per dependency probes
//! with a growing pause. So an outage costs no receive counts, and the work goes on by itself where it stood.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::health::outage::Outage;
use crate::health::status::{Dependency, Status};

/// The pause between probes grows from this …
const FIRST_PROBE_PAUSE: Duration = Duration::from_millis(250);
/// … to this: the end of an outage of any length is noticed within this time.
const LONGEST_PROBE_PAUSE: Duration = Duration::from_secs(5);

/// Whenever the dependency is down, calls `probe` until that succeeds. Runs until `stop`.
pub async fn keep_probing<Probe, Answer>(
    status: &Status,
    dependency: Dependency,
    stop: &CancellationToken,
    probe: Probe,
) where
    Probe: Fn() -> Answer,
    Answer: Future<Output = Result<(), Outage>>,
{
    let watch_over = async {
        loop {
            status.wait_until_down(dependency).await;
            let mut pause = FIRST_PROBE_PAUSE;
            while let Err(outage) = probe().await {
                status.dependency_down(dependency, &outage);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PROBE_PAUSE);
            }
            status.dependency_up(dependency);
        }
    };
    // `None` is the usual end: the loop itself has none.
    let _ = stop.run_until_cancelled(watch_over).await;
}

/// Returns when store, index and spool work: only then is there a use in receiving.
pub async fn wait_until_work_is_possible(status: &Status) {
    let needed = [Dependency::Store, Dependency::Index, Dependency::Spool];
    while needed.into_iter().any(|dependency| status.is_down(dependency)) {
        for dependency in needed {
            status.wait_until_up(dependency).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::health::outage::OutageCause;

    #[tokio::test(start_paused = true)]
    async fn what_is_down_is_probed_until_it_answers_and_those_who_wait_go_on() {
        let status = Arc::new(Status::new(Duration::from_secs(20)));
        let stop = CancellationToken::new();
        let probes = Arc::new(AtomicU32::new(0));
        let (watched, counted, stopped) = (Arc::clone(&status), Arc::clone(&probes), stop.clone());
        let prober = tokio::spawn(async move {
            let probe = async || match counted.fetch_add(1, Ordering::SeqCst) {
                0..5 => Err(Outage::new(OutageCause::Unreachable, "connection refused")),
                _ => Ok(()),
            };
            keep_probing(&watched, Dependency::Index, &stopped, probe).await;
        });
        wait_until_work_is_possible(&status).await;
        assert_eq!(probes.load(Ordering::SeqCst), 0, "nothing is probed while all is well");

        status.dependency_down(Dependency::Index, &Outage::new(OutageCause::Unreachable, "connection refused"));
        wait_until_work_is_possible(&status).await;
        assert_eq!(probes.load(Ordering::SeqCst), 6);
        assert!(!status.is_down(Dependency::Index));
        stop.cancel();
        prober.await.expect("the prober ends when it is stopped");
    }
}
