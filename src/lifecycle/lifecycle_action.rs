//! Auto Scaling's termination hook: the group waits with the termination until it hears that the drain is over.
//!
//! The names that a lifecycle action goes by come from where no permission is needed: the instance's metadata and the
//! settings. Everything here is best effort: a hook that hears nothing ends by its own timeout, and what is in work
//! then comes back when its visibility timeout ends.

use std::time::Duration;

use aws_sdk_autoscaling::config::timeout::TimeoutConfig;

use super::metadata::{InstanceMetadata, MetadataError};
use crate::aws::{self, CallError};
use crate::config::Settings;

/// Half of the shortest timeout that a hook can have (EC2 Auto Scaling API, `HeartbeatTimeout`: 30 seconds or more).
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);
/// With what the SDK retries. The exit waits for the last call.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
/// The termination goes on. The other result, `ABANDON`, means the same for a termination but skips other hooks.
const RESULT: &str = "CONTINUE";

/// Why the lifecycle action cannot be named.
#[derive(Debug, thiserror::Error)]
pub enum UnknownAction {
    #[error("LIFECYCLE_HOOK_NAME is not set")]
    Hook,
    #[error("AUTO_SCALING_GROUP_NAME is not set, and the instance's metadata do not show its tags")]
    Group,
    #[error("the metadata service knows no instance id")]
    Instance,
    #[error("the lifecycle action cannot be named")]
    Metadata(#[from] MetadataError),
}

impl UnknownAction {
    /// Whether asking again may help.
    pub fn may_pass(&self) -> bool {
        matches!(self, UnknownAction::Metadata(_))
    }
}

/// The action that the group waits for.
#[derive(Debug)]
pub struct LifecycleAction {
    client: aws_sdk_autoscaling::Client,
    pub instance_id: String,
    pub group: String,
    pub hook: String,
}

impl LifecycleAction {
    /// Finds out what it is called; makes no call to AWS.
    pub async fn find(settings: &Settings, metadata: &InstanceMetadata) -> Result<Self, UnknownAction> {
        let hook = settings.lifecycle.hook_name.clone().ok_or(UnknownAction::Hook)?;
        let group = match &settings.lifecycle.group_name {
            Some(name) => name.clone(),
            None => metadata.group_name().await?.ok_or(UnknownAction::Group)?,
        };
        let instance_id = metadata.instance_id().await?.ok_or(UnknownAction::Instance)?;
        Ok(Self { client: client(&settings.region).await, instance_id, group, hook })
    }

    /// Makes the group wait for the hook's timeout once more (`RecordLifecycleActionHeartbeat`).
    pub async fn heartbeat(&self) -> Result<(), CallError> {
        let call = self
            .client
            .record_lifecycle_action_heartbeat()
            .instance_id(&self.instance_id)
            .auto_scaling_group_name(&self.group)
            .lifecycle_hook_name(&self.hook);
        let answer = call.send().await;
        answer.map(drop).map_err(|error| CallError::new("RecordLifecycleActionHeartbeat", self.to_string(), error))
    }

    /// The drain is over, the group may go on (`CompleteLifecycleAction`).
    pub async fn complete(&self) -> Result<(), CallError> {
        let call = self
            .client
            .complete_lifecycle_action()
            .instance_id(&self.instance_id)
            .auto_scaling_group_name(&self.group)
            .lifecycle_hook_name(&self.hook)
            .lifecycle_action_result(RESULT);
        let answer = call.send().await;
        answer.map(drop).map_err(|error| CallError::new("CompleteLifecycleAction", self.to_string(), error))
    }
}

impl std::fmt::Display for LifecycleAction {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "hook {} of {} for {}", self.hook, self.group, self.instance_id)
    }
}

/// Its endpoint is the SDK's business (`AWS_ENDPOINT_URL_AUTO_SCALING`).
async fn client(region: &str) -> aws_sdk_autoscaling::Client {
    let time_limits = TimeoutConfig::builder()
        .connect_timeout(ATTEMPT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    let shared = aws::sdk_config(region).await;
    let config = aws_sdk_autoscaling::config::Builder::from(&shared).timeout_config(time_limits).build();
    aws_sdk_autoscaling::Client::from_conf(config)
}
