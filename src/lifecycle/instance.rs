//! What happens beside the daemon because it runs on an instance: notices are watched, and a group that waits with the
//! termination is kept waiting until the drain is over. The daemon only; `local` has no instance to care for.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::interruption::Interruptions;
use super::lifecycle_action::{HEARTBEAT_INTERVAL, LifecycleAction};
use super::metadata::{self, InstanceMetadata};
use crate::aws::CallError;
use crate::config::Settings;
use crate::health::error_chain;
use crate::health::events::{
    LifecycleActionCompleted, LifecycleActionFailed, LifecycleActionUnknown, LifecycleHeartbeat,
    LifecycleHeartbeatFailed, MetadataAbsent,
};

/// How long an abandoned daemon (second signal) may still take to tell the group.
const ABANDONED_LIMIT: Duration = Duration::from_secs(2);

/// The tasks beside the daemon.
pub struct InstanceWatch {
    interruptions: Interruptions,
    drained: CancellationToken,
    tasks: TaskTracker,
}

impl InstanceWatch {
    /// Begins to watch. Makes no call before it returns, and nothing waits for one later.
    pub fn start(settings: &Settings, interruptions: &Interruptions) -> Self {
        let watch =
            Self { interruptions: interruptions.clone(), drained: CancellationToken::new(), tasks: TaskTracker::new() };
        let Some(metadata) = InstanceMetadata::new().map(Arc::new) else {
            MetadataAbsent { why: "AWS_EC2_METADATA_DISABLED is true" }.emit();
            return watch;
        };
        let (watched, reported, drained) = (Arc::clone(&metadata), interruptions.clone(), watch.drained.clone());
        watch.tasks.spawn(async move {
            let _ = drained.run_until_cancelled(metadata::watch(&watched, &reported)).await;
        });
        let (settings, interruptions, drained) = (settings.clone(), interruptions.clone(), watch.drained.clone());
        watch.tasks.spawn(async move { attend_termination(&settings, &metadata, &interruptions, &drained).await });
        watch
    }

    /// The drain is over: completes the lifecycle action if the group waits for one, and stops watching.
    pub async fn stop(self) {
        self.drained.cancel();
        self.tasks.close();
        let too_long = async {
            self.interruptions.abandoned().cancelled().await;
            tokio::time::sleep(ABANDONED_LIMIT).await;
        };
        tokio::select! {
            () = self.tasks.wait() => {}
            () = too_long => log::warn!("Auto Scaling was not told that the drain is over"),
        }
    }
}

/// Nothing until Auto Scaling wants the instance terminated; then heartbeats until `drained`, and the completion.
async fn attend_termination(
    settings: &Settings,
    metadata: &InstanceMetadata,
    interruptions: &Interruptions,
    drained: &CancellationToken,
) {
    let terminating = interruptions.terminating();
    tokio::select! {
        biased;
        () = terminating.cancelled() => {}
        () = drained.cancelled() => return,
    }
    let action = loop {
        match LifecycleAction::find(settings, metadata).await {
            Ok(action) => break action,
            Err(error) if error.may_pass() && !drained.is_cancelled() => {
                log::debug!(error:% = error_chain(&error); "lifecycle action not found yet");
                let _ = drained.run_until_cancelled(tokio::time::sleep(HEARTBEAT_INTERVAL)).await;
            }
            Err(error) => return LifecycleActionUnknown { why: &error_chain(&error) }.emit(),
        }
    };
    let hook = action.hook.as_str();
    keep_prolonging(drained, HEARTBEAT_INTERVAL, || action.heartbeat(), hook).await;
    match action.complete().await {
        Ok(()) => LifecycleActionCompleted { group: &action.group, hook }.emit(),
        Err(error) => LifecycleActionFailed { group: &action.group, hook, error: &error_chain(&error) }.emit(),
    }
}

/// A heartbeat now and after each interval until `drained`. The first one makes sure that the whole of the hook's time
/// lies ahead: nobody knows how much of it had passed. One that fails is not repeated sooner: the next is half of the
/// shortest possible timeout away.
async fn keep_prolonging<Call>(
    drained: &CancellationToken,
    interval: Duration,
    heartbeat: impl Fn() -> Call,
    hook: &str,
) where
    Call: Future<Output = Result<(), CallError>>,
{
    // A call that is under way is waited for: dropped, it might be carried out after the completion.
    while !drained.is_cancelled() {
        match heartbeat().await {
            Ok(()) => LifecycleHeartbeat { hook }.emit(),
            Err(error) => LifecycleHeartbeatFailed { hook, error: &error_chain(&error) }.emit(),
        }
        let _ = drained.run_until_cancelled(tokio::time::sleep(interval)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn heartbeats_begin_at_once_and_go_on_until_the_drain_is_over() {
        let drained = CancellationToken::new();
        let beats = Arc::new(AtomicU32::new(0));
        let (counted, until) = (Arc::clone(&beats), drained.clone());
        let beating = tokio::spawn(async move {
            let heartbeat = async || {
                counted.fetch_add(1, Ordering::SeqCst);
                Ok(())
            };
            keep_prolonging(&until, HEARTBEAT_INTERVAL, heartbeat, "drain").await;
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(beats.load(Ordering::SeqCst), 1);
        tokio::time::sleep(HEARTBEAT_INTERVAL * 4).await;
        assert_eq!(beats.load(Ordering::SeqCst), 5);
        drained.cancel();
        beating.await.expect("ends with the drain");
        tokio::time::sleep(HEARTBEAT_INTERVAL * 4).await;
        assert_eq!(beats.load(Ordering::SeqCst), 5);
    }
}
